"""What a process that works for a search has to know, and what it notes for the driver."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field


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
