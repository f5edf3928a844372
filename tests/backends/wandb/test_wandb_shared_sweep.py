"""Several processes that share one sweep of a W&B server, and server errors during a search."""

from __future__ import annotations

import json
import re
import warnings
from types import SimpleNamespace

import pytest

import hpcompat as hp
from hpcompat.backends.wandb import server as wandb_server
from hpcompat.backends.wandb import shared_sweep
from hpcompat.backends.wandb.runs import isolated_wandb
from tests.helpers.multiprocess import LINE_SPACE, search_in_processes


@pytest.fixture
def run_hpcompat(run_hpcompat, logged_in):
    return lambda function, **options: run_hpcompat(
        function, LINE_SPACE, **{"seed": None, "sampler": "random", **options}
    )


def evaluate(trial):
    return trial["x"]


def create_sweep():
    """Create a sweep without a run_cap."""
    import wandb

    config = hp.to_wandb(LINE_SPACE, method="random", metric="objective")
    with isolated_wandb(None):
        return f"ada/digits/{wandb.sweep(config, project='digits')}"


def counted_runs(runs):
    return [run for run in runs if run["state"] == "finished" and run["summary"]["state"] != "SURPLUS"]


class TestTwoProcesses:
    def test_two_processes_share_a_sweep(self, run_hpcompat, server, tmp_path):
        for path in (f"ada/digits/{run_hpcompat(evaluate, n_trials=1, project='digits').native.id}", create_sweep()):
            directory = tmp_path / path.replace("/", "-")
            directory.mkdir()
            evaluations, results = search_in_processes(2, directory, backend="wandb", sweep_id=path, n_trials=8)
            runs = counted_runs(server.runs(path.split("/")[-1]))
            assert len(runs) == max(map(len, results)) == 8
            assert len({json.dumps(params) for _, _, params in evaluations}) == len(evaluations)
            assert len({pid for pid, _, _ in evaluations}) == 2

    def test_run_cap_limits_all_processes_and_is_raised_on_resume(self, run_hpcompat, server):
        first = run_hpcompat(evaluate, n_trials=2, project="digits")
        assert server.get_state()["sweeps"][first.native.id]["config"]["run_cap"] == 2
        path = f"ada/digits/{first.native.id}"
        assert len(run_hpcompat(evaluate, n_trials=4, sweep_id=path).trials) == 4
        assert server.get_state()["sweeps"][first.native.id]["config"]["run_cap"] == 4

    def test_unstarted_run_is_not_counted(self, run_hpcompat, server):
        server.fail(
            "Heartbeat", how="cut", late=True
        )  # the agent repeats its heartbeat, and the server sends another run
        result = run_hpcompat(evaluate, n_trials=2)
        states = [run["state"] for run in server.runs(result.native.id)]
        assert (states.count("pending"), states.count("finished")) == (1, 2)
        assert len(result.trials) == 2

    def test_surplus_run_is_not_counted(self, run_hpcompat, server, monkeypatch):
        path = create_sweep()
        started = shared_sweep.SharedSweep.started_runs

        def started_with_another(shared, excluding=None):
            # another process starts the last trial between this process's check of the budget and its run
            return started(shared, excluding) + [None] * (excluding is not None)

        monkeypatch.setattr(shared_sweep.SharedSweep, "started_runs", started_with_another)
        monkeypatch.setattr(shared_sweep.SharedSweep, "has_capacity", lambda shared: not has_two_runs(shared))

        def has_two_runs(shared):
            return len(shared.runs()) > 1

        with pytest.raises(hp.SearchError, match="no trial was run"):
            run_hpcompat(lambda trial: pytest.fail("a surplus trial was started"), n_trials=1, sweep_id=path)
        assert {run["summary"]["state"] for run in server.runs(path.split("/")[-1])} == {"SURPLUS"}


def make_run(state, summary, name="run"):
    return SimpleNamespace(
        id=name, state=state, summary_metrics=summary, config={"x": 1.0}, created_at="2026-01-01T00:00:00Z"
    )


class TestRuns:
    @pytest.mark.parametrize(
        ("state", "summary", "expected"),
        [
            ("finished", {"loss": 0.5}, "COMPLETE"),
            ("finished", {"accuracy": 0.5}, "FAILED"),
            ("finished", {"loss": float("nan")}, "FAILED"),
            ("crashed", {"loss": 0.5}, "FAILED"),
            ("finished", {"loss": 0.5, "state": "PRUNED"}, "PRUNED"),
        ],
    )
    def test_run_is_complete_if_it_finished_with_a_value(self, state, summary, expected):
        translation = hp.translate(LINE_SPACE, "wandb", method="random")
        (trial,) = shared_sweep.to_trials([make_run(state, summary)], translation, ["loss"]).values()
        assert (trial.state, trial.values) == (expected, None if expected == "FAILED" else (0.5,))

    def test_surplus_and_unstarted_runs_do_not_count(self, monkeypatch):
        runs = [
            make_run("running", {}, "running"),
            make_run("finished", {"loss": 0.5}, "finished"),
            make_run("finished", {"state": "SURPLUS"}, "surplus"),
            make_run("pending", {}, "pending"),
        ]
        monkeypatch.setattr(shared_sweep.SharedSweep, "runs", lambda shared: runs)
        shared = shared_sweep.SharedSweep("a/b/c", hp.translate(LINE_SPACE, "wandb", method="random"), ("loss",), 3)
        assert [run.id for run in shared.started_runs()] == ["running", "finished"]
        assert shared.has_capacity()


class TestTimeout:
    def test_timeout_limits_each_wait_for_a_run(self, run_hpcompat, monkeypatch):
        fetch = wandb_server.AgentThread.fetch
        deadlines = []

        def record_deadline(agent, deadline=None):
            deadlines.append(deadline)
            return fetch(agent, deadline)

        monkeypatch.setattr(wandb_server.AgentThread, "fetch", record_deadline)
        run_hpcompat(evaluate, n_trials=2, timeout=1_000)
        assert len(deadlines) >= 2
        assert None not in deadlines


class Outage:
    """Makes the server fail permanently from `begin` on, and shortens the timeouts from then on."""

    def __init__(self, server):
        self.server, self.patch = server, pytest.MonkeyPatch()
        self.settings = {}  # the wandb settings of later runs

    def begin(self, operation, how):
        self.server.fail(operation, how=how, times=999)
        self.settings["init_timeout"] = 5.0
        self.patch.setattr(shared_sweep, "RETRY_DELAYS_S", (0.0,))
        self.patch.setattr(wandb_server, "PROBE_AFTER_S", 2.0)
        self.patch.setattr(wandb_server, "MAX_PROBES", 2)

    def end(self):
        self.patch.undo()
        self.server.fail()


@pytest.fixture
def outage(server):
    outage = Outage(server)
    yield outage
    outage.end()


class TestServerErrors:
    @pytest.mark.parametrize(
        ("how", "late", "operations"),
        [
            (502, False, ["UpsertSweep", "GetSweep", "CreateAgent", "Heartbeat", "UpsertBucket", "FileStream", "Runs"]),
            ("cut", True, ["UpsertSweep", "UpsertBucket", "FileStream"]),
            ("half", True, ["UpsertSweep", "GetSweep", "Heartbeat", "FileStream", "Runs"]),
        ],
    )
    def test_transient_error_at_any_step_is_retried(self, run_hpcompat, server, how, late, operations):
        server.fail(*operations, how=how, late=late)
        result = run_hpcompat(evaluate, n_trials=2)
        assert server.get_state()["faults"] == []
        assert [run["summary"]["objective"] for run in counted_runs(server.runs(result.native.id))] == [
            trial.value for trial in result.trials
        ]
        assert len(result.trials) == 2

    @pytest.mark.parametrize(
        ("operation", "how", "message"),
        [
            ("UpsertSweep", 500, "W&B refuses to create the sweep"),
            ("UpsertBucket", "half", "wandb.init refuses"),
            ("UpsertBucket", "hang", "wandb.init refuses"),
            ("Heartbeat", 500, "expected a run or the end of the sweep from W&B, got neither"),
            ("Heartbeat", "hang", "expected a run or the end of the sweep from W&B, got neither"),
        ],
    )
    def test_lost_server_ends_search_and_loses_nothing(self, run_hpcompat, server, outage, operation, message, how):
        def function(trial):
            outage.begin(operation, how)
            return evaluate(trial)

        if operation == "UpsertSweep":
            outage.begin(operation, how)
        with pytest.raises(hp.SearchError, match=message) as error:
            run_hpcompat(function, n_trials=3, project="digits", settings=outage.settings)
        outage.end()
        assert server.key not in str(error.value)
        if operation != "UpsertSweep":
            (trial,) = error.value.trials
            (path,) = re.findall("continue with sweep_id='(.*)'", str(error.value))
            result = run_hpcompat(evaluate, n_trials=3, sweep_id=path)
            assert len(result.trials) == 3
            assert result.trials[0].value == trial.value

    @pytest.mark.parametrize("how", [500, "hang"])
    def test_trial_missing_on_server_is_in_result_with_warning(self, run_hpcompat, server, outage, monkeypatch, how):
        monkeypatch.setattr(wandb_server, "_FINISH_TIMEOUT_S", 3.0)  # the run is never finished on the server
        monkeypatch.setattr(shared_sweep, "_REPORT_DELAYS_S", (0.0,))
        monkeypatch.setenv("WANDB__FILE_STREAM_RETRY_MAX", "1")

        def function(trial):
            outage.begin("FileStream", how)
            return evaluate(trial)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = run_hpcompat(function, n_trials=1)
        outage.end()
        assert "W&B has not received the end of these trials, which are only in the result: 0" in map(
            str, (warning.message for warning in caught)
        )
        assert len(result.trials) == 1
        assert [(run["state"], run["summary"]) for run in server.runs(result.native.id)] == [("running", {})]
