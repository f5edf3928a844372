"""The journal of a search: every finished trial, written and synced before anyone hears of it.

`<output_dir>/hpcompat-journal.jsonl` holds JSON, a line for what is searched and one for each trial:

    {"hpcompat": 1, "space": {"x": {"kind": "float", "low": 0.0, "high": 4.0}}, "directions": ["minimize"]}
    {"number": 0, "params": {"x": 0.5}, "values": [2.25], "state": "COMPLETE", "start": …, "end": …}

A process that is killed may leave its last line torn. Nobody has heard of that trial: it is as if it had
been under way, and another takes its place.

Beside it lies, while a search runs, a directory with the `Diary` of each of its processes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hpcompat.errors import Fault, HpcompatError, SearchError
from hpcompat.notes import load_constraints
from hpcompat.objectives.directories import writable
from hpcompat.space import SearchSpace
from hpcompat.space.serial import read_value, write_value
from hpcompat.space.values import show
from hpcompat.trials import Trial

FILE, DIARY = "hpcompat-journal.jsonl", "hpcompat-diary"


def _unkept(trial: Trial) -> None:
    """Where no journal is kept."""


@dataclass(frozen=True)
class Journal:
    """`trials`: those that were in it when it was opened. `add(trial)` puts another one on the disk.

    `diary`: where run directories are noted; None where no journal is kept.
    """

    trials: tuple[Trial, ...] = ()
    add: Callable[[Trial], None] = _unkept
    diary: str | None = None


@contextmanager
def opened(output_dir: str | None, space: SearchSpace, directions: Sequence[str], resume: bool) -> Iterator[Journal]:
    """The journal in a directory, to go on with if it holds trials already and `resume` says so; without a
    directory, none.

    No other process can open it meanwhile. One that holds no trial is taken away again. Raises
    `SearchError` for a journal of another search, for a damaged one, and where it cannot be written.

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
        yield Journal()
        return
    root = writable(output_dir)
    path = os.path.join(root, FILE)
    with _file(path) as file:
        _lock(file, path)
        lines, end = _lines(file)
        trials = tuple(_trials(lines, path, root, space, directions))
        if trials and not resume:
            hint = "resume=True goes on with it; else give another output_dir, or move the journal away"
            raise SearchError(
                f"{path} is the journal of an earlier search, with {len(trials)} trials", [Fault("", hint)]
            )
        held = len(trials)
        end = end if trials else 0
        os.ftruncate(file, end)
        if not trials:
            end = _append(file, path, end, {**space.to_dict(), "directions": list(directions)})

        def add(trial: Trial) -> None:
            nonlocal end, held
            end = _append(file, path, end, _record(trial, root))
            held += 1

        try:
            with _diary(root) as diary:
                yield Journal(trials, add, diary)
        finally:
            if not held:
                with suppress(OSError):
                    os.remove(path)


@contextmanager
def _file(path: str) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SearchError(f"the journal {path} cannot be opened: {error.strerror}") from error
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _diary(root: str) -> Iterator[str]:
    """The directory of diaries; with those of a search that was killed, if they are still there."""
    folder = os.path.join(root, DIARY)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise SearchError(f"{folder} cannot be made: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lock(file: int, path: str) -> None:
    """Until the file is closed, or the process has died: not a lock that forked workers would hold on to."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        hint = "several processes share a search through the backend's own store: storage=, sweep_id=, experiment_id="
        raise SearchError(f"another process is writing the journal {path}", [Fault("", hint)]) from error
    except OSError:  # a file system without locks
        return


def _lines(file: int) -> tuple[list[bytes], int]:
    """The whole lines, and where the last of them ends."""
    with open(file, "rb", closefd=False) as stream:
        stream.seek(0)
        *whole, torn = stream.read().split(b"\n")
        return whole, stream.tell() - len(torn)


def _append(file: int, path: str, end: int, record: Mapping[str, Any]) -> int:
    """Write a line at `end`, and wait for the disk to have it; returns where it ends."""
    line = json.dumps(record, ensure_ascii=False, default=repr).encode(errors="backslashreplace") + b"\n"
    try:
        os.lseek(file, end, os.SEEK_SET)
        written = os.write(file, line)
        while written < len(line):  # what is short of room says so at the second try
            written += os.write(file, line[written:])
        os.fsync(file)
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(file, end)
        hint = "what it holds is safe: make room, then go on with resume=True"
        raise SearchError(f"the journal {path} cannot be written: {error.strerror}", [Fault("", hint)]) from error
    return end + len(line)


def _trials(
    lines: Sequence[bytes], path: str, root: str, space: SearchSpace, directions: Sequence[str]
) -> Iterator[Trial]:
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if number > 1:
                yield _trial(record, root)
                continue
            theirs = SearchSpace.from_dict(record), tuple(record["directions"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, HpcompatError) as error:
            hint = "mend the line or take it out, and go on with resume=True; or move the journal away"
            fault = Fault(f"line {number}", f"{type(error).__name__}: {error}", hint)
            raise SearchError(f"the journal {path} is damaged", [fault]) from error
        if faults := list(_differences(*theirs, space, tuple(directions))):
            faults.append(Fault("", "give another output_dir, or move the journal away"))
            raise SearchError(f"{path} is the journal of another search", faults)


def _differences(
    theirs: SearchSpace, their_directions: tuple[str, ...], ours: SearchSpace, directions: tuple[str, ...]
) -> Iterator[Fault]:
    if their_directions != directions:
        yield Fault("direction", f"is {show(list(their_directions))} there, and {show(list(directions))} here")
    if theirs != ours:
        for name in sorted({*theirs, *ours}):
            if theirs.get(name) != ours.get(name):
                there, here = (repr(space[name]) if name in space else "absent" for space in (theirs, ours))
                yield Fault(name, f"is {there} there, and {here} here")


# what can be left out, and how it is written and read
_Both = tuple[Callable[[Any], Any], Callable[[Any], Any]]
_AS_IT_IS: _Both = (lambda value: value, lambda value: value)
_MOMENT: _Both = (datetime.isoformat, datetime.fromisoformat)
_FIELDS: Mapping[str, _Both] = {
    "number": _AS_IT_IS,
    "params": (lambda params: write_value(dict(params)), read_value),
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
    "user_attrs": (lambda attrs: write_value(dict(attrs)), read_value),
    "metrics": (dict, dict),
}
_PLACES = ("directory", "checkpoint")  # relative to the journal: the whole may be moved


def _record(trial: Trial, root: str) -> dict[str, Any]:
    given = {name: getattr(trial, name) for name in _FIELDS}
    record = {name: write(given[name]) for name, (write, _) in _FIELDS.items() if given[name] not in (None, {})}
    return _placed(record, lambda place: os.path.relpath(place, root))


def _trial(record: Mapping[str, Any], root: str) -> Trial:
    fields = {name: read(record[name]) for name, (_, read) in _FIELDS.items() if name in record}
    return Trial(**{"params": {}, **_placed(fields, lambda place: _inside(root, place))})


def _inside(root: str, place: str) -> str:
    path = os.path.normpath(os.path.join(root, place))
    if not path.startswith(os.path.join(root, "")):  # what belongs to the search may be removed
        raise ValueError(f"{place!r} leads out of the output_dir")
    return path


def _placed(fields: Mapping[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    return {name: move(value) if name in _PLACES else value for name, value in fields.items()}
