"""Validate a search over a Trainer before the first trial."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any

from hpcompat.compat.transformers import given_argument
from hpcompat.errors import Issue
from hpcompat.objectives.objective import PLACEHOLDER_METRIC, ComputeObjective, find_metric, is_bookkeeping
from hpcompat.objectives.trainer_internals import takes_trial, unwrap_model_init
from hpcompat.objectives.trainer_snapshot import is_user_code
from hpcompat.objectives.training_arguments import apply_params, has_field, suggest_field, validate_params
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Parameter
from hpcompat.trials.config import SearchConfig

if TYPE_CHECKING:
    from transformers import Trainer

_SAMPLE_QUANTILES = (0.0, 0.37, 0.5, 1.0)
_ADAM_FIELDS = ("adam_beta1", "adam_beta2", "adam_epsilon")


def validate_trainer(trainer: Trainer, config: SearchConfig, compute_objective: ComputeObjective) -> Iterator[Issue]:
    """Yield the issues of a search over this Trainer."""
    if trainer.model_init is None:
        message = "is required: without it every trial would continue training the same model"
        hint = "make it with Trainer(model_init=…), or pass a function trial -> Trainer instead"
        yield Issue("model_init", message, hint)
    else:
        yield from _validate_space(trainer, config.space)
    yield from _validate_datasets(trainer)
    yield from _validate_objective(trainer, config.directions, compute_objective)


_unknown_params_warn: ContextVar[bool] = ContextVar("unknown_params_warn", default=False)


@contextmanager
def warn_on_unknown_params() -> Iterator[None]:
    """Warn of params without effect within the block, as transformers does, instead of raising an error."""
    token = _unknown_params_warn.set(True)
    try:
        yield
    finally:
        _unknown_params_warn.reset(token)


def find_unknown_param_issues(trainer: Any, params: Mapping[str, object]) -> Iterator[Issue]:
    """Yield an issue for each param that neither the TrainingArguments nor model_init take."""
    if trainer.model_init is None or not takes_trial(unwrap_model_init(trainer.model_init)):
        yield from (_unknown_param_issue(trainer, name) for name in params if not has_field(trainer.args, name))


def _unknown_param_issue(trainer: Trainer, name: str) -> Issue:
    message = f"is not a field of {type(trainer.args).__name__}, and model_init takes no argument"
    hint = suggest_field(trainer.args, name) or "let model_init take the trial: def model_init(trial)"
    return Issue(name, message, hint)


def find_unused_param_issues(trainer: Trainer, space: SearchSpace) -> list[Issue]:
    """Return an issue for each parameter that provably has no effect; a model_init that takes the trial may use any."""
    if trainer.model_init is None or takes_trial(trainer.model_init):
        return []
    hint = "leave it out, or pass a function trial -> Trainer that makes use of it"
    unknown = [
        _unknown_param_issue(trainer, leaf.name) for leaf in space.leaves if not has_field(trainer.args, leaf.name)
    ]
    unused = [Issue(name, f"is not used: {why}", hint) for name, why in find_unused_fields(trainer, space).items()]
    return unknown + unused


def _validate_space(trainer: Trainer, space: SearchSpace) -> Iterator[Issue]:
    unused = find_unused_param_issues(trainer, space)
    if not _unknown_params_warn.get():
        yield from unused
    elif unused:
        warnings.warn(f"these params have no effect: {'; '.join(map(str, unused))}", stacklevel=2)
    for leaf in space.leaves:
        if not has_field(trainer.args, leaf.name):
            continue
        for value in _get_sample_values(leaf.parameter):
            if issues := validate_params(trainer.args, space.nest({leaf.name: value})):
                yield issues[0]._replace(path=leaf.name)
                break


def _get_sample_values(parameter: Parameter) -> Sequence[object]:
    if isinstance(parameter, Categorical):
        return parameter.choices
    return [parameter.quantile(u) for u in _SAMPLE_QUANTILES]


def _validate_datasets(trainer: Trainer) -> Iterator[Issue]:
    from transformers import Trainer

    for name, loader in (("train_dataset", "get_train_dataloader"), ("eval_dataset", "get_eval_dataloader")):
        methods = (loader, "evaluate")
        is_overridden = any(getattr(type(trainer), method) is not getattr(Trainer, method) for method in methods)
        if getattr(trainer, name) is None and not is_overridden:
            yield Issue(name, "is required, and the Trainer has none", f"make it with Trainer({name}=…)")


def get_candidate_metrics(trainer: Trainer) -> tuple[str, ...] | None:
    """Return the metrics that may be the objective; None if they are not known before an evaluation.

    Without compute_metrics, and unless `evaluate` is overridden, the objective is the loss; other figures, such as
    those of TRL's Trainers, are ignored.
    """
    if trainer.args.metric_for_best_model is not None:
        return (trainer.args.metric_for_best_model,)
    if trainer.compute_metrics is not None or _is_overridden(trainer, "evaluate"):
        return None
    return _get_loss_names(trainer)


def get_objective_metric(trainer: Trainer) -> str | None:
    """Return the metric that is the objective; None if it is not known before an evaluation."""
    names = get_candidate_metrics(trainer) or ()
    return names[0] if len(names) == 1 else None


def _get_loss_names(trainer: Trainer) -> tuple[str, ...]:
    datasets = trainer.eval_dataset
    return tuple(f"eval_{name}_loss" for name in datasets) if isinstance(datasets, dict) else ("eval_loss",)


def _is_overridden(instance: object, *names: str) -> bool:
    """Return whether the user has overridden one of the methods, in a class or on the instance."""
    methods = [
        method for name in names for method in (getattr(type(instance), name, None), vars(instance).get(name)) if method
    ]
    modules = [getattr(method, "__module__", None) or "" for method in methods]
    return not all(module.startswith(("transformers.", "hpcompat.")) for module in modules)


def _reports_only_loss(trainer: Trainer) -> bool:
    """Return whether the loss is the only metric, because no user code can add another."""
    if trainer.compute_metrics is not None or _is_overridden(trainer, "evaluate", "evaluation_loop", "log"):
        return False
    return not any(_is_overridden(callback, "on_evaluate") for callback in trainer.callback_handler.callbacks)


def _validate_objective(
    trainer: Trainer, directions: Sequence[str], compute_objective: ComputeObjective
) -> Iterator[Issue]:
    if callable(compute_objective):
        return
    if compute_objective is None:
        yield from _validate_default_objective(trainer, directions)
    if not _reports_only_loss(trainer) or compute_objective == (PLACEHOLDER_METRIC,):
        return
    metric_names = _get_loss_names(trainer)
    metric = trainer.args.metric_for_best_model
    path = "compute_objective" if compute_objective else "metric_for_best_model"
    for name in compute_objective or ((metric,) if metric is not None else ()):
        if find_metric(metric_names, name) is None and not is_bookkeeping(name):
            message = f"{name!r} is not among the metrics of this Trainer: {', '.join(metric_names)}"
            yield Issue(path, message, "make it with Trainer(compute_metrics=…), or name one of these")


def _validate_default_objective(trainer: Trainer, directions: Sequence[str]) -> Iterator[Issue]:
    metric, is_greater_better = trainer.args.metric_for_best_model, trainer.args.greater_is_better
    candidates = get_candidate_metrics(trainer) or ()
    if len(directions) > 1:
        message = f"is required for {len(directions)} directions, with a value for each"
        yield Issue("compute_objective", message, "a function of the metrics, or a list of names")
    elif metric is not None and (directions[0] == "maximize") != is_greater_better:
        message = (
            f"is {directions[0]!r}, but metric_for_best_model={metric!r} is better when "
            f"{'greater' if is_greater_better else 'smaller'}"
        )
        yield Issue("direction", message, "use the other direction, or pass compute_objective")
    elif len(candidates) > 1:
        message = f"must be one of {', '.join(candidates)}, got none"
        yield Issue("compute_objective", message, f"pass {candidates[0]!r}, for example")


@dataclass(frozen=True)
class UnusedFieldRule:
    """A condition under which the Trainer does not use certain fields.

    Attributes:
        fields: The fields.
        applies: Returns whether the Trainer does not use a field.
        reason: Why it does not.
        methods: The methods of transformers 5.23 that read the fields; the rule does not apply if one is overridden.
        depends_on: Other fields on which that depends; the rule does not apply if one of them is searched too.
    """

    fields: tuple[str, ...]
    applies: Callable[[Trainer, str], bool]
    reason: str
    methods: tuple[str, ...]
    depends_on: tuple[str, ...] = ()


def _optimizer_ignores(trainer: Trainer, field: str) -> bool:
    if trainer.is_deepspeed_enabled:
        return False
    try:
        first, second = (
            trainer.get_optimizer_cls_and_kwargs(apply_params(trainer.args, {field: value})) for value in (0.25, 0.5)
        )
    except Exception:  # the optimizer is not installed, or needs the model
        return False
    return bool(first == second)


_OPTIMIZER_METHODS = ("create_optimizer", "create_optimizer_and_scheduler", "get_optimizer_cls_and_kwargs")
_UNUSED_FIELD_RULES = (
    UnusedFieldRule(
        ("learning_rate", "optim", "optim_args", "optim_target_modules", *_ADAM_FIELDS),
        lambda trainer, field: (
            given_argument(trainer, "optimizer_cls_and_kwargs") is not None and not trainer.is_deepspeed_enabled
        ),
        "the Trainer was given optimizer_cls_and_kwargs, which replaces it",
        _OPTIMIZER_METHODS,
    ),
    UnusedFieldRule(
        _ADAM_FIELDS,
        _optimizer_ignores,
        "the optimizer that optim names does not take it",
        _OPTIMIZER_METHODS,
        depends_on=("optim",),
    ),
    UnusedFieldRule(
        ("num_train_epochs",),
        lambda trainer, field: trainer.args.max_steps > 0,
        "max_steps is set, which overrides it",
        ("set_initial_training_values",),
        depends_on=("max_steps",),
    ),
    UnusedFieldRule(
        ("warmup_steps", "lr_scheduler_kwargs"),
        lambda trainer, field: (
            trainer.args.lr_scheduler_type == "constant" and not trainer.args.optim.startswith("schedule_free")
        ),
        "lr_scheduler_type is 'constant', which does not take it",
        ("create_scheduler", "create_optimizer_and_scheduler"),
        depends_on=("lr_scheduler_type", "optim"),
    ),
    UnusedFieldRule(
        ("label_smoothing_factor",),
        lambda trainer, field: given_argument(trainer, "compute_loss_func") is not None,
        "the Trainer was given compute_loss_func, which replaces it",
        ("compute_loss", "prediction_step"),  # Seq2SeqTrainer evaluates with it
    ),
)


def find_unused_fields(trainer: Trainer, space: SearchSpace) -> dict[str, str]:
    """Return the searched fields that the Trainer does not use, each with the reason.

    Fields that the user's own Trainer or callback classes mention are left out.
    """
    fields_by_name = {leaf.name: leaf.name.partition(".")[0] for leaf in space.leaves}
    unused: dict[str, str] = {}
    for name, field in fields_by_name.items():
        for rule in _UNUSED_FIELD_RULES:
            if (
                field in rule.fields
                and not fields_by_name.keys() & set(rule.depends_on)
                and all(_is_unmodified_method(trainer, method) for method in rule.methods)
                and rule.applies(trainer, field)
                and not any(_mentions(cls, field) for cls in _iter_user_classes(trainer))
            ):
                unused.setdefault(name, rule.reason)
    return unused


def _is_unmodified_method(trainer: Trainer, method: str) -> bool:
    from transformers import Trainer

    return method not in vars(trainer) and getattr(type(trainer), method, None) is getattr(Trainer, method, None)


def _iter_user_classes(trainer: Trainer) -> Iterator[type]:
    for instance in (trainer, *trainer.callback_handler.callbacks):
        yield from filter(is_user_code, type(instance).__mro__)


def _mentions(cls: type, name: str) -> bool:
    """Return whether the code of a class mentions a name, as an attribute or a string.

    >>> class Own:
    ...     def read(self, args):
    ...         return [args.learning_rate for _ in range(2)]
    >>> _mentions(Own, "learning_rate"), _mentions(Own, "optim")
    (True, False)
    """
    members = [inspect.unwrap(getattr(member, "__func__", member)) for member in vars(cls).values()]
    return any(_code_mentions(member.__code__, name) for member in members if inspect.isfunction(member))


def _code_mentions(code: CodeType, name: str) -> bool:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return name in code.co_names or name in code.co_consts or any(_code_mentions(item, name) for item in inner)
