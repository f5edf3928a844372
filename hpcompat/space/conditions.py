"""Conditions: the values of a parent under which a parameter is active."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from hpcompat.space.values import copy_if_valid, strict_key


class Condition(NamedTuple):
    """A parent's dotted name, and the values under which its child is active."""

    parent: str
    values: tuple[Any, ...]


When = Mapping[str, Any] | tuple[Condition, ...] | None


def parse_when(when: When) -> tuple[Condition, ...]:
    """Return the conditions of a `when`; those that are parsed already stay as they are. Only a list means several.

    >>> parse_when({"optim": "sgd", "layers": [1, 2]})
    (Condition(parent='optim', values=('sgd',)), Condition(parent='layers', values=(1, 2)))
    """
    if when is None or (isinstance(when, tuple) and all(isinstance(entry, Condition) for entry in when)):
        return when or ()
    if not isinstance(when, Mapping):
        return (Condition("", (when,)),)
    return tuple(
        Condition(parent, tuple(map(copy_if_valid, values if isinstance(values, list) else [values])))
        for parent, values in when.items()
    )


def condition_key(when: When) -> Hashable:
    """Return a key that is equal for conditions that mean the same, in whatever order they are written."""
    return frozenset((parent, frozenset(map(strict_key, values))) for parent, values in parse_when(when))


def when_dict(when: When) -> dict[str, Any]:
    """Return conditions as a `when`: a single value stands alone, unless it is a list itself.

    >>> when_dict(parse_when({"optim": ["sgd"]}))
    {'optim': 'sgd'}
    """
    return {
        parent: values[0] if len(values) == 1 and not isinstance(values[0], list) else list(values)
        for parent, values in parse_when(when)
    }
