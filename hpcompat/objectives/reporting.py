"""The reporting integrations of a Trainer: each trial logs to its own run, which ends with the trial."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from types import ModuleType

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hpcompat.objectives.training_arguments import has_field
from hpcompat.objectives.trial_context import TrialContext, active_wandb_run


def reports_to_wandb(trainer: Trainer) -> bool:
    """Return whether transformers' WandbCallback is among the callbacks."""
    return any(_is_wandb_callback(callback) for callback in trainer.callback_handler.callbacks)


@contextmanager
def separate_wandb_run(trainer: Trainer, outer_wandb_run: object) -> Iterator[None]:
    """Let transformers' WandbCallback open a run for the training within the block, and finish it afterwards.

    In a search the callback would finish the run that is open, and leave its own run open for the next training
    (transformers issue 11944).

    Args:
        trainer: The Trainer that trains within the block.
        outer_wandb_run: The user's run that is open before the trial, if any; it is open again after the block.
    """
    if not reports_to_wandb(trainer):
        yield
        return
    import wandb

    from hpcompat.compat.wandb import hide_active_runs

    exit_code = 1
    is_users_run = outer_wandb_run is not None and wandb.run is outer_wandb_run
    with _without_run_id(wandb), hide_active_runs() if is_users_run else nullcontext():
        try:
            yield
            exit_code = 0
        finally:
            # a run of the W&B backend ignores this, see `keep_open`
            wandb.finish(exit_code=exit_code)


@contextmanager
def _without_run_id(wandb: ModuleType) -> Iterator[None]:
    """Suspend WANDB_RUN_ID and WANDB_RESUME within the block, with which all trials would share a run."""
    settings = wandb.setup().settings  # wandb reads its environment only once
    names = ("run_id", "resume")
    before = {name: getattr(settings, name) for name in names}
    variables = {name: os.environ.pop(name) for name in ("WANDB_RUN_ID", "WANDB_RESUME") if name in os.environ}
    for name in names:
        setattr(settings, name, None)
    try:
        yield
    finally:
        os.environ.update(variables)
        for name in names:
            setattr(settings, name, before[name])


def log_extra_params(trainer: Trainer, params: Mapping[str, object]) -> None:
    """Add the params that are not TrainingArguments to the config of the W&B run; the callback logs the others."""
    run = active_wandb_run()
    extra = {name: value for name, value in params.items() if not has_field(trainer.args, name)}
    if run is not None and extra and trainer.is_world_process_zero():
        run.config.update(extra, allow_val_change=True)


def close_integrations(trainer: Trainer) -> None:
    """Call `on_train_end` of the integrations after a training that raised, or an evaluation after the training.

    Otherwise TensorBoard's writer would stay open, and the next trial would log to the MLflow run of this one.
    """
    for callback in trainer.callback_handler.callbacks:
        if _integration_names(callback) and not _is_wandb_callback(callback):
            with suppress(Exception):
                callback.on_train_end(trainer.args, trainer.state, trainer.control, model=trainer.model)


def _integration_names(callback: TrainerCallback) -> list[str]:
    """Return the names of the integration classes of transformers that a callback is an instance of."""
    return [cls.__name__ for cls in type(callback).__mro__ if cls.__module__.startswith("transformers.integrations")]


def _is_wandb_callback(callback: TrainerCallback) -> bool:
    return "WandbCallback" in _integration_names(callback)


class TrialInfoCallback(TrainerCallback):
    """Sets the trial's name and params for the reporting integrations, and reports each step to the search."""

    def __init__(self, context: TrialContext) -> None:
        self.context = context

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if not args.auto_find_batch_size and state.train_batch_size != args.train_batch_size:
            raise RuntimeError("this version of transformers does not take the trial's batch size")
        state.is_hyper_param_search = True
        state.trial_name = self.context.run_id
        state.trial_params = self.context.params

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        self.context.suggestion.on_step()

    on_prediction_step = on_step_end


class ParamsLoggingCallback(TrainerCallback):
    """Calls `log_extra_params` when a training starts; it must come after WandbCallback."""

    def __init__(self, trainer: Trainer, get_params: Callable[[], Mapping[str, object]]) -> None:
        self.trainer = trainer
        self.get_params = get_params

    def on_train_begin(self, *args: object, **kwargs: object) -> None:
        log_extra_params(self.trainer, self.get_params())
