"""The server process that forks the searches of the tests is replaced after any failure."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import psutil
import pytest

import tests.helpers.processes as module
from tests.helpers.processes import KillPoint, SearchProcesses

OPTIONS = {"backend": "optuna", "n_trials": 1, "seed": 0}


def list_server_pids():
    """Return the pids of the descendants of this process that are server processes or their searches."""
    return {
        process.pid
        for process in psutil.Process().children(recursive=True)
        if "tests.helpers.kill_target" in str(process.cmdline())
    }


@pytest.fixture
def processes(tmp_path):
    processes = SearchProcesses(tmp_path)
    yield processes
    processes.close()


class TestSearchProcesses:
    def test_process_of_hanging_search_is_killed_and_replaced(self, processes, tmp_path, monkeypatch):
        pid, others = processes.process.pid, list_server_pids() - {processes.process.pid}
        with (
            monkeypatch.context() as patch,
            pytest.raises(AssertionError, match=r"no event|does not reply"),
        ):
            patch.setattr(module, "Deadline", lambda: SimpleNamespace(remaining_s=0))
            processes.run(tmp_path / "hangs", KillPoint("trial_start", 1, 0, 0), **OPTIONS)  # signal 0 does not end it
        assert not psutil.pid_exists(pid)
        assert list_server_pids() <= others
        assert len(processes.run(tmp_path / "out", None, **OPTIONS).result["trials"]) == 1
        assert processes.process.pid != pid

    def test_process_that_dies_is_replaced(self, processes, tmp_path):
        os.kill(processes.process.pid, signal.SIGKILL)
        processes.process.wait()
        assert len(processes.run(tmp_path / "out", None, **OPTIONS).result["trials"]) == 1

    def test_process_out_of_step_is_detected_and_replaced(self, processes, tmp_path, monkeypatch):
        pid = processes.process.pid
        with monkeypatch.context() as patch, pytest.raises(AssertionError, match="out of step"):
            patch.setattr(module.uuid, "uuid4", lambda: SimpleNamespace(hex="this search"))
            patch.setattr(module.json, "dumps", lambda request: '{"search_id": "another search"}')
            processes.run(tmp_path / "out", None, **OPTIONS)
        assert not psutil.pid_exists(pid)
        assert len(processes.run(tmp_path / "more", None, **OPTIONS).result["trials"]) == 1
