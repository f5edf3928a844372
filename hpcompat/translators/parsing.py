"""What every reader needs: to reject with a reason, to parse numbers and choices, to collect all issues."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import islice
from typing import Any, NoReturn, TypeVar

from hpcompat.errors import HpcompatError, Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.base import Condition
from hpcompat.space.domains import shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Parameter
from hpcompat.space.serialization import value_from_json
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import MAX_CHOICES, json_issue, length, short_repr, strict_key

MAX_PARAMETERS = 100_000
_MAX_PLAIN_INT = 2**1023
Part = TypeVar("Part")
Entry = TypeVar("Entry")


class TooDeepError(TranslationError):
    """Ends the reading: a dict that contains itself twice would be rejected in as many places as it unfolds to."""


def reject_depth() -> NoReturn:
    """Raise the error of a space that is nested too deeply."""
    reason = f"it is nested more than {MAX_DEPTH} levels deep"
    raise TooDeepError(reason, [Issue("", reason, "flatten it")])


def reject(reason: str, hint: str = "") -> NoReturn:
    """Raise the error of one parameter; `parse_entries` adds its name."""
    raise TranslationError(reason, [Issue("", reason, hint)])


def parse_call(
    reader: Callable[..., Parameter],
    name: str,
    args: object,
    kwargs: object,
    *,
    hint: str,
    given: tuple[object, ...] = (),
) -> Parameter:
    """Return what a function of the same signature reads in the call `name(*args, **kwargs)`; `given` comes first.

    Raises `TranslationError` for arguments that the signature does not take.
    """
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping):
        reject(f"its arguments are {short_repr(args)} and {short_repr(kwargs)}", "a list, and a dict by name")
    try:
        return reader(*given, *args, **kwargs)
    except TypeError:
        # binding first would treble the time that a call takes to read
        try:
            inspect.signature(reader).bind(*given, *args, **kwargs)
        except TypeError as error:
            reject(f"{name} does not take these arguments ({error})", hint)
        reject(f"{name} does not take the arguments {short_repr(args)} and {short_repr(kwargs)}", hint)


def is_data(value: object) -> bool:
    """Return whether a value is data, as JSON and numpy have it, not an object of some library.

    >>> is_data({"a": [1, None]}), is_data({"a": [is_data]})
    (True, False)
    """
    waiting, seen = [value], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, (Mapping, list, tuple)):
            if id(value) not in seen:
                seen.add(id(value))
                waiting += value.values() if isinstance(value, Mapping) else value
        elif not is_plain(value):
            return False
    return True


def is_plain(value: object) -> bool:
    """Return whether a value is a scalar or a container of JSON or numpy, whatever it contains."""
    return (
        value is None
        or isinstance(value, (str, int, float, Mapping, list, tuple))
        or (hasattr(type(value), "item") and hasattr(type(value), "shape"))
    )


def is_list(value: object) -> bool:
    """Return whether a value is a list, a tuple, or an array of numpy's with one dimension."""
    return isinstance(value, (list, tuple)) or (is_plain(value) and getattr(value, "ndim", 0) == 1)


def nested_entries(mapping: Mapping[str, object]) -> Iterator[object]:
    """Yield every value of a dict and of the dicts inside it; those of a dict that is there twice only once.

    >>> list(nested_entries({"lr": 0.1, "model": {"layers": 3}}))
    [0.1, {'layers': 3}, 3]
    """
    waiting, seen = [mapping], {id(mapping)}
    while waiting:
        for entry in waiting.pop().values():
            yield entry
            if isinstance(entry, Mapping) and id(entry) not in seen:
                seen.add(id(entry))
                waiting.append(entry)


def json_data(what: str, data: object, hint: str) -> Any:
    """Return the value that `value_to_json` wrote. Raises `TranslationError` for unknown tags."""
    try:
        return value_from_json(data)
    except (ValueError, TypeError, RecursionError) as error:
        reject(f"{what} {short_repr(data)} ({error})", hint)


def parse_entries(
    dialect: str, read: Callable[[Part], Entry], parts: Iterable[tuple[object, Part]]
) -> dict[str, Entry]:
    """Return what `read` makes of each named part. Raises one `TranslationError` with all issues."""
    entries: dict[str, Entry] = {}
    issues: list[Issue] = []
    seen: set[str] = set()
    coming = iter(parts)
    for name, part in islice(coming, MAX_PARAMETERS):
        if not isinstance(name, str) or not name:
            issues.append(Issue("", f"{short_repr(name)} cannot name a parameter", "use a string"))
        elif name in seen:
            issues.append(Issue(name, "is defined twice", "define it once"))
        else:
            seen.add(name)
            try:
                entries[name] = entry = read(part)
                if found := getattr(entry, "issues", ()):
                    issues += [issue._replace(path=name) for issue in found]
            except TooDeepError:
                raise
            except HpcompatError as error:
                issues += [issue._replace(path=_join_path(name, issue.path)) for issue in error.issues]
    if any(True for _ in coming):
        issues.append(Issue("", f"more than {MAX_PARAMETERS} parameters"))
    if issues:
        raise TranslationError(f"this cannot be read as a space of {dialect}", issues)
    return entries


def _join_path(name: str, where: str) -> str:
    return f"{name}.{where}" if where else name


def build_space(dialect: str, entries: Mapping[str, object]) -> SearchSpace:
    """Return the space of these entries. Raises `TranslationError` for an invalid one."""
    try:
        return SearchSpace(entries)
    except HpcompatError as error:
        raise TranslationError(f"this cannot be read as a space of {dialect}", error.issues) from None


def parse_number(name: str, value: Any, whole: bool = False) -> Any:
    """Return a bound as an int or a float, parsed from a string if need be: YAML 1.1 makes a string of 1e-5."""
    if type(value) is int and -_MAX_PLAIN_INT < value < _MAX_PLAIN_INT:
        return value
    if type(value) is float and not whole:
        return value
    if isinstance(value, str):
        try:
            value = int(value) if whole else float(value)
        except ValueError:
            reject(f"{name} is {short_repr(value)}, not a number")
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        reject(f"{name} is {short_repr(value)}, not a number")
    try:
        fraction = float(value)
    except (TypeError, ValueError, OverflowError):  # an array, or an int of 400 digits
        reject(f"{name} is {short_repr(value)}, not a number that a float holds", "give a smaller one")
    if not whole:
        return value if isinstance(value, int) else fraction
    if not fraction.is_integer():
        reject(f"{name} is {short_repr(value)}, not a whole number", "use whole bounds, or a kind that draws fractions")
    return int(value)


def make_range(low: object, high: object, *, log: bool = False, step: object = None, whole: bool = False) -> Parameter:
    """Return a Float or Int; a Constant where low and high are the same."""
    kind: Callable[..., Parameter] = Int if whole else Float
    if step is None and type(low) is type(high) is (int if whole else float) and low != high:
        return kind(low, high, log=log) if log else kind(low, high)  # a keyword takes a fifth of making it
    first, last = parse_number("low", low, whole), parse_number("high", high, whole)
    stride = None if step is None else parse_number("step", step, whole)
    if first == last:
        return Constant(first if whole else float(first))
    return kind(first, last, log=log) if stride is None else kind(first, last, log=log, step=stride)


def last_grid_value(low: object, high: object, step: object, whole: bool) -> Any:
    """Return the largest low + k * step that does not exceed high, in exact decimals.

    Optuna silently lowers high to it, and so does a reader of what Optuna draws.

    >>> last_grid_value(0.0, 1.0, 0.3, False)
    0.9
    """
    first, last, stride = (parse_number(name, x, whole) for name, x in (("low", low), ("high", high), ("step", step)))
    if stride <= 0 or not (whole or all(-1e300 < x < 1e300 for x in (first, last, stride))):
        return last  # the kind says what is wrong with it
    if whole:
        return first + (last - first) // stride * stride
    first, last, stride = (Fraction(*shortest_decimal_fraction(float(x))) for x in (first, last, stride))
    return float(first + (last - first) // stride * stride)


def make_categorical(values: Any, weights: object = None, ordered: bool = False) -> Categorical:
    """Return a Categorical; a choice that is listed n times is n times as likely."""
    if hasattr(values, "tolist") and getattr(values, "ndim", 0) == 1:  # an array of numpy's
        values = values.tolist()
    if weights is None and type(values) in (list, tuple) and len(values) <= MAX_CHOICES:
        parameter = Categorical(values, ordered=True) if ordered else Categorical(values)
        if not parameter.issues:
            return parameter
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__") or not hasattr(values, "__len__"):
        reject(f"its choices are {short_repr(values)}, not a list", "put them in a list")
    if length(values) > MAX_CHOICES:
        reject(f"it lists more than {MAX_CHOICES} choices", "list fewer, or use a range with a step")
    values = list(values)
    for value in values:
        if (why := json_issue(value)) is not None:
            reject(*why)
    counts: dict[Hashable, float] = {}
    kept = []
    shares = [1] * len(values) if weights is None else weights
    if not isinstance(shares, (list, tuple)) or len(shares) != len(values):
        reject(f"its weights are {short_repr(shares)} for {len(values)} choices", "give one for each choice")
    for value, share in zip(values, shares, strict=True):
        key = strict_key(value)
        if key not in counts:
            kept.append(value)
        counts[key] = counts.get(key, 0) + parse_number("a weight", share)
    parameter = Categorical(kept, weights=list(counts.values()) if kept else None, ordered=ordered)
    if parameter.issues:
        reject(parameter.issues[0].message, parameter.issues[0].hint)
    return parameter


def parse_condition(when: object) -> tuple[Condition, ...]:
    """Return the conditions of a dict of values by parent."""
    if when is None:
        return ()
    if not isinstance(when, Mapping) or not all(isinstance(name, str) for name in when):
        reject(f"its condition is {short_repr(when)}, not a dict by parent")
    return tuple(
        Condition(name, tuple(values) if isinstance(values, list) else (values,)) for name, values in when.items()
    )


def file_hint(given: object) -> str:
    """Return the hint for what may be a path: a string is never opened as a file, for it may come from anywhere."""
    path = os.fsdecode(given) if isinstance(given, os.PathLike) else given
    named = isinstance(path, str) and "\n" not in path and path.lower().endswith((".yaml", ".yml", ".json"))
    return f"give the text of {f'the file: Path({path!r})' if named else 'a file itself: Path(…)'}.read_text()"
