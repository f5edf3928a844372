"""How two things are compared: in turn, in one run, by the median of the ratios."""

from __future__ import annotations

import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Call = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """A line of the table: ours against theirs.

    `ratio`: ours over theirs. `most`: what it is to be at most; None where nothing is asked.
    `ours`, `theirs`: the two in their own unit, as text.
    """

    what: str
    against: str
    ratio: float
    most: float | None
    ours: str
    theirs: str


class MissingPeer(ImportError):
    """A peer that is compared with is not installed."""


def row(
    what: str, against: str, most: float | None, ours: Sequence[float], theirs: Sequence[float], *, per: int = 1
) -> Row:
    """The row of two series of seconds that were measured in turn; `per`: how many things each number covers."""
    one, other = statistics.median(ours) / per, statistics.median(theirs) / per
    return Row(what, against, ratio(ours, theirs), most, shown(one), shown(other))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios: what disturbs the machine for a while disturbs both sides of a pair."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def in_turn(*calls: Call, rounds: int, clock: Callable[[], float] = time.process_time) -> list[list[float]]:
    """The seconds of each call in each round, A B C A B C …, after a round that does not count."""
    taken: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + 1):
        for call, seconds in zip(calls, taken, strict=True):
            gc.collect()
            begin = clock()
            call()
            end = clock()
            if number:
                seconds.append(end - begin)
    return taken


def process(*arguments: str) -> Call:
    """A Python process with these arguments, to be measured by `children`."""

    def run() -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return run


def children() -> float:
    """The CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shown(seconds: float) -> str:
    """Seconds in a unit that suits them.

    >>> shown(0.0123), shown(4.2e-6), shown(75)
    ('12.3 ms', '4.2 µs', '75 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale or unit == "µs":
            number = seconds / scale
            return f"{number:.3g} {unit}" if number < 100 else f"{number:,.0f} {unit}"
    raise AssertionError
