"""Searches over functions on Ray: params, failures, samplers and pruners."""

from __future__ import annotations

import os
import signal

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Repeater, Searcher
from ray.tune.search.bayesopt import BayesOptSearch
from ray.tune.search.hyperopt import HyperOptSearch
from ray.tune.search.optuna import OptunaSearch

import hpcompat as hp
from hpcompat.backends.ray.driver import searcher_option
from tests.helpers.spaces import EVERY_TYPE, XN_SPACE, parabola, trial_rows, with_types
from tests.helpers.waiting import Deadline, wait_for


class DerivedOptunaSearch(OptunaSearch):
    """A subclass, as in user code."""


def create_searchers():
    return {
        "hyperopt": HyperOptSearch(random_state_seed=0),
        "bayesopt": ConcurrencyLimiter(BayesOptSearch(random_state=0), max_concurrent=1),
    }


class TestSearcherClass:
    @pytest.mark.parametrize("name", ["hyperopt", "bayesopt"])
    def test_searcher_that_draws_floats_stays_in_space(self, run_hpcompat, name):
        result = run_hpcompat(lambda trial: trial["float"], EVERY_TYPE, n_trials=4, search_alg=create_searchers()[name])
        assert [trial.cause for trial in result.trials] == [None] * 4
        assert all(EVERY_TYPE.contains(trial.params) for trial in result.trials)

    @pytest.mark.parametrize(
        ("search_alg", "searcher"),
        [
            (OptunaSearch(), "optuna"),
            (DerivedOptunaSearch(), "optuna"),
            (ConcurrencyLimiter(OptunaSearch(), 2), "optuna"),
            (ConcurrencyLimiter(Repeater(DerivedOptunaSearch(), 2), 2), "optuna"),
            (HyperOptSearch(), True),
            (Repeater(HyperOptSearch()), True),
            (Searcher(), True),
        ],
    )
    def test_searcher_option_depends_on_class(self, search_alg, searcher):
        assert searcher_option(search_alg) == searcher


def fail(error):
    raise error


class TestPruners:
    @pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
    def test_pruner_ends_bad_trials(self, run_hpcompat, pruner):
        def function(trial):
            for step in range(10, 90, 10):
                trial.report(trial.number, step)
                if trial.should_prune():
                    return None
            return trial.number

        result = run_hpcompat(function, XN_SPACE, n_trials=8, pruner=pruner, seed=0)
        states = [trial.state for trial in result.trials]
        assert states[0] == "COMPLETE"
        assert set(states) == {"COMPLETE", "PRUNED"}
        for trial in result.trials:
            steps = list(range(10, 90, 10))
            reported = list(trial.intermediate_values)
            assert reported == steps if trial.state == "COMPLETE" else reported == steps[: len(reported)] != []
            assert trial.values == (float(trial.number),)
        if pruner == "hyperband":  # its brackets are random
            assert trial_rows(run_hpcompat(function, XN_SPACE, n_trials=8, pruner=pruner, seed=0)) == trial_rows(result)

    def test_pruned_trial_that_continues_is_ended_at_next_report(self, run_hpcompat, tmp_path):
        def ignore_pruner(trial):
            for step in range(8):
                with (tmp_path / str(trial.number)).open("a") as file:
                    file.write(".")
                trial.report(trial.number, step)
            return trial.number

        scheduler = tune.schedulers.ASHAScheduler(max_t=1000, reduction_factor=2)
        result = run_hpcompat(ignore_pruner, XN_SPACE, n_trials=4, scheduler=scheduler)
        assert [trial.state for trial in result.trials] == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
        assert len((tmp_path / "0").read_text()) == 8
        assert [len((tmp_path / number).read_text()) for number in "12"] == [2, 2]

    def test_function_may_prune_itself(self, run_hpcompat):
        def function(trial):
            trial.report(0.5, 1)
            if trial.number == 1:
                raise optuna.TrialPruned
            return 1.0

        result = run_hpcompat(function, XN_SPACE, n_trials=3)
        assert [(trial.state, trial.values) for trial in result.trials] == [
            ("COMPLETE", (1.0,)),
            ("PRUNED", (0.5,)),
            ("COMPLETE", (1.0,)),
        ]


class TestSearcher:
    def test_every_parameter_type_arrives_through_searcher(self, run_hpcompat):
        def evaluate(trial):
            trial.report(trial["float"], 1)
            return {"eval_score": trial["float"]} if with_types(dict(trial.params)) == with_types(dict(trial)) else None

        result = run_hpcompat(evaluate, EVERY_TYPE, n_trials=12, search_alg=OptunaSearch(seed=1))
        assert [trial.number for trial in result.trials] == list(range(12))
        assert all(EVERY_TYPE.contains(trial.params) for trial in result.trials)
        assert all(trial.value == trial.params["float"] for trial in result.trials)
        assert all(dict(trial.intermediate_values) == {1: trial.value} for trial in result.trials)
        assert all(("sgd" in trial.params) == (trial.params["optim"] == "sgd") for trial in result.trials)
        assert {trial.params["optim"] for trial in result.trials} == {"adamw", "sgd"}
        assert isinstance(result.native, tune.ResultGrid)
        assert len(result.native) == 12
        assert result.native.get_best_result().metrics["objective"] == result.best.value

    def test_failure_does_not_stop_searcher(self, run_hpcompat):
        result = run_hpcompat(
            lambda trial: fail(ValueError("once")) if trial.number == 1 else trial["x"],
            XN_SPACE,
            n_trials=4,
            sampler=OptunaSearch(seed=0),
        )
        assert [trial.state for trial in result.trials] == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]

    def test_several_objectives_give_pareto_front_under_searcher(self, run_hpcompat):
        result = run_hpcompat(
            lambda trial: [trial["x"], (trial["x"] - 2) ** 2],
            XN_SPACE,
            direction=["minimize", "maximize"],
            n_trials=8,
            sampler=OptunaSearch(metric=["objective_0", "objective_1"], mode=["min", "max"]),
        )
        values = [trial.values for trial in result.trials]
        front = [v for v in values if not any(w != v and w[0] <= v[0] and w[1] >= v[1] for w in values)]
        assert [trial.values for trial in result.pareto_front] == front
        assert len(values) == 8

    def test_history_reaches_searcher(self, run_hpcompat):
        search_alg = OptunaSearch(seed=0)
        first = hp.search(parabola, XN_SPACE, n_trials=5, seed=0, progress=False)
        run_hpcompat(parabola, XN_SPACE, n_trials=2, search_alg=search_alg, history=first)
        assert [trial.value for trial in search_alg._ot_study.trials[:5]] == [trial.value for trial in first.trials]

    def test_history_of_groups_and_constants_reaches_searcher(self, run_hpcompat):
        search_alg = OptunaSearch(seed=0)
        space = {"model": {"width": hp.Int(1, 8), "heads": hp.Constant(2)}, "optim": hp.Constant({"name": "adamw"})}
        first = hp.search(lambda trial: trial["model.width"], space, n_trials=3, seed=0, progress=False)
        run_hpcompat(lambda trial: trial["model.width"], space, n_trials=1, search_alg=search_alg, history=first)
        widths = [trial.params["model/width"] for trial in search_alg._ot_study.trials[:3]]
        assert widths == [trial.params["model"]["width"] for trial in first.trials]

    def test_history_of_several_objectives_under_searcher_raises(self, run_hpcompat):
        options = {"direction": ["minimize", "maximize"], "n_trials": 2}
        first = hp.search(lambda trial: [trial["x"], 1.0], XN_SPACE, progress=False, **options)
        with pytest.raises(hp.BackendError, match="OptunaSearch takes no history of several objectives"):
            run_hpcompat(
                lambda trial: [trial["x"], 1.0], XN_SPACE, sampler=OptunaSearch(seed=0), history=first, **options
            )


class TestProcesses:
    def test_trials_run_concurrently(self, run_hpcompat, tmp_path):
        def wait_for_other_trial(trial):
            (tmp_path / str(trial.number)).touch()
            deadline = Deadline()
            while len(list(tmp_path.iterdir())) < 2 and deadline.remaining_s > 0:
                pass
            return len(list(tmp_path.iterdir()))

        assert [
            trial.value
            for trial in run_hpcompat(wait_for_other_trial, XN_SPACE, n_trials=2, max_concurrent_trials=None).trials
        ] == [2, 2]

    def test_process_is_reused_for_next_trial(self, run_hpcompat):
        result = run_hpcompat(lambda trial: os.getpid(), XN_SPACE, n_trials=6)
        assert len({trial.value for trial in result.trials}) == 1

    def test_sys_exit_fails_trial_and_keeps_process(self, run_hpcompat):
        calls = {1: lambda: fail(SystemExit(3)), 2: lambda: None}
        result = run_hpcompat(lambda trial: calls.get(trial.number, os.getpid)(), XN_SPACE, n_trials=4)
        assert [trial.cause for trial in result.trials] == [
            None,
            "SystemExit: 3",
            "TypeError: the function returned None; return a number, a list of numbers, or metrics",
            None,
        ]
        assert result.trials[0].value == result.trials[3].value

    def test_trial_of_killed_process_is_failed_and_others_complete(self, run_hpcompat):
        def kill_first(trial):
            trial.report(1.0, 7)
            if trial.number == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trial["x"]

        result = run_hpcompat(kill_first, XN_SPACE, n_trials=3)
        assert [trial.state for trial in result.trials] == ["FAILED", "COMPLETE", "COMPLETE"]
        assert dict(result.trials[0].intermediate_values) == {7: 1.0}
        assert result.trials[0].cause.startswith("the worker process has died: Worker unexpectedly exits")

    def test_killed_or_pruned_trial_keeps_attributes_of_last_report(self, run_hpcompat):
        def function(trial):
            trial.set_user_attr("number", trial.number)
            trial.set_constraint("room", -1.0)
            trial.report(-1 if trial.number == 1 else trial.number, 1)
            if trial.number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return None if trial.should_prune() else trial.number

        scheduler = tune.schedulers.ASHAScheduler(max_t=1000, reduction_factor=2)
        result = run_hpcompat(function, XN_SPACE, n_trials=3, scheduler=scheduler)
        assert [trial.state for trial in result.trials] == ["COMPLETE", "FAILED", "PRUNED"]
        assert [trial.user_attrs for trial in result.trials] == [{"number": number} for number in range(3)]
        assert [trial.constraints for trial in result.trials] == [{"room": -1.0}] * 3


class TestSamplers:
    def test_trials_are_those_of_optuna(self, run_hpcompat):
        # more than ten trials: after the first ten, the sampler depends on earlier trials
        expected = hp.search(parabola, XN_SPACE, n_trials=14, seed=3, progress=False)
        assert trial_rows(run_hpcompat(parabola, XN_SPACE, n_trials=14, seed=3)) == trial_rows(expected)

    def test_grid_is_every_configuration_once(self, run_hpcompat):
        space = hp.SearchSpace(
            {
                "optim": hp.Categorical(["adamw", "sgd"]),
                "nesterov": hp.Categorical([True, False], when={"optim": "sgd"}),
                "one": hp.Categorical([1, 1.0]),
            }
        )
        first = run_hpcompat(lambda trial: 1.0, space, n_trials=2, sampler="grid")
        rest = run_hpcompat(lambda trial: 1.0, space, n_trials=100, sampler="grid", history=first)
        assert len(first.trials) == 2
        assert len({repr(trial.params) for trial in (*first.trials, *rest.trials)}) == space.size == 6
        assert len(rest.trials) == 4

    def test_history_of_another_backend_reaches_sampler(self, run_hpcompat):
        first = hp.search(parabola, XN_SPACE, n_trials=15, seed=0, progress=False)
        warm = run_hpcompat(parabola, XN_SPACE, n_trials=6, seed=0, history=first)
        cold = hp.search(
            parabola, XN_SPACE, n_trials=6, seed=0, progress=False
        )  # a search on Ray would have the same trials
        assert [trial.number for trial in warm.trials] == list(range(6))

        def mean(result):
            return sum(trial.value for trial in result.trials) / len(result.trials)

        assert mean(warm) < mean(cold)
        assert {trial.params["x"] for trial in warm.trials}.isdisjoint(trial.params["x"] for trial in first.trials)

    def test_optuna_sampler_is_accepted(self, run_hpcompat):
        sampler = optuna.samplers.NSGAIISampler(seed=1)
        study = optuna.create_study(sampler=optuna.samplers.NSGAIISampler(seed=1))
        study.optimize(lambda trial: trial.suggest_float("x", 0.0, 4.0), n_trials=4)
        result = run_hpcompat(lambda trial: trial["x"], {"x": XN_SPACE["x"]}, n_trials=4, sampler=sampler)
        assert [trial.value for trial in result.trials] == [trial.value for trial in study.trials]

    def test_constraints_reach_optuna_sampler_and_include_its_own(self, run_hpcompat):
        def function(trial):
            trial.set_constraint("room", trial["x"] - 2)
            trial.set_user_attr("n", trial["n"])
            return -trial["x"]

        with pytest.warns((FutureWarning, ExperimentalWarning)):
            sampler = optuna.samplers.TPESampler(seed=0, constraints_func=lambda trial: [trial.user_attrs["n"] - 2])
        expected = hp.search(function, XN_SPACE, n_trials=12, seed=3, progress=False)
        assert trial_rows(run_hpcompat(function, XN_SPACE, n_trials=12, seed=3)) == trial_rows(expected)
        result = run_hpcompat(function, XN_SPACE, n_trials=3, sampler=sampler)
        assert [trial.constraints for trial in result.trials] == [
            {"0": trial.params["n"] - 2, "room": trial.params["x"] - 2} for trial in result.trials
        ]


class TestExhaustedSampler:
    def test_sampler_that_stops_its_study_ends_search(self, run_hpcompat):
        sampler = optuna.samplers.GridSampler({"k": [1, 2, 3]}, seed=0)
        options = {"sampler": sampler, "seed": None, "max_concurrent_trials": 1}
        result = run_hpcompat(lambda trial: float(trial["k"]), {"k": hp.Categorical([1, 2, 3])}, n_trials=9, **options)
        assert sorted(trial.params["k"] for trial in result.trials) == [1, 2, 3]
        assert not result.interrupted


class DataOfThisProcess:
    """An objective that cannot be used in another process."""

    def __init__(self):
        self.pid = os.getpid()

    def __setstate__(self, state):
        if state["pid"] != os.getpid():
            raise hp.SearchError("no data on this machine")
        self.__dict__.update(state)

    def __call__(self, trial):
        return trial["x"]


class TestErrors:
    def test_error_of_every_trial_ends_search(self, run_hpcompat):
        with pytest.raises(hp.SearchError, match="which metric is the objective"):
            run_hpcompat(lambda trial: {"eval_f1": 0.5, "eval_accuracy": 0.5}, XN_SPACE, n_trials=5)

    def test_error_loses_no_concurrent_trial(self, run_hpcompat, tmp_path):
        started, out = tmp_path / "started", {"output_dir": str(tmp_path / "out")}
        started.mkdir()

        def metrics(trial):
            (started / str(trial.number)).touch()
            wait_for(lambda: len(list(started.iterdir())) >= 2, "the other trial has not started")
            return {"f1": trial["x"], "accuracy": 0.5}

        with pytest.raises(hp.SearchError, match="which metric is the objective"):
            run_hpcompat(metrics, XN_SPACE, n_trials=2, max_concurrent_trials=2, **out)
        result = hp.search(
            lambda trial: pytest.fail("a trial was started"),
            XN_SPACE,
            n_trials=2,
            resume=True,
            compute_objective="f1",
            progress=False,
            **out,
        )
        assert [trial.value for trial in result.trials] == [trial.params["x"] for trial in result.trials]
        assert [trial.number for trial in result.trials] == [0, 1]

    def test_unpicklable_objective_raises_with_its_name(self, run_hpcompat):
        import threading

        lock = threading.Lock()
        with pytest.raises(hp.BackendError, match="cannot be sent") as refusal:
            run_hpcompat(lambda trial: lock and 1.0, XN_SPACE, n_trials=1)
        assert [issue.path for issue in refusal.value.issues] == ["trainer"]

    def test_objective_that_a_worker_refuses_ends_search(self, run_hpcompat):
        with pytest.raises(hp.BackendError, match="loaded in Ray's worker: SearchError: no data on this machine"):
            run_hpcompat(DataOfThisProcess(), XN_SPACE, n_trials=5)

    def test_error_in_callback_is_raised(self, run_hpcompat):
        with pytest.raises(hp.SearchError, match="a callback raised ZeroDivisionError"):
            run_hpcompat(parabola, XN_SPACE, n_trials=4, callbacks=[lambda trial: 1 / 0])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"resource_per_trial": {"cpu": 1}},
                r"resource_per_trial: .* \(did you mean 'resources_per_trial'",
            ),
            ({"sampler": "bayse"}, "did you mean 'bayes'"),
            ({"sampler": 3}, "sampler: expected a name or a Searcher of Ray's or an Optuna sampler, got 3"),
            (
                {"pruner": optuna.pruners.MedianPruner()},
                "pruner: expected a name or a TrialScheduler of Ray's, got <optuna.pruners._median.Median",
            ),
            ({"sampler": "bayes", "search_alg": OptunaSearch()}, "sampler: sampler= and search_alg= are the same"),
            ({"seed": 1, "search_alg": OptunaSearch()}, "seed: .*pass the seed to the sampler itself"),
            ({"search_alg": OptunaSearch(space=lambda trial: {}, metric="m", mode="min")}, "has a space already"),
            ({"scheduler": tune.schedulers.HyperBandScheduler()}, "scheduler: HyperBandScheduler pauses trials"),
            (
                {"scheduler": tune.schedulers.MedianStoppingRule(hard_stop=False)},
                "scheduler: MedianStoppingRule pauses trials",
            ),
            (
                {"scheduler": tune.schedulers.PopulationBasedTraining(hyperparam_mutations={"x": [1]})},
                "PopulationBasedTraining pauses trials",
            ),
            ({"direction": ["minimize"] * 2, "scheduler": tune.schedulers.ASHAScheduler()}, "several objectives"),
            ({"workers_per_trial": 0}, "workers_per_trial: expected an int of at least 1, got 0"),
            ({"workers_per_trial": 2, "resources_per_trial": {"cpu": 1}}, "has resources_per_worker"),
            (
                {"workers_per_trial": 2, "resources_per_worker": tune.PlacementGroupFactory([{"CPU": 1}])},
                "resources_per_worker: expected a dict, of what one worker needs, got <ResourceRequest",
            ),
            ({"resources_per_worker": {"cpu": 1}}, "give resources_per_trial"),
            ({"sampler": "grid"}, "a grid needs a finite space"),
            ({"address": "127.0.0.1:1"}, "on another cluster already"),
        ],
    )
    def test_unsupported_option_raises_before_first_trial(self, run_hpcompat, options, message):
        with pytest.raises(hp.BackendError, match=message):
            run_hpcompat(lambda trial: fail(AssertionError("a trial was started")), XN_SPACE, n_trials=2, **options)

    def test_unread_params_are_warned_of(self, run_hpcompat):
        space = {"x": hp.Float(0.0, 1.0), "y": hp.Int(1, 9)}
        with pytest.warns(UserWarning, match="no trial has read 'y'"):
            result = run_hpcompat(lambda trial: trial["x"], space, n_trials=2)
        assert result.unread == ("y",)
