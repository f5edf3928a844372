"""Code that depends on the internals of transformers' Trainer: private names, and copies of steps of its constructor.

It was written for transformers 5.23: `Trainer.__init__` in src/transformers/trainer.py (its steps 5, 6, 7 and 10), and
`TrainingArguments._n_gpu` in src/transformers/training_args.py. Check it first for a new version of transformers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcompat.compat.transformers import given_use_cache
from hpcompat.objectives.training_arguments import apply_params
from hpcompat.objectives.trial_view import TrialView
from hpcompat.trials.config import Suggestion

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_pt_utils import LabelSmoother

_MODEL_ATTRIBUTES = frozenset({"model", "model_wrapped", "optimizer", "lr_scheduler", "deepspeed"})
_HANDLER_ATTRIBUTES = frozenset({"model", "optimizer", "lr_scheduler", "train_dataloader", "eval_dataloader"})
_UNPICKLABLE_ATTRIBUTES = frozenset({"accelerator", "gather_function", "_memory_tracker"})


def apply_to_trainer(trainer: Trainer, params: Mapping[str, object]) -> None:
    """Apply params to the arguments of a Trainer, and update everything that its constructor derives from them."""
    n_gpu = trainer.args.n_gpu
    trainer.args = apply_params(trainer.args, params)
    if trainer.is_model_parallel:
        trainer.args._n_gpu = n_gpu  # as the constructor: the model is split over the GPUs
    trainer.neftune_noise_alpha = trainer.args.neftune_noise_alpha
    # train() uses this batch size, and TrialInfoCallback checks that
    trainer._train_batch_size = trainer.args.train_batch_size
    trainer.create_accelerator_and_postprocess()


def restore_accelerator(trainer: Trainer) -> None:
    """Restore accelerate's global state for the arguments of the Trainer."""
    apply_params(trainer.args, {})
    trainer.create_accelerator_and_postprocess()


def build_model(trainer: Trainer) -> Any:
    """Create the initial model of a Trainer, as its constructor does."""
    from transformers.trainer_utils import enable_full_determinism, set_seed

    if trainer.args.full_determinism:
        enable_full_determinism(trainer.args.seed)
    else:
        set_seed(trainer.args.seed)
    model: Any = trainer.call_model_init()
    is_quantized = getattr(model, "quantization_method", None) is not None
    if trainer.place_model_on_device and not is_quantized and getattr(model, "hf_device_map", None) is None:
        model = model.to(trainer.args.device)
    if getattr(model, "config", None) is not None and (use_cache := given_use_cache(trainer.args)) is not None:
        model.config.use_cache = use_cache
    return model


def make_label_smoother(args: TrainingArguments, model: object) -> LabelSmoother | None:
    """Return the label smoother that the constructor creates for label_smoothing_factor."""
    from transformers.trainer_pt_utils import LabelSmoother

    problem_type = getattr(getattr(model, "config", None), "problem_type", None)
    if args.label_smoothing_factor == 0 or problem_type == "multi_label_classification":
        return None
    return LabelSmoother(epsilon=args.label_smoothing_factor)


def drop_model(trainer: Trainer) -> None:
    """Remove the model from a Trainer, and everything that refers to it."""
    handler = trainer.callback_handler
    for owner, names in ((trainer, _MODEL_ATTRIBUTES), (handler, _HANDLER_ATTRIBUTES)):
        vars(owner).update(dict.fromkeys(names & vars(owner).keys()))


def get_picklable_state(trainer: Trainer) -> dict[str, object]:
    """Return the attributes of a Trainer, without those that hold weak references after a training."""
    return {name: value for name, value in vars(trainer).items() if name not in _UNPICKLABLE_ATTRIBUTES}


def set_picklable_state(trainer: Trainer, state: dict[str, object]) -> None:
    """Set the attributes from `get_picklable_state` on a Trainer, and create the others again."""
    from transformers import trainer_utils

    memory_tracker: Any = trainer_utils.TrainerMemoryTracker
    vars(trainer).update(state)
    trainer.args = apply_params(trainer.args, {})  # for the devices of this machine
    trainer._memory_tracker = memory_tracker(trainer.args.skip_memory_metrics)
    trainer.create_accelerator_and_postprocess()


ModelInit = Callable[..., Any]
"""A model_init: a function of the trial, or without arguments."""


def takes_trial(model_init: ModelInit) -> bool:
    """Return whether model_init takes the trial as an argument; arguments bound by `partial` are not counted.

    >>> takes_trial(lambda: None), takes_trial(lambda trial: None), takes_trial(partial(pow, 2))
    (False, True, True)
    """
    if isinstance(model_init, partial):  # as in transformers
        n_parameters = len(inspect.signature(model_init.func).parameters)
        return n_parameters - len(model_init.args) - len(model_init.keywords) > 0
    return bool(inspect.signature(model_init).parameters)


def call_model_init(model_init: ModelInit, view: TrialView) -> Any:
    """Call model_init, with the trial if it takes it."""
    return model_init(view) if takes_trial(model_init) else model_init()


def call_with_params(model_init: ModelInit, params: Mapping[str, object]) -> object:
    """Call model_init with a new trial that has these params."""
    return call_model_init(model_init, TrialView(Suggestion(0, dict(params))))


def bind_params(model_init: ModelInit, params: Mapping[str, object]) -> ModelInit:
    """Return a model_init without arguments that creates the model for these params."""
    return partial(call_with_params, unwrap_model_init(model_init), dict(params))


def unwrap_model_init(model_init: ModelInit) -> ModelInit:
    """Return the original model_init of `bind_params`; return any other one unchanged."""
    if isinstance(model_init, partial) and model_init.func is call_with_params:
        return model_init.args[0]  # type: ignore[no-any-return]
    return model_init
