"""What a search found: its trials, and which of them are best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpcompat.errors import Issue, SearchError
from hpcompat.space.values import pluralize
from hpcompat.trials import report
from hpcompat.trials.trial import COMPLETE, FAILED, Trial, pareto_front

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from optuna.study import Study

    from hpcompat.space import SearchSpace


@dataclass(frozen=True, repr=False)
class SearchResult:
    """What `search` returns.

    Attributes:
        trials: Every finished trial, in order.
        space: The space that was searched.
        directions: "minimize" or "maximize", for each objective.
        backend: The name of the backend.
        native: The backend's own object; for Optuna the Study.
        interrupted: Whether Ctrl-C ended the search; `trials` are those that had finished.

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

        Raises:
            SearchError: There are several objectives (see `pareto_front`), or no trial is complete and feasible.
        """
        if len(self.directions) > 1:
            raise SearchError("expected one objective, got several; use pareto_front")
        front = self.pareto_front
        if not front:
            raise no_best_error(self.trials)
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
        reported = [(trial.params, trial.unread) for trial in self.trials if trial.state != FAILED]
        known = [(params, unread) for params, unread in reported if unread is not None]
        names = dict.fromkeys(name for _, unread in known for name in unread)
        return tuple(
            name for name in names if all(name in unread for params, unread in known if _has_param(params, name))
        )

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with a row for each trial; params by dotted name, as `params.<name>`."""
        import pandas

        rows = [report.trial_row(trial, self.directions) for trial in self.trials]
        return pandas.DataFrame(rows, columns=report.row_columns(rows) or None)

    def to_optuna(self) -> Study:
        """Return an Optuna Study in memory that holds the trials, whichever backend ran them.

        What Optuna cannot represent is stored there as `translate(space, "optuna", encode=True)`
        encodes it; the params as they were are in each trial's user_attrs["params"], unless the trial
        has set that itself.
        """
        from hpcompat.trials.optuna_trials import to_study

        return to_study(self.trials, self.space, self.directions)

    def plot(self, kind: str = "history") -> Figure:
        """Return a matplotlib Figure: "history", "parallel" (coordinates) or "importances".

        With several objectives one axis, or one plot, for each.
        """
        from hpcompat.trials.report import plot

        return plot(self, kind)

    def __repr__(self) -> str:
        return report.render_text(self)

    def _repr_html_(self) -> str:
        return report.render_html(self)


def no_best_error(trials: Sequence[Trial]) -> SearchError:
    """Return the error that says why none of the trials is the best, with the trials."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    error = SearchError("no complete trial is feasible", _violations(complete))
    if not complete:
        error = SearchError(f"none of the {len(trials)} trials is complete")
    error.trials = tuple(trials)
    return error


def _violations(trials: Sequence[Trial]) -> Iterator[Issue]:
    violated: dict[str, list[float]] = {}
    for trial in trials:
        for name, value in trial.constraints.items():
            if not value <= 0:
                violated.setdefault(name, []).append(value)
    for name, values in violated.items():
        yield Issue(name, f"is above 0 in {pluralize(len(values), 'trial')}, by {min(values):g} at the least")


def _has_param(params: Mapping[str, object], name: str) -> bool:
    """Return whether there is a param of that dotted name: its conditions may not be met."""
    first, _, rest = name.partition(".")
    if name in params or not rest:
        return name in params
    group = params.get(first)
    return isinstance(group, Mapping) and _has_param(group, rest)
