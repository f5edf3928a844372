"""Invalid arguments raise before the first trial, all in one error with hints."""

from __future__ import annotations

import inspect
import sys

import optuna
import pytest

import hpcompat as hp
from hpcompat import registry
from hpcompat.backends import BACKENDS
from hpcompat.backends.base import SEARCH_OPTIONS

X = {"x": hp.Float(0.0, 4.0)}
LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


class TestOptionNames:
    def test_keywords_of_search_are_search_options(self):
        keywords = list(inspect.signature(hp.search).parameters)
        assert ["trainer", "space", *SEARCH_OPTIONS, "options"] == keywords

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_misspelt_keyword_of_search_gets_suggestion(self, backend, fail_if_called):
        with pytest.raises(hp.BackendError, match="did you mean 'callbacks'"):
            hp.search(fail_if_called, X, backend, callback=print)


@pytest.fixture
def fail_if_called():
    def function(trial):
        raise AssertionError("a trial was started")

    return function


class TestInvalidSearch:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"backend": "optima"}, hp.BackendError, "unknown backend 'optima'; did you mean 'optuna'?"),
            ({"backend": "hyperopt"}, hp.BackendError, "unknown backend 'hyperopt'"),
            ({"backend": ["optuna"]}, hp.BackendError, "unknown backend ['optuna']"),
            ({"direction": "minimze"}, hp.SearchError, "did you mean 'minimize'?"),
            ({"direction": ["minimize", "most"]}, hp.SearchError, "must be 'minimize' or 'maximize', got 'most'"),
            ({"direction": 3}, hp.SearchError, "must be 'minimize' or 'maximize', got 3"),
            ({"direction": []}, hp.SearchError, "is empty"),
            ({"n_trials": 0}, hp.SearchError, "n_trials: expected an int of at least 1, got 0"),
            ({"n_trials": 2.0}, hp.SearchError, "n_trials: expected an int of at least 1, got 2.0"),
            ({"n_trials": True}, hp.SearchError, "n_trials: expected an int of at least 1, got True"),
            ({"timeout": 0}, hp.SearchError, "timeout: expected a number of seconds above 0, or None, got 0"),
            ({"timeout": "60"}, hp.SearchError, "timeout: expected a number of seconds above 0, or None, got '60'"),
            ({"seed": "1"}, hp.SearchError, "seed: expected an int or None, got '1'"),
            (
                {"history": [{"x": 1.0}]},
                hp.SearchError,
                "history: expected a SearchResult, or some of its trials, got {'x': 1.0}",
            ),
            ({"history": 3}, hp.SearchError, "history: expected a SearchResult, or some of its trials, got 3"),
            (
                {"callbacks": print},
                hp.SearchError,
                "callbacks: must be a list of functions of a Trial, got <built-in function print>",
            ),
            ({"callbacks": [3]}, hp.SearchError, "callbacks: must be a list of functions of a Trial, got [3]"),
            ({"keep": "bset"}, hp.SearchError, "did you mean 'best'?"),
            (
                {"resume": True},
                hp.SearchError,
                "resume: no journal to continue is named (give output_dir=",
            ),
            ({"sampler": "bayse"}, hp.BackendError, "did you mean 'bayes'?"),
            ({"pruner": "medain"}, hp.BackendError, "did you mean 'median'?"),
            ({"pruner": "median", "direction": ["minimize"] * 2}, hp.BackendError, "cannot be pruned"),
            (
                {"compute_objective": 3},
                hp.SearchError,
                "compute_objective: expected a function, or names of metrics, got int",
            ),
            (
                {"compute_objective": ["loss", 3]},
                hp.SearchError,
                "compute_objective: expected a function, or names of metrics, got ['loss', 3]",
            ),
            ({"compute_objective": ["loss", "f1"]}, hp.SearchError, "names 2 metrics for 1 direction"),
            ({"hp_name": "run"}, hp.SearchError, "hp_name: expected a function, got str"),
            ({"sampler": "grid"}, hp.BackendError, "x: Float(0.0, 4.0) has infinitely many values"),
            ({"n_jobs": 2}, hp.BackendError, "several processes"),
            ({"catch": (ValueError,)}, hp.BackendError, "every exception in a trial is caught"),
            ({"storgae": "sqlite://"}, hp.BackendError, "did you mean 'storage'?"),
            (
                {"history": [hp.Trial(4, {"x": 9.0}, (1.0,))]},
                hp.SearchError,
                "history: trial 4: x: 9.0 is not in",
            ),
            (
                {"history": [hp.Trial(number, {"y": 9.0}, (1.0,)) for number in (4, 5)]},
                hp.SearchError,
                "history: trials 4, 5: y: is not in the space",
            ),
            ({"history": [hp.Trial(4, {"x": 1.0}, (1.0, 2.0))]}, hp.SearchError, "2 values for 1 direction"),
            ({"sampler": optuna.samplers.RandomSampler(), "seed": 1}, hp.BackendError, "seed"),
            ({"sampler": 3}, hp.BackendError, "sampler: expected a name or an optuna.samplers.BaseSampler, got 3"),
            ({"pruner": 3}, hp.BackendError, "pruner: expected a name or an optuna.pruners.BasePruner, got 3"),
        ],
    )
    def test_invalid_argument_raises_before_first_trial(self, fail_if_called, run_hpcompat, options, error, message):
        with pytest.raises(error) as refusal:
            run_hpcompat(fail_if_called, X, **{"seed": None, **options})
        assert message in str(refusal.value)
        assert refusal.value.__class__ is error

    def test_several_invalid_arguments_are_reported_at_once(self, fail_if_called, run_hpcompat):
        with pytest.raises(hp.SearchError) as refusal:
            run_hpcompat(fail_if_called, X, n_trials=0, keep="some", timeout=-1)
        assert [issue.path for issue in refusal.value.issues] == ["n_trials", "timeout", "keep"]

    def test_invalid_arguments_of_every_kind_are_reported_at_once(self, fail_if_called, run_hpcompat):
        history = hp.SearchResult((hp.Trial(4, {"x": 9.0}, (1.0,)),), hp.SearchSpace(X), ("minimize",), "optuna", None)
        with pytest.raises(hp.SearchError) as refusal:
            run_hpcompat(
                fail_if_called,
                {"method": "random", "metric": {"name": "loss", "goal": "maximize"}, "parameters": {"x": {"value": 1}}},
                direction=["up"],
                callbacks=print,
                output_dir=3,
                history=history,
                resume=True,
                keep="some",
                sampler="bayess",
            )
        paths = ["sampler", "callbacks", "output_dir", "direction", "sampler", "keep", "history: trial 4"]
        assert [issue.path for issue in refusal.value.issues] == paths

    def test_several_trials_of_another_metric_are_reported_at_once(self, fail_if_called, run_hpcompat):
        trials = [hp.Trial(number, {"x": 1.0}, (1.0,), metrics={"loss": 1.0, "f1": 2.0}) for number in (4, 5)]
        with pytest.raises(hp.SearchError) as refusal:
            run_hpcompat(fail_if_called, X, history=trials, compute_objective="f1", n_trials=0)
        assert [issue.path for issue in refusal.value.issues] == ["n_trials", "history: trials 4, 5"]

    def test_valid_search_loads_no_backend_of_another_package(self, run_hpcompat, monkeypatch):
        looked_up = []
        monkeypatch.setattr(registry, "_find_entry_points", lambda *arguments: looked_up.append(arguments) or {})
        run_hpcompat(lambda trial: trial["x"], X, n_trials=1, sampler="random", pruner="median")
        assert not looked_up
        with pytest.raises(hp.BackendError, match="unknown sampler 'bayess'"):
            run_hpcompat(lambda trial: trial["x"], X, n_trials=1, sampler="bayess")
        assert looked_up

    def test_space_in_place_of_function_raises(self, fail_if_called, run_hpcompat):
        with pytest.raises(hp.SearchError, match="the space is the second argument"):
            run_hpcompat(hp.SearchSpace(X), fail_if_called)

    def test_neither_trainer_nor_function_raises(self, run_hpcompat):
        with pytest.raises(
            hp.SearchError, match="trainer: expected a transformers Trainer, or a function of a trial, got str"
        ):
            run_hpcompat("trainer", X)

    def test_backend_not_installed_raises_with_pip_command(self, fail_if_called, run_hpcompat, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(hp.MissingBackendError, match=r"pip install 'hpcompat\[optuna\]'") as refusal:
            run_hpcompat(fail_if_called, X)
        assert isinstance(refusal.value, ImportError)

    def test_weighted_choice_in_a_grid_raises(self, fail_if_called, run_hpcompat):
        with pytest.raises(hp.BackendError, match=r"c: .* is weighted"):
            run_hpcompat(fail_if_called, {"c": hp.Categorical([1, 2], weights=[1, 2])}, sampler="grid")

    def test_study_with_options_of_a_new_study_raises(self, fail_if_called, run_hpcompat):
        study = optuna.create_study()
        for options in ({"sampler": "random"}, {"pruner": "median"}, {"seed": 1}, {"storage": "sqlite://"}):
            with pytest.raises(hp.BackendError, match=f"{next(iter(options))}: study= comes with its own"):
                run_hpcompat(fail_if_called, X, **{"seed": None, "study": study, **options})
        with pytest.raises(hp.BackendError, match="directions"):
            run_hpcompat(fail_if_called, X, seed=None, study=study, direction="maximize")
        assert study.trials == []

    def test_unwritable_output_dir_raises(self, make_trainer, run_hpcompat, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(hp.SearchError, match="nothing can be written to output_dir"):
            run_hpcompat(make_trainer(), LR, output_dir=str(tmp_path / "file" / "below"))
