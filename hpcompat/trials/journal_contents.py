"""What the lines of a journal say: the search, its finished trials, and the attempts that ended their process."""

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
    """A trial that was begun: its params, and the last step that it noted."""

    params: Mapping[str, Any]
    start: datetime
    step: int


class JournalContents:
    """What a journal holds so far, line by line.

    `space`, `directions`: what is searched; None before the first line. `search_id`, `keep`: as the first line says
    it, or a later one that replaces it. `trials`: the finished ones, by number. `attempts`: by number, those that
    neither finished nor were interrupted: when the journal is opened again, each of them has ended its process.

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
        """Read the next line. Raises errors of any kind for one that is damaged."""
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
            raise ValueError(f"expected a number that is not taken, got {trial.number} again")
        self.trials[trial.number] = trial
        self.attempts.pop(trial.number, None)

    def _forget_last_attempt(self, number: int) -> None:
        attempts = self.attempts.get(number, [])
        if len(attempts) > 1:
            attempts.pop()
        else:
            self.attempts.pop(number, None)

    def crashed_trials(self) -> Iterator[Trial]:
        """Yield, as FAILED, the trials that ended their process again with no step more than before."""
        for number, attempts in sorted(self.attempts.items()):
            *before, last = attempts
            if before and last.step <= max(attempt.step for attempt in before):
                times = f"{len(attempts)} times, the last time at step {last.step}"
                error = f"ProcessDied: the process of the search has ended in this trial {times}"
                # when it died is not known
                yield Trial.failed(number, last.params, error, start=last.start, end=last.start)

    def differences(self, space: SearchSpace, directions: Sequence[str]) -> Iterator[Issue]:
        """Yield what another search differs in from this one."""
        assert self.space is not None
        if self.directions != tuple(directions):
            stored = short_repr(list(self.directions))
            reason = f"expected {stored} as in the journal, got {short_repr(list(directions))}"
            yield Issue("direction", reason, f"use direction={stored}")
        for name in sorted({*self.space, *space}):
            if self.space.get(name) != space.get(name):
                there, here = (repr(one[name]) if name in one else "no parameter" for one in (self.space, space))
                yield Issue(name, f"expected {there} as in the journal, got {here}")
