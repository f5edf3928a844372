"""The process that starts searches for the tests: with whatever goes wrong in one test, the next one has another."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import psutil
import pytest

import tests.helpers.processes as module
from tests.helpers.processes import KillPoint, SearchProcesses

ORDER = {"backend": "optuna", "n_trials": 1, "seed": 0}


def killed_processes():
    """The pids of the processes below this one that run searches to be killed."""
    return {
        each.pid
        for each in psutil.Process().children(recursive=True)
        if "tests.helpers.kill_target" in str(each.cmdline())
    }


@pytest.fixture
def own(tmp_path):
    own = SearchProcesses(tmp_path)
    yield own
    own.close()


class TestSearchProcesses:
    def test_process_of_hanging_search_is_killed_and_replaced(self, own, tmp_path, monkeypatch):
        before, others = own.process.pid, killed_processes() - {own.process.pid}
        with (
            monkeypatch.context() as impatient,
            pytest.raises(AssertionError, match=r"nothing happens|does not answer"),
        ):
            impatient.setattr(module, "Deadline", lambda: SimpleNamespace(remaining_s=0))
            own.run(tmp_path / "hangs", KillPoint("begun", 1, 0, 0), **ORDER)  # it waits to be killed, and is not
        assert not psutil.pid_exists(before)
        assert killed_processes() <= others
        assert len(own.run(tmp_path / "out", None, **ORDER).result["trials"]) == 1
        assert own.process.pid != before

    def test_process_that_dies_is_replaced(self, own, tmp_path):
        os.kill(own.process.pid, signal.SIGKILL)
        own.process.wait()
        assert len(own.run(tmp_path / "out", None, **ORDER).result["trials"]) == 1

    def test_process_out_of_step_is_detected_and_replaced(self, own, tmp_path, monkeypatch):
        before = own.process.pid
        with monkeypatch.context() as other, pytest.raises(AssertionError, match="out of step"):
            other.setattr(module.uuid, "uuid4", lambda: SimpleNamespace(hex="mine"))
            other.setattr(module.json, "dumps", lambda order: '{"mark": "of another"}')
            own.run(tmp_path / "out", None, **ORDER)
        assert not psutil.pid_exists(before)
        assert len(own.run(tmp_path / "more", None, **ORDER).result["trials"]) == 1
