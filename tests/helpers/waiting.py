"""Deadlines that grow with the load of the machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

MAX_WAIT_S = 300.0
"""Far longer than any test needs on an idle machine."""


def load_factor() -> float:
    """Estimate how many times slower a process runs than on an idle machine: the load average per core, at least 1."""
    return max(1.0, max(os.getloadavg()) / (os.cpu_count() or 1)) if hasattr(os, "getloadavg") else 1.0


class Deadline:
    """A time limit in seconds of an idle machine."""

    def __init__(self, seconds: float = MAX_WAIT_S) -> None:
        self.seconds = seconds
        self.start = time.monotonic()

    @property
    def remaining_s(self) -> float:
        """The seconds left, extended by the current load of the machine."""
        return self.seconds * load_factor() - (time.monotonic() - self.start)


def wait_for(condition: Callable[[], Any], message: str) -> None:
    """Wait until the condition holds; fail with the message at the deadline."""
    deadline = Deadline()
    while not condition():
        assert deadline.remaining_s > 0, message
        time.sleep(0.05)


def wait_for_output(process: subprocess.Popen[str]) -> str:
    """Return the standard output of a process once it has exited."""
    deadline = Deadline()
    while True:
        try:
            return process.communicate(timeout=1)[0]
        except subprocess.TimeoutExpired as timeout:  # the next call continues with the output read so far
            assert deadline.remaining_s > 0, timeout.output
