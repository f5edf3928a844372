"""The journal of a search: every finished trial, written and synced before anyone hears of it.

`<output_dir>/hpcompat-journal.jsonl` holds JSON, a line for what is searched, one for each trial, and notes between:

    {"hpcompat": 1, "space": {"x": {"kind": "float", "low": 0.0, "high": 4.0}}, "directions": ["minimize"], …}
    {"begun": 0, "step": "           0", "start": …, "params": {"x": 0.5}}
    {"number": 0, "params": {"x": 0.5}, "values": [2.25], "state": "COMPLETE", "start": …, "end": …}

A process that is killed may leave its last line torn. Nobody has heard of that trial: it is as if it had
been under way, and another takes its place. A trial that was begun, is not finished, and was not noted as
interrupted has ended its process; when that happens a second time, with no step between, it is FAILED.

Beside it lies, while a search runs, a directory with the `Diary` of each of its processes.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from hpcompat.errors import HpcompatError, Issue, SearchError
from hpcompat.space import SearchSpace
from hpcompat.space.serialization import value_from_json, value_to_json
from hpcompat.space.values import short_repr
from hpcompat.trials.files import Directory
from hpcompat.trials.locking import is_at, lock_journal
from hpcompat.trials.notes import load_constraints
from hpcompat.trials.run_dirs import KEEP, private_name, writable
from hpcompat.trials.trial import FAILED, STATES, Trial

FILE = "hpcompat-journal.jsonl"
_MAX_BYTES = 1 << 30
_STEP_DIGITS = 12
_FIRST = b'{"hpcompat"'


class Journal:
    """What is kept of a search; this one keeps nothing.

    `trials`: those that were in it when it was opened. `dead`: those that have ended their process twice, FAILED,
    and not in it yet. `search`: the id of the search, the same in all its legs. `keep`: see `search`. `root`: the
    directory that it is in, and `folder` that of the diaries. `is_unfinished`: set where trials that are under way
    leave directories for the next leg, which has to find them.
    """

    is_unfinished = False

    def __init__(self, keep: str | None = None) -> None:
        self.search = uuid.uuid4().hex
        self.keep = keep or "best"
        self.trials: tuple[Trial, ...] = ()
        self.dead: tuple[Trial, ...] = ()
        self.root: str | None = None
        self.folder: str | None = None

    def add(self, trial: Trial) -> None:
        """Put a finished trial on the disk."""

    @contextmanager
    def attempt(self, number: int, params: Mapping[str, Any]) -> Iterator[Callable[[int], None]]:
        """Note that a trial is under way, for the time of the block; what is yielded notes how far it has come."""
        yield lambda step: None


class FileJournal(Journal):
    """A journal in an open file, which is locked."""

    def __init__(self, file: int, path: str, space: SearchSpace, directions: Sequence[str]) -> None:
        super().__init__()
        self.root = os.path.dirname(path)
        self._file = file
        self._path = path
        self._process = os.getpid()
        self._under_way: set[int] = set()
        self._notes = _Notes()
        lines, self._end = self._read()
        self.trials = tuple(self._parse(lines, space, directions))
        self.dead = tuple(self._notes.dead())
        self._held = len(self.trials) + len(self._notes.deaths)

    def start(self, space: SearchSpace, directions: Sequence[str], keep: str | None) -> None:
        """Go on with the search, or begin one."""
        assert self.root is not None
        notes = self._notes
        self.search, self.keep = notes.search or self.search, keep or notes.keep or self.keep
        os.ftruncate(self._file, self._end)
        about = {"search": self.search, "keep": self.keep}
        if not self._end:
            self._append({**space.to_dict(), "directions": list(directions), **about})
        elif (notes.search, notes.keep) != (self.search, self.keep):
            self._append(about)
        self.folder = os.path.join(self.root, private_name(self.search))
        try:  # that of a search that was killed is still there
            with Directory(self.root) as root, root.below(private_name(self.search), create=True):
                pass
        except OSError as error:
            raise SearchError(f"{self.folder} cannot be made: {error.strerror}") from error

    # -- reading -----------------------------------------------------------------------------------------

    def _read(self) -> tuple[list[bytes], int]:
        """The whole lines, and where the last of them ends."""
        if os.fstat(self._file).st_size > _MAX_BYTES:
            raise self._damaged(Issue("", f"expected at most {_MAX_BYTES >> 20} MiB, got more"))
        with open(self._file, "rb", closefd=False) as stream:
            stream.seek(0)
            *whole, torn = stream.read().split(b"\n")
            end = stream.tell() - len(torn)
        if not whole and torn[: len(_FIRST)] != _FIRST[: len(torn)]:
            raise self._damaged(Issue("line 1", "expected a line that hpcompat wrote, got something else"))
        return whole, end

    def _damaged(self, issue: Issue) -> SearchError:
        hint = "mend the line or take it out, and go on with resume=True; or move the journal away"
        return SearchError(f"the journal {self._path} is damaged", [issue._replace(hint=hint)])

    def _parse(self, lines: Sequence[bytes], space: SearchSpace, directions: Sequence[str]) -> Iterator[Trial]:
        notes = self._notes
        numbers: set[int] = set()
        for line_number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                if line_number == 1:
                    stored = SearchSpace.from_dict(record), tuple(record["directions"])
                    notes.take_header(record)
                elif "number" not in record:
                    notes.take(record)
                    continue
                else:
                    trial = _trial(record, os.path.dirname(self._path))
                    if trial.number in numbers:
                        raise ValueError(f"trial {trial.number} is in it already")
                    numbers.add(trial.number)
                    notes.finished(trial.number)
                    yield trial
                    continue
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, HpcompatError) as error:
                issue = Issue(f"line {line_number}", f"{type(error).__name__}: {error}")
                raise self._damaged(issue) from error
            if issues := list(_differences(*stored, space, tuple(directions))):
                issues.append(Issue("", "give another output_dir, or move the journal away"))
                raise SearchError(f"{self._path} is the journal of another search", issues)

    # -- writing -----------------------------------------------------------------------------------------

    def add(self, trial: Trial) -> None:
        """Put a finished trial on the disk, and wait for it."""
        assert self.root is not None
        self._append(_record(trial, self.root))
        self._under_way.discard(trial.number)
        self._held += 1

    @contextmanager
    def attempt(self, number: int, params: Mapping[str, Any]) -> Iterator[Callable[[int], None]]:
        """Note that a trial is under way, and how far it has come. Not synced: the death of a process loses nothing."""
        self._under_way.add(number)
        begun = f'{{"begun": {number}, "step": "'.encode()
        place, last = self._end + len(begun), 0
        start = datetime.now(timezone.utc).isoformat()
        step = "0".rjust(_STEP_DIGITS)
        self._append({"begun": number, "step": step, "start": start, "params": value_to_json(dict(params))}, sync=False)

        def reached(step: int) -> None:
            nonlocal last
            if last < step < 10**_STEP_DIGITS and os.getpid() == self._process:
                last = step
                _write_at(self._file, str(step).rjust(_STEP_DIGITS).encode(), place)

        try:
            yield reached
        except BaseException:
            self._interrupt()
            raise

    def _interrupt(self) -> None:
        """Note that the search ends in order: the trials under way have no part in it."""
        if os.getpid() == self._process:
            with suppress(SearchError):
                for number in sorted(self._under_way):
                    self._append({"interrupted": number}, sync=False)
            self._under_way.clear()

    def _append(self, record: Mapping[str, Any], sync: bool = True) -> None:
        line = json.dumps(record, ensure_ascii=False, default=repr).encode(errors="backslashreplace") + b"\n"
        self._require_own()
        try:
            if os.fstat(self._file).st_size != self._end:  # what a Ctrl-C has kept from being written whole
                os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            written = os.write(self._file, line)
            while written < len(line):  # what is short of room says so at the second try
                written += os.write(self._file, line[written:])
            if sync:
                os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            hint = "what it holds is safe: make room, then go on with resume=True"
            message = f"the journal {self._path} cannot be written: {error.strerror}"
            raise SearchError(message, [Issue("", hint)]) from error
        self._end += len(line)

    def _require_own(self) -> None:
        """Raise `SearchError` if this process is a forked child, or if another file is at the journal's path."""
        if os.getpid() != self._process:
            raise SearchError("expected the process that began the search, got one that was forked in it")
        if not is_at(self._file, self._path):
            hint = "put it back where it was, then go on with resume=True"
            message = f"the journal {self._path} was moved, replaced or removed while the search ran"
            raise SearchError(message, [Issue("", hint)])

    def close(self) -> None:
        """Remove what is there only while a search runs; and a journal that holds nothing."""
        self._interrupt()
        if os.getpid() != self._process or self.is_unfinished or not is_at(self._file, self._path):
            return
        assert self.root is not None
        with suppress(OSError), Directory(self.root) as root:
            for name in root.names():
                if name.startswith(private_name(self.search)):
                    root.remove(name)
        if not self._held:
            with suppress(OSError):
                os.remove(self._path)


def _write_at(file: int, data: bytes, place: int) -> None:
    if hasattr(os, "pwrite"):
        os.pwrite(file, data, place)
    else:  # Windows
        os.lseek(file, place, os.SEEK_SET)
        os.write(file, data)


class _Notes:
    """What the lines between the trials say, in their order."""

    def __init__(self) -> None:
        self.search: str | None = None
        self.keep: str | None = None
        self._under_way: dict[int, Mapping[str, Any]] = {}
        self.deaths: dict[int, list[Mapping[str, Any]]] = {}

    def take_header(self, record: Mapping[str, Any]) -> None:
        """What the first line says of the search, or a later one that replaces it."""
        search, keep = record.get("search"), record.get("keep")
        if not (search is None or (isinstance(search, str) and len(search) == 32 and set(search) <= _HEX)):
            raise ValueError(f"expected the id of a search, got {short_repr(search)}")
        if keep not in (None, *KEEP):
            raise ValueError(f"expected one of {KEEP} for keep, got {short_repr(keep)}")
        self.search, self.keep = search, keep

    def take(self, record: Mapping[str, Any]) -> None:
        """A line that is not a trial's."""
        if "begun" in record:
            number = _whole(record["begun"])
            begun = {**record, "step": int(record["step"]), "params": value_from_json(record["params"])}
            begun["start"] = datetime.fromisoformat(record["start"])
            self._died(number)
            self._under_way[number] = begun
        elif "interrupted" in record:
            self._under_way.pop(_whole(record["interrupted"]), None)
        elif "search" in record:
            self.take_header(record)
        else:
            raise ValueError(f"expected a trial or a note, got {short_repr(record)}")

    def finished(self, number: int) -> None:
        """The trial has come to its end."""
        self._under_way.pop(number, None)
        self.deaths.pop(number, None)

    def _died(self, number: int) -> None:
        if number in self._under_way:
            self.deaths.setdefault(number, []).append(self._under_way.pop(number))

    def dead(self) -> Iterator[Trial]:
        """The trials that have ended their process again, and no later than before; to be asked for last."""
        for number in list(self._under_way):
            self._died(number)
        for number, deaths in sorted(self.deaths.items()):
            *before, last = deaths
            if before and last["step"] <= max(death["step"] for death in before):
                died = f"{len(deaths)} times, the last time at step {last['step']}"
                error = f"ProcessDied: the process of the search has ended in this trial {died}"
                start = last["start"]  # when it died is not known
                yield Trial(number, last["params"], state=FAILED, start=start, end=start, error=error)


_HEX = frozenset("0123456789abcdef")


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"expected the number of a trial, got {short_repr(number)}")
    return number


@contextmanager
def opened(
    output_dir: str | None, space: SearchSpace, directions: Sequence[str], resume: bool, keep: str | None = None
) -> Iterator[Journal]:
    """The journal in a directory, to go on with if it holds trials already and `resume` says so; without a
    directory, none.

    Nothing else can open it meanwhile, in this process or another. One that holds no trial is taken away again.
    Raises `SearchError` for a journal of another search, for a damaged one, and where it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> space = SearchSpace({"x": Float(0, 4)})
    >>> with TemporaryDirectory() as here:
    ...     with opened(here, space, ["minimize"], resume=False) as journal:
    ...         journal.add(Trial(0, {"x": 0.5}, (2.25,)))
    ...     with opened(here, space, ["minimize"], resume=True) as journal:
    ...         journal.trials[0].params
    {'x': 0.5}
    """
    if output_dir is None:
        yield Journal(keep)
        return
    path = os.path.join(writable(output_dir), FILE)
    with lock_journal(path) as file:
        journal = FileJournal(file, path, space, directions)
        if journal.trials and not resume:
            hint = "resume=True goes on with it; else give another output_dir, or move the journal away"
            message = f"{path} is the journal of an earlier search, with {len(journal.trials)} trials"
            raise SearchError(message, [Issue("", hint)])
        try:
            journal.start(space, directions, keep if resume else keep or "best")
            yield journal
        finally:
            journal.close()


def _differences(
    theirs: SearchSpace, their_directions: tuple[str, ...], ours: SearchSpace, directions: tuple[str, ...]
) -> Iterator[Issue]:
    if their_directions != directions:
        stored = short_repr(list(their_directions))
        message = f"is {stored} there, and {short_repr(list(directions))} here"
        yield Issue("direction", message, f"direction={stored} goes on with it")
    if theirs != ours:
        for name in sorted({*theirs, *ours}):
            if theirs.get(name) != ours.get(name):
                there, here = (repr(space[name]) if name in space else "absent" for space in (theirs, ours))
                yield Issue(name, f"is {there} there, and {here} here")


# what can be left out, and how it is written and read
_Both = tuple[Callable[[Any], Any], Callable[[Any], Any]]
_AS_IT_IS: _Both = (lambda value: value, lambda value: value)
_MOMENT: _Both = (datetime.isoformat, datetime.fromisoformat)
_FIELDS: Mapping[str, _Both] = {
    "number": (lambda number: number, _whole),
    "params": (lambda params: value_to_json(dict(params)), value_from_json),
    "values": (list, tuple),
    "state": _AS_IT_IS,
    "intermediate_values": (dict, lambda reports: {int(step): value for step, value in reports.items()}),
    "start": _MOMENT,
    "end": _MOMENT,
    "run_id": _AS_IT_IS,
    "directory": _AS_IT_IS,
    "checkpoint": _AS_IT_IS,
    "error": _AS_IT_IS,
    "constraints": (dict, load_constraints),
    "user_attrs": (lambda attrs: value_to_json(dict(attrs)), value_from_json),
    "metrics": (dict, dict),
    "unread": (list, tuple),
}
_PLACES = ("directory", "checkpoint")  # relative to the journal: the whole may be moved


def _record(trial: Trial, root: str) -> dict[str, Any]:
    given = {name: getattr(trial, name) for name in _FIELDS}
    record = {name: write(given[name]) for name, (write, _) in _FIELDS.items() if given[name] not in (None, {})}
    return _placed(record, lambda place: os.path.relpath(place, root))


def _trial(record: Mapping[str, Any], root: str) -> Trial:
    fields = {name: read(record[name]) for name, (_, read) in _FIELDS.items() if name in record}
    trial = Trial(**{"params": {}, **_placed(fields, lambda place: _inside(root, place))})
    if trial.state not in STATES:
        raise ValueError(f"expected one of {STATES} for state, got {short_repr(trial.state)}")
    if not all(type(value) in (int, float) for value in trial.values or ()):
        raise ValueError(f"expected numbers for values, got {short_repr(trial.values)}")
    return trial


def _inside(root: str, place: str) -> str:
    path = os.path.normpath(os.path.join(root, place))
    if not path.startswith(os.path.join(root, "")):  # what belongs to the search may be removed
        raise ValueError(f"{place!r} leads out of the output_dir")
    return path


def _placed(fields: Mapping[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    return {name: move(value) if name in _PLACES else value for name, value in fields.items()}
