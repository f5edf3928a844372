"""The distributions of parameters: a quantile function and a cumulative probability for each.

`quantile(u)` turns a float of the unit interval into a draw, so that `quantile(random())` samples.
`cdf(x)` is the probability of a draw at or below x. Continuous distributions draw floats. Discrete ones
draw an index 0, 1, 2, … and have `cdf_exclusive(index)`, the probability of a smaller index.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import NormalDist
from typing import Protocol

MIN_UNIT = 2.0**-53
"""Optimisers propose 0.0 and 1.0, where a normal distribution is infinite: u is kept this far inside."""
MAX_UNIT = 1.0 - MIN_UNIT

_standard_normal = NormalDist()


class ContinuousDistribution(Protocol):
    """A distribution over floats."""

    def quantile(self, u: float) -> float: ...
    def cdf(self, x: float) -> float: ...


class DiscreteDistribution(Protocol):
    """A distribution over the indices of a sequence of values."""

    def quantile(self, u: float) -> int: ...
    def cdf_exclusive(self, index: int) -> float: ...


Distribution = ContinuousDistribution | DiscreteDistribution


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
        object.__setattr__(self, "_width", self._log_distance(self.high))

    def _log_distance(self, x: float) -> float:
        # the difference of two logarithms loses what a narrow range consists of
        is_near = x < 2 * self.low
        return math.log1p((x - self.low) / self.low) if is_near else math.log(x) - math.log(self.low)

    def quantile(self, u: float) -> float:
        # from the nearer end: both ends come out exact, and the widest range does not overflow
        if u < 0.5:
            return min(self.low * math.exp(u * self._width), self.high)
        return max(self.high * math.exp((u - 1.0) * self._width), self.low)

    def cdf(self, x: float) -> float:
        return min(self._log_distance(x) / self._width, 1.0) if x > self.low else 0.0


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
class TruncatedNormal:
    """Normal with the given mean and std, truncated to [low, high]; of the logarithm if `log`."""

    mean: float
    std: float
    low: float = -math.inf
    high: float = math.inf
    log: bool = False
    _left: float = field(init=False)
    _right: float = field(init=False)
    normalizer: float = field(init=False)
    """The probability that the normal distribution has between low and high."""

    def __post_init__(self) -> None:
        left, right = self._z_score(self.low), self._z_score(self.high)
        object.__setattr__(self, "_left", _normal_cdf(left))
        object.__setattr__(self, "_right", _normal_cdf(-right))
        inner = _normal_cdf(right) - _normal_cdf(left) if left < 0 else _normal_cdf(-left) - _normal_cdf(-right)
        object.__setattr__(self, "normalizer", inner)

    def _z_score(self, x: float) -> float:
        if self.log:
            x = math.log(x) if x > 0 else -math.inf
        return (x - self.mean) / self.std

    def quantile(self, u: float) -> float:
        u = min(max(u, MIN_UNIT), MAX_UNIT)
        lower = self._left + u * self.normalizer
        upper = self._right + (1.0 - u) * self.normalizer
        # the upper half is computed mirrored: next to 1.0 floats are too far apart for a tail
        z = _standard_normal.inv_cdf(lower) if lower <= upper else -_standard_normal.inv_cdf(upper)
        x = self.mean + self.std * z
        return min(max(math.exp(x) if self.log else x, self.low), self.high)

    def cdf(self, x: float) -> float:
        z = self._z_score(x)
        if z < 0:
            return min(max((_normal_cdf(z) - self._left) / self.normalizer, 0.0), 1.0)
        return min(max(1.0 - (_normal_cdf(-z) - self._right) / self.normalizer, 0.0), 1.0)


def _normal_cdf(z: float) -> float:
    # erfc keeps the lower tail, which NormalDist.cdf loses
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@dataclass(frozen=True, slots=True)
class DiscreteUniform:
    """Each of `count` indices with the same probability."""

    count: int

    def quantile(self, u: float) -> int:
        numerator, denominator = u.as_integer_ratio()
        return min(numerator * self.count // denominator, self.count - 1)

    def cdf_exclusive(self, index: int) -> float:
        return index / self.count


@dataclass(frozen=True, slots=True)
class WeightedDiscrete:
    """Index i with probability weights[i]; the weights sum to one."""

    weights: tuple[float, ...]
    _edges: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_edges", (0.0, *accumulate(self.weights)))

    def quantile(self, u: float) -> int:
        return min(max(bisect_right(self._edges, u * self._edges[-1]) - 1, 0), len(self.weights) - 1)

    def cdf_exclusive(self, index: int) -> float:
        return self._edges[index] / self._edges[-1]


@dataclass(frozen=True, slots=True)
class Quantized:
    """A continuous distribution rounded to start + index * step, for index from `first` to `last`.

    `distribution` covers half a step more than the first and the last value, so that no bin is cut short.
    """

    distribution: ContinuousDistribution
    start: float
    step: float
    first: float
    last: float

    def quantile(self, u: float) -> int:
        x = self.distribution.quantile(min(max(u, MIN_UNIT), MAX_UNIT))
        return int(min(max(math.floor((x - self.start) / self.step + 0.5), self.first), self.last))

    def cdf_exclusive(self, index: int) -> float:
        return self.distribution.cdf(self.start + (index - 0.5) * self.step)


def range_distribution(low: float, high: float, log: bool) -> ContinuousDistribution:
    """Return the distribution of the floats between low and high."""
    # neighbouring floats can share a logarithm; between them the two distributions are the same
    return LogUniform(low, high) if log and math.log(low) < math.log(high) else Uniform(low, high)


def grid_distribution(low: float, high: float, step: float, log: bool, last: int) -> DiscreteDistribution:
    """Return the distribution of the indices 0 … last of low, low + step, …, high."""
    if not log:
        return DiscreteUniform(last + 1)
    if high < 2 * low:
        return Quantized(LogDistance(low - step / 2, high - low + step), step / 2, float(step), 0, last)
    return Quantized(LogUniform(low - step / 2, high + step / 2), float(low), float(step), 0, last)


def normal_distribution(
    mean: float, std: float, low: float | None, high: float | None, log: bool, step: float | None
) -> TruncatedNormal:
    """Return the normal distribution between low and high; with a step, half a step more on both sides."""
    margin = 0.0 if step is None else step / 2
    left = -math.inf if low is None else low - margin
    right = math.inf if high is None else high + margin
    return TruncatedNormal(mean, std, left, right, log)
