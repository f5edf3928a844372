"""From what an evaluation or a function returns to one float for each objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hpcompat.errors import Fault, SearchError
from hpcompat.space.values import count

Metrics = Mapping[str, Any]
Values = tuple[float, ...]
_BOOKKEEPING = ("_runtime", "_per_second", "_preparation_time", "_compilation_time")


class Undecided(SearchError):
    """Nobody said which of several metrics is the objective: no trial could be told from another."""


def objective_of(metrics: Metrics, metric_for_best_model: str | None = None) -> float:
    """The objective where no compute_objective is given.

    The metric that `metric_for_best_model` names; else the only metric there is beside the loss; else
    the loss. Epoch, run times and memory figures are no metrics. Raises `SearchError` for several
    metrics of which none was chosen: transformers would add them up.

    >>> objective_of({"eval_loss": 0.5, "eval_accuracy": 0.9, "eval_runtime": 1.2, "epoch": 3.0})
    0.9
    >>> objective_of({"eval_loss": 0.5, "eval_accuracy": 0.9, "eval_mae": 100.0}, "loss")
    0.5
    """
    if metric_for_best_model is not None:
        name = metric_for_best_model
        name = name if name in metrics or name.startswith("eval_") else f"eval_{name}"
        if name not in metrics:
            raise Undecided(f"metric_for_best_model={metric_for_best_model!r} is none of {', '.join(metrics)}")
        return metrics[name]  # type: ignore[no-any-return]
    scores = [name for name in metrics if not _bookkeeping(name)]
    chosen = [name for name in scores if name not in ("eval_loss", "loss")] or scores
    if len(chosen) != 1:
        raise Undecided(
            "which metric is the objective?" if chosen else "there is no metric to search by",
            [Fault(name, "is a candidate") for name in chosen]
            + [Fault("", "pass compute_objective=lambda metrics: …, or set metric_for_best_model")],
        )
    return metrics[chosen[0]]  # type: ignore[no-any-return]


def _bookkeeping(name: str) -> bool:
    return name == "epoch" or name.endswith(_BOOKKEEPING) or "_mem_" in name


def values_of(
    outcome: Any,
    objectives: int = 1,
    compute_objective: Callable[[dict[str, Any]], Any] | None = None,
    metric_for_best_model: str | None = None,
) -> Values:
    """The float of each objective, from metrics or from plain numbers.

    Raises `ValueError` for too few or too many values, `TypeError` for what is no number.

    >>> values_of({"eval_loss": 0.5}), values_of([1, 2.5], 2)
    ((0.5,), (1.0, 2.5))
    """
    if isinstance(outcome, Mapping):
        if compute_objective is None:
            outcome = objective_of(outcome, metric_for_best_model)
        else:
            outcome = compute_objective(dict(outcome))
    if getattr(outcome, "ndim", 0) == 1 and hasattr(outcome, "tolist"):  # an array, or a tensor
        outcome = outcome.tolist()
    values = tuple(map(_real, outcome)) if isinstance(outcome, (list, tuple)) else (_real(outcome),)
    if len(values) != objectives:
        found = f"{count(len(values), 'value')} for {count(objectives, 'direction')}: {values}"
        raise ValueError(f"{found} (direction=[…] names one for each value)")
    return values


def _real(value: Any) -> float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of several elements raises RuntimeError
        raise TypeError(f"the objective is no number: {value!r:.200}") from error
