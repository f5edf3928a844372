"""Values that a parameter can take: any JSON value, and tuples. Compared by type *and* value."""

from __future__ import annotations

import copy
import sys
from collections.abc import Hashable, Sequence
from enum import Enum
from os import PathLike
from typing import Any

SCALARS = frozenset({str, int, float, bool, type(None)})
_DEPTH = 32
MOST_BITS = 1024
"""Longer ints than any float: Python itself refuses to print those of some thousand digits."""
_INFINITY = float("inf")


def identity(value: Any) -> Hashable:
    """A hashable stand-in under which 1, 1.0 and True stay apart, at any depth.

    >>> identity(1) == identity(True), identity([1]) == identity([1.0]), identity((1,)) == identity([1])
    (False, False, False)
    """
    kind = type(value)
    if kind is list or kind is tuple:
        return kind, tuple([identity(item) for item in value])
    if kind is dict:
        return kind, frozenset([(key, identity(item)) for key, item in value.items()])
    return kind, value


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, at any depth."""
    if one is other or type(one) is not type(other):
        return one is other
    return bool(one == other) if type(one) in SCALARS else identity(one) == identity(other)


def is_scalar(value: Any) -> bool:
    """A str, int, float, bool or None, and no subclass of one."""
    return type(value) in SCALARS


def unfit(value: Any, depth: int = 0) -> tuple[str, str] | None:
    """Why `value` cannot be a parameter's value, with the way out; None if it can.

    >>> unfit(("a", [1, None])) is None
    True
    >>> unfit({1, 2})
    ('set is not a JSON value', 'use a list, or a name that your code maps to the object')
    """
    kind = type(value)
    if kind is str:
        return None if value.isascii() or _is_text(value) else (f"{show(value)} is not valid text", "mend the text")
    if kind is float:
        finite = -_INFINITY < value < _INFINITY
        return None if finite else (f"{value} is not finite", "use a string or None in its place")
    if kind is int and value.bit_length() > MOST_BITS:
        return f"an int of more than {MOST_BITS} bits", "use a string in its place"
    if kind in SCALARS:
        return None
    if depth >= _DEPTH:
        return "it is nested more than 32 levels deep", "flatten it"
    if kind is list or kind is tuple:
        return next((issue for item in value if (issue := unfit(item, depth + 1))), None)
    if kind is dict:
        if not all(type(key) is str for key in value):
            return "a dict with keys that are no strings is not a JSON value", "use string keys"
        return next((issue for item in value.values() if (issue := unfit(item, depth + 1))), None)
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


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def fresh(value: Any) -> Any:
    """The value itself if nothing can change it, else a copy that its owner may change."""
    return value if type(value) in SCALARS else copy.deepcopy(value)


def fresh_list(values: Sequence[Any]) -> list[Any]:
    """A list of the values, `fresh` each."""
    return list(values) if SCALARS.issuperset(map(type, values)) else list(map(fresh, values))


def length(values: Any) -> int:
    """How many items there are, also where Python cannot say: range(10**30)."""
    try:
        return len(values)
    except OverflowError:
        return sys.maxsize


def count(number: int, noun: str) -> str:
    """How many of them, in words.

    >>> count(1, "value"), count(2, "value")
    ('1 value', '2 values')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def show(value: Any, width: int = 60) -> str:
    """`repr` for a message, cut in the middle when long.

    >>> show(list(range(1000)), 20)
    '[0, 1, 2, …98, 999]'
    """
    if isinstance(value, (list, tuple)) and len(value) > width:
        head, tail = repr(value[: width // 2]), repr(value[-width // 2 :])
        text = f"{head[:-1]}, {tail[1:]}"
    else:
        try:
            text = repr(value)
        except Exception:  # a stranger's __repr__ must not hide the message that it is part of
            text = f"<{type(value).__name__}>"
    if len(text) <= width:
        return text
    return f"{text[: width // 2]}…{text[-(width // 2 - 2) :]}"
