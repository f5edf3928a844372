"""Errors of a store that is lost or does not answer."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from torch.distributed import DistNetworkError

from hpcompat.distributed import process_group
from hpcompat.distributed.process_group import StoreChannel
from hpcompat.errors import SearchError


class TestStoreChannel:
    def test_lost_store_raises_search_error_that_names_rank_0(self):
        def fail(*arguments):
            raise DistNetworkError("Broken pipe\nException raised from sendBytes")

        channel = StoreChannel(SimpleNamespace(set=fail), 1, 2)
        with pytest.raises(SearchError, match=r"rank 0: the store of .* is gone \(Broken pipe\)\n.*resume=True"):
            channel.set("key")
        channel.close()

    def test_silent_store_raises_search_error_that_names_rank_0(self, monkeypatch):
        monkeypatch.setattr(process_group, "_TICK_S", 0.01)
        answer = threading.Event()
        store = SimpleNamespace(
            check=lambda keys: answer.wait(),
            get=lambda key: pytest.fail("the store is read although it did not answer"),
        )
        channel = StoreChannel(store, 1, 2)
        channel.timeout = 0.05
        with pytest.raises(SearchError, match=r"rank 0: the store of .* has not answered for \d+ s"):
            channel.contains("key")
        with pytest.raises(SearchError, match="has not answered"):
            channel.read("key")  # without waiting
        answer.set()
        channel.close()
