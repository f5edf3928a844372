"""One finished trial, as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

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


def is_eligible(trial: Trial) -> bool:
    """Whether it may be the best: it is complete, and feasible."""
    return trial.state == COMPLETE and trial.is_feasible
