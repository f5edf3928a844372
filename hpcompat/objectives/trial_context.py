"""Run one trial: whatever happens inside it, the outcome is a `Trial`, and its memory is given back."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from typing import Any

from hpcompat.errors import TrialPruned, format_error
from hpcompat.objectives.objective import AmbiguousObjectiveError, Objective, Values, numeric_metrics
from hpcompat.objectives.trial_view import TrialView
from hpcompat.space.values import short_repr
from hpcompat.trials.config import Suggestion
from hpcompat.trials.files import ensure_writable
from hpcompat.trials.process import is_from_signal_handler
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, UNSCORED, Trial


class TrialContext:
    """A running trial. What it leaves behind is recorded as it comes, so that a failure keeps it.

    `is_applied(name)`: whether a param is applied to the TrainingArguments, which counts as being read.
    """

    def __init__(
        self, suggestion: Suggestion, objective: Objective, is_applied: Callable[[str], bool] = lambda name: False
    ) -> None:
        self.view = TrialView(suggestion, objective.space, len(objective.directions))
        self.suggestion = suggestion
        self.params = suggestion.params
        self.objective = objective
        self.is_applied = is_applied
        self.run_id: str | None = None
        self.directory: str | None = None
        self.checkpoint: str | None = None
        self.metrics: dict[str, float] = {}
        run = active_wandb_run()  # the user's; the one that the W&B backend has opened is the trial's
        self.run_before = None if run is suggestion.native else run

    def score(self, outcome: object) -> Values:
        """Return the values of what a function returned, and record its metrics."""
        self.metrics = numeric_metrics(outcome)
        return self.objective.score(outcome)

    def create_run_dir(self, output_dir: str) -> str:
        """Create the run directory, in the search's output_dir or else in this one."""
        root = ensure_writable(self.objective.output_dir or output_dir)
        name = f"run-{self.view.number}"
        if self.objective.hp_name:
            with self.view.without_recording_reads():
                name = self.objective.hp_name(self.view)
        self.directory = self.objective.run_dirs.create(root, name)
        self.run_id = os.path.relpath(self.directory, root)
        return self.directory


def run_trial(context: TrialContext, objective: Callable[[TrialContext], Values | None]) -> Trial:
    """Run the trial, and return it with its outcome.

    It is PRUNED if the objective raises `TrialPruned`, or returns None, or returns anything after `should_prune()`
    has said True; not if it has reported since: then it continued on purpose.

    An exception, or sys.exit, makes the trial FAILED and is not raised. Ctrl-C is, and an exit that a signal handler
    asks for.

    Args:
        context: the trial.
        objective: returns the values.

    Raises:
        AmbiguousObjectiveError: for it would hit every trial alike; with the trial so far as its `unscored`.
    """
    view = context.view
    process = os.getpid()
    start = datetime.now(timezone.utc)
    values, state, message, ambiguity = None, COMPLETE, None, None
    try:
        values = objective(context)
        if view.prune_requested or values is None:
            state, values = PRUNED, _last_report(view)
        else:
            _require_no_nan(values)
    except AmbiguousObjectiveError as error:
        values, state, ambiguity = None, UNSCORED, error
    except (Exception, SystemExit) as error:
        # a forked child is to end, not to go on with the search
        if isinstance(error, SystemExit) and (is_from_signal_handler(error) or os.getpid() != process):
            raise
        if _is_pruned_signal(error):
            state, values = PRUNED, _last_report(view)
        else:
            values, state, message = None, FAILED, format_error(error)
    trial = Trial(
        number=view.number,
        params=view.snapshot(),
        values=values,
        state=state,
        intermediate_values=view.intermediate_values,
        start=start,
        end=datetime.now(timezone.utc),
        run_id=context.run_id,
        directory=context.directory and context.objective.run_dirs.close(context.directory),
        checkpoint=context.checkpoint,
        error=message,
        metrics=context.metrics,
        unread=tuple(name for name in view.unread if not context.is_applied(name)),
        **context.suggestion.notes.fields(),
    )
    if ambiguity is not None:
        ambiguity.unscored = (trial,) if context.metrics else ()
        raise ambiguity
    return trial


def score_trials(trials: Iterable[Trial], objective: Objective) -> tuple[Trial, ...]:
    """Return the trials, the UNSCORED ones with values.

    Those were trained before it was known which metric is the objective.

    Raises:
        AmbiguousObjectiveError: if it is not known yet.
    """
    return tuple(_score_trial(trial, objective) if trial.state == UNSCORED else trial for trial in trials)


def _score_trial(trial: Trial, objective: Objective) -> Trial:
    try:
        values = objective.score(trial.metrics, objective.metric)
        _require_no_nan(values)
    except AmbiguousObjectiveError:
        raise
    except Exception as error:
        return replace(trial, state=FAILED, error=format_error(error))
    return replace(trial, state=COMPLETE, values=values)


def describe_conflict(trial: Trial, objective: Objective) -> str | None:
    """Return a message if the values of a trial are not those that this objective computes from its metrics."""
    if trial.state != COMPLETE or not trial.metrics or trial.values is None:
        return None
    try:
        values = objective.score(trial.metrics, objective.metric)
    except Exception:  # it needs metrics that are not numbers, or is ambiguous: then nothing is known
        return None
    if len(values) == len(trial.values) and all(map(math.isclose, values, trial.values)):
        return None
    computed = (
        f"its value is {short_repr(trial.values)}, and this search computes {short_repr(values)} from its metrics"
    )
    return f"{computed}; pass the compute_objective that it was searched with"


def _require_no_nan(values: Values) -> None:
    if any(map(math.isnan, values)):
        raise ValueError(f"the objective is nan{f': {values}' if len(values) > 1 else ''}")


def _last_report(view: TrialView) -> Values | None:
    """Return the value of a pruned trial: the report of the highest step, unless that is NaN."""
    reports = view.intermediate_values
    last = reports[max(reports)] if reports else math.nan
    return None if math.isnan(last) else (last,)


def _is_pruned_signal(error: BaseException) -> bool:
    optuna = sys.modules.get("optuna.exceptions")  # where it is not loaded its own cannot have been raised
    return isinstance(error, TrialPruned) or (optuna is not None and isinstance(error, optuna.TrialPruned))


def active_wandb_run() -> Any:
    """Return the run of W&B that is open in this process, if any, without importing wandb."""
    return getattr(sys.modules.get("wandb"), "run", None)


def weak_refs(*objects: Any) -> list[weakref.ref[Any]]:
    """Return weak references to models and optimizers, and to a parameter of each model, which may outlive it."""
    parameters = [next(item.parameters(), None) for item in objects if hasattr(item, "parameters")]
    return [weakref.ref(item) for item in (*objects, *parameters) if item is not None]


def release_memory(references: list[weakref.ref[Any]]) -> None:
    """Give the memory of these objects back to the system, and empty the list.

    What is still alive is held by reference cycles, which a garbage collection breaks up. By itself glibc keeps
    the memory between objects that stay, and the next model may not fit into the pieces.
    """
    if any(reference() is not None for reference in references):
        gc.collect()  # not every time: it costs as much as a small trial
    if references:
        _malloc_trim()(0)
    references.clear()


@cache
def _malloc_trim() -> Callable[[int], Any]:
    """Return `malloc_trim` of the C library; a function that does nothing where it has none."""
    library = None if os.name == "nt" else ctypes.CDLL(None)
    return getattr(library, "malloc_trim", lambda pad: None)


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Leave the objects that exist already out of the garbage collections inside the block.

    A Trainer asks for some in every training. Each goes through all objects of all packages that are loaded,
    which takes several times as long as the rest of a small trial. Where the user has frozen objects before,
    nothing is changed.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()  # else the garbage of now would be frozen too
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
