"""The laws that parameters are drawn by: a quantile and a cumulative probability for each.

`quantile(u)` turns a float of the unit interval into a draw, so that `quantile(random())` samples;
`cdf` is the probability of a draw at or below a point. Continuous laws draw floats. Discrete ones
draw an index 0, 1, 2, … and know the probability `below` an index: `cdf` of the indices before it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import NormalDist
from typing import Protocol

SMALLEST = 2.0**-53
"""Optimisers do propose 0.0 and 1.0, where a normal law is infinite: u stays this far inside."""
LARGEST = 1.0 - SMALLEST

_standard = NormalDist()


class Continuous(Protocol):
    """A law over floats."""

    def quantile(self, u: float) -> float: ...
    def cdf(self, x: float) -> float: ...


class Discrete(Protocol):
    """A law over the indices of a sequence of values."""

    def quantile(self, u: float) -> int: ...
    def below(self, index: int) -> float: ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform between low and high."""

    low: float
    high: float

    def quantile(self, u: float) -> float:
        # not low + u * (high - low): the width overflows for the widest ranges
        return min(max(self.low * (1.0 - u) + self.high * u, self.low), self.high)

    def cdf(self, x: float) -> float:
        width = self.high - self.low
        return (x - self.low) / width if width < math.inf else (x / 2 - self.low / 2) / (self.high / 2 - self.low / 2)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """Uniform in the logarithm, between low > 0 and high."""

    low: float
    high: float
    _width: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_width", self._above(self.high))

    def _above(self, x: float) -> float:
        # the difference of two logarithms loses what a narrow range consists of
        near = x < 2 * self.low
        return math.log1p((x - self.low) / self.low) if near else math.log(x) - math.log(self.low)

    def quantile(self, u: float) -> float:
        # from the nearer end: both ends come out exact, and the widest range does not overflow
        if u < 0.5:
            return min(self.low * math.exp(u * self._width), self.high)
        return max(self.high * math.exp((u - 1.0) * self._width), self.low)

    def cdf(self, x: float) -> float:
        return min(self._above(x) / self._width, 1.0) if x > self.low else 0.0


@dataclass(frozen=True, slots=True)
class LogDistance:
    """The distance from low > 0 to a point that is uniform in the logarithm between low and low + span.

    Where the span is small beside low, the points themselves are floats too coarse to tell its parts.
    """

    low: float
    span: float

    def quantile(self, u: float) -> float:
        return min(self.low * math.expm1(u * math.log1p(self.span / self.low)), self.span)

    def cdf(self, x: float) -> float:
        return min(math.log1p(x / self.low) / math.log1p(self.span / self.low), 1.0) if x > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Gauss:
    """Normal with the given mean and std, truncated to [low, high]; of the logarithm if `log`."""

    mean: float
    std: float
    low: float = -math.inf
    high: float = math.inf
    log: bool = False
    _left: float = field(init=False)
    _right: float = field(init=False)
    mass: float = field(init=False)
    """What the truncation leaves of the whole law's probability."""

    def __post_init__(self) -> None:
        left, right = self._score(self.low), self._score(self.high)
        object.__setattr__(self, "_left", _phi(left))
        object.__setattr__(self, "_right", _phi(-right))
        inner = _phi(right) - _phi(left) if left < 0 else _phi(-left) - _phi(-right)
        object.__setattr__(self, "mass", inner)

    def _score(self, x: float) -> float:
        if self.log:
            x = math.log(x) if x > 0 else -math.inf
        return (x - self.mean) / self.std

    def quantile(self, u: float) -> float:
        u = min(max(u, SMALLEST), LARGEST)
        lower = self._left + u * self.mass
        upper = self._right + (1.0 - u) * self.mass
        # the upper half is computed mirrored: next to 1.0 floats are too far apart for a tail
        score = _standard.inv_cdf(lower) if lower <= upper else -_standard.inv_cdf(upper)
        x = self.mean + self.std * score
        return min(max(math.exp(x) if self.log else x, self.low), self.high)

    def cdf(self, x: float) -> float:
        score = self._score(x)
        if score < 0:
            return min(max((_phi(score) - self._left) / self.mass, 0.0), 1.0)
        return min(max(1.0 - (_phi(-score) - self._right) / self.mass, 0.0), 1.0)


def _phi(score: float) -> float:
    # erfc keeps the lower tail, which NormalDist.cdf loses
    return 0.5 * math.erfc(-score / math.sqrt(2.0))


@dataclass(frozen=True, slots=True)
class Even:
    """Every one of `count` indices equally likely."""

    count: int

    def quantile(self, u: float) -> int:
        numerator, denominator = u.as_integer_ratio()
        return min(numerator * self.count // denominator, self.count - 1)

    def below(self, index: int) -> float:
        return index / self.count


@dataclass(frozen=True, slots=True)
class Weighted:
    """Index i with probability weights[i]; the weights sum to one."""

    weights: tuple[float, ...]
    _edges: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_edges", (0.0, *accumulate(self.weights)))

    def quantile(self, u: float) -> int:
        return min(max(bisect_right(self._edges, u * self._edges[-1]) - 1, 0), len(self.weights) - 1)

    def below(self, index: int) -> float:
        return self._edges[index] / self._edges[-1]


@dataclass(frozen=True, slots=True)
class Rounded:
    """A continuous law rounded to start + index * step, for index from `first` to `last`.

    `law` covers half a step more than the first and the last value, so that no bin is cut short.
    """

    law: Continuous
    start: float
    step: float
    first: float
    last: float

    def quantile(self, u: float) -> int:
        x = self.law.quantile(min(max(u, SMALLEST), LARGEST))
        return int(min(max(math.floor((x - self.start) / self.step + 0.5), self.first), self.last))

    def below(self, index: int) -> float:
        return self.law.cdf(self.start + (index - 0.5) * self.step)
