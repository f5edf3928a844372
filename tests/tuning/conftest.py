"""Trainers on a few digits, the searches of transformers and hpcompat, and searches in child processes."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import hpcompat as hp
from tests.helpers.fixtures import _set_seed, make_trainer, run_hpcompat, run_transformers  # noqa: F401
from tests.helpers.processes import SearchProcesses
from tests.helpers.waiting import wait_for

# transformers collects garbage three times per trial: exclude the imported modules
gc.freeze()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Start Ray once, unless it is running already."""
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
def run_search(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Call a search function with seed 0 and without progress output; under Ray with one trial at a time."""

    def run(function: Callable[..., Any], *arguments: Any, backend: str, **options: Any) -> Any:
        if backend == "ray":
            request.getfixturevalue("cluster")
            options = {"max_concurrent_trials": 1, **options}
        return function(*arguments, backend=backend, **{"progress": False, "seed": 0, **options})

    return run


@pytest.fixture(scope="module")
def search(run_search: Callable[..., Any]) -> Callable[..., hp.SearchResult]:
    """Call `hpcompat.search` with these options."""
    return partial(run_search, hp.search)


@pytest.fixture(scope="session")
def search_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchProcesses]:
    """Run searches in child processes, which may be killed."""
    search_processes = SearchProcesses(tmp_path_factory.mktemp("searches"))
    yield search_processes
    search_processes.close()
    if "HPCOMPAT_KILLS" in os.environ:  # some processes of Ray exit late
        outcomes = search_processes.outcomes
        wait_for(lambda: not any(outcome.running_processes() for outcome in outcomes), "processes still run")
