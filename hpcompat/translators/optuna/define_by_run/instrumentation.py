"""Ints, floats and strings that remember what they are compared with, and are their own kind in all else.

A branch on a rare value is so seen without drawing the value. A comparison is all that is seen: a
loop over `range(n)`, a look-up in a dict, arithmetic go by unseen, and bools, None, lists, tuples
and dicts are plain. What depends on these shows when the draws change.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from hpcompat.errors import Issue, TranslationError
from hpcompat.space.values import MAX_CHOICES, is_scalar, short_repr

MAX_COMPARISONS = 64
MESSAGE = "no search space can be read from this function"

_OPERATIONS: dict[str, Callable[..., object]] = {
    **{f"__{name}__": getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "__bool__": lambda value, _: bool(value),
}


class InexpressibleError(TranslationError):
    """The function runs under Optuna, but no one search space says what it does."""


class InstrumentationError(Exception):
    """The function tells instrumented draws from plain ones: it has to be read with plain ones alone."""


@dataclass(frozen=True)
class Comparison:
    """The draw of this name was compared with a constant; `operation` is the method that was called."""

    name: str
    operation: str
    other: object

    def answer(self, value: object) -> object:
        """Return the result of the comparison for another value."""
        try:
            return bool(_OPERATIONS[self.operation](value, self.other))
        except TypeError:
            return TypeError


class Draw(Protocol):
    """A value of a draw that notes its comparisons."""

    draw: str
    comparisons: dict[Comparison, None]


def _make_instrumented(base: type) -> type:
    def watch(operation: str) -> Callable[..., object]:
        plain = getattr(base, operation, None) or (lambda draw: len(draw) > 0)

        def method(draw: Any, *other: object) -> object:
            # two draws compared say nothing about either alone
            if len(draw.comparisons) < MAX_COMPARISONS and all(map(is_scalar, other)):
                draw.comparisons[Comparison(draw.draw, operation, *(other or (None,)))] = None
            return plain(draw, *other)

        return method

    methods: dict[str, object] = {operation: watch(operation) for operation in _OPERATIONS}
    methods |= {
        "__hash__": base.__hash__,
        "__copy__": lambda draw: draw,
        "__deepcopy__": lambda draw, memo: draw,
        "__reduce_ex__": lambda draw, protocol: (base, (base(draw),)),
    }
    return type(base.__name__, (base,), methods)


_INSTRUMENTED = {base: _make_instrumented(base) for base in (int, float, str)}
_INSTRUMENTED_TYPES = frozenset(_INSTRUMENTED.values())


def can_instrument(value: object) -> bool:
    """Return whether a plain value has an instrumented form."""
    return type(value) in _INSTRUMENTED


def is_instrumented(value: object) -> TypeGuard[Draw]:
    """Return whether a value is an instrumented draw."""
    return type(value) in _INSTRUMENTED_TYPES


def instrument(name: str, value: Any, comparisons: dict[Comparison, None]) -> Any:
    """Return a value as the draw of this name, which adds what it is compared with to `comparisons`."""
    value = _INSTRUMENTED[type(value)](value)
    value.draw, value.comparisons = name, comparisons
    return value


def find_draws(value: object) -> Iterator[str]:
    """Yield the names of the instrumented draws in a value, at any depth."""
    waiting = [value]
    count = 0
    while waiting:
        value = waiting.pop()
        count += 1
        if is_instrumented(value):
            yield value.draw
        elif isinstance(value, (list, tuple, dict)):
            waiting += value.values() if isinstance(value, dict) else value
            # counted as printed: a list that holds itself has no end, one of shared lists hardly any
            if count + len(waiting) > MAX_CHOICES:
                raise unreadable_error(
                    "", f"a {type(value).__name__} holds more than {MAX_CHOICES} values", "make it smaller"
                )


def unreadable_error(where: str, reason: str, hint: str) -> TranslationError:
    """Return the error of a function that cannot be read."""
    return TranslationError(MESSAGE, [Issue(where, reason, hint)])


def inexpressible_error(where: str, reason: str, hint: str) -> TranslationError:
    """Return the error of a function that can be searched as it is, but has no space to write down."""
    return InexpressibleError(MESSAGE, [Issue(where, reason, hint)])


def describe_value(value: object) -> str:
    """Return the repr of a scalar; of anything else the type, since its repr may take for ever."""
    if is_instrumented(value):
        return f"the draw {value.draw!r}"
    return short_repr(value) if is_scalar(value) else f"a {type(value).__name__}"
