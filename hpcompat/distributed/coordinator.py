"""The coordinator: evaluates every trial together with the other ranks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from hpcompat.distributed.interrupts import Interrupts, SharedTermination
from hpcompat.distributed.process_group import GroupBackends, PeerFailed, Peers, StoreChannel, StoreUnreachable
from hpcompat.distributed.trial_channel import ActiveTrial, RankOutcome, SharedRunDirs, TrialChannel, first_error
from hpcompat.distributed.watchdog import Watchdog
from hpcompat.errors import HpcompatError, format_error
from hpcompat.objectives.objective import Objective
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.trial import FAILED, Trial


class Coordinator:
    """Evaluates trials together with the other ranks, on each rank.

    Attributes:
        store: The channel to the other ranks.
        group: The backends of the process group.
        peers: The other ranks.
        interrupts: Ctrl-C.
        termination: SIGTERM.
        active: The running trial, or the last one.
        on_abandoned: Called on rank 0 with a FAILED trial that the main thread cannot leave.
    """

    def __init__(self, store: StoreChannel, group: GroupBackends) -> None:
        self.store = store
        self.rank = store.rank
        self.group = group
        self.peers = Peers(store)
        self.interrupts = Interrupts(self.is_training)
        self.termination = SharedTermination(store)
        self.active: ActiveTrial | None = None
        self.on_abandoned: Callable[[Trial], None] = lambda trial: None
        self._run_dirs: SharedRunDirs | None = None
        self._watchdog = Watchdog(self)
        self._abandoned_lock = threading.Lock()  # acquired by the one thread that reports the abandoned trial
        self._previous_keys: list[str] = []
        store.timeout = group.timeout

    @property
    def n_started(self) -> int:
        """How many trials have started on this rank."""
        return self.active.index if self.active else 0

    def is_training(self) -> bool:
        """Return whether a training may be running, which no rank can leave alone."""
        active = self.active
        if active is None or active.left_event.is_set():
            return False
        return active.is_ready or self.group.collective_count() > active.initial_count

    def open(self) -> None:
        """Wait for the other ranks, and start to handle signals. Raises `SearchError` after a timeout."""
        self.peers.meet()
        self.interrupts.install()
        self._watchdog.start()

    def close(self) -> None:
        """Leave the other ranks, and restore the signal handlers."""
        self.interrupts.restore()
        self._watchdog.stop()
        self.peers.leave()

    def adapt(self, objective: Objective) -> Objective:
        """Return the objective for this rank; only rank 0 names and creates run directories."""
        self._run_dirs = SharedRunDirs(**vars(objective.run_dirs), broadcast=self._broadcast_directory)
        return replace(objective, run_dirs=self._run_dirs, hp_name=objective.hp_name if self.rank == 0 else None)

    def evaluate(self, objective: Evaluate, suggestion: Suggestion) -> Trial:
        """Evaluate a trial on every rank; return the trial of rank 0 on all, as FAILED if any rank has failed.

        Raises:
            KeyboardInterrupt: It was raised on any rank.
            SearchError: The ranks are out of step, and cannot run further trials. (Rank 0 first returns the trial in
                which that has happened.)
        """
        self.peers.raise_if_aborted()
        self.store.timeout = self.group.timeout
        count = self.group.collective_count()
        active = self.active = ActiveTrial(self.n_started + 1, suggestion, count, self.group.timeout)
        try:
            return self._evaluate(active, objective, suggestion)
        except PeerFailed:
            return self._abandoned_trial(active)
        except Exception:
            raise
        except BaseException as error:
            return self._leave_on_signal(active, error)

    def record_abandoned(self, active: ActiveTrial) -> None:
        """Record a trial that the main thread cannot leave, and release the other ranks; called by the watchdog."""
        if self.rank == 0 and self._abandoned_lock.acquire(blocking=False):
            with suppress(Exception):
                self.on_abandoned(active.to_failed_trial(str(self.peers.abort_reason)))
            with suppress(StoreUnreachable):
                self.store.set("result", self.peers.to_error())

    def _channel(self) -> TrialChannel:
        assert self.active is not None
        return TrialChannel(self.active, self.store, self.peers.leave_trial_if_aborted, self.interrupts.check)

    def _broadcast_directory(self, create: Callable[[], str]) -> str:
        channel = self._channel()

        def create_for_trial() -> str:
            channel.trial.directory = create()
            return channel.trial.directory

        return channel.broadcast("directory", create_for_trial)

    def _evaluate(self, active: ActiveTrial, objective: Evaluate, suggestion: Suggestion) -> Trial:
        search_error: HpcompatError | None = None
        try:
            self.interrupts.check((active.index, 0))
            trial = objective(self._channel().connect(suggestion))
        except HpcompatError as error:
            search_error, trial = error, active.to_failed_trial(format_error(error))
        except Exception as error:
            self.peers.abort(f"rank {self.rank}: {format_error(error)}")
            self._report_outcome(active, format_error(error))
            raise
        self._report_outcome(active, trial.error)
        self.peers.leave_trial_if_aborted()
        return self._share_result(trial, search_error, self._collect_outcomes())

    def _report_outcome(
        self, active: ActiveTrial, error: str | None, is_interrupted: bool = False, is_terminated: bool = False
    ) -> None:
        """Leave the trial, and send its outcome on this rank to the others."""
        if active.left_event.is_set():
            return
        channel = self._channel()
        count = self.group.collective_count()
        outcome = RankOutcome(count, error, active.is_secondary, is_interrupted, is_terminated)
        with suppress(StoreUnreachable):
            if not active.is_ready:
                channel.set("ready", self.rank, value=error or "it has ended without a training")
            channel.set("outcome", self.rank, value=outcome)
            channel.set("left")
        active.left_event.set()

    def _collect_outcomes(self) -> str | None:
        """Wait until all ranks have left the trial; return the error of the first rank that failed.

        Raises `KeyboardInterrupt` if a rank was interrupted, and `PeerFailed` if the ranks are out of step.
        """
        channel = self._channel()
        outcomes: dict[int, RankOutcome] = {
            rank: channel.wait("outcome", rank) for rank in range(self.store.world_size)
        }
        error = first_error(outcomes)
        if any(outcome.is_interrupted for outcome in outcomes.values()):
            self.interrupts.raise_interrupt()
        if any(outcome.is_terminated for outcome in outcomes.values()):
            self.termination.signal_self()
            self.peers.abort(str(error))  # this process survives the signal
        elif len({outcome.collective_count for outcome in outcomes.values()}) > 1:
            self.peers.abort(error or "the ranks have begun different numbers of collectives")
        self.peers.leave_trial_if_aborted()
        return error

    def _share_result(self, trial: Trial, search_error: HpcompatError | None, error: str | None) -> Trial:
        """Return rank 0's trial on all ranks."""
        channel = self._channel()
        for (
            key
        ) in self._previous_keys:  # all ranks have read the keys of the previous trial, because they have left this one
            self.store.delete(key)
        self._previous_keys = channel.trial.own_keys
        if self.rank == 0:
            if error is not None:
                trial = replace(trial, state=FAILED, values=None, error=error)
            if trial.directory and self._run_dirs:
                trial = replace(trial, directory=self._run_dirs.close_for_all(trial.directory))
            channel.set("trial", value=search_error or trial)
        result: Trial | HpcompatError = channel.wait("trial", check=self._check_while_waiting_for_result)
        if isinstance(result, HpcompatError):
            raise result
        return result

    def _check_while_waiting_for_result(self) -> None:
        self.peers.leave_trial_if_aborted()
        if self.store.contains("result"):  # Ctrl-C on rank 0
            raise KeyboardInterrupt

    def _leave_on_signal(self, active: ActiveTrial, error: BaseException) -> Trial:
        """Leave a trial that Ctrl-C, SIGTERM or the exit of a signal handler has ended."""
        is_ctrl_c = isinstance(error, KeyboardInterrupt)
        self.termination.propagate()
        if (self.termination.local.is_requested or not is_ctrl_c) and self._watchdog.has_lost_peer():
            self._report_outcome(active, self.peers.abort_reason)  # the launcher sends SIGTERM after a rank has died
            return self._abandoned_trial(active)
        if not is_ctrl_c:
            self.termination.announce()
        is_terminated = not is_ctrl_c and self.termination.is_enabled
        if not (is_ctrl_c or is_terminated):
            self.peers.abort(f"rank {self.rank}: {format_error(error)}")
        self._report_outcome(active, format_error(error), is_interrupted=is_ctrl_c, is_terminated=is_terminated)
        raise error

    def _abandoned_trial(self, active: ActiveTrial) -> Trial:
        """Return the trial in which the ranks got out of step, once on rank 0; otherwise raise `SearchError`."""
        self.termination.local.is_requested = False  # the error ends the search, and not the signal of the launcher
        if self.rank == 0 and self._abandoned_lock.acquire(blocking=False):
            return active.to_failed_trial(str(self.peers.abort_reason))
        raise self.peers.to_error()
