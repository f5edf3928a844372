"""The reporting integrations of a Trainer: each trial logs into a run of its own, and that ends with the trial."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from hpcompat.objectives.training_arguments import takes


def open_wandb_run() -> Any:
    """The run of W&B that is open in this process, if any; asked without loading wandb."""
    return getattr(sys.modules.get("wandb"), "run", None)


def reports_to_wandb(trainer: Any) -> bool:
    """Whether transformers' WandbCallback is among the callbacks."""
    return any(_is_wandb(callback) for callback in trainer.callback_handler.callbacks)


@contextmanager
def trial_run(trainer: Any, run_before: Any) -> Iterator[None]:
    """Let transformers' WandbCallback open a run for the training inside the block, and finish it afterwards.

    By itself the callback finishes the run that it finds when a search is on, and leaves its own open for the next
    training to log into (transformers issue 11944). `run_before`: the run that was open before the trial; it is open
    again after the block.
    """
    if not reports_to_wandb(trainer):
        yield
        return
    import wandb

    exit_code = 1
    with _own_id(wandb), _set_aside(wandb) if run_before is not None and wandb.run is run_before else _nothing():
        try:
            yield
            exit_code = 0
        finally:
            # a run that the W&B backend has opened for the trial stays open: there finish does nothing
            wandb.finish(exit_code=exit_code)


@contextmanager
def _own_id(wandb: Any) -> Iterator[None]:
    """Meanwhile WANDB_RUN_ID, which would make one run of all trials, and WANDB_RESUME do not hold."""
    settings = wandb.setup().settings  # wandb has read its environment once, and never will again
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
def _set_aside(wandb: Any) -> Iterator[None]:
    """Meanwhile wandb knows of no open run; afterwards of the same ones as before."""
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


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def log_params(trainer: Any, params: Mapping[str, Any]) -> None:
    """Put the params that are not TrainingArguments, which the callback logs itself, into the config of W&B's run."""
    run = open_wandb_run()
    own = {name: value for name, value in params.items() if not takes(trainer.args, name)}
    if run is not None and own and trainer.is_world_process_zero():
        run.config.update(own, allow_val_change=True)


def close_reports(trainer: Any) -> None:
    """End what the integrations have open: a training that raised has not told them of its end.

    TensorBoard's writer would stay open, and the next trial would go on with the MLflow run of this one. An evaluation
    after the training opens a writer too.
    """
    for callback in trainer.callback_handler.callbacks:
        if _integrations(callback) and not _is_wandb(callback):
            with suppress(Exception):
                callback.on_train_end(trainer.args, trainer.state, trainer.control, model=trainer.model)


def _integrations(callback: Any) -> list[str]:
    """The names of transformers' integrations that the callback is an instance of."""
    return [kind.__name__ for kind in type(callback).__mro__ if kind.__module__.startswith("transformers.integrations")]


def _is_wandb(callback: Any) -> bool:
    return "WandbCallback" in _integrations(callback)
