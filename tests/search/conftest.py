"""Trainers over a few digits, transformers' own search, and hpcompat's."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import transformers
from tiny import Digits, Net
from transformers import Trainer, TrainingArguments

import hpcompat as hp

# what is imported stays: transformers collects garbage three times a trial, and need not look at it
gc.freeze()

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    """A Trainer over 64 digits, evaluated on 64 others after every epoch; keywords are TrainingArguments'."""

    def make(
        model_init: Any = Net,
        *,
        tokens: bool = False,
        kind: type[Trainer] = Trainer,
        trainer: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Trainer:
        defaults: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
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
        return kind(
            **{
                "args": TrainingArguments(**{**defaults, **arguments}),
                "model_init": (lambda: model_init()) if isinstance(model_init, type) else model_init,
                "train_dataset": Digits(0, 64, tokens),
                "eval_dataset": Digits(64, 128, tokens),
                **(trainer or {}),
            }
        )

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


@pytest.fixture(autouse=True)
def _seeded() -> None:
    transformers.set_seed(0)
