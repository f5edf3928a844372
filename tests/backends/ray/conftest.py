"""Ray, started once for all tests, and searches on it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

import hpcompat as hp
from tests.helpers.waiting import wait_for


@pytest.fixture(scope="session", autouse=True)
def cluster() -> Iterator[Cluster]:
    """Start a head node with two CPUs and a "seat" resource, and connect this process to it."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", directory)  # Ray stores the address of the cluster there
        head = {
            "num_cpus": 2,
            "resources": {"seat": 1},
            "temp_dir": f"{directory}/ray",
            "include_dashboard": False,
            # detect a dead node after about 3 s instead of 15 s
            "_system_config": {"health_check_period_ms": 1000, "health_check_failure_threshold": 3},
        }
        cluster = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def extra_nodes(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[dict[str, int]]:
    """Add two nodes (or `request.param`) to the cluster; returns the pid of each raylet by node id.

    Each node has a CPU, a "seat" resource, and a "far" resource that the head node does not have.
    """
    temp_dir, number = cluster.head_node.get_temp_dir_path(), getattr(request, "param", 2)
    resources = {"num_cpus": 1, "resources": {"seat": 1, "far": 1}}
    nodes = [cluster.add_node(**resources, temp_dir=temp_dir) for _ in range(number)]
    yield {node.node_id: node.all_processes["raylet"][0].process.pid for node in nodes}
    for node in nodes:
        cluster.remove_node(node, allow_graceful=False)
    ids = {node.node_id for node in nodes}
    # every driver is notified of a dead node: wait, so that the next test gets no notification
    wait_for(
        lambda: not ids & {node["NodeID"] for node in ray.nodes() if node["Alive"]}, f"Ray still counts {ids} as alive"
    )


@pytest.fixture
def run_hpcompat() -> Callable[..., hp.SearchResult]:
    """Run `hpcompat.search` on Ray without progress output, one trial at a time: a second process starts slowly."""

    def run(trainer: Any, space: Any, **options: Any) -> hp.SearchResult:
        return hp.search(trainer, space, "ray", **{"progress": False, "max_concurrent_trials": 1, **options})

    return run


@pytest.fixture
def run_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run `Trainer.hyperparameter_search` on Ray without progress output, with its results in "transformers"."""
    from ray import cloudpickle, tune

    from tests.helpers import trainers

    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")

    def run(trainer: Any, hp_space: dict[str, Any], **options: Any) -> Any:
        records = {"storage_path": str(tmp_path / "transformers"), "verbose": 0, "reuse_actors": True}
        defaults = {"n_trials": 1, "direction": "maximize", "backend": "ray", "resources_per_trial": {"cpu": 2}}
        quiet = {"progress_reporter": tune.CLIReporter(max_report_frequency=10**6), **records}
        loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train")]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        cloudpickle.register_pickle_by_value(trainers)  # its workers cannot import this module
        try:
            return trainer.hyperparameter_search(lambda _: hp_space, **{**defaults, **quiet, **options})
        except tune.TuneError as error:
            causes = [Path(trial.error_file).read_text() for trial in error.args[1]]
            raise tune.TuneError("\n".join(causes)) from None
        finally:
            cloudpickle.unregister_pickle_by_value(trainers)
            for logger in loggers:
                logger.setLevel(logging.NOTSET)

    return run


MakeTrainer = Callable[..., Any]


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    """Create Trainers on 64 digits, evaluated on 64 others after every epoch; keywords go to TrainingArguments."""
    from tests.helpers.trainers import Net, OutputDirs, create_trainer

    next_output_dir = OutputDirs(tmp_path)

    def make(model_init: Any = Net, *, output_dir: str | None = None, **options: Any) -> Any:
        return create_trainer(output_dir or next_output_dir(), model_init, **options)

    return make
