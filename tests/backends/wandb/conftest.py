"""Searches on W&B: alone, and against a server of this machine. Each test also proves that nothing is left behind."""

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
from tests.helpers.waiting import wait_for


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty HOME and an empty working directory, which stay empty; and an environment that stays."""
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
    assert set(changed) <= set(before) | LOGIN | IMPATIENT
    assert (sys.exit, sys.excepthook) == hooks


@pytest.fixture
def run_hpcompat() -> Callable[..., hp.SearchResult]:
    """Hpcompat's search on W&B, silent."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "wandb", **{"progress": False, "seed": 0, **options})

    return run


class Server:
    """The double, in a process of its own: what it decides does not depend on what a test seeds."""

    key = "k" * 40

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.helpers.wandb_server", "0"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()

    def known(self) -> dict[str, Any]:
        """What it knows: sweeps, runs, operations."""
        with urllib.request.urlopen(f"{self.url}/double") as answer:
            found: dict[str, Any] = json.load(answer)
        assert not found["unknown"], "the client asked for what the double does not have"
        return found

    def runs(self, sweep: str | None) -> list[dict[str, Any]]:
        """The runs of a sweep, in order."""
        return [run for run in self.known()["runs"].values() if run["sweep"] == sweep]

    def refuse(self, refuse: bool) -> None:
        """Whether to refuse every key."""
        self._tell(refuse=refuse)

    def fail(self, *operations: str, how: int | str = 500, times: int = 1, late: bool = False) -> None:
        """Fail the next times that each of the operations is asked for, and no other."""
        self._tell(issues=[[operation, how, times, late] for operation in operations])

    def _tell(self, **what: Any) -> None:
        with urllib.request.urlopen(f"{self.url}/double", json.dumps(what).encode()):
            pass

    def close(self) -> None:
        """End it."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            wait_for(lambda: self.process.poll() is not None, "the double does not end")
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A W&B server on this machine."""
    double = Server()
    yield double
    double.close()


LOGIN = {"WANDB_API_KEY", "WANDB_BASE_URL", "WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "WANDB__GRAPHQL_RETRY_MAX"}
IMPATIENT = {"WANDB__FILE_STREAM_RETRY_MAX"}


@pytest.fixture(scope="session")
def log_in(server: Server) -> Callable[[pytest.MonkeyPatch], None]:
    """Puts a key and the double's address into the environment, and makes the agent impatient."""
    from wandb.agents.pyagent import Agent

    def log_in(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")
        monkeypatch.setenv("WANDB__GRAPHQL_RETRY_MAX", "1")
        monkeypatch.setattr(Agent, "HEARTBEAT_SLEEP_SECONDS", 0.1)

    return log_in


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch, log_in: Callable[..., None], nothing_is_left: None) -> None:
    """This process, logged in at the double."""
    log_in(monkeypatch)
