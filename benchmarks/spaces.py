"""The space that the benchmarks use, converted for each peer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import hpcompat as hp
from benchmarks.timing import MissingPeerError
from hpcompat.space.parameters import Parameter

PARAMETER_FACTORIES: tuple[Callable[[int], Parameter], ...] = (
    lambda i: hp.Float(0.0, 1.0 + i),
    lambda i: hp.Float(1e-6, 1e-2 * (1 + i), log=True),
    lambda i: hp.Int(1, 10 + i),
    lambda i: hp.Int(1, 100 + i, log=True),
    lambda i: hp.Categorical(["adamw", "sgd", f"x{i}"]),
    lambda i: hp.Categorical([16, 32, 64, 128]),
)
"""Parameters that all peers have: numbers on a linear and on a logarithmic scale, and choices."""


def mixed_space(size: int, log_ints: bool = True) -> hp.SearchSpace:
    """Return a space of this many parameters; use `log_ints=False` for SigOpt, which has no logarithmic ints."""
    entries = {f"p{i}": PARAMETER_FACTORIES[i % len(PARAMETER_FACTORIES)](i) for i in range(size)}
    if not log_ints:
        entries |= {name: hp.Int(p.low, p.high) for name, p in entries.items() if isinstance(p, hp.Int) and p.log}
    return hp.SearchSpace(entries)


def import_peer(module: str) -> Any:
    """Import a module of a peer. Raises `MissingPeerError`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPeerError(f"{module} is not installed: make bench") from error


def convert_parameters(
    space: hp.SearchSpace, convert_number: Callable[[str, Any], Any], convert_choice: Callable[[str, Any], Any]
) -> dict[str, Any]:
    """Convert every parameter: a Float or an Int with one function, a Categorical with the other."""
    return {
        name: convert_choice(name, p) if isinstance(p, hp.Categorical) else convert_number(name, p)
        for name, p in space.items()
    }


def to_configspace(space: hp.SearchSpace) -> Any:
    """Return a ConfigurationSpace of ConfigSpace."""
    cs = import_peer("ConfigSpace")

    def convert_number(name: str, p: Any) -> Any:
        number_type = cs.Float if isinstance(p, hp.Float) else cs.Integer
        return number_type(name, (p.low, p.high), log=p.log)

    parameters = convert_parameters(space, convert_number, lambda name, p: cs.Categorical(name, list(p.choices)))
    configspace = cs.ConfigurationSpace(seed=0)
    configspace.add(*parameters.values())
    return configspace


def to_syne_tune(space: hp.SearchSpace) -> dict[str, Any]:
    """Return a dict of domains of Syne Tune."""
    domains = import_peer("syne_tune.config_space")

    def convert_number(name: str, p: Any) -> Any:
        distribution = ("log" if p.log else "") + ("uniform" if isinstance(p, hp.Float) else "randint")
        return getattr(domains, distribution)(p.low, p.high)

    return convert_parameters(space, convert_number, lambda name, p: domains.choice(list(p.choices)))


def to_vizier(space: hp.SearchSpace) -> Any:
    """Return a ProblemStatement of Vizier."""
    pyvizier = import_peer("vizier.pyvizier")
    problem = pyvizier.ProblemStatement()
    root = problem.search_space.root
    p: Any
    for name, p in space.items():
        if isinstance(p, hp.Categorical):
            if isinstance(p.choices[0], str):
                root.add_categorical_param(name, list(p.choices))
            else:
                root.add_discrete_param(name, list(p.choices))
        else:
            scale = pyvizier.ScaleType.LOG if p.log else pyvizier.ScaleType.LINEAR
            add = root.add_float_param if isinstance(p, hp.Float) else root.add_int_param
            add(name, p.low, p.high, scale_type=scale)
    return problem


def suggest_params(trial: Any, space: hp.SearchSpace) -> dict[str, Any]:
    """Make the suggest calls that a user of Optuna would write by hand, and return the params."""
    params: dict[str, Any] = {}
    p: Any
    for name, p in space.items():
        if isinstance(p, hp.Categorical):
            params[name] = trial.suggest_categorical(name, p.choices)
        elif isinstance(p, hp.Float):
            params[name] = trial.suggest_float(name, p.low, p.high, log=p.log)
        else:
            params[name] = trial.suggest_int(name, p.low, p.high, log=p.log)
    return params
