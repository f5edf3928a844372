"""Fixtures for tests with a Trainer: a Trainer on a few digits, the search of transformers and that of hpcompat."""

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
    """Create Trainers on 64 digits, evaluated on 64 others after every epoch; keywords go to TrainingArguments.

    Every Trainer has its own output_dir, see `OutputDirs`.
    """
    next_output_dir = OutputDirs(tmp_path)

    def make(model_init: Any = Net, *, output_dir: str | None = None, **options: Any) -> Trainer:
        return create_trainer(output_dir or next_output_dir(), model_init, **options)

    return make


@pytest.fixture
def run_transformers() -> Callable[..., optuna.Study]:
    """Run `Trainer.hyperparameter_search` on Optuna; returns its Study."""

    def run(trainer: Trainer, hp_space: Any, **options: Any) -> optuna.Study:
        storage = optuna.storages.InMemoryStorage()
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            trainer.hyperparameter_search(
                hp_space, backend="optuna", storage=storage, study_name="transformers", **options
            )
        finally:
            optuna.logging.set_verbosity(verbosity)
        return optuna.load_study(study_name="transformers", storage=storage)

    return run


@pytest.fixture
def run_hpcompat() -> Callable[..., hp.SearchResult]:
    """Run `hpcompat.search` without progress output, with seed 0."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture(autouse=True)
def _set_seed() -> None:
    transformers.set_seed(0)
