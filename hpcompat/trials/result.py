"""The result of a search."""

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
    """The result of `search`.

    Attributes:
        trials: Every finished trial, in order.
        space: The space that was searched.
        directions: "minimize" or "maximize", for each objective.
        backend: The name of the backend.
        native: The backend's own object, such as the Study of Optuna.
        interrupted: Whether Ctrl-C ended the search; `trials` holds the trials that had finished.

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
        """The complete and feasible trial with the best value; of equal trials the earliest.

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
        """The complete and feasible trials that no other trial dominates, ordered by number."""
        return pareto_front(self.trials, self.directions)

    @property
    def unread(self) -> tuple[str, ...]:
        """The params, by dotted name, that no trial has read, so that their values have had no effect.

        Failed trials do not count: they may have failed before reading a param.
        """
        unread_by_trial = [
            (trial.params, trial.unread) for trial in self.trials if trial.state != FAILED and trial.unread is not None
        ]
        names = dict.fromkeys(name for _, unread in unread_by_trial for name in unread)
        return tuple(
            name
            for name in names
            if all(name in unread for params, unread in unread_by_trial if _has_param(params, name))
        )

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with a row for each trial; params by dotted name, as `params.<name>`."""
        import pandas

        rows = [report.trial_row(trial, self.directions) for trial in self.trials]
        return pandas.DataFrame(rows, columns=report.row_columns(rows) or None)

    def to_optuna(self) -> Study:
        """Return an in-memory Optuna Study that holds the trials of any backend.

        Values that Optuna cannot represent are encoded as by `translate(space, "optuna", encode=True)`. The original
        params are in `user_attrs["params"]` of each trial, unless the trial has set that attribute itself.
        """
        from hpcompat.trials.optuna_trials import to_study

        return to_study(self.trials, self.space, self.directions)

    def plot(self, kind: str = "history") -> Figure:
        """Return a matplotlib Figure of the kind "history", "parallel" (coordinates) or "importances".

        With several objectives there is an axis, or a plot, for each.
        """
        from hpcompat.trials.report import plot

        return plot(self, kind)

    def __repr__(self) -> str:
        return report.render_text(self)

    def _repr_html_(self) -> str:
        return report.render_html(self)


def no_best_error(trials: Sequence[Trial]) -> SearchError:
    """Return the error for a search without a complete and feasible trial."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    error = SearchError("no complete trial is feasible", _violations(complete))
    if not complete:
        error = SearchError(f"none of the {len(trials)} trials is complete")
    error.trials = tuple(trials)
    return error


def _violations(trials: Sequence[Trial]) -> Iterator[Issue]:
    violations: dict[str, list[float]] = {}
    for trial in trials:
        for name, value in trial.constraints.items():
            if not value <= 0:
                violations.setdefault(name, []).append(value)
    for name, values in violations.items():
        yield Issue(name, f"is above 0 in {pluralize(len(values), 'trial')}, by at least {min(values):g}")


def _has_param(params: Mapping[str, object], name: str) -> bool:
    """Return whether a trial has a param of that dotted name; an inactive param is absent."""
    first, _, rest = name.partition(".")
    if name in params or not rest:
        return name in params
    group = params.get(first)
    return isinstance(group, Mapping) and _has_param(group, rest)
