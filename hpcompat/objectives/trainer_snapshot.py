"""A Trainer as it was given: set aside before a search, where every trial starts, brought back after it."""

from __future__ import annotations

import os
import tempfile
import warnings
import weakref
from dataclasses import dataclass
from typing import Any

from hpcompat.objectives.model import free, initialised
from hpcompat.objectives.training_arguments import applied


@dataclass
class Given:
    """A Trainer's state without its model: no two models should be alive at a time."""

    attributes: dict[str, Any]
    handler: dict[str, Any]
    callbacks: list[tuple[Any, dict[str, Any]]]
    model: weakref.ref[Any] | None
    weights: str | None


def set_aside(trainer: Any, root: str) -> Given:
    """Remember the Trainer and take its model from it.

    A model that was trained has its weights put into a file under `root` until `bring_back`.
    """
    model, weights = None, None
    if trainer.model is not None:
        model = weakref.ref(trainer.model)
        if trainer.state.global_step > 0:
            import torch

            descriptor, weights = tempfile.mkstemp(".pt", ".given-", root)  # never a file, or a link, that is there
            with open(descriptor, "wb") as file:
                torch.save(trainer.model.state_dict(), file)
    free(trainer)
    trainer.accelerator.free_memory()  # which collects garbage too
    handler = trainer.callback_handler
    return Given(
        attributes=dict(vars(trainer)),
        handler={**vars(handler), "callbacks": tuple(handler.callbacks)},
        callbacks=[(callback, _state_of(callback)) for callback in handler.callbacks],
        model=model,
        weights=weights,
    )


def _state_of(callback: Any) -> dict[str, Any]:
    """What a trial may change on a callback and the next must not inherit.

    transformers' own callbacks remember the run they are in; other callbacks may say what their state is, and
    their scalar attributes are reset in any case, see `shared_state`.
    """
    if type(callback).__module__.startswith("transformers."):
        return dict(vars(callback))
    state = getattr(callback, "state", None)
    return dict(state().get("attributes", {})) if callable(state) else {}


def reset(trainer: Any, given: Given) -> None:
    """The Trainer as given, without a model."""
    handler = given.attributes["callback_handler"]
    for holder, state in ((trainer, given.attributes), (handler, given.handler)):
        vars(holder).clear()
        vars(holder).update(state)
    handler.callbacks = list(given.handler["callbacks"])
    for callback, state in given.callbacks:
        vars(callback).update(state)


def bring_back(trainer: Any, given: Given) -> None:
    """The Trainer as given, its model included.

    If the model is still in someone's hands it is that one; else `model_init` makes it again under the
    Trainer's seed, and it gets its trained weights back. An optimizer of earlier training is not
    brought back: `train()` makes a new one in any case.
    """
    reset(trainer, given)
    applied(trainer.args, {})  # accelerate's state is global: this sets it up for the given arguments again
    trainer.create_accelerator_and_postprocess()
    model = given.model() if given.model else None
    try:
        if model is None:
            model = initialised(trainer)
            if given.weights:
                import torch

                model.load_state_dict(torch.load(given.weights, map_location="cpu", weights_only=True))
    except Exception as error:  # the search's result must not be lost with it
        warnings.warn(f"the Trainer is left without a model, for model_init raised {error!r}", stacklevel=2)
        model = None
    finally:
        if given.weights:
            os.remove(given.weights)
    trainer.model = trainer.model_wrapped = trainer.callback_handler.model = model
