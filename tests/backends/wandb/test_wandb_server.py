"""Searches on a W&B server: the real client and agent connect over HTTP to the fake server."""

from __future__ import annotations

import signal
import tempfile
import threading
from pathlib import Path

import pytest

import hpcompat as hp
from hpcompat.backends.wandb.runs import isolated_wandb
from tests.helpers.spaces import evaluate_with_notes, note_rows
from tests.helpers.waiting import wait_for

SPACE = hp.SearchSpace(
    {
        "x": hp.Float(0.0, 4.0),
        "net": {"width": hp.Int(2, 8), "shape": hp.Categorical([(1, 2), None])},
        "optim": hp.Categorical(["adamw", "sgd"]),
        "momentum": hp.Float(0.0, 0.9, when={"optim": "sgd"}),
    }
)
CONDITIONAL_SPACE = hp.SearchSpace(
    {
        "optim": hp.Categorical(["adamw", "sgd"]),
        "nesterov": hp.Categorical([True, False], when={"optim": "sgd"}),
    }
)
SMALL_SPACE = {"x": hp.Float(0.0, 4.0), "net": {"width": hp.Int(2, 8)}}


@pytest.fixture
def run_hpcompat(run_hpcompat, logged_in):
    return lambda function, space, **options: run_hpcompat(
        function, space, **{"seed": None, "sampler": "random", **options}
    )


def parabola(trial):
    return (trial["x"] - 1) ** 2


class TestSearch:
    def test_search_is_a_sweep_and_trials_are_runs(self, run_hpcompat, server, tmp_path, capfd):
        def function(trial):
            assert threading.current_thread() is threading.main_thread()
            if trial.number == 1:
                raise MemoryError("once")
            trial.report(5.0, 1)
            return parabola(trial)

        out = str(tmp_path / "out")
        result = run_hpcompat(
            function, SPACE, n_trials=4, project="digits", name="mine", direction="maximize", output_dir=out
        )
        assert capfd.readouterr() == ("", "")
        assert [trial.state for trial in result.trials] == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
        assert result.trials[1].cause == "MemoryError: once"
        assert all(SPACE.contains(trial.params) for trial in result.trials)

        sweep = server.get_state()["sweeps"][result.native.id]
        assert sweep["issues"] == []
        assert sweep["config"]["metric"] == {"name": "objective", "goal": "maximize"}
        assert sweep["config"]["parameters"] == result.native.config["parameters"]
        assert sweep["config"]["name"] == "mine"
        assert result.native.url == f"{server.url}/ada/digits/sweeps/{result.native.id}"
        runs = server.runs(result.native.id)
        assert [run["name"] for run in runs] == list(result.native.runs.values())
        for run, trial in zip(runs, result.trials, strict=True):
            assert run["state"] == ("failed" if trial.state == "FAILED" else "finished")
            assert run["summary"].get("objective") == trial.value  # not the reported 5.0
            assert [entry["objective"] for entry in run["history"] if "objective" in entry] == list(trial.values or ())
            assert run["summary"].get("error") == trial.cause
            assert run["config"]["params"]["value"]["x"] == trial.params["x"]
            assert run["inits"] == 1
        assert all(server.key.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    def test_search_leaves_no_socket_in_temporary_directory(self, run_hpcompat, monkeypatch):
        with tempfile.TemporaryDirectory(prefix="t-") as directory:
            monkeypatch.setenv("TMPDIR", directory)
            monkeypatch.setattr(tempfile, "tempdir", None)
            run_hpcompat(parabola, SMALL_SPACE, n_trials=4)
            assert list(Path(directory).glob("*.sock")) == []

    def test_bayes_is_default_and_gets_objective(self, run_hpcompat, server):
        result = run_hpcompat(parabola, SMALL_SPACE, n_trials=3, sampler=None)
        assert server.get_state()["sweeps"][result.native.id]["config"]["method"] == "bayes"
        logged = [run["summary"]["objective"] for run in server.runs(result.native.id)]
        assert logged == [trial.value for trial in result.trials]

    def test_run_stopped_by_server_is_pruned(self, run_hpcompat, server):
        def curve(trial):
            if trial.number == 2:
                return 2.0
            for step in range(3):
                trial.report(float(trial.number), step)
            if trial.number == 0:
                return 0.0
            wait_for(trial.should_prune, "the server does not stop the run")
            return None

        result = run_hpcompat(curve, SMALL_SPACE, n_trials=3, pruner="hyperband")
        assert [trial.state for trial in result.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
        assert result.trials[1].values == (1.0,)
        runs = server.runs(result.native.id)
        assert [run["has_stop_command"] for run in runs] == [False, True, False]
        assert [run["state"] for run in runs] == [
            "finished"
        ] * 3  # including the run that the agent fetches in the meantime
        assert runs[1]["summary"]["state"] == "PRUNED"
        assert server.get_state()["sweeps"][result.native.id]["config"]["early_terminate"]["min_iter"] == 1

    def test_grid_is_every_configuration_once(self, run_hpcompat, server):
        result = run_hpcompat(lambda trial: 1.0, CONDITIONAL_SPACE, n_trials=10, sampler="grid")
        assert len(result.trials) == len({repr(trial.params) for trial in result.trials}) == CONDITIONAL_SPACE.size == 3
        assert all(run["summary"]["objective"] == 1.0 for run in server.runs(result.native.id))

    @pytest.mark.parametrize(
        ("sampler", "space", "run_cap"),
        [
            ("random", CONDITIONAL_SPACE, 2),
            ("grid", {"optim": CONDITIONAL_SPACE["optim"]}, 2),
            ("grid", CONDITIONAL_SPACE, None),  # W&B's grid repeats configurations
        ],
    )
    def test_run_cap_is_n_trials_unless_runs_may_be_repeated(self, run_hpcompat, server, sampler, space, run_cap):
        result = run_hpcompat(lambda trial: 1.0, space, n_trials=2, sampler=sampler)
        assert server.get_state()["sweeps"][result.native.id]["config"].get("run_cap") == run_cap

    def test_ctrl_c_and_callbacks_end_search(self, run_hpcompat, server):
        def interrupt_in_second(trial):
            if trial.number == 1:
                signal.raise_signal(signal.SIGINT)
            return parabola(trial)

        result = run_hpcompat(interrupt_in_second, SMALL_SPACE, n_trials=9)
        assert result.interrupted
        assert len(result.trials) == 1
        assert [run["state"] for run in server.runs(result.native.id)] == ["finished", "failed"]

        result = run_hpcompat(parabola, SMALL_SPACE, n_trials=9, callbacks=[lambda trial: True])
        assert len(result.trials) == len(server.runs(result.native.id)) == 1

    def test_several_objectives_give_pareto_front(self, run_hpcompat, server):
        result = run_hpcompat(
            lambda trial: [trial["x"], -trial["x"]], SMALL_SPACE, n_trials=2, direction=["minimize"] * 2
        )
        assert len(result.pareto_front) == 2
        assert "metric" not in server.get_state()["sweeps"][result.native.id]["config"]
        logged = [
            (run["summary"]["objective_0"], run["summary"]["objective_1"]) for run in server.runs(result.native.id)
        ]
        assert logged == [trial.values for trial in result.trials]


def fail_if_called(trial):
    pytest.fail("a trial was started")


class TestValidation:
    def test_unsupported_argument_raises(self, run_hpcompat, server):
        before = len(server.get_state()["sweeps"])
        with pytest.raises(
            hp.BackendError, match=r"seed: W&B's server cannot be seeded \(leave it out, or pass driver='embedded'\)"
        ):
            run_hpcompat(parabola, SMALL_SPACE, seed=0)
        with pytest.raises(hp.BackendError, match="history: W&B's server only learns from the runs of the sweep"):
            run_hpcompat(parabola, SMALL_SPACE, history=[hp.Trial(0, {"x": 1.0, "net": {"width": 2}}, (1.0,))])
        assert len(server.get_state()["sweeps"]) == before

    def test_driver_embedded_is_used_while_logged_in(self, run_hpcompat, server, monkeypatch):
        before = server.get_state()["operations"]
        assert len(run_hpcompat(parabola, SMALL_SPACE, n_trials=2, driver="embedded", seed=0).trials) == 2
        monkeypatch.setenv("WANDB_MODE", "offline")
        assert len(run_hpcompat(parabola, SMALL_SPACE, n_trials=2, seed=0).trials) == 2
        assert server.get_state()["operations"] == before

    def test_rejected_key_raises_before_first_trial(self, run_hpcompat, server):
        server.refuse(True)
        try:
            with pytest.raises(hp.SearchError, match=r"cannot be reached, or refuses the key(.|\n)*driver='embedded'"):
                run_hpcompat(fail_if_called, SMALL_SPACE)
        finally:
            server.refuse(False)

    def test_missing_server_raises_before_first_trial(self, run_hpcompat, monkeypatch):
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        with pytest.raises(hp.SearchError, match="W&B cannot be reached"):
            run_hpcompat(fail_if_called, SMALL_SPACE)

    @pytest.mark.parametrize("key", [None, "too short"])
    def test_missing_or_invalid_key_raises(self, run_hpcompat, monkeypatch, key):
        monkeypatch.delenv("WANDB_API_KEY")
        if key is not None:
            monkeypatch.setenv("WANDB_API_KEY", key)
        with pytest.raises(hp.SearchError, match="W&B needs a key" if key is None else "API key") as refusal:
            run_hpcompat(fail_if_called, SMALL_SPACE, driver="server")
        assert "too short" not in str(refusal.value)


class TestJoining:
    def test_trials_of_joined_sweep_count_in_n_trials(self, run_hpcompat, server):
        first = run_hpcompat(
            lambda trial: 1 / 0 if trial.number == 1 else parabola(trial), SPACE, n_trials=3, project="digits"
        )
        path = f"ada/digits/{first.native.id}"
        joined = run_hpcompat(parabola, SPACE, n_trials=5, sampler=None, sweep_id=path)
        assert [trial.number for trial in joined.trials] == list(range(5))
        for before, after in zip(first.trials, joined.trials, strict=False):
            assert (after.params, after.values, after.state) == (before.params, before.values, before.state)
            assert after.cause == before.cause
        assert list(joined.native.runs.values()) == [run["name"] for run in server.runs(first.native.id)]
        assert joined.native.id == first.native.id
        resumed = run_hpcompat(parabola, SPACE, n_trials=5, sweep_id=first.native.id, project="digits", entity="ada")
        assert [trial.params for trial in resumed.trials] == [trial.params for trial in joined.trials]
        assert len(server.runs(first.native.id)) == 5

    def test_handwritten_sweep_is_joined(self, run_hpcompat, server):
        import wandb

        config = {
            "method": "random",
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {"x": {"min": 0.0, "max": 4.0}, "net": {"parameters": {"width": {"min": 2, "max": 8}}}},
        }
        with isolated_wandb(None):
            name = wandb.sweep(config, project="digits")
        path = f"ada/digits/{name}"
        result = run_hpcompat(parabola, SMALL_SPACE, n_trials=2, sweep_id=path)
        assert [run["summary"]["loss"] for run in server.runs(name)] == [trial.value for trial in result.trials]
        for options, message in (
            ({"direction": "maximize"}, "direction: is 'maximize', and the sweep's goal 'minimize'"),
            ({"sampler": "bayes"}, "sampler: is 'bayes', and the sweep's method 'random'"),
            ({"pruner": "hyperband"}, "pruner: the sweep has its own early_terminate, or none"),
            ({"direction": ["minimize"] * 2}, "direction: expected one for the metric of the sweep, got 2"),
            ({"compute_objective": "f1"}, "compute_objective: is 'f1', and the sweep's metric 'loss'"),
        ):
            with pytest.raises(hp.BackendError, match=message):
                run_hpcompat(parabola, SMALL_SPACE, sweep_id=path, **options)
        with pytest.raises(hp.BackendError, match=r"x: is Float\(0.0, 4.0\) in the sweep, and Float\(0.0, 3.0\) here"):
            run_hpcompat(parabola, SMALL_SPACE | {"x": hp.Float(0.0, 3.0)}, sweep_id=path)
        with pytest.raises(hp.SearchError, match="W&B has no sweep 'ada/digits/nowhere'"):
            run_hpcompat(parabola, SMALL_SPACE, sweep_id="ada/digits/nowhere")
        assert len(server.runs(name)) == 2

    @pytest.mark.parametrize(("metric", "goal"), [({"goal": "maximize"}, "maximize"), ({}, "minimize")])
    def test_goal_of_joined_sweep_fills_missing_direction(self, run_hpcompat, server, metric, goal):
        import wandb

        config = {
            "method": "random",
            "metric": {"name": "loss", **metric},
            "parameters": {"x": {"min": 0.0, "max": 4.0}},
        }
        with isolated_wandb(None):
            name = wandb.sweep(config, project="digits")
        result = run_hpcompat(parabola, {"x": hp.Float(0.0, 4.0)}, n_trials=1, sweep_id=f"ada/digits/{name}")
        assert result.directions == (goal,)

    def test_encoded_sweep_without_space_raises(self, run_hpcompat, server):
        space, other = ({"x": hp.Normal(mean, 1.0, low=0.0)} for mean in (1.0, 2.0))
        first = run_hpcompat(parabola, space, n_trials=1, project="digits")
        path = f"ada/digits/{first.native.id}"
        with pytest.raises(hp.BackendError, match="x: the sweep does not say how its values are encoded"):
            run_hpcompat(parabola, other, sweep_id=path)
        assert len(run_hpcompat(parabola, space, n_trials=2, sweep_id=path).trials) == 2

    def test_attributes_and_constraints_are_read_from_server(self, run_hpcompat, server):
        def function(trial):
            trial.log({"constraints": 1.0, "state": "mine"})  # user code may log under any name
            return evaluate_with_notes(trial)

        first = run_hpcompat(function, SMALL_SPACE, n_trials=4, project="digits")
        resumed = run_hpcompat(
            function, SMALL_SPACE, n_trials=4, sampler=None, sweep_id=f"ada/digits/{first.native.id}"
        )
        assert note_rows(resumed) == note_rows(first)
        assert [trial.state for trial in first.trials] == ["FAILED", "PRUNED", "COMPLETE", "COMPLETE"]
