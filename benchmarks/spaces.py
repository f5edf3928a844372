"""The space that is measured on, in the words of each peer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import hpcompat as hp
from benchmarks.timing import MissingPeer

KINDS: tuple[Callable[[int], Any], ...] = (
    lambda i: hp.Float(0.0, 1.0 + i),
    lambda i: hp.Float(1e-6, 1e-2 * (1 + i), log=True),
    lambda i: hp.Int(1, 10 + i),
    lambda i: hp.Int(1, 100 + i, log=True),
    lambda i: hp.Categorical(["adamw", "sgd", f"x{i}"]),
    lambda i: hp.Categorical([16, 32, 64, 128]),
)
"""Half of them numbers on a linear scale or a logarithmic one, the rest choices: what all peers have."""


def mixed(size: int, log_ints: bool = True) -> hp.SearchSpace:
    """A space of that many parameters; `log_ints=False` for SigOpt, which has none."""
    entries = {f"p{i}": KINDS[i % len(KINDS)](i) for i in range(size)}
    if not log_ints:
        entries |= {name: hp.Int(p.low, p.high) for name, p in entries.items() if isinstance(p, hp.Int) and p.log}
    return hp.SearchSpace(entries)


def peer(module: str) -> Any:
    """A peer's module. Raises `MissingPeer`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPeer(f"{module} is not installed: make bench") from error


def each(space: hp.SearchSpace, number: Callable[[str, Any], Any], choice: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The space in a peer's words: `number` for a Float or an Int, `choice` for a Categorical."""
    return {name: (choice if isinstance(p, hp.Categorical) else number)(name, p) for name, p in space.items()}


def configspace(space: hp.SearchSpace) -> Any:
    """ConfigSpace's ConfigurationSpace."""
    cs = peer("ConfigSpace")

    def number(name: str, p: Any) -> Any:
        return (cs.Float if isinstance(p, hp.Float) else cs.Integer)(name, (p.low, p.high), log=p.log)

    made = cs.ConfigurationSpace(seed=0)
    made.add(*each(space, number, lambda name, p: cs.Categorical(name, list(p.choices))).values())
    return made


def syne_tune(space: hp.SearchSpace) -> dict[str, Any]:
    """Syne Tune's dict of domains."""
    domains = peer("syne_tune.config_space")

    def number(name: str, p: Any) -> Any:
        kind = ("log" if p.log else "") + ("uniform" if isinstance(p, hp.Float) else "randint")
        return getattr(domains, kind)(p.low, p.high)

    return each(space, number, lambda name, p: domains.choice(list(p.choices)))


def vizier(space: hp.SearchSpace) -> Any:
    """Vizier's SearchSpace."""
    pyvizier = peer("vizier.pyvizier")
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


def suggest(trial: Any, space: hp.SearchSpace) -> dict[str, Any]:
    """The suggest calls that a user of Optuna would write by hand."""
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
