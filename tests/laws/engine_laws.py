"""Where an engine's law differs from the parameter's own: only in how much of it falls into each rounding bin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from verdicts import Masses

from hpcompat.space.parameters import Parameter

Law = Callable[[Any], Masses]
FLOORED = "rounded down: v with probability ∝ ln((v + step) / v)"
CUT = "draws end at low and high: the first and the last bin lack their outer half"
ENDS = "draws end at min and max, wherever in a bin these lie"


def floored(p: Any) -> Masses:
    """A log-uniform draw rounded down to a multiple of the step."""
    return _normalised([math.log((v + p.step) / v) for v in p.support])


def binned(low: float, high: float, log: bool = False) -> Law:
    """A draw between low and high, rounded to the nearest value: a bin has what lies between them of it."""

    def masses(p: Any) -> Masses:
        scale = math.log if log else float
        bins = [(max(v - p.step / 2, low), min(v + p.step / 2, high)) for v in p.support]
        return _normalised([scale(right) - scale(left) for left, right in bins])

    return masses


def _normalised(widths: list[float]) -> Masses:
    total = math.fsum(widths)
    return [width / total for width in widths]


class EngineLaw(NamedTuple):
    """What the engine does, and the probability of each value that follows."""

    words: str
    masses: Law


WRITTEN: dict[tuple[str, str], EngineLaw] = {
    # column and form of the capability table; what is not here is drawn by the parameter's own law
    ("ray", "lograndint"): EngineLaw(FLOORED, floored),
    ("ray", "qlograndint"): EngineLaw(FLOORED, floored),
    ("ray", "qloguniform"): EngineLaw(CUT, lambda p: binned(p.low, p.high, log=True)(p)),
}


def masses(p: Parameter, column: str, form: str) -> Masses | None:
    """The probability of each value as the engine draws it; None where that is the parameter's own."""
    law = WRITTEN.get((column, form))
    return law.masses(p) if law else None
