"""Where an engine's law differs from the parameter's own: only in how much of it falls into each rounding bin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from hpcompat.space.parameters import Parameter
from tests.helpers.goodness_of_fit import Probabilities

BinProbabilities = Callable[[Any], Probabilities]
FLOORED = "rounded down: v with probability ∝ ln((v + step) / v)"
CUT = "draws end at low and high: the first and the last bin lack their outer half"
ENDS = "draws end at min and max, wherever in a bin these lie"


def floored_log_uniform(p: Any) -> Probabilities:
    """A log-uniform draw rounded down to a multiple of the step."""
    return _normalize([math.log((v + p.step) / v) for v in p.support])


def rounded_uniform(low: float, high: float, log: bool = False) -> BinProbabilities:
    """A draw between low and high, rounded to the nearest value: a bin has what lies between them of it."""

    def probabilities(p: Any) -> Probabilities:
        scale = math.log if log else float
        bins = [(max(v - p.step / 2, low), min(v + p.step / 2, high)) for v in p.support]
        return _normalize([scale(right) - scale(left) for left, right in bins])

    return probabilities


def _normalize(widths: list[float]) -> Probabilities:
    total = math.fsum(widths)
    return [width / total for width in widths]


class EngineDistribution(NamedTuple):
    """What the engine does, and the probability of each value that follows."""

    words: str
    probabilities: BinProbabilities


ENGINE_DISTRIBUTIONS: dict[tuple[str, str], EngineDistribution] = {
    # column and form of the capability table; what is not here is drawn by the parameter's own law
    ("ray", "lograndint"): EngineDistribution(FLOORED, floored_log_uniform),
    ("ray", "qlograndint"): EngineDistribution(FLOORED, floored_log_uniform),
    ("ray", "qloguniform"): EngineDistribution(CUT, lambda p: rounded_uniform(p.low, p.high, log=True)(p)),
}


def engine_probabilities(p: Parameter, column: str, form: str) -> Probabilities | None:
    """The probability of each value as the engine draws it; None where that is the parameter's own."""
    law = ENGINE_DISTRIBUTIONS.get((column, form))
    return law.probabilities(p) if law else None
