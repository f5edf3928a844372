"""Safe access to directories that other users can write to, and the lock of the journal.

Symlinks below a directory are not followed, and opening a file never blocks. On Linux and macOS a directory is kept
open, and its files are accessed through its descriptor, even if its path is replaced meanwhile. Windows lacks that:
there paths are checked just before they are used.
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
_HAS_DIR_FD = {os.open, os.mkdir, os.rename, os.rmdir, os.stat, os.unlink} <= os.supports_dir_fd


def open_regular_file(path: str, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> int:
    """Open a regular file. Raises `OSError`, also for a symlink, a FIFO or a device."""
    with suppress(FileNotFoundError):
        _require_regular(os.stat(path, dir_fd=dir_fd, follow_symlinks=False), path)
    file = os.open(path, flags | _NO_FOLLOW | _NON_BLOCKING | _BINARY, 0o666, dir_fd=dir_fd)
    try:
        _require_regular(os.fstat(file), path)
    except OSError:
        os.close(file)
        raise
    return file


def _require_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "expected a regular file, got a symbolic link", path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "expected a regular file", path)


def read_regular_file(path: str, max_bytes: int, dir_fd: int | None = None) -> bytes:
    """Return the content of a regular file. Raises `OSError`, also if the file is longer than `max_bytes`.

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
    """A directory that is open within a `with` block; `path` itself may be a symlink, the names below it may not.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as path, Directory(path) as directory:
    ...     with directory.subdirectory("a/b", create=True) as inner:
    ...         inner.write("file", "text")
    ...     directory.remove("a")
    ...     directory.list_names()
    []
    """

    def __init__(self, path: str, fd: int | None = None) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | _DIRECTORY) if _HAS_DIR_FD and fd is None else fd

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def _locate(self, name: str, key: str = "dir_fd") -> tuple[str, dict[str, int]]:
        """Return the path and the keyword arguments with which functions of `os` access a name in this directory."""
        return (os.path.join(self.path, name), {}) if self._fd is None else (name, {key: self._fd})

    def subdirectory(self, names: str, create: bool = False) -> Directory:
        """Open the directory at a relative path; with `create`, create the parts that are missing.

        Raises `OSError` if a part is missing, or is a symlink.
        """
        parts = [name for name in names.split(os.sep) if name not in ("", ".")]
        if os.pardir in parts:
            raise NotADirectoryError(errno.ENOTDIR, "expected a path without '..'", names)
        directory = Directory(self.path, None if self._fd is None else os.dup(self._fd))
        for name in parts:
            with directory as outer:
                if create and not outer.contains(name):
                    with suppress(FileExistsError):
                        outer.create(name)
                directory = outer._open(name)
        return directory

    def _open(self, name: str) -> Directory:
        target, options = self._locate(name)
        path = os.path.join(self.path, name)
        if not self.is_directory(name):
            raise NotADirectoryError(errno.ENOTDIR, "expected a directory, not a link or a file", path)
        fd = None if self._fd is None else os.open(target, os.O_RDONLY | _DIRECTORY | _NO_FOLLOW, **options)
        return Directory(path, fd)

    def list_names(self) -> list[str]:
        """Return the names of all entries."""
        return os.listdir(self.path if self._fd is None else self._fd)

    def contains(self, name: str) -> bool:
        """Return whether there is an entry of that name; a broken symlink counts."""
        target, options = self._locate(name)
        try:
            os.stat(target, **options, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def is_directory(self, name: str) -> bool:
        """Return whether the entry is a directory, and not a symlink to one."""
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
        """Return the content of a file, see `read_regular_file`."""
        target, options = self._locate(name)
        return read_regular_file(target, max_bytes, **options)

    def move(self, name: str, to: Directory, new: str) -> None:
        """Move a directory into another one. Raises `OSError` unless the new name is free or an empty directory."""
        source, options = self._locate(name, "src_dir_fd")
        target, target_options = to._locate(new, "dst_dir_fd")
        os.rename(source, target, **options, **target_options)

    def remove(self, name: str) -> None:
        """Remove a file, a symlink, or a directory with its contents."""
        if not self.is_directory(name):
            target, options = self._locate(name)
            os.unlink(target, **options)
            return
        with self._open(name) as inner:
            for inner_name in inner.list_names():
                inner.remove(inner_name)
        self.remove_empty(name)

    def remove_empty(self, name: str) -> None:
        """Remove an empty directory. Raises `OSError` if it is not empty."""
        target, options = self._locate(name)
        os.rmdir(target, **options)


def ensure_writable(root: str) -> str:
    """Create a directory if it is missing, and return its absolute path.

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
    _journals_guard = threading.Lock()  # it may be held by a thread that does not exist in the child
    for fd in _open_journals:
        with suppress(OSError):
            os.close(fd)
    _open_journals.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def lock_journal(path: str) -> Iterator[int]:
    """Open and lock a file, against other processes and against other searches in this process.

    The lock is made with `flock`, and belongs to the open file. A `lockf` lock would be dropped as soon as any code in
    the process closes the file, and would not exclude other threads. On NFS, Linux implements `flock` by `lockf`
    (https://man7.org/linux/man-pages/man2/flock.2.html); there, and on file systems without locks, `_open_journals`
    excludes other threads.
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
            status = os.fstat(fd)
            with _journals_guard:
                if (status.st_dev, status.st_ino) in _open_journals.values():
                    raise _in_use_error(path)
                _flock(fd, path)
                if is_file_at(fd, path):  # and was not removed since it was opened
                    _open_journals[fd] = status.st_dev, status.st_ino
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
