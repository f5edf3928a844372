"""What depends on the inside of transformers' Trainer: its private names, and what its constructor does.

Compared with transformers 5.23: `Trainer.__init__` in src/transformers/trainer.py (its steps 5, 6, 7 and 10), and
`TrainingArguments._n_gpu` in src/transformers/training_args.py. Look here first when a new version is out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

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
    """Apply the params to the arguments, and repeat what the constructor derives from them."""
    n_gpu = trainer.args.n_gpu
    trainer.args = apply_params(trainer.args, params)
    if trainer.is_model_parallel:
        trainer.args._n_gpu = n_gpu  # the constructor's: the model is spread over them, not copied
    trainer.neftune_noise_alpha = trainer.args.neftune_noise_alpha
    # train() takes the batch size from here, and TrialInfoCallback checks that it does
    trainer._train_batch_size = trainer.args.train_batch_size
    trainer.create_accelerator_and_postprocess()


def restore_accelerator(trainer: Trainer) -> None:
    """Set accelerate's state, which is the process's, up for the Trainer's arguments again."""
    apply_params(trainer.args, {})
    trainer.create_accelerator_and_postprocess()


def build_model(trainer: Trainer) -> Any:
    """Return the model that a Trainer starts with, made as its constructor makes it."""
    from transformers.trainer_utils import enable_full_determinism, set_seed

    if trainer.args.full_determinism:
        enable_full_determinism(trainer.args.seed)
    else:
        set_seed(trainer.args.seed)
    model: Any = trainer.call_model_init()
    is_quantized = getattr(model, "quantization_method", None) is not None
    if trainer.place_model_on_device and not is_quantized and getattr(model, "hf_device_map", None) is None:
        model = model.to(trainer.args.device)
    if getattr(model, "config", None) is not None:
        model.config.use_cache = trainer.args.use_cache
    return model


def make_label_smoother(args: TrainingArguments, model: object) -> LabelSmoother | None:
    """Return what the constructor makes of label_smoothing_factor."""
    from transformers.trainer_pt_utils import LabelSmoother

    problem_type = getattr(getattr(model, "config", None), "problem_type", None)
    if args.label_smoothing_factor == 0 or problem_type == "multi_label_classification":
        return None
    return LabelSmoother(epsilon=args.label_smoothing_factor)


def drop_model(trainer: Trainer) -> None:
    """Remove the model from the Trainer, with everything that holds it."""
    handler = trainer.callback_handler
    for owner, names in ((trainer, _MODEL_ATTRIBUTES), (handler, _HANDLER_ATTRIBUTES)):
        vars(owner).update(dict.fromkeys(names & vars(owner).keys()))


def picklable_state(trainer: Trainer) -> dict[str, object]:
    """Return the attributes of a Trainer without those that hold weak references, once it has trained."""
    return {name: value for name, value in vars(trainer).items() if name not in _UNPICKLABLE_ATTRIBUTES}


def set_state(trainer: Trainer, state: dict[str, object]) -> None:
    """Give a Trainer the state that `picklable_state` has returned, and make the other attributes again."""
    from transformers import trainer_utils

    memory_tracker: Any = trainer_utils.TrainerMemoryTracker
    vars(trainer).update(state)
    trainer.args = apply_params(trainer.args, {})  # the devices are those of this machine
    trainer._memory_tracker = memory_tracker(trainer.args.skip_memory_metrics)
    trainer.create_accelerator_and_postprocess()


ModelInit = Callable[..., Any]
"""What a Trainer takes as model_init: a function of the trial, or of nothing."""


def takes_trial(model_init: ModelInit) -> bool:
    """Return whether model_init takes the trial: it has one argument, bound ones not counted.

    >>> takes_trial(lambda: None), takes_trial(lambda trial: None), takes_trial(partial(pow, 2))
    (False, True, True)
    """
    if isinstance(model_init, partial):  # as transformers counts
        n_parameters = len(inspect.signature(model_init.func).parameters)
        return n_parameters - len(model_init.args) - len(model_init.keywords) > 0
    return bool(inspect.signature(model_init).parameters)


def call_model_init(model_init: ModelInit, view: TrialView) -> Any:
    """Return the model of a trial."""
    return model_init(view) if takes_trial(model_init) else model_init()


def call_with_params(model_init: ModelInit, params: Mapping[str, object]) -> object:
    """Return the model of a trial with these params; each call has a new trial, without attributes or constraints."""
    return call_model_init(model_init, TrialView(Suggestion(0, dict(params))))


def bind_params(model_init: ModelInit, params: Mapping[str, object]) -> ModelInit:
    """Return a model_init without arguments that makes the model of a trial with these params."""
    return partial(call_with_params, original_model_init(model_init), dict(params))


def original_model_init(model_init: ModelInit) -> ModelInit:
    """Return the model_init behind one that `bind_params` has made; any other as it is."""
    if isinstance(model_init, partial) and model_init.func is call_with_params:
        return model_init.args[0]  # type: ignore[no-any-return]
    return model_init
