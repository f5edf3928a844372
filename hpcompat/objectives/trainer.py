"""The objective of a transformers Trainer.

Each trial starts from the state of the Trainer before the search, with fresh arguments, a fresh accelerator and a model
that `model_init` creates under the seed of the trial. `train()` is called without transformers' own support for trials,
which would need a search package.

This module and `reporting` import transformers, so they are only imported for a Trainer.
"""

from __future__ import annotations

import copy
import os
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from transformers import PreTrainedModel, Trainer, TrainerCallback

from hpcompat.compat.transformers import set_output_dir
from hpcompat.errors import Issue, SearchError
from hpcompat.objectives.objective import AmbiguousObjectiveError, Objective, Values, candidate_issues, numeric_metrics
from hpcompat.objectives.reporting import (
    ParamsLoggingCallback,
    TrialInfoCallback,
    close_integrations,
    reports_to_wandb,
    separate_wandb_run,
)
from hpcompat.objectives.trainer_internals import apply_to_trainer, bind_params, call_model_init, make_label_smoother
from hpcompat.objectives.trainer_snapshot import SharedState, TrainerSnapshot
from hpcompat.objectives.trainer_validation import (
    find_unused_fields,
    find_unused_param_issues,
    get_candidate_metrics,
    get_objective_metric,
    validate_trainer,
)
from hpcompat.objectives.training_arguments import apply_params, has_field, suggest_field
from hpcompat.objectives.trial_context import TrialContext, frozen_gc, get_weak_refs, release_memory, run_trial
from hpcompat.trials.config import Evaluate, SearchConfig, Suggestion
from hpcompat.trials.files import ensure_writable
from hpcompat.trials.process import exclusive_use
from hpcompat.trials.run_dirs import last_checkpoint
from hpcompat.trials.trial import Trial

# their output would hide the lines of the search
_CONSOLE_CALLBACKS = ("ProgressCallback", "PrinterCallback", "NotebookProgressCallback")


class TrainerObjective(Objective):
    """Trains a Trainer that was made with model_init, and restores it after the search.

    A process can run one such search at a time, because accelerate's state and torch's generators are global.
    """

    @contextmanager
    def _open(self) -> Iterator[Evaluate]:
        trainer: Trainer = self.source
        with exclusive_use("a Trainer", "accelerate and torch keep one state for all of a process"):
            _require_replaceable_args(trainer)
            snapshot = TrainerSnapshot.take(trainer, ensure_writable(self.output_dir or self.default_output_dir))
            try:
                with frozen_gc():
                    yield _TrainerEvaluator(trainer, self, snapshot)
            finally:
                snapshot.restore(trainer)

    @property
    def default_metric(self) -> str | None:
        return get_objective_metric(self.source)

    @property
    def default_output_dir(self) -> str:
        return str(self.source.args.output_dir)

    @property
    def evaluates_while_training(self) -> bool:
        return bool(self.source.args.eval_strategy != "no")

    @property
    def uses_gpu(self) -> bool:
        return not self.source.args.use_cpu

    def find_issues(self, config: SearchConfig) -> Iterator[Issue]:
        return validate_trainer(self.source, config, self.compute_objective)

    def describe_unread(self, names: Sequence[str]) -> list[str]:
        """Describe each param with a similar field; leave out params that were named in an earlier warning."""
        warned = {issue.path for issue in find_unused_param_issues(self.source, self.space)}
        args = self.source.args
        hints = {name: suggest_field(args, name) for name in names if not has_field(args, name)}
        return [f"{name!r} ({hints[name]})" if hints.get(name) else repr(name) for name in names if name not in warned]


class _TrainerEvaluator:
    def __init__(self, trainer: Trainer, objective: TrainerObjective, snapshot: TrainerSnapshot) -> None:
        self.trainer = trainer
        self.objective = objective
        self.snapshot = snapshot
        self.model_init = trainer.model_init
        self.unused_fields = find_unused_fields(trainer, objective.space)
        self.args = trainer.args
        self.memory_refs: list[weakref.ref[Any]] = []

    def __call__(self, suggestion: Suggestion) -> Trial:
        # taken for each trial, because user code may change the state between trials
        state = SharedState(self.trainer)
        carried: tuple[str, ...] = ()
        context = TrialContext(suggestion, self.objective, self._is_applied)
        try:
            trial = run_trial(context, self._train)
        finally:
            self.memory_refs.extend(get_weak_refs(self.trainer.optimizer))
            self.snapshot.reset(self.trainer)
            carried = state.restore()
            release_memory(self.memory_refs)
        return replace(trial, carried=carried)

    def _is_applied(self, name: str) -> bool:
        return has_field(self.args, name) and name not in self.unused_fields

    def _train(self, context: TrialContext) -> Values | None:
        trainer = self.trainer
        trainer.control = copy.copy(trainer.control)
        apply_to_trainer(trainer, context.params)
        context.suggestion.on_ddp_timeout(trainer.args.ddp_timeout)
        trainer.model_init = lambda: self._init_model(context)
        return run_training(trainer, context)

    def _init_model(self, context: TrialContext) -> PreTrainedModel:
        trainer = self.trainer
        model: PreTrainedModel = call_model_init(self.model_init, context.view)
        # not before: hp_name may use what model_init has suggested
        set_output_dir(trainer.args, context.create_run_dir(str(trainer.args.output_dir)))
        trainer.label_smoother = make_label_smoother(trainer.args, model)
        self.memory_refs.extend(get_weak_refs(model))
        context.suggestion.on_ready()
        return model


def _require_replaceable_args(trainer: Trainer) -> None:
    try:
        apply_params(trainer.args, {})
    except Exception as error:
        trainer.create_accelerator_and_postprocess()
        message = f"{type(trainer.args).__name__} cannot be copied with dataclasses.replace: {error}"
        raise SearchError(message, [Issue("", "pass a function trial -> Trainer instead")]) from error


def evaluate_trainer(trainer: Trainer, context: TrialContext) -> Values | None:
    """Train the Trainer that a function has created for a trial; return its values, or None if it was pruned."""
    names = get_candidate_metrics(trainer) or ()
    if context.objective.compute_objective is None and len(names) > 1:
        raise AmbiguousObjectiveError("which metric is the objective?", candidate_issues(names))
    args = copy.copy(trainer.args)  # the function may use the same arguments in every trial
    set_output_dir(args, context.create_run_dir(str(args.output_dir)))
    trainer.args = args
    context.suggestion.on_ddp_timeout(args.ddp_timeout)
    model_init = trainer.model_init

    def init_model() -> PreTrainedModel:
        model: PreTrainedModel = call_model_init(model_init, context.view)
        context.suggestion.on_ready()
        return model

    if model_init is None:
        context.suggestion.on_ready()
    else:
        trainer.model_init = init_model
    return run_training(trainer, context)


def configure_for_params(trainer: Any, params: Mapping[str, object]) -> None:
    """Prepare a Trainer for a training with these params."""
    apply_to_trainer(trainer, params)
    trainer.label_smoother = make_label_smoother(trainer.args, trainer.model)
    if trainer.model_init is not None:
        trainer.model_init = bind_params(trainer.model_init, params)
    callbacks = [item for item in trainer.callback_handler.callbacks if not isinstance(item, ParamsLoggingCallback)]
    if reports_to_wandb(trainer):
        callbacks.append(ParamsLoggingCallback(trainer, lambda: params))
    trainer.callback_handler.callbacks = callbacks


def run_training(trainer: Trainer, context: TrialContext) -> Values | None:
    """Train a Trainer that is prepared for the trial; return its values, or None if it was pruned."""
    recorder = EvaluationRecorder(trainer, context, get_objective_metric(trainer))
    trainer.evaluate = recorder.wrap(trainer.evaluate)  # type: ignore[method-assign]
    trainer.callback_handler.callbacks = _trial_callbacks(trainer, context)
    try:
        with separate_wandb_run(trainer, context.outer_wandb_run):
            are_integrations_open = True  # the Trainer closes them at its end
            try:
                trainer.train()
                is_pruned = context.view.prune_requested
                # an evaluation at step 0 comes before the training
                are_integrations_open = not is_pruned and not any(recorder.evaluations)
                if are_integrations_open:
                    trainer.evaluate()
            finally:
                if are_integrations_open:
                    close_integrations(trainer)
            return None if is_pruned else recorder.final_values()
    finally:
        if context.directory:
            context.checkpoint = _best_checkpoint(trainer) or last_checkpoint(context.directory)


def _trial_callbacks(trainer: Trainer, context: TrialContext) -> list[TrainerCallback]:
    """Return the callbacks of the Trainer and of the search, without those that print."""
    callbacks = [
        item
        for item in trainer.callback_handler.callbacks
        if not isinstance(item, ParamsLoggingCallback) and type(item).__name__ not in _CONSOLE_CALLBACKS
    ]
    logging = [ParamsLoggingCallback(trainer, context.view.snapshot)] if reports_to_wandb(trainer) else []
    return [TrialInfoCallback(context), *callbacks, *logging]


class Evaluation(NamedTuple):
    """An evaluation: its metrics, and its values or None if it is not known which metric is the objective."""

    values: Values | None
    metrics: dict[str, float]


@dataclass
class EvaluationRecorder:
    """Records the evaluations of a running Trainer, and asks the pruner after each.

    `metric`: the objective without a compute_objective. `evaluations`: the evaluations by step.
    """

    trainer: Trainer
    context: TrialContext
    metric: str | None = None
    evaluations: dict[int, Evaluation] = field(default_factory=dict)

    def wrap(self, evaluate: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `trainer.evaluate` to record its outermost calls on the evaluation data.

        An on_evaluate callback would see several evaluation sets separately, and miss metrics that a subclass adds.
        """
        depth = 0

        def evaluate_and_record(*args: object, **kwargs: object) -> object:
            nonlocal depth
            depth += 1
            try:
                metrics = evaluate(*args, **kwargs)
            finally:
                depth -= 1
            is_evaluation_data = not args and kwargs.get("eval_dataset") is None
            if is_evaluation_data and depth == 0 and kwargs.get("metric_key_prefix", "eval") == "eval":
                self.record(metrics)
            return metrics

        return evaluate_and_record

    def record(self, metrics: dict[str, float]) -> None:
        """Record an evaluation; during training also ask the pruner whether to stop the Trainer."""
        step, context = self.trainer.state.global_step, self.context
        context.metrics = numeric_metrics(metrics)
        try:
            values = context.objective.score(metrics, self.metric)
        except AmbiguousObjectiveError:  # the trained model is kept, and can be scored later
            self.evaluations[step] = Evaluation(None, context.metrics)
            return
        self.evaluations[step] = Evaluation(values, context.metrics)
        if self.trainer.is_in_train and len(values) == 1:
            context.view.report(values[0], step)
            if context.view.should_prune():
                # raising would leave the Trainer in the middle of its loop, on one rank of several
                self.trainer.control.should_training_stop = True
                self.trainer.control.should_save = False

    def final_values(self) -> Values:
        """Return the values of the model that the Trainer ends with.

        Raises:
            AmbiguousObjectiveError: Several metrics may be the objective.
        """
        best = re.search(r"checkpoint-(\d+)$", _best_checkpoint(self.trainer) or "")
        step = int(best[1]) if best and int(best[1]) in self.evaluations else max(self.evaluations)
        values, self.context.metrics = self.evaluations[step]
        return self.context.objective.score(self.context.metrics, self.metric) if values is None else values


def _best_checkpoint(trainer: Trainer) -> str | None:
    """Return the checkpoint of this run that the Trainer loads at the end, if any."""
    best = trainer.state.best_model_checkpoint
    if not trainer.args.load_best_model_at_end or best is None:
        return None
    return best if os.path.dirname(best) == trainer.args.output_dir and os.path.isdir(best) else None
