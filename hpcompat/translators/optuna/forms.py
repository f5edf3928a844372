"""What Optuna can express, and its suggest calls: each row writes and reads one; its distributions are only read."""

from __future__ import annotations

from hpcompat.space.parameters import Constant, Float, Int, Parameter
from hpcompat.space.serialization import value_to_json
from hpcompat.space.values import copy_list_if_mutable, short_repr
from hpcompat.translators.capabilities import (
    INDEX_LARGE,
    LABELS,
    NO_ORDER,
    NORMAL_SHAPES,
    UNIT_LARGE,
    UNIT_LOG_STEP,
    UNIT_NORMAL,
    UNIT_WEIGHTS,
    UNIT_WIDE,
    encoded,
    equivalent,
    fits_float_exactly,
    has_finite_width,
    native,
    survives_json,
)
from hpcompat.translators.codecs import Form
from hpcompat.translators.parsing import json_data, last_grid_value, make_categorical, make_range, parse_call, reject

CAPABILITIES = {
    "float": (native("suggest_float", has_finite_width), UNIT_WIDE),
    "float log": (native("suggest_float"),),
    "float step": (native("suggest_float", has_finite_width), encoded("index", "the range is wider than a float")),
    "float log step": (UNIT_LOG_STEP,),
    "int": (native("suggest_int", fits_float_exactly), INDEX_LARGE),
    "int log": (native("suggest_int", fits_float_exactly), UNIT_LARGE),
    "int step": (native("suggest_int", fits_float_exactly), INDEX_LARGE),
    "int log step": (UNIT_LOG_STEP,),
    "categorical": (native("suggest_categorical", survives_json), LABELS),
    "categorical ordered": (equivalent("suggest_categorical", NO_ORDER, survives_json), LABELS),
    "categorical weights": (UNIT_WEIGHTS,),
    "constant": (native("returned"),),
    **dict.fromkeys(NORMAL_SHAPES, (UNIT_NORMAL,)),
}
UNIT_PARENT = encoded("", "its parent is written as a unit float, which no condition can name")


Arguments = dict[str, object]


def _read_float(low: object, high: object, step: object = None, log: object = False, *, q: object = None) -> Parameter:
    step = q if step is None else step
    if step is not None and log:
        reject("Optuna has no step on a logarithmic scale", "leave out step or log")
    if step is None:
        return make_range(low, high, log=bool(log))
    return make_range(low, last_grid_value(low, high, step, False), step=step)


def _read_int(low: object, high: object, step: object = 1, log: object = False) -> Parameter:
    if log and step != 1:
        reject("Optuna has no step on a logarithmic scale", "leave out step or log")
    return make_range(low, last_grid_value(low, high, step, True), log=bool(log), step=step, whole=True)


def _write_float(p: Float) -> Arguments:
    if p.log:
        return {"low": p.low, "high": p.high, "log": True}
    return {"low": p.low, "high": p.high} if p.step is None else {"low": p.low, "high": p.high, "step": p.step}


def _write_int(p: Int) -> Arguments:
    if p.log:
        return {"low": p.low, "high": p.high, "log": True}
    return {"low": p.low, "high": p.high} if p.step == 1 else {"low": p.low, "high": p.high, "step": p.step}


FORMS: dict[str, Form[Arguments]] = {
    "suggest_float": Form(_read_float, _write_float),
    "suggest_int": Form(_read_int, _write_int),
    "suggest_categorical": Form(
        lambda choices: make_categorical(choices),
        lambda p: {"choices": copy_list_if_mutable(p.choices)},
    ),
    "constant": Form(
        lambda value: Constant(json_data("its value is", value, "a JSON value")),
        lambda p: {"value": value_to_json(p.value)},
    ),
    # read, and never written
    "suggest_uniform": Form(lambda low, high: _read_float(low, high)),
    "suggest_loguniform": Form(lambda low, high: _read_float(low, high, log=True)),
    "suggest_discrete_uniform": Form(lambda low, high, q: _read_float(low, high, q)),
    "FloatDistribution": Form(lambda low, high, log, step: _read_float(low, high, step, log)),
    "IntDistribution": Form(lambda low, high, log, step: _read_int(low, high, step, log)),
    "CategoricalDistribution": Form(lambda choices: make_categorical(choices)),
    "UniformDistribution": Form(lambda low, high: _read_float(low, high)),
    "LogUniformDistribution": Form(lambda low, high: _read_float(low, high, log=True)),
    "DiscreteUniformDistribution": Form(lambda low, high, q: _read_float(low, high, q)),
    "IntUniformDistribution": Form(lambda low, high, step: _read_int(low, high, step)),
    "IntLogUniformDistribution": Form(lambda low, high, step: _read_int(low, high, step, True)),
}
"""By the suggest call, or by the class of a distribution, whose attributes are the arguments."""
PROXY_FORMS = {
    "float": "suggest_float",
    "int": "suggest_int",
    "categorical": "suggest_categorical",
    "constant": "constant",
}


def read_call(call: object, args: object = (), kwargs: object = None) -> Parameter:
    """Return the parameter that a suggest call draws, its name left out.

    >>> read_call("suggest_float", (1e-6, 1e-4), {"log": True})
    Float(1e-06, 0.0001, log=True)
    """
    if not isinstance(call, str) or call not in FORMS:
        reject(f"{short_repr(call)} is not a suggest call of Optuna", f"one of {', '.join(sorted(FORMS))}")
    return parse_call(FORMS[call].read, call, args, kwargs, hint="see Optuna's signature")
