"""Run directories: each made once, for one trial; its checkpoints are kept or removed with it."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from hpcompat.errors import SearchError
from hpcompat.objectives.checkpoints import remove_checkpoints
from hpcompat.trials import COMPLETE, Trial, extended, is_eligible, losses

KEEP = ("best", "all", "none")


@dataclass(frozen=True)
class Runs:
    """The run directories that this search made: a plain dict, or a `Diary` that outlives a kill."""

    made: dict[str, None] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def make(self, root: str, name: str) -> str:
        """A new directory under `root`, called `name`, or `name-<token>` where that is taken.

        Raises `ValueError` for a name that leads out of `root`.
        """
        path = os.path.normpath(os.path.join(root, name))
        if not path.startswith(os.path.join(root, "")):
            raise ValueError(f"hp_name gave {name!r}, which is no name for a directory inside {root}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        second = f"{path}-{self.token}"
        for candidate in (path, second, *(f"{second}-{count}" for count in range(2, 1000))):
            if os.path.lexists(candidate):
                continue
            self.made[candidate] = None
            try:
                os.mkdir(candidate)  # fails if it is there: no two trials ever share one
            except BaseException as error:
                del self.made[candidate]
                if isinstance(error, FileExistsError):
                    continue
                raise
            self.made[candidate] = None  # before it was about to be made, see Diary
            return candidate
        raise SearchError(f"{path} and a thousand more of that name are taken")

    def remove(self, path: str) -> None:
        """Remove the checkpoints from a directory that this search made, and the directory if nothing else is in it."""
        if path in self.made:
            try:
                remove_checkpoints(path)
            except OSError as error:
                warnings.warn(f"{path} could not be removed: {error}", stacklevel=2)
            del self.made[path]

    def close(self, path: str) -> str | None:
        """The directory of a trial that has ended; None if nothing was put there, and then it is removed."""
        if os.path.isdir(path) and os.listdir(path):
            return path
        self.remove(path)
        return None

    def keep_only(self, kept: Iterable[Trial]) -> None:
        """Remove the checkpoints from every directory that this search made but those of `kept`."""
        stay = {trial.directory for trial in kept}
        for path in [path for path in self.made if path not in stay]:
            self.remove(path)


class Keeper:
    """Whose checkpoints stay, decided with each finished trial: the disk holds few at any time."""

    def __init__(self, runs: Runs, keep: str, directions: Sequence[str]) -> None:
        self.runs = runs
        self.keep = keep
        self.directions = directions
        self.front: tuple[Trial, ...] = ()

    def go_on(self, trials: Iterable[Trial], left: Iterable[str]) -> None:
        """Take in the trials of a search that is resumed, whose directories are this one's from now on.

        So are those that were `left` by trials under way when it ended: they are removed.
        """
        for trial in trials:
            if trial.directory and os.path.isdir(trial.directory):
                self.runs.made.setdefault(trial.directory)
            self.add(trial)
        for path in left:
            self.runs.made.setdefault(path)
        self.close()

    def ended(self, trial: Trial) -> None:
        """Remove what stays in no case, before the trial is taken in: the journal may need the room."""
        if self.keep != "all" and trial.state != COMPLETE and trial.directory:
            self.runs.remove(trial.directory)

    def add(self, trial: Trial) -> None:
        """Take in a finished trial; remove what it beat, or its own directory."""
        before = self.front
        if is_eligible(trial):
            if len(self.directions) > 1:
                self.front = extended(before, trial, self.directions)
            elif not before or self._rank(trial) < self._rank(before[0]):
                self.front = (trial,)
        if self.keep != "all" and self.runs.made:
            stay = {kept.number for kept in self.kept}
            for each in (*before, trial):
                if each.directory and each.number not in stay:
                    self.runs.remove(each.directory)

    def spare(self, trial: Trial) -> None:
        """Keep the directory of a trial that is to be taken in when the search is gone on with."""
        if self.keep != "none" and trial.directory:
            self.runs.made.pop(trial.directory, None)

    def _rank(self, trial: Trial) -> tuple[float, ...]:
        """Less is better: the first of equals."""
        return *losses(trial, self.directions), trial.number

    def close(self) -> None:
        """Remove what a trial that never ended has left."""
        if self.keep != "all":
            self.runs.keep_only(self.kept)

    @property
    def kept(self) -> tuple[Trial, ...]:
        """The trials whose checkpoints stay under "best"."""
        return self.front if self.keep == "best" else ()


def settled(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """The trials without the directories and checkpoints that are no more."""
    return tuple(
        replace(
            trial,
            directory=trial.directory if trial.directory and os.path.isdir(trial.directory) else None,
            checkpoint=trial.checkpoint if trial.checkpoint and os.path.isdir(trial.checkpoint) else None,
        )
        if trial.directory or trial.checkpoint
        else trial
        for trial in trials
    )


def last_checkpoint(directory: str) -> str | None:
    """The `checkpoint-<step>` of the highest step in a run directory; None if there is none, or no directory."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:  # of several ranks the first one may be removing it
        return None
    steps = [
        (int(step), name) for name in names if (step := name.removeprefix("checkpoint-")) != name and step.isdecimal()
    ]
    existing = [path for _, name in sorted(steps) if os.path.isdir(path := os.path.join(directory, name))]
    return existing[-1] if existing else None


def writable(root: str) -> str:
    """The directory, made if need be. Raises `SearchError` if nothing can be written there."""
    probe = os.path.join(root, f".{uuid.uuid4().hex}")
    try:
        os.makedirs(root, exist_ok=True)
        os.mkdir(probe)
        os.rmdir(probe)
    except OSError as error:
        raise SearchError(f"nothing can be written to output_dir {root!r}: {error}") from error
    return os.path.abspath(root)
