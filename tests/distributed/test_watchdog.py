"""Detection of dead and hung ranks by their heartbeats, without processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch.distributed import HashStore

from hpcompat.distributed.coordinator import Coordinator
from hpcompat.distributed.process_group import StoreChannel
from hpcompat.distributed.trial_channel import ActiveTrial, RankProgress
from hpcompat.distributed.watchdog import DEAD_BEATS
from hpcompat.trials.config import Suggestion
from hpcompat.trials.process import identify_process

RUNNING = identify_process()
EXITED = {**RUNNING, "started": "before the pid was given to another"}
ON_OTHER_HOST = {**RUNNING, "host": "elsewhere"}
DDP_TIMEOUT_S = 20


@pytest.fixture
def coordinator():
    """Return rank 0 of two, in its second collective of a trial; rank 1 has not sent a heartbeat yet."""
    group = SimpleNamespace(timeout=float(DDP_TIMEOUT_S), collective_count=lambda: 2)
    coordinator = Coordinator(StoreChannel(HashStore(), 0, 2), group)
    coordinator.peers.processes = {1: RUNNING}
    coordinator.active = ActiveTrial(1, Suggestion(0, {}), 0, float(DDP_TIMEOUT_S), is_ready=True)
    yield coordinator
    coordinator.store.close()


def beat(coordinator, times, progress=lambda number: None):
    """Send heartbeats of rank 0, each after one of rank 1 with its progress; return the reason to abort."""
    for number in range(times):
        if (position := progress(number)) is not None:
            coordinator.store.set("heartbeat/1", (number + 1, position))
        coordinator._watchdog._heartbeat()
    return coordinator.peers.abort_reason


class TestSilentRank:
    @pytest.mark.parametrize(
        ("process", "beats", "cause"),
        [
            (EXITED, 2, "its process has ended"),
            (ON_OTHER_HOST, DEAD_BEATS, f"no sign of life for {DEAD_BEATS} s"),
        ],
    )
    def test_rank_without_heartbeats_is_dead(self, coordinator, process, beats, cause):
        coordinator.peers.processes = {1: process}
        coordinator.active = None
        assert beat(coordinator, beats - 1) is None
        assert beat(coordinator, 1) == f"rank 1: {cause} (pid {RUNNING['pid']} on {process['host']})"

    def test_process_running_on_this_host_is_not_dead(self, coordinator):
        coordinator.active = None
        assert beat(coordinator, 10 * DEAD_BEATS) is None

    @pytest.mark.parametrize("key", ["left/1", "terminated/1"])
    def test_announced_exit_is_not_reported(self, coordinator, key):
        coordinator.peers.processes = {1: EXITED}
        coordinator.store.set(key)
        assert beat(coordinator, 5) is None


class TestHungRank:
    @pytest.mark.parametrize(
        "position",
        [
            (1, 0, 0, 0, 0),  # in model_init
            (1, 1, 1, 0, 0),  # one collective behind
            (0, 2),  # has not started the trial
        ],
    )
    def test_rank_that_stays_behind_is_hung(self, coordinator, position):
        assert beat(coordinator, DDP_TIMEOUT_S + 1, lambda _: RankProgress(position)) is None
        cause = beat(coordinator, 1, lambda _: RankProgress(position))
        assert cause == f"rank 1: no progress for {DDP_TIMEOUT_S} s, while others wait for it (ddp_timeout)"

    def test_other_rank_is_hung_if_rank_stays_ahead(self, coordinator):
        cause = beat(coordinator, DDP_TIMEOUT_S + 2, lambda _: RankProgress((1, 2)))
        assert cause.startswith("rank 0: no progress")

    def test_leader_without_awaited_message_is_hung(self, coordinator):
        waiting = (1, 1, 2, 0, 1)  # for the decision of the pruner, in the same collective as rank 0
        cause = beat(coordinator, DDP_TIMEOUT_S + 2, lambda _: RankProgress(waiting))
        assert cause.startswith("rank 0: no progress")

    @pytest.mark.parametrize(
        "progress",
        [
            lambda number: RankProgress((1, 1, 2, 0, 0)),  # as far as rank 0
            lambda number: RankProgress((1, 1, 1, number, 0)),  # behind, but at a further step
            lambda number: RankProgress((1, 1, 1, 0, 0), activity=number),  # behind, but reporting
        ],
    )
    def test_rank_that_progresses_or_is_not_behind_is_not_hung(self, coordinator, progress):
        assert beat(coordinator, 10 * DDP_TIMEOUT_S, progress) is None

    def test_ddp_timeout_of_trainer_counts(self, coordinator):
        coordinator._channel()._set_ddp_timeout(10 * DDP_TIMEOUT_S)
        assert beat(coordinator, 10 * DDP_TIMEOUT_S, lambda _: RankProgress((1, 0))) is None
        cause = beat(coordinator, 2, lambda _: RankProgress((1, 0)))
        assert cause.startswith(f"rank 1: no progress for {10 * DDP_TIMEOUT_S} s")

    def test_leader_between_trials_is_not_hung(self, coordinator):
        coordinator.active.left_event.set()
        assert beat(coordinator, 10 * DDP_TIMEOUT_S, lambda _: RankProgress((1, 2))) is None
