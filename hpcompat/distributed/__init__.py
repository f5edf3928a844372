"""Several ranks, one search: what a launcher (torchrun, …) has started goes through every trial together (DDP).

Rank 0 leads: it runs the backend, and sends every suggestion to the other ranks. They follow: they evaluate what rank 0
sends, and return the same trials. The protocol, with its failures, is in docs/internals/distributed.md. In short:

- The ranks exchange messages through the store of their process group, never by collectives. Before a training begins
  all wait until all are prepared, so that what fails in model_init fails everywhere.
- Each rank says how it has left a trial, and after how many collectives: a rank that has begun more would wait
  for ever. A watchdog thread on each sees that, and a rank that is dead or hangs: the trial is FAILED, the search ends.
- Ctrl-C on one rank stops all at the same step; SIGTERM for one is SIGTERM for all.

A search uses `open_session`. Processes that another program has put into a process group use `connect`:

    with distributed.connect() as coordinator:                # on every rank; None if there is only one
        with coordinator.adapt(objective).open() as evaluate:
            trial = coordinator.evaluate(evaluate, suggestion)      # the same on every rank

Every rank passes a suggestion with the same number and params. Its `should_prune` and `native` are asked on rank 0
only; `report` is called on every rank with that rank's own value.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NoReturn

from hpcompat.distributed.coordinator import Coordinator
from hpcompat.distributed.process_group import StoreUnreachable, join_process_group
from hpcompat.distributed.trial_channel import has_suggest
from hpcompat.distributed.watchdog import GRACE_S, LEAVE_TIMEOUT_S
from hpcompat.errors import BackendError, HpcompatError, Issue, SearchError, error_summary, format_error
from hpcompat.objectives.objective import Objective
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.loop import Recorder
from hpcompat.trials.process import Termination
from hpcompat.trials.trial import Trial

__all__ = ["Coordinator", "Session", "connect", "open_session", "world_size"]

SearchOutcome = tuple[tuple[Trial, ...], bool]
"""All trials, and whether Ctrl-C has ended the search."""


def world_size() -> int:
    """Return the number of ranks; 1 without a launcher. It does not load torch."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    is_launched = all(map(os.environ.get, ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")))
    return int(os.environ["WORLD_SIZE"]) if is_launched else 1


@contextmanager
def connect() -> Iterator[Coordinator | None]:
    """Connect this rank to the others of its process group; yield None if there is only one.

    Raises `SearchError` if the ranks do not meet.
    """
    if world_size() == 1:
        yield None
        return
    coordinator = Coordinator(*join_process_group())
    try:
        coordinator.open()
        yield coordinator
    finally:
        coordinator.close()


@contextmanager
def open_session(backend: str, termination: Termination) -> Iterator[Session]:
    """Open this process's part of a search: of one over several ranks, if a launcher has started several.

    `termination` tells whether SIGTERM has come here, and ends the search. Raises `BackendError` for a backend that
    runs trials in processes of its own.
    """
    if backend == "ray" and world_size() > 1:
        hint = Issue("", "start one process, and let Ray give each trial its workers; or choose another backend")
        raise BackendError(f"the ray backend cannot search from {world_size()} ranks of a launcher", [hint])
    with connect() as coordinator:
        if coordinator is None:
            yield SingleProcess()
            return
        session = RankSession(coordinator, termination)
        try:
            yield session
        except BaseException as error:
            session.fail(error)
            raise
        finally:
            coordinator.termination.share()


class SingleProcess:
    """A search in a single process: it shares nothing."""

    is_follower = False
    is_aborted = False

    def adapt(self, objective: Objective) -> Objective:
        """Return the objective."""
        return objective

    def attach(self, recorder: Recorder) -> None:
        """Do nothing: trials come from this process alone."""

    def finish(self, outcome: SearchOutcome) -> None:
        """Do nothing."""

    def follow(self, evaluate: Evaluate) -> NoReturn:
        """Raise `NotImplementedError`: no rank leads."""
        raise NotImplementedError


class RankSession:
    """A search that several ranks go through together: rank 0 drives it, the others follow."""

    def __init__(self, coordinator: Coordinator, termination: Termination) -> None:
        self.coordinator = coordinator
        self.store = coordinator.store
        self.peers = coordinator.peers
        self.is_follower = coordinator.rank > 0
        coordinator.termination.is_enabled = True
        coordinator.termination.local = termination

    def adapt(self, objective: Objective) -> Objective:
        """Return the objective of this rank; on rank 0 it has all ranks evaluate a trial."""
        adapted = self.coordinator.adapt(objective)
        return adapted if self.is_follower else replace(adapted, wrap=self._wrap_evaluate)

    def _wrap_evaluate(self, evaluate: Evaluate) -> Evaluate:
        def evaluate_on_all_ranks(suggestion: Suggestion) -> Trial:
            self.peers.raise_if_aborted()
            index = self.coordinator.n_started + 1
            native = has_suggest(suggestion.native) or None
            assignment = Suggestion(suggestion.number, suggestion.params, native=native, notes=suggestion.notes)
            self.store.set(f"assignment/{index}", assignment)
            self.store.delete(f"assignment/{index - 2}")
            return self.coordinator.evaluate(evaluate, suggestion)

        return evaluate_on_all_ranks

    @property
    def is_aborted(self) -> bool:
        """Whether the ranks are out of step, and no trial can follow."""
        return self.peers.abort_reason is not None

    def attach(self, recorder: Recorder) -> None:
        """Record a trial that rank 0 cannot leave."""

        def record(trial: Trial) -> None:
            recorder.save(trial)
            recorder.finish(trial)

        self.coordinator.on_abandoned = record

    def finish(self, outcome: SearchOutcome) -> None:
        """Send the outcome from rank 0 to the others. Raises `SearchError` if the ranks are out of step."""
        trials, is_interrupted = outcome
        if self.peers.abort_reason is not None and not is_interrupted:
            error = self.peers.to_error()
            error.trials = trials
            raise error
        self._broadcast_result(outcome)

    def follow(self, evaluate: Evaluate) -> SearchOutcome:
        """Evaluate the trials that rank 0 assigns, and return or raise what the search ends with."""
        try:
            while (suggestion := self._next_assignment()) is not None:
                self.coordinator.evaluate(evaluate, suggestion)
        except KeyboardInterrupt:
            self.coordinator.interrupts.note()
            self.coordinator.interrupts.is_raised = True
        except SearchError:
            if self.peers.abort_reason is None:
                raise
        deadline = time.monotonic() + LEAVE_TIMEOUT_S
        result: SearchOutcome | BaseException = self.store.wait("result", lambda: self._check_leader(deadline))
        if isinstance(result, BaseException):
            raise result
        return result

    def _next_assignment(self) -> Suggestion | None:
        """Wait for rank 0's next suggestion; return None if it has ended the search instead."""
        key = f"assignment/{self.coordinator.n_started + 1}"
        self.store.wait_any([key, "result"], self.peers.raise_if_aborted)
        suggestion: Suggestion | None = self.store.read(key) if self.store.contains(key) else None
        return suggestion

    def _check_leader(self, deadline: float) -> None:
        if self.peers.abort_reason is not None and (time.monotonic() > deadline or self.peers.has_exited(0)):
            raise self.peers.to_error()

    def fail(self, error: BaseException) -> None:
        """Leave the search with an error, and have the other ranks leave it."""
        rank = self.coordinator.rank
        with suppress(StoreUnreachable):
            if not isinstance(error, (Exception, KeyboardInterrupt)):  # a signal ends this process
                self.coordinator.termination.announce()
                self._wait_for_followers(2 * GRACE_S)
            elif rank == 0:
                is_portable = isinstance(error, (HpcompatError, KeyboardInterrupt))
                self._broadcast_result(error if is_portable else SearchError(f"rank 0: {error_summary(error)}"))
            elif not self.store.contains("result"):
                self.peers.abort(f"rank {rank}: {format_error(error)}")

    def _broadcast_result(self, result: SearchOutcome | BaseException) -> None:
        self.coordinator.termination.share()
        if not self.store.contains("result"):
            self.store.set("result", result)
        self._wait_for_followers(LEAVE_TIMEOUT_S)

    def _wait_for_followers(self, timeout: float) -> None:
        """Wait on rank 0, whose process may hold the store, until the others have read from it."""
        deadline = time.monotonic() + timeout
        for rank in self.store.other_ranks if self.coordinator.rank == 0 else ():
            while not self.store.contains(f"left/{rank}"):
                if self.peers.abort_reason is not None or time.monotonic() > deadline:
                    break
                time.sleep(0.01)


Session = SingleProcess | RankSession
