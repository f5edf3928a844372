"""A Trainer's model: made by model_init for a trial, and let go of when the trial is over."""

from __future__ import annotations

import ctypes
import gc
import inspect
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from hpcompat.objectives.trial_view import TrialView
from hpcompat.trials.config import Suggestion

_HOLDS = frozenset({"model", "model_wrapped", "optimizer", "lr_scheduler", "deepspeed"})
_HANDLER_HOLDS = frozenset({"model", "optimizer", "lr_scheduler", "train_dataloader", "eval_dataloader"})


def takes_argument(model_init: Callable[..., Any]) -> bool:
    """Whether model_init takes the trial: it has one argument, bound ones not counted.

    >>> takes_argument(lambda: None), takes_argument(lambda trial: None), takes_argument(partial(pow, 2))
    (False, True, True)
    """
    if isinstance(model_init, partial):  # as transformers counts
        whole = len(inspect.signature(model_init.func).parameters)
        return whole - len(model_init.args) - len(model_init.keywords) > 0
    return bool(inspect.signature(model_init).parameters)


def made(model_init: Callable[..., Any], view: TrialView) -> Any:
    """The trial's model."""
    return model_init(view) if takes_argument(model_init) else model_init()


def remade(model_init: Callable[..., Any], params: Mapping[str, Any]) -> Any:
    """The model of a trial that had these params; each call has a trial of its own, with nothing set yet."""
    return made(model_init, TrialView(Suggestion(0, dict(params))))


def unbound(model_init: Callable[..., Any]) -> Callable[..., Any]:
    """The model_init behind one that `with_params` has bound to its params."""
    bound = isinstance(model_init, partial) and model_init.func is remade
    return model_init.args[0] if bound else model_init  # type: ignore[attr-defined]


def initialised(trainer: Any) -> Any:
    """The model that a Trainer starts with, as its own constructor makes it."""
    from transformers.trainer_utils import enable_full_determinism, set_seed

    (enable_full_determinism if trainer.args.full_determinism else set_seed)(trainer.args.seed)
    model = trainer.call_model_init()
    quantised = getattr(model, "quantization_method", None) is not None
    if trainer.place_model_on_device and not quantised and getattr(model, "hf_device_map", None) is None:
        model = model.to(trainer.args.device)
    if getattr(model, "config", None) is not None:
        model.config.use_cache = trainer.args.use_cache
    return model


def label_smoother(args: Any, model: Any) -> Any:
    """What the Trainer's constructor makes of label_smoothing_factor."""
    from transformers.trainer_pt_utils import LabelSmoother

    problem = getattr(getattr(model, "config", None), "problem_type", None)
    if args.label_smoothing_factor == 0 or problem == "multi_label_classification":
        return None
    return LabelSmoother(epsilon=args.label_smoothing_factor)


def references(*things: Any) -> list[weakref.ref[Any]]:
    """Weak references to models and optimizers, and to a parameter of each model: it may outlive it."""
    parameters = [next(thing.parameters(), None) for thing in things if hasattr(thing, "parameters")]
    return [weakref.ref(thing) for thing in (*things, *parameters) if thing is not None]


def collect(references: list[weakref.ref[Any]]) -> None:
    """Empty the list; what it refers to and is still alive is in reference cycles, which are broken up.

    The memory goes back to the system. By itself glibc keeps what lies between things that stay, and the next
    model may not fit into it.
    """
    if any(reference() is not None for reference in references):
        gc.collect()  # not every time: it costs as much as a small trial
    if references:
        _malloc_trim()(0)
    references.clear()


@cache
def _malloc_trim() -> Callable[[int], Any]:
    """That of the C library, if it has one."""
    library = None if os.name == "nt" else ctypes.CDLL(None)
    return getattr(library, "malloc_trim", lambda pad: None)


@contextmanager
def at_rest() -> Iterator[None]:
    """Meanwhile what is there already is left out of the garbage collections.

    A Trainer asks for some in every training. Each goes through all objects of all packages that are loaded,
    which takes several times as long as the rest of a small trial. If someone has frozen objects before, they
    know what they do.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()  # else what is garbage by now would stay as long
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def free(trainer: Any) -> None:
    """Let go of the model and everything that holds it."""
    for holder, names in ((trainer, _HOLDS), (trainer.callback_handler, _HANDLER_HOLDS)):
        vars(holder).update(dict.fromkeys(names & vars(holder).keys()))
