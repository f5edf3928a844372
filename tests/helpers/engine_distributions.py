"""Engines whose distribution differs from the parameter's: only the probabilities of the rounding bins differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from hpcompat.space.parameters import Parameter
from tests.helpers.goodness_of_fit import Probabilities

BinProbabilities = Callable[[Any], Probabilities]
ROUNDED_DOWN = "rounded down: v with probability ∝ ln((v + step) / v)"
HALF_END_BINS = "draws end at low and high: the first and the last bin lack their outer half"
PARTIAL_END_BINS = "draws end at min and max, wherever in a bin these lie"


def floored_log_uniform(p: Any) -> Probabilities:
    """Return the probabilities of a log-uniform draw that is rounded down to a multiple of the step."""
    return _normalize([math.log((v + p.step) / v) for v in p.support])


def rounded_uniform(low: float, high: float, log: bool = False) -> BinProbabilities:
    """Return the probabilities of a draw between low and high that is rounded to the nearest value.

    The probability of a value is the part of its rounding bin that lies between low and high.
    """

    def probabilities(p: Any) -> Probabilities:
        scale = math.log if log else float
        bins = [(max(v - p.step / 2, low), min(v + p.step / 2, high)) for v in p.support]
        return _normalize([scale(right) - scale(left) for left, right in bins])

    return probabilities


def _normalize(widths: list[float]) -> Probabilities:
    total = math.fsum(widths)
    return [width / total for width in widths]


class EngineDistribution(NamedTuple):
    """How an engine draws, and the resulting probability of each value."""

    description: str
    probabilities: BinProbabilities


ENGINE_DISTRIBUTIONS: dict[tuple[str, str], EngineDistribution] = {
    # by variant and form of the capability table; every other rule draws from the parameter's own distribution
    ("ray", "lograndint"): EngineDistribution(ROUNDED_DOWN, floored_log_uniform),
    ("ray", "qlograndint"): EngineDistribution(ROUNDED_DOWN, floored_log_uniform),
    ("ray", "qloguniform"): EngineDistribution(HALF_END_BINS, lambda p: rounded_uniform(p.low, p.high, log=True)(p)),
}


def engine_probabilities(p: Parameter, variant: str, form: str) -> Probabilities | None:
    """Return the engine's probability of each value; None if the engine draws from the parameter's own distribution."""
    distribution = ENGINE_DISTRIBUTIONS.get((variant, form))
    return distribution.probabilities(p) if distribution else None
