"""Searches on SigOpt: over functions, over a tiny Trainer, in process and against the server on the loopback."""

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
    """Hpcompat's search on SigOpt, silent."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "sigopt", **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SigOptServer]:
    """A SigOpt server, named by the environment, of which nobody needs to be patient."""
    monkeypatch.setattr(client, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))
    for module in (client, joining):
        monkeypatch.setattr(module, "STARTUP_DELAYS_S", (0.0, 0.0))
    with serve() as double:
        monkeypatch.setenv("SIGOPT_API_URL", double.url)
        monkeypatch.setenv("SIGOPT_API_TOKEN", TOKEN)
        yield double


@pytest.fixture
def on_server(server: SigOptServer) -> Callable[..., hp.SearchResult]:
    """Hpcompat's search on that server."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "sigopt", **{"progress": False, **options})

    return run


MakeTrainer = Callable[..., Any]


@pytest.fixture(scope="session")
def any_trainer() -> MakeTrainer:
    """A Trainer over 64 digits, evaluated on 64 others after every epoch; keywords are TrainingArguments'."""
    from tests.helpers.trainers import Net, create_trainer

    def make(model_init: Any = Net, *, output_dir: str, **arguments: Any) -> Any:
        return create_trainer(output_dir, model_init, **arguments)

    return make


@pytest.fixture
def make_trainer(any_trainer: MakeTrainer, tmp_path: Path) -> MakeTrainer:
    """The same, in a directory of the test's own."""
    return partial(any_trainer, output_dir=str(tmp_path / "out"))


@pytest.fixture
def untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty HOME and an empty working directory, that are both empty afterwards."""
    places = [tmp_path / "home", tmp_path / "cwd"]
    for place in places:
        place.mkdir()
    monkeypatch.setenv("HOME", str(places[0]))
    monkeypatch.chdir(places[1])
    yield
    assert [os.listdir(place) for place in places] == [[], []]
