"""Run directories: each made once, for one trial; its checkpoints are kept or removed with it."""

from __future__ import annotations

import errno
import os
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from hpcompat.errors import SearchError
from hpcompat.trials.checkpoints import remove_checkpoints
from hpcompat.trials.files import Directory
from hpcompat.trials.pareto import extended, losses
from hpcompat.trials.run_dir_log import Diary, read_notes
from hpcompat.trials.trial import COMPLETE, Trial, is_eligible

KEEP = ("best", "all", "none")
MARK = ".hpcompat"
"""The file in a run directory that holds the id of the search which made it."""


@dataclass(frozen=True)
class Runs:
    """The run directories that this search made: each holds a file with the id of the search, else it is not removed.

    `search`: that id, the same in every leg of a search that is resumed. `diary`: where they are written down,
    for a leg to come. `made`: by path, the output_dir that each lies in.
    """

    search: str = field(default_factory=lambda: uuid.uuid4().hex)
    diary: Diary | None = None
    made: dict[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    process: int = field(default_factory=os.getpid)

    def create(self, root: str, name: str) -> str:
        """Make a directory under `root`, called `name`, or `name-<token>` where that is taken.

        Raises `ValueError` for a name that leads out of `root`, also through a symlink.
        """
        path = os.path.normpath(os.path.join(root, name))
        if not path.startswith(os.path.join(root, "")):
            raise ValueError(f"hp_name gave {name!r}, which is no name for a directory inside {root}")
        parents, last = os.path.split(os.path.relpath(path, root))
        second = f"{last}-{self.token}"
        with Directory(root) as top:
            try:
                parent = top.below(parents, create=True)
            except NotADirectoryError as error:
                raise ValueError(f"hp_name gave {name!r}, and {error.filename} is a link or a file") from error
            # it gets its name when its mark is in it: whenever the process ends, it can be told from another's
            staged = f"{private_name(self.search)}-{uuid.uuid4().hex[:8]}"
            with parent, self._staged(top, staged):
                for candidate in (last, second, *(f"{second}-{count}" for count in range(2, 1000))):
                    if parent.has(candidate):
                        continue
                    found = os.path.join(root, parents, candidate)
                    if self.diary:
                        self.diary.note(root, found)
                    self.made[found] = root
                    try:
                        top.move(staged, parent, candidate)
                    except OSError as error:
                        del self.made[found]
                        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                            continue  # made meanwhile: no two trials ever share one
                        raise
                    return found
        raise SearchError(f"{path} and a thousand more of that name are taken")

    @contextmanager
    def _staged(self, top: Directory, name: str) -> Iterator[None]:
        try:
            top.make(name)
            with top.below(name) as new:
                new.write(MARK, self.search)
            yield
        except BaseException:
            with suppress(OSError):
                top.remove(name)
            raise

    def adopt(self, path: str, root: str | None) -> bool:
        """Take in a directory that another process of this search, or an earlier leg, made; False if none did."""
        if root is None or not path.startswith(os.path.join(root, "")):
            root = os.path.dirname(path)
        try:
            with self._open(path, root) as directory:
                own = self._is_marked(directory)
        except OSError:
            return False
        if own:
            self.made.setdefault(path, root)
        return own

    def remove(self, path: str) -> None:
        """Remove the checkpoints from a directory that this search made, and the directory if nothing else is in it."""
        if path not in self.made or os.getpid() != self.process:  # a forked child is not the search
            return
        root = self.made.pop(path)
        try:
            with self._open(path, root) as directory:
                if not self._is_marked(directory):
                    raise OSError(errno.EPERM, f"it stays, for its {MARK} does not say that this search made it")
                remove_checkpoints(directory)
                is_empty = directory.names() == [MARK]
                if is_empty:
                    directory.remove(MARK)  # last: what is half removed can still be told
            if is_empty:
                with Directory(root) as top, top.below(os.path.relpath(os.path.dirname(path), root)) as parent:
                    parent.remove_empty(os.path.basename(path))
        except FileNotFoundError:
            return
        except OSError as error:
            warnings.warn(f"{path} could not be removed: {error}", stacklevel=2)

    def _open(self, path: str, root: str) -> Directory:
        with Directory(root) as top:
            return top.below(os.path.relpath(path, root))

    def _is_marked(self, directory: Directory) -> bool:
        try:
            return directory.read(MARK, len(self.search)) == self.search.encode()
        except OSError:
            return False

    def close(self, path: str) -> str | None:
        """The directory of a trial that has ended; None if nothing was put there, and then it is removed."""
        if os.path.isdir(path) and set(os.listdir(path)) - {MARK}:
            return path
        self.remove(path)
        return None

    def keep_only(self, kept: Iterable[Trial]) -> None:
        """Remove the checkpoints from every directory that this search made but those of `kept`."""
        stay = {trial.directory for trial in kept}
        for path in [path for path in self.made if path not in stay]:
            self.remove(path)


def private_name(search: str) -> str:
    """What the names of a search's own files in the output_dir begin with: what is called so is the search's.

    >>> private_name("4c1d")
    '.hpcompat-4c1d'
    """
    return f".hpcompat-{search}"


class Keeper:
    """Whose checkpoints stay, decided with each finished trial: the disk holds few at any time."""

    def __init__(self, runs: Runs, keep: str, directions: Sequence[str]) -> None:
        self.runs = runs
        self.keep = keep
        self.directions = directions
        self.front: tuple[Trial, ...] = ()

    def go_on(self, found: Iterable[Trial], root: str | None, folder: str | None) -> list[Trial]:
        """Take in the trials of a search that is resumed, whose directories are this one's from now on.

        So are those that were left by trials under way when it ended: they are removed. Returns the trials,
        without directories that are not there any more, or are another's by now.
        """
        trials = []
        for trial in found:
            own = trial.directory is not None and self.runs.adopt(trial.directory, root)
            trials.append(trial if own else replace(trial, directory=None, checkpoint=None))
            self.add(trials[-1])
        for place, path in read_notes(folder) if folder else ():
            self.runs.adopt(path, place)
        self.close()
        return trials

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
        """Keep the directory of a trial that a resumed search will score."""
        if self.keep != "none" and trial.directory:
            self.runs.made.pop(trial.directory, None)

    def _rank(self, trial: Trial) -> tuple[float, ...]:
        """Less is better: the first of equals."""
        return *losses(trial, self.directions), trial.number

    def close(self) -> None:
        """Remove what a trial that never ended has left."""
        if self.keep != "all":
            self.runs.keep_only(self.kept)

    def has_others(self, finished: Iterable[Trial]) -> bool:
        """Whether there are directories of trials that are not finished."""
        return bool(self.runs.made.keys() - {trial.directory for trial in finished})

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
