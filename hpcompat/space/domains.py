"""The values of a discrete parameter, by index: an arithmetic grid, or a list of choices.

Both are sequences that enumerate nothing until asked: a grid of 10**12 values costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from hpcompat.space.values import copy_if_mutable, copy_list_if_mutable, strict_key


def shortest_decimal_fraction(x: float) -> tuple[int, int]:
    """Return numerator and denominator of the shortest decimal form of `x`.

    >>> shortest_decimal_fraction(0.3), shortest_decimal_fraction(1e-05), shortest_decimal_fraction(-2.5)
    ((3, 10), (1, 100000), (-25, 10))
    """
    mantissa, _, exponent = repr(x).partition("e")
    integer, _, digits = mantissa.partition(".")
    shift = int(exponent or 0) - (0 if digits == "0" else len(digits))
    number = int(integer if digits == "0" else integer + digits)
    return (number * 10**shift, 1) if shift > 0 else (number, 10**-shift)


def multiple_of(value: float, step: float) -> int | None:
    """Return which multiple of the step a value is, in exact decimals; None if it is not a multiple.

    >>> multiple_of(1.5, 0.5), multiple_of(0.3, 0.1), multiple_of(0.75, 0.5)
    (3, 3, None)
    """
    quotient = _exact(float(value)) / _exact(float(step))
    return quotient.numerator if quotient.denominator == 1 else None


def _exact(x: float) -> Fraction:
    return Fraction(*shortest_decimal_fraction(x))


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers (origin + index * step) / scale, as ints if `is_integer`, for index first … last.

    Exact integers stand behind every float, so that the third step of 0.1 is 0.3 and not
    0.30000000000000004: dividing two ints rounds once.
    """

    origin: int
    step: int
    scale: int = 1
    first: float = 0
    last: float = math.inf
    is_integer: bool = False

    @classmethod
    def between(cls, low: float, high: float, step: float) -> tuple[Grid, bool]:
        """Return the grid of low, low + step, … up to high, and whether it ends in high; of ints if all are ints.

        >>> grid, ends_in_high = Grid.between(0.1, 0.45, 0.1)
        >>> list(grid), ends_in_high
        ([0.1, 0.2, 0.3, 0.4], False)
        """
        if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
            last, rest = divmod(high - low, step)
            return cls(low, step, 1, 0, last, True), rest == 0
        (a, p), (b, q) = shortest_decimal_fraction(low), shortest_decimal_fraction(step)
        scale = math.lcm(p, q)
        origin, stride = a * (scale // p), b * (scale // q)
        span = (_exact(high) - _exact(low)) * scale
        last = int(span // stride)
        return cls(origin, stride, scale, 0, last), span == last * stride

    @classmethod
    def multiples(cls, step: float, first: float, last: float) -> Grid:
        """Return the multiples of a step from number `first` to `last`; of ints if the step is an int."""
        is_integer = isinstance(step, int)
        stride, scale = (step, 1) if isinstance(step, int) else shortest_decimal_fraction(step)
        return cls(0, stride, scale, first, last, is_integer)

    def __getitem__(self, index: int) -> float:
        number = self.origin + index * self.step
        return number if self.is_integer else number / self.scale

    def __len__(self) -> int:
        return int(self.last - self.first) + 1

    def __iter__(self) -> Iterator[float]:
        return (self[index] for index in range(int(self.first), int(self.last) + 1))

    @property
    def size(self) -> float:
        """The number of values: an int, or inf."""
        is_bounded = self.first > -math.inf and self.last < math.inf
        return int(self.last) - int(self.first) + 1 if is_bounded else math.inf

    def index(self, value: object) -> int | None:
        """Return the index of a value; None if the grid does not have it."""
        if self.is_integer and self.step == 1 and type(value) is int:
            index = value - self.origin
            return index if self.first <= index <= self.last else None
        if type(value) is not (int if self.is_integer else float) or not -math.inf < value < math.inf:
            return None
        numerator, denominator = value.as_integer_ratio()
        offset, width = numerator * self.scale - self.origin * denominator, self.step * denominator
        index = (2 * offset + width) // (2 * width)
        return index if self.first <= index <= self.last and self[index] == value else None


@dataclass(frozen=True, slots=True)
class ChoiceDomain:
    """A list of values, looked up by type and value."""

    values: tuple[object, ...]
    _indices: dict[Hashable, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_indices", {strict_key(value): index for index, value in enumerate(self.values)})

    def __getitem__(self, index: int) -> Any:
        return copy_if_mutable(self.values[index])

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(copy_list_if_mutable(self.values))

    @property
    def size(self) -> float:
        """The number of values."""
        return len(self.values)

    @property
    def n_distinct(self) -> int:
        """The number of values that differ in type or value."""
        return len(self._indices)

    def index(self, value: object) -> int | None:
        """Return the index of a value; None if the choices do not have it."""
        try:
            return self._indices.get(strict_key(value))
        except (TypeError, RecursionError):  # unhashable or endlessly nested: not a JSON value
            return None
