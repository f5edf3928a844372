"""Silent searches over functions and over a tiny Trainer, in this process and in others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import Trainer

import hpcompat as hp
from tests.helpers.processes import SearchProcesses
from tests.helpers.trainers import Net, OutputDirs, create_trainer


@pytest.fixture(autouse=True)
def _seeded() -> None:
    transformers.set_seed(0)


@pytest.fixture
def run_hpcompat() -> Callable[..., hp.SearchResult]:
    """Hpcompat's search, silent."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """A Trainer over 64 digits, evaluated on 64 others after every epoch; keywords are TrainingArguments'."""
    free = OutputDirs(tmp_path)

    def make(model_init: Any = Net, *, output_dir: str | None = None, **more: Any) -> Trainer:
        return create_trainer(output_dir or free(), model_init, **more)

    return make


@pytest.fixture(scope="session")
def search_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchProcesses]:
    """Searches in processes of their own, which may be killed."""
    search_processes = SearchProcesses(tmp_path_factory.mktemp("legs"))
    yield search_processes
    search_processes.close()
