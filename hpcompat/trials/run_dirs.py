"""Run directories: one for each trial; a search removes only directories that it has created itself."""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpcompat.errors import SearchError
from hpcompat.trials.files import Directory
from hpcompat.trials.trial import COMPLETE, Trial, is_eligible, minimized_values, update_pareto_front

KEEP_CHOICES = ("best", "all", "none")
MARKER = ".hpcompat"
"""The file in a run directory that holds the id of the search which created it."""
_MAX_NAMES = 1000
_MAX_LOG_BYTES = 1 << 26
_CHECKPOINT_DIR = re.compile(r"(tmp-)?checkpoint-\d+")
_ARGUMENTS_FILE = "training_args.bin"
"""Trainer.save_model writes it beside every model (transformers 5.23, trainer.py `_save`)."""
_STATE_FILE = "trainer_state.json"
# The other files of Trainer.save_model: weights, in shards if they are large, their configuration, and the files of the
# processing class. Metrics and model cards are not part of a checkpoint, and stay.
_MODEL_FILES = re.compile(
    r"(model|pytorch_model|adapter_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)"
    r"|(model\.safetensors|pytorch_model\.bin)\.index\.json"
    r"|(config|generation_config|adapter_config)\.json"
    r"|(optimizer|scheduler|scaler)\.(pt|bin)|rng_state(_\d+)?\.pth"
    r"|(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json"
    r"|(vocab|merges)\.txt|(tokenizer|spiece|sentencepiece\.bpe)\.model|chat_template\.jinja"
    r"|((video_)?preprocessor|processor|audio_tokenizer)_config\.json"
)


class RunDirLog:
    """A log of the run directories that this process creates, from which a resumed search finds them.

    `log_dir` holds a file for each process of the search. Without it, as on another machine, nothing is written.
    """

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self._file = Path(log_dir, f"{uuid.uuid4().hex}.jsonl")

    def add(self, root: str, path: str) -> None:
        """Log a run directory under `root` before it is created."""
        parent = os.path.dirname(self.log_dir)  # paths are relative to it, so that it may be moved
        line = json.dumps([None if root == parent else root, os.path.relpath(path, root)])
        if os.path.isdir(self.log_dir):
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def read_log(log_dir: str) -> list[tuple[str, str]]:
    """Return the root and the path of each logged run directory, even if it does not exist, or belongs to others.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     log_dir = os.path.join(root, "log")
    ...     os.mkdir(log_dir)
    ...     RunDirLog(log_dir).add(root, os.path.join(root, "run-0"))
    ...     read_log(log_dir) == [(root, os.path.join(root, "run-0"))]
    True
    """
    lines: list[bytes] = []
    with suppress(OSError), Directory(log_dir) as directory:
        for name in sorted(directory.list_names()):
            with suppress(OSError):
                lines += directory.read(name, _MAX_LOG_BYTES).splitlines()
    entries: dict[tuple[str, str], None] = {}
    for line in lines:
        with suppress(ValueError, TypeError, RecursionError):  # an incomplete line of a process that was killed
            root, name = json.loads(line)
            root = os.path.dirname(log_dir) if root is None else str(root)
            entries[root, os.path.normpath(os.path.join(root, name))] = None
    return list(entries)


@dataclass(frozen=True)
class RunDirs:
    """The run directories of a search; only directories that are marked by a file with its id are removed.

    Attributes:
        search_id: The id of the search; a resumed search keeps it.
        log: The log from which a resumed search finds the directories.
        created: The directories that this process has created or adopted, by path, with the output_dir of each.
        token: A suffix for names that are already taken.
    """

    search_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    log: RunDirLog | None = None
    created: dict[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    pid: int = field(default_factory=os.getpid)

    def create(self, root: str, name: str) -> str:
        """Create a directory `name` under `root`, or `name-<token>` if that name is taken.

        Raises `ValueError` for a name outside of `root`, also through a symlink.
        """
        path = os.path.normpath(os.path.join(root, name))
        if not path.startswith(os.path.join(root, "")):
            raise ValueError(f"hp_name: expected the name of a directory inside {root}, got {name!r}")
        parents, last = os.path.split(os.path.relpath(path, root))
        alternative = f"{last}-{self.token}"
        with Directory(root) as top:
            try:
                parent = top.subdirectory(parents, create=True)
            except NotADirectoryError as error:
                raise ValueError(f"hp_name gave {name!r}, and {error.filename} is a link or a file") from error
            with parent, self._stage(top) as staged_name:
                for candidate in (last, alternative, *(f"{alternative}-{count}" for count in range(2, _MAX_NAMES))):
                    candidate_path = os.path.join(root, parents, candidate)
                    if not parent.contains(candidate) and self._claim(root, candidate_path, staged_name, top, parent):
                        return candidate_path
                raise SearchError(f"{path} and {_MAX_NAMES} more of that name are taken")

    @contextmanager
    def _stage(self, top: Directory) -> Iterator[str]:
        """Create a marked directory under a temporary name, so that a killed process leaves no unmarked directory."""
        name = f"{private_prefix(self.search_id)}-{uuid.uuid4().hex[:8]}"
        try:
            top.create(name)
            with top.subdirectory(name) as new:
                new.write(MARKER, self.search_id)
            yield name
        except BaseException:
            with suppress(OSError):
                top.remove(name)
            raise

    def _claim(self, root: str, path: str, staged_name: str, top: Directory, parent: Directory) -> bool:
        """Rename the staged directory; return False if the name has been taken meanwhile."""
        if self.log:
            self.log.add(root, path)
        self.created[path] = root
        try:
            top.move(staged_name, parent, os.path.basename(path))
        except OSError as error:
            del self.created[path]
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                return False
            raise
        return True

    def adopt(self, path: str, root: str | None) -> bool:
        """Register an existing directory of this search; return False if it does not belong to it."""
        if root is None or not path.startswith(os.path.join(root, "")):
            root = os.path.dirname(path)
        try:
            with self._open(path, root) as directory:
                is_own = self._is_marked(directory)
        except OSError:
            return False
        if is_own:
            self.created.setdefault(path, root)
        return is_own

    def remove(self, path: str) -> None:
        """Remove the checkpoints from a directory of this search, and the directory itself if nothing else is in it."""
        if path not in self.created or os.getpid() != self.pid:  # a forked child must not remove them
            return
        root = self.created.pop(path)
        try:
            with self._open(path, root) as directory:
                if not self._is_marked(directory):
                    raise OSError(errno.EPERM, f"it stays, for its {MARKER} does not say that this search made it")
                remove_checkpoints(directory)
                is_empty = directory.list_names() == [MARKER]
                if is_empty:
                    directory.remove(MARKER)  # last: an unmarked directory would never be removed
            if is_empty:
                with self._open(os.path.dirname(path), root) as parent:
                    parent.remove_empty(os.path.basename(path))
        except FileNotFoundError:
            return
        except OSError as error:
            warnings.warn(f"{path} could not be removed: {error}", stacklevel=2)

    def _open(self, path: str, root: str) -> Directory:
        with Directory(root) as top:
            return top.subdirectory(os.path.relpath(path, root))

    def _is_marked(self, directory: Directory) -> bool:
        try:
            return directory.read(MARKER, len(self.search_id)) == self.search_id.encode()
        except OSError:
            return False

    def close(self, path: str) -> str | None:
        """Return the directory of a finished trial, or remove it and return None if it is empty."""
        if os.path.isdir(path) and set(os.listdir(path)) - {MARKER}:
            return path
        self.remove(path)
        return None

    def keep_only(self, trials: Iterable[Trial]) -> None:
        """Remove the checkpoints of this search, except those of these trials."""
        retained_paths = {trial.directory for trial in trials}
        for path in [path for path in self.created if path not in retained_paths]:
            self.remove(path)


def private_prefix(search_id: str) -> str:
    """Return the prefix of the internal files of a search in its output_dir.

    >>> private_prefix("4c1d")
    '.hpcompat-4c1d'
    """
    return f".hpcompat-{search_id}"


def remove_checkpoints(directory: Directory) -> None:
    """Remove the files that a Trainer has saved in a run directory, and directories in it that held only such files.

    These are every `checkpoint-<step>`, and the files of `Trainer.save_model` and `save_state`. Logs, such as those of
    TensorBoard, and files of the user stay. Symlinks are not followed.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     run = Path(root, "run-0")
    ...     for name in ("checkpoint-8/model.safetensors", "training_args.bin", "config.json", "runs/events.out"):
    ...         (run / name).parent.mkdir(parents=True, exist_ok=True)
    ...         (run / name).touch()
    ...     with Directory(str(run)) as directory:
    ...         remove_checkpoints(directory)
    ...     [path.name for path in run.rglob("*")]
    ['runs', 'events.out']
    """
    names = directory.list_names()
    for name in filter(directory.is_directory, names):
        if _CHECKPOINT_DIR.fullmatch(name):
            directory.remove(name)
            continue
        with directory.subdirectory(name) as inner:
            was_empty = not inner.list_names()
            remove_checkpoints(inner)
            is_empty = not inner.list_names()
        if is_empty and not was_empty:
            directory.remove_empty(name)
    saved = [name for name in names if _ARGUMENTS_FILE in names and _MODEL_FILES.fullmatch(name)]
    # the files that identify a checkpoint go last, so that an interrupted removal can be repeated
    for name in [*saved, *(name for name in (_STATE_FILE, _ARGUMENTS_FILE) if name in names)]:
        if not directory.is_directory(name):
            directory.remove(name)


def last_checkpoint(directory: str) -> str | None:
    """Return the checkpoint with the highest step in a run directory; None if there is none."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:  # rank 0 may have removed the directory
        return None
    steps = [
        (int(step), name) for name in names if (step := name.removeprefix("checkpoint-")) != name and step.isdecimal()
    ]
    checkpoints = [path for _, name in sorted(steps) if os.path.isdir(path := os.path.join(directory, name))]
    return checkpoints[-1] if checkpoints else None


class Retention:
    """Removes the checkpoints that `keep` does not retain.

    `front`: the best trials so far.
    """

    def __init__(self, run_dirs: RunDirs, keep: str, directions: Sequence[str]) -> None:
        self.run_dirs = run_dirs
        self.keep = keep
        self.directions = directions
        self.front: tuple[Trial, ...] = ()

    def resume(self, finished: Iterable[Trial], root: str | None, log_dir: str | None) -> list[Trial]:
        """Adopt the run directories of the search that is resumed, and remove those of its unfinished trials.

        Returns the finished trials, without directories that are missing or belong to another search.
        """
        trials = []
        for trial in finished:
            is_own = trial.directory is not None and self.run_dirs.adopt(trial.directory, root)
            trials.append(trial if is_own else replace(trial, directory=None, checkpoint=None))
            self.add(trials[-1])
        for logged_root, path in read_log(log_dir) if log_dir else ():
            self.run_dirs.adopt(path, logged_root)
        self.close()
        return trials

    def discard_unsuccessful(self, trial: Trial) -> None:
        """Remove the directory of an unsuccessful trial, before the journal needs the disk space."""
        if self.keep != "all" and trial.state != COMPLETE and trial.directory:
            self.run_dirs.remove(trial.directory)

    def add(self, trial: Trial) -> None:
        """Update the front with a finished trial, and remove the checkpoints that are no longer retained."""
        before = self.front
        if is_eligible(trial):
            self._update_front(trial)
        if self.keep != "all" and self.run_dirs.created:
            retained_numbers = {retained.number for retained in self.retained_trials}
            for candidate in (*before, trial):
                if candidate.directory and candidate.number not in retained_numbers:
                    self.run_dirs.remove(candidate.directory)

    def _update_front(self, trial: Trial) -> None:
        if len(self.directions) > 1:
            self.front = update_pareto_front(self.front, trial, self.directions)
        elif not self.front or self._rank(trial) < self._rank(self.front[0]):
            self.front = (trial,)

    def _rank(self, trial: Trial) -> tuple[float, ...]:
        """Return a sort key that is lowest for the best trial; of equal trials the first is best."""
        return *minimized_values(trial, self.directions), trial.number

    def exempt(self, trial: Trial) -> None:
        """Keep the directory of an UNSCORED trial, which a resumed search will score."""
        if self.keep != "none" and trial.directory:
            self.run_dirs.created.pop(trial.directory, None)

    def close(self) -> None:
        """Remove the directories of unfinished trials."""
        if self.keep != "all":
            self.run_dirs.keep_only(self.retained_trials)

    def has_unfinished(self, finished: Iterable[Trial]) -> bool:
        """Return whether there are directories of trials that are not finished."""
        return bool(self.run_dirs.created.keys() - {trial.directory for trial in finished})

    @property
    def retained_trials(self) -> tuple[Trial, ...]:
        """The trials whose checkpoints stay, unless all do."""
        return self.front if self.keep == "best" else ()


def without_missing_paths(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the trials without directories and checkpoints that do not exist."""

    def if_exists(path: str | None) -> str | None:
        return path if path and os.path.isdir(path) else None

    return tuple(
        replace(trial, directory=if_exists(trial.directory), checkpoint=if_exists(trial.checkpoint)) for trial in trials
    )
