"""What one rank does among the others: it goes through every trial together with them."""

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
    """This rank among the others.

    `active`: the trial that is running here, or the last one. `on_abandoned` is called on rank 0 with a FAILED trial
    that its own thread cannot leave.
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
        self._is_abandoned = threading.Lock()  # one thread handles it: the first to acquire this
        self._previous_keys: list[str] = []
        store.timeout = group.timeout

    @property
    def n_started(self) -> int:
        """How many trials have started here."""
        return self.active.index if self.active else 0

    def is_training(self) -> bool:
        """Return whether a training may be running here, which no rank can leave alone."""
        active = self.active
        if active is None or active.left.is_set():
            return False
        return active.is_ready or self.group.collective_count() > active.initial_count

    def open(self) -> None:
        """Meet the other ranks. Raises `SearchError` if they do not come."""
        self.peers.meet()
        self.interrupts.install()
        self._watchdog.start()

    def close(self) -> None:
        """End this rank's part."""
        self.interrupts.restore()
        self._watchdog.stop()
        self.peers.leave()

    def adapt(self, objective: Objective) -> Objective:
        """Return the objective of this rank: rank 0 alone names and makes run directories."""
        self._run_dirs = SharedRunDirs(**vars(objective.run_dirs), broadcast=self._broadcast_directory)
        return replace(objective, run_dirs=self._run_dirs, hp_name=objective.hp_name if self.rank == 0 else None)

    def evaluate(self, objective: Evaluate, suggestion: Suggestion) -> Trial:
        """Evaluate a trial on every rank; return that of rank 0 on all, FAILED if any rank has failed.

        Raises:
            KeyboardInterrupt: if it was raised on any rank.
            SearchError: once the ranks are out of step, and no trial can follow. (Rank 0 first returns the trial in
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
        """Record a trial that this rank cannot leave, and let the others go; for the watchdog."""
        if self.rank == 0 and self._is_abandoned.acquire(blocking=False):
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
        """Leave the trial, and tell the other ranks how."""
        if active.left.is_set():
            return
        channel = self._channel()
        count = self.group.collective_count()
        outcome = RankOutcome(count, error, active.is_secondary, is_interrupted, is_terminated)
        with suppress(StoreUnreachable):
            if not active.is_ready:
                channel.set("ready", self.rank, value=error or "it has ended without a training")
            channel.set("outcome", self.rank, value=outcome)
            channel.set("left")
        active.left.set()

    def _collect_outcomes(self) -> str | None:
        """Wait until all ranks have left the trial; return the error of the first that failed.

        Raises `KeyboardInterrupt` if one was interrupted, and `PeerFailed` if the ranks are out of step.
        """
        channel = self._channel()
        outcomes: dict[int, RankOutcome] = {
            rank: channel.wait("outcome", rank) for rank in range(self.store.world_size)
        }
        error = first_error(outcomes)
        if any(outcome.is_interrupted for outcome in outcomes.values()):
            self.interrupts.stop()
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
        for key in self._previous_keys:  # all ranks have left this trial, and so have read those of the one before
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
        """Leave a trial that Ctrl-C, SIGTERM or the exit of a signal handler ends."""
        is_ctrl_c = isinstance(error, KeyboardInterrupt)
        self.termination.share()
        if (self.termination.local.is_requested or not is_ctrl_c) and self._watchdog.has_lost_peer():
            self._report_outcome(active, self.peers.abort_reason)  # the launcher has sent the signal because of that
            return self._abandoned_trial(active)
        if not is_ctrl_c:
            self.termination.announce()
        is_terminated = not is_ctrl_c and self.termination.is_enabled
        if not (is_ctrl_c or is_terminated):
            self.peers.abort(f"rank {self.rank}: {format_error(error)}")
        self._report_outcome(active, format_error(error), is_interrupted=is_ctrl_c, is_terminated=is_terminated)
        raise error

    def _abandoned_trial(self, active: ActiveTrial) -> Trial:
        """Return on rank 0, once, the trial in which the ranks got out of step; raise `SearchError` elsewhere."""
        self.termination.local.is_requested = False  # the error ends the search, whatever signal the launcher sends
        if self.rank == 0 and self._is_abandoned.acquire(blocking=False):
            return active.to_failed_trial(str(self.peers.abort_reason))
        raise self.peers.to_error()
