"""Searches on SigOpt Lite, in this process."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest

import hpcompat as hp
from hpcompat.backends.sigopt.client import lite_connection
from hpcompat.backends.sigopt.experiment import strip_rounding
from tests.helpers.spaces import (
    EVERY_TYPE,
    SIX_CONFIGURATIONS,
    X_SPACE,
    parabola,
    trial_rows,
    with_types,
)

ROOT = Path(hp.__file__).parent.parent


def observations(connection, result):
    return list(connection.experiments(result.native.id).observations().fetch().iterate_pages())


def fail(error):
    raise error


class TestTrials:
    def test_failed_trial_has_cause_and_search_continues(self, run_hpcompat):
        causes = {1: "RuntimeError: CUDA error", 3: "MemoryError", 6: "ValueError: the objective is nan"}

        def function(trial):
            if trial.number == 1:
                raise RuntimeError("CUDA error")
            if trial.number == 3:
                return bytearray(2**62)
            return math.nan if trial.number == 6 else parabola(trial)

        connection = lite_connection()
        result = run_hpcompat(function, X_SPACE, n_trials=10, connection=connection)
        assert {trial.number: trial.cause for trial in result.trials if trial.state == "FAILED"} == causes
        assert [trial.number for trial in result.trials] == list(range(10))
        observed = observations(connection, result)
        assert [observation.failed for observation in observed] == [number in causes for number in range(10)]
        values = [observation.values and observation.values[0].value for observation in observed]
        assert values == [trial.value for trial in result.trials]

    def test_infinite_objective_is_complete_trial_and_failed_observation(self, run_hpcompat):
        connection = lite_connection()
        result = run_hpcompat(
            lambda trial: math.inf if trial.number == 2 else np.float32(trial["x"]),
            X_SPACE,
            n_trials=7,
            connection=connection,
        )
        assert result.trials[2].value == math.inf
        assert {trial.state for trial in result.trials} == {"COMPLETE"}
        observed = observations(connection, result)
        assert [observation.failed for observation in observed] == [number == 2 for number in range(7)]

    def test_trial_that_prunes_itself_is_pruned(self, run_hpcompat):
        def prune_second(trial):
            trial.report(trial["x"], 1)
            if trial.number == 1:
                raise optuna.TrialPruned
            return trial["x"]

        result = run_hpcompat(prune_second, X_SPACE, n_trials=7)
        assert [trial.state for trial in result.trials][:3] == ["COMPLETE", "PRUNED", "COMPLETE"]
        assert result.trials[1].values == (result.trials[1].params["x"],)

    @pytest.mark.parametrize("after", [1, 6])
    def test_ctrl_c_returns_finished_trials(self, run_hpcompat, after):
        result = run_hpcompat(
            lambda trial: fail(KeyboardInterrupt()) if trial.number == after else parabola(trial), X_SPACE, n_trials=9
        )
        assert result.interrupted
        assert [trial.number for trial in result.trials] == list(range(after))
        assert result.native.progress.observation_count == after


class TestFiniteSpaces:
    def test_finite_space_is_covered_before_repetitions(self, run_hpcompat):
        result = run_hpcompat(lambda trial: trial["a"], SIX_CONFIGURATIONS, n_trials=12)
        params = [tuple(trial.params.values()) for trial in result.trials]
        n_untried = 6 - len(set(params[:5]))  # the first five are random
        assert len(params) == 12
        assert len(set(params[: 5 + n_untried])) == 6
        assert trial_rows(run_hpcompat(lambda trial: trial["a"], SIX_CONFIGURATIONS, n_trials=12)) == trial_rows(result)

    def test_untried_configurations_are_tried_despite_repeated_observations(self, run_hpcompat):
        params = {"a": 1, "b": "x"}
        history = [hp.Trial(number, params, (1.0,)) for number in range(6)]
        for seed in (0, 1):
            result = run_hpcompat(lambda trial: trial["a"], SIX_CONFIGURATIONS, n_trials=5, seed=seed, history=history)
            assert len({tuple(trial.params.values()) for trial in result.trials} - {(1, "x")}) == 5

    def test_smallest_spaces_are_searched(self, run_hpcompat):
        two = {"flag": hp.Categorical([True, False])}
        assert len({trial.params["flag"] for trial in run_hpcompat(lambda trial: 1.0, two, n_trials=9).trials}) == 2
        with pytest.raises(hp.TranslationError, match="SigOpt needs something to search"):
            run_hpcompat(lambda trial: 1.0, {"one": hp.Constant(1)}, n_trials=2)


class TestSuggestions:
    @pytest.mark.parametrize("sampler", ["bayes", "random"])
    def test_every_parameter_type_is_drawn_typed_and_in_space(self, run_hpcompat, sampler):
        received = []
        result = run_hpcompat(
            lambda trial: received.append(trial.params) or trial["float"],
            EVERY_TYPE,
            n_trials=12,
            sampler=sampler,
        )
        assert len(result.trials) == 12
        assert all(EVERY_TYPE.contains(trial.params) for trial in result.trials)
        assert [with_types(dict(trial.params)) for trial in result.trials] == list(map(with_types, received))
        assert {trial.params["optim"] for trial in result.trials} == {"adamw", "sgd"}
        assert any("dampening" in trial.params.get("sgd", {}) for trial in result.trials)
        assert [condition["name"] for condition in result.native.to_json()["conditionals"]] == ["optim"]

    def test_bayes_suggestions_lie_in_space(self, run_hpcompat):
        space = hp.SearchSpace(
            {
                "lr": hp.Float(1e-6, 1e-4, log=True),
                "optim": hp.Categorical(["adamw", "sgd"]),
                "beta": hp.Float(0.9, 0.999, when={"optim": "adamw"}),
                "momentum": hp.Float(0.0, 0.9, step=0.1, when={"optim": "sgd"}),
            }
        )
        result = run_hpcompat(lambda trial: -trial["lr"] * (2 if trial["optim"] == "sgd" else 1), space, n_trials=13)
        assert all(space.contains(trial.params) for trial in result.trials)
        # at the end of a logarithmic range, the arithmetic of SigOpt Lite exceeds the bound
        assert max(trial.params["lr"] for trial in result.trials[9:]) == 1e-4

    @pytest.mark.parametrize(
        ("parameter", "suggested", "value"),
        [
            (hp.Float(3e-280, 1.0, log=True), 10 ** math.log10(3e-280), 3e-280),
            (hp.Float(1e-6, 1e-4, log=True), 1.0000000000004e-4, 1e-4),
            (hp.Float(-1.0, 0.3), 0.3000000000004, 0.3),
            (hp.Normal(0.0, 1.0, low=-1.0, high=2.0), -1.0000000000004, -1.0),
            (hp.Normal(0.0, 1.0), 1.0000000000004, hp.Normal(0.0, 1.0).quantile(1.0)),
            (hp.Float(0.1, 0.5, step=0.1), 0.30000000000000004, 0.3),
            (hp.Categorical([1e-5, 3e-5, 1.0], ordered=True), 3.000000000000001e-05, 3e-5),
            (hp.Categorical([1, 10, 1000], ordered=True), 10.0, 10),
            (hp.Int(1, 9, step=2), 3.0, 3),
        ],
    )
    def test_rounding_error_is_stripped(self, parameter, suggested, value):
        translation = hp.translate({"x": parameter, "y": hp.Float(0.0, 1.0)}, "sigopt", encode=True)
        assert translation.spec["parameters"][0]["name"] == "x"
        decoded = translation.decode(strip_rounding(translation, {"x": suggested, "y": 0.5}))
        assert with_types(decoded) == with_types({"x": value, "y": 0.5})

    @pytest.mark.parametrize("parameter", [hp.Float(0.1, 1.0, log=True), hp.Categorical([1, 10, 1000], ordered=True)])
    def test_larger_error_raises(self, parameter):
        translation = hp.translate({"x": parameter}, "sigopt", encode=True)
        with pytest.raises(hp.ParamsError, match=r"x: 1\.01 is not in"):
            translation.decode(strip_rounding(translation, {"x": 1.01}))

    def test_bayes_beats_random(self, run_hpcompat):
        def bowl(trial):
            return (trial["x"] - 1) ** 2 + (trial["y"] - 3) ** 2

        space = {"x": hp.Float(0.0, 4.0), "y": hp.Float(0.0, 4.0)}
        bayes, random_search = (
            run_hpcompat(bowl, space, n_trials=14, sampler=sampler).best.value for sampler in ("bayes", "random")
        )
        assert bayes < 0.01 < random_search

    def test_maximize_maximizes(self, run_hpcompat):
        best = run_hpcompat(lambda trial: -parabola(trial), X_SPACE, direction="maximize", n_trials=10).best
        assert best.value > -0.01

    def test_same_seed_gives_same_trials_for_several_objectives(self, run_hpcompat):
        def reseed_and_evaluate(trial):
            random.seed(0)
            np.random.seed(0)
            return evaluate(trial)

        def evaluate(trial):
            return [parabola(trial), trial["x"]]

        directions = ["minimize", "maximize"]
        first = run_hpcompat(reseed_and_evaluate, X_SPACE, n_trials=7, direction=directions)
        np.random.seed(9)
        second = run_hpcompat(evaluate, X_SPACE, n_trials=7, direction=directions)
        assert trial_rows(first) == trial_rows(second)
        assert len({trial.params["x"] for trial in first.trials}) == 7

    def test_different_seeds_and_no_seed_give_different_trials(self, run_hpcompat):
        searches = [
            run_hpcompat(parabola, X_SPACE, n_trials=3, seed=seed).trials for seed in (1, 2, -1, 2**40, None, None)
        ]
        assert len({trial.value for trials in searches for trial in trials}) == 18

    def test_global_generators_are_unchanged(self, run_hpcompat):
        np.random.seed(3)
        random.seed(3)
        expected = np.random.random(4), random.random()
        np.random.seed(3)
        random.seed(3)
        first = np.random.random(2)
        positions = []
        run_hpcompat(lambda trial: positions.append(np.random.get_state()[2]) or trial["x"], X_SPACE, n_trials=7)
        assert (np.concatenate([first, np.random.random(2)]) == expected[0]).all()
        assert random.random() == expected[1]
        assert len(set(positions)) == 1
        assert not hasattr(np, "product")
        assert "qmcpy" not in sys.modules

    def test_failing_optimizer_is_replaced_by_random_with_warning(self, run_hpcompat, monkeypatch):
        from sigoptlite.sources import GPSource

        def fail(self, observations):
            raise np.linalg.LinAlgError("singular matrix")

        monkeypatch.setattr(GPSource, "next_point", fail)
        with pytest.warns(UserWarning, match=r"SigOpt Lite failed \(singular matrix\); a random trial is run instead"):
            result = run_hpcompat(parabola, X_SPACE, n_trials=8)
        assert len({trial.value for trial in result.trials}) == 8


class TestHistory:
    def test_history_of_another_backend_reaches_optimizer(self, run_hpcompat):
        first = hp.search(parabola, X_SPACE, "optuna", n_trials=12, seed=0, progress=False)
        connection = lite_connection()
        second = run_hpcompat(parabola, X_SPACE, n_trials=4, history=first, connection=connection)
        assert [trial.number for trial in second.trials] == [0, 1, 2, 3]
        observed = observations(connection, second)
        assert [observation.assignments["x"] for observation in observed[:12]] == [
            trial.params["x"] for trial in first.trials
        ]
        assert min(trial.value for trial in second.trials) < first.best.value  # the history replaces the random start

    def test_history_has_every_parameter_type_and_state(self, run_hpcompat):
        def function(trial):
            if trial.number == 1:
                raise ValueError
            return trial["float"]

        first = run_hpcompat(function, EVERY_TYPE, n_trials=6)
        connection = lite_connection()
        second = run_hpcompat(lambda trial: 0.0, EVERY_TYPE, n_trials=2, history=first, connection=connection)
        observed = observations(connection, second)
        assert [observation.failed for observation in observed] == [False, True, *[False] * 6]
        translation = hp.translate(EVERY_TYPE, "sigopt", encode=True)
        for trial, observation in zip(first.trials, observed, strict=False):
            assert dict(observation.assignments) == translation.encode(trial.params)
        tried = {trial.params["float"] for trial in first.trials}
        assert tried.isdisjoint(trial.params["float"] for trial in second.trials)


class TestValidation:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pruner": "median"}, "pruner"),
            (
                {"pruner": optuna.pruners.MedianPruner()},
                "pruner: is not supported by sigopt (leave it out, or search with optuna",
            ),
            ({"direction": ["minimize"] * 3}, "at most 2 objectives"),
            ({"sampler": "tpe"}, "sampler: 'tpe' is not supported by sigopt (supported by optuna, ray)"),
            (
                {"sampler": optuna.samplers.RandomSampler()},
                "sampler: expected a name, got <optuna.samplers._random.Rando",
            ),
            ({"sampler": "grid"}, "x: Float(0.0, 4.0) has infinitely many values"),
            ({"storage": "sqlite://"}, "storage: unknown option"),
            ({"conection": None}, "did you mean 'connection'?"),
            ({"driver": "light"}, "driver: expected 'lite' or 'server', got 'light'"),
            ({"driver": "server"}, "api.sigopt.com has been shut down"),
            ({"project": "digits"}, "project: is for a server"),
            ({"experiment_id": 1}, "experiment_id: is for a server"),
            ({"parallel_bandwidth": 2}, "parallel_bandwidth: is for a server"),
            (
                {"connection": "https://sigopt.example"},
                "connection: expected a sigopt.Connection, got 'https://sigopt.example'",
            ),
            ({"connection": lite_connection(), "driver": "lite"}, "connection= has one of its own"),
        ],
    )
    def test_unsupported_option_raises_before_first_trial(self, run_hpcompat, options, message):
        with pytest.raises(hp.BackendError) as refusal:
            run_hpcompat(
                lambda trial: fail(AssertionError("a trial was started")), X_SPACE, **{"seed": None, **options}
            )
        assert message in str(refusal.value)

    def test_missing_package_raises_with_pip_commands(self, run_hpcompat, monkeypatch):
        monkeypatch.setitem(sys.modules, "sigoptlite", None)
        with pytest.raises(hp.MissingBackendError) as error:
            run_hpcompat(parabola, X_SPACE)
        assert (
            "pip install 'hpcompat[sigopt]' && pip install --no-deps sigoptlite==0.1.2 libsigopt==1.0.0"
            in error.value.message
        )
        monkeypatch.setitem(sys.modules, "sigopt", None)
        with pytest.raises(hp.MissingBackendError, match="sigopt backend is not installed"):
            run_hpcompat(parabola, X_SPACE)
        monkeypatch.setenv("SIGOPT_API_URL", "http://127.0.0.1:1")
        with pytest.raises(hp.MissingBackendError, match=r"not installed .*pip install 'hpcompat\[sigopt\]'$"):
            run_hpcompat(parabola, X_SPACE, seed=None)


SEARCH = """
import os
import hpcompat as hp
before = dict(os.environ)
result = hp.search(lambda trial: trial["x"], {"x": hp.Float(0, 1)}, "sigopt", n_trials=2, seed=0, progress=False)
assert len(result.trials) == 2 and dict(os.environ) == before
"""


class TestConnections:
    @pytest.mark.parametrize("project", [None, "No Project!"])
    def test_search_in_directory_where_client_import_fails_leaves_nothing(self, tmp_path, project):
        home, cwd = tmp_path / "home", tmp_path / "デジット"
        home.mkdir()
        cwd.mkdir()
        environment = {
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        environment |= {"SIGOPT_PROJECT": project} if project else {}
        process = subprocess.run(
            [sys.executable, "-c", SEARCH], cwd=cwd, env=environment, capture_output=True, text=True
        )
        assert (process.returncode, process.stderr, process.stdout) == (0, "", "")
        assert sorted(tmp_path.rglob("*")) == sorted([home, cwd])

    def test_connection_of_user_to_lite_is_used(self, run_hpcompat):
        import sigopt

        lite_connection()  # patches the dependencies of sigoptlite
        connection = sigopt.Connection(driver="lite")
        result = run_hpcompat(parabola, X_SPACE, n_trials=5, connection=connection)
        assert connection.experiments(result.native.id).fetch().progress.observation_count == 5
        assert trial_rows(result) == trial_rows(run_hpcompat(parabola, X_SPACE, n_trials=5))
