"""Fixtures of the tests over Trainers: a Trainer over a few digits, transformers' own search, and hpcompat's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import transformers
from transformers import Trainer

import hpcompat as hp
from tests.helpers.trainers import Net, OutputDirs, create_trainer

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    """A Trainer over 64 digits, evaluated on 64 others after every epoch; keywords are TrainingArguments'.

    Each has an output_dir of its own, see `OutputDirs`.
    """
    free = OutputDirs(tmp_path)

    def make(model_init: Any = Net, *, output_dir: str | None = None, **more: Any) -> Trainer:
        return create_trainer(output_dir or free(), model_init, **more)

    return make


@pytest.fixture
def run_transformers() -> Callable[..., optuna.Study]:
    """Transformers' own search; returns its Study."""

    def run(trainer: Trainer, hp_space: Any, **options: Any) -> optuna.Study:
        storage = optuna.storages.InMemoryStorage()
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            trainer.hyperparameter_search(
                hp_space, backend="optuna", storage=storage, study_name="transformers", **options
            )
        finally:
            optuna.logging.set_verbosity(before)
        return optuna.load_study(study_name="transformers", storage=storage)

    return run


@pytest.fixture
def run_hpcompat() -> Callable[..., hp.SearchResult]:
    """Hpcompat's search, silent."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture(autouse=True)
def _seeded() -> None:
    transformers.set_seed(0)
