"""The diary of a search: its run directories, written down while it runs, for the leg that goes on if it is killed."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path

from hpcompat.trials.files import Directory

_MAX_BYTES = 1 << 26


class Diary:
    """Writes down, one line each, the run directories that this process makes: it may end at any time.

    `folder`: holds a file for each process of the search; where it is not there, on another machine,
    nothing would read it and nothing is written.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._file = Path(folder, f"{uuid.uuid4().hex}.jsonl")

    def note(self, root: str, path: str) -> None:
        """Write down a run directory under `root` that is about to be there."""
        parent = os.path.dirname(self.folder)  # relative to it: the whole may be moved
        line = json.dumps([None if root == parent else root, os.path.relpath(path, root)])
        if os.path.isdir(self.folder):
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def read_notes(folder: str) -> list[tuple[str, str]]:
    """The root and path of each run directory in the diaries: whether it is there, and is this search's, is not said.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as here:
    ...     folder = os.path.join(here, "diary")
    ...     os.mkdir(folder)
    ...     Diary(folder).note(here, os.path.join(here, "run-0"))
    ...     read_notes(folder) == [(here, os.path.join(here, "run-0"))]
    True
    """
    lines: list[bytes] = []
    with suppress(OSError), Directory(folder) as directory:
        for name in sorted(directory.names()):
            with suppress(OSError):
                lines += directory.read(name, _MAX_BYTES).splitlines()
    found: dict[tuple[str, str], None] = {}
    for line in lines:
        with suppress(ValueError, TypeError, RecursionError):  # the process ended while it wrote
            root, name = json.loads(line)
            root = os.path.dirname(folder) if root is None else str(root)
            found[root, os.path.normpath(os.path.join(root, name))] = None
    return list(found)
