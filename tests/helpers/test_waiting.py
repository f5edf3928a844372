"""The one bound on what a test waits for grows with what else runs on the machine."""

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
    """How many want each core, and the clock."""
    machine = SimpleNamespace(load=0.0, now=0.0)
    monkeypatch.setattr(module.os, "getloadavg", lambda: (machine.load * CORES, 0.0, 0.0))
    monkeypatch.setattr(module.time, "monotonic", lambda: machine.now)
    return machine


class TestDeadline:
    def test_idle_machine_gets_given_seconds(self, machine):
        deadline = Deadline(300)
        machine.now = 299.0
        assert deadline.remaining_s == 1.0

    def test_busy_machine_gets_more_seconds_by_its_load(self, machine):
        deadline = Deadline(300)
        machine.load, machine.now = 10.0, 299.0
        assert deadline.remaining_s == 3000 - 299
        machine.load = 0.0  # it is idle again, and what is waited for could have come
        machine.now = 301.0
        assert deadline.remaining_s < 0

    def test_condition_that_never_holds_raises(self, machine, monkeypatch):
        monkeypatch.setattr(module.time, "sleep", lambda seconds: setattr(machine, "now", machine.now + 100))
        with pytest.raises(AssertionError, match="it never comes"):
            wait_for(lambda: False, "it never comes")

    @pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="pytest-timeout has another way there")
    def test_timeout_of_a_test_follows_load(self, machine):
        """The handler that this very test runs under (tests/conftest.py)."""
        handler = signal.getsignal(signal.SIGALRM)
        if not callable(handler):
            pytest.skip("there is no time-out in this run")
        before = signal.getitimer(signal.ITIMER_REAL)
        try:
            machine.load, machine.now = 1000.0, time.clock_gettime(time.CLOCK_MONOTONIC) + 10_000.0
            handler(signal.SIGALRM, None)
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        finally:
            signal.setitimer(signal.ITIMER_REAL, *before)
