"""The course of a search under Ray: what was asked for, what runs, what has finished; in the driver."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from hpcompat.backends import Plan
from hpcompat.backends.ray.engines import Engine, Exhausted, Result
from hpcompat.backends.ray.trainable import FATAL, REPORT, TRIAL, Report
from hpcompat.objectives.directories import last_checkpoint
from hpcompat.trials import FAILED, PRUNED, Trial


@dataclass
class Asked:
    """A trial under way."""

    number: int
    params: dict[str, Any]
    start: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    reports: list[Report] = field(default_factory=list)


@dataclass
class Course:
    """Keeps the engine and the plan informed.

    `note(directory)`: to be told of run directories before the plan hears of their trials. `root`:
    what lies above them. `raised`: what ended the search before its time. `over`: nothing more is asked for.
    """

    plan: Plan
    engine: Engine
    note: Callable[[str], None]
    root: str | None
    deadline: float = math.inf
    asked: int = 0
    over: bool = False
    raised: BaseException | None = None
    running: dict[str, Asked] = field(default_factory=dict)
    done: list[Trial] = field(default_factory=list)

    def begin(self) -> None:
        """Start the clock."""
        self.deadline = time.monotonic() + (self.plan.timeout or math.inf)

    def suggest(self, key: str) -> dict[str, Any] | None:
        """The config of a trial; None: not now. Raises `Exhausted`."""
        self.over = self.over or time.monotonic() > self.deadline or self.asked >= self.plan.n_trials
        if self.over:
            raise Exhausted
        try:
            params = self.engine.ask(key)
        except Exhausted:
            self.over = True
            raise
        if params is None:
            return None
        self.running[key] = Asked(self.asked, params)
        self.asked += 1
        return {"number": self.running[key].number, "params": params}

    def result(self, key: str, result: dict[str, Any]) -> None:
        """Take in what a trial has sent."""
        asked = self.running[key]
        if FATAL in result:
            self._fatal(result.pop(FATAL))
            del self.running[key]
        elif TRIAL in result:
            self._finished(key, result.pop(TRIAL), result)
        elif REPORT in result:
            report: Report = result.pop(REPORT)
            asked.reports.append(report)
            self.engine.report(key, report.value, report.step, result)
            if result.get("done"):  # the scheduler has stopped it
                self._finished(key, self._stopped(asked), result)

    def lost(self, key: str, error: str) -> None:
        """A trial whose process has died."""
        asked = self.running.get(key)
        if asked:
            self._finished(key, self._composed(asked, FAILED, error=error), None)

    @property
    def interrupted(self) -> bool:
        """Whether trials are missing that should have been."""
        return bool(self.running) or not (self.over or self.asked >= self.plan.n_trials)

    def _finished(self, key: str, trial: Trial, result: Result | None) -> None:
        del self.running[key]
        try:
            self.engine.tell(key, trial, result)
            if trial.directory:
                self.note(trial.directory)
            self.done.append(trial)
            self.over = self.plan.finished(trial) or self.over
        except BaseException as error:  # Ray's loop would bury it
            self._fatal(error)

    def _fatal(self, error: BaseException) -> None:
        self.raised, self.over = self.raised or error, True

    def _stopped(self, asked: Asked) -> Trial:
        highest = max(asked.reports, key=lambda report: report.step)
        values = None if math.isnan(highest.value) else (highest.value,)
        return self._composed(asked, PRUNED, values=values)

    def _composed(self, asked: Asked, state: str, **fields: Any) -> Trial:
        last = asked.reports[-1] if asked.reports else None
        directory = last.directory if last else None
        return Trial(
            number=asked.number,
            params=asked.params,
            state=state,
            intermediate_values={report.step: report.value for report in asked.reports},
            start=last.start if last else asked.start,
            end=datetime.now(timezone.utc),
            run_id=directory and os.path.relpath(directory, self.root or os.path.dirname(directory)),
            directory=directory,
            checkpoint=directory and last_checkpoint(directory),
            **fields,
        )
