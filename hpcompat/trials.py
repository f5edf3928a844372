"""What a search found: trials and results as plain frozen data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hpcompat import tables
from hpcompat.errors import Issue, SearchError
from hpcompat.space.values import pluralize

if TYPE_CHECKING:
    from hpcompat.space import SearchSpace

COMPLETE, PRUNED, FAILED = "COMPLETE", "PRUNED", "FAILED"
UNSCORED = "UNSCORED"
STATES = (COMPLETE, PRUNED, FAILED, UNSCORED)
"""The state of a trial in a journal that was trained before it was known which of its metrics is the objective."""


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    `values`: one float for each direction; of a pruned trial the last one reported, if any; None if
    it failed. `state`: "COMPLETE", "PRUNED" or "FAILED". `intermediate_values`: what was reported,
    by step. `start`, `end`: UTC. `run_id`: the name of its run directory, and `directory` where that
    is, as long as anything is in it; `checkpoint`: the model saved there, the best one where the Trainer
    loads the best at the end, else the last. `error`: why it failed, the cause first, then the traceback.
    `constraints`: values by name that the trial set; it is feasible if none is above 0. `user_attrs`: what
    it noted of itself. `metrics`: what the evaluation behind `values` measured, by name. `unread`: the
    params, by dotted name, that neither the function or model_init has read, nor the Trainer as one of its
    arguments; None where that is not known. `carried`: the state that it changed on objects which the next trial of
    the same Trainer gets too; search warns of it.

    >>> Trial(0, {"learning_rate": 1e-5}, (0.3,)).value
    0.3
    """

    number: int
    params: Mapping[str, Any]
    values: tuple[float, ...] | None = None
    state: str = COMPLETE
    intermediate_values: Mapping[int, float] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None
    run_id: str | None = None
    directory: str | None = None
    checkpoint: str | None = None
    error: str | None = None
    constraints: Mapping[str, float] = field(default_factory=dict)
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    unread: tuple[str, ...] | None = None
    carried: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def is_feasible(self) -> bool:
        """Whether every constraint is met.

        >>> Trial(0, {}, (0.3,), constraints={"memory": 1.5}).is_feasible
        False
        """
        return all(value <= 0 for value in self.constraints.values())

    @property
    def value(self) -> float | None:
        """The value of the first (or only) objective."""
        return self.values[0] if self.values else None

    @property
    def duration(self) -> timedelta | None:
        """How long the trial took."""
        return self.end - self.start if self.start and self.end else None

    @property
    def cause(self) -> str | None:
        """The first line of `error`."""
        return self.error.split("\n", 1)[0] if self.error else None


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
        from hpcompat.studies import study_of

        return study_of(self)

    def plot(self, kind: str = "history") -> Any:
        """A matplotlib Figure: "history", "parallel" (coordinates) or "importances".

        With several objectives one axis, or one plot, for each.
        """
        from hpcompat.plots import draw

        return draw(self, kind)

    def __repr__(self) -> str:
        return tables.text(self)

    def _repr_html_(self) -> str:
        return tables.html(self)


def is_eligible(trial: Trial) -> bool:
    """Whether it may be the best: it is complete, and feasible."""
    return trial.state == COMPLETE and trial.is_feasible


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


def losses(trial: Trial, directions: Sequence[str]) -> tuple[float, ...]:
    """The values with their signs turned so that less is better."""
    signed = zip(trial.values or (), directions, strict=True)
    return tuple([value if direction == "minimize" else -value for value, direction in signed])


def pareto_front(trials: Iterable[Trial], directions: Sequence[str]) -> tuple[Trial, ...]:
    """The complete and feasible trials that no other one dominates, in order of their number.

    One trial dominates another that it equals or betters in every objective and betters in one.

    >>> trials = [Trial(0, {}, (1.0, 5.0)), Trial(1, {}, (2.0, 4.0)), Trial(2, {}, (2.0, 5.0))]
    >>> [trial.number for trial in pareto_front(trials, ["minimize", "minimize"])]
    [0, 1]
    """
    ranked = sorted(
        ((losses(trial, directions), trial) for trial in trials if is_eligible(trial)),
        key=lambda pair: (pair[0], pair[1].number),
    )
    front: list[tuple[tuple[float, ...], Trial]] = []
    for loss, trial in ranked:  # sorted: a trial can only be dominated by one that came before it
        if not any(_dominates(other, loss) for other, _ in front):
            front.append((loss, trial))
    return tuple(sorted((trial for _, trial in front), key=lambda trial: trial.number))


def extended(front: tuple[Trial, ...], trial: Trial, directions: Sequence[str]) -> tuple[Trial, ...]:
    """The Pareto front once a complete and feasible trial has joined those that it is the front of.

    >>> front = extended((Trial(0, {}, (2.0,)),), Trial(1, {}, (1.0,)), ["minimize"])
    >>> [trial.number for trial in front]
    [1]
    """
    loss = losses(trial, directions)
    others = [(losses(other, directions), other) for other in front]
    if any(_dominates(other, loss) for other, _ in others):
        return front
    kept = [other for theirs, other in others if not _dominates(loss, theirs)]
    return tuple(sorted([*kept, trial], key=lambda trial: trial.number))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))
