"""What a process that works for a search has to know, and what it notes for the driver."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Errand:
    """What every trial of one search is to do.

    `cwd`, `path`: the driver's working directory and import path. `diary`: a directory on its machine
    in which each process notes the run directories that it makes. `workers`: of each trial.
    """

    token: str
    objectives: int
    diary: str
    workers: int = 1
    cwd: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))


def settle(errand: Errand) -> None:
    """Make this process one in which paths and imports mean what they mean in the driver."""
    if os.path.isdir(errand.cwd):
        os.chdir(errand.cwd)
    sys.path += [place for place in errand.path if place not in sys.path]


class Diary(dict[str, None]):
    """Run directories by path, each written down before it is used: a process may end at any time."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.file = Path(folder, f"{os.getpid()}.txt")

    def __setitem__(self, path: str, nothing: None) -> None:
        super().__setitem__(path, nothing)
        if self.file.parent.is_dir():  # on another machine there is nobody who would read it
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{path}\n")


def noted(folder: str) -> list[str]:
    """The run directories in the diaries that are still there."""
    lines: Iterable[str] = (line for file in Path(folder).glob("*.txt") for line in file.read_text("utf-8").split("\n"))
    return [path for path in lines if path and os.path.isdir(path)]
