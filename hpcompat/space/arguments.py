"""Arguments as a person gives them, made canonical: a float, an int, a flag, a sequence.

What is none of these stays as it was given, with a `Issue` in the list that each function is handed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from hpcompat.errors import Issue
from hpcompat.space.values import MOST_BITS, is_scalar, length, show, unfit

_MOST = 1_000_000
"""More choices than anyone lists: what a range stands for is not written out."""


def flag(name: str, value: Any, issues: list[Issue]) -> None:
    if type(value) is not bool:
        issues.append(Issue("", f"{name} is {show(value)}", "give True or False"))


def real(name: str, value: Any, issues: list[Issue]) -> Any:
    """The argument as a float; what is none stays as it is, with an issue."""
    if type(value) is float:
        number = value
    elif isinstance(value, (str, bool)) or not hasattr(value, "__float__"):
        issues.append(Issue("", f"{name} is {show(value)}, which is not a number", _number_hint(value)))
        return value
    else:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, int) and number != value:
            issues.append(Issue("", f"{name} {show(value)} has no exact float", "use Int, or a float"))
            return value
    if not math.isfinite(number):
        issues.append(Issue("", f"{name} is {show(value)}, which is not finite", "give a finite bound"))
    return number


def whole(name: str, value: Any, issues: list[Issue]) -> Any:
    """The argument as an int; what is none stays as it is, with an issue."""
    if type(value) is int and value.bit_length() > MOST_BITS:
        issues.append(Issue("", f"{name} has more than {MOST_BITS} bits", "give a smaller one"))
    if type(value) is int:
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        whole = isinstance(value, float) and value.is_integer()
        fraction = hasattr(value, "__float__") and not isinstance(value, bool)
        other = "use Float for fractions" if fraction else "give an int"
        hint = f"write {int(value)}" if whole else _number_hint(value, int) or other
        issues.append(Issue("", f"{name} is {show(value)}, which is not an int", hint))
        return value
    try:
        return value.__index__()
    except TypeError:  # an array
        issues.append(Issue("", f"{name} is {show(value)}, which is not an int", "give an int"))
        return value


def _number_hint(value: Any, kind: type = float) -> str:
    try:
        return f"write {kind(value)!r} without quotes" if isinstance(value, str) else ""
    except ValueError:
        return ""


def sequence(name: str, values: Any, issues: list[Issue]) -> Any:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__") or not hasattr(values, "__len__"):
        hint = f"put it in a list: [{show(values)}]" if is_scalar(values) else "give a list"
        issues.append(Issue("", f"{name} is {show(values)}, not a list", hint))
        return values
    if isinstance(values, (set, frozenset)):
        issues.append(Issue("", f"{name} is a set, whose order changes from run to run", "give a list"))
        return values
    if isinstance(values, Mapping):
        hint = "give a list of its keys; how likely each one is goes to weights"
        issues.append(Issue("", f"{name} is a {type(values).__name__}, whose values would be lost", hint))
        return values
    if hasattr(values, "tolist") and getattr(values, "ndim", 0) == 1:  # an array of numpy's, a column of pandas'
        values = values.tolist()
    if hasattr(values, "tolist"):
        issues.append(Issue("", f"{name} is a {type(values).__name__}", "call .tolist() on it"))
        return values
    if length(values) > _MOST:
        issues.append(Issue("", f"{name} has more than {_MOST} items", "use Int or Float with a step"))
        return values
    if type(values) in (list, tuple):
        return _frozen(values)
    return _frozen(list(values))


def _frozen(values: Any) -> tuple[Any, ...]:
    # the caller's own lists and dicts may change later; those inside a space may not. What is no JSON value is
    # left as it is, an issue: there is no knowing what copying it does
    return tuple([value if is_scalar(value) or unfit(value) else copy.deepcopy(value) for value in values])
