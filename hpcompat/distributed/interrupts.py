"""Ctrl-C on several ranks: the training stops at the same step on all of them, so that they stay in step.

A rank that left in the middle of a step would leave the others waiting in a collective that it never joins.
So while a trial trains, SIGINT is only noted. The lookouts of all ranks then tell each other how far they
are, each holding up its rank's next step meanwhile, and all stop one step after the furthest. Where
nothing trains (the engine is asked, a plain function runs) SIGINT is a KeyboardInterrupt at once, as it is
if it comes again.

SIGTERM ends the processes: each rank does with it what it would do alone. A rank that it reaches alone has the
others send it to themselves.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

AGAIN_S = 2.0  # launcher and terminal both send one: sooner than this it is the same Ctrl-C
Place = tuple[int, int]


class Interrupts:
    """`asked`: a Ctrl-C is noted here. `stopped`: it has been raised here. `target`: where to stop, once agreed."""

    def __init__(self, training: Callable[[], bool]) -> None:
        self.training = training
        self.asked = False
        self.stopped = False
        self.target: Place | None = None
        self.held = threading.Lock()
        self._first = 0.0
        self._nudged = False
        self._errand: Callable[[], Any] | None = None
        self._terminating = threading.Lock()
        self._before: Any = None

    def install(self) -> None:
        """Take SIGINT over, where it would be a KeyboardInterrupt: in the main thread."""
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._noted)

    def restore(self) -> None:
        """Give it back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def nudge(self) -> None:
        """From another thread: another rank was interrupted."""
        if self._before is not None and not self.stopped:
            self._nudged = True
            self._wake()

    def have_done(self, errand: Callable[[], Any]) -> None:
        """From another thread: have the main thread do it now, whatever it is at; it may raise."""
        if self._before is not None:
            self._errand = errand
            self._wake()

    def terminate(self) -> None:
        """Do what SIGTERM does in this process, which is not ending already: another rank has had it."""
        if self.ends():
            os.kill(os.getpid(), signal.SIGTERM)

    def ends(self) -> bool:
        """Note that a signal ends this process; whether that is news."""
        return self._terminating.acquire(blocking=False)

    def _wake(self) -> None:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # it may be asleep
        else:  # Windows
            _thread.interrupt_main()

    def reached(self, place: Place) -> None:
        """Raise `KeyboardInterrupt` if this is where all stop."""
        with self.held:
            here = self.target is not None and place >= self.target
        if here:
            self.stopped = True
            raise KeyboardInterrupt

    def _noted(self, signum: int, frame: Any) -> None:
        errand, self._errand = self._errand, None
        if errand is not None:
            errand()
            return
        nudged, self._nudged = self._nudged, False
        again = self.asked and not nudged
        if (again and time.monotonic() - self._first < AGAIN_S) or (nudged and self.stopped):
            return
        if not self.asked:
            self.asked, self._first = True, time.monotonic()
        if self.training() and not again:
            return
        self.stopped = True
        raise KeyboardInterrupt
