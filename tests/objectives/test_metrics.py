"""The choice of the objective among several metrics; a search with an ambiguous objective keeps its training."""

from __future__ import annotations

import os

import optuna
import pytest
from transformers import Trainer, TrainerCallback

import hpcompat as hp
from tests.helpers.trainers import Net, compute_accuracy

LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
X = {"x": hp.Float(0.0, 4.0)}


class LoggingTrainer(Trainer):
    """Logs other metrics besides the evaluation loss, like TRL's SFTTrainer."""

    def log(self, logs, *args, **kwargs):
        if "eval_loss" in logs:
            logs.update(eval_entropy=1.5, eval_num_tokens=2048.0, eval_mean_token_accuracy=0.5)
        super().log(logs, *args, **kwargs)


class RecordTrainings(TrainerCallback):
    """Records the max_steps of every training."""

    def __init__(self):
        self.trainings = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainings.append(state.max_steps)


def two_metrics(prediction):
    return {**compute_accuracy(prediction), "mae": 100.0}


class TestDefaultObjective:
    def test_trainer_without_compute_metrics_uses_the_loss(self, make_trainer, run_hpcompat):
        result = run_hpcompat(make_trainer(trainer_class=LoggingTrainer), LR, n_trials=2)
        assert [trial.value for trial in result.trials] == [trial.metrics["eval_loss"] for trial in result.trials]
        assert result.best.metrics["eval_entropy"] == 1.5

    def test_trainer_of_a_function_uses_the_loss(self, make_trainer, run_hpcompat, tmp_path):
        def create(trial):
            args = make_trainer(output_dir=str(tmp_path / "out")).args
            model = {"model_init": None, "model": Net()}
            return make_trainer(trainer_class=LoggingTrainer, trainer={"args": hp.with_params(args, trial), **model})

        result = run_hpcompat(create, LR, n_trials=1)
        assert result.best.value == result.best.metrics["eval_loss"]

    @pytest.mark.parametrize("name", ["eval_entropy", "entropy"])
    def test_other_logged_metric_can_be_named(self, make_trainer, run_hpcompat, name):
        assert (
            run_hpcompat(make_trainer(trainer_class=LoggingTrainer), LR, n_trials=1, compute_objective=name).best.value
            == 1.5
        )

    def test_several_evaluation_sets_need_a_named_metric(self, make_trainer, run_hpcompat):
        trainer = make_trainer()
        trainer.eval_dataset = {"a": trainer.eval_dataset, "b": trainer.eval_dataset}
        with pytest.raises(hp.SearchError, match=r"one of eval_a_loss, eval_b_loss, got none \(pass 'eval_a_loss'"):
            run_hpcompat(trainer, LR)
        result = run_hpcompat(trainer, LR, n_trials=1, compute_objective="eval_b_loss")
        assert result.best.value == result.best.metrics["eval_b_loss"]

    def test_name_of_unknown_metric_raises(self, make_trainer, run_hpcompat):
        with pytest.raises(hp.SearchError, match="compute_objective: 'f1' is not among the metrics of this Trainer"):
            run_hpcompat(make_trainer(), LR, compute_objective="f1")
        with pytest.raises(hp.SearchError, match="metric_for_best_model: 'f1' is not among the metrics"):
            run_hpcompat(make_trainer(metric_for_best_model="f1"), LR, direction="maximize")

    def test_no_extra_evaluation_is_run(self, make_trainer, run_hpcompat):
        is_in_training = []

        class RecordingTrainer(Trainer):
            def evaluation_loop(self, *args, **kwargs):
                is_in_training.append(self.is_in_train)
                return super().evaluation_loop(*args, **kwargs)

        run_hpcompat(make_trainer(trainer_class=RecordingTrainer), LR, n_trials=2)
        assert is_in_training == [True, True]


class TestNamedObjective:
    def test_name_selects_the_metric(self, run_hpcompat):
        metrics = {"a": 1.0, "eval_b": 2.0, "c": 3.0}
        for name, value in (("a", 1.0), ("b", 2.0), ("eval/b", 2.0)):
            assert run_hpcompat(lambda trial: metrics, X, n_trials=1, compute_objective=name).best.value == value

    def test_list_of_names_selects_one_for_each_direction(self, make_trainer, run_hpcompat):
        trainer = make_trainer(trainer={"compute_metrics": two_metrics})
        names, directions = ["eval_mae", "eval_loss"], ["maximize", "minimize"]
        front = run_hpcompat(trainer, LR, n_trials=1, compute_objective=names, direction=directions).pareto_front
        assert front[0].values == (100.0, front[0].metrics["eval_loss"])

    def test_name_is_ignored_for_a_number(self, run_hpcompat):
        assert run_hpcompat(lambda trial: trial["x"], X, n_trials=1, compute_objective="acc").best.value > 0


class TestAmbiguousObjective:
    def test_resume_scores_the_trained_trial(self, make_trainer, run_hpcompat):
        callback = RecordTrainings()
        options = {"save_strategy": "epoch", "num_train_epochs": 2, "output_dir": make_trainer().args.output_dir}

        def trainer():
            return make_trainer(trainer={"compute_metrics": two_metrics, "callbacks": [callback]}, **options)

        with pytest.raises(hp.SearchError, match="which metric is the objective") as refusal:
            run_hpcompat(trainer(), LR, n_trials=3)
        assert len(callback.trainings) == 1
        assert {issue.path for issue in refusal.value.issues} == {"eval_loss", "eval_accuracy", "eval_mae", ""}
        assert 'compute_objective="eval_loss"' in str(refusal.value)
        assert "resume=True" in str(refusal.value)
        (trained,) = refusal.value.trials
        assert trained.values is None
        assert trained.metrics["eval_mae"] == 100.0
        assert os.path.isdir(trained.checkpoint)

        with pytest.raises(hp.SearchError, match="which metric is the objective"):
            run_hpcompat(trainer(), LR, n_trials=3, resume=True)
        assert len(callback.trainings) == 1

        result = run_hpcompat(trainer(), LR, n_trials=3, resume=True, compute_objective="eval_loss", keep="all")
        assert len(callback.trainings) == 3
        assert [trial.state for trial in result.trials] == ["COMPLETE"] * 3
        assert result.trials[0].value == trained.metrics["eval_loss"]
        assert result.trials[0].params == trained.params
        assert os.path.isdir(trained.checkpoint)
        expected = run_hpcompat(
            trainer=make_trainer(trainer={"compute_metrics": two_metrics}, num_train_epochs=2),
            space=LR,
            n_trials=1,
            compute_objective="eval_loss",
        )
        assert result.trials[0].value == expected.best.value

    def test_resume_scores_the_metrics_of_a_function(self, run_hpcompat, tmp_path):
        calls = []

        def metrics(trial):
            calls.append(trial.number)
            return {"a": trial["x"], "b": 1.0, "name": "b"}

        out = {"output_dir": str(tmp_path / "out"), "n_trials": 2}
        with pytest.raises(hp.SearchError, match="which metric is the objective"):
            run_hpcompat(metrics, X, **out)
        result = run_hpcompat(metrics, X, **out, resume=True, compute_objective="a")
        assert calls == [0, 1]
        assert [trial.value for trial in result.trials] == [trial.params["x"] for trial in result.trials]

    def test_trials_of_the_error_can_be_history(self, run_hpcompat):
        with pytest.raises(hp.SearchError, match="which metric") as refusal:
            run_hpcompat(lambda trial: {"a": trial["x"], "b": 1.0}, X)
        assert "resume=True" not in str(refusal.value)
        result = run_hpcompat(
            lambda trial: {"a": trial["x"], "b": 1.0},
            X,
            n_trials=1,
            history=refusal.value.trials,
            compute_objective="a",
        )
        from_history, new = result.native.trials
        assert from_history.value == from_history.params["x"] != new.params["x"]

    def test_resume_after_a_wrong_name_trains_nothing_again(self, run_hpcompat, tmp_path):
        out = {"output_dir": str(tmp_path / "out"), "n_trials": 1}
        metrics = {"acc": 0.5}
        with pytest.raises(hp.SearchError, match="compute_objective must be one of acc, got 'f1'"):
            run_hpcompat(lambda trial: metrics, X, **out, compute_objective="f1")
        assert run_hpcompat(lambda trial: 1 / 0, X, **out, resume=True, compute_objective="acc").best.value == 0.5

    def test_resume_fails_a_trial_scored_nan(self, run_hpcompat, tmp_path):
        out = {"output_dir": str(tmp_path / "out"), "n_trials": 2}
        with pytest.raises(hp.SearchError, match="which metric"):
            run_hpcompat(lambda trial: {"a": float("nan"), "b": 1.0}, X, **out)
        result = run_hpcompat(lambda trial: {"a": 2.0, "b": 1.0}, X, **out, resume=True, compute_objective="a")
        assert [trial.state for trial in result.trials] == ["FAILED", "COMPLETE"]

    def test_pruner_gets_no_report(self, make_trainer, run_hpcompat):
        trainer = make_trainer(trainer={"compute_metrics": two_metrics}, num_train_epochs=2)
        with pytest.raises(hp.SearchError, match="which metric") as refusal:
            run_hpcompat(trainer, LR, pruner=optuna.pruners.MedianPruner(n_startup_trials=0))
        assert dict(refusal.value.trials[0].intermediate_values) == {}


class TestTrialMetrics:
    def test_metrics_are_those_of_the_evaluation_behind_the_values(self, make_trainer, run_hpcompat):
        trainer = make_trainer(
            num_train_epochs=3,
            load_best_model_at_end=True,
            save_strategy="epoch",
            learning_rate=1.0,
            lr_scheduler_type="constant",
        )
        result = run_hpcompat(trainer, {"seed": hp.Int(1, 9)}, n_trials=3)
        assert [trial.metrics["eval_loss"] for trial in result.trials] == [trial.value for trial in result.trials]

    def test_resume_keeps_the_metrics(self, make_trainer, run_hpcompat):
        out = {"output_dir": make_trainer().args.output_dir}
        first = run_hpcompat(make_trainer(**out), LR, n_trials=1)
        resumed = run_hpcompat(make_trainer(**out), LR, n_trials=1, resume=True)
        assert resumed.trials[0].metrics == first.trials[0].metrics
        assert "eval_loss" in first.trials[0].metrics


class TestChangedObjective:
    """A resumed search, or one with a history, checks that the earlier values are of the same objective."""

    @pytest.fixture
    def search(self, run_hpcompat, tmp_path):
        def run(**options):
            return run_hpcompat(lambda trial: {"loss": trial["x"], "f1": -trial["x"]}, X, n_trials=2, **options)

        return run

    def test_resume_with_another_metric_raises(self, search, tmp_path):
        out = str(tmp_path / "out")
        first = search(compute_objective="loss", output_dir=out)
        assert search(compute_objective="loss", output_dir=out, resume=True).trials == first.trials
        for other in ("f1", lambda metrics: 100 * metrics["loss"]):
            with pytest.raises(hp.SearchError, match=r"journal: trial 0: its value is .*compute_objective"):
                search(compute_objective=other, output_dir=out, resume=True)

    def test_history_of_another_metric_raises(self, search):
        history = search(compute_objective="loss")
        with pytest.raises(hp.SearchError, match=r"history: trial 0: its value is "):
            search(compute_objective="f1", history=history)

    def test_history_of_another_direction_raises(self, search):
        history = search(compute_objective="loss")
        with pytest.raises(hp.SearchError, match=r"history: .* got one with \['minimize'\]"):
            search(compute_objective="loss", direction="maximize", history=history)

    def test_metrics_that_are_not_numbers_are_ignored(self, run_hpcompat):
        def function(trial):
            trial.report(0.0, 1)
            return {"f1": trial["x"], "name": "a", "curve": [1, 2]}

        assert run_hpcompat(function, X, n_trials=2).best.metrics.keys() == {"f1"}

    def test_pruner_ignores_a_metric_that_is_not_a_number(self, make_trainer, run_hpcompat):
        def compute_metrics(prediction):
            return {"f1": 0.5, "name": "a"}

        trainer = make_trainer(trainer={"compute_metrics": compute_metrics})
        pruner = optuna.pruners.ThresholdPruner(upper=0.1)
        result = run_hpcompat(trainer, LR, n_trials=2, direction="maximize", pruner=pruner)
        assert [trial.state for trial in result.trials] == ["PRUNED", "PRUNED"]

    def test_compute_objective_for_a_number_fails_the_trials(self, run_hpcompat):
        with pytest.raises(hp.SearchError, match="expected a dict of metrics for compute_objective, got"):
            run_hpcompat(lambda trial: trial["x"], X, n_trials=2, compute_objective=lambda metrics: 1.0)
