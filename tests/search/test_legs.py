"""The process that starts searches for the tests: with whatever goes wrong in one test, the next one has another."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import legs as module
import psutil
import pytest
from legs import Legs, Moment

ORDER = {"backend": "optuna", "n_trials": 1, "seed": 0}


def killed_processes():
    """The pids of the processes below this one that run searches to be killed."""
    return {each.pid for each in psutil.Process().children(recursive=True) if "killed.py" in str(each.cmdline())}


@pytest.fixture
def own(tmp_path):
    own = Legs(tmp_path)
    yield own
    own.close()


def test_process_whose_search_hangs_is_ended_with_it_and_replaced(own, tmp_path, monkeypatch):
    before, others = own.process.pid, killed_processes() - {own.process.pid}
    with monkeypatch.context() as impatient, pytest.raises(AssertionError, match=r"nothing happens|does not answer"):
        impatient.setattr(module, "Patience", lambda: SimpleNamespace(left=0))
        own.run(tmp_path / "hangs", Moment("begun", 1, 0, 0), **ORDER)  # it waits to be killed, and is not
    assert not psutil.pid_exists(before)
    assert killed_processes() <= others
    assert len(own.run(tmp_path / "out", None, **ORDER).result["trials"]) == 1
    assert own.process.pid != before


def test_process_that_dies_is_replaced(own, tmp_path):
    os.kill(own.process.pid, signal.SIGKILL)
    own.process.wait()
    assert len(own.run(tmp_path / "out", None, **ORDER).result["trials"]) == 1


def test_process_that_is_out_of_step_is_noticed_and_replaced(own, tmp_path, monkeypatch):
    before = own.process.pid
    with monkeypatch.context() as other, pytest.raises(AssertionError, match="out of step"):
        other.setattr(module.uuid, "uuid4", lambda: SimpleNamespace(hex="mine"))
        other.setattr(module.json, "dumps", lambda order: '{"mark": "of another"}')
        own.run(tmp_path / "out", None, **ORDER)
    assert not psutil.pid_exists(before)
    assert len(own.run(tmp_path / "more", None, **ORDER).result["trials"]) == 1
