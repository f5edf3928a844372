"""Processes: SIGTERM, engines that a process uses for one search at a time, and whether another process has exited."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any

from hpcompat.errors import BackendError, Issue

SYSTEM_RNG = random.SystemRandom()
"""A generator for values that must differ between processes: training code seeds all other generators alike."""

_EXITED_STATES = ("Z", "X")
"""The states of a process that has exited, even if its parent has not read the exit code yet (a zombie)."""
_engines_in_use: ContextVar[frozenset[str]] = ContextVar("hpcompat_engines_in_use", default=frozenset())
_engine_locks: dict[str, threading.Lock] = {}
_engine_locks_guard = threading.Lock()


@contextmanager
def exclusive_use(engine: str, reason: str) -> Iterator[None]:
    """Use an engine for one search at a time: a search in another thread waits for the end of this one, with a warning.

    Args:
        engine: The name of the engine.
        reason: Why the engine cannot run two searches at a time.

    Raises:
        BackendError: A trial of the search that uses the engine calls this; it would wait for itself.

    >>> with exclusive_use("demo", "it keeps one state"):
    ...     with exclusive_use("demo", "it keeps one state"):
    ...         pass
    Traceback (most recent call last):
    hpcompat.errors.BackendError: a search on demo runs already: it keeps one state
      backend: a trial of that search cannot start another one on demo (end that search first, or use another backend)
    """
    if engine in _engines_in_use.get():
        hint = "end that search first, or use another backend"
        issue = Issue("backend", f"a trial of that search cannot start another one on {engine}", hint)
        raise BackendError(f"a search on {engine} runs already: {reason}", [issue])
    with _engine_locks_guard:
        lock = _engine_locks.setdefault(engine, threading.Lock())
    if not lock.acquire(blocking=False):
        warnings.warn(f"another thread searches on {engine}: this search waits for its end, as {reason}", stacklevel=2)
        lock.acquire()
    token = _engines_in_use.set(_engines_in_use.get() | {engine})
    try:
        yield
    finally:
        _engines_in_use.reset(token)
        lock.release()


class Termination:
    """Whether SIGTERM has been received.

    Code in a trial may catch the KeyboardInterrupt that the handler raises; `check` raises it again in the search.
    """

    def __init__(self) -> None:
        self.is_requested = False

    def check(self) -> None:
        """Raise `KeyboardInterrupt` in the main thread if SIGTERM has been received."""
        if self.is_requested and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt


@contextmanager
def handle_sigterm() -> Iterator[Termination]:
    """Handle SIGTERM within the block as Ctrl-C, and end the process after the block.

    This applies to the main thread, and only if the user has not installed a handler. SIGTERM ends a process that was
    forked within the block at once.
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
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler) or handler == ctrl_c:
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)  # Ray Tune and DDP have handlers of their own for Ctrl-C

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield termination
    finally:
        if os.getpid() == process:
            if signal.getsignal(signal.SIGTERM) is interrupt:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if termination.is_requested:
                terminate()


def is_from_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler raised the error.

    Python calls a handler with the frame that the signal interrupted, so that frame is one of its arguments.

    >>> def handler(signum, frame):
    ...     raise SystemExit(1)
    >>> before = signal.signal(signal.SIGINT, handler)
    >>> try:
    ...     signal.raise_signal(signal.SIGINT)
    ... except SystemExit as error:
    ...     is_from_signal_handler(error)
    ... finally:
    ...     _ = signal.signal(signal.SIGINT, before)
    True
    """
    outer: FrameType | None = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if outer is not None and any(argument is outer for argument in _frame_arguments(frame)):
            return True
        outer, traceback = frame, traceback.tb_next
    return False


def _frame_arguments(frame: FrameType) -> Iterator[object]:
    """Yield the arguments of the function that a frame runs, except those that it has deleted."""
    code = frame.f_code
    n_named = code.co_argcount + code.co_kwonlyargcount
    for name in code.co_varnames[:n_named]:
        yield frame.f_locals.get(name)
    if code.co_flags & 0x04:  # CO_VARARGS: handlers are often written as `lambda *_: sys.exit(1)`
        yield from frame.f_locals.get(code.co_varnames[n_named], ())


def identify_process() -> dict[str, object]:
    """Return a dict that identifies this process to others: host, pid namespace, pid and start time.

    >>> has_exited(identify_process())
    False
    """
    return {
        "host": socket.gethostname(),
        "pids": _pid_namespace(),
        "pid": os.getpid(),
        "started": _start_time(os.getpid()),
    }


def has_exited(process: Mapping[str, Any]) -> bool | None:
    """Return whether a process of this host has exited; None if it runs on another host, where that cannot be seen.

    >>> has_exited({**identify_process(), "started": "before the pid was given to another"})
    True
    >>> print(has_exited({**identify_process(), "host": "elsewhere", "pid": 0}))
    None
    """
    this_host = (socket.gethostname(), _pid_namespace())
    if (process["host"], process["pids"]) != this_host or process["started"] is None:
        return None
    started = _start_time(process["pid"])
    return None if started is None else started != process["started"]


def _pid_namespace() -> str:
    """Return the pid namespace; containers on one host may share its name, but not its pids."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_time(pid: int) -> str | None:
    """Return the start time of a process, as the system formats it; "" if it has exited, None if unknown."""
    if os.path.exists("/proc/self/stat"):
        with suppress(OSError), open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()  # the name before it may contain any characters
            return "" if fields[0] in _EXITED_STATES else fields[19]
        return ""
    try:
        ps_result = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    except OSError:
        return None
    state, _, started = ps_result.stdout.strip().partition(" ")
    return "" if state.startswith(_EXITED_STATES) else started.strip()
