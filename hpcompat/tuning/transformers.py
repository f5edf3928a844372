"""Counterparts of transformers' API: `hyperparameter_search`, and a training with the params of a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar

from hpcompat.backends import BACKENDS
from hpcompat.errors import Issue, MissingBackendError, ParamsError
from hpcompat.objectives.objective import PLACEHOLDER_METRIC, is_trainer
from hpcompat.objectives.trainer_validation import find_unknown_param_issues, warn_on_unknown_params
from hpcompat.objectives.training_arguments import apply_params, has_field, suggest_field
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Float, Int
from hpcompat.space.values import short_repr
from hpcompat.translators.dialect import SearchSettings
from hpcompat.trials.result import no_best_error
from hpcompat.trials.trial import Trial
from hpcompat.tuning import search
from hpcompat.tuning.request import resolve_space


def hyperparameter_search(
    trainer: Any,
    hp_space: Any = None,
    compute_objective: Callable[[dict[str, float]], Any] | str | Sequence[str] | None = None,
    n_trials: int = 20,
    direction: str | Sequence[str] = "minimize",
    backend: str | None = None,
    hp_name: Callable[[Any], str] | None = None,
    **kwargs: Any,
) -> Any:
    """Search as `Trainer.hyperparameter_search` does, with its signature and its BestRun.

    Instead of `trainer.hyperparameter_search(…)` write `hyperparameter_search(trainer, …)`.

    As in transformers, Optuna uses the median pruner unless the call passes `pruner=None`, `direction` replaces the
    goal of a sweep (its method and early_terminate are used), and an unknown param only causes a warning.

    Args:
        trainer: The Trainer, made with model_init.
        hp_space: A space, or a function of a trial, of any backend; by default the space of transformers.
        compute_objective: As for `search`.
        n_trials: As for `search`.
        direction: As for `search`.
        backend: As for `search`; by default the first backend that is installed.
        hp_name: As for `search`.
        kwargs: Other arguments of `search`.

    Returns:
        A BestRun, or a list of them for several objectives; its `run_summary` is the `SearchResult`.

    Raises:
        SearchError: No trial is both complete and feasible.
    """
    from transformers.trainer_utils import BestRun

    name = _default_backend() if backend is None else str(getattr(backend, "value", backend))
    is_single = direction is None or isinstance(direction, str)
    if name == "optuna" and "study" not in kwargs and is_single and is_trainer(trainer):
        kwargs.setdefault("pruner", None if trainer.args.eval_strategy == "no" else "median")
    source = resolve_space(default_space() if hp_space is None else hp_space)
    with warn_on_unknown_params():
        result = search(
            trainer,
            replace(source, settings=_override_settings(source.settings, compute_objective)),
            name,
            direction,
            n_trials=n_trials,
            compute_objective=compute_objective,
            hp_name=hp_name,
            **kwargs,
        )
    if is_single:
        best = result.best
        return BestRun(str(best.number), (best.values or ())[0], dict(best.params), result)
    front = result.pareto_front
    if not front:
        raise no_best_error(result.trials)
    return [BestRun(str(best.number), list(best.values or ()), dict(best.params), result) for best in front]


def default_space() -> SearchSpace:
    """Return the space that transformers searches by default."""
    return SearchSpace(
        {
            "learning_rate": Float(1e-6, 1e-4, log=True),
            "num_train_epochs": Int(1, 5),
            "seed": Int(1, 40),
            "per_device_train_batch_size": Categorical([4, 8, 16, 32, 64]),
        }
    )


def _override_settings(settings: SearchSettings, compute_objective: object) -> SearchSettings:
    """Return the settings without those that transformers ignores: the goal, the metric and the number of trials."""
    unused = dict(settings.unused)
    if settings.n_trials is not None:
        unused[settings.terms["n_trials"]] = settings.n_trials
    if compute_objective is None and settings.metrics not in ((), (PLACEHOLDER_METRIC,)):
        unused[settings.terms["compute_objective"]] = ", ".join(settings.metrics)
    return replace(settings, directions=(), metrics=(), n_trials=None, unused=unused)


def _default_backend() -> str:
    for backend in BACKENDS.values():
        try:
            backend.load()
        except MissingBackendError:
            continue
        return backend.name
    pips = " or ".join(backend.pip for backend in BACKENDS.values())
    raise MissingBackendError(f"no backend is installed: {pips}")


T = TypeVar("T")


def with_params(trainer_or_args: T, params: Mapping[str, Any]) -> T:
    """Prepare a training with the params of a trial.

    Args:
        trainer_or_args: TrainingArguments, or a Trainer.
        params: The params of a trial.

    Returns:
        For TrainingArguments, a validated copy with the params. For a Trainer, the same Trainer: its arguments and
        everything derived from them are replaced, and its model_init receives the params, so that `train()` repeats
        the trial.

    Raises:
        ParamsError: A param is neither a field of the arguments nor used by model_init.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Arguments:
    ...     learning_rate: float = 5e-5
    >>> with_params(Arguments(), {"learning_rate": 1e-4})
    Arguments(learning_rate=0.0001)
    """
    has_trainer = is_trainer(trainer_or_args)
    if not has_trainer and (isinstance(trainer_or_args, type) or not is_dataclass(trainer_or_args)):
        message = f"expected a Trainer or TrainingArguments, got {short_repr(trainer_or_args)}"
        raise ParamsError(
            message,
            [Issue("", message, "pass the Trainer or its TrainingArguments; the params are the second argument")],
        )
    if not isinstance(params, Mapping):
        hint = "give its .params" if isinstance(params, Trial) else ""
        raise ParamsError("invalid params", [Issue("", f"expected a dict by name, got {short_repr(params)}", hint)])
    if not_str := [name for name in params if not isinstance(name, str)]:
        issues = [Issue("", f"expected a str as a name, got {short_repr(name)}") for name in not_str]
        raise ParamsError("invalid params", issues)
    type_name = type(trainer_or_args).__name__
    if has_trainer:
        issues = list(find_unknown_param_issues(trainer_or_args, params))
    else:
        issues = [
            Issue(name, f"is not a field of {type_name}", suggest_field(trainer_or_args, name))
            for name in params
            if not has_field(trainer_or_args, name)
        ]
    if issues:
        raise ParamsError(f"{type_name} does not take these params", issues)
    if not has_trainer:
        return apply_params(trainer_or_args, params)
    from hpcompat.objectives.trainer import configure_for_params

    configure_for_params(trainer_or_args, params)
    return trainer_or_args
