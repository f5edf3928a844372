"""Files and directories where others can write too: no link is followed, no call waits, and the journal is locked.

Where the system can (Linux, macOS, …) a directory is held open, and what is done in it is done there, wherever its
path leads by then. On Windows paths are looked at just before they are used.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from hpcompat.errors import Issue, SearchError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MAX_TRIES = 100
_open_journals: dict[int, tuple[int, int]] = {}
"""By file descriptor, the device and the inode of each journal that this process has locked."""
_journals_guard = threading.Lock()

_NO_FOLLOW, _DIRECTORY = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_DIRECTORY", 0)
_NON_BLOCKING = getattr(os, "O_NONBLOCK", 0)  # opening a FIFO would wait for its other end
_BINARY = getattr(os, "O_BINARY", 0)
_CAN_HOLD = {os.open, os.mkdir, os.rename, os.rmdir, os.stat, os.unlink} <= os.supports_dir_fd


def open_regular_file(path: str, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> int:
    """Open a regular file that is itself at the path.

    Raises `OSError`: for a symlink, a FIFO or a device too, which are not opened.
    """
    with suppress(FileNotFoundError):
        _require_regular(os.stat(path, dir_fd=dir_fd, follow_symlinks=False), path)
    file = os.open(path, flags | _NO_FOLLOW | _NON_BLOCKING | _BINARY, 0o666, dir_fd=dir_fd)
    try:
        _require_regular(os.fstat(file), path)
    except OSError:
        os.close(file)
        raise
    return file


def _require_regular(found: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "expected a regular file, got a symbolic link", path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "expected a regular file", path)


def read_regular_file(path: str, max_bytes: int, dir_fd: int | None = None) -> bytes:
    """Return the content of a regular file. Raises `OSError`, also for one that is longer than `max_bytes`.

    >>> read_regular_file(os.devnull, 10)
    Traceback (most recent call last):
      ...
    OSError: [Errno 22] expected a regular file: '/dev/null'
    """
    with open(open_regular_file(path, dir_fd=dir_fd), "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"expected at most {max_bytes} bytes", path)
    return content


class Directory:
    """An open directory, for the time of a `with` block; `path` may be a symlink, names below it may not.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as path, Directory(path) as here:
    ...     with here.subdirectory("a/b", create=True) as inner:
    ...         inner.write("file", "text")
    ...     here.remove("a")
    ...     here.list_names()
    []
    """

    def __init__(self, path: str, fd: int | None = None) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | _DIRECTORY) if _CAN_HOLD and fd is None else fd

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def _locate(self, name: str, key: str = "dir_fd") -> tuple[str, dict[str, int]]:
        """Return the arguments with which the functions of `os` find a name in this directory."""
        return (os.path.join(self.path, name), {}) if self._fd is None else (name, {key: self._fd})

    def subdirectory(self, names: str, create: bool = False) -> Directory:
        """Open the directory of a relative path, whose parts must be directories, not links to them.

        With `create` those that are missing are created. Raises `OSError` where a part is missing, or a symlink.
        """
        parts = [name for name in names.split(os.sep) if name not in ("", ".")]
        if os.pardir in parts:
            raise NotADirectoryError(errno.ENOTDIR, "expected a path without '..'", names)
        found = Directory(self.path, None if self._fd is None else os.dup(self._fd))
        for name in parts:
            with found as outer:
                if create and not outer.contains(name):
                    with suppress(FileExistsError):
                        outer.create(name)
                found = outer._open(name)
        return found

    def _open(self, name: str) -> Directory:
        target, options = self._locate(name)
        path = os.path.join(self.path, name)
        if not self.is_directory(name):
            raise NotADirectoryError(errno.ENOTDIR, "expected a directory, not a link or a file", path)
        fd = None if self._fd is None else os.open(target, os.O_RDONLY | _DIRECTORY | _NO_FOLLOW, **options)
        return Directory(path, fd)

    def list_names(self) -> list[str]:
        """Return the names of all that is in it."""
        return os.listdir(self.path if self._fd is None else self._fd)

    def contains(self, name: str) -> bool:
        """Return whether something of that name is in it, a broken link included."""
        target, options = self._locate(name)
        try:
            os.stat(target, **options, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def is_directory(self, name: str) -> bool:
        """Return whether that name is a directory, not a link to one."""
        target, options = self._locate(name)
        return stat.S_ISDIR(os.stat(target, **options, follow_symlinks=False).st_mode)

    def create(self, name: str) -> None:
        """Create a directory. Raises `FileExistsError`."""
        target, options = self._locate(name)
        os.mkdir(target, **options)

    def write(self, name: str, text: str) -> None:
        """Write a new file."""
        target, options = self._locate(name)
        fd = open_regular_file(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, **options)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name: str, max_bytes: int) -> bytes:
        """See `read_regular_file`."""
        target, options = self._locate(name)
        return read_regular_file(target, max_bytes, **options)

    def move(self, name: str, to: Directory, new: str) -> None:
        """Move a directory into another one. Raises `OSError` if something is there, but an empty directory."""
        source, options = self._locate(name, "src_dir_fd")
        target, target_options = to._locate(new, "dst_dir_fd")
        os.rename(source, target, **options, **target_options)

    def remove(self, name: str) -> None:
        """Remove a file, a link, or a directory with all that is in it."""
        if not self.is_directory(name):
            target, options = self._locate(name)
            os.unlink(target, **options)
            return
        with self._open(name) as inner:
            for inner_name in inner.list_names():
                inner.remove(inner_name)
        self.remove_empty(name)

    def remove_empty(self, name: str) -> None:
        """Remove a directory that holds nothing. Raises `OSError`."""
        target, options = self._locate(name)
        os.rmdir(target, **options)


def ensure_writable(root: str) -> str:
    """Create a directory if need be, and return its absolute path.

    Raises:
        SearchError: It cannot be created, or written to.
    """
    probe = os.path.join(root, f".{uuid.uuid4().hex}")
    try:
        os.makedirs(root, exist_ok=True)
        os.mkdir(probe)
        os.rmdir(probe)
    except OSError as error:
        raise SearchError(f"nothing can be written to output_dir {root!r}: {error}") from error
    return os.path.abspath(root)


def _close_in_child() -> None:
    """Release the locks in a forked child, which may outlive the search."""
    global _journals_guard
    _journals_guard = threading.Lock()  # a thread that the child does not have may have held it
    for fd in _open_journals:
        with suppress(OSError):
            os.close(fd)
    _open_journals.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def lock_journal(path: str) -> Iterator[int]:
    """Open the file for this search alone: not for another process, a thread, or a search in a trial of this one.

    A lock of `flock` belongs to the open file, unlike one of `lockf`, which any other code in the process would drop
    by closing the file, and which does not keep out the process's own threads. On NFS Linux makes a `lockf` of it
    (https://man7.org/linux/man-pages/man2/flock.2.html): there, and where there are no locks, `_open_journals`
    keeps out the threads.
    """
    pid = os.getpid()
    fd = _open_locked(path)
    try:
        yield fd
    finally:
        if os.getpid() == pid:
            with _journals_guard:
                del _open_journals[fd]
            os.close(fd)


def _open_locked(path: str) -> int:
    for _ in range(_MAX_TRIES):
        try:
            fd = open_regular_file(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise SearchError(f"the journal {path} cannot be opened: {error.strerror}") from error
        try:
            found = os.fstat(fd)
            with _journals_guard:
                if (found.st_dev, found.st_ino) in _open_journals.values():
                    raise _in_use_error(path)
                _flock(fd, path)
                if is_file_at(fd, path):  # not one that was removed since it was opened
                    _open_journals[fd] = found.st_dev, found.st_ino
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise SearchError(f"the journal {path} cannot be opened: it is removed or replaced each time")


def _flock(fd: int, path: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise _in_use_error(path) from error
    except OSError:  # a file system without locks
        return


def _in_use_error(path: str) -> SearchError:
    hint = "give each search its own output_dir; processes share a search with storage=, sweep_id= or experiment_id="
    return SearchError(f"another search is writing the journal {path}", [Issue("", hint)])


def is_file_at(fd: int, path: str) -> bool:
    """Return whether the open file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False
