"""A finished trial, and the Pareto front of trials."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from hpcompat.space.serialization import value_from_json, value_to_json
from hpcompat.space.values import short_repr

COMPLETE, PRUNED, FAILED = "COMPLETE", "PRUNED", "FAILED"
UNSCORED = "UNSCORED"
"""The state of a trained trial of which it is not known yet which metric is the objective."""
STATES = (COMPLETE, PRUNED, FAILED, UNSCORED)


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        number: The number of the trial in the search, from 0.
        params: The params of the trial, nested where the space has groups.
        values: One float for each direction; for a pruned trial the last reported value, if any; None if it failed.
        state: "COMPLETE", "PRUNED" or "FAILED"; "UNSCORED" if it is not known yet which metric is the objective.
        intermediate_values: The reported values, by step.
        start: The time at which it started, in UTC.
        end: The time at which it ended, in UTC.
        run_id: The name of its run directory.
        directory: Its run directory; None if that is empty.
        checkpoint: The saved model: the best one if the Trainer loads the best model at the end, else the last one.
        error: The cause of a failure, followed by the traceback.
        constraints: The constraint values, by name; the trial is feasible if none is above 0.
        user_attrs: The user attributes that the trial has set.
        metrics: The metrics of the evaluation that `values` comes from, by name.
        unread: The params, by dotted name, that neither the function or model_init has read, nor the Trainer as one
            of its arguments; None if that is not known.
        carried: The state that the trial has changed on objects which all trials of the Trainer share.

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

    @classmethod
    def failed(cls, number: int, params: Mapping[str, object], error: str, **fields: Any) -> Trial:
        """Return a FAILED trial that ends now.

        >>> Trial.failed(3, {"x": 1}, "NodeLost: node-2").state
        'FAILED'
        """
        return cls(number, params, state=FAILED, error=error, **{"end": datetime.now(timezone.utc), **fields})

    @property
    def is_feasible(self) -> bool:
        """Whether the trial meets every constraint.

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

    def to_record(self, root: str) -> dict[str, object]:
        """Return the trial as JSON values, with paths relative to `root`, so that the directory may be moved.

        >>> Trial(0, {"pair": (1, 2)}, (0.3,), directory="/out/run-0").to_record("/out")["directory"]
        'run-0'
        """
        record = {
            "number": self.number,
            "params": value_to_json(dict(self.params)),
            "values": self.values,
            "state": self.state,
            "intermediate_values": dict(self.intermediate_values),
            "start": self.start and self.start.isoformat(),
            "end": self.end and self.end.isoformat(),
            "run_id": self.run_id,
            "directory": self.directory and os.path.relpath(self.directory, root),
            "checkpoint": self.checkpoint and os.path.relpath(self.checkpoint, root),
            "error": self.error,
            "constraints": dict(self.constraints),
            "user_attrs": value_to_json(dict(self.user_attrs)),
            "metrics": dict(self.metrics),
            "unread": self.unread,
        }
        return {name: value for name, value in record.items() if value not in (None, {})}

    @classmethod
    def from_record(cls, record: Mapping[str, object], root: str) -> Trial:
        """Return the trial of a record of `to_record`. Raises an exception of any type for an invalid record.

        >>> Trial.from_record({"number": 0, "state": "PRUNED", "directory": "run-0"}, "/out").directory
        '/out/run-0'
        """
        readers: dict[str, Callable[[Any], Any]] = {
            "number": parse_trial_number,
            "params": value_from_json,
            "values": _parse_values,
            "state": _parse_state,
            "intermediate_values": lambda reports: {int(step): value for step, value in reports.items()},
            "start": datetime.fromisoformat,
            "end": datetime.fromisoformat,
            "run_id": lambda name: name,
            "directory": partial(_resolve_inside, root),
            "checkpoint": partial(_resolve_inside, root),
            "error": lambda text: text,
            "constraints": parse_constraints,
            "user_attrs": value_from_json,
            "metrics": dict,
            "unread": tuple,
        }
        fields = {name: read(record[name]) for name, read in readers.items() if name in record}
        return cls(**{"params": {}, **fields})


def is_eligible(trial: Trial) -> bool:
    """Return whether a trial is complete and feasible, so that it may be the best one."""
    return trial.state == COMPLETE and trial.is_feasible


def objective_names(n_objectives: int, label: str = "objective", first: int = 0) -> tuple[str, ...]:
    """Return the names under which the values of a trial are stored, with a number if there are several.

    >>> objective_names(1), objective_names(2), objective_names(2, first=1)
    (('objective',), ('objective_0', 'objective_1'), ('objective_1', 'objective_2'))
    """
    return (label,) if n_objectives == 1 else tuple(f"{label}_{first + index}" for index in range(n_objectives))


def parse_trial_number(number: object) -> int:
    """Validate a stored trial number. Raises `ValueError`."""
    if type(number) is not int or number < 0:
        raise ValueError(f"expected the number of a trial, got {short_repr(number)}")
    return number


def parse_constraints(constraints: Mapping[str, Any]) -> dict[str, float]:
    """Validate stored constraint values. Raises `TypeError` or `ValueError`."""
    if not all(type(value) in (int, float) for value in constraints.values()):
        raise TypeError(f"expected constraints to be numbers by name, got {short_repr(constraints)}")
    try:
        return {str(name): float(value) for name, value in constraints.items()}
    except OverflowError as error:
        raise ValueError(f"{short_repr(constraints)}: {error}") from error


def _parse_values(record: Iterable[float]) -> tuple[float, ...]:
    values = tuple(record)
    if not all(type(value) in (int, float) for value in values):
        raise ValueError(f"expected numbers for values, got {short_repr(values)}")
    return values


def _parse_state(state: object) -> str:
    if state not in STATES:
        raise ValueError(f"expected one of {STATES} for state, got {short_repr(state)}")
    return str(state)


def _resolve_inside(root: str, relative_path: str) -> str:
    path = os.path.normpath(os.path.join(root, relative_path))
    if not path.startswith(os.path.join(root, "")):  # a search removes its directories
        raise ValueError(f"expected a path inside the output_dir, got {relative_path!r}")
    return path


def minimized_values(trial: Trial, directions: Sequence[str]) -> tuple[float, ...]:
    """Return the values, negated where they are maximized, so that lower is better."""
    pairs = zip(trial.values or (), directions, strict=True)
    return tuple([value if direction == "minimize" else -value for value, direction in pairs])


def pareto_front(trials: Iterable[Trial], directions: Sequence[str]) -> tuple[Trial, ...]:
    """Return the complete and feasible trials that no other trial dominates, ordered by number.

    A trial dominates another if it is as good in every objective and better in one.

    >>> trials = [Trial(0, {}, (1.0, 5.0)), Trial(1, {}, (2.0, 4.0)), Trial(2, {}, (2.0, 5.0))]
    >>> [trial.number for trial in pareto_front(trials, ["minimize", "minimize"])]
    [0, 1]
    """
    candidates = sorted(
        ((minimized_values(trial, directions), trial) for trial in trials if is_eligible(trial)),
        key=lambda pair: (pair[0], pair[1].number),
    )
    front: list[tuple[tuple[float, ...], Trial]] = []
    for loss, trial in candidates:  # sorted, so that only earlier trials can dominate a trial
        if not any(_dominates(other, loss) for other, _ in front):
            front.append((loss, trial))
    return tuple(sorted((trial for _, trial in front), key=lambda trial: trial.number))


def update_pareto_front(front: tuple[Trial, ...], trial: Trial, directions: Sequence[str]) -> tuple[Trial, ...]:
    """Return the Pareto front after one more complete and feasible trial.

    >>> front = update_pareto_front((Trial(0, {}, (2.0,)),), Trial(1, {}, (1.0,)), ["minimize"])
    >>> [trial.number for trial in front]
    [1]
    """
    loss = minimized_values(trial, directions)
    others = [(minimized_values(other, directions), other) for other in front]
    if any(_dominates(other, loss) for other, _ in others):
        return front
    undominated = [other for other_loss, other in others if not _dominates(loss, other_loss)]
    return tuple(sorted([*undominated, trial], key=lambda trial: trial.number))


def _dominates(values: tuple[float, ...], other_values: tuple[float, ...]) -> bool:
    return values != other_values and all(a <= b for a, b in zip(values, other_values, strict=True))
