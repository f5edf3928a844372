"""The running trial of a rank, and the messages that the ranks exchange during a trial."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import Any, TypeVar

from hpcompat.distributed.interrupts import Step
from hpcompat.distributed.process_group import PeerFailed, StoreChannel
from hpcompat.trials.config import Suggestion
from hpcompat.trials.run_dirs import RunDirs
from hpcompat.trials.trial import Trial

T = TypeVar("T")


@dataclass(frozen=True)
class RankOutcome:
    """How a rank has left a trial.

    Attributes:
        collective_count: How many collectives it had begun.
        error: Why it has failed, if so.
        is_secondary: Whether it has failed only because another rank has failed.
        is_interrupted: Whether Ctrl-C has interrupted it.
        is_terminated: Whether a signal ends its process.
    """

    collective_count: int
    error: str | None = None
    is_secondary: bool = False
    is_interrupted: bool = False
    is_terminated: bool = False


@dataclass(frozen=True)
class RankProgress:
    """How far a rank is.

    `position` increases in the same way on all ranks, and ranks wait for those with lower positions. `activity` counts
    other signs of progress.
    """

    position: tuple[int, ...] = (0, 2)
    activity: int = 0


@dataclass
class ActiveTrial:
    """The trial that is running on this rank.

    Attributes:
        index: The number of the trial among those of this search, from 1.
        suggestion: The suggestion that it runs.
        initial_count: How many collectives this rank had begun before the trial.
        ddp_timeout: The seconds that ranks may wait for each other.
        is_ready: Whether the training may have started.
        is_receiving: Whether this rank waits for a message of rank 0.
        is_secondary: Whether this rank has failed only because another rank has failed.
        steps: How many training steps this rank has done.
        directory: The run directory.
        reports: The reported values, by step.
        message_counts: How many messages have been exchanged, by topic.
        own_keys: The keys that this rank has set in the store.
        left_event: Set once this rank has left the trial.
        start: When the trial started.
    """

    index: int
    suggestion: Suggestion
    initial_count: int
    ddp_timeout: float
    is_ready: bool = False
    is_receiving: bool = False
    is_secondary: bool = False
    steps: int = 0
    directory: str | None = None
    reports: dict[int, float] = field(default_factory=dict)
    message_counts: dict[str, int] = field(default_factory=dict)
    own_keys: list[str] = field(default_factory=list)
    left_event: threading.Event = field(default_factory=threading.Event)
    start: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def key(self, *parts: str | int) -> str:
        """Return the key in the store of a message in this trial."""
        return "/".join(map(str, (self.index, *parts)))

    def next_index(self, topic: str) -> int:
        """Return the index of the next message on a topic, which is the same on all ranks."""
        self.message_counts[topic] = self.message_counts.get(topic, 0) + 1
        return self.message_counts[topic]

    def progress(self, collective_count: int) -> RankProgress:
        """Return how far this rank is, given how many collectives it has begun."""
        activity = sum(self.message_counts.values()) + len(self.reports)
        if self.left_event.is_set():
            return RankProgress((self.index, 2), activity)
        position = (self.index, int(self.is_ready), collective_count, self.steps, int(self.is_receiving))
        return RankProgress(position, activity)

    def to_failed_trial(self, error: str) -> Trial:
        """Return the trial as FAILED, with its reports and attributes so far."""
        return Trial.failed(
            self.suggestion.number,
            self.suggestion.params,
            error,
            intermediate_values=self.reports,
            start=self.start,
            directory=self.directory,
            **self.suggestion.notes.to_trial_fields(),
        )


def first_error(outcomes: Mapping[int, RankOutcome]) -> str | None:
    """Return the error of the rank that failed first, with its rank.

    >>> first_error({0: RankOutcome(7, "RuntimeError: a peer is gone"), 1: RankOutcome(5, "ValueError: odd")})
    'rank 1: ValueError: odd'
    """
    failed_ranks = [rank for rank, outcome in outcomes.items() if outcome.error is not None]
    if not failed_ranks:
        return None
    rank = min(failed_ranks, key=lambda rank: (outcomes[rank].is_secondary, outcomes[rank].collective_count, rank))
    return f"rank {rank}: {outcomes[rank].error}"


@dataclass(frozen=True)
class TrialChannel:
    """The messages between the ranks in a trial.

    Attributes:
        trial: The running trial.
        store: The channel to the other ranks.
        check_aborted: Raises `PeerFailed` if the ranks are out of step.
        check_step: Raises `KeyboardInterrupt` at the step at which all ranks stop.
    """

    trial: ActiveTrial
    store: StoreChannel
    check_aborted: Callable[[], None]
    check_step: Callable[[Step], None]

    def connect(self, suggestion: Suggestion) -> Suggestion:
        """Return the suggestion for this rank, whose callbacks reach the engine on rank 0, and rank 0 on the others."""
        native = suggestion.native
        if has_suggest(native) or (self.store.rank > 0 and native is not None):
            native = SharedTrial(native if self.store.rank == 0 else None, self.broadcast)
        return replace(
            suggestion,
            report=self._report,
            should_prune=lambda: self.broadcast("prune", suggestion.should_prune, default=False),
            on_ready=self._wait_until_all_ready,
            on_step=self._on_step,
            on_ddp_timeout=self._set_ddp_timeout,
            native=native,
        )

    def set(self, *key: str | int, value: object = None) -> None:
        """Set a key of this trial; it is deleted after the next trial."""
        path = self.trial.key(*key)
        self.trial.own_keys.append(path)
        self.store.set(path, value)

    def wait(self, *key: str | int, check: Callable[[], None] | None = None) -> Any:
        """Wait until a rank has set a key of this trial, and return the value."""
        return self.store.wait(self.trial.key(*key), check or self.check_aborted)

    def broadcast(self, topic: str, compute: Callable[[], T], default: T | None = None) -> T:
        """Return on all ranks what `compute` returns on rank 0, or the default if rank 0 ends the trial before.

        Raises `PeerFailed` if rank 0 fails, so that all ranks fail at the same point and stay in step.
        """
        index = self.trial.next_index(topic)
        if self.store.rank > 0:
            return self._receive(topic, index, default)
        value = compute()
        self.set(topic, index, value=value)
        return value

    def _receive(self, topic: str, index: int, default: T | None) -> T:
        key, outcome_key = self.trial.key(topic, index), self.trial.key("outcome", 0)
        self.trial.is_receiving = True
        try:
            self.store.wait_any([key, outcome_key], self.check_aborted)
        finally:
            self.trial.is_receiving = False
        if self.store.contains(key):
            value: T = self.store.read(key)
            return value
        outcome: RankOutcome = self.store.read(outcome_key)
        if outcome.error is None and default is not None:
            return default
        self.trial.is_secondary = True
        raise PeerFailed(f"rank 0: {outcome.error or f'it has ended the trial without a {topic}'}")

    def _report(self, value: float, step: int) -> None:
        self.trial.reports[step] = value
        self.trial.suggestion.report(value, step)

    def _wait_until_all_ready(self) -> None:
        if self.trial.is_ready:
            return
        self.trial.is_ready = True
        self.set("ready", self.store.rank)
        for rank in self.store.other_ranks:
            error = self.wait("ready", rank)
            if error is not None:
                self.trial.is_secondary = True
                raise PeerFailed(f"rank {rank}: {error}")

    def _on_step(self) -> None:
        self.trial.suggestion.on_step()
        self.trial.steps += 1
        self.check_step((self.trial.index, self.trial.steps))

    def _set_ddp_timeout(self, seconds: float) -> None:
        self.trial.ddp_timeout = self.store.timeout = seconds


def has_suggest(native: object) -> bool:
    """Return whether the engine's trial object can suggest parameters while the trial runs."""
    return hasattr(native, "suggest_float")


class SharedTrial:
    """The engine's trial object on rank 0, whose suggestions are broadcast to all ranks."""

    def __init__(self, native: object, broadcast: Callable[[str, Callable[[], object]], object]) -> None:
        self._native = native
        self._broadcast = broadcast

    def __getattr__(self, name: str) -> Any:
        if name.startswith("suggest_"):
            return lambda *args, **kwargs: self._broadcast(
                "suggest", lambda: getattr(self._native, name)(*args, **kwargs)
            )
        if self._native is None:
            raise AttributeError(f"the engine's trial, and its attribute {name!r}, is on rank 0 only")
        return getattr(self._native, name)


@dataclass(frozen=True)
class SharedRunDirs(RunDirs):
    """Run directories that rank 0 creates and all ranks use."""

    broadcast: Callable[[Callable[[], str]], str] = field(kw_only=True)

    def create(self, root: str, name: str) -> str:
        """Create a directory on rank 0, and return it on all ranks."""
        return self.broadcast(partial(super().create, root, name))

    def close(self, path: str) -> str:
        """Return the path without removing an empty directory, in which other ranks may look for checkpoints."""
        return path

    def close_for_all(self, path: str) -> str | None:
        """Close the directory after all ranks have left the trial."""
        return super().close(path)
