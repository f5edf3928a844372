"""Searches over several ranks: the processes of a launcher such as torchrun run every trial together (DDP).

Rank 0 leads: it runs the backend, and sends every suggestion to the other ranks. These follow: they evaluate the
suggestions of rank 0, and return the same trials. docs/internals/distributed.md has the protocol. In short:

- The ranks exchange messages through the store of their process group, and not by collectives. Before a training starts
  all ranks wait for each other, so that an error in model_init fails the trial on all of them.
- Each rank sends how it has left a trial, and how many collectives it had begun. A rank that has begun more would wait
  forever; its watchdog thread detects that, and also ranks that have died or hang. Then the trial is FAILED, and the
  search ends.
- Ctrl-C on one rank stops all ranks at the same step. SIGTERM on one rank ends all of them.

A search uses `open_session`. Processes that are already in a process group use `connect`:

    with distributed.connect() as coordinator:                # on every rank; None if there is only one rank
        with coordinator.adapt(objective).open() as evaluate:
            trial = coordinator.evaluate(evaluate, suggestion)      # the same on every rank

Every rank passes a suggestion with the same number and params. Its `should_prune` and `native` are only used on rank 0;
`report` is called on every rank, with the value of that rank.
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
"""All trials of the search, and whether Ctrl-C has ended it."""


def world_size() -> int:
    """Return the number of ranks, or 1 without a launcher; do not import torch."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    is_launched = all(map(os.environ.get, ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")))
    return int(os.environ["WORLD_SIZE"]) if is_launched else 1


@contextmanager
def connect() -> Iterator[Coordinator | None]:
    """Connect this rank to the other ranks of its process group; yield None if there is only one rank.

    Raises `SearchError` if the ranks cannot connect.
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
    """Open the session of this process in a search: as one of several ranks, or alone.

    `termination` says whether this process has received SIGTERM. Raises `BackendError` for Ray on several ranks,
    because Ray starts its own processes.
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
            session.leave_with_error(error)
            raise
        finally:
            coordinator.termination.propagate()


class SingleProcess:
    """The session of a search in a single process."""

    is_follower = False
    is_aborted = False

    def adapt(self, objective: Objective) -> Objective:
        """Return the objective unchanged."""
        return objective

    def attach(self, recorder: Recorder) -> None:
        """Do nothing: a single process abandons no trials."""

    def finish(self, outcome: SearchOutcome) -> None:
        """Do nothing: there are no other ranks."""

    def follow(self, evaluate: Evaluate) -> NoReturn:
        """Raise `NotImplementedError`: a single process does not follow."""
        raise NotImplementedError


class RankSession:
    """The session of a rank in a search that rank 0 leads and the other ranks follow."""

    def __init__(self, coordinator: Coordinator, termination: Termination) -> None:
        self.coordinator = coordinator
        self.store = coordinator.store
        self.peers = coordinator.peers
        self.is_follower = coordinator.rank > 0
        coordinator.termination.is_enabled = True
        coordinator.termination.local = termination

    def adapt(self, objective: Objective) -> Objective:
        """Return the objective for this rank; on rank 0 it makes all ranks evaluate each trial."""
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
        """Whether the ranks are out of step, so that no further trial can run."""
        return self.peers.abort_reason is not None

    def attach(self, recorder: Recorder) -> None:
        """Pass the trial that rank 0 cannot leave, if any, to the recorder."""

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
        """Evaluate the trials that rank 0 assigns; at the end return or raise the result of the search."""
        try:
            while (suggestion := self._next_assignment()) is not None:
                self.coordinator.evaluate(evaluate, suggestion)
        except KeyboardInterrupt:
            self.coordinator.interrupts.mark_pending()
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
        """Wait for the next suggestion of rank 0; return None if rank 0 has ended the search."""
        key = f"assignment/{self.coordinator.n_started + 1}"
        self.store.wait_any([key, "result"], self.peers.raise_if_aborted)
        suggestion: Suggestion | None = self.store.read(key) if self.store.contains(key) else None
        return suggestion

    def _check_leader(self, deadline: float) -> None:
        if self.peers.abort_reason is not None and (time.monotonic() > deadline or self.peers.has_exited(0)):
            raise self.peers.to_error()

    def leave_with_error(self, error: BaseException) -> None:
        """Leave the search because of an error, and make the other ranks leave it too."""
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
        self.coordinator.termination.propagate()
        if not self.store.contains("result"):
            self.store.set("result", result)
        self._wait_for_followers(LEAVE_TIMEOUT_S)

    def _wait_for_followers(self, timeout: float) -> None:
        """Wait on rank 0 until the other ranks have left, because its process may hold the store."""
        deadline = time.monotonic() + timeout
        for rank in self.store.other_ranks if self.coordinator.rank == 0 else ():
            while not self.store.contains(f"left/{rank}"):
                if self.peers.abort_reason is not None or time.monotonic() > deadline:
                    break
                time.sleep(0.01)


Session = SingleProcess | RankSession
