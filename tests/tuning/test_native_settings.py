"""Settings of a sweep, experiment or study besides its space are used, rejected or warned of, but never dropped."""

from __future__ import annotations

import json
import warnings

import optuna
import pytest

import hpcompat as hp
from tests.helpers.trainers import compute_accuracy

PARAMETERS = {"x": {"values": [0.0, 1.0, 2.0]}}
SWEEP = {"method": "grid", "metric": {"goal": "maximize", "name": "acc"}, "parameters": PARAMETERS}
X = {"x": hp.Float(0.0, 2.0)}
EXPERIMENT = {
    "parameters": [{"name": "x", "type": "double", "grid": [0.0, 1.0, 2.0]}],
    "metrics": [{"name": "acc", "objective": "maximize"}],
    "observation_budget": 2,
}


def evaluate(trial):
    return trial["x"]


def fail_if_called(trial):
    raise AssertionError("a trial was started")


def create_study(**options):
    study = optuna.create_study(**options)
    for x in (0.0, 1.0):
        study.enqueue_trial({"x": x})
    study.optimize(lambda trial: [trial.suggest_float("x", 0.0, 2.0)] * len(study.directions), n_trials=2)
    return study


class TestSweepSettings:
    @pytest.mark.parametrize("get_sweep", [lambda: SWEEP, lambda: json.dumps(SWEEP), lambda: lambda trial: SWEEP])
    @pytest.mark.parametrize("backend", ["optuna", "wandb"])
    def test_goal_and_method_fill_missing_arguments(self, get_sweep, backend):
        result = hp.search(evaluate, get_sweep(), backend, n_trials=6, progress=False)
        assert result.directions == ("maximize",)
        assert sorted(trial.params["x"] for trial in result.trials) == [0.0, 1.0, 2.0]
        assert result.best.params == {"x": 2.0}

    def test_run_cap_is_n_trials(self, run_hpcompat):
        assert len(run_hpcompat(evaluate, {**SWEEP, "run_cap": 2}).trials) == 2

    def test_equal_argument_is_accepted(self, run_hpcompat):
        sweep = {**SWEEP, "run_cap": 2}
        assert len(run_hpcompat(evaluate, sweep, direction="maximize", sampler="grid", n_trials=2).trials) == 2

    def test_contradictions_raise_all_at_once(self, run_hpcompat):
        sweep = {**SWEEP, "run_cap": 2}
        with pytest.raises(hp.SearchError) as refusal:
            run_hpcompat(
                fail_if_called,
                sweep,
                direction="minimize",
                sampler="random",
                n_trials=3,
                compute_objective="loss",
                timeout=-1,
            )
        assert [str(issue) for issue in refusal.value.issues] == [
            "direction: is 'minimize', and the sweep's metric.goal 'maximize' (leave one of them out)",
            "sampler: is 'random', and the sweep's method 'grid' (leave one of them out)",
            "n_trials: is 3, and the sweep's run_cap 2 (leave one of them out)",
            "compute_objective: is 'loss', and the sweep's metric 'acc' (leave one of them out)",
            "timeout: expected a number of seconds above 0, or None, got -1",
        ]

    def test_sampler_object_is_compared_by_its_type(self, run_hpcompat):
        sweep = {**SWEEP, "method": "random"}
        assert (
            len(run_hpcompat(evaluate, sweep, sampler=optuna.samplers.RandomSampler(0), seed=None, n_trials=2).trials)
            == 2
        )
        with pytest.raises(hp.SearchError, match=r"sampler: is .*, and the sweep's method 'random'"):
            run_hpcompat(fail_if_called, sweep, sampler=optuna.samplers.TPESampler(), seed=None)

    def test_missing_goal_is_minimize_unless_argument_differs(self, run_hpcompat):
        sweep = {**SWEEP, "metric": {"name": "acc"}}
        assert run_hpcompat(evaluate, sweep).directions == ("minimize",)
        assert run_hpcompat(evaluate, sweep, direction="maximize").directions == ("maximize",)

    def test_goal_misread_by_engine_raises(self, run_hpcompat):
        with pytest.raises(hp.TranslationError, match=r"metric\.goal: is 'MAXIMIZE'"):
            run_hpcompat(fail_if_called, {**SWEEP, "metric": {"name": "acc", "goal": "MAXIMIZE"}})

    def test_several_directions_for_one_metric_raise(self, run_hpcompat):
        with pytest.raises(hp.SearchError, match=r"direction: is \['maximize', 'minimize'\], and the sweep's"):
            run_hpcompat(fail_if_called, SWEEP, direction=["maximize", "minimize"])

    def test_settings_without_counterpart_are_warned_of_once(self, run_hpcompat):
        settings = {
            "program": "train.py",
            "command": ["python"],
            "early_terminate": {"type": "hyperband", "min_iter": 3},
        }
        with pytest.warns(UserWarning) as warned:
            run_hpcompat(
                evaluate,
                {**SWEEP, "metric": {**SWEEP["metric"], "target": 0.9}, **settings, "name": "digits"},
                n_trials=1,
            )
        assert [str(warning.message) for warning in warned] == [
            "the sweep has settings that this search does not use: program (train.py), command, metric.target (0.9), "
            "early_terminate, name (digits)"
        ]

    def test_early_terminate_is_used_as_pruner_on_wandb(self):
        stop = {"type": "hyperband", "min_iter": 1}

        def curve(trial):
            for step in range(1, 28):
                trial.report(trial["x"], step)
                if trial.should_prune():
                    return None
            return trial["x"]

        sweep = {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}, "early_terminate": stop}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = hp.search(curve, {**sweep, "name": "digits"}, "wandb", n_trials=20, seed=0, progress=False)
        assert result.native.config["early_terminate"] == stop
        assert result.native.config["name"] == "digits"
        assert {trial.state for trial in result.trials} == {"COMPLETE", "PRUNED"}
        for pruner in (None, "hyperband", {"type": "hyperband", "min_iter": 2}):
            with pytest.raises(hp.SearchError, match=r"pruner: is .*, and the sweep's early_terminate"):
                hp.search(fail_if_called, sweep, "wandb", pruner=pruner, progress=False)


class TestExperimentSettings:
    def test_objective_and_budget_fill_missing_arguments(self, run_hpcompat):
        result = run_hpcompat(evaluate, EXPERIMENT)
        assert (result.directions, len(result.trials)) == (("maximize",), 2)

    def test_missing_objective_is_maximize(self, run_hpcompat):
        experiment = {**EXPERIMENT, "metrics": [{"name": "acc"}]}
        assert run_hpcompat(evaluate, experiment).directions == ("maximize",)
        assert run_hpcompat(evaluate, experiment, direction="minimize").directions == ("minimize",)

    def test_two_metrics_are_two_directions_by_name(self, run_hpcompat):
        metrics = [{"name": "b", "objective": "minimize"}, {"name": "a", "objective": "maximize"}]
        result = run_hpcompat(lambda trial: {"a": 1.0, "b": 2.0}, {**EXPERIMENT, "metrics": metrics})
        assert result.directions == ("minimize", "maximize")
        assert result.trials[0].values == (2.0, 1.0)

    def test_type_is_sampler(self, run_hpcompat):
        result = run_hpcompat(evaluate, {**EXPERIMENT, "type": "grid", "observation_budget": 9})
        assert sorted(trial.params["x"] for trial in result.trials) == [0.0, 1.0, 2.0]

    def test_contradiction_raises_with_both(self, run_hpcompat):
        with pytest.raises(hp.SearchError) as refusal:
            run_hpcompat(fail_if_called, EXPERIMENT, direction="minimize", n_trials=3)
        assert [str(issue) for issue in refusal.value.issues] == [
            "direction: is 'minimize', and the experiment's objective 'maximize' (leave one of them out)",
            "n_trials: is 3, and the experiment's observation_budget 2 (leave one of them out)",
        ]

    def test_stored_metrics_and_other_keys_are_warned_of(self, run_hpcompat):
        metrics = [*EXPERIMENT["metrics"], {"name": "seconds", "strategy": "store"}]
        with pytest.warns(UserWarning) as warned:
            run_hpcompat(evaluate, {**EXPERIMENT, "metrics": metrics, "project": "digits"})
        assert str(warned[0].message).endswith("does not use: project (digits), metrics[1] (seconds)")


class TestStudySettings:
    def test_direction_of_study_as_space_is_used(self, run_hpcompat):
        assert run_hpcompat(evaluate, create_study(direction="maximize"), n_trials=1).directions == ("maximize",)

    def test_several_directions_are_used(self, run_hpcompat):
        study = create_study(directions=["maximize", "minimize"])
        assert run_hpcompat(lambda trial: [1.0, 2.0], study, n_trials=1).directions == ("maximize", "minimize")

    def test_minimize_counts_as_default(self, run_hpcompat):
        assert run_hpcompat(evaluate, create_study(), n_trials=1, direction="maximize").directions == ("maximize",)

    def test_contradiction_raises_with_both(self, run_hpcompat):
        with pytest.raises(hp.SearchError, match="direction: is 'minimize', and the study's direction 'maximize'"):
            run_hpcompat(fail_if_called, create_study(direction="maximize"), direction="minimize")

    def test_sampler_is_used_or_warned_of(self, run_hpcompat):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run_hpcompat(evaluate, create_study(sampler=optuna.samplers.RandomSampler()), n_trials=1)
        with pytest.warns(UserWarning, match=r"the study has settings .*: sampler \(GridSampler\)"):
            run_hpcompat(
                evaluate, create_study(sampler=optuna.samplers.GridSampler({"x": [0.0, 1.0, 2.0]})), n_trials=1
            )

    def test_directions_of_joined_study_are_used(self):
        study = create_study(direction="maximize")
        result = hp.search(evaluate, {"x": hp.Float(0.0, 2.0)}, study=study, n_trials=3, progress=False)
        assert result.directions == ("maximize",)


class TestJoinedDirection:
    """The direction of a study in a storage; of sweeps and experiments see the tests of their servers."""

    @pytest.fixture(params=["url", "storage"])
    def storage(self, request, tmp_path):
        return f"sqlite:///{tmp_path}/s.db" if request.param == "url" else optuna.storages.InMemoryStorage()

    def test_stored_direction_fills_missing_argument(self, run_hpcompat, storage):
        run_hpcompat(evaluate, X, direction="maximize", n_trials=1, storage=storage, study_name="s")
        result = run_hpcompat(evaluate, X, n_trials=2, storage=storage, study_name="s", resume=True)
        assert result.directions == ("maximize",)
        assert len(result.trials) == 2

    def test_several_stored_directions_are_used(self, run_hpcompat, storage):
        directions = ("maximize", "minimize")
        run_hpcompat(lambda trial: [1.0, 2.0], X, direction=directions, n_trials=1, storage=storage, study_name="s")
        resumed = run_hpcompat(
            lambda trial: [1.0, 2.0], X, n_trials=2, storage=storage, study_name="s", load_if_exists=True
        )
        assert resumed.directions == directions

    def test_argument_that_differs_raises(self, run_hpcompat, storage):
        run_hpcompat(evaluate, X, direction="maximize", n_trials=1, storage=storage, study_name="s")
        with pytest.raises(hp.BackendError, match=r"has directions \('maximize',\), and the search \('minimize',\)"):
            run_hpcompat(fail_if_called, X, direction="minimize", storage=storage, study_name="s", resume=True)

    def test_resume_without_study_name_raises(self, run_hpcompat, storage):
        with pytest.raises(
            hp.BackendError, match=r"study_name: resume=True continues a study of the storage \(name it\)"
        ):
            run_hpcompat(fail_if_called, X, storage=storage, resume=True)

    def test_new_study_is_minimized(self, run_hpcompat, storage):
        assert run_hpcompat(evaluate, X, n_trials=1, storage=storage, study_name="s").directions == ("minimize",)

    @pytest.mark.parametrize("option", [{"storage": 3}, {"study_name": 3}, {"load_if_exists": "yes"}])
    def test_option_of_wrong_type_raises(self, run_hpcompat, option, tmp_path):
        (name,) = option
        with pytest.raises(hp.BackendError, match=rf"{name}: expected .*, got {option[name]!r}$"):
            run_hpcompat(fail_if_called, X, **{"study_name": "s", "storage": f"sqlite:///{tmp_path}/s.db", **option})


class TestSweepMetric:
    @pytest.mark.parametrize("name", ["eval_accuracy", "eval/accuracy", "accuracy"])
    def test_metric_of_sweep_is_objective_of_trainer(self, make_trainer, run_hpcompat, name):
        trainer = make_trainer(
            trainer={"compute_metrics": lambda prediction: {**compute_accuracy(prediction), "mae": 100.0}}
        )
        sweep = {"method": "random", "metric": {"name": name, "goal": "maximize"}, "parameters": {"seed": {"value": 1}}}
        assert 0.0 <= run_hpcompat(trainer, sweep, n_trials=1).best.value <= 1.0

    def test_number_returned_by_function_ignores_metric_name(self, run_hpcompat):
        assert run_hpcompat(evaluate, {**SWEEP, "metric": {"name": "anything"}}, n_trials=1).best.value == 0.0

    def test_metric_of_that_name_is_chosen(self, run_hpcompat):
        metrics = {"acc": 1.0, "loss": 2.0, "f1": 3.0}
        assert run_hpcompat(lambda trial: metrics, {**SWEEP, "metric": {"name": "f1"}}, n_trials=1).best.value == 3.0

    def test_name_objective_means_default_objective(self, make_trainer, run_hpcompat):
        sweep = {"metric": {"name": "objective"}, "parameters": {"seed": {"value": 1}}}
        result = run_hpcompat(make_trainer(), sweep, n_trials=1)
        assert result.best.value == result.best.metrics["eval_loss"]

    def test_metric_that_trainer_lacks_raises_before_first_trial(self, make_trainer, run_hpcompat):
        sweep = {**SWEEP, "parameters": {"seed": {"value": 1}}}
        with pytest.raises(hp.SearchError, match="'acc' is not among the metrics of this Trainer: eval_loss"):
            run_hpcompat(make_trainer(), sweep)


def optuna_hp_space(trial):
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True),
        "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [16, 32, 64, 128]),
    }


def ray_hp_space(trial):
    from ray import tune

    return {
        "learning_rate": tune.loguniform(1e-6, 1e-4),
        "per_device_train_batch_size": tune.choice([16, 32, 64, 128]),
    }


def wandb_hp_space(trial):
    return {
        "method": "random",
        "metric": {"name": "objective", "goal": "minimize"},
        "parameters": {
            "learning_rate": {"distribution": "uniform", "min": 1e-6, "max": 1e-4},
            "per_device_train_batch_size": {"values": [16, 32, 64, 128]},
        },
    }


def sigopt_hp_space(trial):
    return [
        {"bounds": {"min": 1e-6, "max": 1e-4}, "name": "learning_rate", "type": "double"},
        {
            "categorical_values": ["16", "32", "64", "128"],
            "name": "per_device_train_batch_size",
            "type": "categorical",
        },
    ]


class TestHyperparameterSearch:
    """The unchanged examples of https://huggingface.co/docs/transformers/hpo_train."""

    @pytest.mark.parametrize("hp_space", [optuna_hp_space, ray_hp_space, wandb_hp_space, sigopt_hp_space])
    @pytest.mark.parametrize("backend", ["optuna", "sigopt", "wandb"])
    def test_examples_of_transformers_docs_maximize(self, make_trainer, hp_space, backend):
        if hp_space is ray_hp_space:
            pytest.importorskip("ray")
        best = hp.hyperparameter_search(
            make_trainer(), hp_space=hp_space, direction="maximize", backend=backend, n_trials=2, progress=False
        )
        assert best.run_summary.directions == ("maximize",)
        assert best.objective == max(trial.value for trial in best.run_summary.trials)
        assert 1e-6 <= best.hyperparameters["learning_rate"] <= 1e-4

    def test_method_and_early_terminate_of_sweep_are_used(self, make_trainer):
        stop = {"type": "hyperband", "min_iter": 1}
        metric = {"name": "objective", "goal": "maximize"}
        sweep = {**SWEEP, "metric": metric, "parameters": {"seed": {"values": [1, 2]}}, "early_terminate": stop}
        best = hp.hyperparameter_search(make_trainer(), lambda trial: sweep, backend="wandb", progress=False)
        assert len(best.run_summary.trials) == 2
        assert best.run_summary.directions == ("minimize",)
        assert best.run_summary.native.config["early_terminate"] == stop

    def test_replaced_settings_are_warned_of(self, make_trainer):
        sweep = {**SWEEP, "parameters": {"seed": {"value": 1}}, "method": "random", "run_cap": 7}
        with pytest.warns(UserWarning, match=r"the sweep has settings .*: run_cap \(7\), metric \(acc\)"):
            hp.hyperparameter_search(make_trainer(), lambda trial: sweep, backend="optuna", n_trials=1, progress=False)
