"""TrainingArguments fields that a Trainer does not read, as it was made: to search them would change nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from hpcompat.objectives.shared_state import is_users
from hpcompat.objectives.training_arguments import applied
from hpcompat.space import SearchSpace

_ADAM = ("adam_beta1", "adam_beta2", "adam_epsilon")


@dataclass(frozen=True)
class Rule:
    """Fields that are unused where `holds(trainer, field)`.

    Not so if one of the fields `depends_on` is searched too, or if the Trainer's class has its own version of one of
    `methods`: those of transformers 5.23 that read the fields.
    """

    fields: tuple[str, ...]
    holds: Callable[[Any, str], bool]
    reason: str
    methods: tuple[str, ...]
    depends_on: tuple[str, ...] = ()


def _makes_the_same_optimizer(trainer: Any, field: str) -> bool:
    """Whether the optimizer is the same whatever the field says."""
    if trainer.is_deepspeed_enabled:
        return False
    try:
        made = [trainer.get_optimizer_cls_and_kwargs(applied(trainer.args, {field: value})) for value in (0.25, 0.5)]
    except Exception:  # its package is not installed, or it needs the model
        return False
    return bool(made[0] == made[1])


_OPTIMIZER = ("create_optimizer", "create_optimizer_and_scheduler", "get_optimizer_cls_and_kwargs")
_RULES = (
    Rule(
        ("learning_rate", "optim", "optim_args", "optim_target_modules", *_ADAM),
        lambda trainer, field: trainer.optimizer_cls_and_kwargs is not None and not trainer.is_deepspeed_enabled,
        "the Trainer was given optimizer_cls_and_kwargs, which replaces it",
        _OPTIMIZER,
    ),
    Rule(_ADAM, _makes_the_same_optimizer, "the optimizer that optim names does not take it", _OPTIMIZER, ("optim",)),
    Rule(
        ("num_train_epochs",),
        lambda trainer, field: trainer.args.max_steps > 0,
        "max_steps is set, which overrides it",
        ("set_initial_training_values",),
        ("max_steps",),
    ),
    Rule(
        ("warmup_steps", "lr_scheduler_kwargs"),
        lambda trainer, field: (
            trainer.args.lr_scheduler_type == "constant" and not trainer.args.optim.startswith("schedule_free")
        ),
        "lr_scheduler_type is 'constant', which does not take it",
        ("create_scheduler", "create_optimizer_and_scheduler"),
        ("lr_scheduler_type", "optim"),
    ),
    Rule(
        ("label_smoothing_factor",),
        lambda trainer, field: trainer.compute_loss_func is not None,
        "the Trainer was given compute_loss_func, which replaces it",
        ("compute_loss", "prediction_step"),  # Seq2SeqTrainer evaluates with it
    ),
)


def unused_fields(trainer: Any, space: SearchSpace) -> dict[str, str]:
    """The searched names that are fields the Trainer does not read, each with the reason.

    A field that the user's own classes mention, the Trainer's or a callback's, is not among them.
    """
    searched = {leaf.name: leaf.name.partition(".")[0] for leaf in space.leaves}
    found: dict[str, str] = {}
    for name, field in searched.items():
        for rule in _RULES:
            if (
                field in rule.fields
                and not searched.keys() & set(rule.depends_on)
                and all(_is_own(trainer, method) for method in rule.methods)
                and rule.holds(trainer, field)
                and not any(_mentions(kind, field) for kind in _users_classes(trainer))
            ):
                found.setdefault(name, rule.reason)
    return found


def _is_own(trainer: Any, method: str) -> bool:
    """Whether the method is the one of transformers' Trainer."""
    from transformers import Trainer

    return method not in vars(trainer) and getattr(type(trainer), method, None) is getattr(Trainer, method, None)


def _users_classes(trainer: Any) -> Iterator[type]:
    for instance in (trainer, *trainer.callback_handler.callbacks):
        yield from filter(is_users, type(instance).__mro__)


def _mentions(kind: type, name: str) -> bool:
    """Whether the code of a class names an attribute or holds it as a string.

    >>> class Own:
    ...     def read(self, args):
    ...         return [args.learning_rate for _ in range(2)]
    >>> _mentions(Own, "learning_rate"), _mentions(Own, "optim")
    (True, False)
    """
    members = [inspect.unwrap(getattr(member, "__func__", member)) for member in vars(kind).values()]
    return any(_names(member.__code__, name) for member in members if inspect.isfunction(member))


def _names(code: CodeType, name: str) -> bool:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return name in code.co_names or name in code.co_consts or any(_names(each, name) for each in inner)
