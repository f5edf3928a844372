"""Suggest calls and distributions of Optuna, by name: how each is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpcompat.space.parameters import Constant, Parameter
from hpcompat.space.values import short_repr
from hpcompat.translators.parsing import json_data, last_grid_value, make_categorical, make_range, parse_call, reject


def _read_float(low: Any, high: Any, step: Any = None, log: Any = False, *, q: Any = None) -> Parameter:
    step = q if step is None else step
    if step is not None and log:
        reject("Optuna has no step on a logarithmic scale", "leave out step or log")
    if step is None:
        return make_range(low, high, log=bool(log))
    return make_range(low, last_grid_value(low, high, step, False), step=step)


def _read_int(low: Any, high: Any, step: Any = 1, log: Any = False) -> Parameter:
    if log and step != 1:
        reject("Optuna has no step on a logarithmic scale", "leave out step or log")
    return make_range(low, last_grid_value(low, high, step, True), log=bool(log), step=step, whole=True)


def _read_choices(choices: Any) -> Parameter:
    return make_categorical(choices)


READERS: dict[str, Callable[..., Parameter]] = {
    "suggest_float": _read_float,
    "suggest_int": _read_int,
    "suggest_categorical": _read_choices,
    "suggest_uniform": lambda low, high: _read_float(low, high),
    "suggest_loguniform": lambda low, high: _read_float(low, high, log=True),
    "suggest_discrete_uniform": lambda low, high, q: _read_float(low, high, q),
    "constant": lambda value: Constant(json_data("its value is", value, "a JSON value")),
    "FloatDistribution": lambda low, high, log=False, step=None: _read_float(low, high, step, log),
    "IntDistribution": lambda low, high, log=False, step=1: _read_int(low, high, step, log),
    "CategoricalDistribution": _read_choices,
    "UniformDistribution": lambda low, high: _read_float(low, high),
    "LogUniformDistribution": lambda low, high: _read_float(low, high, log=True),
    "DiscreteUniformDistribution": lambda low, high, q: _read_float(low, high, q),
    "IntUniformDistribution": lambda low, high, step=1: _read_int(low, high, step),
    "IntLogUniformDistribution": lambda low, high, step=1: _read_int(low, high, step, True),
}


def read_call(call: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Parameter:
    """Return the parameter that a suggest call draws, its name left out.

    >>> read_call("suggest_float", (1e-6, 1e-4), {"log": True})
    Float(1e-06, 0.0001, log=True)
    """
    reader = READERS.get(call) if isinstance(call, str) else None
    if reader is None:
        reject(f"{short_repr(call)} is not a suggest call of Optuna", f"one of {', '.join(sorted(READERS))}")
    return parse_call(reader, call, args, kwargs, hint="see Optuna's signature")
