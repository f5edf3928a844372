"""Goodness-of-fit tests of drawn values against the distribution of a parameter.

A correct engine is rejected in about one of 10,000 tests; with a fixed seed the verdict never changes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from hpcompat.space.parameters import Parameter
from hpcompat.space.values import short_repr, strict_key

MIN_P_VALUE = 1e-4
"""A distribution with a smaller p-value is rejected."""
MAX_MISS_PROBABILITY = 1e-5
"""A value that is never drawn is accepted if a correct engine would miss it with at least this probability."""
MAX_COUNTED = 100
"""Discrete parameters with more values than this are tested as continuous ones."""

Probabilities = Sequence[float]


def probabilities_of(p: Parameter) -> Probabilities:
    """Return the probability of each value of a discrete parameter, in the order of its support."""
    edges = [0.0, *map(p.cdf, p.support or ())]
    return [upper - lower for lower, upper in pairwise(edges)]


def find_misfit(p: Parameter, sample: Sequence[Any], probabilities: Probabilities | None = None) -> str:
    """Describe why the values do not fit the parameter; "" if they fit.

    `probabilities`: the probability of each value, if it differs from the parameter's own.
    """
    outside = [value for value in sample if not p.contains(value)]
    if outside:
        return f"{short_repr(outside[0])} is not one of its values"
    if p.size <= MAX_COUNTED:
        return _test_counts(p, sample, probabilities or probabilities_of(p))
    return _test_continuous(_to_uniform(p, sample, probabilities))


def _test_counts(p: Parameter, sample: Sequence[Any], probabilities: Probabilities) -> str:
    """Check that every value is drawn, and run a chi-square test."""
    from scipy.stats import chisquare

    indices = {strict_key(value): index for index, value in enumerate(p.support or ())}
    counts = [0] * len(indices)
    for value in sample:
        counts[indices[strict_key(value)]] += 1
    for index, count in enumerate(counts):
        if not count and (1.0 - probabilities[index]) ** len(sample) < MAX_MISS_PROBABILITY:
            return f"{short_repr((p.support or ())[index])} is never drawn"
        if count and not probabilities[index]:
            return f"{short_repr((p.support or ())[index])} is drawn, but its probability is 0"
    observed, expected = _pool_bins(counts, [probability * len(sample) for probability in probabilities])
    if len(observed) < 2:
        return ""
    p_value = chisquare(observed, expected, sum_check=False).pvalue
    return "" if p_value > MIN_P_VALUE else f"chi-square: p = {p_value:.1e}"


def _pool_bins(counts: Sequence[int], expected: Sequence[float]) -> tuple[list[int], list[float]]:
    """Merge neighbouring bins until each has an expected count of 5, below which a chi-square test is unreliable."""
    pooled_counts, pooled_expected, count, expected_count = [], [], 0, 0.0
    for bin_count, bin_expected in zip(counts, expected, strict=True):
        count, expected_count = count + bin_count, expected_count + bin_expected
        if expected_count >= 5:
            pooled_counts.append(count)
            pooled_expected.append(expected_count)
            count, expected_count = 0, 0.0
    if pooled_expected:
        pooled_counts[-1] += count
        pooled_expected[-1] += expected_count
    return pooled_counts, pooled_expected


def _to_uniform(p: Parameter, sample: Sequence[Any], probabilities: Probabilities | None) -> list[float]:
    """Map the drawn values to floats that are uniform on [0, 1] if the values fit the distribution.

    A discrete value is mapped to a random point of its interval of the cumulative distribution.
    """
    values: Any = p.support
    if values is None:
        return list(map(p.cdf, sample))
    draw_uniform = random.Random(0).random
    first = values.index(next(iter(values)))
    edges = (0.0, *accumulate(probabilities)) if probabilities else None

    def draw_between_edges(index: int) -> float:
        if edges:
            low, high = edges[index - first], edges[index - first + 1]
        else:
            low, high = p.cdf(values[index - 1]) if index > first else 0.0, p.cdf(values[index])
        return low + draw_uniform() * (high - low)

    return [draw_between_edges(values.index(value)) for value in sample]


def _test_continuous(uniform: Sequence[float]) -> str:
    """Run a Kolmogorov-Smirnov test, and check that values are drawn close to both ends."""
    from scipy.stats import kstest

    max_gap = 1.0 - MAX_MISS_PROBABILITY ** (1.0 / len(uniform))
    if min(uniform) > max_gap:
        return f"nothing is drawn from its lowest {min(uniform):.2%}"
    if max(uniform) < 1.0 - max_gap:
        return f"nothing is drawn from its highest {1.0 - max(uniform):.2%}"
    p_value = kstest(uniform, "uniform").pvalue
    return "" if p_value > MIN_P_VALUE else f"Kolmogorov-Smirnov: p = {p_value:.1e}"
