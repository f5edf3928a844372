"""The deadline of a test grows with the load of the machine."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace

import pytest

import tests.helpers.waiting as module
from tests.helpers.waiting import Deadline, wait_for

CORES = os.cpu_count() or 1


@pytest.fixture
def machine(monkeypatch):
    """Sets the load of each core, and the time."""
    machine = SimpleNamespace(load=0.0, now=0.0)
    monkeypatch.setattr(module.os, "getloadavg", lambda: (machine.load * CORES, 0.0, 0.0))
    monkeypatch.setattr(module.time, "monotonic", lambda: machine.now)
    return machine


class TestDeadline:
    def test_idle_machine_gets_requested_seconds(self, machine):
        deadline = Deadline(300)
        machine.now = 299.0
        assert deadline.remaining_s == 1.0

    def test_busy_machine_gets_more_seconds_by_its_load(self, machine):
        deadline = Deadline(300)
        machine.load, machine.now = 10.0, 299.0
        assert deadline.remaining_s == 3000 - 299
        machine.load = 0.0
        machine.now = 301.0
        assert deadline.remaining_s < 0

    def test_unmet_condition_raises(self, machine, monkeypatch):
        monkeypatch.setattr(module.time, "sleep", lambda seconds: setattr(machine, "now", machine.now + 100))
        with pytest.raises(AssertionError, match="it never comes"):
            wait_for(lambda: False, "it never comes")

    @pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="pytest-timeout uses SIGALRM only where it exists")
    def test_timeout_of_a_test_follows_load(self, machine):
        """This test runs under the handler that it tests, see tests/conftest.py."""
        handler = signal.getsignal(signal.SIGALRM)
        if not callable(handler):
            pytest.skip("this run has no timeout")
        timer = signal.getitimer(signal.ITIMER_REAL)
        try:
            machine.load, machine.now = 1000.0, time.clock_gettime(time.CLOCK_MONOTONIC) + 10_000.0
            handler(signal.SIGALRM, None)
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        finally:
            signal.setitimer(signal.ITIMER_REAL, *timer)
