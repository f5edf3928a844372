"""From what an evaluation or a function returns to one float for each objective."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hpcompat.errors import Issue, SearchError
from hpcompat.space.values import pluralize

if TYPE_CHECKING:
    from hpcompat.trials.trial import Trial

Metrics = Mapping[str, Any]
Values = tuple[float, ...]
ComputeObjective = Callable[[dict[str, Any]], Any] | tuple[str, ...] | None
"""A function of the metrics, or the names of those that are the objectives."""
LABEL = "objective"
"""The name that examples everywhere give to whatever is optimized."""
_LOSSES = ("eval_loss", "loss")
_BOOKKEEPING = ("_runtime", "_per_second", "_preparation_time", "_compilation_time")


class Undecided(SearchError):
    """It is not known which of several metrics is the objective: no trial could be told from another.

    `unscored`: the trials that were trained before it was found out, with their metrics.
    """

    unscored: tuple[Trial, ...] = ()


def objective_of(metrics: Metrics, metric_for_best_model: str | None = None) -> float:
    """The objective where no compute_objective is given.

    The metric that `metric_for_best_model` names; else the only metric there is beside the loss; else
    the loss. Epoch, run times and memory figures are no metrics. Raises `Undecided` for several
    metrics of which none was chosen: transformers would add them up.

    >>> objective_of({"eval_loss": 0.5, "eval_accuracy": 0.9, "eval_runtime": 1.2, "epoch": 3.0})
    0.9
    >>> objective_of({"eval_loss": 0.5, "eval_accuracy": 0.9, "eval_mae": 100.0}, "loss")
    0.5
    """
    if metric_for_best_model is not None:
        return _named(metrics, metric_for_best_model, "metric_for_best_model")  # type: ignore[no-any-return]
    scores = _scores(metrics)
    chosen = [name for name in scores if name not in _LOSSES] or scores
    if len(chosen) != 1:
        what = "which metric is the objective?" if chosen else "there is no metric to search by"
        raise Undecided(what, candidates(scores))
    return metrics[chosen[0]]  # type: ignore[no-any-return]


def _named(metrics: Metrics, name: str, parameter: str) -> Any:
    key = metric_key(metrics, name)
    if key is None:
        raise Undecided(f"{parameter}={name!r} is none of {', '.join(metrics)}", candidates(_scores(metrics)))
    return metrics[key]


def metric_key(metrics: Iterable[str], name: str) -> str | None:
    """Which of the metrics a name means, as a Trainer, or W&B which shows its metrics with a slash, may write it.

    >>> [metric_key(["eval_loss", "f1"], name) for name in ("loss", "eval/loss", "f1", "f2")]
    ['eval_loss', 'eval_loss', 'f1', None]
    """
    names = (name, name.replace("/", "_"), f"eval_{name}", f"eval_{name}".replace("/", "_"))
    known = set(metrics)
    return next((each for each in names if each in known), None)


def is_same_metric(one: str, other: str) -> bool:
    """Whether two names mean one metric.

    >>> is_same_metric("eval/loss", "loss"), is_same_metric("loss", "f1")
    (True, False)
    """
    plain = [name.replace("/", "_").removeprefix("eval_") for name in (one, other)]
    return plain[0] == plain[1]


def candidates(names: Iterable[str]) -> list[Issue]:
    """An issue for each metric that may be meant, and how to say which."""
    listed = list(names)
    example = next((name for name in (*_LOSSES, *listed) if name in listed), None)
    way = f'compute_objective="{example}", say; direction says which way' if example else "compute_objective=…"
    return [*(Issue(name, "is a candidate") for name in listed), Issue("", f"write {way}")]


def _scores(metrics: Metrics) -> list[str]:
    """The names of the metrics that a trial can be judged by: those that are numbers."""
    return [name for name in numbers(metrics) if not is_bookkeeping(name)]


def numbers(metrics: Any) -> dict[str, float]:
    """Those of the metrics that are numbers, as floats.

    >>> numbers({"eval_loss": 1, "model": "bert"}), numbers(0.5)
    ({'eval_loss': 1.0}, {})
    """
    found: dict[str, float] = {}
    for name, value in metrics.items() if isinstance(metrics, Mapping) else ():
        with suppress(TypeError):
            found[str(name)] = _real(value)
    return found


def is_bookkeeping(name: str) -> bool:
    """Whether a metric says nothing of the model: epoch, run times, memory figures."""
    return name == "epoch" or name.endswith(_BOOKKEEPING) or "_mem_" in name


def values_of(
    outcome: Any,
    objectives: int = 1,
    compute_objective: ComputeObjective = None,
    metric_for_best_model: str | None = None,
) -> Values:
    """The float of each objective, from metrics or from plain numbers.

    Raises `ValueError` for too few or too many values, `TypeError` for what is no number, and `Undecided`.

    >>> values_of({"eval_loss": 0.5}), values_of([1, 2.5], 2), values_of({"a": 1, "b": 2}, 1, ("b",))
    ((0.5,), (1.0, 2.5), (2.0,))
    """
    if isinstance(outcome, Mapping):
        if callable(compute_objective):
            outcome = compute_objective(dict(outcome))
        elif compute_objective is None or (compute_objective == (LABEL,) and LABEL not in outcome):
            if objectives > 1:
                raise Undecided(f"which {objectives} metrics are the objectives?", candidates(_scores(outcome)))
            outcome = objective_of(outcome, metric_for_best_model)
        else:
            outcome = [_named(outcome, name, "compute_objective") for name in compute_objective]
    elif callable(compute_objective):
        hint = "return a dict of metrics, or leave compute_objective out"
        raise TypeError(f"compute_objective takes metrics, and the function returned {outcome!r:.200}; {hint}")
    if getattr(outcome, "ndim", 0) == 1 and hasattr(outcome, "tolist"):  # an array, or a tensor
        outcome = outcome.tolist()
    values = tuple(map(_real, outcome)) if isinstance(outcome, (list, tuple)) else (_real(outcome),)
    if len(values) != objectives:
        found = f"{pluralize(len(values), 'value')} for {pluralize(objectives, 'direction')}: {values}"
        raise ValueError(f"{found} (direction=[…] names one for each value)")
    return values


def _real(value: Any) -> float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of several elements raises RuntimeError
        raise TypeError(f"the objective is no number: {value!r:.200}") from error
