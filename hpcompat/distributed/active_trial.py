"""One trial as one rank goes through it, and how it ended there."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from hpcompat.trials.config import Suggestion
from hpcompat.trials.trial import FAILED, Trial


class Elsewhere(Exception):
    """Another rank has failed: this one leaves the trial where that one did."""


@dataclass(frozen=True)
class End:
    """How a rank left the trial.

    `calls`: how many collectives it had begun. `error`: why it failed, the cause first; `echoed`: it failed
    only because another one had. `interrupted`: by Ctrl-C. `terminated`: by a signal that ends its process.
    """

    calls: int
    error: str | None = None
    echoed: bool = False
    interrupted: bool = False
    terminated: bool = False


@dataclass(frozen=True)
class Stand:
    """How far a rank is. `place`: what all ranks go through, in order; `moves`: what else shows that it moves.

    Of two ranks the one with the lower place is waited for, or will be.
    """

    place: tuple[int, ...] = (0, 2)
    moves: int = 0


@dataclass
class Course:
    """A trial that is under way on this rank.

    `begun`: the collectives before it. `ready`: prepared, the training may be on. `steps`: of the training,
    and of its evaluations. `hearing`: it waits for what rank 0 says next. `ddp_timeout`: how many seconds
    the ranks may wait for each other.
    """

    index: int
    suggestion: Suggestion
    begun: int
    ddp_timeout: float
    hearing: bool = False
    ready: bool = False
    echoed: bool = False
    steps: int = 0
    directory: str | None = None
    reports: dict[int, float] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    start: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def key(self, *parts: Any) -> str:
        """The key of something said in this trial."""
        return "/".join(map(str, (self.index, *parts)))

    def next(self, kind: str) -> str:
        """The key of the next thing of that kind: all ranks count alike."""
        self.said[kind] = self.said.get(kind, 0) + 1
        return self.key(kind, self.said[kind])

    def stand(self, calls: int) -> Stand:
        """How far this rank is in it, with so many collectives begun."""
        moves = sum(self.said.values()) + len(self.reports)
        if self.ended.is_set():
            return Stand((self.index, 2), moves)
        return Stand((self.index, int(self.ready), calls, self.steps, int(self.hearing)), moves)

    def failed(self, cause: str) -> Trial:
        """The trial, as far as it is known while it is still under way."""
        return Trial(
            number=self.suggestion.number,
            params=self.suggestion.params,
            state=FAILED,
            intermediate_values=self.reports,
            start=self.start,
            end=datetime.now(timezone.utc),
            directory=self.directory,
            error=cause,
            **self.suggestion.notes.fields(),
        )


def cause_of(ends: dict[int, End]) -> str | None:
    """The error of the trial: that of the rank that failed first, with its rank.

    >>> cause_of({0: End(7, "RuntimeError: a peer is gone"), 1: End(5, "ValueError: odd")})
    'rank 1: ValueError: odd'
    """
    errors = [(end.echoed, end.calls, rank, end.error) for rank, end in ends.items() if end.error is not None]
    if not errors:
        return None
    *_, rank, error = min(errors)
    return f"rank {rank}: {error}"
