"""A search on a SigOpt server: the real client over HTTP, to the double on the loopback interface."""

from __future__ import annotations

import logging
import math

import pytest
from sigopt_cases import EVERY_KIND, SIX, X, all_of, parabola
from sigopt_double import TOKEN, Issue

import hpcompat as hp


def only(server):
    (experiment,) = server.experiments.values()
    return experiment, server.observations[experiment["id"]]


def test_a_space_with_every_kind_is_searched_on_the_server(on_server, server):
    result = on_server(lambda trial: trial["float"], EVERY_KIND, n_trials=12)
    assert len(result.trials) == 12
    assert all(EVERY_KIND.contains(trial.params) for trial in result.trials)
    experiment, observations = only(server)
    assert experiment["metrics"][0]["objective"] == "minimize"
    assert (experiment["observation_budget"], experiment["type"], experiment["project"]) == (12, "offline", None)
    assert [each["values"][0]["value"] for each in observations] == [trial.value for trial in result.trials]
    assert result.native.id == experiment["id"]
    assert {each["state"] for each in server.suggestions[experiment["id"]].values()} == {"closed"}


def test_the_optimiser_of_the_server_is_told_and_finds_the_minimum(on_server, server):
    result = on_server(parabola, X, n_trials=9)
    assert result.best.value < 0.05
    best = server.answer("GET", f"experiments/{result.native.id}/best_assignments", {}, {})
    assert best["data"][0]["assignments"] == result.best.params


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_samplers(on_server, server, sampler):
    result = on_server(lambda trial: trial["a"], SIX, n_trials=8, sampler=sampler)
    experiment, observations = only(server)
    if sampler == "random":
        assert (experiment["type"], len(result.trials)) == ("random", 8)
    else:
        assert (experiment["type"], len({repr(each["assignments"]) for each in observations})) == ("offline", 6)
        assert len(result.trials) == 6


def test_failures_reach_the_server_with_their_cause(on_server, server):
    def function(trial):
        if trial.number == 1:
            raise RuntimeError("CUDA error")
        return math.nan if trial.number == 2 else parabola(trial)

    result = on_server(function, X, n_trials=4)
    assert [trial.state for trial in result.trials] == ["COMPLETE", "FAILED", "FAILED", "COMPLETE"]
    _, observations = only(server)
    assert [each["failed"] for each in observations] == [False, True, True, False]
    assert [each["metadata"].get("error") for each in observations] == [trial.cause for trial in result.trials]


def test_two_objectives(on_server, server):
    result = on_server(lambda trial: [trial["x"], -trial["x"]], X, direction=["minimize", "maximize"], n_trials=4)
    assert result.pareto_front == (min(result.trials, key=lambda trial: trial.params["x"]),)
    experiment, observations = only(server)
    assert [(metric["name"], metric["objective"]) for metric in experiment["metrics"]] == [
        ("objective_1", "minimize"),
        ("objective_2", "maximize"),
    ]
    assert {value["name"]: value["value"] for value in observations[0]["values"]} == {
        "objective_1": result.trials[0].values[0],
        "objective_2": result.trials[0].values[1],
    }


def test_options_reach_the_server_and_a_project_is_made_if_need_be(on_server, server):
    for expected in (1, 1):
        on_server(parabola, X, n_trials=1, project="digits", name="learning rates", parallel_bandwidth=3)
        assert len(server.projects) == expected
    for experiment in server.experiments.values():
        told = {name: experiment[name] for name in ("project", "name", "parallel_bandwidth")}
        assert told == {"project": "digits", "name": "learning rates", "parallel_bandwidth": 3}


def test_a_connection_of_ones_own(server, ours, monkeypatch):
    import sigopt

    connection = sigopt.Connection(client_token=TOKEN, api_url=server.url)
    monkeypatch.delenv("SIGOPT_API_URL")
    monkeypatch.delenv("SIGOPT_API_TOKEN")
    ours(parabola, X, n_trials=2, seed=None, connection=connection)
    assert len(only(server)[1]) == 2


def test_lite_is_to_be_had_beside_a_server(server, ours):
    assert len(ours(parabola, X, n_trials=2, driver="lite").trials) == 2
    assert server.requests == []


# -- an experiment that is there already -----------------------------------------------------------------


def test_an_experiment_is_gone_on_with(on_server, server):
    def function(trial):
        if trial.number == 1:
            raise ValueError("once")
        return trial["float"]

    first = on_server(function, EVERY_KIND, n_trials=7)
    again = on_server(lambda trial: trial["float"], EVERY_KIND, n_trials=9, experiment_id=first.native.id)
    assert [trial.number for trial in again.trials] == list(range(9))
    for before, after in zip(first.trials, again.trials, strict=False):
        assert (after.params, after.values, after.state) == (before.params, before.values, before.state)
    assert again.trials[1].cause == "ValueError: once"
    assert len(only(server)[1]) == 9
    done = on_server(lambda trial: 1 / 0, EVERY_KIND, n_trials=9, experiment_id=first.native.id)
    assert all_of(done) == all_of(again)


def test_a_grid_is_gone_on_with(on_server, server):
    first = on_server(lambda trial: trial["a"], SIX, n_trials=4, sampler="grid")
    rest = on_server(lambda trial: trial["a"], SIX, n_trials=99, sampler="grid", experiment_id=int(first.native.id))
    assert len({tuple(trial.params.values()) for trial in rest.trials}) == len(rest.trials) == 6


def test_two_searches_share_an_experiment(on_server, server):
    inner = []

    def joins(trial):
        if trial.number == 2:
            (name,) = server.experiments
            inner.append(on_server(parabola, X, n_trials=5, experiment_id=name))
        return parabola(trial)

    outer = on_server(joins, X, n_trials=6)
    assert len(only(server)[1]) == len(outer.trials) == 6
    assert [trial.number for trial in outer.trials] == list(range(6))
    assert len(inner[0].trials) == 4  # the one that was running counts as well
    values = sorted(trial.value for trial in outer.trials)
    assert set(values) > {trial.value for trial in inner[0].trials}


def test_history_is_told_but_not_counted(on_server, server):
    first = hp.search(parabola, X, "optuna", n_trials=3, seed=0, progress=False)
    second = on_server(parabola, X, n_trials=2, history=first)
    assert [trial.number for trial in second.trials] == [0, 1]
    experiment, observations = only(server)
    assert (len(observations), experiment["observation_budget"]) == (5, 5)
    third = on_server(parabola, X, n_trials=3, experiment_id=second.native.id)
    assert [trial.number for trial in third.trials] == [0, 1, 2]
    assert all_of(third)[:2] == all_of(second)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (
            {"x": hp.Float(0.0, 5.0)},
            {},
            "x: is {'type': 'double', 'bounds': [0.0, 4.0]} there, and {'type': 'double', 'bounds': [0.0, 5.0]} here",
        ),
        ({"y": hp.Float(0.0, 4.0)}, {}, "y: is absent there"),
        ({**X, "n": hp.Int(1, 2)}, {}, "n: is absent there"),
        (X, {"direction": "maximize"}, "direction: is ('minimize',) there, and ('maximize',) here"),
        (X, {"direction": ["minimize"] * 2}, "direction: is ('minimize',) there"),
        (X, {"sampler": "random"}, "sampler: is 'random', and the experiment's type 'offline'"),
        (X, {"name": "other"}, "name: the experiment that experiment_id names has its own"),
        (X, {"history": [hp.Trial(0, {"x": 1.0}, (1.0,))]}, "history: is for a new experiment"),
        (X, {"seed": 0}, "seed: a server draws as it likes (leave it out, or give driver='lite')"),
    ],
)
def test_an_experiment_of_another_search_is_refused(on_server, server, space, options, message):
    name = on_server(parabola, X, n_trials=1).native.id
    with pytest.raises(hp.BackendError) as refusal:
        on_server(lambda trial: 1 / 0, space, **{"experiment_id": name, **options})
    assert message in str(refusal.value)
    assert len(only(server)[1]) == 1


def test_observations_of_another_space_are_refused(on_server, server):
    name = on_server(parabola, X, n_trials=1).native.id
    body = {"assignments": {"x": 9.0}, "failed": True}
    server.answer("POST", f"experiments/{name}/observations", {}, body)
    with pytest.raises(hp.BackendError, match="holds observations of another space") as refusal:
        on_server(parabola, X, experiment_id=name)
    assert "x: 9.0 is not in" in str(refusal.value)


# -- a server that fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 503, None])
@pytest.mark.parametrize(
    ("method", "end"), [("POST", "experiments"), ("POST", "suggestions"), ("POST", "observations"), ("GET", "")]
)
def test_what_passes_is_waited_for(on_server, server, method, end, status):
    server.issues.append(Issue(method, end, status, times=2))
    result = on_server(parabola, X, n_trials=2)
    assert len(result.trials) == len(only(server)[1]) == 2
    assert server.issues == []


@pytest.mark.parametrize("status", [500, None])
def test_an_observation_whose_answer_is_lost_is_not_made_twice(on_server, server, status):
    for sampler in ("bayes", "grid"):
        server.experiments.clear()
        server.issues.append(Issue("POST", "observations", status, late=True))
        result = on_server(lambda trial: trial["a"], SIX, n_trials=6, sampler=sampler)
        assert len(result.trials) == len(only(server)[1]) == 6
        assert [trial.number for trial in result.trials] == list(range(6))


def test_a_server_that_is_gone_is_an_error_that_names_the_experiment_to_go_on_with(on_server, server):
    def function(trial):
        if trial.number == 2:
            server.issues.append(Issue("POST", "observations", 502, times=99))
        return parabola(trial)

    with pytest.raises(hp.SearchError, match="the SigOpt server failed 4 times") as error:
        on_server(function, X, n_trials=5)
    experiment, observations = only(server)
    assert f"go on with experiment_id='{experiment['id']}'" in str(error.value)
    assert len(observations) == 2
    server.issues.clear()
    assert len(on_server(parabola, X, n_trials=5, experiment_id=experiment["id"]).trials) == 5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SIGOPT_API_URL", "http://127.0.0.1:9", "the SigOpt server failed 3 times: ConnectionException"),
        ("SIGOPT_API_TOKEN", "WRONGTOKEN", "valid API token"),
    ],
)
def test_a_server_that_cannot_be_used_is_an_error_before_the_first_trial(on_server, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(hp.SearchError) as error:
        on_server(lambda trial: 1 / 0, X)
    assert message in str(error.value)
    assert value == "http://127.0.0.1:9" or value not in str(error.value)


def test_a_server_without_a_token(on_server, server, monkeypatch):
    monkeypatch.delenv("SIGOPT_API_TOKEN")
    with pytest.raises(hp.BackendError, match="there is no token for it: set SIGOPT_API_TOKEN"):
        on_server(parabola, X)


def test_ctrl_c_gives_the_open_suggestion_back(on_server, server):
    def interrupted(trial):
        if trial.number == 2:
            raise KeyboardInterrupt
        return parabola(trial)

    result = on_server(interrupted, X, n_trials=5)
    assert result.interrupted
    assert len(result.trials) == len(only(server)[1]) == 2
    (suggestions,) = server.suggestions.values()
    assert [each["state"] for each in suggestions.values()] == ["closed", "closed", "deleted"]


def test_the_token_is_not_told_and_nothing_is_left(on_server, untouched, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        result = on_server(parabola, X, n_trials=2, project="digits")
    said = "".join(capfd.readouterr()) + caplog.text + repr(result) + repr(result.native) + repr(result.trials)
    assert TOKEN not in said


def test_an_experiment_brings_back_what_its_trials_noted(on_server, server):
    def function(trial):
        trial.set_constraint("room", trial["x"] - 2)
        trial.set_constraint("time \u20ac", float("inf") if trial.number == 2 else -1)
        trial.set_user_attr("log", "\u00e9\x00\ud800" * 700)
        trial.set_user_attr("error", {"deep": [None, True]})
        if trial.number == 0:
            raise ValueError("once")
        if trial.number == 1:
            raise hp.TrialPruned
        return trial["x"]

    first = on_server(function, X, n_trials=4)
    again = on_server(function, X, n_trials=4, experiment_id=first.native.id)

    def noted(result):
        return [(trial.state, trial.user_attrs, trial.constraints) for trial in result.trials]

    assert noted(again) == noted(first)
    assert [trial.state for trial in first.trials] == ["FAILED", "PRUNED", "COMPLETE", "COMPLETE"]
