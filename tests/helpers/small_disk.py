"""A disk of 2 MiB, mounted in the mount namespace of one process, so that it disappears with the process.

On a machine that cannot mount, a limit on file sizes replaces the full disk, and file permissions the read-only one.
"""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

SIZE_BYTES = 2 << 20
_MOUNT = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs"]
_UNSHARE_COMMANDS = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])
_mount_points: list[str] = []


def find_mount_command(directory: Path) -> list[str] | None:
    """Return a command prefix that lets a process mount the disk; None if the machine cannot mount."""
    for command in _UNSHARE_COMMANDS:
        try:
            if subprocess.run([*command, *_MOUNT, str(directory)], stderr=subprocess.DEVNULL).returncode == 0:
                return command
        except OSError:
            continue
    return None


def mount(*directories: str) -> None:
    """Mount a small disk on each directory."""
    for directory in directories:
        subprocess.run([*_MOUNT, directory], check=True)
        _mount_points.append(directory)


def fill(directory: str, free_bytes: int) -> None:
    """Fill the disk until it has this many free bytes, in whole pages."""
    if not _mount_points:
        largest = max(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + free_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return
    with open(_filler_file(), "wb", buffering=0) as file:
        available = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
        file.write(bytes(max(0, available - free_bytes)))


def remove_filler(directory: str) -> None:
    """Undo `fill`."""
    if _mount_points:
        _filler_file().unlink(missing_ok=True)


def _filler_file() -> Path:
    return Path(_mount_points[0], "filler")


def make_read_only(directory: str) -> None:
    """Make the disk read-only for this process."""
    if _mount_points:
        subprocess.run(["mount", "-o", "remount,ro", _mount_points[0]], check=True)
        return
    os.chmod(directory, 0o555)
    if os.geteuid() == 0:
        os.setuid(65534)


def make_writable(directory: str) -> None:
    """Undo `make_read_only`."""
    if _mount_points:
        subprocess.run(["mount", "-o", "remount,rw", _mount_points[0]], check=True)
