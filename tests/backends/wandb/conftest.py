"""Searches on W&B without a server and on the fake server; every test also asserts that no files remain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hpcompat as hp
from tests.helpers.multiprocess import shorten_heartbeat
from tests.helpers.versions import is_since
from tests.helpers.waiting import wait_for


@pytest.fixture(autouse=True)
def assert_no_files_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use an empty home and working directory; assert that they stay empty and that the environment is unchanged."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB")}
    hooks = sys.exit, sys.excepthook
    yield
    assert list(home.rglob("*")) == list(work.rglob("*")) == []
    changed = {name: value for name, value in os.environ.items() if name.startswith("WANDB")}
    assert set(changed) <= set(before) | LOGIN_VARIABLES | RETRY_VARIABLES
    assert (sys.exit, sys.excepthook) == hooks


@pytest.fixture
def run_hpcompat() -> Callable[..., hp.SearchResult]:
    """Run `hpcompat.search` on W&B without progress output, with seed 0."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "wandb", **{"progress": False, "seed": 0, **options})

    return run


class Server:
    """The fake W&B server, in a child process, so that its decisions do not depend on the seeds of a test."""

    key = "k" * 40

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.helpers.wandb_server", "0"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()

    def get_state(self) -> dict[str, Any]:
        """Return the state of the server: sweeps, runs, operations."""
        with urllib.request.urlopen(f"{self.url}/state") as response:
            state: dict[str, Any] = json.load(response)
        assert not state["unknown"], "the client has called an operation that the fake server does not implement"
        return state

    def runs(self, sweep: str | None) -> list[dict[str, Any]]:
        """Return the runs of a sweep, in order."""
        return [run for run in self.get_state()["runs"].values() if run["sweep"] == sweep]

    def refuse(self, refuse: bool) -> None:
        """Set whether the server refuses every API key."""
        self._update(refuse=refuse)

    def fail(self, *operations: str, how: int | str = 500, times: int = 1, late: bool = False) -> None:
        """Let the next requests of each operation fail; replaces earlier faults."""
        self._update(faults=[[operation, how, times, late] for operation in operations])

    def _update(self, **state: Any) -> None:
        with urllib.request.urlopen(f"{self.url}/state", json.dumps(state).encode()):
            pass

    def close(self) -> None:
        """Stop the server."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            wait_for(lambda: self.process.poll() is not None, "the fake server does not exit")
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Start a fake W&B server; it speaks with clients that can search a sweep on a server."""
    if not is_since("wandb", "0.30"):
        pytest.skip("wandb has it since 0.30")
    server = Server()
    yield server
    server.close()


LOGIN_VARIABLES = {
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB__FILE_STREAM_TRANSMIT_INTERVAL",
    "WANDB__GRAPHQL_RETRY_MAX",
}
RETRY_VARIABLES = {"WANDB__FILE_STREAM_RETRY_MAX"}


@pytest.fixture(scope="session")
def log_in(server: Server) -> Callable[[pytest.MonkeyPatch], None]:
    """Set the API key and the address of the fake server in the environment, and shorten the agent's heartbeat."""

    def log_in(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")
        monkeypatch.setenv("WANDB__GRAPHQL_RETRY_MAX", "1")
        shorten_heartbeat(monkeypatch.setattr)

    return log_in


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch, log_in: Callable[..., None], assert_no_files_remain: None) -> None:
    """Log in at the fake server."""
    log_in(monkeypatch)
