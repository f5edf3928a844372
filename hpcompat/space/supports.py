"""The values of a discrete parameter, by index: an arithmetic grid, or a list of choices.

Both are sequences that never enumerate what nobody asks for: a grid of 10**12 values costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hpcompat.space.values import fresh, fresh_list, identity


def decimal_ratio(x: float) -> tuple[int, int]:
    """The fraction that the shortest decimal form of `x` stands for.

    >>> decimal_ratio(0.3), decimal_ratio(1e-05), decimal_ratio(-2.5)
    ((3, 10), (1, 100000), (-25, 10))
    """
    mantissa, _, exponent = repr(x).partition("e")
    whole, _, digits = mantissa.partition(".")
    shift = int(exponent or 0) - (0 if digits == "0" else len(digits))
    number = int(whole if digits == "0" else whole + digits)
    return (number * 10**shift, 1) if shift > 0 else (number, 10**-shift)


@dataclass(frozen=True, slots=True)
class Steps:
    """The numbers (origin + index * step) / scale, as ints if `whole`, for index first … last.

    Exact integers stand behind every float, so that the third step of 0.1 is 0.3 and not
    0.30000000000000004: dividing two ints rounds once.
    """

    origin: int
    step: int
    scale: int = 1
    first: float = 0
    last: float = math.inf
    whole: bool = False

    def __getitem__(self, index: int) -> float:
        number = self.origin + index * self.step
        return number if self.whole else number / self.scale

    def __len__(self) -> int:
        return int(self.last - self.first) + 1

    def __iter__(self) -> Iterator[float]:
        return (self[index] for index in range(int(self.first), int(self.last) + 1))

    @property
    def size(self) -> float:
        """How many values there are: an int, or inf."""
        bounded = self.first > -math.inf and self.last < math.inf
        return int(self.last) - int(self.first) + 1 if bounded else math.inf

    def index(self, value: Any) -> int | None:
        """The index of a value, None if it is not one of these."""
        if self.whole and self.step == 1 and type(value) is int:
            index = value - self.origin
            return index if self.first <= index <= self.last else None
        if type(value) is not (int if self.whole else float) or not -math.inf < value < math.inf:
            return None
        numerator, denominator = value.as_integer_ratio()
        offset, width = numerator * self.scale - self.origin * denominator, self.step * denominator
        index = (2 * offset + width) // (2 * width)
        return index if self.first <= index <= self.last and self[index] == value else None


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of values, found again by type and value."""

    values: tuple[Any, ...]
    _indices: dict[Hashable, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_indices", {identity(value): index for index, value in enumerate(self.values)})

    def __getitem__(self, index: int) -> Any:
        return fresh(self.values[index])

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(fresh_list(self.values))

    @property
    def size(self) -> float:
        """How many values there are."""
        return len(self.values)

    @property
    def distinct(self) -> int:
        """How many of the values differ in type or value."""
        return len(self._indices)

    def index(self, value: Any) -> int | None:
        """The index of a value, None if it is not one of these."""
        try:
            return self._indices.get(identity(value))
        except (TypeError, RecursionError):  # unhashable or bottomless: no JSON value, so none of these
            return None
