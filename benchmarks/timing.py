"""Compare the time of two calls: in turn, in one run, by the median of the ratios."""

from __future__ import annotations

import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A row of the table: a measurement compared with a baseline.

    Attributes:
        subject: What is measured.
        baseline: What it is compared with.
        ratio: The value of the subject over that of the baseline.
        max_ratio: The highest ratio that is aimed at; None without an aim.
        value: The value of the subject, with its unit.
        baseline_value: The value of the baseline, with its unit.
    """

    subject: str
    baseline: str
    ratio: float
    max_ratio: float | None
    value: str
    baseline_value: str


class MissingPeerError(ImportError):
    """A package that hpcompat is compared with is not installed."""


def make_row(
    subject: str,
    baseline: str,
    max_ratio: float | None,
    seconds: Sequence[float],
    baseline_seconds: Sequence[float],
    *,
    per: int = 1,
) -> Row:
    """Return the row of two series of seconds that were measured in turn.

    Args:
        subject: What is measured.
        baseline: What it is compared with.
        max_ratio: The highest ratio that is aimed at.
        seconds: The seconds of the subject, one number a round.
        baseline_seconds: The seconds of the baseline.
        per: How many calls, trials or parameters one number covers.
    """
    ratio = median_ratio(seconds, baseline_seconds)
    medians = (statistics.median(series) / per for series in (seconds, baseline_seconds))
    return Row(subject, baseline, ratio, max_ratio, *map(format_seconds, medians))


def median_ratio(seconds: Sequence[float], baseline_seconds: Sequence[float]) -> float:
    """Return the median of the ratios of pairs; a busy machine slows down both members of a pair."""
    return statistics.median(a / b for a, b in zip(seconds, baseline_seconds, strict=True))


def measure_in_turn(*calls: Call, rounds: int, clock: Callable[[], float] = time.process_time) -> list[list[float]]:
    """Return the seconds of each call in each round, A B C A B C …, after one round to warm up."""
    measured: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + 1):
        for call, seconds in zip(calls, measured, strict=True):
            gc.collect()
            begin = clock()
            call()
            end = clock()
            if number:
                seconds.append(end - begin)
    return measured


def python_process(*arguments: str) -> Call:
    """Return a call that runs a Python process; measure it with the clock `children_cpu_time`."""

    def run() -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return run


def children_cpu_time() -> float:
    """Return the CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def format_seconds(seconds: float) -> str:
    """Return seconds in a suitable unit.

    >>> format_seconds(0.0123), format_seconds(4.2e-6), format_seconds(75)
    ('12.3 ms', '4.2 µs', '75 s')
    """
    if seconds >= 1:
        unit, number = "s", seconds
    elif seconds >= 1e-3:
        unit, number = "ms", seconds * 1e3
    else:
        unit, number = "µs", seconds * 1e6
    return f"{number:.3g} {unit}" if number < 100 else f"{number:,.0f} {unit}"
