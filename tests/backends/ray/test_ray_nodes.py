"""Searches on several nodes of a cluster, some of which die; every node is a raylet on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

import hpcompat as hp
from hpcompat.backends.ray.cluster import count_concurrent_trials
from hpcompat.backends.ray.driver import Driver, NoTrialLeft, RayEngine
from hpcompat.trials.config import SearchConfig, Suggestion
from tests.helpers.waiting import Deadline

X = {"x": hp.Float(0.0, 4.0)}
SEAT = {"cpu": 0, "seat": 1}


class TestSeveralNodes:
    def test_trials_of_dead_node_run_again_on_another(self, run_hpcompat, extra_nodes, tmp_path):
        """One node is killed, one is shut down, and one worker process dies on a node that stays alive."""
        head = ray.get_runtime_context().get_node_id()
        killed_node, shut_down_node = extra_nodes

        def wait_for_workers():
            deadline, pids = Deadline(), {}
            while len(pids) < 3:
                assert deadline.remaining_s > 0, pids
                files = {path.name.split("-")[1]: path.read_text() for path in tmp_path.glob("*-*")}
                pids = {node: int(pid) for node, pid in files.items() if pid}  # without files that are still empty
            return pids

        def function(trial):
            node = ray.get_runtime_context().get_node_id()
            with (tmp_path / f"{trial.number}-{node}-{trial['x']}").open("x") as file:
                file.write(str(os.getpid()))
            trial.report(trial["x"], 1)
            pids = wait_for_workers()
            if node != head:
                time.sleep(10**6)  # until its node is killed or shut down
            if trial.number == 4:
                os._exit(1)
            if not (tmp_path / "killed").exists():
                os.kill(pids[killed_node], signal.SIGKILL)
                os.kill(extra_nodes[killed_node], signal.SIGKILL)
                os.kill(extra_nodes[shut_down_node], signal.SIGTERM)
                (tmp_path / "killed").touch()
            trial.report(trial["x"], 2)
            return trial["x"]

        with pytest.warns(UserWarning, match="no node of the cluster has room for a trial.*GPU: 4 a trial"):
            assert count_concurrent_trials([{"GPU": 4.0}], is_own=False) == 1
        assert (
            count_concurrent_trials([{"CPU": 2.0}], is_own=False) == 1
        )  # the cluster has four CPUs, but only the head node has two
        options = {"n_trials": 6, "sampler": "random", "seed": 0}
        result = run_hpcompat(function, X, resources_per_trial=SEAT, max_concurrent_trials=None, **options)

        expected = hp.search(lambda trial: trial["x"], X, progress=False, **options)
        assert [trial.params for trial in result.trials] == [trial.params for trial in expected.trials]
        errors = [trial.error for trial in result.trials]
        assert [trial.state for trial in result.trials] == ["COMPLETE"] * 4 + ["FAILED", "COMPLETE"], errors
        assert result.trials[4].cause.startswith("the worker process has died: Worker unexpectedly exits")
        finished = [trial for trial in result.trials if trial.number != 4]
        assert all(dict(trial.intermediate_values) == {1: trial.value, 2: trial.value} for trial in finished)

        runs = [path.name.split("-") for path in tmp_path.glob("*-*")]
        restarted = {number for number, node, _ in runs if node != head}
        assert {node for _, node, _ in runs} == {head, killed_node, shut_down_node}
        assert sorted(number for number, _, _ in runs) == sorted([*"012345", *restarted])
        assert all(float(x) == result.trials[int(number)].params["x"] for number, _, x in runs)
        assert len(restarted) == 2
        assert len(result.native) == 8
        assert result.native.num_errors == 3


class ConstantEngine(RayEngine):
    """Always suggests the same params, and records the numbers of finished trials."""

    def __init__(self):
        self.finished_numbers = []

    def ask(self, index):
        return Suggestion(index, {"x": 1.0})

    def report(self, suggestion, value, step, result):
        pass

    def tell(self, suggestion, trial, result):
        self.finished_numbers.append(suggestion.number)
        return trial


class NoRecorder:
    def save(self, trial):
        pass

    def finish(self, trial):
        return False


def make_driver(n_trials):
    config = SearchConfig(hp.SearchSpace(X), ("minimize",), n_trials=n_trials)
    return Driver(config, ConstantEngine(), NoRecorder(), lambda path: None, root=None)


class TestLostTrial:
    def test_search_over_before_restart_fails_trial(self):
        """The timeout or a callback may end the search before or after the node dies."""
        driver = make_driver(3)
        assert [driver.suggest(key)["number"] for key in "abc"] == [0, 1, 2]
        assert driver.suggest("d") is None  # a running trial may have to run again
        driver.on_death("b", "Node Id: …", is_node_dead=True)
        driver.on_death("a", "Node Id: …", is_node_dead=True)
        assert driver.suggest("e") == {"number": 1, "params": {"x": 1.0}, "again": 1}
        driver.on_death("e", "Node Id: …", is_node_dead=True)
        assert driver.was_interrupted
        driver.is_over = True
        with pytest.raises(NoTrialLeft):
            driver.suggest("f")
        driver.on_death("c", "Node Id: …", is_node_dead=True)
        assert [trial.number for trial in driver.finished] == [0, 1, 2]
        assert {trial.cause for trial in driver.finished} == {"the node has died: Node Id: …"}
        assert driver.engine.finished_numbers == [0, 1, 2]
        assert not driver.was_interrupted

    def test_process_that_dies_before_trial_starts_is_restarted_three_times(self):
        driver = make_driver(1)
        for key in "abcd":
            assert driver.suggest(key)["number"] == 0
            driver.on_death(key, "no memory", is_node_dead=False, has_begun=False)
        assert [trial.cause for trial in driver.finished] == ["the worker process has died: no memory"]


SEARCH_ON_CLUSTER = """
import os, sys
import hpcompat as hp
import ray

address, head = sys.argv[1:]

def runs_on_head(trial):
    return float(ray.get_runtime_context().get_node_id() == head and trial["x"] >= 0)

if __name__ == "__main__":
    for options in ({}, {"address": address}):
        result = hp.search(runs_on_head, {"x": hp.Float(0, 1)}, "ray", n_trials=1, progress=False, **options)
        assert [trial.value for trial in result.trials] == [1.0], result
        assert not ray.is_initialized()
        os.environ["RAY_ADDRESS"] = "127.0.0.1:1"
"""


class TestRunningCluster:
    def test_search_connects_to_running_cluster_and_disconnects(self, cluster):
        """The address comes from RAY_ADDRESS or from address=, which takes precedence."""
        environment = {**os.environ, "RAY_ADDRESS": cluster.address, "PYTHONPATH": str(Path(__file__).parents[3])}
        command = [sys.executable, "-c", SEARCH_ON_CLUSTER, cluster.address, cluster.head_node.node_id]
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
