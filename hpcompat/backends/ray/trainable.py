"""A trial inside one of Ray's worker processes, which evaluates trial after trial."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from hpcompat.backends.ray.nodes import NodeLost
from hpcompat.backends.ray.pickling import unpacked
from hpcompat.backends.ray.worker_context import Errand, settle
from hpcompat.backends.ray.worker_group import Group
from hpcompat.errors import HpcompatError, TrialPruned
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.notes import Notes
from hpcompat.trials.run_dir_log import Diary
from hpcompat.trials.trial import FAILED, Trial

# keys of what a trial reports beside its objectives
TRIAL, FATAL, REPORT, LOST = "trial", "fatal", "report", "lost"


def names(objectives: int) -> tuple[str, ...]:
    """What the objectives are called in Ray's results.

    >>> names(1), names(2)
    (('objective',), ('objective_0', 'objective_1'))
    """
    return ("objective",) if objectives == 1 else tuple(f"objective_{index}" for index in range(objectives))


@dataclass(frozen=True)
class Report:
    """An intermediate value, and what is known of the trial so far: it may be its last word."""

    value: float
    step: int
    start: datetime
    directory: str | None
    notes: Notes


@dataclass(frozen=True)
class Workshop:
    """The objective, made once in this process, or in the workers of its trials.

    `opened`: what it stands in, which is never left, for the process ends with the search.
    """

    evaluate: Evaluate
    made: dict[str, str]
    opened: ExitStack


@dataclass
class Wire:
    """The way from a running trial to Ray's loop. Once that has told the trial to stop it does not listen."""

    errand: Errand
    made: dict[str, str]
    start: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    stopped: bool = False
    reports: dict[int, float] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    before: int = 0

    def __post_init__(self) -> None:
        self.before = len(self.made)

    def report(self, value: float, step: int) -> None:
        """Tell Ray; where it has stopped the trial before, end the function that goes on regardless."""
        if self.stopped:
            raise TrialPruned
        self.reports[step] = value
        directory = list(self.made)[-1] if len(self.made) > self.before else None
        report = Report(value, step, self.start, directory, Notes(**self.notes.fields()))
        self.send({REPORT: report, names(1)[0]: value})

    def should_prune(self) -> bool:
        return self.stopped

    def send(self, result: dict[str, Any]) -> None:
        """Report to Ray, which answers when it has decided."""
        from ray import tune

        try:
            tune.report(result)
        except SystemExit:  # how Ray ends a trial: it would skip what the Trainer has to tidy up
            self.stopped = True

    def end(self, **last: Any) -> None:
        """The trial's last result."""
        trial = last.get(TRIAL)
        values = trial.values if trial else None
        scores = values or (float("nan"),) * self.errand.objectives
        self.send({**dict(zip(names(self.errand.objectives), scores, strict=True)), **last, "done": True})


_workshops: dict[str, Workshop] = {}


def trainable(config: dict[str, Any], errand: Errand, shipment: Any) -> None:
    """Evaluate one trial, as Ray calls it."""
    # Ray gives a thread 2 s to end before it gives up its process, which took several to get ready
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
    settle(errand)
    try:
        workshop = _workshop(errand, shipment)
    except HpcompatError as error:
        Wire(errand, {}).end(**{FATAL: error})
        sys.exit(0)
    wire = Wire(errand, workshop.made)
    suggestion = Suggestion(config["number"], config["params"], wire.report, wire.should_prune, notes=wire.notes)
    _conclude(wire, lambda: workshop.evaluate(suggestion), suggestion)
    sys.exit(0)  # all is said: a return would make Ray wait for an answer to nothing


def _conclude(wire: Wire, evaluated: Callable[[], Trial], suggestion: Suggestion) -> None:
    try:
        trial = evaluated()
    except HpcompatError as error:  # the only kind of Exception that an evaluation lets through
        wire.end(**{FATAL: error})
        return
    except NodeLost as error:
        if not wire.stopped:
            wire.send({LOST: str(error)})
        os._exit(1)  # so that Ray gives up what it has reserved for the trial
    except BaseException as error:  # sys.exit() ends the trial, not the worker
        cause = "".join(traceback.format_exception_only(error)).strip()
        trial = Trial(
            number=suggestion.number,
            params=suggestion.params,
            state=FAILED,
            intermediate_values=wire.reports,
            start=wire.start,
            end=datetime.now(timezone.utc),
            error=f"{cause}\n\n{''.join(traceback.format_exception(error))}",
            **wire.notes.fields(),
        )
    if not wire.stopped:
        wire.end(**{TRIAL: trial})


def _workshop(errand: Errand, shipment: Any) -> Workshop:
    if errand.token not in _workshops:
        made: dict[str, str] = {}
        opened = ExitStack()
        if errand.workers > 1:
            evaluate: Evaluate = Group(errand, shipment, made).evaluate
        else:
            evaluate = opened.enter_context(unpacked(shipment, made, Diary(errand.diary)))
        _workshops[errand.token] = Workshop(evaluate, made, opened)
    return _workshops[errand.token]
