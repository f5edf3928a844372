"""Trainers over a few digits, transformers' own search, and hpcompat's."""

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
from tests.helpers.fixtures import _seeded, make_trainer, run_hpcompat, run_transformers  # noqa: F401
from tests.helpers.processes import SearchProcesses
from tests.helpers.waiting import wait_for

# what is imported stays: transformers collects garbage three times a trial, and need not look at it
gc.freeze()


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


@pytest.fixture(scope="session")
def search_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchProcesses]:
    """Searches in processes of their own, which may be killed."""
    search_processes = SearchProcesses(tmp_path_factory.mktemp("legs"))
    yield search_processes
    search_processes.close()
    if "HPCOMPAT_KILLS" in os.environ:  # some of Ray's take their time
        wait_for(lambda: not any(leg.processes() for leg in search_processes.ended), "processes are left")
