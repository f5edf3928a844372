"""The reporting integrations of a Trainer: each trial logs into a run of its own, which ends with the trial."""

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
def separate_wandb_run(trainer: Trainer, run_before: object) -> Iterator[None]:
    """Let transformers' WandbCallback open a run for the training inside the block, and finish it afterwards.

    By itself the callback finishes the run that it finds when a search is on, and leaves its own open for the next
    training to log into (transformers issue 11944).

    Args:
        trainer: the one that trains inside the block.
        run_before: the run that was open before the trial, if any; it is open again after the block.
    """
    if not reports_to_wandb(trainer):
        yield
        return
    import wandb

    exit_code = 1
    is_users_run = run_before is not None and wandb.run is run_before
    with _without_run_id(wandb), _hide_active_runs(wandb) if is_users_run else nullcontext():
        try:
            yield
            exit_code = 0
        finally:
            # a run that the W&B backend has opened for the trial stays open: there finish does nothing
            wandb.finish(exit_code=exit_code)


@contextmanager
def _without_run_id(wandb: ModuleType) -> Iterator[None]:
    """Suspend WANDB_RUN_ID, which would make one run of all trials, and WANDB_RESUME."""
    settings = wandb.setup().settings  # wandb has read its environment once, and never reads it again
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


@contextmanager
def _hide_active_runs(wandb: ModuleType) -> Iterator[None]:
    """Hide the open runs from wandb inside the block; they are open again afterwards."""
    # private API of wandb 0.31: reinit="create_new", the public way to a second run, leaves wandb.run at the first
    from wandb.sdk.lib.module import unset_globals
    from wandb.sdk.wandb_init import _set_global_run

    library, current = wandb.setup(), wandb.run
    runs = []
    while (run := library.most_recent_active_run) is not None:
        library.remove_active_run(run)
        runs.append(run)
    unset_globals()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for run in reversed(runs):
            library.add_active_run(run)
        _set_global_run(current)


def log_extra_params(trainer: Trainer, params: Mapping[str, object]) -> None:
    """Put the params that are not TrainingArguments, which the callback logs itself, into the config of W&B's run."""
    run = active_wandb_run()
    extra = {name: value for name, value in params.items() if not has_field(trainer.args, name)}
    if run is not None and extra and trainer.is_world_process_zero():
        run.config.update(extra, allow_val_change=True)


def close_integrations(trainer: Trainer) -> None:
    """Close what the integrations have open: a training that raised has not announced its end to them.

    TensorBoard's writer would stay open, and the next trial would log into the MLflow run of this one. An evaluation
    after the training opens a writer too.
    """
    for callback in trainer.callback_handler.callbacks:
        if _integration_names(callback) and not _is_wandb_callback(callback):
            with suppress(Exception):
                callback.on_train_end(trainer.args, trainer.state, trainer.control, model=trainer.model)


def _integration_names(callback: TrainerCallback) -> list[str]:
    """Return the names of transformers' integrations that the callback is an instance of."""
    return [cls.__name__ for cls in type(callback).__mro__ if cls.__module__.startswith("transformers.integrations")]


def _is_wandb_callback(callback: TrainerCallback) -> bool:
    return "WandbCallback" in _integration_names(callback)


class TrialInfoCallback(TrainerCallback):
    """Tells the reporting integrations which trial this is, and the search of each step."""

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
    """Adds the params that are not TrainingArguments to the config of the W&B run; comes after WandbCallback."""

    def __init__(self, trainer: Trainer, get_params: Callable[[], Mapping[str, object]]) -> None:
        self.trainer = trainer
        self.get_params = get_params

    def on_train_begin(self, *args: object, **kwargs: object) -> None:
        log_extra_params(self.trainer, self.get_params())
