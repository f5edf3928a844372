"""Several processes on one experiment of a SigOpt server, and a server that misbehaves in the middle of it."""

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
from tests.helpers.sigopt_spaces import SIX_CONFIGURATIONS, X_SPACE, parabola


def suggestions(server):
    (every,) = server.suggestions.values()
    return [each["state"] for each in every.values()]


def observed(server):
    (every,) = server.observations.values()
    return every


def at_work(server, name, **owner):
    """A suggestion that another process works on."""
    metadata = {"hpcompat": f"tag of {owner}", "hpcompat_owner": json.dumps({**identify_process(), **owner})}
    return server.answer("POST", f"experiments/{name}/suggestions", {}, {"metadata": metadata})


class TestTwoProcesses:
    @pytest.mark.parametrize(("sampler", "n_trials", "expected"), [("random", 16, 16), ("grid", 99, 30)])
    def test_two_processes_share_an_experiment(self, on_server, server, tmp_path, sampler, n_trials, expected):
        space = LINE_SPACE if sampler == "random" else GRID_SPACE
        first = on_server(lambda trial: 0.0, space, n_trials=1, sampler=sampler, parallel_bandwidth=2)
        told = {"backend": "sigopt", "space": "line" if sampler == "random" else "grid", "sampler": sampler}
        evaluated, results = search_in_processes(2, tmp_path, experiment_id=first.native.id, n_trials=n_trials, **told)
        assert len(evaluated) + 1 == len(observed(server)) == expected
        assert len({json.dumps(each["assignments"]) for each in observed(server)}) == expected
        assert len({pid for pid, _, _ in evaluated}) == 2
        assert max(map(len, results)) == expected
        assert "open" not in suggestions(server)

    def test_open_suggestion_counts_until_its_process_ends(self, on_server, server):
        name = on_server(parabola, X_SPACE, n_trials=1).native.id
        at_work(server, name, host="elsewhere")
        at_work(server, name, started="another time")
        server.answer("POST", f"experiments/{name}/suggestions", {}, {})  # of someone who searches by other means
        result = on_server(parabola, X_SPACE, n_trials=4, experiment_id=name)
        assert len(result.trials) == 3
        assert suggestions(server) == ["closed", "open", "deleted", "open", "closed", "closed"]

    def test_surplus_suggestion_is_released(self, on_server, server, monkeypatch):
        name = on_server(parabola, X_SPACE, n_trials=1).native.id
        suggest = experiments.Experiment.suggest

        def too_late(experiment, *given):
            at_work(server, name, host="elsewhere")
            return suggest(experiment, *given)

        monkeypatch.setattr(experiments.Experiment, "suggest", too_late)
        result = on_server(lambda trial: pytest.fail("one too many"), X_SPACE, n_trials=2, experiment_id=name)
        assert len(result.trials) == 1
        assert suggestions(server) == ["closed", "open", "deleted"]


@pytest.fixture
def impatient(monkeypatch):
    from sigopt.ratelimit import failed_status_rate_limit

    # of a server that hangs; one that is only slow would have to be so at each repetition
    monkeypatch.setattr(client, "TIMEOUT_S", 2.0)
    monkeypatch.setattr(failed_status_rate_limit, "limit", 10**9)  # SigOpt's client sleeps after a few failures


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
    def test_transient_error_at_any_step_is_retried(self, on_server, server, impatient, status, late):
        server.issues += [InjectedFault(method, end, status, late=late) for method, end in STEPS]
        result = on_server(parabola, X_SPACE, n_trials=3, sampler="random")
        assert server.issues == []
        assert len(result.trials) == 3
        assert len(server.observations[result.native.id]) == 3  # a new experiment may have been made twice
        assert [each["state"] for each in server.suggestions[result.native.id].values()] == ["closed"] * 3

    @pytest.mark.parametrize("status", [500, None, "half", "hang"])
    @pytest.mark.parametrize(("method", "end"), STEPS)
    def test_lost_server_ends_search_and_loses_nothing(self, on_server, server, impatient, caplog, method, end, status):
        def function(trial):
            if trial.number == 1:
                server.issues.append(InjectedFault(method, end, status, times=99))
            return 0.25

        if end == "experiments":
            server.issues.append(InjectedFault(method, end, status, times=99))
        with caplog.at_level(logging.DEBUG), pytest.raises(hp.SearchError, match="the SigOpt server failed") as error:
            on_server(function, X_SPACE, n_trials=4, sampler="random")
        assert TOKEN not in str(error.value) + caplog.text
        server.issues.clear()
        if end == "experiments":
            assert server.experiments == {}
            return
        told = len(observed(server))
        assert told + ("trial 1: gave (0.25,) with {'x': " in str(error.value)) == 2
        (name,) = server.experiments
        assert f"continue with experiment_id='{name}'" in str(error.value)
        result = on_server(parabola, X_SPACE, n_trials=4, experiment_id=name)
        assert len(result.trials) == len(observed(server)) == 4

    def test_silent_address_raises(self, on_server, impatient, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
            monkeypatch.setenv("SIGOPT_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(hp.SearchError, match="the SigOpt server failed 3 times: ConnectionException"):
                on_server(lambda trial: pytest.fail("a trial was run"), SIX_CONFIGURATIONS)
