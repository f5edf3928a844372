"""What a sweep can express by its method, and its distributions: each row of `FORMS` writes and reads one.

The q_ distributions round to multiples of q, half to even, and so leave their bounds by up to q/2; to draw low,
low + q, …, high with the right probabilities, their bounds are written half a step wider.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from hpcompat.space.domains import shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.values import copy_if_mutable, short_repr
from hpcompat.translators.capabilities import (
    AMBIGUOUS_CHOICES,
    FLOAT_NOISE,
    INDEX_LARGE,
    INDEX_LONG,
    LABELS,
    NO_ORDER,
    UNIT_LARGE,
    UNIT_TRUNCATED,
    UNIT_WEIGHTS,
    UNIT_WIDE,
    Rule,
    all_of,
    encoded,
    equivalent,
    fits_float_exactly,
    has_exact_step,
    has_finite_width,
    is_enumerable,
    is_json,
    is_unordered,
    is_untruncated,
    log_float_step,
    log_int_step,
    native,
    one_of_list,
    survives_json,
    unsupported,
)
from hpcompat.translators.codecs import Form
from hpcompat.translators.parsing import make_categorical, make_range, parse_number, reject

_LIST = one_of_list("categorical")
_LIST_WITHOUT_SCALE = (encoded("categorical", "a list of the values, which has no scale", is_enumerable), INDEX_LONG)
_NOT_IN_A_GRID = (unsupported("a grid needs values to go through"),)
_NOT_WEIGHTED = (unsupported("a grid goes through every value alike, and cannot weight them"),)


def _quantized_normal(form: str) -> tuple[Rule, ...]:
    return (
        native(form, all_of(is_untruncated, has_exact_step)),
        encoded("unit", FLOAT_NOISE, is_untruncated),
        UNIT_TRUNCATED,
    )


RANDOM = {
    "float": (native("uniform", has_finite_width), UNIT_WIDE),
    "float log": (native("log_uniform_values"),),
    "float step": _LIST,
    "float log step": log_float_step("q_log_uniform_values"),
    "int": (native("int_uniform", fits_float_exactly), INDEX_LARGE),
    "int log": (native("q_log_uniform_values", fits_float_exactly), UNIT_LARGE),
    "int step": _LIST,
    "int log step": log_int_step("q_log_uniform_values"),
    "categorical": (native("categorical", survives_json), LABELS),
    "categorical ordered": (equivalent("categorical", NO_ORDER, survives_json), LABELS),
    "categorical weights": (
        native("categorical_w_probabilities", all_of(survives_json, is_unordered)),
        equivalent("categorical_w_probabilities", NO_ORDER, survives_json),
        encoded("unit", AMBIGUOUS_CHOICES),
    ),
    "constant": (native("constant", is_json), encoded("absent", "JSON turns a tuple into a list")),
    "normal": (native("normal", is_untruncated), UNIT_TRUNCATED),
    "normal log": (native("log_normal", is_untruncated), UNIT_TRUNCATED),
    "normal step": _quantized_normal("q_normal"),
    "normal log step": _quantized_normal("q_log_normal"),
}
BAYES = {**RANDOM, "categorical weights": (UNIT_WEIGHTS,)}
GRID = {
    **RANDOM,
    "float": _NOT_IN_A_GRID,
    "float log": _NOT_IN_A_GRID,
    "float log step": _LIST_WITHOUT_SCALE,
    "int log": _LIST_WITHOUT_SCALE,
    "int log step": _LIST_WITHOUT_SCALE,
    "categorical weights": _NOT_WEIGHTED,
    "normal": _NOT_IN_A_GRID,
    "normal log": _NOT_IN_A_GRID,
    "normal step": _NOT_WEIGHTED,
    "normal log step": _NOT_WEIGHTED,
}
NO_CONDITIONS = encoded("", "a sweep has no conditions")


Keys = dict[str, object]
"""The keys of an entry, but for "distribution"."""


def _write_bounds(p: Float | Int) -> Keys:
    return {"min": p.low, "max": p.high}


def _write_moments(p: Normal) -> Keys:
    return {"mu": p.mean, "sigma": p.std}


def _write_quantized_moments(p: Normal) -> Keys:
    return {"mu": p.mean, "sigma": p.std, "q": p.step}


FORMS: dict[str, Form[Keys]] = {
    "constant": Form(lambda value: Constant(value), lambda p: {"value": copy_if_mutable(p.value)}),
    "categorical": Form(lambda values: make_categorical(values), lambda p: {"values": list(p.support)}),
    "categorical_w_probabilities": Form(
        lambda values, probabilities: make_categorical(values, probabilities),
        lambda p: {"values": list(p.support), "probabilities": list(p.weights)},
    ),
    "int_uniform": Form(lambda min, max: _make_range(min, max, whole=True), _write_bounds),
    "uniform": Form(lambda min, max: _make_range(min, max), _write_bounds),
    "log_uniform_values": Form(lambda min, max: _make_range(min, max, log=True), _write_bounds),
    "q_log_uniform_values": Form(
        lambda min, max, q=1.0: _read_quantized(min, max, q, log=True), lambda p: _with_half_step_margin(p)
    ),
    "normal": Form(lambda mu=0.0, sigma=1.0: _read_normal(mu, sigma), _write_moments),
    "log_normal": Form(lambda mu=0.0, sigma=1.0: _read_normal(mu, sigma, log=True), _write_moments),
    "q_normal": Form(lambda mu=0.0, sigma=1.0, q=1.0: _read_normal(mu, sigma, q), _write_quantized_moments),
    "q_log_normal": Form(
        lambda mu=0.0, sigma=1.0, q=1.0: _read_normal(mu, sigma, q, log=True), _write_quantized_moments
    ),
    # read, and never written
    "q_uniform": Form(lambda min, max, q=1.0: _read_quantized(min, max, q)),
    "inv_log_uniform_values": Form(lambda min, max: _make_range(min, max, log=True)),
    "log_uniform": Form(lambda min=0.0, max=1.0: _make_range(_exp_bound("min", min), _exp_bound("max", max), log=True)),
    "inv_log_uniform": Form(  # the inverse of what log_uniform draws
        lambda min=0.0, max=1.0: _make_range(1 / _exp_bound("max", max), 1 / _exp_bound("min", min), log=True)
    ),
    "q_log_uniform": Form(
        lambda min=0.0, max=1.0, q=1.0: _read_quantized(_exp_bound("min", min), _exp_bound("max", max), q, log=True)
    ),
}
"""By distribution; the arguments are the keys."""
GRID_FORMS: dict[str, Form[Keys]] = {
    **FORMS,
    "categorical": Form(lambda values: _read_grid_values(values)),
    "q_uniform": Form(lambda min, max, q=1.0: _read_grid_range(min, max, q)),
}
"""The same for reading a grid, which goes through other values than the other methods draw."""
PROXY_FORMS = {"float": "uniform", "int": "int_uniform", "categorical": "categorical"}


def _with_half_step_margin(p: Float | Int) -> Keys:
    grid: Any = p.support
    first, last = (2 * (grid.origin + index * grid.step) for index in (int(grid.first), int(grid.last)))
    low, high = ((end + side) / (2 * grid.scale) for end, side in ((first, -grid.step), (last, grid.step)))
    return {"min": low, "max": high, "q": p.step}


# -- reading ----------------------------------------------------------------------------------------


def read_parameter(config: object, method: str = "random") -> Parameter:
    """Return the parameter that one entry of a sweep draws.

    >>> read_parameter({"min": 1, "max": 10}), read_parameter({"min": 1, "max": 9, "distribution": "q_uniform", "q": 3})
    (Int(1, 10), Int(0, 9, step=3))
    """
    if not isinstance(config, Mapping):
        reject(
            f"expected a parameter of a sweep, got {short_repr(config)}",
            'write {"value": …}, {"values": […]} or {"min": …, "max": …}',
        )
    distribution = config.get("distribution")
    if distribution is None or (isinstance(distribution, str) and not distribution):
        distribution = _infer_distribution(config)
    if isinstance(distribution, str) and distribution in ("beta", "q_beta"):
        reject("a beta distribution has no counterpart elsewhere", "use normal or uniform")
    if not isinstance(distribution, str) or distribution not in FORMS:
        reject(f"unknown distribution {short_repr(distribution)}", f"one of {', '.join(FORMS)}")
    read = (GRID_FORMS if method == "grid" else FORMS)[distribution].read
    keys = {key: value for key, value in config.items() if key != "distribution"}
    try:
        return read(**keys)
    except TypeError:
        _check_keys(distribution, keys, read)
        raise


def _check_keys(distribution: str, keys: Mapping[object, object], read: Callable[..., Parameter]) -> None:
    """Reject keys that the distribution does not have, and the lack of those that it needs."""
    known = inspect.signature(read).parameters
    hint = f"its keys are {', '.join(known)}"
    if unknown := [key for key in keys if key not in known]:
        reject(f"{distribution} has no {', '.join(map(repr, unknown))}", hint)
    if missing := [key for key, given in known.items() if given.default is given.empty and key not in keys]:
        reject(f"{distribution} lacks {', '.join(map(repr, missing))}", hint)


def _infer_distribution(config: Mapping[str, object]) -> str:
    """Return the distribution of an entry that names none, as W&B infers it from the keys and types."""
    if "value" in config:
        return "constant"
    if "values" in config:
        return "categorical_w_probabilities" if "probabilities" in config else "categorical"
    if {"min", "max"} <= config.keys():
        return "int_uniform" if type(config["min"]) is type(config["max"]) is int else "uniform"
    if {"mu", "sigma"} & config.keys():
        return "normal"
    reject(f"{short_repr(dict(config))} says nothing of its values", "give value, values, or min and max")


def _is_integer_step(q: object) -> bool:
    """Return whether the engine draws ints, as it does where q is an int."""
    return type(q) is int


def _step(q: object) -> Any:
    step = parse_number("q", q, _is_integer_step(q))
    if not 0 < step < math.inf:
        reject(f"q is {short_repr(step)}", "give a q above 0")
    return step


def _read_quantized(minimum: object, maximum: object, q: object, log: bool = False) -> Parameter:
    """Return the multiples of q that draws between low and high round to.

    A bound halfway between two of them is never drawn itself: those inside round to the inner one.
    """
    low, high, step = parse_number("min", minimum), parse_number("max", maximum), _step(q)
    if not (math.isfinite(low) and math.isfinite(high)):
        reject(f"min {low} and max {high} are not finite", "give numbers")
    if low > high:
        reject(f"min {low} is above max {high}", "swap them")
    lowest, highest, exact = (Fraction(*shortest_decimal_fraction(float(x))) for x in (low, high, step))
    near = Fraction(1, 2) + Fraction(1, 10**9)  # a half that was rounded to a float
    first, last = math.floor(lowest / exact + near), math.ceil(highest / exact - near)
    if last < first:  # both bounds round to one multiple, from its two sides
        last = first
    if _is_integer_step(step):
        return make_range(first * step, last * step, log=log, step=step, whole=True)
    return make_range(float(first * exact), float(last * exact), log=log, step=step)


def _read_grid_range(minimum: object, maximum: object, q: object) -> Parameter:
    """Return what q_uniform is in a grid: numpy's arange, from min, max left out."""
    low, high, step = parse_number("min", minimum), parse_number("max", maximum), _step(q)
    whole = all(type(x) is int for x in (low, high, step))
    count = math.ceil((high - low) / step) if math.isfinite((high - low) / step) else 0
    if count < 1:
        reject(f"there is nothing between min {low} and max {high}", "raise max")
    if whole:
        return make_range(low, low + (count - 1) * step, step=step, whole=True)
    first, exact = (Fraction(*shortest_decimal_fraction(float(x))) for x in (low, step))
    return make_range(low, float(first + (count - 1) * exact), step=step)


def _read_grid_values(values: object) -> Parameter:
    """Return the values of a grid, without weights: sweeps 0.2 tries a value that is listed twice once."""
    parameter = make_categorical(values)
    return Categorical(parameter.choices) if parameter.weights else parameter


def _exp_bound(name: str, value: object) -> float:
    number = parse_number(name, value)
    if not -700 <= number <= 700:
        reject(
            f"{name} is {number}, and log_uniform takes the natural logarithm of a bound",
            "use log_uniform_values",
        )
    return math.exp(number)


def _read_normal(mu: object, sigma: object, q: object = None, log: bool = False) -> Parameter:
    step = None if q is None else _step(q)
    return Normal(parse_number("mu", mu), parse_number("sigma", sigma), log=log, step=step)


def _make_range(low: object, high: object, *, log: bool = False, whole: bool = False) -> Parameter:
    parameter = make_range(low, high, log=log, whole=whole)
    if isinstance(parameter, Constant):
        reject(f"min and max are both {low}, which W&B refuses", "use value")
    return parameter
