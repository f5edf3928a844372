"""The journal of a search: every finished trial, on the disk before the engine and the callbacks get it.

`<output_dir>/hpcompat-journal.jsonl` holds JSON, a line for what is searched, one for each trial, and notes between:

    {"hpcompat": 1, "space": {"x": {"kind": "float", "low": 0.0, "high": 4.0}}, "directions": ["minimize"], …}
    {"begun": 0, "step": "           0", "start": …, "params": {"x": 0.5}}
    {"number": 0, "params": {"x": 0.5}, "values": [2.25], "state": "COMPLETE", "start": …, "end": …}

A process that is killed may leave its last line torn. The engine did not get that trial: it is as if it had
been under way, and another takes its place. A trial that was begun, is not finished, and was not noted as
interrupted has ended its process; when that happens a second time, with no step between, it is FAILED.

Beside it lies, while a search runs, a directory with the `RunDirLog` of each of its processes.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial

from hpcompat.errors import HpcompatError, Issue, SearchError
from hpcompat.space import SearchSpace
from hpcompat.space.serialization import value_to_json
from hpcompat.trials.files import Directory, ensure_writable, is_file_at, lock_journal
from hpcompat.trials.journal_contents import JournalContents
from hpcompat.trials.run_dirs import private_prefix
from hpcompat.trials.trial import Trial

JOURNAL_FILE = "hpcompat-journal.jsonl"
MAX_BYTES = 1 << 30
_STEP_DIGITS = 12
_FIRST_BYTES = b'{"hpcompat"'


class Journal:
    """The record of a search; this one keeps nothing.

    `trials`: those that were in it when it was opened. `crashed`: those that have ended their process twice, FAILED,
    and not in it yet. `search_id`: the same in all legs of a search. `keep`: see `search`. `root`: the directory that
    it is in, and `log_dir` that of the run directory logs. `has_unfinished_trials`: set where trials that are under
    way leave directories for the next leg, which has to find them.
    """

    has_unfinished_trials = False

    def __init__(self, keep: str | None = None) -> None:
        self.search_id = uuid.uuid4().hex
        self.keep = keep or "best"
        self.trials: tuple[Trial, ...] = ()
        self.crashed: tuple[Trial, ...] = ()
        self.root: str | None = None
        self.log_dir: str | None = None

    def add(self, trial: Trial) -> None:
        """Write a finished trial to the disk."""

    def amend(self, trial: Trial) -> None:
        """Add the constraints that an engine has set since the trial was added."""

    def begin(self, number: int, params: Mapping[str, object]) -> Callable[[int], None]:
        """Note that a trial begins, and return a function that notes its step."""
        return lambda step: None


@dataclass
class _StepField:
    """Where in the file the step of a trial under way stands, and the step."""

    offset: int
    step: int = 0


class FileJournal(Journal):
    """A journal in an open file, which is locked.

    Raises:
        SearchError: The file is damaged, or is the journal of another search.
    """

    def __init__(self, fd: int, path: str, space: SearchSpace, directions: Sequence[str]) -> None:
        super().__init__()
        self.root = os.path.dirname(path)
        self._fd, self._path, self._pid = fd, path, os.getpid()
        self._running: dict[int, _StepField] = {}
        lines, self._end = self._read_complete_lines()
        self._contents = self._parse(lines, space, directions)
        self.trials = tuple(self._contents.trials.values())
        self.crashed = tuple(self._contents.crashed_trials())
        self._is_empty = not self._contents.trials and not self._contents.attempts

    def _read_complete_lines(self) -> tuple[list[bytes], int]:
        """Return the lines but for a torn last one, and where they end."""
        if os.fstat(self._fd).st_size > MAX_BYTES:
            raise self._damaged_error(Issue("", f"expected at most {MAX_BYTES >> 20} MiB, got more"))
        with open(self._fd, "rb", closefd=False) as stream:
            stream.seek(0)
            *lines, torn = stream.read().split(b"\n")
            end = stream.tell() - len(torn)
        if not lines and torn[: len(_FIRST_BYTES)] != _FIRST_BYTES[: len(torn)]:
            raise self._damaged_error(Issue("line 1", "expected a line that hpcompat wrote, got something else"))
        return lines, end

    def _parse(self, lines: Sequence[bytes], space: SearchSpace, directions: Sequence[str]) -> JournalContents:
        contents = JournalContents(os.path.dirname(self._path))
        for line_number, line in enumerate(lines, 1):
            try:
                contents.read_line(line)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, HpcompatError) as error:
                issue = Issue(f"line {line_number}", f"{type(error).__name__}: {error}")
                raise self._damaged_error(issue) from error
            if line_number == 1 and (issues := list(contents.differences(space, directions))):
                issues.append(Issue("", "use another output_dir, or move the journal away"))
                raise SearchError(f"{self._path} is the journal of another search", issues)
        return contents

    def _damaged_error(self, issue: Issue) -> SearchError:
        hint = "correct or remove the line, and use resume=True; or move the journal away"
        return SearchError(f"the journal {self._path} is damaged", [issue._replace(hint=hint)])

    def start(self, space: SearchSpace, directions: Sequence[str], keep: str | None) -> None:
        """Begin the search, or go on with it."""
        assert self.root is not None
        stored = self._contents
        self.search_id, self.keep = stored.search_id or self.search_id, keep or stored.keep or self.keep
        os.ftruncate(self._fd, self._end)
        header = {"search": self.search_id, "keep": self.keep}
        if not self._end:
            self._append({**space.to_dict(), "directions": list(directions), **header})
        elif (stored.search_id, stored.keep) != (self.search_id, self.keep):
            self._append(header)
        self.log_dir = os.path.join(self.root, private_prefix(self.search_id))
        try:  # that of a search that was killed is still there
            with Directory(self.root) as root, root.subdirectory(private_prefix(self.search_id), create=True):
                pass
        except OSError as error:
            raise SearchError(f"{self.log_dir} cannot be created: {error.strerror}") from error

    def add(self, trial: Trial) -> None:
        """Write a finished trial to the disk, and wait until it is there."""
        assert self.root is not None
        self._append(trial.to_record(self.root))
        self._running.pop(trial.number, None)
        self._is_empty = False

    def amend(self, trial: Trial) -> None:
        self._append({"amended": trial.number, "constraints": dict(trial.constraints)})

    def begin(self, number: int, params: Mapping[str, object]) -> Callable[[int], None]:
        # not synced: what is written survives the process, if not the machine
        start, step = datetime.now(timezone.utc).isoformat(), "0".rjust(_STEP_DIGITS)
        self._running[number] = _StepField(self._end + len(f'{{"begun": {number}, "step": "'))
        self._append({"begun": number, "step": step, "start": start, "params": value_to_json(dict(params))}, sync=False)
        return partial(self._write_step, self._running[number])

    def _write_step(self, field: _StepField, step: int) -> None:
        if field.step < step < 10**_STEP_DIGITS and os.getpid() == self._pid:
            field.step = step
            _write_at(self._fd, str(step).rjust(_STEP_DIGITS).encode(), field.offset)

    def _note_interrupted(self) -> None:
        """Note that the search ends in order: the trials under way did not end their process."""
        if os.getpid() == self._pid:
            with suppress(SearchError):
                for number in sorted(self._running):
                    self._append({"interrupted": number}, sync=False)
            self._running.clear()

    def _append(self, record: Mapping[str, object], sync: bool = True) -> None:
        line = json.dumps(record, ensure_ascii=False, default=repr).encode(errors="backslashreplace") + b"\n"
        self._require_own()
        try:
            if os.fstat(self._fd).st_size != self._end:  # what a Ctrl-C has kept from being written whole
                os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)
            written = os.write(self._fd, line)
            while written < len(line):  # where room is short, the second write raises
                written += os.write(self._fd, line[written:])
            if sync:
                os.fsync(self._fd)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            hint = "what it holds is safe: make room, then go on with resume=True"
            message = f"the journal {self._path} cannot be written: {error.strerror}"
            raise SearchError(message, [Issue("", hint)]) from error
        self._end += len(line)

    def _require_own(self) -> None:
        """Raise `SearchError` if this process is a forked child, or if another file is at the journal's path."""
        if os.getpid() != self._pid:
            raise SearchError("expected the process that began the search, got one that was forked in it")
        if not is_file_at(self._fd, self._path):
            hint = "put it back where it was, then go on with resume=True"
            message = f"the journal {self._path} was moved, replaced or removed while the search ran"
            raise SearchError(message, [Issue("", hint)])

    def close(self) -> None:
        """Remove what is there only while a search runs; and a journal that holds nothing."""
        self._note_interrupted()
        if os.getpid() != self._pid or self.has_unfinished_trials or not is_file_at(self._fd, self._path):
            return
        assert self.root is not None
        with suppress(OSError), Directory(self.root) as root:
            for name in root.list_names():
                if name.startswith(private_prefix(self.search_id)):
                    root.remove(name)
        if self._is_empty:
            with suppress(OSError):
                os.remove(self._path)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    if hasattr(os, "pwrite"):
        os.pwrite(fd, data, offset)
    else:  # Windows
        os.lseek(fd, offset, os.SEEK_SET)
        os.write(fd, data)


@contextmanager
def open_journal(
    output_dir: str | None, space: SearchSpace, directions: Sequence[str], resume: bool, keep: str | None = None
) -> Iterator[Journal]:
    """Open the journal in a directory, locked for this search alone; without a directory, one that keeps nothing.

    One that holds no trial is removed at the end.

    Args:
        output_dir: The directory; created if need be.
        space: What is searched.
        directions: The direction of each objective.
        resume: Whether to go on with a journal that holds trials.
        keep: Whose checkpoints stay; None for what the journal says, else "best".

    Raises:
        SearchError: The journal is another search's, in use, damaged, not to be resumed, or cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> space = SearchSpace({"x": Float(0, 4)})
    >>> with TemporaryDirectory() as output_dir:
    ...     with open_journal(output_dir, space, ["minimize"], resume=False) as journal:
    ...         journal.add(Trial(0, {"x": 0.5}, (2.25,)))
    ...     with open_journal(output_dir, space, ["minimize"], resume=True) as journal:
    ...         journal.trials[0].params
    {'x': 0.5}
    """
    if output_dir is None:
        yield Journal(keep)
        return
    path = os.path.join(ensure_writable(output_dir), JOURNAL_FILE)
    with lock_journal(path) as fd:
        journal = FileJournal(fd, path, space, directions)
        if journal.trials and not resume:
            hint = "resume=True goes on with it; else use another output_dir, or move the journal away"
            message = f"{path} is the journal of an earlier search, with {len(journal.trials)} trials"
            raise SearchError(message, [Issue("", hint)])
        try:
            journal.start(space, directions, keep if resume else keep or "best")
            yield journal
        finally:
            journal.close()
