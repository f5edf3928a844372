"""A disk of a few pages, in a process that has its own view of what is mounted: it goes with the process.

Where nothing can be mounted, a limit on the size of files stands in for it, and lesser rights for a disk
that is read only.
"""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

SIZE_BYTES = 2 << 20
_MOUNT = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs"]
_UNSHARE_COMMANDS = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])
_mounted: list[str] = []


def find_mount_command(somewhere: Path) -> list[str] | None:
    """The command that starts a process which can mount; None if there is none."""
    for command in _UNSHARE_COMMANDS:
        try:
            if subprocess.run([*command, *_MOUNT, str(somewhere)], stderr=subprocess.DEVNULL).returncode == 0:
                return command
        except OSError:
            continue
    return None


def mount(*places: str) -> None:
    """Mount a small disk there."""
    for place in places:
        subprocess.run([*_MOUNT, place], check=True)
        _mounted.append(place)


def fill(place: str, room: int) -> None:
    """Leave room for so many bytes, in whole pages."""
    if not _mounted:
        largest = max(path.stat().st_size for path in Path(place).rglob("*") if path.is_file())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return
    with open(_filler_file(), "wb", buffering=0) as file:
        free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        file.write(bytes(max(0, free - room)))


def empty(place: str) -> None:
    """Take away what fills it."""
    if _mounted:
        _filler_file().unlink(missing_ok=True)


def _filler_file() -> Path:
    return Path(_mounted[0], "filler")


def protect(place: str) -> None:
    """Let nothing be written there by this process any more."""
    if _mounted:
        subprocess.run(["mount", "-o", "remount,ro", _mounted[0]], check=True)
        return
    os.chmod(place, 0o555)
    if os.geteuid() == 0:
        os.setuid(65534)


def release(place: str) -> None:
    """Let it be written to again."""
    if _mounted:
        subprocess.run(["mount", "-o", "remount,rw", _mounted[0]], check=True)
