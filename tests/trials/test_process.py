"""Processes are recognized, and whether they have exited, with and without /proc."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hpcompat.trials import process
from hpcompat.trials.process import has_exited, identify_process


@pytest.fixture(params=["/proc", "ps"])
def source(request, monkeypatch):
    if request.param == "ps":  # as on macOS
        exists = os.path.exists
        monkeypatch.setattr(process.os.path, "exists", lambda path: path != "/proc/self/stat" and exists(path))


@pytest.mark.usefixtures("source")
class TestHasExited:
    def test_this_process_has_not(self):
        assert identify_process()["started"]
        assert has_exited(identify_process()) is False

    def test_child_has_exited_after_its_end(self):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        owner = {**identify_process(), "pid": child.pid, "started": process._start_time(child.pid)}
        assert has_exited(owner) is False
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # its entry remains until it is waited for
        assert has_exited(owner) is True
        child.wait()
        assert has_exited(owner) is True
