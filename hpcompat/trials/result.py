"""What a search found: its trials, and which of them are best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpcompat.errors import Issue, SearchError
from hpcompat.space.values import pluralize
from hpcompat.trials import tables
from hpcompat.trials.pareto import pareto_front
from hpcompat.trials.trial import COMPLETE, FAILED, Trial

if TYPE_CHECKING:
    from hpcompat.space import SearchSpace


@dataclass(frozen=True, repr=False)
class SearchResult:
    """What `search` returns.

    `trials`: every finished trial, in order. `native`: the backend's own object (for Optuna the
    Study). `interrupted`: Ctrl-C ended the search, and these are the trials finished until then.

    >>> from hpcompat import Float, SearchSpace
    >>> space = SearchSpace({"x": Float(0, 1)})
    >>> result = SearchResult((Trial(0, {"x": 0.5}, (0.25,)), Trial(1, {"x": 0.1}, (0.01,))), space)
    >>> result.best.params
    {'x': 0.1}
    """

    trials: tuple[Trial, ...]
    space: SearchSpace
    directions: tuple[str, ...] = ("minimize",)
    backend: str = ""
    native: Any = field(default=None, compare=False)
    interrupted: bool = False

    @property
    def best(self) -> Trial:
        """The complete and feasible trial with the best value; the earliest of equals.

        Raises `SearchError` for several objectives (see `pareto_front`), and if no trial is complete, or none
        of those feasible.
        """
        if len(self.directions) > 1:
            raise SearchError("a search with several objectives has no one best trial: see pareto_front")
        front = self.pareto_front
        if not front:
            raise no_best(self.trials)
        return front[0]

    @property
    def pareto_front(self) -> tuple[Trial, ...]:
        """The complete and feasible trials that no other one dominates, in order of their number."""
        return pareto_front(self.trials, self.directions)

    @property
    def unread(self) -> tuple[str, ...]:
        """The params, by dotted name, that no trial has read: their values have changed nothing.

        A trial that failed does not count, for it may have failed before it would have read them.
        """
        told = [(trial.params, trial.unread) for trial in self.trials if trial.state != FAILED]
        known = [(params, unread) for params, unread in told if unread is not None]
        names = dict.fromkeys(name for _, unread in known for name in unread)
        return tuple(name for name in names if all(name in unread for params, unread in known if _has(params, name)))

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row for each trial; params by dotted name, as `params.<name>`."""
        import pandas

        rows = [tables.record(trial, self.directions) for trial in self.trials]
        return pandas.DataFrame(rows, columns=tables.columns(rows) or None)

    def to_optuna(self) -> Any:
        """An Optuna Study in memory that holds the trials, whichever backend ran them.

        What Optuna has no form for is stored there as `translate(space, "optuna", encode=True)`
        encodes it; the params as they were are in each trial's user_attrs["params"], unless the trial
        has set that itself.
        """
        from hpcompat.trials.optuna_trials import study_of

        return study_of(self)

    def plot(self, kind: str = "history") -> Any:
        """A matplotlib Figure: "history", "parallel" (coordinates) or "importances".

        With several objectives one axis, or one plot, for each.
        """
        from hpcompat.trials.plots import draw

        return draw(self, kind)

    def __repr__(self) -> str:
        return tables.text(self)

    def _repr_html_(self) -> str:
        return tables.html(self)


def no_best(trials: Sequence[Trial]) -> SearchError:
    """Why none of the trials is the best, with the trials."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    error = SearchError("no complete trial is feasible", _violations(complete))
    if not complete:
        error = SearchError(f"none of the {len(trials)} trials is complete")
    error.trials = tuple(trials)
    return error


def _violations(trials: Sequence[Trial]) -> Iterator[Issue]:
    """An issue for each constraint that the trials violate."""
    violated: dict[str, list[float]] = {}
    for trial in trials:
        for name, value in trial.constraints.items():
            if not value <= 0:
                violated.setdefault(name, []).append(value)
    for name, values in violated.items():
        yield Issue(name, f"is above 0 in {pluralize(len(values), 'trial')}, by {min(values):g} at the least")


def _has(params: Mapping[str, Any], name: str) -> bool:
    """Whether there is a param of that dotted name: its conditions may not be met."""
    first, _, rest = name.partition(".")
    if name in params or not rest:
        return name in params
    return isinstance(params.get(first), Mapping) and _has(params[first], rest)
