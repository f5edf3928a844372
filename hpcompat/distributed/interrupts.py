"""Ctrl-C and SIGTERM on several ranks; in a single process `trials.loop.run_loop` handles Ctrl-C.

Ctrl-C must stop a training at the same step on all ranks, because a rank that stopped earlier would leave the others
waiting in a collective. So SIGINT only sets a flag while a trial is training. The watchdogs then exchange the current
steps of their ranks, and hold back the next step meanwhile; all ranks stop one step after the furthest one. If no trial
is training, or if SIGINT is repeated, it raises KeyboardInterrupt at once.

SIGTERM ends the processes of all ranks: the rank that receives it makes the other ranks send it to themselves.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from hpcompat.distributed.process_group import StoreChannel, StoreUnreachable
from hpcompat.trials.process import Termination

REPEAT_S = 2.0
"""A second SIGINT within this time belongs to the same Ctrl-C, which the launcher and the terminal both send."""

Step = tuple[int, int]
"""The index of a trial, and a step in it."""


class Interrupts:
    """Ctrl-C on this rank.

    Attributes:
        is_training: Returns whether a training is running.
        is_pending: Whether Ctrl-C was pressed, on any rank.
        is_raised: Whether KeyboardInterrupt was raised on this rank.
        stop_at: The step at which all ranks stop, once they have agreed on it.
        step_lock: Held while they agree, so that no step begins.
    """

    def __init__(self, is_training: Callable[[], bool]) -> None:
        self.is_training = is_training
        self.is_pending = False
        self.is_raised = False
        self.stop_at: Step | None = None
        self.step_lock = threading.Lock()
        self._pending_since = 0.0
        self._task: Callable[[], None] | None = None
        self._is_installed = False

    def install(self) -> None:
        """Install the handler of SIGINT, in the main thread, unless the user has installed one."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_sigint)
            self._is_installed = True

    def restore(self) -> None:
        """Restore the previous handler."""
        if self._is_installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._is_installed = False

    def mark_pending(self) -> None:
        """Record a Ctrl-C on any rank."""
        if not self.is_pending:
            self.is_pending, self._pending_since = True, time.monotonic()

    def raise_interrupt(self) -> NoReturn:
        """Raise `KeyboardInterrupt`."""
        self.mark_pending()
        self.is_raised = True
        raise KeyboardInterrupt

    def check(self, step: Step) -> None:
        """Raise `KeyboardInterrupt` if all ranks stop at this step."""
        with self.step_lock:
            is_reached = self.stop_at is not None and step >= self.stop_at
        if is_reached:
            self.raise_interrupt()

    def raise_unless_training(self) -> None:
        """Raise `KeyboardInterrupt`, unless it was raised before, or a training will stop at the agreed step."""
        if not (self.is_raised or self.is_training()):
            self.raise_interrupt()

    def run_in_main_thread(self, task: Callable[[], None]) -> None:
        """Interrupt the main thread from another thread, to run a task there that may raise."""
        if not self._is_installed:
            return
        self._task = task
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # wakes it if it sleeps
        else:  # Windows
            _thread.interrupt_main()

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        task, self._task = self._task, None
        if task is not None:
            task()
            return
        is_repeated = self.is_pending
        if is_repeated and time.monotonic() - self._pending_since < REPEAT_S:
            return
        self.mark_pending()
        if is_repeated or not self.is_training():
            self.raise_interrupt()


class SharedTermination:
    """SIGTERM, which one rank propagates to all.

    Attributes:
        is_enabled: Whether SIGTERM is propagated.
        local: Whether this rank has received SIGTERM.
        is_remote: Whether another rank has received SIGTERM.
    """

    def __init__(self, store: StoreChannel) -> None:
        self.store = store
        self.is_enabled = False
        self.local = Termination()
        self.is_remote = False
        self._signal_lock = threading.Lock()

    def propagate(self) -> None:
        """Send SIGTERM from this rank to the others, or from another rank to this process."""
        if self.local.is_requested:
            self.announce()
            return
        with suppress(StoreUnreachable):
            self.is_remote = self.is_remote or (self.is_enabled and self.store.contains("terminated"))
        if self.is_remote:
            self.signal_self()

    def announce(self) -> None:
        """Announce to the other ranks that a signal ends this process, so that they end too."""
        if self._signal_lock.acquire(blocking=False) and self.is_enabled:
            with suppress(StoreUnreachable):
                self.store.set(f"terminated/{self.store.rank}")
                self.store.set("terminated")

    def signal_self(self) -> None:
        """Send SIGTERM to this process because another rank has received it, unless it is already ending."""
        self.is_remote = True
        if self._signal_lock.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGTERM)
