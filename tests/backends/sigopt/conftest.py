"""Searches on SigOpt: over functions, over a tiny Trainer, in process and against the server on the loopback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sigopt_double import TOKEN, Double, serving

import hpcompat as hp
from hpcompat.backends.sigopt import joining
from hpcompat.backends.sigopt import server as asking

sys.path.append(str(Path(__file__).parents[2] / "search"))  # for tiny


@pytest.fixture
def ours() -> Callable[..., hp.SearchResult]:
    """Hpcompat's search on SigOpt, silent."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "sigopt", **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """A SigOpt server, named by the environment, of which nobody needs to be patient."""
    for module in (asking, joining):
        monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.0))
    with serving() as double:
        monkeypatch.setenv("SIGOPT_API_URL", double.url)
        monkeypatch.setenv("SIGOPT_API_TOKEN", TOKEN)
        yield double


@pytest.fixture
def on_server(server: Double) -> Callable[..., hp.SearchResult]:
    """Hpcompat's search on that server."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "sigopt", **{"progress": False, **options})

    return run


MakeTrainer = Callable[..., Any]


@pytest.fixture(scope="session")
def any_trainer() -> MakeTrainer:
    """A Trainer over 64 digits, evaluated on 64 others after every epoch; keywords are TrainingArguments'."""
    from tiny import Digits, Net
    from transformers import Trainer, TrainingArguments

    def make(model_init: Any = Net, **arguments: Any) -> Any:
        defaults: dict[str, Any] = {
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "num_train_epochs": 1,
            "per_device_train_batch_size": 16,
            "per_device_eval_batch_size": 64,
        }
        return Trainer(
            args=TrainingArguments(**{**defaults, **arguments}),
            model_init=(lambda: model_init()) if isinstance(model_init, type) else model_init,
            train_dataset=Digits(0, 64),
            eval_dataset=Digits(64, 128),
        )

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
