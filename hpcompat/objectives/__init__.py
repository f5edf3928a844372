"""What one trial does: trains a Trainer, or calls a function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hpcompat.objectives.metrics import Values
from hpcompat.objectives.model import collect, references
from hpcompat.objectives.trainer import made_trainer
from hpcompat.objectives.trial_context import Attempt, Setting, conduct
from hpcompat.objectives.trial_view import TrialView
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.run_dirs import writable
from hpcompat.trials.trial import Trial


def is_trainer(thing: Any) -> bool:
    """Whether this is a transformers Trainer; asked without loading transformers."""
    module = sys.modules.get("transformers.trainer")
    return module is not None and isinstance(thing, module.Trainer)


@contextmanager
def function_objective(function: Callable[[TrialView], Any], setting: Setting) -> Iterator[Evaluate]:
    """The evaluation of trials by a function that returns numbers, metrics, or a Trainer to train."""
    if setting.output_dir:
        writable(setting.output_dir)
    alive: list[Any] = []

    def body(attempt: Attempt) -> Values | None:
        outcome = function(attempt.view)
        if is_trainer(outcome):
            try:
                return made_trainer(outcome, attempt)
            finally:
                alive.extend(references(outcome.model, outcome.optimizer))
        if attempt.view.told_to_stop:  # what it returns may be half a result, which has no score
            return None
        if outcome is None:
            raise TypeError("the function returned None, and no number, list of numbers, or metrics")
        return attempt.score(outcome)

    def evaluate(suggestion: Suggestion) -> Trial:
        trial = conduct(Attempt(suggestion, setting), body)
        collect(alive)
        return trial

    yield evaluate
