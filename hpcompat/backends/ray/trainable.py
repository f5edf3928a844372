"""The trainable: evaluates trials in a worker process of Ray, one after the other."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypedDict

from hpcompat.backends.ray.cluster import NodeLost
from hpcompat.backends.ray.pickling import Payload, WorkerContext, enter_context, load_objective
from hpcompat.backends.ray.worker_group import WorkerGroup
from hpcompat.compat.ray import report
from hpcompat.errors import HpcompatError, TrialPruned, format_error
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.notes import Notes
from hpcompat.trials.run_dirs import RunDirLog
from hpcompat.trials.trial import Trial, objective_names

# the keys of a result besides the objectives
TRIAL, FATAL, REPORT, LOST = "trial", "fatal", "report", "lost"


class TrialConfig(TypedDict):
    """The config of a Ray trial; `again` counts its restarts."""

    number: int
    params: dict[str, Any]
    again: int


@dataclass(frozen=True)
class Report:
    """An intermediate value, with the state of the trial, in case the process dies or the scheduler stops it."""

    value: float
    step: int
    start: datetime
    directory: str | None
    notes: Notes


@dataclass(frozen=True)
class WorkerState:
    """The open objective of a search, in this process or in its worker group.

    Attributes:
        evaluate: Evaluates a suggestion.
        created: The run directories that were created, by path, with the root of each.
        contexts: The context of the objective, which is never closed: the process ends with the search.
    """

    evaluate: Evaluate
    created: dict[str, str]
    contexts: ExitStack


@dataclass
class TuneReporter:
    """Sends the reports of a running trial to Ray until Ray stops the trial."""

    context: WorkerContext
    created: dict[str, str]
    start: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    is_stopped: bool = False
    reports: dict[int, float] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    n_created_before: int = 0

    def __post_init__(self) -> None:
        self.n_created_before = len(self.created)

    def report(self, value: float, step: int) -> None:
        """Report to Ray. Raises `TrialPruned` if the scheduler has already stopped the trial."""
        if self.is_stopped:
            raise TrialPruned
        self.reports[step] = value
        directory = list(self.created)[-1] if len(self.created) > self.n_created_before else None
        report = Report(value, step, self.start, directory, Notes(**self.notes.to_trial_fields()))
        self.send({REPORT: report, objective_names(1)[0]: value})

    def should_prune(self) -> bool:
        return self.is_stopped

    def send(self, result: dict[str, object]) -> None:
        """Send a result to Ray, and wait for the decision of the scheduler."""
        try:
            report(result)
        except SystemExit:  # Ray stops a trial by SystemExit, which the Trainer would not clean up after
            self.is_stopped = True

    def send_last(self, trial: Trial | None, error: HpcompatError | None = None) -> None:
        """Send the last result: the finished trial, or an error that ends the search."""
        values = trial.values if trial else None
        names, scores = objective_names(self.context.n_objectives), values or (math.nan,) * self.context.n_objectives
        outcome = {FATAL: error} if error else {TRIAL: trial}
        self.send({**dict(zip(names, scores, strict=True)), **outcome, "done": True})


_states: dict[str, WorkerState] = {}


def trainable(config: TrialConfig, context: WorkerContext, payload: Payload) -> None:
    """Evaluate a trial; Ray calls this in a worker process."""
    # by default Ray kills the process if its thread does not end in 2 s, and starting another takes longer
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
    enter_context(context)
    try:
        state = _worker_state(context, payload)
    except HpcompatError as error:
        TuneReporter(context, {}).send_last(None, error)
        sys.exit(0)
    reporter = TuneReporter(context, state.created)
    suggestion = Suggestion(
        config["number"], config["params"], reporter.report, reporter.should_prune, notes=reporter.notes
    )
    _report_outcome(reporter, lambda: state.evaluate(suggestion), suggestion)
    sys.exit(0)  # a return would make Ray wait for another report


def _report_outcome(reporter: TuneReporter, evaluate: Callable[[], Trial], suggestion: Suggestion) -> None:
    try:
        trial = evaluate()
    except HpcompatError as error:  # an evaluation raises no other type of Exception
        reporter.send_last(None, error)
        return
    except NodeLost as error:
        if not reporter.is_stopped:
            reporter.send({LOST: str(error)})
        os._exit(1)  # so that Ray frees the resources of the trial
    except BaseException as error:  # sys.exit() must end the trial, and not the worker
        trial = Trial.failed(
            suggestion.number,
            suggestion.params,
            format_error(error),
            intermediate_values=reporter.reports,
            start=reporter.start,
            **reporter.notes.to_trial_fields(),
        )
    if not reporter.is_stopped:
        reporter.send_last(trial)


def _worker_state(context: WorkerContext, payload: Payload) -> WorkerState:
    if context.token not in _states:
        created: dict[str, str] = {}
        contexts = ExitStack()
        if context.n_workers > 1:
            evaluate: Evaluate = WorkerGroup(context, payload, created).evaluate
        else:
            evaluate = contexts.enter_context(load_objective(payload, created, RunDirLog(context.log_dir)))
        _states[context.token] = WorkerState(evaluate, created, contexts)
    return _states[context.token]
