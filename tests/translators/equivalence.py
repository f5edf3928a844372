"""Equality of distributions, and approximate equality of params."""

import math
from itertools import pairwise
from typing import Any

from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import strict_equal, strict_key


def distribution_of(parameter: Parameter) -> Any:
    """Return a key that is equal for parameters with the same values, types included, and the same probabilities."""
    if parameter.support is None:
        probes = [parameter.quantile(u / 16) for u in range(17)]
        return "continuous", tuple(probes)
    if parameter.size > 2_000:
        probes = [parameter.quantile(u / 64) for u in range(65)]
        return parameter.size, tuple(map(strict_key, probes))
    values = list(parameter.support)
    edges = [0.0, *(parameter.cdf(value) for value in values)]
    shares = [round(after - before, 9) for before, after in pairwise(edges)]
    return "discrete", frozenset(zip(map(strict_key, values), shares, strict=True))


def have_same_distributions(one: SearchSpace, other: SearchSpace) -> bool:
    """Return whether two spaces have the same dotted names, with the same distributions and conditions."""

    def distributions_of(space: SearchSpace) -> Any:
        return {
            leaf.name: (
                distribution_of(leaf.parameter),
                frozenset((p, frozenset(map(strict_key, v))) for p, v in leaf.when),
            )
            for leaf in space.leaves
        }

    return distributions_of(one) == distributions_of(other)


def are_close(one: Any, other: Any, space: SearchSpace) -> bool:
    """Return whether two params are equal, types included; continuous values may differ by a relative error of 1e-9.

    The error of a continuous value is relative to its size or to the interquartile range of its distribution.
    """
    one, other = space.flatten(one), space.flatten(other)
    if one.keys() != other.keys():
        return False
    for leaf in space.leaves:
        if leaf.name in one and not strict_equal(a := one[leaf.name], b := other[leaf.name]):
            p = leaf.parameter
            width = abs(p.quantile(0.75) - p.quantile(0.25)) if p.support is None else 0.0
            if p.support is not None or not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * width):
                return False
    return True
