"""The journal of a search: a file that stores each finished trial before the engine and the callbacks receive it.

`<output_dir>/hpcompat-journal.jsonl` holds JSON lines: one for the search, then one for each start and end of a trial:

    {"hpcompat": 1, "space": {"x": {"kind": "float", "low": 0.0, "high": 4.0}}, "directions": ["minimize"], …}
    {"begun": 0, "step": "           0", "start": …, "params": {"x": 0.5}}
    {"number": 0, "params": {"x": 0.5}, "values": [2.25], "state": "COMPLETE", "start": …, "end": …}

A process that is killed may leave an incomplete last line, which is ignored: the trial counts as still running, and is
run again. A trial that has started, and has neither finished nor been interrupted, has crashed its process; if that
happens a second time without further steps, the trial is FAILED.

While a search runs, a directory beside the journal holds the `RunDirLog` of each of its processes.
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
    """The interface of a journal, which itself stores nothing: for a search without an output_dir.

    Attributes:
        search_id: Identifies the search; a resumed search keeps it.
        keep: Which checkpoints stay, see `search`.
        trials: The trials that the journal held when it was opened.
        crashed: FAILED trials that have crashed their process twice, and are not in the journal yet.
        root: The directory of the journal.
        log_dir: The directory of the run directory logs.
        has_unfinished_trials: Whether running trials leave run directories that a resumed search has to find.
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
        """Store a finished trial."""

    def update_constraints(self, trial: Trial) -> None:
        """Store the constraints that the engine added to a stored trial."""

    def start_trial(self, number: int, params: Mapping[str, object]) -> Callable[[int], None]:
        """Store that a trial starts, and return a function that stores its current step."""
        return lambda step: None


@dataclass
class _StepField:
    """The position in the file of the step of a running trial, and the step."""

    offset: int
    step: int = 0


class FileJournal(Journal):
    """A journal in an open and locked file.

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
        """Return all lines except an incomplete last one, and the offset of their end."""
        if os.fstat(self._fd).st_size > MAX_BYTES:
            raise self._damaged_error(Issue("", f"expected at most {MAX_BYTES >> 20} MiB, got more"))
        with open(self._fd, "rb", closefd=False) as stream:
            stream.seek(0)
            *lines, incomplete = stream.read().split(b"\n")
            end = stream.tell() - len(incomplete)
        if not lines and incomplete[: len(_FIRST_BYTES)] != _FIRST_BYTES[: len(incomplete)]:
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

    def start_search(self, space: SearchSpace, directions: Sequence[str], keep: str | None) -> None:
        """Write the header if it is new, and create the directory of the run directory logs."""
        assert self.root is not None
        contents = self._contents
        self.search_id, self.keep = contents.search_id or self.search_id, keep or contents.keep or self.keep
        os.ftruncate(self._fd, self._end)
        header = {"search": self.search_id, "keep": self.keep}
        if not self._end:
            self._append({**space.to_dict(), "directions": list(directions), **header})
        elif (contents.search_id, contents.keep) != (self.search_id, self.keep):
            self._append(header)
        self.log_dir = os.path.join(self.root, private_prefix(self.search_id))
        try:  # a search that was killed has left it
            with Directory(self.root) as root, root.subdirectory(private_prefix(self.search_id), create=True):
                pass
        except OSError as error:
            raise SearchError(f"{self.log_dir} cannot be created: {error.strerror}") from error

    def add(self, trial: Trial) -> None:
        """Write a finished trial, and wait until it is on the disk."""
        assert self.root is not None
        self._append(trial.to_record(self.root))
        self._running.pop(trial.number, None)
        self._is_empty = False

    def update_constraints(self, trial: Trial) -> None:
        self._append({"amended": trial.number, "constraints": dict(trial.constraints)})

    def start_trial(self, number: int, params: Mapping[str, object]) -> Callable[[int], None]:
        # not synced: the line survives a crash of the process, though not of the machine
        start, step = datetime.now(timezone.utc).isoformat(), "0".rjust(_STEP_DIGITS)
        self._running[number] = _StepField(self._end + len(f'{{"begun": {number}, "step": "'))
        self._append({"begun": number, "step": step, "start": start, "params": value_to_json(dict(params))}, sync=False)
        return partial(self._write_step, self._running[number])

    def _write_step(self, field: _StepField, step: int) -> None:
        if field.step < step < 10**_STEP_DIGITS and os.getpid() == self._pid:
            field.step = step
            _write_at(self._fd, str(step).rjust(_STEP_DIGITS).encode(), field.offset)

    def _record_interrupted(self) -> None:
        """Record that the running trials were interrupted, and have not crashed the process."""
        if os.getpid() == self._pid:
            with suppress(SearchError):
                for number in sorted(self._running):
                    self._append({"interrupted": number}, sync=False)
            self._running.clear()

    def _append(self, record: Mapping[str, object], sync: bool = True) -> None:
        line = json.dumps(record, ensure_ascii=False, default=repr).encode(errors="backslashreplace") + b"\n"
        self._require_writable()
        try:
            if os.fstat(self._fd).st_size != self._end:  # Ctrl-C has interrupted a write
                os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)
            n_written = os.write(self._fd, line)
            while n_written < len(line):  # on a full disk the second write raises
                n_written += os.write(self._fd, line[n_written:])
            if sync:
                os.fsync(self._fd)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            hint = "its trials are safe: free disk space, then continue with resume=True"
            message = f"the journal {self._path} cannot be written: {error.strerror}"
            raise SearchError(message, [Issue("", hint)]) from error
        self._end += len(line)

    def _require_writable(self) -> None:
        """Raise `SearchError` if this process is a forked child, or if another file is at the journal's path."""
        if os.getpid() != self._pid:
            raise SearchError("expected the process that started the search, got a process that was forked from it")
        if not is_file_at(self._fd, self._path):
            hint = "put it back where it was, then continue with resume=True"
            message = f"the journal {self._path} was moved, replaced or removed while the search ran"
            raise SearchError(message, [Issue("", hint)])

    def close(self) -> None:
        """Remove the run directory logs, and the journal itself if it holds no trial."""
        self._record_interrupted()
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
    """Open and lock the journal in a directory; without a directory, open one that stores nothing.

    A journal that holds no trial at the end is removed.

    Args:
        output_dir: The directory, which is created if it is missing.
        space: The space that is searched.
        directions: The direction of each objective.
        resume: Whether to continue a journal that holds trials.
        keep: Which checkpoints stay; None for the choice in the journal, or "best" in a new one.

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
            hint = "resume=True continues it; else use another output_dir, or move the journal away"
            message = f"{path} is the journal of an earlier search, with {len(journal.trials)} trials"
            raise SearchError(message, [Issue("", hint)])
        try:
            journal.start_search(space, directions, keep if resume else keep or "best")
            yield journal
        finally:
            journal.close()
