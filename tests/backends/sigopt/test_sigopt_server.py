"""Searches on a SigOpt server: the real client connects over HTTP to the fake server."""

from __future__ import annotations

import logging
import math

import pytest

import hpcompat as hp
from tests.helpers.sigopt_server import TOKEN, InjectedFault
from tests.helpers.spaces import (
    EVERY_TYPE,
    SIX_CONFIGURATIONS,
    X_SPACE,
    evaluate_with_notes,
    note_rows,
    parabola,
    trial_rows,
)


def get_experiment(server):
    (experiment,) = server.experiments.values()
    return experiment, server.observations[experiment["id"]]


class TestOptions:
    def test_options_reach_server_and_project_is_created(self, on_server, server):
        for expected in (1, 1):
            on_server(parabola, X_SPACE, n_trials=1, project="digits", name="learning rates", parallel_bandwidth=3)
            assert len(server.projects) == expected
        for experiment in server.experiments.values():
            stored = {name: experiment[name] for name in ("project", "name", "parallel_bandwidth")}
            assert stored == {"project": "digits", "name": "learning rates", "parallel_bandwidth": 3}

    def test_connection_of_user_is_used(self, server, run_hpcompat, monkeypatch):
        import sigopt

        connection = sigopt.Connection(client_token=TOKEN, api_url=server.url)
        monkeypatch.delenv("SIGOPT_API_URL")
        monkeypatch.delenv("SIGOPT_API_TOKEN")
        run_hpcompat(parabola, X_SPACE, n_trials=2, seed=None, connection=connection)
        assert len(get_experiment(server)[1]) == 2

    def test_driver_lite_is_used_despite_server_in_environment(self, server, run_hpcompat):
        assert len(run_hpcompat(parabola, X_SPACE, n_trials=2, driver="lite").trials) == 2
        assert server.requests == []


class TestServerErrors:
    @pytest.mark.parametrize("status", [500, 503, None])
    @pytest.mark.parametrize(
        ("method", "path_suffix"),
        [("POST", "experiments"), ("POST", "suggestions"), ("POST", "observations"), ("GET", "")],
    )
    def test_transient_error_is_retried(self, on_server, server, method, path_suffix, status):
        server.faults.append(InjectedFault(method, path_suffix, status, times=2))
        result = on_server(parabola, X_SPACE, n_trials=2)
        assert len(result.trials) == len(get_experiment(server)[1]) == 2
        assert server.faults == []

    @pytest.mark.parametrize("status", [500, None])
    def test_observation_with_lost_response_is_not_repeated(self, on_server, server, status):
        for sampler in ("bayes", "grid"):
            server.experiments.clear()
            server.faults.append(InjectedFault("POST", "observations", status, late=True))
            result = on_server(lambda trial: trial["a"], SIX_CONFIGURATIONS, n_trials=6, sampler=sampler)
            assert len(result.trials) == len(get_experiment(server)[1]) == 6
            assert [trial.number for trial in result.trials] == list(range(6))

    def test_lost_server_raises_with_experiment_to_resume(self, on_server, server):
        def function(trial):
            if trial.number == 2:
                server.faults.append(InjectedFault("POST", "observations", 502, times=99))
            return parabola(trial)

        with pytest.raises(hp.SearchError, match="the SigOpt server failed 4 times") as error:
            on_server(function, X_SPACE, n_trials=5)
        experiment, observations = get_experiment(server)
        assert f"continue with experiment_id='{experiment['id']}'" in str(error.value)
        assert len(observations) == 2
        server.faults.clear()
        assert len(on_server(parabola, X_SPACE, n_trials=5, experiment_id=experiment["id"]).trials) == 5

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("SIGOPT_API_URL", "http://127.0.0.1:9", "the SigOpt server failed 3 times: ConnectionException"),
            ("SIGOPT_API_TOKEN", "WRONGTOKEN", "valid API token"),
        ],
    )
    def test_unusable_server_raises_before_first_trial(self, on_server, monkeypatch, name, value, message):
        monkeypatch.setenv(name, value)
        with pytest.raises(hp.SearchError) as error:
            on_server(lambda trial: 1 / 0, X_SPACE)
        assert message in str(error.value)
        assert value == "http://127.0.0.1:9" or value not in str(error.value)

    def test_missing_token_raises(self, on_server, server, monkeypatch):
        monkeypatch.delenv("SIGOPT_API_TOKEN")
        with pytest.raises(hp.BackendError, match="names a server without a token: set SIGOPT_API_TOKEN"):
            on_server(parabola, X_SPACE)


class TestSearch:
    def test_every_parameter_type_is_searched(self, on_server, server):
        result = on_server(lambda trial: trial["float"], EVERY_TYPE, n_trials=12)
        assert len(result.trials) == 12
        assert all(EVERY_TYPE.contains(trial.params) for trial in result.trials)
        experiment, observations = get_experiment(server)
        assert experiment["metrics"][0]["objective"] == "minimize"
        assert (experiment["observation_budget"], experiment["type"], experiment["project"]) == (12, "offline", None)
        assert [entry["values"][0]["value"] for entry in observations] == [trial.value for trial in result.trials]
        assert result.native.id == experiment["id"]
        assert {suggestion["state"] for suggestion in server.suggestions[experiment["id"]].values()} == {"closed"}

    def test_bayes_of_server_learns_and_finds_minimum(self, on_server, server):
        result = on_server(parabola, X_SPACE, n_trials=9)
        assert result.best.value < 0.05
        best = server.respond("GET", f"experiments/{result.native.id}/best_assignments", {}, {})
        assert best["data"][0]["assignments"] == result.best.params

    @pytest.mark.parametrize("sampler", ["random", "grid"])
    def test_sampler_is_type_of_experiment(self, on_server, server, sampler):
        result = on_server(lambda trial: trial["a"], SIX_CONFIGURATIONS, n_trials=8, sampler=sampler)
        experiment, observations = get_experiment(server)
        if sampler == "random":
            assert (experiment["type"], len(result.trials)) == ("random", 8)
        else:
            assert (experiment["type"], len({repr(observation["assignments"]) for observation in observations})) == (
                "offline",
                6,
            )
            assert len(result.trials) == 6

    def test_failures_reach_server_with_cause(self, on_server, server):
        def function(trial):
            if trial.number == 1:
                raise RuntimeError("CUDA error")
            return math.nan if trial.number == 2 else parabola(trial)

        result = on_server(function, X_SPACE, n_trials=4)
        assert [trial.state for trial in result.trials] == ["COMPLETE", "FAILED", "FAILED", "COMPLETE"]
        _, observations = get_experiment(server)
        assert [observation["failed"] for observation in observations] == [False, True, True, False]
        assert [observation["metadata"].get("error") for observation in observations] == [
            trial.cause for trial in result.trials
        ]

    def test_two_objectives_are_two_metrics(self, on_server, server):
        result = on_server(
            lambda trial: [trial["x"], -trial["x"]], X_SPACE, direction=["minimize", "maximize"], n_trials=4
        )
        assert result.pareto_front == (min(result.trials, key=lambda trial: trial.params["x"]),)
        experiment, observations = get_experiment(server)
        assert [(metric["name"], metric["objective"]) for metric in experiment["metrics"]] == [
            ("objective_1", "minimize"),
            ("objective_2", "maximize"),
        ]
        assert {value["name"]: value["value"] for value in observations[0]["values"]} == {
            "objective_1": result.trials[0].values[0],
            "objective_2": result.trials[0].values[1],
        }

    def test_ctrl_c_deletes_open_suggestion(self, on_server, server):
        def interrupt_in_third(trial):
            if trial.number == 2:
                raise KeyboardInterrupt
            return parabola(trial)

        result = on_server(interrupt_in_third, X_SPACE, n_trials=5)
        assert result.interrupted
        assert len(result.trials) == len(get_experiment(server)[1]) == 2
        (suggestions,) = server.suggestions.values()
        assert [suggestion["state"] for suggestion in suggestions.values()] == ["closed", "closed", "deleted"]

    def test_search_shows_no_token_and_leaves_no_files(self, on_server, empty_dirs, caplog, capfd):
        with caplog.at_level(logging.DEBUG):
            result = on_server(parabola, X_SPACE, n_trials=2, project="digits")
        output = "".join(capfd.readouterr()) + caplog.text + repr(result) + repr(result.native) + repr(result.trials)
        assert TOKEN not in output


class TestJoining:
    def test_experiment_is_continued(self, on_server, server):
        def function(trial):
            if trial.number == 1:
                raise ValueError("once")
            return trial["float"]

        first = on_server(function, EVERY_TYPE, n_trials=7)
        joined = on_server(lambda trial: trial["float"], EVERY_TYPE, n_trials=9, experiment_id=first.native.id)
        assert [trial.number for trial in joined.trials] == list(range(9))
        for before, after in zip(first.trials, joined.trials, strict=False):
            assert (after.params, after.values, after.state) == (before.params, before.values, before.state)
        assert joined.trials[1].cause == "ValueError: once"
        assert len(get_experiment(server)[1]) == 9
        complete = on_server(lambda trial: 1 / 0, EVERY_TYPE, n_trials=9, experiment_id=first.native.id)
        assert trial_rows(complete) == trial_rows(joined)

    def test_grid_is_continued(self, on_server, server):
        first = on_server(lambda trial: trial["a"], SIX_CONFIGURATIONS, n_trials=4, sampler="grid")
        rest = on_server(
            lambda trial: trial["a"],
            SIX_CONFIGURATIONS,
            n_trials=99,
            sampler="grid",
            experiment_id=int(first.native.id),
        )
        assert len({tuple(trial.params.values()) for trial in rest.trials}) == len(rest.trials) == 6

    def test_two_searches_share_an_experiment(self, on_server, server):
        inner = []

        def start_second_search(trial):
            if trial.number == 2:
                (name,) = server.experiments
                inner.append(on_server(parabola, X_SPACE, n_trials=5, experiment_id=name))
            return parabola(trial)

        outer = on_server(start_second_search, X_SPACE, n_trials=6)
        assert len(get_experiment(server)[1]) == len(outer.trials) == 6
        assert [trial.number for trial in outer.trials] == list(range(6))
        assert len(inner[0].trials) == 4  # the running trial 2 counts in n_trials
        values = sorted(trial.value for trial in outer.trials)
        assert set(values) > {trial.value for trial in inner[0].trials}

    def test_history_is_observed_but_not_counted(self, on_server, server):
        first = hp.search(parabola, X_SPACE, "optuna", n_trials=3, seed=0, progress=False)
        second = on_server(parabola, X_SPACE, n_trials=2, history=first)
        assert [trial.number for trial in second.trials] == [0, 1]
        experiment, observations = get_experiment(server)
        assert (len(observations), experiment["observation_budget"]) == (5, 5)
        third = on_server(parabola, X_SPACE, n_trials=3, experiment_id=second.native.id)
        assert [trial.number for trial in third.trials] == [0, 1, 2]
        assert trial_rows(third)[:2] == trial_rows(second)

    @pytest.mark.parametrize(
        ("space", "options", "message"),
        [
            (
                {"x": hp.Float(0.0, 5.0)},
                {},
                "x: is {'type': 'double', 'bounds': [0.0, 4.0]} there, "
                "and {'type': 'double', 'bounds': [0.0, 5.0]} here",
            ),
            ({"y": hp.Float(0.0, 4.0)}, {}, "y: is absent there"),
            ({**X_SPACE, "n": hp.Int(1, 2)}, {}, "n: is absent there"),
            (X_SPACE, {"direction": "maximize"}, "direction: is ('minimize',) there, and ('maximize',) here"),
            (X_SPACE, {"direction": ["minimize"] * 2}, "direction: is ('minimize',) there"),
            (X_SPACE, {"sampler": "random"}, "sampler: is 'random', and the experiment's type 'offline'"),
            (X_SPACE, {"name": "other"}, "name: the experiment that experiment_id names has its own"),
            (X_SPACE, {"history": [hp.Trial(0, {"x": 1.0}, (1.0,))]}, "history: is for a new experiment"),
            (X_SPACE, {"seed": 0}, "seed: a server cannot be seeded (leave it out, or give driver='lite')"),
        ],
    )
    def test_experiment_of_another_search_raises(self, on_server, server, space, options, message):
        name = on_server(parabola, X_SPACE, n_trials=1).native.id
        with pytest.raises(hp.BackendError) as refusal:
            on_server(lambda trial: 1 / 0, space, **{"experiment_id": name, **options})
        assert message in str(refusal.value)
        assert len(get_experiment(server)[1]) == 1

    def test_observations_of_another_space_raise(self, on_server, server):
        name = on_server(parabola, X_SPACE, n_trials=1).native.id
        body = {"assignments": {"x": 9.0}, "failed": True}
        server.respond("POST", f"experiments/{name}/observations", {}, body)
        with pytest.raises(hp.BackendError, match="holds observations of another space") as refusal:
            on_server(parabola, X_SPACE, experiment_id=name)
        assert "x: 9.0 is not in" in str(refusal.value)

    def test_attributes_and_constraints_are_read_from_server(self, on_server, server):
        first = on_server(evaluate_with_notes, X_SPACE, n_trials=4)
        joined = on_server(evaluate_with_notes, X_SPACE, n_trials=4, experiment_id=first.native.id)
        assert note_rows(joined) == note_rows(first)
        assert [trial.state for trial in first.trials] == ["FAILED", "PRUNED", "COMPLETE", "COMPLETE"]
