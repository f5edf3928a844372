"""One search at a time in an output_dir, whatever the process does: threads, forks, searches inside a trial."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpcompat.errors import Issue, SearchError
from hpcompat.trials.files import open_regular

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MAX_TRIES = 100
_open: dict[int, tuple[int, int]] = {}
_guard = threading.Lock()


def _close_in_child() -> None:
    """A forked child that outlives the search would hold its lock."""
    global _guard
    _guard = threading.Lock()  # a thread that the child does not have may have held it
    for file in _open:
        with suppress(OSError):
            os.close(file)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def lock_journal(path: str) -> Iterator[int]:
    """The file, open for this search alone: not for another process, a thread, or a search in a trial of this one.

    A lock of `flock` belongs to the open file, unlike one of `lockf`, which any other code in the process would drop
    by closing the file, and which does not keep out the process's own threads. On NFS Linux makes a `lockf` of it
    (https://man7.org/linux/man-pages/man2/flock.2.html): there, and where there are no locks, `_open` keeps out the
    threads.
    """
    process = os.getpid()
    file = _lock(path)
    try:
        yield file
    finally:
        if os.getpid() == process:
            with _guard:
                del _open[file]
            os.close(file)


def _lock(path: str) -> int:
    for _ in range(_MAX_TRIES):
        try:
            file = open_regular(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise SearchError(f"the journal {path} cannot be opened: {error.strerror}") from error
        try:
            found = os.fstat(file)
            with _guard:
                if (found.st_dev, found.st_ino) in _open.values():
                    raise _in_use(path)
                _flock(file, path)
                if is_at(file, path):  # not one that was removed since it was opened
                    _open[file] = found.st_dev, found.st_ino
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise SearchError(f"the journal {path} cannot be opened: it is removed or replaced each time")


def _flock(file: int, path: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise _in_use(path) from error
    except OSError:  # a file system without locks
        return


def _in_use(path: str) -> SearchError:
    hint = "give each search its own output_dir; processes share a search with storage=, sweep_id= or experiment_id="
    return SearchError(f"another search is writing the journal {path}", [Issue("", hint)])


def is_at(file: int, path: str) -> bool:
    """Whether the open file is what lies at the path."""
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except OSError:
        return False
