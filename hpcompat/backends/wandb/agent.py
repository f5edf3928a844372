"""`wandb.agent` in a thread: the runs that it fetches are handed over, one at a time.

So training stays where `search` was called, and Ctrl-C works there. A run that W&B stops hears of it
when it next asks `should_prune()`: the agent would have it struck by an exception wherever it stands.
While a stopped run comes to its end the agent fetches the next one. That is the next trial; if it is
not to be, W&B is left with a run that never began.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread

from hpcompat.errors import SearchError

_TICK = 0.05
PROBE = 60.0
"""Seconds without a run after which W&B is asked whether it is still there: the agent would wait for ever."""
PROBES = 10
"""How often it may say that it is, and that nobody has paused the sweep."""


@dataclass
class Job:
    """A run that the agent has fetched, and waits for."""

    stopped: bool = False
    over: bool = False

    def stops(self, reports: Sequence[float]) -> bool:
        """Whether W&B, which has the reports from the run itself, has stopped it."""
        return self.stopped


class _End(BaseException):
    """What ends an agent: nothing but its count does, and it takes Ctrl-C for a reason to stop the run."""


class Fetcher:
    """An agent of the sweep at a path (entity/project/id), from the first `fetch` until `close`.

    `is_paused` asks W&B whether the sweep is, and raises if there is no answer.
    """

    def __init__(self, path: str, is_paused: Callable[[], bool]) -> None:
        self._path = path
        self._is_paused = is_paused
        self._thread = Thread(target=self._serve, name="hpcompat-agent", daemon=True)
        self._begun = self._closed = False
        self._offered: Job | None = None
        self._current: Job | None = None
        self._error: Exception | None = None

    def fetch(self, until: float | None = None) -> Job | None:
        """The next run, now that the one before is over; None if there is none, or none by `until`.

        Until then the agent is kept waiting: it would fetch a run that nobody may want.
        """
        if not self._begun:
            self._begun = True
            self._thread.start()
        if self._current is not None:
            self._current.over = True
        asked, left = time.monotonic(), PROBES
        while self._offered is self._current:
            if time.monotonic() - asked > PROBE:
                left = PROBES if self._is_paused() else left - 1
                asked = time.monotonic()
                if not left:
                    raise SearchError("W&B hands out no run, and does not say that there is none")
            if not self._thread.is_alive() or (until is not None and time.monotonic() > until):
                break
            self._thread.join(_TICK)
        if self._error is not None:
            raise SearchError(f"W&B's agent ended: {self._error}") from self._error
        before, self._current = self._current, self._offered
        return None if self._current is before else self._current

    def close(self) -> None:
        """End the agent; at once if it waits for a run to be over, else in the seconds that it takes to look up."""
        if self._begun and self._thread.is_alive():
            assert self._thread.ident is not None
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(_End))
            self._closed = True
            self._thread.join()

    def _serve(self) -> None:
        import wandb

        try:
            wandb.agent(self._path, function=self._hand_over)
        except Exception as error:
            self._error = error
        except _End:
            pass

    def _hand_over(self) -> None:
        """What the agent takes for the training."""
        job = Job()
        while not (job.over or self._closed):
            try:
                self._offered = job
                while not (job.over or self._closed):
                    time.sleep(_TICK)
            except Exception:  # how the agent stops a run: raised in this thread, wherever it is
                job.stopped = True
