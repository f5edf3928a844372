"""Several processes on one sweep of a W&B server, and a server that misbehaves in the middle of it."""

from __future__ import annotations

import json
import re
import warnings

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


def line(trial):
    return trial["x"]


def by_hand():
    """A sweep without a run_cap."""
    import wandb

    form = hp.to_wandb(LINE_SPACE, method="random", metric="objective")
    with isolated_wandb(None):
        return f"ada/digits/{wandb.sweep(form, project='digits')}"


def counted(runs):
    return [run for run in runs if run["state"] == "finished" and run["summary"]["state"] != "SURPLUS"]


class TestTwoProcesses:
    def test_two_processes_share_a_sweep(self, run_hpcompat, server, tmp_path):
        for path in (f"ada/digits/{run_hpcompat(line, n_trials=1, project='digits').native.id}", by_hand()):
            directory = tmp_path / path.replace("/", "-")
            directory.mkdir()
            evaluated, results = search_in_processes(2, directory, backend="wandb", sweep_id=path, n_trials=8)
            runs = counted(server.runs(path.split("/")[-1]))
            assert len(runs) == max(map(len, results)) == 8
            assert len({json.dumps(params) for _, _, params in evaluated}) == len(evaluated)
            assert len({pid for pid, _, _ in evaluated}) == 2

    def test_run_cap_bounds_all_processes_and_is_raised_on_resume(self, run_hpcompat, server):
        first = run_hpcompat(line, n_trials=2, project="digits")
        assert server.known()["sweeps"][first.native.id]["config"]["run_cap"] == 2
        path = f"ada/digits/{first.native.id}"
        assert len(run_hpcompat(line, n_trials=4, sweep_id=path).trials) == 4
        assert server.known()["sweeps"][first.native.id]["config"]["run_cap"] == 4

    def test_unstarted_run_is_not_counted(self, run_hpcompat, server):
        server.fail("Heartbeat", how="cut", late=True)  # the agent asks again, and the server hands out another
        result = run_hpcompat(line, n_trials=2)
        states = [run["state"] for run in server.runs(result.native.id)]
        assert (states.count("pending"), states.count("finished")) == (1, 2)
        assert len(result.trials) == 2

    def test_surplus_run_is_not_counted(self, run_hpcompat, server, monkeypatch):
        path = by_hand()
        opened = shared_sweep.SharedSweep.started_runs

        def too_late(shared, excluding=None):
            # between this process's look and its run another one has begun the last trial
            return opened(shared, excluding) + [None] * (excluding is not None)

        monkeypatch.setattr(shared_sweep.SharedSweep, "started_runs", too_late)
        monkeypatch.setattr(shared_sweep.SharedSweep, "has_capacity", lambda shared: not counted_all(shared))

        def counted_all(shared):
            return len(shared.runs()) > 1

        with pytest.raises(hp.SearchError, match="no trial was run"):
            run_hpcompat(lambda trial: pytest.fail("one too many"), n_trials=1, sweep_id=path)
        assert {run["summary"]["state"] for run in server.runs(path.split("/")[-1])} == {"SURPLUS"}


class Outage:
    """A server that fails for good from a moment on. From then on nobody is patient with it, and not before."""

    def __init__(self, server):
        self.server, self.patch = server, pytest.MonkeyPatch()
        self.settings = {}  # of wandb's, for the runs to come

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
        result = run_hpcompat(line, n_trials=2)
        assert server.known()["issues"] == []
        assert [run["summary"]["objective"] for run in counted(server.runs(result.native.id))] == [
            trial.value for trial in result.trials
        ]
        assert len(result.trials) == 2

    @pytest.mark.parametrize(
        ("operation", "how", "said"),
        [
            ("UpsertSweep", 500, "W&B refuses to create the sweep"),
            ("UpsertBucket", "half", "wandb.init refuses"),
            ("UpsertBucket", "hang", "wandb.init refuses"),
            ("Heartbeat", 500, "expected a run or the end of the sweep from W&B, got neither"),
            ("Heartbeat", "hang", "expected a run or the end of the sweep from W&B, got neither"),
        ],
    )
    def test_lost_server_ends_search_and_loses_nothing(self, run_hpcompat, server, outage, operation, said, how):
        def function(trial):
            outage.begin(operation, how)
            return line(trial)

        if operation == "UpsertSweep":
            outage.begin(operation, how)
        with pytest.raises(hp.SearchError, match=said) as error:
            run_hpcompat(function, n_trials=3, project="digits", settings=outage.settings)
        outage.end()
        assert server.key not in str(error.value)
        if operation != "UpsertSweep":
            (trial,) = error.value.trials
            (path,) = re.findall("continue with sweep_id='(.*)'", str(error.value))
            result = run_hpcompat(line, n_trials=3, sweep_id=path)
            assert len(result.trials) == 3
            assert result.trials[0].value == trial.value

    @pytest.mark.parametrize("how", [500, "hang"])
    def test_unsent_trial_is_in_result_with_warning(self, run_hpcompat, server, outage, monkeypatch, how):
        monkeypatch.setattr(wandb_server, "_FINISH_TIMEOUT_S", 3.0)  # with the only run, which never comes to its end
        monkeypatch.setattr(shared_sweep, "_REPORT_DELAYS_S", (0.0,))
        monkeypatch.setenv("WANDB__FILE_STREAM_RETRY_MAX", "1")

        def function(trial):
            outage.begin("FileStream", how)
            return line(trial)

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            result = run_hpcompat(function, n_trials=1)
        outage.end()
        assert "W&B has not received the end of these trials, which are only in the result: 0" in map(
            str, (each.message for each in said)
        )
        assert len(result.trials) == 1
        assert [(run["state"], run["summary"]) for run in server.runs(result.native.id)] == [("running", {})]
