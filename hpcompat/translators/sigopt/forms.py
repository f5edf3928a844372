"""What an experiment can express, and its parameters: how each is written, and how each type is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.values import short_repr
from hpcompat.translators.capabilities import (
    INDEX_LARGE,
    INDEX_LONG,
    MIN_WIDTH,
    NO_LOG_NORMAL,
    NO_ORDER,
    UNIT_LOG_STEP,
    UNIT_NARROW,
    UNIT_WEIGHTS,
    all_of,
    encoded,
    equivalent,
    fits_float_exactly,
    has_min_width,
    is_enumerable,
    native,
)
from hpcompat.translators.codecs import format_literal, parse_literals
from hpcompat.translators.parsing import make_categorical, make_range, parse_number, reject


def has_wide_grid(p: Categorical | Float) -> bool:
    """Return whether the first and the last value are as far apart as bounds must be."""
    ends = (p.choices[0], p.choices[-1]) if isinstance(p, Categorical) else (p.low, p.high)
    return bool(ends[1] - ends[0] >= MIN_WIDTH)


def are_strings(p: Categorical) -> bool:
    """Return whether the choices are categories: two or more strings of 1–50 characters that read as strings."""
    return (
        len(p.choices) >= 2
        and all(
            isinstance(choice, str) and 1 <= len(choice) <= 50 and choice == choice.strip() and choice.isprintable()
            for choice in p.choices
        )
        and parse_literals(p.choices) == tuple(p.choices)
    )


def are_literals(p: Categorical) -> bool:
    """Return whether the choices are numbers, true, false and null whose strings say what they are."""
    written = [format_literal(choice) for choice in p.choices]
    return len(written) >= 2 and all(text is not None and len(text) <= 50 for text in written)


def is_irregular_scale(p: Categorical) -> bool:
    """Return whether the choices are an ordered scale of numbers that does not read back as Int or Float."""
    types = {type(choice) for choice in p.choices}
    if not p.ordered or len(p.choices) < 3 or len(types) != 1 or not types <= {int, float}:
        return False
    is_ascending = all(a < b for a, b in zip(p.choices, p.choices[1:], strict=False))
    return is_ascending and even_step(p.choices) is None


def even_step(values: Sequence[float]) -> float | None:
    """Return the step of ascending numbers that are evenly spaced, in decimals; None if they are not."""
    low, second = (Decimal(repr(value)) for value in values[:2])
    step = type(values[0])(second - low)
    make: Callable[..., Parameter] = Int if type(values[0]) is int else Float
    grid = make(values[0], values[-1], step=step)
    is_even = not grid.issues and grid.size == len(values) and all(map(grid.contains, values))
    return step if is_even else None


def has_interior_mean(p: Normal) -> bool:
    """Return whether the mean lies strictly between two bounds, as SigOpt's prior needs."""
    return p.low is not None and p.high is not None and p.low < p.mean < p.high and has_min_width(p)


def has_several_choices(p: Categorical) -> bool:
    """Return whether there is more than one choice."""
    return len(p.choices) > 1


_LABELS = encoded("labels", "its categories are two or more strings that read as nothing else", has_several_choices)
_ABSENT = encoded("absent", "it needs two values")

CAPABILITIES = {
    "float": (native("bounds", has_min_width), UNIT_NARROW),
    "float log": (native("log_bounds", has_min_width), UNIT_NARROW),
    "float step": (
        native("grid", all_of(is_enumerable, has_wide_grid)),
        encoded("index", "its bounds must lie at least 1e-8 apart", is_enumerable),
        INDEX_LONG,
    ),
    "float log step": (UNIT_LOG_STEP,),
    "int": (native("int_bounds", fits_float_exactly), INDEX_LARGE),
    "int log": (encoded("unit", "it has no logarithmic ints"),),
    "int step": (native("grid", is_enumerable), INDEX_LONG),
    "int log step": (UNIT_LOG_STEP,),
    "categorical": (
        native("categorical_values", are_strings),
        native("literals", are_literals, "stored as strings; decode reads them"),
        _LABELS,
        _ABSENT,
    ),
    "categorical ordered": (
        native("grid", all_of(is_irregular_scale, is_enumerable, has_wide_grid)),
        equivalent("categorical_values", NO_ORDER, are_strings),
        equivalent("literals", NO_ORDER, are_literals),
        _LABELS,
        _ABSENT,
    ),
    "categorical weights": (UNIT_WEIGHTS,),
    "constant": (encoded("absent", "it has no constants; decode brings them back"),),
    "normal": (
        native("normal_prior", has_interior_mean),
        encoded("unit", "its prior needs two bounds around the mean"),
    ),
    "normal log": (encoded("unit", NO_LOG_NORMAL),),
    "normal step": (encoded("unit", "it has no rounded normal distribution"),),
    "normal log step": (encoded("unit", NO_LOG_NORMAL),),
}
NO_CONDITIONS = encoded(
    "", "its conditions need parents without any, written as strings, whose values each activate something"
)


def _bounds(p: Float | Int | Normal) -> dict[str, object]:
    return {"bounds": {"min": p.low, "max": p.high}}


def _grid(p: Parameter) -> dict[str, object]:
    values = list(p.support or ())
    return {"type": "int" if type(values[0]) is int else "double", "grid": values}


def _prior(p: Normal) -> dict[str, object]:
    return {"type": "double", **_bounds(p), "prior": {"name": "normal", "mean": p.mean, "scale": p.std}}


WRITERS: dict[str, Callable[[Any], dict[str, object]]] = {
    "bounds": lambda p: {"type": "double", **_bounds(p)},
    "log_bounds": lambda p: {"type": "double", **_bounds(p), "transformation": "log"},
    "int_bounds": lambda p: {"type": "int", **_bounds(p)},
    "grid": _grid,
    "categorical_values": lambda p: {"type": "categorical", "categorical_values": list(p.choices)},
    "normal_prior": _prior,
}
PROXY_WRITERS = {"float": "bounds", "int": "int_bounds", "categorical": "categorical_values"}


# -- reading ----------------------------------------------------------------------------------------

_KEYS = frozenset(
    (
        *("name", "type", "bounds", "grid", "transformation", "categorical_values", "prior", "conditions"),
        *("default_value", "tunable", "object"),
    )
)


def _bounds_of(config: Mapping[str, object], whole: bool) -> tuple[float, float]:
    bounds = config.get("bounds")
    # a server's answer adds {"object": "bounds"}
    if not isinstance(bounds, Mapping) or bounds.keys() - {"object"} != {"min", "max"}:
        reject(f"its bounds are {short_repr(bounds)}", 'write {"min": …, "max": …}')
    low, high = (parse_number(name, bounds[name], whole) for name in ("min", "max"))
    return low, high


def _parse_bounds(config: Mapping[str, object], whole: bool) -> tuple[float, float]:
    low, high = _bounds_of(config, whole)
    if not whole and not high - low >= MIN_WIDTH:
        reject(f"min {low} is not at least 1e-8 below max {high}, as SigOpt needs", "widen the bounds")
    return low, high


def _is_log(config: Mapping[str, object]) -> bool:
    transformation = config.get("transformation")
    if transformation is not None and (not isinstance(transformation, str) or transformation not in ("none", "log")):
        reject(f"its transformation is {short_repr(transformation)}", 'write "log", or leave it out')
    return transformation == "log"


def _double(config: Mapping[str, object]) -> Parameter:
    if config.get("grid") is not None:
        return _read_grid(config, float)
    low, high = _parse_bounds(config, False)
    log, prior = _is_log(config), config.get("prior")
    if prior is None:
        return make_range(low, high, log=log)
    if not isinstance(prior, Mapping) or prior.get("name") != "normal":
        reject(f"its prior is {short_repr(prior)}", "only a normal prior has a counterpart elsewhere")
    if log:
        reject("SigOpt has no prior on a logarithmic scale", "leave out the transformation or the prior")
    mean, std = parse_number("mean", prior.get("mean")), parse_number("scale", prior.get("scale"))
    return Normal(mean, std, low=low, high=high)


def _int(config: Mapping[str, object]) -> Parameter:
    for key in ("transformation", "prior"):
        if config.get(key) is not None:
            reject(f"an int has no {key} in SigOpt", "leave it out, or use double")
    if config.get("grid") is not None:
        return _read_grid(config, int)
    low, high = _parse_bounds(config, True)
    parameter = make_range(low, high, whole=True)
    if isinstance(parameter, Constant):
        reject(f"min and max are both {low}", "widen the bounds")
    return parameter


def _read_grid(config: Mapping[str, object], kind: type) -> Parameter:
    grid = config["grid"]
    if not isinstance(grid, (list, tuple)) or len(grid) < 2:
        reject(f"its grid is {short_repr(grid)}", "a grid is a list of two or more numbers")
    if _is_log(config) or config.get("prior") is not None:
        reject("a grid with a transformation or a prior has no counterpart elsewhere", "leave it out")
    values = tuple(sorted(kind(parse_number("a grid value", value, kind is int)) for value in grid))
    parameter = make_categorical(values, ordered=True)
    if parameter.size != len(values):
        reject(f"its grid {short_repr(grid)} lists a value twice", "list it once")
    # a server's answer has bounds beside the grid, which are its ends; it takes none of those that are written
    if config.get("bounds") is not None and _bounds_of(config, kind is int) != (values[0], values[-1]):
        ends = f"the grid ends at {short_repr(values[0])} and {short_repr(values[-1])}"
        reject(f"its bounds are {short_repr(config['bounds'])}, and {ends}", "leave out the bounds, or the grid")
    step = even_step(values)
    return parameter if step is None else make_range(values[0], values[-1], step=step, whole=kind is int)


def _categorical(config: Mapping[str, object]) -> Parameter:
    for key in ("bounds", "grid", "transformation", "prior"):
        if config.get(key) is not None:
            reject(f"a categorical has no {key} in SigOpt", "leave it out")
    return read_categories(config.get("categorical_values"))


def read_categories(values: object) -> Categorical:
    """Return the choice between these categories."""
    if not isinstance(values, (list, tuple)) or len(values) < 2:
        reject(f"its values are {short_repr(values)}", "give a list of two or more strings")
    names: list[Any] = [value.get("name") if isinstance(value, Mapping) else value for value in values]
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name.strip()) <= 50:
            hint = f"write {short_repr(name)!r}" if isinstance(name, (int, float)) else ""
            reject(f"{short_repr(name)} is not a category: SigOpt takes strings of 1–50 characters", hint)
    stripped = [name.strip() for name in names]
    if len(set(stripped)) < len(stripped):
        reject(f"{short_repr(stripped)} lists a category twice", "list it once")
    return make_categorical(parse_literals(stripped))


READERS: dict[str, Callable[[Mapping[str, object]], Parameter]] = {
    "double": _double,
    "int": _int,
    "categorical": _categorical,
}


def read_parameter(config: object) -> Parameter:
    """Return the parameter that one entry of the list describes, its name and conditions left out.

    >>> read_parameter({"type": "categorical", "categorical_values": ["16", "32"]})
    Categorical([16, 32])
    """
    if not isinstance(config, Mapping):
        hint = 'write {"name": …, "type": …, "bounds": {…}}'
        reject(f"expected a parameter of SigOpt, got {short_repr(config)}", hint)
    if unknown := [key for key, value in config.items() if key not in _KEYS and value is not None]:
        reject(f"it has an unknown {', '.join(map(short_repr, unknown))}", f"its keys are {', '.join(sorted(_KEYS))}")
    grid = config.get("grid")
    if isinstance(grid, list) and not grid:  # as SigOpt Lite answers for a parameter without one
        config = {key: value for key, value in config.items() if key != "grid"}
    kind = config.get("type")
    if not isinstance(kind, str) or kind not in READERS:
        reject(f"its type is {short_repr(kind)}", f"one of {', '.join(READERS)}")
    return READERS[kind](config)
