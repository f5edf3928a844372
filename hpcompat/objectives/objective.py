"""The objective of a search: what a trial does with its params, and how its values are computed from its metrics."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpcompat.errors import Issue, SearchError
from hpcompat.objectives.trial_view import TrialView
from hpcompat.space import SearchSpace
from hpcompat.space.values import pluralize
from hpcompat.trials.config import Evaluate, SearchConfig
from hpcompat.trials.run_dirs import RunDirs

if TYPE_CHECKING:
    from hpcompat.trials.trial import Trial

Metrics = Mapping[str, Any]
Values = tuple[float, ...]
ComputeObjective = Callable[[dict[str, Any]], object] | tuple[str, ...] | None
"""A function of the metrics, or the names of the metrics that are the objectives."""
PLACEHOLDER_METRIC = "objective"
"""A metric name that many examples use for any objective."""
_LOSS_NAMES = ("eval_loss", "loss")
_BOOKKEEPING_SUFFIXES = ("_runtime", "_per_second", "_preparation_time", "_compilation_time")


class AmbiguousObjectiveError(SearchError):
    """Raised if several metrics may be the objective, and the call does not choose one.

    `unscored`: the trials that were trained before the metrics were known.
    """

    unscored: tuple[Trial, ...] = ()


def choose_default_objective(metrics: Metrics, metric_for_best_model: str | None = None) -> float:
    """Return the value of the objective if there is no compute_objective.

    This is the metric that `metric_for_best_model` names, else the only metric besides the loss, else the loss. Epoch,
    run times and memory figures are ignored.

    Raises:
        AmbiguousObjectiveError: There are several metrics, which transformers would add up.

    >>> choose_default_objective({"eval_loss": 0.5, "eval_accuracy": 0.9, "eval_runtime": 1.2, "epoch": 3.0})
    0.9
    >>> choose_default_objective({"eval_loss": 0.5, "eval_accuracy": 0.9, "eval_mae": 100.0}, "loss")
    0.5
    """
    if metric_for_best_model is not None:
        return _get_metric(metrics, metric_for_best_model, "metric_for_best_model")  # type: ignore[no-any-return]
    names = _objective_names(metrics)
    candidates = [name for name in names if name not in _LOSS_NAMES] or names
    if len(candidates) != 1:
        message = "which metric is the objective?" if candidates else "expected a metric to search by, got none"
        raise AmbiguousObjectiveError(message, candidate_issues(names))
    return metrics[candidates[0]]  # type: ignore[no-any-return]


def _get_metric(metrics: Metrics, name: str, parameter: str) -> Any:
    key = find_metric(metrics, name)
    if key is None:
        message = f"{parameter} must be one of {', '.join(metrics)}, got {name!r}"
        raise AmbiguousObjectiveError(message, candidate_issues(_objective_names(metrics)))
    return metrics[key]


def find_metric(names: Iterable[str], name: str) -> str | None:
    """Return the metric that a name refers to, with or without the prefix of the Trainer and the slash of W&B.

    >>> [find_metric(["eval_loss", "f1"], name) for name in ("loss", "eval/loss", "f1", "f2")]
    ['eval_loss', 'eval_loss', 'f1', None]
    """
    available = set(names)
    spellings = (name, name.replace("/", "_"), f"eval_{name}", f"eval_{name}".replace("/", "_"))
    return next((spelling for spelling in spellings if spelling in available), None)


def is_same_metric(name: str, other_name: str) -> bool:
    """Return whether two names refer to the same metric.

    >>> is_same_metric("eval/loss", "loss"), is_same_metric("loss", "f1")
    (True, False)
    """
    first, second = (metric.replace("/", "_").removeprefix("eval_") for metric in (name, other_name))
    return first == second


def candidate_issues(names: Iterable[str]) -> list[Issue]:
    """Return an issue for each candidate metric, and one that says how to choose."""
    candidates = list(names)
    example = next((name for name in (*_LOSS_NAMES, *candidates) if name in candidates), None)
    choice = f'pass compute_objective="{example}", for example, and its direction'
    hint = choice if example else "pass compute_objective=…"
    return [*(Issue(name, "is a candidate") for name in candidates), Issue("", hint)]


def _objective_names(metrics: Metrics) -> list[str]:
    """Return the names of the metrics that can be an objective."""
    return [name for name in numeric_metrics(metrics) if not is_bookkeeping(name)]


def numeric_metrics(metrics: object) -> dict[str, float]:
    """Return the numeric metrics as floats.

    >>> numeric_metrics({"eval_loss": 1, "model": "bert"}), numeric_metrics(0.5)
    ({'eval_loss': 1.0}, {})
    """
    numbers: dict[str, float] = {}
    if isinstance(metrics, Mapping):
        for name, value in metrics.items():
            with suppress(TypeError):
                numbers[str(name)] = _to_float(value)
    return numbers


def is_bookkeeping(name: str) -> bool:
    """Return whether a metric does not describe the model: epoch, run times and memory figures."""
    return name == "epoch" or name.endswith(_BOOKKEEPING_SUFFIXES) or "_mem_" in name


def compute_objective_values(
    outcome: object,
    n_objectives: int = 1,
    compute_objective: ComputeObjective = None,
    metric_for_best_model: str | None = None,
) -> Values:
    """Return the value of each objective, from metrics or from numbers.

    Args:
        outcome: Metrics by name, a number, or a list, tuple, array or tensor of numbers.
        n_objectives: The expected number of values.
        compute_objective: A function of the metrics, or the name of the metric of each objective.
        metric_for_best_model: The metric to use if there is no compute_objective.

    Raises:
        ValueError: There are too few or too many values.
        TypeError: A value is not a number.
        AmbiguousObjectiveError: Several metrics may be the objective.

    >>> compute_objective_values({"eval_loss": 0.5}), compute_objective_values([1, 2.5], 2)
    ((0.5,), (1.0, 2.5))
    >>> compute_objective_values({"a": 1, "b": 2}, 1, ("b",))
    (2.0,)
    """
    if isinstance(outcome, Mapping):
        outcome = _select_objectives(outcome, n_objectives, compute_objective, metric_for_best_model)
    elif callable(compute_objective):
        hint = "return a dict, or leave compute_objective out"
        raise TypeError(f"expected a dict of metrics for compute_objective, got {outcome!r:.200}; {hint}")
    if getattr(outcome, "ndim", 0) == 1 and hasattr(outcome, "tolist"):  # an array, or a tensor
        outcome = outcome.tolist()
    values = tuple(map(_to_float, outcome)) if isinstance(outcome, (list, tuple)) else (_to_float(outcome),)
    if len(values) != n_objectives:
        expected = f"expected {pluralize(n_objectives, 'value')} for {pluralize(n_objectives, 'direction')}"
        raise ValueError(f"{expected}, got {len(values)}: {values}; pass direction=[…] with one for each value")
    return values


def _select_objectives(
    metrics: Metrics, n_objectives: int, compute_objective: ComputeObjective, metric_for_best_model: str | None
) -> object:
    """Return the objectives among the metrics, not converted to floats yet."""
    if callable(compute_objective):
        return compute_objective(dict(metrics))
    if compute_objective is None or (compute_objective == (PLACEHOLDER_METRIC,) and PLACEHOLDER_METRIC not in metrics):
        if n_objectives > 1:
            message = f"which {n_objectives} metrics are the objectives?"
            raise AmbiguousObjectiveError(message, candidate_issues(_objective_names(metrics)))
        return choose_default_objective(metrics, metric_for_best_model)
    return [_get_metric(metrics, name, "compute_objective") for name in compute_objective]


def _to_float(value: Any) -> float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of several elements raises RuntimeError
        raise TypeError(f"expected a number as the objective, got {value!r:.200}") from error


def is_trainer(value: object) -> bool:
    """Return whether a value is a transformers Trainer, without importing transformers."""
    module = sys.modules.get("transformers.trainer")
    return module is not None and isinstance(value, module.Trainer)


def _return_unchanged(evaluate: Evaluate) -> Evaluate:
    return evaluate


@dataclass(frozen=True)
class Objective(ABC):
    """The objective of a search; most fields are arguments of `search`.

    Attributes:
        source: The Trainer or function.
        run_dirs: The run directories of the search.
        wrap: Wraps the evaluation of a trial, for several ranks.
    """

    source: Any
    space: SearchSpace = field(default_factory=SearchSpace)
    directions: tuple[str, ...] = ("minimize",)
    compute_objective: ComputeObjective = None
    hp_name: Callable[[TrialView], str] | None = None
    output_dir: str | None = None
    run_dirs: RunDirs = field(default_factory=RunDirs)
    wrap: Callable[[Evaluate], Evaluate] = _return_unchanged

    @contextmanager
    def open(self) -> Iterator[Evaluate]:
        """Yield a function that evaluates a suggestion, within the block."""
        with self._open() as evaluate:
            yield self.wrap(evaluate)

    @abstractmethod
    def _open(self) -> AbstractContextManager[Evaluate]: ...

    def score(self, outcome: object, metric_for_best_model: str | None = None) -> Values:
        """Return the values of metrics or numbers, see `compute_objective_values`."""
        return compute_objective_values(outcome, len(self.directions), self.compute_objective, metric_for_best_model)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that compute_objective names, in the order of the values."""
        return self.compute_objective if isinstance(self.compute_objective, tuple) else ()

    @property
    def default_metric(self) -> str | None:
        """The metric that is the objective without a compute_objective, if it is known before the first trial."""
        return None

    @property
    def single_metric(self) -> str | None:
        """The only metric that the search optimizes, if it is known before the first trial."""
        if self.compute_objective is not None:
            return self.metric_names[0] if len(self.metric_names) == 1 else None
        return self.default_metric

    @property
    def default_output_dir(self) -> str | None:
        """The output_dir if the call does not name one."""
        return None

    @property
    def evaluates_while_training(self) -> bool:
        """Whether trials may report values before they end, so that a pruner can stop them."""
        return True

    @property
    def uses_gpu(self) -> bool:
        """Whether a trial uses a GPU if there is one."""
        return False

    def find_issues(self, config: SearchConfig) -> Iterator[Issue]:
        """Yield the issues that would make every trial fail, or make the result misleading."""
        return iter(())

    def describe_unread(self, names: Sequence[str]) -> list[str]:
        """Return a description of each param that no trial has read, for a warning."""
        return list(map(repr, names))
