"""Run a trial, whose outcome is always a `Trial`, and release its memory."""

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
    """A running trial. Its run directory, checkpoint and metrics are set on it, so that a failed trial keeps them.

    `is_applied(name)`: returns whether a param is applied to the TrainingArguments, so that it counts as read.
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
        run = active_wandb_run()  # of the user, and not the run that the W&B backend has opened
        self.outer_wandb_run = None if run is suggestion.native else run

    def score(self, outcome: object) -> Values:
        """Record the metrics that a function has returned, and return the values."""
        self.metrics = numeric_metrics(outcome)
        return self.objective.score(outcome)

    def create_run_dir(self, output_dir: str) -> str:
        """Create the run directory, in the output_dir of the search or else in this one."""
        root = ensure_writable(self.objective.output_dir or output_dir)
        name = f"run-{self.view.number}"
        if self.objective.hp_name:
            with self.view.without_recording_reads():
                name = self.objective.hp_name(self.view)
        self.directory = self.objective.run_dirs.create(root, name)
        self.run_id = os.path.relpath(self.directory, root)
        return self.directory


def run_trial(context: TrialContext, objective: Callable[[TrialContext], Values | None]) -> Trial:
    """Run a trial, and return it with its outcome.

    The trial is PRUNED if the objective raises `TrialPruned`, returns None, or returns after `should_prune()` returned
    True; but if it has reported since then, it has continued on purpose.

    An exception or sys.exit makes the trial FAILED. KeyboardInterrupt, and an exit of a signal handler, are raised.

    Args:
        context: The trial.
        objective: Returns the values.

    Raises:
        AmbiguousObjectiveError: Several metrics may be the objective; its `unscored` has this trial.
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
        # a forked child must exit, and not continue the search
        if isinstance(error, SystemExit) and (is_from_signal_handler(error) or os.getpid() != process):
            raise
        if _is_trial_pruned_error(error):
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
        **context.suggestion.notes.to_trial_fields(),
    )
    if ambiguity is not None:
        ambiguity.unscored = (trial,) if context.metrics else ()
        raise ambiguity
    return trial


def score_trials(trials: Iterable[Trial], objective: Objective) -> tuple[Trial, ...]:
    """Compute the values of the UNSCORED trials, and return all trials.

    Raises:
        AmbiguousObjectiveError: Several metrics may be the objective.
    """
    return tuple(_score_trial(trial, objective) if trial.state == UNSCORED else trial for trial in trials)


def _score_trial(trial: Trial, objective: Objective) -> Trial:
    try:
        values = objective.score(trial.metrics, objective.default_metric)
        _require_no_nan(values)
    except AmbiguousObjectiveError:
        raise
    except Exception as error:
        return replace(trial, state=FAILED, error=format_error(error))
    return replace(trial, state=COMPLETE, values=values)


def describe_conflict(trial: Trial, objective: Objective) -> str | None:
    """Return a message if this objective computes other values from the metrics of a trial, else None."""
    if trial.state != COMPLETE or not trial.metrics or trial.values is None:
        return None
    try:
        values = objective.score(trial.metrics, objective.default_metric)
    except Exception:  # they cannot be compared: it needs other metrics, or is ambiguous
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
    """Return the report of the highest step as the value of a pruned trial, or None if it is NaN."""
    reports = view.intermediate_values
    last = reports[max(reports)] if reports else math.nan
    return None if math.isnan(last) else (last,)


def _is_trial_pruned_error(error: BaseException) -> bool:
    optuna = sys.modules.get("optuna.exceptions")  # if it is not imported, its TrialPruned cannot have been raised
    return isinstance(error, TrialPruned) or (optuna is not None and isinstance(error, optuna.TrialPruned))


def active_wandb_run() -> Any:
    """Return the open W&B run of this process, if any, without importing wandb."""
    return getattr(sys.modules.get("wandb"), "run", None)


def get_weak_refs(*objects: Any) -> list[weakref.ref[Any]]:
    """Return weak references to models and optimizers, and to a parameter of each model, which may live longer."""
    parameters = [next(item.parameters(), None) for item in objects if hasattr(item, "parameters")]
    return [weakref.ref(item) for item in (*objects, *parameters) if item is not None]


def release_memory(references: list[weakref.ref[Any]]) -> None:
    """Release the memory of these objects to the system, and clear the list.

    Objects that are still alive are in reference cycles, which the garbage collector frees. glibc keeps freed memory
    between other objects, where the next model may not fit, unless it is told to return it.
    """
    if any(reference() is not None for reference in references):
        gc.collect()  # only if needed: it takes as long as a small trial
    if references:
        _malloc_trim()(0)
    references.clear()


@cache
def _malloc_trim() -> Callable[[int], Any]:
    """Return `malloc_trim` of the C library, or a function that does nothing if it is missing."""
    library = None if os.name == "nt" else ctypes.CDLL(None)
    return getattr(library, "malloc_trim", lambda pad: None)


_MAX_FROZEN_AT_START = 1_000
"""How many objects may be frozen that the user has not frozen: Python 3.12 starts with some hundreds."""


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Exclude existing objects from garbage collections within the block.

    A Trainer collects garbage several times in each training. Scanning the objects of all imported packages takes
    several times as long as the rest of a small trial. If the user has already frozen objects, nothing is changed.
    """
    if gc.get_freeze_count() > _MAX_FROZEN_AT_START:
        yield
        return
    gc.collect()  # so that existing garbage is not frozen
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
