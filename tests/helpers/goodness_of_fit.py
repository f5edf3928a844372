"""Whether values were drawn from a parameter: the judgement that every test of a law passes by.

A sound engine is turned away about once in 10,000 judgements, and with fixed seeds always or never.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from hpcompat.space.parameters import Parameter
from hpcompat.space.values import short_repr, strict_key

MIN_P_VALUE = 1e-4
"""The p-value under which a law is turned away."""
MAX_MISS_PROBABILITY = 1e-5
"""How unlikely it may be at most that a sound engine misses a value that it is said to reach."""
MAX_COUNTED = 100
"""Up to so many values each is counted."""

Probabilities = Sequence[float]


def probabilities_of(p: Parameter) -> Probabilities:
    """The probability of each value of a discrete parameter, in the order of its support."""
    edges = [0.0, *map(p.cdf, p.support or ())]
    return [upper - lower for lower, upper in pairwise(edges)]


def find_misfit(p: Parameter, drawn: Sequence[Any], masses: Probabilities | None = None) -> str:
    """Why these values were not drawn from the parameter; "" if they may well have been.

    `masses`: the probability of each value where it is not the parameter's own.
    """
    outside = [value for value in drawn if not p.contains(value)]
    if outside:
        return f"{short_repr(outside[0])} is not one of its values"
    if p.size <= MAX_COUNTED:
        return _test_counts(p, drawn, masses or probabilities_of(p))
    return _test_continuous(_to_uniform(p, drawn, masses))


def _test_counts(p: Parameter, drawn: Sequence[Any], masses: Probabilities) -> str:
    """Every value reached, and a chi-square test."""
    from scipy.stats import chisquare

    places = {strict_key(value): place for place, value in enumerate(p.support or ())}
    counts = [0] * len(places)
    for value in drawn:
        counts[places[strict_key(value)]] += 1
    for place, count in enumerate(counts):
        if not count and (1.0 - masses[place]) ** len(drawn) < MAX_MISS_PROBABILITY:
            return f"{short_repr((p.support or ())[place])} is never drawn"
        if count and not masses[place]:
            return f"{short_repr((p.support or ())[place])} is drawn"
    observed, expected = _pool_bins(counts, [mass * len(drawn) for mass in masses])
    if len(observed) < 2:
        return ""
    likely = chisquare(observed, expected, sum_check=False).pvalue
    return "" if likely > MIN_P_VALUE else f"chi-square: p = {likely:.1e}"


def _pool_bins(counts: Sequence[int], expected: Sequence[float]) -> tuple[list[int], list[float]]:
    """Neighbours taken together until five of each are expected: rarer ones would upset the test."""
    observed, wanted, count, want = [], [], 0, 0.0
    for one, other in zip(counts, expected, strict=True):
        count, want = count + one, want + other
        if want >= 5:
            observed.append(count)
            wanted.append(want)
            count, want = 0, 0.0
    if wanted:
        observed[-1] += count
        wanted[-1] += want
    return observed, wanted


def _to_uniform(p: Parameter, drawn: Sequence[Any], masses: Probabilities | None) -> list[float]:
    """The drawn values as floats that are uniform if the law holds: of a value's share, a random one."""
    values: Any = p.support
    if values is None:
        return list(map(p.cdf, drawn))
    share = random.Random(0).random
    first = values.index(next(iter(values)))
    edges = (0.0, *accumulate(masses)) if masses else None

    def between(place: int) -> float:
        if edges:
            low, high = edges[place - first], edges[place - first + 1]
        else:
            low, high = p.cdf(values[place - 1]) if place > first else 0.0, p.cdf(values[place])
        return low + share() * (high - low)

    return [between(values.index(value)) for value in drawn]


def _test_continuous(shares: Sequence[float]) -> str:
    """A Kolmogorov-Smirnov test, and draws from close to both ends."""
    from scipy.stats import kstest

    near = 1.0 - MAX_MISS_PROBABILITY ** (1.0 / len(shares))
    if min(shares) > near:
        return f"nothing is drawn from its lowest {min(shares):.2%}"
    if max(shares) < 1.0 - near:
        return f"nothing is drawn from its highest {1.0 - max(shares):.2%}"
    likely = kstest(shares, "uniform").pvalue
    return "" if likely > MIN_P_VALUE else f"Kolmogorov-Smirnov: p = {likely:.1e}"
