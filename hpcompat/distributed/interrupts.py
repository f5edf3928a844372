"""Ctrl-C and SIGTERM on several ranks; in a single process `trials.loop.run_loop` catches Ctrl-C.

Ctrl-C stops a training at the same step on all ranks: a rank that left in the middle of a step would leave the others
waiting in a collective. So SIGINT is only noted while a trial trains. The watchdogs of all ranks then exchange how far
they are, each holding back its rank's next step meanwhile, and all stop one step after the furthest. Where nothing
trains SIGINT raises KeyboardInterrupt at once, as it does when it is repeated.

SIGTERM ends the process of every rank: a rank that alone gets it has the others send it to themselves.
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
"""Launcher and terminal both send SIGINT: sooner than this it is the same Ctrl-C."""

Step = tuple[int, int]
"""The index of a trial, and a step in it."""


class Interrupts:
    """Ctrl-C on this rank.

    `is_pending`: one has come, here or on another rank. `is_raised`: it was raised here. `stop_at`: the step at which
    all ranks stop, once it is agreed; `step_lock` is held meanwhile, and no step begins.
    """

    def __init__(self, is_training: Callable[[], bool]) -> None:
        self.is_training = is_training
        self.is_pending = False
        self.is_raised = False
        self.stop_at: Step | None = None
        self.step_lock = threading.Lock()
        self._since = 0.0
        self._task: Callable[[], None] | None = None
        self._is_installed = False

    def install(self) -> None:
        """Handle SIGINT from now on, if it would raise KeyboardInterrupt: in the main thread."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_sigint)
            self._is_installed = True

    def restore(self) -> None:
        """Put the previous handler back."""
        if self._is_installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._is_installed = False

    def note(self) -> None:
        """Note a Ctrl-C, here or on another rank."""
        if not self.is_pending:
            self.is_pending, self._since = True, time.monotonic()

    def stop(self) -> NoReturn:
        """Raise `KeyboardInterrupt`."""
        self.note()
        self.is_raised = True
        raise KeyboardInterrupt

    def check(self, step: Step) -> None:
        """Raise `KeyboardInterrupt` if all ranks stop at this step."""
        with self.step_lock:
            is_reached = self.stop_at is not None and step >= self.stop_at
        if is_reached:
            self.stop()

    def stop_unless_training(self) -> None:
        """Raise `KeyboardInterrupt` unless it was raised before, or a training will be stopped at its step."""
        if not (self.is_raised or self.is_training()):
            self.stop()

    def run_in_main_thread(self, task: Callable[[], None]) -> None:
        """Interrupt the main thread, from another one, to run a task there that may raise."""
        if not self._is_installed:
            return
        self._task = task
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # it may be asleep
        else:  # Windows
            _thread.interrupt_main()

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        task, self._task = self._task, None
        if task is not None:
            task()
            return
        is_repeated = self.is_pending
        if is_repeated and time.monotonic() - self._since < REPEAT_S:
            return
        self.note()
        if is_repeated or not self.is_training():
            self.stop()


class SharedTermination:
    """SIGTERM on one rank is SIGTERM on all, if `is_enabled`.

    `local`: whether it has come here, and ends the search in order. `is_remote`: it has come to another rank.
    """

    def __init__(self, store: StoreChannel) -> None:
        self.store = store
        self.is_enabled = False
        self.local = Termination()
        self.is_remote = False
        self._is_ending = threading.Lock()

    def share(self) -> None:
        """Send SIGTERM from this rank to the others, or from another rank to this process."""
        if self.local.is_requested:
            self.announce()
            return
        with suppress(StoreUnreachable):
            self.is_remote = self.is_remote or (self.is_enabled and self.store.contains("terminated"))
        if self.is_remote:
            self.signal_self()

    def announce(self) -> None:
        """Have the other processes end too: a signal ends this one."""
        if self._is_ending.acquire(blocking=False) and self.is_enabled:
            with suppress(StoreUnreachable):
                self.store.set(f"terminated/{self.store.rank}")
                self.store.set("terminated")

    def signal_self(self) -> None:
        """Send this process the SIGTERM that another rank has got, unless it is ending already."""
        self.is_remote = True
        if self._is_ending.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGTERM)
