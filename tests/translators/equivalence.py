"""When two parameters have the same distribution, and two params are close enough."""

import math
from itertools import pairwise
from typing import Any

from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import strict_equal, strict_key


def distribution_of(parameter: Parameter) -> Any:
    """Equal for parameters that draw the same values, types included, with the same probabilities."""
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


def same_distribution(one: SearchSpace, other: SearchSpace) -> bool:
    """The same names, by dotted path, with the same distributions under the same conditions."""

    def distributions(space: SearchSpace) -> Any:
        return {
            leaf.name: (
                distribution_of(leaf.parameter),
                frozenset((p, frozenset(map(strict_key, v))) for p, v in leaf.when),
            )
            for leaf in space.leaves
        }

    return distributions(one) == distributions(other)


def close(one: Any, other: Any, space: SearchSpace) -> bool:
    """Equal, types included; encoded continuous values within 1e-9 of their size or the distribution's width."""
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
