"""Signals while a search runs: SIGTERM, and exits that a handler asks for."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Termination:
    """Whether SIGTERM has come, and the search is to end.

    Code in a trial may swallow the KeyboardInterrupt that says so: `check` is called where the search goes on.
    """

    def __init__(self) -> None:
        self.is_requested = False

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if the search is to end, in the main thread."""
        if self.is_requested and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt


@contextmanager
def handle_sigterm() -> Iterator[Termination]:
    """Have SIGTERM end the block as Ctrl-C does, and then do what it would have done: end the process.

    Only in the main thread, and only where it has its default action: a handler of the user's stays. In a process
    that is forked within the block it ends that process at once.
    """
    termination = Termination()
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield termination
        return
    process, ctrl_c = os.getpid(), signal.getsignal(signal.SIGINT)

    def terminate() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            terminate()
        if termination.is_requested:
            return
        termination.is_requested = True
        handler: Any = signal.getsignal(signal.SIGINT)
        if not callable(handler) or handler == ctrl_c:
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)  # Ray Tune, and several ranks, end at Ctrl-C in ways of their own

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield termination
    finally:
        if os.getpid() == process:
            if signal.getsignal(signal.SIGTERM) is interrupt:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if termination.is_requested:
                terminate()


def is_from_handler(error: BaseException) -> bool:
    """Whether a signal handler has raised the error: Python calls it with the frame that the signal interrupted.

    >>> def handler(signum, frame):
    ...     raise SystemExit(1)
    >>> before = signal.signal(signal.SIGINT, handler)
    >>> try:
    ...     signal.raise_signal(signal.SIGINT)
    ... except SystemExit as error:
    ...     is_from_handler(error)
    ... finally:
    ...     _ = signal.signal(signal.SIGINT, before)
    True
    """
    outer: FrameType | None = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if outer is not None and any(argument is outer for argument in _arguments(frame)):
            return True
        outer, traceback = frame, traceback.tb_next
    return False


def _arguments(frame: FrameType) -> Iterator[Any]:
    """What the function of a frame was called with, as far as it still has it."""
    code = frame.f_code
    named = code.co_argcount + code.co_kwonlyargcount
    for name in code.co_varnames[:named]:
        yield frame.f_locals.get(name)
    if code.co_flags & 0x04:  # CO_VARARGS: handlers are often written as `lambda *_: sys.exit(1)`
        yield from frame.f_locals.get(code.co_varnames[named], ())
