"""Trainers over a few digits, transformers' own search, and hpcompat's."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import transformers
from legs import Legs
from patience import wait_for
from tiny import Net, Places, a_trainer
from transformers import Trainer

import hpcompat as hp

# what is imported stays: transformers collects garbage three times a trial, and need not look at it
gc.freeze()

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    """A Trainer over 64 digits, evaluated on 64 others after every epoch; keywords are TrainingArguments'.

    Each has an output_dir of its own, see `Places`.
    """
    free = Places(tmp_path)

    def make(model_init: Any = Net, *, output_dir: str | None = None, **more: Any) -> Trainer:
        return a_trainer(output_dir or free(), model_init, **more)

    return make


@pytest.fixture
def theirs() -> Callable[..., optuna.Study]:
    """Transformers' own search; returns its Study."""

    def run(trainer: Trainer, hp_space: Any, **options: Any) -> optuna.Study:
        storage = optuna.storages.InMemoryStorage()
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            trainer.hyperparameter_search(hp_space, backend="optuna", storage=storage, study_name="theirs", **options)
        finally:
            optuna.logging.set_verbosity(before)
        return optuna.load_study(study_name="theirs", storage=storage)

    return run


@pytest.fixture
def ours() -> Callable[..., hp.SearchResult]:
    """Hpcompat's search, silent."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray, started once, unless another test has it running."""
    import ray

    if ray.is_initialized():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as directory:
        quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        ray.init("local", num_cpus=2, _temp_dir=directory, **quiet)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def called(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A way to search, called silently and repeatably; under Ray one trial at a time."""

    def call(way: Callable[..., Any], *arguments: Any, backend: str, **options: Any) -> Any:
        if backend == "ray":
            request.getfixturevalue("cluster")
            options = {"max_concurrent_trials": 1, **options}
        return way(*arguments, backend=backend, **{"progress": False, "seed": 0, **options})

    return call


@pytest.fixture(scope="module")
def search(called: Callable[..., Any]) -> Callable[..., hp.SearchResult]:
    """Hpcompat's search on a `backend`, called so."""
    return partial(called, hp.search)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    transformers.set_seed(0)


@pytest.fixture(scope="session")
def legs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Legs]:
    """Searches in processes of their own, which may be killed."""
    legs = Legs(tmp_path_factory.mktemp("legs"))
    yield legs
    legs.close()
    if "HPCOMPAT_KILLS" in os.environ:  # some of Ray's take their time
        wait_for(lambda: not any(leg.processes() for leg in legs.ended), "processes are left")
