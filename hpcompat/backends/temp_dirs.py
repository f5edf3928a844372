"""A directory for what a search writes and nobody keeps. It goes with the search, or with the next one."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpcompat.trials.files import Directory
from hpcompat.trials.processes import ended, this_process

PREFIX, OWNER = "hp-", "owner.json"
# Ray's sockets lie under it, and a socket's path has at most 107 characters
_LONGEST = 40
_MAX_BYTES = 4096


@contextmanager
def private_directory() -> Iterator[str]:
    """A new directory, for the time of a search; those of searches that were killed are removed first.

    >>> with private_directory() as path:
    ...     os.listdir(path)
    ['owner.json']
    """
    root = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST else "/tmp"
    for orphan in _orphans(root):
        shutil.rmtree(orphan, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=root, ignore_cleanup_errors=True) as path:
        Path(path, OWNER).write_text(json.dumps(this_process()), "utf-8")
        yield path


def _orphans(root: str) -> Iterator[str]:
    """Directories of ours whose process is known to have ended. What others have put there is not opened."""
    with os.scandir(root) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(PREFIX) and _is_own(entry)]
    for path in found:
        try:
            with Directory(path) as directory:
                owner: dict[str, Any] = json.loads(directory.read(OWNER, _MAX_BYTES))
            gone = ended(owner)
        except (OSError, ValueError, LookupError, TypeError, RecursionError):  # not ours, or still being written
            continue
        if gone:
            yield path


def _is_own(entry: os.DirEntry[str]) -> bool:
    try:
        own = entry.stat(follow_symlinks=False).st_uid == getattr(os, "getuid", int)()
        return own and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
