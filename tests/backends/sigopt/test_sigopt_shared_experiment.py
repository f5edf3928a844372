"""Several processes that share one experiment of a SigOpt server, and server errors during a search."""

from __future__ import annotations

import json
import logging
import socket

import pytest

import hpcompat as hp
from hpcompat.backends.sigopt import client
from hpcompat.backends.sigopt import experiment as experiments
from hpcompat.trials.process import identify_process
from tests.helpers.multiprocess import GRID_SPACE, LINE_SPACE, search_in_processes
from tests.helpers.sigopt_server import TOKEN, InjectedFault
from tests.helpers.spaces import SIX_CONFIGURATIONS, X_SPACE, parabola


def suggestion_states(server):
    (suggestions,) = server.suggestions.values()
    return [suggestion["state"] for suggestion in suggestions.values()]


def list_observations(server):
    (observations,) = server.observations.values()
    return observations


def create_suggestion(server, name, **owner):
    """Create a suggestion of another process."""
    metadata = {"hpcompat": f"tag of {owner}", "hpcompat_owner": json.dumps({**identify_process(), **owner})}
    return server.respond("POST", f"experiments/{name}/suggestions", {}, {"metadata": metadata})


class TestTwoProcesses:
    @pytest.mark.parametrize(("sampler", "n_trials", "expected"), [("random", 16, 16), ("grid", 99, 30)])
    def test_two_processes_share_an_experiment(self, on_server, server, tmp_path, sampler, n_trials, expected):
        space = LINE_SPACE if sampler == "random" else GRID_SPACE
        first = on_server(lambda trial: 0.0, space, n_trials=1, sampler=sampler, parallel_bandwidth=2)
        options = {"backend": "sigopt", "space": "line" if sampler == "random" else "grid", "sampler": sampler}
        options |= {"experiment_id": first.native.id, "n_trials": n_trials}
        evaluations, results = search_in_processes(2, tmp_path, **options)
        assert len(evaluations) + 1 == len(list_observations(server)) == expected
        assignments = {json.dumps(observation["assignments"]) for observation in list_observations(server)}
        assert len(assignments) == expected
        assert len({pid for pid, _, _ in evaluations}) == 2
        assert max(map(len, results)) == expected
        assert "open" not in suggestion_states(server)

    def test_open_suggestion_counts_until_its_process_ends(self, on_server, server):
        name = on_server(parabola, X_SPACE, n_trials=1).native.id
        create_suggestion(server, name, host="elsewhere")
        create_suggestion(server, name, started="another time")
        server.respond("POST", f"experiments/{name}/suggestions", {}, {})  # of another client
        result = on_server(parabola, X_SPACE, n_trials=4, experiment_id=name)
        assert len(result.trials) == 3
        assert suggestion_states(server) == ["closed", "open", "deleted", "open", "closed", "closed"]

    def test_surplus_suggestion_is_released(self, on_server, server, monkeypatch):
        name = on_server(parabola, X_SPACE, n_trials=1).native.id
        suggest = experiments.Experiment.suggest

        def suggest_after_other_process(experiment, *args):
            create_suggestion(server, name, host="elsewhere")
            return suggest(experiment, *args)

        monkeypatch.setattr(experiments.Experiment, "suggest", suggest_after_other_process)
        result = on_server(
            lambda trial: pytest.fail("a third trial was started"), X_SPACE, n_trials=2, experiment_id=name
        )
        assert len(result.trials) == 1
        assert suggestion_states(server) == ["closed", "open", "deleted"]

    def test_configuration_that_two_processes_claim_is_released(self, on_server, server, monkeypatch):
        name = on_server(lambda trial: 0.0, GRID_SPACE, n_trials=1, sampler="grid").native.id
        suggest = experiments.Experiment.suggest
        claims = []

        def suggest_as_another_process_does(experiment, *args):
            suggestion, params = suggest(experiment, *args)
            if not claims:
                metadata = {
                    "hpcompat": "another",
                    "hpcompat_owner": json.dumps({**identify_process(), "host": "other"}),
                }
                body = {"assignments": dict(suggestion.assignments), "metadata": metadata}
                claims.append(server.respond("POST", f"experiments/{name}/suggestions", {}, body))
            return suggestion, params

        monkeypatch.setattr(experiments.Experiment, "suggest", suggest_as_another_process_does)
        result = on_server(lambda trial: 0.0, GRID_SPACE, n_trials=3, sampler="grid", experiment_id=name)
        assert len(result.trials) == 2  # the other process runs the third
        assert suggestion_states(server) == ["closed", "deleted", "open", "closed"]


@pytest.fixture
def short_timeouts(monkeypatch):
    from sigopt.ratelimit import failed_status_rate_limit

    # a server that is slow, but does not hang, would have to exceed this at every retry
    monkeypatch.setattr(client, "TIMEOUT_S", 2.0)
    monkeypatch.setattr(
        failed_status_rate_limit, "limit", 10**9
    )  # otherwise SigOpt's client sleeps after a few failures


STEPS = [
    ("POST", "experiments"),
    ("POST", "suggestions"),
    ("GET", "suggestions"),
    ("POST", "observations"),
    ("GET", ""),
]


class TestServerErrors:
    @pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("status", ["half", "hang", 502])
    def test_transient_error_at_any_step_is_retried(self, on_server, server, short_timeouts, status, late):
        server.faults += [InjectedFault(method, path_suffix, status, late=late) for method, path_suffix in STEPS]
        result = on_server(parabola, X_SPACE, n_trials=3, sampler="random")
        assert server.faults == []
        assert len(result.trials) == 3
        assert (
            len(server.observations[result.native.id]) == 3
        )  # the request for a new experiment may have been repeated
        assert [suggestion["state"] for suggestion in server.suggestions[result.native.id].values()] == ["closed"] * 3

    @pytest.mark.parametrize("status", [500, None, "half", "hang"])
    @pytest.mark.parametrize(("method", "path_suffix"), STEPS)
    def test_lost_server_ends_search_and_loses_nothing(
        self, on_server, server, short_timeouts, caplog, method, path_suffix, status
    ):
        def function(trial):
            if trial.number == 1:
                server.faults.append(InjectedFault(method, path_suffix, status, times=99))
            return 0.25

        if path_suffix == "experiments":
            server.faults.append(InjectedFault(method, path_suffix, status, times=99))
        with caplog.at_level(logging.DEBUG), pytest.raises(hp.SearchError, match="the SigOpt server failed") as error:
            on_server(function, X_SPACE, n_trials=4, sampler="random")
        assert TOKEN not in str(error.value) + caplog.text
        server.faults.clear()
        if path_suffix == "experiments":
            assert server.experiments == {}
            return
        n_observations = len(list_observations(server))
        assert n_observations + ("trial 1: gave (0.25,) with {'x': " in str(error.value)) == 2
        (name,) = server.experiments
        assert f"continue with experiment_id='{name}'" in str(error.value)
        result = on_server(parabola, X_SPACE, n_trials=4, experiment_id=name)
        assert len(result.trials) == len(list_observations(server)) == 4

    def test_silent_address_raises(self, on_server, short_timeouts, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections, but sends no response
            monkeypatch.setenv("SIGOPT_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(hp.SearchError, match="the SigOpt server failed 3 times: ConnectionException"):
                on_server(lambda trial: pytest.fail("a trial was started"), SIX_CONFIGURATIONS)
