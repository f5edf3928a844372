"""What would make a search fail or mean something else than it says, found before the first trial."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from hpcompat.errors import Issue
from hpcompat.objectives.metrics import LABEL, ComputeObjective, is_bookkeeping, metric_key
from hpcompat.objectives.model import takes_argument, unbound
from hpcompat.objectives.training_arguments import find_issues, near, takes
from hpcompat.objectives.trial_context import Setting
from hpcompat.objectives.unused import unused_fields
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Parameter
from hpcompat.trials.config import Plan

_PLACES = (0.0, 0.37, 0.5, 1.0)


def trainer_issues(trainer: Any, plan: Plan, setting: Setting) -> Iterator[Issue]:
    """Why this Trainer cannot be searched in this way."""
    if trainer.model_init is None:
        way_out = "make it with Trainer(model_init=…), or pass a function trial -> Trainer instead"
        yield Issue("model_init", "without one every trial would go on training the same model", way_out)
    else:
        yield from _parameter_issues(trainer, plan.space)
    yield from _data_issues(trainer)
    yield from _objective_issues(trainer, plan.directions, setting.compute_objective)
    if plan.pruner is not None and trainer.args.eval_strategy == "no":
        way_out = "set eval_strategy to 'epoch' or 'steps', or leave pruner out"
        yield Issue("pruner", "there is no evaluation during training to prune by", way_out)


_unknown_names_warn: ContextVar[bool] = ContextVar("unknown_names_warn", default=False)


@contextmanager
def unknown_names_warn() -> Iterator[None]:
    """Meanwhile a name that nothing takes is no issue: a search warns of it, as that of transformers does."""
    token = _unknown_names_warn.set(True)
    try:
        yield
    finally:
        _unknown_names_warn.reset(token)


def params_issues(trainer: Any, params: Mapping[str, Any]) -> Iterator[Issue]:
    """The params that neither the Trainer's arguments nor its model_init take."""
    if trainer.model_init is None or not takes_argument(unbound(trainer.model_init)):
        yield from (_untaken(trainer, name) for name in params if not takes(trainer.args, name))


def _untaken(trainer: Any, name: str) -> Issue:
    close = near(trainer.args, name)
    reason = f"is no field of {type(trainer.args).__name__}, and model_init takes no argument"
    return Issue(name, reason, close or "let model_init take the trial: def model_init(trial)")


def ineffective(trainer: Any, space: SearchSpace) -> list[Issue]:
    """The searched names that provably nothing takes: a model_init that takes the trial may take any."""
    if trainer.model_init is None or takes_argument(trainer.model_init):
        return []
    way_out = "leave it out, or pass a function trial -> Trainer that makes use of it"
    unused = [Issue(name, f"is not used: {reason}", way_out) for name, reason in unused_fields(trainer, space).items()]
    untaken = [_untaken(trainer, leaf.name) for leaf in space.leaves if not takes(trainer.args, leaf.name)]
    return untaken + unused


def _parameter_issues(trainer: Any, space: SearchSpace) -> Iterator[Issue]:
    issues = ineffective(trainer, space)
    if not _unknown_names_warn.get():
        yield from issues
    elif issues:
        warnings.warn(f"these params change nothing: {'; '.join(map(str, issues))}", stacklevel=2)
    for leaf in space.leaves:
        if not takes(trainer.args, leaf.name):
            continue
        for value in _examples(leaf.parameter):
            if issues := find_issues(trainer.args, space.nest({leaf.name: value})):
                yield issues[0]._replace(path=leaf.name)
                break


def _examples(parameter: Parameter) -> Sequence[Any]:
    if isinstance(parameter, Categorical):
        return parameter.choices
    return [parameter.quantile(u) for u in _PLACES]


def _data_issues(trainer: Any) -> Iterator[Issue]:
    from transformers import Trainer

    for name, loader in (("train_dataset", "get_train_dataloader"), ("eval_dataset", "get_eval_dataloader")):
        own = any(getattr(type(trainer), each) is not getattr(Trainer, each) for each in (loader, "evaluate"))
        if getattr(trainer, name) is None and not own:
            yield Issue(name, "the Trainer has none", f"make it with Trainer({name}=…)")


def deciding_metrics(trainer: Any) -> tuple[str, ...] | None:
    """The metrics by one of which a Trainer can be judged, where that is known before it evaluates; else None.

    Without compute_metrics, and without an evaluate of its own, it is the loss: what else TRL's Trainers, say, note
    beside it is for the eye.
    """
    if trainer.args.metric_for_best_model is not None:
        return (trainer.args.metric_for_best_model,)
    if trainer.compute_metrics is not None or _overrides(trainer, "evaluate"):
        return None
    sets = trainer.eval_dataset
    return tuple(f"eval_{name}_loss" for name in sets) if isinstance(sets, dict) else ("eval_loss",)


def deciding_metric(trainer: Any) -> str | None:
    """The one metric by which a Trainer is judged, where that is known before it evaluates; else None."""
    names = deciding_metrics(trainer) or ()
    return names[0] if len(names) == 1 else None


def _overrides(thing: Any, *methods: str) -> bool:
    """Whether one of the methods is the user's own, and neither transformers' nor what a trial has put around it."""
    found = [
        method for name in methods for method in (getattr(type(thing), name, None), vars(thing).get(name)) if method
    ]
    modules = [getattr(method, "__module__", None) or "" for method in found]
    return not all(module.startswith(("transformers.", "hpcompat.")) for module in modules)


def _is_plain(trainer: Any) -> bool:
    """Whether nothing can add a metric to the loss."""
    own = trainer.compute_metrics is not None or _overrides(trainer, "evaluate", "evaluation_loop", "log")
    return not own and not any(_overrides(callback, "on_evaluate") for callback in trainer.callback_handler.callbacks)


def _objective_issues(trainer: Any, directions: Sequence[str], compute_objective: ComputeObjective) -> Iterator[Issue]:
    if callable(compute_objective):
        return
    metric = trainer.args.metric_for_best_model
    names = deciding_metrics(trainer) or ()
    if compute_objective is None:
        if len(directions) > 1:
            hint = "a function of the metrics, or a list of names"
            yield Issue("compute_objective", f"{len(directions)} directions need one that returns as many values", hint)
        elif metric is not None and (directions[0] == "maximize") != trainer.args.greater_is_better:
            verb = "greater" if trainer.args.greater_is_better else "smaller"
            reason = f"is {directions[0]!r}, but metric_for_best_model={metric!r} is better when {verb}"
            yield Issue("direction", reason, "turn it round, or pass compute_objective")
        elif len(names) > 1:
            listed = ", ".join(names)
            yield Issue("compute_objective", f"the objective may be any of {listed}", f"write {names[0]!r}, say")
    if _is_plain(trainer):
        sets = trainer.eval_dataset
        known = [f"eval_{name}_loss" for name in sets] if isinstance(sets, dict) else ["eval_loss"]
        asked = compute_objective or ((metric,) if metric is not None else ())
        for name in asked:
            if metric_key(known, name) is None and not is_bookkeeping(name) and asked != (LABEL,):
                where = "compute_objective" if compute_objective else "metric_for_best_model"
                reason = f"{name!r} is not among the metrics of this Trainer: {', '.join(known)}"
                yield Issue(where, reason, "make it with Trainer(compute_metrics=…), or name one of these")
