"""The diary of a search: its run directories, written down while it runs, for whoever goes on if it is killed."""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


class Diary(dict[str, None]):
    """Run directories by path, each written down when it is put in: a process may end at any time.

    `folder`: holds a file for each process of the search; where it is not there, on another machine,
    nobody would read it and nothing is written. One whose directory is about to be made is put in
    before, and again when it was: until then the directory of that name may be another's.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder
        self.file = Path(folder, f"{uuid.uuid4().hex}.jsonl")

    def __setitem__(self, path: str, nothing: None) -> None:
        super().__setitem__(path, nothing)
        parent = self.file.parent.parent
        inside = path.startswith(os.path.join(parent, ""))  # relative to it then: the whole may be moved
        line = json.dumps(os.path.relpath(path, parent) if inside else path)
        if self.file.parent.is_dir():
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def noted(folder: str) -> list[str]:
    """The run directories in the diaries that are still there.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as here:
    ...     os.mkdir(os.path.join(here, "diary"))
    ...     diary = Diary(os.path.join(here, "diary"))
    ...     diary[os.path.join(here, "run-0")] = None
    ...     before = noted(os.path.join(here, "diary"))
    ...     os.mkdir(os.path.join(here, "run-0"))
    ...     diary[os.path.join(here, "run-0")] = None
    ...     before, [os.path.basename(path) for path in noted(os.path.join(here, "diary"))]
    ([], ['run-0'])
    """
    found: dict[str, None] = {}
    for file in sorted(Path(folder).glob("*.jsonl")):
        for path, times in Counter(_paths(file)).items():
            # made for certain if noted twice; an empty one is no loss to anybody
            if os.path.isdir(path) and (times > 1 or not os.listdir(path)):
                found[path] = None
    return list(found)


def _paths(file: Path) -> Iterator[str]:
    for line in file.read_text("utf-8").splitlines():
        with suppress(ValueError):  # the process ended while it wrote
            yield os.path.join(file.parent.parent, json.loads(line))
