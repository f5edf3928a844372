"""What makes a parameter sound, and the law that follows from its arguments.

Each function takes a kind's arguments as given and returns its fields: the arguments in canonical
form, the `issues` found, and where there are none how it is drawn: the law and the support. Nothing
raises here, so that a space can report what is wrong with all its parameters at once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from hpcompat.errors import Issue
from hpcompat.space import arguments
from hpcompat.space.laws import (
    SMALLEST,
    Continuous,
    Discrete,
    Even,
    Gauss,
    LogDistance,
    LogUniform,
    Rounded,
    Uniform,
    Weighted,
)
from hpcompat.space.supports import Choices, Steps, decimal_ratio
from hpcompat.space.values import show, unfit

_MOST = 2**53
_FINEST = 2.0**-51
_NARROWEST = 1e-12  # times the mean: a narrower law has too few floats to be drawn from
_THINNEST = 1e-12
_REACH = 8.3  # in std: how far a normal draw of a unit float can lie from the mean

Fields = dict[str, Any]


def interval(low: Any, high: Any, log: Any, step: Any) -> Fields:
    """The fields of a Float."""
    issues: list[Issue] = []
    low, high = arguments.real("low", low, issues), arguments.real("high", high, issues)
    step = None if step is None else arguments.real("step", step, issues)
    arguments.flag("log", log, issues)
    if not issues:
        _bounds("Float", low, high, log, issues)
    law: Continuous | Discrete | None = None
    support = None
    if not issues and step is None:
        # neighbouring floats can share a logarithm; between them the two laws are the same
        law = LogUniform(low, high) if log and math.log(low) < math.log(high) else Uniform(low, high)
    elif not issues:
        law, support = _grid("Float", low, high, log, step, issues)
    return _fields(issues, law, support, low=low, high=high, log=log, step=step)


def int_range(low: Any, high: Any, log: Any, step: Any) -> Fields:
    """The fields of an Int."""
    issues: list[Issue] = []
    low, high, step = (arguments.whole(name, x, issues) for name, x in (("low", low), ("high", high), ("step", step)))
    arguments.flag("log", log, issues)
    if not issues:
        _bounds("Int", low, high, log, issues)
    law, support = _grid("Int", low, high, log, step, issues) if not issues else (None, None)
    return _fields(issues, law, support, low=low, high=high, log=log, step=step)


def choices(values: Any, weights: Any, ordered: Any) -> Fields:
    """The fields of a Categorical."""
    issues: list[Issue] = []
    arguments.flag("ordered", ordered, issues)
    values = arguments.sequence("choices", values, issues)
    support = None
    if not issues:
        if not values:
            issues.append(Issue("", "there are no choices", "give at least one"))
        issues += value_issues(values)
    if not issues:
        support = Choices(values)
        issues += _duplicates(support)
    if weights is not None:
        weights = _weights(weights, values, issues)
    law: Discrete | None = None
    if not issues:
        law = Even(len(values)) if weights is None else Weighted(weights)
    return _fields(issues, law, support, choices=values, weights=weights, ordered=ordered)


def constant(value: Any) -> Fields:
    """The fields of a Constant."""
    issues = value_issues([value])
    return _fields(list(issues), Even(1), None if issues else Choices((value,)), value=value)


def bell(mean: Any, std: Any, low: Any, high: Any, log: Any, step: Any) -> Fields:
    """The fields of a Normal."""
    issues: list[Issue] = []
    whole = type(step) is int
    mean, std = arguments.real("mean", mean, issues), arguments.real("std", std, issues)
    read = arguments.whole if whole else arguments.real
    low, high, step = (
        None if x is None else read(name, x, issues) for name, x in (("low", low), ("high", high), ("step", step))
    )
    arguments.flag("log", log, issues)
    if not issues:
        _bell_bounds(mean, std, low, high, log, step, issues)
    law: Continuous | Discrete | None = None
    support = None
    if not issues:
        gauss = _gauss(mean, std, low, high, log, step)
        if gauss.mass < _THINNEST:
            issues.append(
                Issue("", f"[{low}, {high}] holds less than 1e-12 of the law's mass", "move or widen the bounds")
            )
        elif step is None:
            law = gauss
        else:
            law, support = _rounded_bell(gauss, low, high, step, whole)
    return _fields(issues, law, support, mean=mean, std=std, low=low, high=high, log=log, step=step)


def value_issues(values: Iterable[Any]) -> tuple[Issue, ...]:
    """An issue for each value that a parameter cannot take."""
    return tuple(Issue("", *why) for value in values if (why := unfit(value)) is not None)


def _fields(issues: list[Issue], law: Any, support: Any, **arguments: Any) -> Fields:
    return {**arguments, "issues": tuple(issues), "_drawn": None if issues else (law, support)}


def _bounds(kind: str, low: Any, high: Any, log: bool, issues: list[Issue]) -> None:
    if low > high:
        issues.append(Issue("", f"low {low} is above high {high}", f"{kind}({high}, {low}) has them in order"))
    elif low == high:
        issues.append(Issue("", f"low and high are both {low}", f"use Constant({low})"))
    elif log and low <= 0:
        issues.append(Issue("", f"log=True needs low above 0, not {low}", "raise low, or leave log out"))
    elif log and low < sys.float_info.min:
        issues.append(Issue("", f"low {low} is finer than floats are", f"raise it to {sys.float_info.min}"))


def _grid(kind: str, low: Any, high: Any, log: bool, step: Any, issues: list[Issue]) -> tuple[Any, Any]:
    """The law and the support of low, low + step, …, high."""
    if step <= 0:
        issues.append(Issue("", f"step is {step}", "give a step above 0"))
        return None, None
    whole = kind == "Int"
    if whole:
        origin, stride, scale = low, step, 1
        count, rest = divmod(high - low, step)
    else:
        origin, stride, scale = _common(low, step)
        span = Fraction(*decimal_ratio(high)) - Fraction(*decimal_ratio(low))
        count = int(span * scale // stride)
        rest = span * scale - count * stride
    nearest = origin + count * stride if whole else (origin + count * stride) / scale
    written = f"{kind}({low}, {nearest}, step={step})" if count else f"Constant({low})"
    if rest:
        issues.append(Issue("", f"step {step} does not divide {low} … {high}", f"{written} is the nearest that fits"))
    elif count >= _MOST:
        issues.append(Issue("", f"it has {count + 1} values, more than 2**53", "narrow it, or widen the step"))
    elif not whole and step < 2 * math.ulp(max(abs(low), abs(high))):
        issues.append(Issue("", f"step {step} is finer than floats near {high} are", "widen the step, or leave it out"))
    elif log and 2 * low <= step:
        issues.append(Issue("", f"log=True needs low above step/2, not {low} with step {step}", "raise low"))
    elif log and _top_share(low, high, step) < _FINEST:
        hint = "narrow the range, or widen the step"
        issues.append(Issue("", "log=True makes its upper values too unlikely ever to be drawn", hint))
    if issues:
        return None, None
    support = Steps(origin, stride, scale, 0, count, whole)
    if not log:
        return Even(count + 1), support
    if high < 2 * low:
        return Rounded(LogDistance(low - step / 2, high - low + step), step / 2, float(step), 0, count), support
    law = LogUniform(low - step / 2, high + step / 2)
    return Rounded(law, float(low), float(step), 0, count), support


def _common(low: float, step: float) -> tuple[int, int, int]:
    (a, p), (b, q) = decimal_ratio(low), decimal_ratio(step)
    scale = math.lcm(p, q)
    return a * (scale // p), b * (scale // q), scale


def _top_share(low: float, high: float, step: float) -> float:
    try:
        # the difference of two logarithms loses what a narrow range consists of
        return float(step / high / math.log1p((high - low + step) / (low - step / 2)))
    except OverflowError:
        return 0.0


def _duplicates(support: Choices) -> list[Issue]:
    if support.distinct == support.size:
        return []
    seen = {}
    for index in range(len(support)):
        value = support.values[index]
        first = support.index(value)
        if first in seen:
            return [Issue("", f"{show(value)} is listed twice", "list it once; use weights to make it likelier")]
        seen[first] = value
    return []


def _weights(weights: Any, values: Any, issues: list[Issue]) -> Any:
    weights = arguments.sequence("weights", weights, issues)
    if issues:
        return weights
    weights = tuple([arguments.real("a weight", weight, issues) for weight in weights])
    if issues:
        return weights
    if len(weights) != len(values):
        issues.append(Issue("", f"{len(weights)} weights for {len(values)} choices", "give one for each choice"))
    elif min(weights) <= 0:
        issues.append(Issue("", f"a weight is {min(weights)}", "leave out the choices that are never to be drawn"))
    else:
        weights, total = _summed(weights)
        if not math.isclose(total, 1.0, rel_tol=1e-12):
            weights = tuple(weight / total for weight in weights)
        if min(weights) < _FINEST:
            issues.append(Issue("", "a choice is too unlikely ever to be drawn", "leave it out, or raise its weight"))
        elif min(weights) == max(weights):
            return None
    return weights


def _summed(weights: tuple[float, ...]) -> tuple[tuple[float, ...], float]:
    """The weights and their sum, both scaled down where it is more than a float holds."""
    try:
        return weights, math.fsum(weights)
    except OverflowError:
        scaled = tuple(weight * 2.0**-128 for weight in weights)
        return scaled, math.fsum(scaled)


def _bell_bounds(mean: float, std: float, low: Any, high: Any, log: bool, step: Any, issues: list[Issue]) -> None:
    if std <= 0:
        hint = "use Constant" if std == 0 else "give a std above 0"
        issues.append(Issue("", f"std is {std}", hint))
    elif std < abs(mean) * _NARROWEST:
        issues.append(Issue("", f"std {std} is lost beside mean {mean}", "use Constant, or a larger std"))
    if low is not None and high is not None and low >= high:
        hint = f"use Constant({low})" if low == high else "swap them"
        issues.append(Issue("", f"low {low} is not below high {high}", hint))
    if log and low is not None and (low < 0 or (low == 0 and step is None)):
        issues.append(Issue("", f"log=True draws nothing at or below 0, and low is {low}", "leave low out"))
    if log and high is not None and high <= 0:
        issues.append(Issue("", f"log=True draws nothing at or below 0, and high is {high}", "raise high"))
    if not log and (low is None or high is None) and not math.isfinite(abs(mean) + _REACH * std):
        hint = "lower them, or set low and high"
        issues.append(Issue("", f"{mean} ± {_REACH} · {std} is beyond what a float holds", hint))
    if log and ((high is None and mean + _REACH * std > 709) or (low is None and mean - _REACH * std < -744)):
        hint = "mean and std are those of the logarithm; or set low and high"
        issues.append(Issue("", f"exp of {mean} ± {_REACH} · {std} is beyond what a float holds", hint))
    if step is not None:
        _bell_step(mean, std, low, high, log, step, issues)


def _bell_step(mean: float, std: float, low: Any, high: Any, log: bool, step: Any, issues: list[Issue]) -> None:
    if step <= 0:
        issues.append(Issue("", f"step is {step}", "give a step above 0"))
        return
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and multiple_of(bound, step) is None:
            nearest = math.floor(bound / step) * step
            issues.append(
                Issue("", f"{name} {bound} is no multiple of step {step}", f"{nearest} and {nearest + step} are")
            )
    tops = [abs(bound) for bound in (low, high) if bound is not None]
    tops += [math.exp(min(mean + _REACH * std, 709.0))] if log and high is None else []
    if (
        any(top > sys.float_info.max * min(step, 1.0) for top in tops)
        or (not log and std / step > 2**40)
        or abs(mean) > 2**52 * step
    ):
        issues.append(Issue("", f"step {step} is too fine beside mean {mean} and std {std}", "leave step out"))


def multiple_of(bound: Any, step: Any) -> int | None:
    """Which multiple of the step a bound is, in exact decimals; None if it is not a multiple.

    >>> multiple_of(1.5, 0.5), multiple_of(0.3, 0.1), multiple_of(0.75, 0.5)
    (3, 3, None)
    """
    quotient = Fraction(*decimal_ratio(float(bound))) / Fraction(*decimal_ratio(float(step)))
    return quotient.numerator if quotient.denominator == 1 else None


def _gauss(mean: float, std: float, low: Any, high: Any, log: bool, step: Any) -> Gauss:
    margin = 0.0 if step is None else step / 2
    left = -math.inf if low is None else low - margin
    right = math.inf if high is None else high + margin
    return Gauss(mean, std, left, right, log)


def _rounded_bell(gauss: Gauss, low: Any, high: Any, step: Any, whole: bool) -> tuple[Rounded, Steps]:
    stride, scale = (step, 1) if whole else decimal_ratio(step)
    # what no unit float reaches is no value: draws end at these quantiles
    reach = Rounded(gauss, 0.0, float(step), -math.inf, math.inf)
    first = reach.quantile(SMALLEST) if low is None else multiple_of(low, step)
    last = reach.quantile(1.0 - SMALLEST) if high is None else multiple_of(high, step)
    law = Rounded(gauss, 0.0, float(step), first or 0, last or 0)
    return law, Steps(0, stride, scale, first or 0, last or 0, whole)
