"""How long to wait for what has to come: as long as the machine may need for it, however busy it is."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

MAX_WAIT_S = 300.0
"""Far above what anything here takes on a machine that does nothing else."""


def load_factor() -> float:
    """How many processes want each core of the machine, on average, now or lately: as many times slower all is."""
    return max(1.0, max(os.getloadavg()) / (os.cpu_count() or 1)) if hasattr(os, "getloadavg") else 1.0


class Deadline:
    """So many seconds of a machine that does nothing else."""

    def __init__(self, seconds: float = MAX_WAIT_S) -> None:
        self.seconds = seconds
        self.since = time.monotonic()

    @property
    def remaining_s(self) -> float:
        """How many seconds of this machine, as busy as it is."""
        return self.seconds * load_factor() - (time.monotonic() - self.since)


def wait_for(holds: Callable[[], Any], what: str) -> None:
    """Wait until it holds; `what`: what is wrong if it never does."""
    deadline = Deadline()
    while not holds():
        assert deadline.remaining_s > 0, what
        time.sleep(0.05)


def wait_for_output(process: subprocess.Popen[str]) -> str:
    """What a process has written, once it has ended."""
    deadline = Deadline()
    while True:
        try:
            return process.communicate(timeout=1)[0]
        except subprocess.TimeoutExpired as late:  # what was read till then is kept for the next call
            assert deadline.remaining_s > 0, late.output
