"""One attempt at a trial: whatever happens inside it, a Trial comes out."""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from hpcompat.errors import TrialPruned
from hpcompat.objectives.metrics import ComputeObjective, Undecided, Values, numbers, values_of
from hpcompat.objectives.reporting import open_wandb_run
from hpcompat.objectives.trial_view import TrialView
from hpcompat.space import SearchSpace
from hpcompat.trials.config import Suggestion
from hpcompat.trials.run_dirs import Runs, writable
from hpcompat.trials.signals import is_from_handler
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, UNSCORED, Trial


@dataclass(frozen=True)
class Setting:
    """What all trials of one search share; see `search` for the words."""

    space: SearchSpace = field(default_factory=SearchSpace)
    directions: tuple[str, ...] = ("minimize",)
    compute_objective: ComputeObjective = None
    hp_name: Callable[[TrialView], str] | None = None
    output_dir: str | None = None
    runs: Runs = field(default_factory=Runs)

    @property
    def several(self) -> bool:
        """Whether there are several objectives, and so nothing to prune by."""
        return len(self.directions) > 1

    def score(self, outcome: Any, metric_for_best_model: str | None = None) -> Values:
        """The values of metrics or numbers: see `values_of`."""
        return values_of(outcome, len(self.directions), self.compute_objective, metric_for_best_model)


class Attempt:
    """A trial in the making. What it leaves behind is noted as it comes, so that a failure keeps it."""

    def __init__(self, suggestion: Suggestion, setting: Setting) -> None:
        self.view = TrialView(suggestion, setting.space, len(setting.directions))
        self.suggestion = suggestion
        self.params = suggestion.params
        self.setting = setting
        self.run_id: str | None = None
        self.directory: str | None = None
        self.checkpoint: str | None = None
        self.metrics: dict[str, float] = {}
        self.is_applied: Callable[[str], bool] = lambda name: False  # to the arguments, without being read
        run = open_wandb_run()  # the user's; the one that the W&B backend has opened is the trial's
        self.run_before = None if run is suggestion.native else run

    def score(self, outcome: Any) -> Values:
        """The values of what a function returned; its metrics are noted."""
        self.metrics = numbers(outcome)
        return self.setting.score(outcome)

    def open(self, output_dir: str) -> str:
        """Make the run directory, in the search's output_dir or else in this one."""
        root = writable(self.setting.output_dir or output_dir)
        name = f"run-{self.view.number}"
        if self.setting.hp_name:
            with self.view.unrecorded():
                name = self.setting.hp_name(self.view)
        self.directory = self.setting.runs.create(root, name)
        self.run_id = os.path.relpath(self.directory, root)
        return self.directory


def conduct(attempt: Attempt, body: Callable[[Attempt], Values | None]) -> Trial:
    """Run `body`, which returns the values.

    The trial is PRUNED if it raises `TrialPruned`, or returns (whatever it be) after `should_prune()` has said
    True; not if it has reported since: then it went on on purpose.

    An exception makes the trial FAILED and goes no further, and so does sys.exit. Only `Undecided` does, for it
    would hit every trial alike, with the trial as far as it came; Ctrl-C; and an exit that a signal handler asks for.
    """
    view = attempt.view
    process = os.getpid()
    start = datetime.now(timezone.utc)
    values, state, error, undecided = None, COMPLETE, None, None
    try:
        values = body(attempt)
        if view.told_to_stop or values is None:
            state, values = PRUNED, _last_report(view)
        elif any(map(math.isnan, values)):
            raise ValueError(f"the objective is nan{f': {values}' if len(values) > 1 else ''}")
    except Undecided as raised:
        values, state, undecided = None, UNSCORED, raised
    except Exception as raised:
        if _is_pruned(raised):
            state, values = PRUNED, _last_report(view)
        else:
            values, state, error = None, FAILED, described(raised)
    except SystemExit as raised:
        if is_from_handler(raised) or os.getpid() != process:  # a forked child is to end, not to go on with the search
            raise
        values, state, error = None, FAILED, described(raised)
    trial = Trial(
        number=view.number,
        params=view.snapshot(),
        values=values,
        state=state,
        intermediate_values=view.intermediate_values,
        start=start,
        end=datetime.now(timezone.utc),
        run_id=attempt.run_id,
        directory=attempt.directory and attempt.setting.runs.close(attempt.directory),
        checkpoint=attempt.checkpoint,
        error=error,
        metrics=attempt.metrics,
        unread=tuple(name for name in view.unread if not attempt.is_applied(name)),
        **attempt.suggestion.notes.fields(),
    )
    if undecided is not None:
        undecided.unscored = (trial,) if attempt.metrics else ()
        raise undecided
    return trial


def scored(trials: Iterable[Trial], setting: Setting, metric_for_best_model: str | None = None) -> tuple[Trial, ...]:
    """The trials, those with a value that were trained before it was known which metric is the objective.

    Raises `Undecided` if it is not known yet.
    """
    return tuple(
        _scored(trial, setting, metric_for_best_model) if trial.state == UNSCORED else trial for trial in trials
    )


def _scored(trial: Trial, setting: Setting, metric_for_best_model: str | None) -> Trial:
    try:
        values = setting.score(trial.metrics, metric_for_best_model)
        if any(map(math.isnan, values)):
            raise ValueError("the objective is nan")
    except Undecided:
        raise
    except Exception as raised:
        return replace(trial, state=FAILED, error=described(raised))
    return replace(trial, state=COMPLETE, values=values)


def other_values(trial: Trial, setting: Setting, metric_for_best_model: str | None = None) -> Values | None:
    """The values that this objective makes of a trial's metrics, where the trial has others; else None."""
    if trial.state != COMPLETE or not trial.metrics or trial.values is None:
        return None
    try:
        values = setting.score(trial.metrics, metric_for_best_model)
    except Exception:  # it takes metrics that are not numbers, or is not decided yet: then nothing is known
        return None
    same = len(values) == len(trial.values) and all(map(math.isclose, values, trial.values))
    return None if same else values


def _last_report(view: TrialView) -> Values | None:
    """What counts as the value of a pruned trial: the report of the highest step, unless that is NaN."""
    reports = view.intermediate_values
    last = reports[max(reports)] if reports else math.nan
    return None if math.isnan(last) else (last,)


def _is_pruned(raised: Exception) -> bool:
    optuna = sys.modules.get("optuna.exceptions")  # where it is not loaded its own cannot have been raised
    return isinstance(raised, TrialPruned) or (optuna is not None and isinstance(raised, optuna.TrialPruned))


def described(raised: BaseException) -> str:
    """The cause, then the traceback: as text, for an exception keeps its frames alive, models and all."""
    return f"{cause(raised)}\n\n{''.join(traceback.format_exception(raised))}"


def cause(raised: BaseException) -> str:
    """What an exception says, with its type."""
    return "".join(traceback.format_exception_only(raised)).strip()
