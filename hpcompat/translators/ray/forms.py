"""What Ray can express, and the functions of `ray.tune` that make domains: each row of `FORMS` writes and reads one.

Domains are read by their class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal, NoReturn, TypeAlias

from hpcompat.space.domains import shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.values import SCALARS, copy_if_mutable, short_repr
from hpcompat.translators.capabilities import (
    FLOAT_NOISE,
    INDEX_LARGE,
    LABELS,
    NO_LOG_NORMAL,
    NO_ORDER,
    NORMAL_SHAPES,
    SHAPES,
    UNIT_LARGE,
    UNIT_LOG_STEP,
    UNIT_NARROW,
    UNIT_NORMAL,
    UNIT_TRUNCATED,
    UNIT_WEIGHTS,
    UNIT_WIDE,
    all_of,
    encoded,
    equivalent,
    fits_float_exactly,
    has_exact_step,
    has_finite_width,
    has_min_width,
    is_int_multiple_of_step,
    is_multiple_of_step,
    is_unordered,
    is_untruncated,
    log_float_step,
    log_int_step,
    native,
    one_of_list,
    survives_json,
)
from hpcompat.translators.codecs import Form
from hpcompat.translators.parsing import make_categorical, make_range, parse_call, parse_number, reject


def is_inert(p: Categorical | Constant) -> bool:
    """Return whether Ray would resolve nothing in the values."""
    values = p.choices if isinstance(p, Categorical) else (p.value,)
    return not any(map(would_resolve, values))


def would_resolve(value: object) -> bool:
    """Return whether Ray takes a dict in the value for part of the space: it evaluates {"eval": …}, splits at "/"."""
    if isinstance(value, dict):
        is_resolved = not value.keys().isdisjoint(("eval", "grid_search")) or any("/" in key for key in value)
        return is_resolved or any(map(would_resolve, value.values()))
    return isinstance(value, (list, tuple)) and any(map(would_resolve, value))


def is_not_a_dict(p: Constant) -> bool:
    """Return whether the value does not read back as a group, as a dict in a Ray config does."""
    return not (isinstance(p.value, dict) and p.value)


def is_scalar_constant(p: Constant) -> bool:
    """Return whether the value is a number, a bool or a string."""
    return p.value is not None and type(p.value) in SCALARS


def has_float_step(p: Normal) -> bool:
    """Return whether draws are rounded to floats."""
    return type(p.step) is float


def is_repeatable(p: Categorical) -> bool:
    """Return whether the ratios of the weights are small whole numbers: listing a choice repeatedly gives them."""
    return is_inert(p) and repeat_counts(p) is not None


def repeat_counts(p: Categorical) -> tuple[int, ...] | None:
    """Return how often to list each choice for exactly its weight; None if more than 1,000 in all."""
    if p.weights is None:
        return (1,) * len(p.choices)
    smallest = min(p.weights)
    for base in range(1, 101):
        counts = tuple(round(weight / smallest * base) for weight in p.weights)
        total = sum(counts)
        if total > 1000:
            return None
        if all(count / total == weight for count, weight in zip(counts, p.weights, strict=True)):
            return counts
    return None


_LIST = one_of_list("choice")
_WOULD_RESOLVE = "a dict with a key eval, grid_search or one with / would be resolved"
_LABELS = encoded("labels", _WOULD_RESOLVE)
_CONSTANT = (
    native("constant", all_of(is_inert, is_not_a_dict)),
    equivalent("constant", "a dict reads as a group", is_inert),
    encoded("absent", _WOULD_RESOLVE),
)
_LOG_NORMAL = (encoded("unit", NO_LOG_NORMAL),)

TUNE = {
    "float": (native("uniform", has_finite_width), UNIT_WIDE),
    "float log": (native("loguniform"),),
    "float step": _LIST,
    "float log step": log_float_step("qloguniform"),
    "int": (native("randint", fits_float_exactly), INDEX_LARGE),
    "int log": (native("lograndint", fits_float_exactly), UNIT_LARGE),
    "int step": (native("qrandint", is_int_multiple_of_step), *_LIST),
    "int log step": log_int_step("qlograndint"),
    "categorical": (native("choice", is_inert), _LABELS),
    "categorical ordered": (equivalent("choice", NO_ORDER, is_inert), _LABELS),
    "categorical weights": (
        native("choice", all_of(is_repeatable, is_unordered), "choices repeated"),
        equivalent("choice", NO_ORDER, is_repeatable),
        encoded("unit", "it has no weights, and these are not ratios of small whole numbers"),
    ),
    "constant": _CONSTANT,
    "normal": (native("randn", is_untruncated), UNIT_TRUNCATED),
    "normal log": _LOG_NORMAL,
    "normal step": (
        native("qrandn", all_of(is_untruncated, has_float_step, has_exact_step)),
        encoded("unit", FLOAT_NOISE, all_of(is_untruncated, has_float_step)),
        encoded("unit", "it rounds untruncated distributions to floats alone"),
    ),
    "normal log step": _LOG_NORMAL,
}
OPTUNA_SEARCH = {
    **TUNE,
    "float step": (native("quniform", all_of(has_finite_width, has_exact_step, is_multiple_of_step)), *_LIST),
    "float log step": (encoded("unit", "it drops the step of a logarithmic scale"),),
    "int log step": (UNIT_LOG_STEP,),
    "categorical": (native("choice", all_of(is_inert, survives_json)), LABELS),
    "categorical ordered": (equivalent("choice", NO_ORDER, all_of(is_inert, survives_json)), LABELS),
    "categorical weights": (UNIT_WEIGHTS,),
    **dict.fromkeys(NORMAL_SHAPES, (UNIT_NORMAL,)),
}
_UNIFORM_ALONE = (
    # HyperOptSearch draws the ends of an int half as often, BayesOptSearch drops log, Nevergrad and ZOOpt the step:
    # https://github.com/ray-project/ray/issues/30350, https://github.com/ray-project/ray/issues/13537
    encoded("unit", "not every search algorithm draws more than uniform floats (OptunaSearch does: searcher='optuna')"),
)
ANY_SEARCHER = {
    **dict.fromkeys(SHAPES, _UNIFORM_ALONE),
    "float": (native("uniform", has_min_width), UNIT_NARROW),
    "constant": (
        native("constant", is_scalar_constant),
        encoded("absent", "a search algorithm can refuse None, and turn lists and tuples into each other"),
    ),
}
NO_CONDITIONS = encoded("", "domains have no conditions; OptunaSearch takes the function of to_optuna")
NO_SEARCHER_CONDITIONS = encoded("", "domains have no conditions")


Searcher: TypeAlias = Literal["optuna"] | bool | None
"""What draws: Ray itself, its OptunaSearch, or (True) any other search algorithm."""
NAME_SEARCHER = "use searcher='optuna' for OptunaSearch, or leave searcher out for Ray's own sampling"


def _write_bounds(p: Float) -> list[object]:
    return [p.low, p.high]


def _write_int_bounds(p: Int) -> list[object]:
    return [p.low, p.high + 1]  # exclusive, but for quantized ints


def _write_grid(p: Float | Int) -> list[object]:
    return [p.low, p.high, p.step]


FORMS: dict[str, Form[list[object]]] = {
    "uniform": Form(lambda searcher, lower, upper: make_range(lower, upper), _write_bounds),
    "loguniform": Form(lambda searcher, lower, upper, base=10: make_range(lower, upper, log=True), _write_bounds),
    "quniform": Form(lambda searcher, lower, upper, q: _quantized_float(lower, upper, q, False, searcher), _write_grid),
    "qloguniform": Form(
        lambda searcher, lower, upper, q, base=10: _quantized_float(lower, upper, q, True, searcher), _write_grid
    ),
    "randint": Form(lambda searcher, lower, upper: _int(lower, upper, False), _write_int_bounds),
    "lograndint": Form(lambda searcher, lower, upper, base=10: _int(lower, upper, True), _write_int_bounds),
    "qrandint": Form(lambda searcher, lower, upper, q=1: _quantized_int(lower, upper, q, False, searcher), _write_grid),
    "qlograndint": Form(
        lambda searcher, lower, upper, q, base=10: _quantized_int(lower, upper, q, True, searcher), _write_grid
    ),
    "randn": Form(lambda searcher, mean=0.0, sd=1.0: _normal(mean, sd), lambda p: [p.mean, p.std]),
    "qrandn": Form(lambda searcher, mean, sd, q: _normal(mean, sd, q), lambda p: [p.mean, p.std, p.step]),
    "choice": Form(lambda searcher, categories: make_categorical(categories), lambda p: [_repeated_choices(p)]),
    "grid_search": Form(lambda searcher, values: make_categorical(values)),
    "constant": Form(lambda searcher, value: Constant(value), lambda p: [copy_if_mutable(p.value)]),
}
"""By the function; it is read with what will draw (the searcher) before the function's own arguments."""
PROXY_FORMS = {"float": "uniform", "int": "randint", "categorical": "choice"}


def _repeated_choices(p: Parameter) -> list[object]:
    if not isinstance(p, Categorical) or p.weights is None:
        return list(p.support or ())
    counts = repeat_counts(p) or ()
    return [copy_if_mutable(choice) for choice, n in zip(p.choices, counts, strict=True) for _ in range(n)]


# -- reading ----------------------------------------------------------------------------------------


def read_call(call: object, args: object = (), kwargs: object = None, *, searcher: Searcher = None) -> Parameter:
    """Return the parameter that a `tune.<call>(*args, **kwargs)` draws.

    >>> read_call("qrandint", [1, 10, 3]), read_call("qrandint", [1, 10, 3], searcher="optuna")
    (Int(3, 9, step=3), Int(1, 10, step=3))
    """
    if isinstance(call, str) and call == "sample_from":
        reject("it is computed by a function (sample_from)", "compute it in the training function instead")
    if not isinstance(call, str) or call not in FORMS:
        reject(f"{short_repr(call)} is not a domain of Ray", f"one of {', '.join(FORMS)}")
    return parse_call(FORMS[call].read, call, args, kwargs, hint="see Ray's signature", given=(searcher,))


def is_domain(entry: object) -> bool:
    """Return whether this is one of Ray's domains, without loading Ray."""
    return hasattr(type(entry), "get_sampler")


def read_domain(domain: Any, searcher: Searcher) -> Parameter:
    """Return the parameter that a domain draws."""
    sampler = getattr(domain, "sampler", None)
    if read := _DOMAINS.get((type(domain).__name__, type(sampler).__name__)):
        return read(domain, sampler)
    kind = type(domain).__name__
    if kind == "Function":
        return read_call("sample_from")
    if kind == "Categorical":  # whatever goes through it
        return _read_choice(domain.categories)
    try:
        sampler = sampler or domain.get_sampler()
    except TypeError:
        reject(f"{short_repr(domain)} has no sampler", "give it one, or use a function of ray.tune")
    is_quantized = type(sampler).__name__ == "Quantized"
    inner = sampler.sampler if is_quantized else sampler
    drawn_by = kind, type(inner).__name__
    if drawn_by not in _DOMAINS:
        reject(f"{short_repr(domain)} is drawn by {drawn_by[1].lstrip('_')}, which no tune function makes")
    if not is_quantized:
        return _DOMAINS[drawn_by](domain, sampler)
    if drawn_by[1].endswith("Normal"):
        return _read_normal(domain, inner, sampler.q)
    return FORMS[_QUANTIZED[drawn_by]].read(searcher, domain.lower, domain.upper, sampler.q)


_DOMAINS: dict[tuple[str, str], Callable[[Any, Any], Parameter]] = {
    ("Float", "_Uniform"): lambda domain, sampler: make_range(domain.lower, domain.upper),
    ("Float", "_LogUniform"): lambda domain, sampler: make_range(domain.lower, domain.upper, log=True),
    ("Float", "_Normal"): lambda domain, sampler: _read_normal(domain, sampler),
    ("Float", "Normal"): lambda domain, sampler: _read_normal(domain, sampler),
    ("Integer", "_Uniform"): lambda domain, sampler: _int(domain.lower, domain.upper, False),
    ("Integer", "_LogUniform"): lambda domain, sampler: _int(domain.lower, domain.upper, True),
    ("Categorical", "_Uniform"): lambda domain, sampler: _read_choice(domain.categories),
}
"""How domains are read, by the names of their class and of their sampler's: Ray need not be imported."""
_QUANTIZED = {
    ("Float", "_Uniform"): "quniform",
    ("Float", "_LogUniform"): "qloguniform",
    ("Integer", "_Uniform"): "qrandint",
    ("Integer", "_LogUniform"): "qlograndint",
}


def _read_choice(categories: Any) -> Parameter:
    parameter = make_categorical(categories)
    if not parameter.issues and not SCALARS.issuperset(map(type, categories)) and would_resolve(list(categories)):
        reject("a choice holds code or a grid for Ray to resolve", "give it a name of its own")
    return parameter


def _read_normal(domain: Any, sampler: Any, q: object = None) -> Parameter:
    if math.isfinite(domain.lower) or math.isfinite(domain.upper):
        reject(f"Ray draws no normal distribution between bounds ({domain.lower}, {domain.upper})", "leave them out")
    return _normal(sampler.mean, sampler.sd, q)


def _normal(mean: object, sd: object, q: object = None) -> Parameter:
    step = None if q is None else float(parse_number("q", q))
    return Normal(parse_number("mean", mean), parse_number("sd", sd), step=step)


def _int(lower: object, upper: object, log: bool) -> Parameter:
    low, end = parse_number("lower", lower, True), parse_number("upper", upper, True)
    if low >= end:
        reject(f"lower {low} is not below upper {end}, which Ray's ints leave out", "raise upper")
    if end - low == 1:
        return Constant(low)
    return Int(low, end - 1, log=True) if log else Int(low, end - 1)


def _quantized_float(lower: object, upper: object, q: object, log: bool, searcher: Searcher) -> Parameter:
    """Return the multiples of q between the bounds."""
    _check_quantized(None, log, searcher)
    low, step, high = _fraction("a bound", lower), _fraction("q", q), _fraction("a bound", upper)
    if step == 0:
        reject("q is 0", "give a q above 0")
    first, last = math.ceil(low / step), math.floor(high / step)
    if step < 0 or last < first:
        _reject_empty(lower, upper, q)
    return make_range(float(first * step), float(last * step), log=log, step=float(step))


def _quantized_int(lower: object, upper: object, q: object, log: bool, searcher: Searcher) -> Parameter:
    low, high, step = (parse_number(name, x, True) for name, x in (("lower", lower), ("upper", upper), ("q", q)))
    if step < 1:
        reject(f"q is {step}", "give a q of 1 or more")
    _check_quantized(step, log, searcher)
    if searcher and log:
        return _int(low, high, log)
    if searcher:
        return make_range(low, low + (high - low) // step * step, step=step, whole=True)
    first, last = -(-low // step) * step, (high // step - (step == 1)) * step
    if last < first:
        _reject_empty(low, high, step)
    return make_range(first, last, log=log, step=step, whole=True)


def _fraction(name: str, value: object) -> Fraction:
    number = parse_number(name, value)
    if not math.isfinite(number):
        reject(f"{name} is {number}, which is not finite", "give a number")
    return Fraction(*shortest_decimal_fraction(float(number)))


def _check_quantized(q: int | None, log: bool, searcher: Searcher) -> None:
    """Reject a quantized domain that search algorithms draw from different distributions, or do not draw."""
    if searcher is True:
        reject("search algorithms draw quantized domains from different distributions", NAME_SEARCHER)
    if searcher == "optuna" and log and q != 1:
        reject("OptunaSearch has no step on a logarithmic scale", "use a domain without q, or leave searcher out")


def _reject_empty(lower: object, upper: object, q: object) -> NoReturn:
    reject(f"no multiple of q={q} lies between {lower} and {upper}", "widen the bounds")
