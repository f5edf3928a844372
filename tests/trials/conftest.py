"""Searches without progress output, over functions and a small Trainer, in this process and in child processes."""

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
def _set_seed() -> None:
    transformers.set_seed(0)


@pytest.fixture
def run_hpcompat() -> Callable[..., hp.SearchResult]:
    """Run `hpcompat.search` without progress output, with seed 0."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Create Trainers on 64 digits, evaluated on 64 others after every epoch; keywords go to TrainingArguments."""
    next_output_dir = OutputDirs(tmp_path)

    def make(model_init: Any = Net, *, output_dir: str | None = None, **options: Any) -> Trainer:
        return create_trainer(output_dir or next_output_dir(), model_init, **options)

    return make


@pytest.fixture(scope="session")
def search_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchProcesses]:
    """Run searches in child processes, which may be killed."""
    search_processes = SearchProcesses(tmp_path_factory.mktemp("searches"))
    yield search_processes
    search_processes.close()
