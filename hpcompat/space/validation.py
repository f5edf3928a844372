"""What makes the arguments of a parameter valid, and their canonical form.

Each `validate_x` takes the arguments of a parameter as given, and returns the canonical ones with the issues found.
Nothing raises here, so that a space can report the issues of all its parameters at once.

Most arguments are canonical and valid already: an early return for these makes reading a large space thrice as fast.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hpcompat.errors import Issue
from hpcompat.space.distributions import normal_distribution
from hpcompat.space.domains import ChoiceDomain, Grid, multiple_of
from hpcompat.space.values import MAX_BITS, MAX_CHOICES, copy_if_valid, is_scalar, json_issue, length, short_repr

MAX_GRID_SIZE = 2**53
MIN_PROBABILITY = 2.0**-51
MIN_RELATIVE_STD = 1e-12
"""Times the mean: a narrower normal distribution has too few floats to draw from."""
MIN_NORMALIZER = 1e-12
MAX_ABS_Z = 8.3
"""How far from the mean, in std, a normal draw of a unit float can lie."""
MAX_PLAIN_INT = 2**52
MAX_PLAIN_LOG_INT = 2**40
"""Larger ints on a logarithmic scale may be too unlikely to be drawn."""
_MIN_FLOAT, _MAX_FLOAT = sys.float_info.min, sys.float_info.max


class Validated(NamedTuple):
    """Arguments by name, in canonical form, where that differs from what was given; and the issues."""

    values: dict[str, object]
    issues: tuple[Issue, ...] = ()


_AS_GIVEN = Validated({})


def validate_float(low: float, high: float, log: bool, step: float | None) -> Validated:
    """Validate the arguments of a Float."""
    are_floats = step is None and type(low) is float and type(high) is float and type(log) is bool
    if are_floats and (_MIN_FLOAT if log else -_MAX_FLOAT) <= low < high <= _MAX_FLOAT:
        return _AS_GIVEN
    issues: list[Issue] = []
    low, high = _to_float("low", low, issues), _to_float("high", high, issues)
    step = None if step is None else _to_float("step", step, issues)
    _require_bool("log", log, issues)
    if not issues:
        _validate_bounds("Float", low, high, log, issues)
    if not issues and step is not None:
        _validate_grid("Float", low, high, log, step, issues)
    return Validated({"low": low, "high": high, "log": log, "step": step}, tuple(issues))


def validate_int(low: int, high: int, log: bool, step: int) -> Validated:
    """Validate the arguments of an Int."""
    are_ints = type(low) is int and type(high) is int and type(step) is int and type(log) is bool
    lowest, end = (1, MAX_PLAIN_LOG_INT) if log is True else (-MAX_PLAIN_INT, MAX_PLAIN_INT)
    if are_ints and step == 1 and lowest <= low < high < end:
        return _AS_GIVEN
    issues: list[Issue] = []
    low, high, step = (_to_int(name, value, issues) for name, value in (("low", low), ("high", high), ("step", step)))
    _require_bool("log", log, issues)
    if not issues:
        _validate_bounds("Int", low, high, log, issues)
    if not issues:
        _validate_grid("Int", low, high, log, step, issues)
    return Validated({"low": low, "high": high, "log": log, "step": step}, tuple(issues))


def validate_categorical(choices: Sequence[object], weights: Sequence[float] | None, ordered: bool) -> Validated:
    """Validate the arguments of a Categorical."""
    if weights is None and type(ordered) is bool and _are_plain_choices(choices):
        return Validated({"choices": tuple(choices)})
    issues: list[Issue] = []
    _require_bool("ordered", ordered, issues)
    choices = _to_tuple("choices", choices, issues)
    if not issues:
        if not choices:
            issues.append(Issue("", "got no choices", "give at least one"))
        issues += validate_values(choices)
    if not issues:
        issues += _duplicates(ChoiceDomain(tuple(choices)))
    if weights is not None:
        weights = _normalize_weights(weights, choices, issues)
    return Validated({"choices": choices, "weights": weights, "ordered": ordered}, tuple(issues))


def _are_plain_choices(choices: Sequence[Any]) -> bool:
    """Return whether choices are a list or tuple of distinct strings, or of distinct small ints."""
    if type(choices) not in (list, tuple) or not choices:
        return False
    types = set(map(type, choices))
    if types == {str}:
        is_plain = "".join(choices).isascii()
    else:
        is_plain = types == {int} and min(choices) > -MAX_PLAIN_INT and max(choices) < MAX_PLAIN_INT
    return is_plain and len(set(choices)) == len(choices)


def validate_constant(value: object) -> Validated:
    """Validate the argument of a Constant."""
    return Validated({"value": copy_if_valid(value)}, validate_values([value]))


def validate_normal(
    mean: float, std: float, low: float | None, high: float | None, log: bool, step: float | None
) -> Validated:
    """Validate the arguments of a Normal; an int step makes it one of ints."""
    issues: list[Issue] = []
    mean, std = _to_float("mean", mean, issues), _to_float("std", std, issues)
    to_number = _to_int if hasattr(step, "__index__") and not isinstance(step, bool) else _to_float
    low, high, step = (
        None if value is None else to_number(name, value, issues)
        for name, value in (("low", low), ("high", high), ("step", step))
    )
    _require_bool("log", log, issues)
    if not issues:
        _validate_normal_bounds(mean, std, low, high, log, step, issues)
    if not issues and normal_distribution(mean, std, low, high, log, step).normalizer < MIN_NORMALIZER:
        message = f"[{low}, {high}] holds less than 1e-12 of the distribution"
        issues.append(Issue("", message, "move or widen the bounds"))
    arguments = {"mean": mean, "std": std, "low": low, "high": high, "log": log, "step": step}
    return Validated(arguments, tuple(issues))


def validate_values(values: Iterable[object]) -> tuple[Issue, ...]:
    """Return an issue for each value that a parameter cannot take."""
    return tuple(Issue("", *issue) for value in values if (issue := json_issue(value)) is not None)


# -- ranges and grids -------------------------------------------------------------------------------


def _validate_bounds(kind: str, low: float, high: float, log: bool, issues: list[Issue]) -> None:
    if low > high:
        issues.append(Issue("", f"low {low} is above high {high}", f"{kind}({high}, {low}) has them in order"))
    elif low == high:
        issues.append(Issue("", f"low and high are both {low}", f"use Constant({low})"))
    elif log and low <= 0:
        issues.append(Issue("", f"log=True needs low above 0, not {low}", "raise low, or leave log out"))
    elif log and low < _MIN_FLOAT:
        issues.append(Issue("", f"low {low} is finer than floats are", f"raise it to {_MIN_FLOAT}"))


def _validate_grid(kind: str, low: float, high: float, log: bool, step: float, issues: list[Issue]) -> None:
    """Add what is wrong with low, low + step, …, high."""
    if step <= 0:
        issues.append(Issue("", f"step is {step}", "give a step above 0"))
        return
    grid, ends_in_high = Grid.between(low, high, step)
    last = int(grid.last)
    if not ends_in_high:
        valid = f"{kind}({low}, {grid[last]}, step={step})" if last else f"Constant({low})"
        issues.append(Issue("", f"step {step} does not divide {low} … {high}", f"{valid} is the nearest that fits"))
    elif last >= MAX_GRID_SIZE:
        issues.append(Issue("", f"it has {last + 1} values, more than 2**53", "narrow it, or widen the step"))
    elif not grid.is_integer and step < 2 * math.ulp(max(abs(low), abs(high))):
        message = f"step {step} is finer than floats near {high} are"
        issues.append(Issue("", message, "widen the step, or leave it out"))
    elif log and 2 * low <= step:
        issues.append(Issue("", f"log=True needs low above step/2, not {low} with step {step}", "raise low"))
    elif log and _last_bin_probability(low, high, step) < MIN_PROBABILITY:
        hint = "narrow the range, or widen the step"
        issues.append(Issue("", "log=True makes its upper values too unlikely ever to be drawn", hint))


def _last_bin_probability(low: float, high: float, step: float) -> float:
    try:
        # the difference of two logarithms loses what a narrow range consists of
        return float(step / high / math.log1p((high - low + step) / (low - step / 2)))
    except OverflowError:
        return 0.0


# -- choices and weights ----------------------------------------------------------------------------


def _duplicates(domain: ChoiceDomain) -> list[Issue]:
    if domain.n_distinct == domain.size:
        return []
    seen = set()
    for value in domain.values:
        first = domain.index(value)
        if first in seen:
            return [Issue("", f"{short_repr(value)} is listed twice", "list it once; use weights to make it likelier")]
        seen.add(first)
    return []


def _normalize_weights(
    weights: Sequence[float], choices: Sequence[object], issues: list[Issue]
) -> Sequence[float] | None:
    """Return weights that sum to one, or None for equal ones."""
    weights = _to_tuple("weights", weights, issues)
    if not issues:
        weights = tuple([_to_float("a weight", weight, issues) for weight in weights])
    if issues:
        return weights
    if len(weights) != len(choices):
        issues.append(Issue("", f"{len(weights)} weights for {len(choices)} choices", "give one for each choice"))
    elif min(weights) <= 0:
        issues.append(Issue("", f"a weight is {min(weights)}", "leave out the choices that are never to be drawn"))
    else:
        try:
            total = math.fsum(weights)
        except OverflowError:
            weights = tuple(weight * 2.0**-128 for weight in weights)
            total = math.fsum(weights)
        if not math.isclose(total, 1.0, rel_tol=1e-12):
            weights = tuple(weight / total for weight in weights)
        if min(weights) < MIN_PROBABILITY:
            issues.append(Issue("", "a choice is too unlikely ever to be drawn", "leave it out, or raise its weight"))
        elif min(weights) == max(weights):
            return None
    return weights


# -- normal distributions ---------------------------------------------------------------------------


def _validate_normal_bounds(
    mean: float, std: float, low: float | None, high: float | None, log: bool, step: float | None, issues: list[Issue]
) -> None:
    if std <= 0:
        hint = "use Constant" if std == 0 else "give a std above 0"
        issues.append(Issue("", f"std is {std}", hint))
    elif std < abs(mean) * MIN_RELATIVE_STD:
        issues.append(Issue("", f"std {std} is lost beside mean {mean}", "use Constant, or a larger std"))
    if low is not None and high is not None and low >= high:
        hint = f"use Constant({low})" if low == high else "swap them"
        issues.append(Issue("", f"low {low} is not below high {high}", hint))
    if log and low is not None and (low < 0 or (low == 0 and step is None)):
        issues.append(Issue("", f"log=True draws nothing at or below 0, and low is {low}", "leave low out"))
    if log and high is not None and high <= 0:
        issues.append(Issue("", f"log=True draws nothing at or below 0, and high is {high}", "raise high"))
    if not log and (low is None or high is None) and not math.isfinite(abs(mean) + MAX_ABS_Z * std):
        hint = "lower them, or set low and high"
        issues.append(Issue("", f"{mean} ± {MAX_ABS_Z} · {std} is beyond what a float holds", hint))
    if log and ((high is None and mean + MAX_ABS_Z * std > 709) or (low is None and mean - MAX_ABS_Z * std < -744)):
        hint = "mean and std are those of the logarithm; or set low and high"
        issues.append(Issue("", f"exp of {mean} ± {MAX_ABS_Z} · {std} is beyond what a float holds", hint))
    if step is not None:
        _validate_normal_step(mean, std, low, high, log, step, issues)


def _validate_normal_step(
    mean: float, std: float, low: float | None, high: float | None, log: bool, step: float, issues: list[Issue]
) -> None:
    if step <= 0:
        issues.append(Issue("", f"step is {step}", "give a step above 0"))
        return
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and multiple_of(bound, step) is None:
            nearest = math.floor(bound / step) * step
            message = f"{name} {bound} is not a multiple of step {step}"
            issues.append(Issue("", message, f"{nearest} and {nearest + step} are"))
    ends = [abs(bound) for bound in (low, high) if bound is not None]
    ends += [math.exp(min(mean + MAX_ABS_Z * std, 709.0))] if log and high is None else []
    if (
        any(end > _MAX_FLOAT * min(step, 1.0) for end in ends)
        or (not log and std / step > 2**40)
        or abs(mean) > 2**52 * step
    ):
        issues.append(Issue("", f"step {step} is too fine beside mean {mean} and std {std}", "leave step out"))


# -- single arguments: what cannot be converted is returned as it is, with an issue -------------------


def _require_bool(name: str, value: object, issues: list[Issue]) -> None:
    if type(value) is not bool:
        issues.append(Issue("", f"{name} is {short_repr(value)}", "give True or False"))


def _to_float(name: str, value: object, issues: list[Issue]) -> Any:
    if type(value) is float:
        number = value
    elif isinstance(value, (str, bool)) or not hasattr(value, "__float__"):
        issues.append(Issue("", f"{name} is {short_repr(value)}, which is not a number", _number_hint(value)))
        return value
    else:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, int) and number != value:
            issues.append(Issue("", f"{name} {short_repr(value)} has no exact float", "use Int, or a float"))
            return value
    if not math.isfinite(number):
        issues.append(Issue("", f"{name} is {short_repr(value)}, which is not finite", "give a finite bound"))
    return number


def _to_int(name: str, value: object, issues: list[Issue]) -> Any:
    if type(value) is int:
        if value.bit_length() > MAX_BITS:
            issues.append(Issue("", f"{name} has more than {MAX_BITS} bits", "give a smaller one"))
        return value
    message = f"{name} is {short_repr(value)}, which is not an int"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        is_fraction = hasattr(value, "__float__") and not isinstance(value, bool)
        otherwise = "use Float for fractions" if is_fraction else "give an int"
        hint = _number_hint(value, int) or otherwise
        if isinstance(value, float) and value.is_integer():
            hint = f"write {int(value)}"
        issues.append(Issue("", message, hint))
        return value
    try:
        return value.__index__()
    except TypeError:  # an array
        issues.append(Issue("", message, "give an int"))
        return value


def _number_hint(value: object, kind: type = float) -> str:
    try:
        return f"write {kind(value)!r} without quotes" if isinstance(value, str) else ""
    except ValueError:
        return ""


def _to_tuple(name: str, values: Any, issues: list[Issue]) -> Any:
    """Return a list, a tuple or an array of one dimension as a tuple, of copies where they can be changed."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__") or not hasattr(values, "__len__"):
        hint = f"put it in a list: [{short_repr(values)}]" if is_scalar(values) else "give a list"
        issues.append(Issue("", f"{name} is {short_repr(values)}, not a list", hint))
        return values
    if isinstance(values, (set, frozenset)):
        issues.append(Issue("", f"{name} is a set, whose order changes from run to run", "give a list"))
        return values
    if isinstance(values, Mapping):
        hint = "give a list of its keys; how likely each one is goes to weights" if name == "choices" else "give a list"
        issues.append(Issue("", f"{name} is a {type(values).__name__}, whose values would be lost", hint))
        return values
    if hasattr(values, "tolist") and getattr(values, "ndim", 0) == 1:  # an array of numpy's, a column of pandas'
        values = values.tolist()
    if hasattr(values, "tolist"):
        issues.append(Issue("", f"{name} is a {type(values).__name__}", "call .tolist() on it"))
        return values
    if length(values) > MAX_CHOICES:
        issues.append(Issue("", f"{name} has more than {MAX_CHOICES} items", "use Int or Float with a step"))
        return values
    return tuple(map(copy_if_valid, list(values)))
