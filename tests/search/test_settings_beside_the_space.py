"""What a sweep, an experiment or a study says besides its space is honoured, refused or named, never dropped."""

from __future__ import annotations

import json
import warnings

import optuna
import pytest
from tiny import accuracy

import hpcompat as hp

PARAMETERS = {"x": {"values": [0.0, 1.0, 2.0]}}
SWEEP = {"method": "grid", "metric": {"goal": "maximize", "name": "acc"}, "parameters": PARAMETERS}
X = {"x": hp.Float(0.0, 2.0)}
EXPERIMENT = {
    "parameters": [{"name": "x", "type": "double", "grid": [0.0, 1.0, 2.0]}],
    "metrics": [{"name": "acc", "objective": "maximize"}],
    "observation_budget": 2,
}


def value(trial):
    return trial["x"]


def never(trial):
    raise AssertionError("a trial was begun")


def a_study(**options):
    study = optuna.create_study(**options)
    for x in (0.0, 1.0):
        study.enqueue_trial({"x": x})
    study.optimize(lambda trial: [trial.suggest_float("x", 0.0, 2.0)] * len(study.directions), n_trials=2)
    return study


class TestSettingsOfASweep:
    @pytest.mark.parametrize("form", [lambda: SWEEP, lambda: json.dumps(SWEEP), lambda: lambda trial: SWEEP])
    @pytest.mark.parametrize("backend", ["optuna", "wandb"])
    def test_goal_and_method_are_taken_where_the_call_leaves_them_open(self, form, backend):
        result = hp.search(value, form(), backend, n_trials=6, progress=False)
        assert result.directions == ("maximize",)
        assert sorted(trial.params["x"] for trial in result.trials) == [0.0, 1.0, 2.0]
        assert result.best.params == {"x": 2.0}

    def test_run_cap_is_n_trials(self, ours):
        assert len(ours(value, {**SWEEP, "run_cap": 2}).trials) == 2

    def test_what_the_call_says_alike_is_no_issue(self, ours):
        sweep = {**SWEEP, "run_cap": 2}
        assert len(ours(value, sweep, direction="maximize", sampler="grid", n_trials=2).trials) == 2

    def test_where_both_differ_both_are_named_all_at_once(self, ours):
        sweep = {**SWEEP, "run_cap": 2}
        with pytest.raises(hp.SearchError) as refusal:
            ours(never, sweep, direction="minimize", sampler="random", n_trials=3, compute_objective="loss", timeout=-1)
        assert [str(issue) for issue in refusal.value.issues] == [
            "direction: is 'minimize', and the sweep's metric.goal 'maximize' (leave one of them out)",
            "sampler: is 'random', and the sweep's method 'grid' (leave one of them out)",
            "n_trials: is 3, and the sweep's run_cap 2 (leave one of them out)",
            "compute_objective: is 'loss', and the sweep's metric 'acc' (leave one of them out)",
            "timeout: is -1 (give a number of seconds above 0, or None)",
        ]

    def test_a_sampler_object_is_compared_by_its_kind(self, ours):
        sweep = {**SWEEP, "method": "random"}
        assert len(ours(value, sweep, sampler=optuna.samplers.RandomSampler(0), seed=None, n_trials=2).trials) == 2
        with pytest.raises(hp.SearchError, match=r"sampler: is .*, and the sweep's method 'random'"):
            ours(never, sweep, sampler=optuna.samplers.TPESampler(), seed=None)

    def test_a_goal_that_is_not_written_is_minimize_unless_the_call_says_more(self, ours):
        sweep = {**SWEEP, "metric": {"name": "acc"}}
        assert ours(value, sweep).directions == ("minimize",)
        assert ours(value, sweep, direction="maximize").directions == ("maximize",)

    def test_a_goal_that_the_engine_would_misread_is_refused(self, ours):
        with pytest.raises(hp.TranslationError, match=r"metric\.goal: is 'MAXIMIZE'"):
            ours(never, {**SWEEP, "metric": {"name": "acc", "goal": "MAXIMIZE"}})

    def test_several_directions_contradict_the_one_metric(self, ours):
        with pytest.raises(hp.SearchError, match=r"direction: is \['maximize', 'minimize'\], and the sweep's"):
            ours(never, SWEEP, direction=["maximize", "minimize"])

    def test_what_has_no_counterpart_is_named_in_one_warning(self, ours):
        more = {"program": "train.py", "command": ["python"], "early_terminate": {"type": "hyperband", "min_iter": 3}}
        with pytest.warns(UserWarning) as told:
            ours(value, {**SWEEP, "metric": {**SWEEP["metric"], "target": 0.9}, **more, "name": "digits"}, n_trials=1)
        assert [str(each.message) for each in told] == [
            "the sweep says more than this search takes from it: program (train.py), command, metric.target (0.9), "
            "early_terminate, name (digits)"
        ]

    def test_early_terminate_is_taken_by_wandbs_engine(self):
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
                hp.search(never, sweep, "wandb", pruner=pruner, progress=False)


class TestSettingsOfAnExperiment:
    def test_objective_and_budget_are_taken(self, ours):
        result = ours(value, EXPERIMENT)
        assert (result.directions, len(result.trials)) == (("maximize",), 2)

    def test_an_objective_that_is_not_written_is_maximize_as_sigopt_means_it(self, ours):
        experiment = {**EXPERIMENT, "metrics": [{"name": "acc"}]}
        assert ours(value, experiment).directions == ("maximize",)
        assert ours(value, experiment, direction="minimize").directions == ("minimize",)

    def test_two_metrics_are_two_directions_by_name(self, ours):
        metrics = [{"name": "b", "objective": "minimize"}, {"name": "a", "objective": "maximize"}]
        result = ours(lambda trial: {"a": 1.0, "b": 2.0}, {**EXPERIMENT, "metrics": metrics})
        assert result.directions == ("minimize", "maximize")
        assert result.trials[0].values == (2.0, 1.0)

    def test_the_type_is_the_sampler(self, ours):
        result = ours(value, {**EXPERIMENT, "type": "grid", "observation_budget": 9})
        assert sorted(trial.params["x"] for trial in result.trials) == [0.0, 1.0, 2.0]

    def test_where_both_differ_both_are_named(self, ours):
        with pytest.raises(hp.SearchError) as refusal:
            ours(never, EXPERIMENT, direction="minimize", n_trials=3)
        assert [str(issue) for issue in refusal.value.issues] == [
            "direction: is 'minimize', and the experiment's objective 'maximize' (leave one of them out)",
            "n_trials: is 3, and the experiment's observation_budget 2 (leave one of them out)",
        ]

    def test_stored_metrics_and_other_keys_are_named(self, ours):
        metrics = [*EXPERIMENT["metrics"], {"name": "seconds", "strategy": "store"}]
        with pytest.warns(UserWarning) as told:
            ours(value, {**EXPERIMENT, "metrics": metrics, "project": "digits"})
        assert str(told[0].message).endswith("takes from it: project (digits), metrics[1] (seconds)")


class TestSettingsOfAStudy:
    def test_the_direction_of_a_study_given_as_the_space_is_taken(self, ours):
        assert ours(value, a_study(direction="maximize"), n_trials=1).directions == ("maximize",)

    def test_several_directions_are_taken(self, ours):
        study = a_study(directions=["maximize", "minimize"])
        assert ours(lambda trial: [1.0, 2.0], study, n_trials=1).directions == ("maximize", "minimize")

    def test_minimize_its_default_counts_as_not_given(self, ours):
        assert ours(value, a_study(), n_trials=1, direction="maximize").directions == ("maximize",)

    def test_where_both_differ_both_are_named(self, ours):
        with pytest.raises(hp.SearchError, match="direction: is 'minimize', and the study's direction 'maximize'"):
            ours(never, a_study(direction="maximize"), direction="minimize")

    def test_its_sampler_is_taken_or_named(self, ours):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours(value, a_study(sampler=optuna.samplers.RandomSampler()), n_trials=1)
        with pytest.warns(UserWarning, match=r"the study says more .*: sampler \(GridSampler\)"):
            ours(value, a_study(sampler=optuna.samplers.GridSampler({"x": [0.0, 1.0, 2.0]})), n_trials=1)

    def test_the_directions_of_a_study_to_go_on_with_are_taken(self):
        study = a_study(direction="maximize")
        result = hp.search(value, {"x": hp.Float(0.0, 2.0)}, study=study, n_trials=3, progress=False)
        assert result.directions == ("maximize",)


class TestDirectionOfWhatIsJoined:
    """The direction of a study in a storage; of sweeps and experiments see the tests of their servers."""

    @pytest.fixture(params=["url", "storage"])
    def storage(self, request, tmp_path):
        return f"sqlite:///{tmp_path}/s.db" if request.param == "url" else optuna.storages.InMemoryStorage()

    def test_it_is_taken_where_the_call_leaves_it_open(self, ours, storage):
        ours(value, X, direction="maximize", n_trials=1, storage=storage, study_name="s")
        result = ours(value, X, n_trials=2, storage=storage, study_name="s", resume=True)
        assert result.directions == ("maximize",)
        assert len(result.trials) == 2

    def test_several_are_taken(self, ours, storage):
        directions = ("maximize", "minimize")
        ours(lambda trial: [1.0, 2.0], X, direction=directions, n_trials=1, storage=storage, study_name="s")
        more = ours(lambda trial: [1.0, 2.0], X, n_trials=2, storage=storage, study_name="s", load_if_exists=True)
        assert more.directions == directions

    def test_that_of_the_call_is_compared_with_it(self, ours, storage):
        ours(value, X, direction="maximize", n_trials=1, storage=storage, study_name="s")
        with pytest.raises(hp.BackendError, match=r"has directions \('maximize',\), and the search \('minimize',\)"):
            ours(never, X, direction="minimize", storage=storage, study_name="s", resume=True)

    def test_one_without_a_name_cannot_be_gone_on_with(self, ours, storage):
        with pytest.raises(hp.BackendError, match="study_name: resume=True goes on with a study of the storage: name"):
            ours(never, X, storage=storage, resume=True)

    def test_a_new_study_is_minimized(self, ours, storage):
        assert ours(value, X, n_trials=1, storage=storage, study_name="s").directions == ("minimize",)

    @pytest.mark.parametrize("option", [{"storage": 3}, {"study_name": 3}, {"load_if_exists": "yes"}])
    def test_options_of_another_kind_are_refused_by_name(self, ours, option, tmp_path):
        (name,) = option
        with pytest.raises(hp.BackendError, match=f"{name}=.*: expected "):
            ours(never, X, **{"study_name": "s", "storage": f"sqlite:///{tmp_path}/s.db", **option})


class TestMetricOfASweep:
    @pytest.mark.parametrize("name", ["eval_accuracy", "eval/accuracy", "accuracy"])
    def test_a_trainer_is_judged_by_the_metric_that_the_sweep_names(self, make_trainer, ours, name):
        trainer = make_trainer(trainer={"compute_metrics": lambda prediction: {**accuracy(prediction), "mae": 100.0}})
        sweep = {"method": "random", "metric": {"name": name, "goal": "maximize"}, "parameters": {"seed": {"value": 1}}}
        assert 0.0 <= ours(trainer, sweep, n_trials=1).best.value <= 1.0

    def test_for_a_function_that_returns_a_number_it_is_a_label(self, ours):
        assert ours(value, {**SWEEP, "metric": {"name": "anything"}}, n_trials=1).best.value == 0.0

    def test_of_metrics_it_is_the_one_of_that_name(self, ours):
        metrics = {"acc": 1.0, "loss": 2.0, "f1": 3.0}
        assert ours(lambda trial: metrics, {**SWEEP, "metric": {"name": "f1"}}, n_trials=1).best.value == 3.0

    def test_objective_is_a_label(self, make_trainer, ours):
        sweep = {"metric": {"name": "objective"}, "parameters": {"seed": {"value": 1}}}
        result = ours(make_trainer(), sweep, n_trials=1)
        assert result.best.value == result.best.metrics["eval_loss"]

    def test_a_metric_that_the_trainer_cannot_have_is_refused_before_the_first_trial(self, make_trainer, ours):
        sweep = {**SWEEP, "parameters": {"seed": {"value": 1}}}
        with pytest.raises(hp.SearchError, match="'acc' is not among the metrics of this Trainer: eval_loss"):
            ours(make_trainer(), sweep)


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
    """The examples of https://huggingface.co/docs/transformers/hpo_train, as they stand."""

    @pytest.mark.parametrize("hp_space", [optuna_hp_space, ray_hp_space, wandb_hp_space, sigopt_hp_space])
    @pytest.mark.parametrize("backend", ["optuna", "sigopt", "wandb"])
    def test_the_examples_of_transformers_page_maximize(self, make_trainer, hp_space, backend):
        if hp_space is ray_hp_space:
            pytest.importorskip("ray")
        best = hp.hyperparameter_search(
            make_trainer(), hp_space=hp_space, direction="maximize", backend=backend, n_trials=2, progress=False
        )
        assert best.run_summary.directions == ("maximize",)
        assert best.objective == max(trial.value for trial in best.run_summary.trials)
        assert 1e-6 <= best.hyperparameters["learning_rate"] <= 1e-4

    def test_the_sweeps_method_and_early_terminate_count(self, make_trainer):
        stop = {"type": "hyperband", "min_iter": 1}
        metric = {"name": "objective", "goal": "maximize"}
        sweep = {**SWEEP, "metric": metric, "parameters": {"seed": {"values": [1, 2]}}, "early_terminate": stop}
        best = hp.hyperparameter_search(make_trainer(), lambda trial: sweep, backend="wandb", progress=False)
        assert len(best.run_summary.trials) == 2
        assert best.run_summary.directions == ("minimize",)
        assert best.run_summary.native.config["early_terminate"] == stop

    def test_what_transformers_replaces_is_named(self, make_trainer):
        sweep = {**SWEEP, "parameters": {"seed": {"value": 1}}, "method": "random", "run_cap": 7}
        with pytest.warns(UserWarning, match=r"the sweep says more .*: run_cap \(7\), metric \(acc\)"):
            hp.hyperparameter_search(make_trainer(), lambda trial: sweep, backend="optuna", n_trials=1, progress=False)
