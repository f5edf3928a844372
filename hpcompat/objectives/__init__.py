"""Objectives: what one trial does, which is to train a Trainer or to call a function."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hpcompat.compat import require_versions
from hpcompat.errors import Issue
from hpcompat.objectives.objective import Objective, Values, is_trainer
from hpcompat.objectives.trial_context import TrialContext, get_weak_refs, release_memory, run_trial
from hpcompat.trials.config import Evaluate, SearchConfig, Suggestion
from hpcompat.trials.files import ensure_writable
from hpcompat.trials.trial import Trial


class FunctionObjective(Objective):
    """The objective of a function, which is called with the trial."""

    @contextmanager
    def _open(self) -> Iterator[Evaluate]:
        if self.output_dir:
            ensure_writable(self.output_dir)
        models: list[weakref.ref[Any]] = []

        def call(context: TrialContext) -> Values | None:
            outcome = self.source(context.view)
            if is_trainer(outcome):
                from hpcompat.objectives.trainer import evaluate_trainer

                try:
                    return evaluate_trainer(outcome, context)
                finally:
                    models.extend(get_weak_refs(outcome.model, outcome.optimizer))
            if context.view.prune_requested:  # its return value may be incomplete
                return None
            if outcome is None:
                raise TypeError("the function returned None; return a number, a list of numbers, or metrics")
            return context.score(outcome)

        def evaluate(suggestion: Suggestion) -> Trial:
            trial = run_trial(TrialContext(suggestion, self), call)
            release_memory(models)
            return trial

        yield evaluate

    def find_issues(self, config: SearchConfig) -> Iterator[Issue]:
        if not callable(self.source):
            expected = "expected a transformers Trainer, or a function of a trial"
            yield Issue("trainer", f"{expected}, got {type(self.source).__name__}")


def create_objective(source: Any, **settings: Any) -> Objective:
    """Return the objective of a Trainer or a function. `settings` are the fields of `Objective`."""
    if not is_trainer(source):
        return FunctionObjective(source, **settings)
    require_versions("transformers")
    from hpcompat.objectives.trainer import TrainerObjective  # which imports transformers

    return TrainerObjective(source, **settings)
