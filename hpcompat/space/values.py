"""The values of parameters: any JSON value, and tuples, compared by type and value."""

from __future__ import annotations

import copy
import sys
from collections.abc import Hashable, Sequence, Sized
from enum import Enum
from os import PathLike
from typing import Any, TypeVar

SCALARS = frozenset({str, int, float, bool, type(None)})
MAX_NESTING = 32
MAX_BITS = 1024
"""Longer ints exceed every float, and Python refuses to print those of some thousand digits."""
MAX_CHOICES = 1_000_000
"""More choices than anyone lists: a range is not written out."""
_INFINITY = float("inf")
T = TypeVar("T")


def strict_key(value: Any) -> Hashable:
    """Return a hashable key that keeps 1, 1.0 and True apart, at any depth.

    >>> strict_key(1) == strict_key(True), strict_key([1]) == strict_key([1.0]), strict_key((1,)) == strict_key([1])
    (False, False, False)
    """
    kind = type(value)
    if kind is list or kind is tuple:
        return kind, tuple([strict_key(item) for item in value])
    if kind is dict:
        return kind, frozenset([(key, strict_key(item)) for key, item in value.items()])
    return kind, value


def strict_equal(one: object, other: object) -> bool:
    """Return whether two values are equal in value and in type, at any depth.

    >>> strict_equal([1], [1]), strict_equal([1], [True]), strict_equal(1, True)
    (True, False, False)
    """
    if one is other or type(one) is not type(other):
        return one is other
    return bool(one == other) if type(one) in SCALARS else strict_key(one) == strict_key(other)


def is_scalar(value: object) -> bool:
    """Return whether a value is a str, int, float, bool or None, and not a subclass of one."""
    return type(value) in SCALARS


def json_issue(value: Any, depth: int = 0) -> tuple[str, str] | None:
    """Return why a parameter cannot take a value, and a hint; None if it can.

    >>> json_issue(("a", [1, None])) is None
    True
    >>> json_issue({1, 2})
    ('set is not a JSON value', 'use a list, or a name that your code maps to the object')
    """
    kind = type(value)
    if kind is str:
        valid = value.isascii() or _is_encodable(value)
        return None if valid else (f"{short_repr(value)} is not valid text", "remove its lone surrogates")
    if kind is float:
        finite = -_INFINITY < value < _INFINITY
        return None if finite else (f"{value} is not finite", "use a string or None in its place")
    if kind is int and value.bit_length() > MAX_BITS:
        return f"an int of more than {MAX_BITS} bits", "use a string in its place"
    if kind in SCALARS:
        return None
    if depth >= MAX_NESTING:
        return f"it is nested more than {MAX_NESTING} levels deep", "flatten it"
    if kind is list or kind is tuple:
        return next((issue for item in value if (issue := json_issue(item, depth + 1))), None)
    if kind is dict:
        if not all(type(key) is str for key in value):
            return "a dict whose keys are not all strings is not a JSON value", "use string keys"
        return next((issue for item in value.values() if (issue := json_issue(item, depth + 1))), None)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return f"{kind.__name__} is not a JSON value", "call .item() on it"
    plain = next((base.__name__ for base in (bool, int, float, str, list, dict) if isinstance(value, base)), None)
    if plain:
        return f"{kind.__name__} is not a plain {plain}", f"convert it with {plain}(…), or give its .value"
    if isinstance(value, Enum):
        return f"{kind.__name__} is not a JSON value", "give its .value, or its .name"
    if isinstance(value, PathLike):
        return f"{kind.__name__} is not a JSON value", "convert it with str(…)"
    return f"{kind.__name__} is not a JSON value", "use a list, or a name that your code maps to the object"


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def copy_if_mutable(value: T) -> T:
    """Return the value itself if it cannot be changed, else a copy that its owner may change."""
    return value if type(value) in SCALARS else copy.deepcopy(value)


def copy_if_valid(value: T) -> T:
    """Return a copy of a value that a parameter can take: the caller's own lists may change later, its values may not.

    What is not a JSON value is returned as it is: it is an issue, and copying it may do anything.
    """
    return value if type(value) in SCALARS or json_issue(value) else copy.deepcopy(value)


def copy_list_if_mutable(values: Sequence[T]) -> list[T]:
    """Return a list of the values, mutable ones copied."""
    return list(values) if SCALARS.issuperset(map(type, values)) else list(map(copy_if_mutable, values))


def length(values: Sized) -> int:
    """Return the number of items; at most `sys.maxsize`, where `len` raises: range(10**30)."""
    try:
        return len(values)
    except OverflowError:
        return sys.maxsize


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> pluralize(1, "value"), pluralize(2, "value")
    ('1 value', '2 values')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def short_repr(value: object, width: int = 60) -> str:
    """Return the `repr` for a message, cut in the middle to at most `width` characters.

    >>> short_repr(list(range(1000)), 20)
    '[0, 1, 2, …98, 999]'
    """
    if isinstance(value, (list, tuple)) and len(value) > width:
        head, tail = repr(value[: width // 2]), repr(value[-width // 2 :])
        text = f"{head[:-1]}, {tail[1:]}"
    else:
        try:
            text = repr(value)
        except Exception:  # the __repr__ of user code must not hide the message that it is part of
            text = f"<{type(value).__name__}>"
    if len(text) <= width:
        return text
    return f"{text[: width // 2]}…{text[-(width // 2 - 2) :]}"
