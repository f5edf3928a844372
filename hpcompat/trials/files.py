"""Files and directories at places where others can write: no link is followed, nothing is waited for.

Where the system can (Linux, macOS, …) a directory is held open, and what is done in it is done there, wherever its
path leads by then. On Windows paths are looked at just before they are used.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

_NO_FOLLOW, _DIRECTORY = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_DIRECTORY", 0)
_NON_BLOCKING = getattr(os, "O_NONBLOCK", 0)  # opening a FIFO would wait for its other end
_BINARY = getattr(os, "O_BINARY", 0)
_CAN_HOLD = {os.open, os.mkdir, os.rename, os.rmdir, os.stat, os.unlink} <= os.supports_dir_fd


def open_regular(path: str, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> int:
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
        raise OSError(errno.ELOOP, "it is a symbolic link", path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", path)


def read_regular(path: str, max_bytes: int, dir_fd: int | None = None) -> bytes:
    """The content of a regular file. Raises `OSError`, also for one that is longer than `max_bytes`.

    >>> read_regular(os.devnull, 10)
    Traceback (most recent call last):
      ...
    OSError: [Errno 22] it is not a regular file: '/dev/null'
    """
    with open(open_regular(path, dir_fd=dir_fd), "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"expected at most {max_bytes} bytes", path)
    return content


class Directory:
    """An open directory, for the time of a `with` block; `path` may be a symlink, names in it may not.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as path, Directory(path) as here:
    ...     with here.below("a/b", create=True) as inner:
    ...         inner.write("file", "text")
    ...     here.remove("a")
    ...     here.names()
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

    def _at(self, name: str, key: str = "dir_fd") -> tuple[str, dict[str, Any]]:
        """The arguments with which `os` finds the name in here."""
        return (os.path.join(self.path, name), {}) if self._fd is None else (name, {key: self._fd})

    def below(self, names: str, create: bool = False) -> Directory:
        """The directory of that relative path, each part of it a directory itself; made if need be.

        Raises `OSError` where one is missing, or a symlink.
        """
        parts = [name for name in names.split(os.sep) if name not in ("", ".")]
        if os.pardir in parts:
            raise NotADirectoryError(errno.ENOTDIR, "expected a path that does not lead out", names)
        found = Directory(self.path, None if self._fd is None else os.dup(self._fd))
        for name in parts:
            with found as outer:
                if create and not outer.has(name):
                    with suppress(FileExistsError):
                        outer.make(name)
                found = outer._open(name)
        return found

    def _open(self, name: str) -> Directory:
        place, inside = self._at(name)
        path = os.path.join(self.path, name)
        if not self.is_directory(name):
            raise NotADirectoryError(errno.ENOTDIR, "expected a directory, not a link or a file", path)
        fd = None if self._fd is None else os.open(place, os.O_RDONLY | _DIRECTORY | _NO_FOLLOW, **inside)
        return Directory(path, fd)

    def names(self) -> list[str]:
        """What is in it."""
        return os.listdir(self.path if self._fd is None else self._fd)

    def has(self, name: str) -> bool:
        """Whether something of that name is in it, be it a link that leads nowhere."""
        place, inside = self._at(name)
        try:
            os.stat(place, **inside, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def is_directory(self, name: str) -> bool:
        """Whether that is a directory itself, and no link to one."""
        place, inside = self._at(name)
        return stat.S_ISDIR(os.stat(place, **inside, follow_symlinks=False).st_mode)

    def make(self, name: str) -> None:
        """Make a directory. Raises `FileExistsError`."""
        place, inside = self._at(name)
        os.mkdir(place, **inside)

    def write(self, name: str, text: str) -> None:
        """Write a new file."""
        place, inside = self._at(name)
        with open(open_regular(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, **inside), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name: str, max_bytes: int) -> bytes:
        """See `read_regular`."""
        place, inside = self._at(name)
        return read_regular(place, max_bytes, **inside)

    def move(self, name: str, to: Directory, new: str) -> None:
        """Move a directory into another one. Raises `OSError` if something is there, but an empty directory."""
        place, inside = self._at(name, "src_dir_fd")
        target, there = to._at(new, "dst_dir_fd")
        os.rename(place, target, **inside, **there)

    def remove(self, name: str) -> None:
        """Remove a file, a link, or a directory with all that is in it."""
        if not self.is_directory(name):
            place, inside = self._at(name)
            os.unlink(place, **inside)
            return
        with self._open(name) as inner:
            inner.clear()
        self.remove_empty(name)

    def remove_empty(self, name: str) -> None:
        """Remove a directory that holds nothing. Raises `OSError`."""
        place, inside = self._at(name)
        os.rmdir(place, **inside)

    def clear(self, besides: Iterable[str] = ()) -> None:
        """Remove all that is in it, but what has these names."""
        for name in self.names():
            if name not in besides:
                self.remove(name)
