"""One search at a time, on an engine that keeps its state for the whole process."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hpcompat.errors import BackendError, Issue

_INSIDE: ContextVar[frozenset[str]] = ContextVar("hpcompat_engines_in_use", default=frozenset())
_LOCKS: dict[str, threading.Lock] = {}
_GUARD = threading.Lock()


@contextmanager
def turn(engine: str, reason: str) -> Iterator[None]:
    """Have the engine alone: a search in another thread waits for this one's end, and says that it does.

    Raises `BackendError`, with the reason, inside a trial of a search that has it: that would wait for itself.

    >>> with turn("demo", "it keeps one state"):
    ...     with turn("demo", "it keeps one state"):
    ...         pass
    Traceback (most recent call last):
    hpcompat.errors.BackendError: a search on demo runs already: it keeps one state
      backend: a trial of that search cannot begin another on demo (end that search first, or use another backend)
    """
    if engine in _INSIDE.get():
        hint = "end that search first, or use another backend"
        issue = Issue("backend", f"a trial of that search cannot begin another on {engine}", hint)
        raise BackendError(f"a search on {engine} runs already: {reason}", [issue])
    with _GUARD:
        lock = _LOCKS.setdefault(engine, threading.Lock())
    if not lock.acquire(blocking=False):
        warnings.warn(f"another thread searches on {engine}: this search waits for its end, as {reason}", stacklevel=2)
        lock.acquire()
    inside = _INSIDE.set(_INSIDE.get() | {engine})
    try:
        yield
    finally:
        _INSIDE.reset(inside)
        lock.release()
