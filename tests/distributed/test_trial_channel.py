"""Messages from rank 0 to a follower during a trial, without processes."""

from __future__ import annotations

import pytest
from torch.distributed import HashStore

from hpcompat.distributed.process_group import PeerFailed, StoreChannel
from hpcompat.distributed.trial_channel import ActiveTrial, RankOutcome, TrialChannel
from hpcompat.trials.config import Suggestion


@pytest.fixture
def channels():
    """Return the channels of two ranks, in one trial."""
    store = HashStore()
    stores = [StoreChannel(store, rank, 2) for rank in range(2)]
    trials = [ActiveTrial(1, Suggestion(0, {}), 0, 1.0) for _ in stores]
    yield [
        TrialChannel(trial, store, lambda: None, lambda step: None) for trial, store in zip(trials, stores, strict=True)
    ]
    for store in stores:
        store.close()


def fail_if_called():
    """Fail, because only rank 0 computes the value of a broadcast."""
    pytest.fail("the follower has computed the value")


class TestBroadcast:
    @pytest.mark.parametrize("value", [None, False, 0.5])
    def test_value_of_rank_0_reaches_follower(self, channels, value):
        leader, follower = channels
        assert leader.broadcast("suggest", lambda: value) == value
        assert follower.broadcast("suggest", fail_if_called) == value

    def test_values_arrive_in_order(self, channels):
        leader, follower = channels
        for value in range(3):
            leader.broadcast("suggest", lambda value=value: value)
        assert [follower.broadcast("suggest", fail_if_called) for _ in range(3)] == [0, 1, 2]

    def test_leader_finished_without_value_gives_default(self, channels):
        leader, follower = channels
        leader.set("outcome", 0, value=RankOutcome(0))
        assert follower.broadcast("prune", fail_if_called, default=False) is False
        with pytest.raises(PeerFailed, match="it has ended the trial without a suggest"):
            follower.broadcast("suggest", fail_if_called)

    def test_leader_failed_raises_peer_failed(self, channels):
        leader, follower = channels
        leader.set("outcome", 0, value=RankOutcome(0, "OSError: the storage is gone"))
        with pytest.raises(PeerFailed, match="rank 0: OSError: the storage is gone"):
            follower.broadcast("prune", fail_if_called, default=False)
        assert follower.trial.is_secondary
