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

from hpcompat.backends.processes import ended, this_process

PREFIX, OWNER = "hp-", "owner.json"
# Ray's sockets lie under it, and a socket's path has at most 107 characters
_LONGEST = 40


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


def _orphans(root: str) -> Iterator[Path]:
    """Directories of ours whose process is known to have ended."""
    for file in Path(root).glob(f"{PREFIX}*/{OWNER}"):
        try:
            owner: dict[str, Any] = json.loads(file.read_text("utf-8"))
            gone = ended(owner) and file.parent.stat().st_uid == getattr(os, "getuid", int)()
        except (OSError, ValueError, LookupError, TypeError):  # not one of ours, or still being written
            continue
        if gone:
            yield file.parent
