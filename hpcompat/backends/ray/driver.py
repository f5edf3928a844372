"""The course of a search under Ray: what was asked for, what runs, what has finished; in the driver."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from hpcompat.backends.ray.engines import Engine, Exhausted, Result
from hpcompat.backends.ray.nodes import explained
from hpcompat.backends.ray.trainable import FATAL, LOST, REPORT, TRIAL, Report
from hpcompat.objectives.metrics import Undecided
from hpcompat.trials.config import Plan
from hpcompat.trials.notes import Notes
from hpcompat.trials.run_dirs import last_checkpoint
from hpcompat.trials.trial import FAILED, PRUNED, Trial

_FALSE_STARTS = 3


@dataclass
class Asked:
    """A trial under way.

    `key`: what the engine calls it, however often it runs. `again`: how often it has had to run again.
    `told`: the steps that the engine has heard of. `lost`: its process is about to end, for a worker's node
    has died.
    """

    number: int
    params: dict[str, Any]
    key: str
    again: int = 0
    told: set[int] = field(default_factory=set)
    lost: str | None = None
    start: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    reports: list[Report] = field(default_factory=list)


@dataclass
class Course:
    """Keeps the engine and the plan informed.

    `note(directory)`: to be told of run directories before the plan hears of their trials. `root`:
    what lies above them. `raised`: what ended the search before its time. `over`: no trial is begun any
    more; `dry`: there is none left that was not begun. `waiting`: trials that are to run again.
    """

    plan: Plan
    engine: Engine
    note: Callable[[str], object]
    root: str | None
    deadline: float | None = None
    asked: int = 0
    over: bool = False
    dry: bool = False
    raised: BaseException | None = None
    running: dict[str, Asked] = field(default_factory=dict)
    waiting: list[tuple[Asked, str]] = field(default_factory=list)
    done: list[Trial] = field(default_factory=list)

    def suggest(self, key: str) -> dict[str, Any] | None:
        """The config of a trial; None: not now. Raises `Exhausted`."""
        if self.deadline is None:  # the clock starts with the first trial: Ray takes its time to get ready
            self.deadline = time.monotonic() + (self.plan.timeout or math.inf)
        self.over = self.over or time.monotonic() > self.deadline
        if self.over:
            self._give_up()
            raise Exhausted
        if self.waiting:
            lost, _ = self.waiting.pop(0)
            self.running[key] = Asked(lost.number, lost.params, lost.key, lost.again + 1, lost.told)
        elif not self.dry:
            self._ask(key)
        elif not self.running:
            raise Exhausted
        if key not in self.running:  # those that run may have to run again
            return None
        asked = self.running[key]
        return {"number": asked.number, "params": asked.params, "again": asked.again}

    def _ask(self, key: str) -> None:
        try:
            params = self.engine.ask(key)
        except Exhausted:
            self.dry = True
            if not self.running:
                raise
            return
        if params is not None:
            self.running[key] = Asked(self.plan.number(self.asked), params, key)
            self.asked += 1
            self.dry = self.asked >= self.plan.n_trials

    def result(self, key: str, result: dict[str, Any]) -> None:
        """Take in what a trial has sent."""
        asked = self.running[key]
        if FATAL in result:
            self._fatal(result.pop(FATAL))
            del self.running[key]
        elif TRIAL in result:
            self._finished(key, result.pop(TRIAL), result)
        elif LOST in result:
            asked.lost = result.pop(LOST)
        elif REPORT in result:
            report: Report = result.pop(REPORT)
            asked.reports.append(report)
            if report.step not in asked.told:
                asked.told.add(report.step)
                self.engine.report(asked.key, report.value, report.step, result)
            if result.get("done"):  # the scheduler has stopped it
                self._finished(key, self._stopped(asked), result)

    def lost(self, key: str, error: str, node_died: bool, begun: bool = True) -> None:
        """A trial whose process has died: by itself, which is its end, or with its node: it runs again.

        It also does, a few times, if it had not `begun`: then it has no part in it.
        """
        if key not in self.running:
            return
        asked = self.running[key]
        node_died = node_died or asked.lost is not None
        what = "node" if node_died else "worker process"
        error = f"the {what} has died: {asked.lost or explained(error)}\n\n{error}"
        runs_again = node_died or (not begun and asked.again < _FALSE_STARTS)
        if self.over or not runs_again:
            self._finished(key, self._composed(asked, FAILED, error=error), None)
            return
        del self.running[key]
        self.waiting.append((asked, error))
        if asked.reports and asked.reports[-1].directory:
            self.note(asked.reports[-1].directory)

    def _give_up(self) -> None:
        """Those that would run again, and may not any more, have failed."""
        while self.waiting:
            asked, error = self.waiting.pop(0)
            self.running[asked.key] = asked
            self._finished(asked.key, self._composed(asked, FAILED, error=error), None)

    @property
    def interrupted(self) -> bool:
        """Whether trials are missing that should have been."""
        return bool(self.running or self.waiting) or not (self.over or self.dry)

    def _finished(self, key: str, trial: Trial, result: Result | None) -> None:
        asked = self.running.pop(key)
        try:
            try:
                trial = self.engine.tell(asked.key, trial, result)
            finally:  # it has finished, whatever the engine makes of it
                if trial.directory:
                    self.note(trial.directory)
                self.done.append(trial)
                self.over = self.plan.finished(trial) or self.over
        except BaseException as error:  # Ray's loop would bury it
            self._fatal(error)

    def _fatal(self, error: BaseException) -> None:
        if isinstance(error, Undecided) and isinstance(self.raised, Undecided):  # trials that ran at the same time
            self.raised.unscored += error.unscored
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
            **(last.notes if last else Notes()).fields(),
            **fields,
        )
