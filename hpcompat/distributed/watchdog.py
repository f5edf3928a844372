"""The watchdog: a thread on each rank that detects when another rank has failed, died or hangs."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hpcompat.distributed.interrupts import Interrupts, SharedTermination, Step
from hpcompat.distributed.process_group import GroupBackends, PeerFailed, Peers, StoreUnreachable
from hpcompat.distributed.trial_channel import ActiveTrial, RankOutcome, RankProgress, first_error
from hpcompat.errors import error_summary

POLL_S = 0.1
HEARTBEAT_S = 1.0
SUSPECT_BEATS = 2
"""The beats without a heartbeat after which the process of a rank on this host is checked."""
DEAD_BEATS = 30
"""The beats without a heartbeat after which a rank on another host counts as dead."""
GRACE_S = 2.0
LEAVE_TIMEOUT_S = 20.0


class Rank(Protocol):
    """The part of a `Coordinator` that the watchdog uses."""

    active: ActiveTrial | None
    group: GroupBackends
    peers: Peers
    interrupts: Interrupts
    termination: SharedTermination

    def record_abandoned(self, active: ActiveTrial) -> None: ...


@dataclass
class Heartbeats:
    """The last heartbeat of a rank, with two counters that use the beats of this process as a clock.

    That clock stops while this process is stopped, so that it does not blame other ranks afterwards.

    Attributes:
        number: The number of the last heartbeat.
        progress: How far the rank was at that time.
        silent_beats: For how many beats there was no new heartbeat.
        still_beats: For how many beats there was no progress although another rank is further.
    """

    number: int = 0
    progress: RankProgress = field(default_factory=lambda: RankProgress(()))
    silent_beats: int = 0
    still_beats: int = 0

    def update(self, number: int, progress: RankProgress) -> None:
        """Update the counters with the last heartbeat of the rank."""
        self.silent_beats = 0 if number != self.number else self.silent_beats + 1
        self.still_beats = 0 if progress != self.progress else self.still_beats + 1
        self.number, self.progress = number, progress


class Watchdog(threading.Thread):
    """Detects ranks that have failed, died or hang, and Ctrl-C or SIGTERM on any rank."""

    def __init__(self, rank: Rank) -> None:
        super().__init__(name="hpcompat-watchdog", daemon=True)
        self._rank = rank
        self._group, self._interrupts, self._termination = rank.group, rank.interrupts, rank.termination
        self._peers = rank.peers
        self._store = rank.peers.store
        self._stop_event = threading.Event()
        self._n_beats = 0
        self._next_beat = 0.0
        self._heartbeats = {rank: Heartbeats() for rank in range(self._store.world_size)}
        self._has_agreed = False
        self._unblocked_trial: ActiveTrial | None = None

    def run(self) -> None:
        """Poll until `stop` is called."""
        while not self._stop_event.wait(POLL_S):
            try:
                self._poll()
            except StoreUnreachable as error:
                self._peers.on_store_unreachable(error)
            except Exception as error:  # without its watchdog the rank must not continue
                self._peers.abort(f"rank {self._store.rank}: its watchdog raised {error_summary(error)}")
            active = self._rank.active
            if self._peers.abort_reason is not None and active is not None and active is not self._unblocked_trial:
                self._unblocked_trial = active
                threading.Thread(target=self._unblock, args=(active,), daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stop_event.set()
        if self.is_alive():
            self.join()

    def has_lost_peer(self) -> bool:
        """Return whether the ranks cannot continue, for instance because a process has died."""
        try:
            for rank in self._store.other_ranks:
                if self._peers.has_exited(rank) and not self._peers.has_left(rank):
                    self._peers.abort_for_process(rank, "its process has ended")
        except StoreUnreachable as error:
            if not self._termination.is_remote:
                self._peers.on_store_unreachable(error)
        return self._peers.abort_reason is not None

    def _poll(self) -> None:
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + HEARTBEAT_S
            self._heartbeat()
        active = self._rank.active
        is_busy = active is not None and not active.left_event.is_set()
        self._termination.propagate()
        self._peers.read_abort()
        if self._peers.abort_reason is None and active and is_busy:
            self._detect_desync(active)
        if not self._has_agreed and (self._interrupts.is_pending or self._store.contains("interrupt")):
            self._agree_on_stop()

    def _detect_desync(self, active: ActiveTrial) -> None:
        """Abort if this rank waits in a collective that a rank which has left the trial will never join."""
        if not self._store.contains(active.key("left")):
            return
        count = self._group.collective_count()
        keys = {rank: active.key("outcome", rank) for rank in self._store.other_ranks}
        outcomes: Mapping[int, RankOutcome] = {
            rank: self._store.read(key) for rank, key in keys.items() if self._store.contains(key)
        }
        if any(outcome.is_terminated for outcome in outcomes.values()):
            self._termination.signal_self()
        elif any(outcome.collective_count < count for outcome in outcomes.values()) and not active.left_event.is_set():
            ranks = ", ".join(map(str, outcomes))
            error = f"rank {ranks}: left the trial before rank {self._store.rank}"
            self._peers.abort(first_error(outcomes) or error)

    def _unblock(self, active: ActiveTrial) -> None:
        """Make this rank leave a trial that cannot be completed; if that fails, end the process."""

        def leave_trial() -> None:
            if not active.left_event.is_set():
                raise PeerFailed(str(self._peers.abort_reason))

        if active.left_event.wait(GRACE_S):
            return
        self._group.abort()
        self._interrupts.run_in_main_thread(leave_trial)
        if active.left_event.wait(GRACE_S):
            return
        self._rank.record_abandoned(active)
        if not active.left_event.wait(LEAVE_TIMEOUT_S):
            message = f"hpcompat: rank {self._store.rank} cannot leave a trial: {self._peers.to_error()}"
            print(message, file=sys.stderr, flush=True)
            os._exit(1)

    def _heartbeat(self) -> None:
        """Send a heartbeat with the progress of this rank, and check those of the other ranks."""
        self._n_beats += 1
        active = self._rank.active
        progress = active.progress(self._group.collective_count()) if active else RankProgress()
        self._store.set(f"heartbeat/{self._store.rank}", (self._n_beats, progress))
        for rank, heartbeats in self._heartbeats.items():
            key = f"heartbeat/{rank}"
            heartbeat = self._store.read(key) if self._store.contains(key) else (heartbeats.number, heartbeats.progress)
            heartbeats.update(*heartbeat)
        if active is not None and self._peers.abort_reason is None:
            self._detect_hang(active)
        for rank in self._store.other_ranks:
            if self._peers.abort_reason is None and self._heartbeats[rank].silent_beats >= SUSPECT_BEATS:
                self._detect_death(rank, self._heartbeats[rank].silent_beats)

    def _detect_death(self, rank: int, silent_beats: int) -> None:
        """Abort if a silent rank is dead: its process has exited, or is on another host and silent for too long."""
        has_exited = self._peers.has_exited(rank)
        is_dead = has_exited or (has_exited is None and silent_beats >= DEAD_BEATS)
        if is_dead and not self._peers.has_left(rank):
            silence = f"no sign of life for {silent_beats * HEARTBEAT_S:.0f} s"
            self._peers.abort_for_process(rank, "its process has ended" if has_exited else silence)

    def _detect_hang(self, active: ActiveTrial) -> None:
        """Abort if a rank that others wait for has made no progress for longer than the DDP timeout."""
        furthest = max(heartbeats.progress.position for heartbeats in self._heartbeats.values())
        hung_ranks = []
        for rank, heartbeats in self._heartbeats.items():
            if heartbeats.progress.position >= furthest:
                heartbeats.still_beats = 0
            elif heartbeats.still_beats * HEARTBEAT_S > active.ddp_timeout:
                hung_ranks.append(rank)
        if hung_ranks:
            problem = f"no progress for {active.ddp_timeout:.0f} s, while others wait for it (ddp_timeout)"
            self._peers.abort(f"rank {', '.join(map(str, hung_ranks))}: {problem}")

    def _agree_on_stop(self) -> None:
        """Agree with the other watchdogs on the step at which all ranks stop."""
        interrupts = self._interrupts
        self._has_agreed = True
        self._store.set("interrupt")
        with interrupts.step_lock:
            active = self._rank.active
            step = (active.index, active.steps) if active else (0, 0)
            self._store.set(f"step/{self._store.rank}", step)
            index, furthest = max(self._wait_for_step(rank, step) for rank in range(self._store.world_size))
            interrupts.stop_at = (index, furthest + 1)
        if self._peers.abort_reason is None:
            interrupts.mark_pending()
            if not interrupts.is_training():
                interrupts.run_in_main_thread(interrupts.raise_unless_training)

    def _wait_for_step(self, rank: int, default: Step) -> Step:
        key, deadline = f"step/{rank}", time.monotonic() + LEAVE_TIMEOUT_S
        while not self._store.contains(key):
            if time.monotonic() > deadline or self._stop_event.is_set() or self.has_lost_peer():
                return default
            time.sleep(POLL_S)
        step: Step = self._store.read(key)
        return step
