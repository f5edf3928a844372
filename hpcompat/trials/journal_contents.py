"""The parser of a journal: the search, its finished trials, and the attempts that crashed their process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hpcompat.errors import Issue
from hpcompat.space import SearchSpace
from hpcompat.space.serialization import value_from_json
from hpcompat.space.values import short_repr
from hpcompat.trials.run_dirs import KEEP_CHOICES
from hpcompat.trials.trial import Trial, parse_constraints, parse_trial_number

_HEX_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Attempt:
    """One start of a trial, with its params and the last step that it reached."""

    params: Mapping[str, Any]
    start: datetime
    step: int


class JournalContents:
    """The contents of a journal, which is read line by line.

    Attributes:
        root: The directory that the paths in the journal are relative to.
        space: The space that is searched; None before the first line.
        directions: The direction of each objective.
        search_id: Identifies the search; the last header line counts.
        keep: Which checkpoints stay; the last header line counts.
        trials: The finished trials, by number.
        attempts: The starts of each trial that has neither finished nor been interrupted, by number. When the journal
            is opened again, each of them has crashed its process.

    >>> contents = JournalContents("/out")
    >>> contents.read_line('{"hpcompat": 1, "space": {}, "directions": ["minimize"]}')
    >>> contents.read_line('{"number": 3, "values": [0.5], "state": "COMPLETE"}')
    >>> contents.trials[3].value
    0.5
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.space: SearchSpace | None = None
        self.directions: tuple[str, ...] = ()
        self.search_id: str | None = None
        self.keep: str | None = None
        self.trials: dict[int, Trial] = {}
        self.attempts: dict[int, list[Attempt]] = {}

    def read_line(self, line: str | bytes) -> None:
        """Read the next line. Raises an exception of any type if the line is damaged."""
        record = json.loads(line)
        if self.space is None:
            self.space, self.directions = SearchSpace.from_dict(record), tuple(record["directions"])
            self._read_header(record)
        elif "number" in record:
            self._read_trial(record)
        elif "amended" in record:
            number = parse_trial_number(record["amended"])
            self.trials[number] = replace(self.trials[number], constraints=parse_constraints(record["constraints"]))
        elif "begun" in record:
            attempt = Attempt(
                value_from_json(record["params"]), datetime.fromisoformat(record["start"]), int(record["step"])
            )
            self.attempts.setdefault(parse_trial_number(record["begun"]), []).append(attempt)
        elif "interrupted" in record:
            self._forget_last_attempt(parse_trial_number(record["interrupted"]))
        elif "search" in record:
            self._read_header(record)
        else:
            raise ValueError(f"expected a trial or a note, got {short_repr(record)}")

    def _read_header(self, record: Mapping[str, Any]) -> None:
        search_id, keep = record.get("search"), record.get("keep")
        is_id = isinstance(search_id, str) and len(search_id) == 32 and set(search_id) <= _HEX_DIGITS
        if search_id is not None and not is_id:
            raise ValueError(f"expected the id of a search, got {short_repr(search_id)}")
        if keep not in (None, *KEEP_CHOICES):
            raise ValueError(f"expected one of {KEEP_CHOICES} for keep, got {short_repr(keep)}")
        self.search_id, self.keep = search_id, keep

    def _read_trial(self, record: Mapping[str, object]) -> None:
        trial = Trial.from_record(record, self.root)
        if trial.number in self.trials:
            raise ValueError(f"expected a new trial number, got {trial.number} again")
        self.trials[trial.number] = trial
        self.attempts.pop(trial.number, None)

    def _forget_last_attempt(self, number: int) -> None:
        attempts = self.attempts.get(number, [])
        if len(attempts) > 1:
            attempts.pop()
        else:
            self.attempts.pop(number, None)

    def crashed_trials(self) -> Iterator[Trial]:
        """Yield a FAILED trial for each one that crashed its process again, without getting further than before."""
        for number, attempts in sorted(self.attempts.items()):
            *earlier, last = attempts
            if earlier and last.step <= max(attempt.step for attempt in earlier):
                times = f"{len(attempts)} times, the last time at step {last.step}"
                error = f"ProcessDied: the process of the search has ended in this trial {times}"
                # the time of the crash is not known
                yield Trial.failed(number, last.params, error, start=last.start, end=last.start)

    def differences(self, space: SearchSpace, directions: Sequence[str]) -> Iterator[Issue]:
        """Yield an issue for each difference between this search and another one."""
        assert self.space is not None
        if self.directions != tuple(directions):
            stored = short_repr(list(self.directions))
            reason = f"expected {stored} as in the journal, got {short_repr(list(directions))}"
            yield Issue("direction", reason, f"use direction={stored}")
        for name in sorted({*self.space, *space}):
            if self.space.get(name) != space.get(name):
                stored, requested = (
                    repr(parameters[name]) if name in parameters else "no parameter"
                    for parameters in (self.space, space)
                )
                yield Issue(name, f"expected {stored} as in the journal, got {requested}")
