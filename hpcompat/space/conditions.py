"""Conditions: the values of a parent under which a parameter is active."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from hpcompat.space.values import identity


class Condition(NamedTuple):
    """A parent's dotted name and the values under which its child is active."""

    parent: str
    values: tuple[Any, ...]


When = Mapping[str, Any] | tuple[Condition, ...] | None


def conditions(when: When) -> tuple[Condition, ...]:
    """`when` as conditions: {"optim": "sgd"} and {"optim": ["sgd", "adam"]}; only a list means several."""
    if when is None or (isinstance(when, tuple) and all(isinstance(each, Condition) for each in when)):
        return when or ()
    if not isinstance(when, Mapping):
        return (Condition("", (when,)),)
    return tuple(
        Condition(parent, tuple(values) if isinstance(values, list) else (values,)) for parent, values in when.items()
    )


def when_key(when: When) -> Hashable:
    """Equal for conditions that mean the same, in whatever order they are written."""
    return frozenset((parent, frozenset(map(identity, values))) for parent, values in conditions(when))


def when_dict(when: tuple[Condition, ...]) -> dict[str, Any]:
    """Conditions as a person writes them: a single value stands alone unless it is a list itself."""
    return {
        parent: values[0] if len(values) == 1 and not isinstance(values[0], list) else list(values)
        for parent, values in when
    }
