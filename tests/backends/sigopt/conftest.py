"""Searches on SigOpt over functions and Trainers, on SigOpt Lite and on the fake server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import hpcompat as hp
from hpcompat.backends.sigopt import client, joining
from tests.helpers.sigopt_server import TOKEN, SigOptServer, serve


@pytest.fixture
def run_hpcompat() -> Callable[..., hp.SearchResult]:
    """Run `hpcompat.search` on SigOpt without progress output, with seed 0."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "sigopt", **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SigOptServer]:
    """Start a fake SigOpt server, set its address in the environment, and retry without delays."""
    monkeypatch.setattr(client, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))
    for module in (client, joining):
        monkeypatch.setattr(module, "STARTUP_DELAYS_S", (0.0, 0.0))
    with serve() as server_state:
        monkeypatch.setenv("SIGOPT_API_URL", server_state.url)
        monkeypatch.setenv("SIGOPT_API_TOKEN", TOKEN)
        yield server_state


@pytest.fixture
def on_server(server: SigOptServer) -> Callable[..., hp.SearchResult]:
    """Run `hpcompat.search` on the fake server without progress output."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "sigopt", **{"progress": False, **options})

    return run


MakeTrainer = Callable[..., Any]


@pytest.fixture(scope="session")
def create_any_trainer() -> MakeTrainer:
    """Create Trainers on 64 digits, evaluated on 64 others after every epoch; keywords go to TrainingArguments."""
    from tests.helpers.trainers import Net, create_trainer

    def make(model_init: Any = Net, *, output_dir: str, **arguments: Any) -> Any:
        return create_trainer(output_dir, model_init, **arguments)

    return make


@pytest.fixture
def make_trainer(create_any_trainer: MakeTrainer, tmp_path: Path) -> MakeTrainer:
    """Create such Trainers with an output_dir below the test's directory."""
    return partial(create_any_trainer, output_dir=str(tmp_path / "out"))


@pytest.fixture
def empty_dirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use an empty home and an empty working directory, and assert that they are empty after the test."""
    directories = [tmp_path / "home", tmp_path / "cwd"]
    for directory in directories:
        directory.mkdir()
    monkeypatch.setenv("HOME", str(directories[0]))
    monkeypatch.chdir(directories[1])
    yield
    assert [os.listdir(directory) for directory in directories] == [[], []]
