"""Which metric is the objective: decided before the first trial, or told with nothing of the training lost."""

from __future__ import annotations

import os

import optuna
import pytest
from tiny import Net, accuracy
from transformers import Trainer, TrainerCallback

import hpcompat as hp

LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
X = {"x": hp.Float(0.0, 4.0)}


class LikeTRL(Trainer):
    """Notes other figures beside the loss of an evaluation, as TRL's SFTTrainer does."""

    def log(self, logs, *args, **kwargs):
        if "eval_loss" in logs:
            logs.update(eval_entropy=1.5, eval_num_tokens=2048.0, eval_mean_token_accuracy=0.5)
        super().log(logs, *args, **kwargs)


class Counts(TrainerCallback):
    """Counts the trainings, and the evaluations outside of one."""

    def __init__(self):
        self.trainings = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainings.append(state.max_steps)


def two_metrics(prediction):
    return {**accuracy(prediction), "mae": 100.0}


class TestDecidedBeforeTheFirstTrial:
    def test_a_trainer_without_compute_metrics_is_judged_by_the_loss(self, make_trainer, ours):
        result = ours(make_trainer(kind=LikeTRL), LR, n_trials=2)
        assert [trial.value for trial in result.trials] == [trial.metrics["eval_loss"] for trial in result.trials]
        assert result.best.metrics["eval_entropy"] == 1.5

    def test_so_is_one_that_a_function_makes(self, make_trainer, ours, tmp_path):
        def make(trial):
            args = make_trainer(output_dir=str(tmp_path / "out")).args
            model = {"model_init": None, "model": Net()}
            return make_trainer(kind=LikeTRL, trainer={"args": hp.with_params(args, trial), **model})

        result = ours(make, LR, n_trials=1)
        assert result.best.value == result.best.metrics["eval_loss"]

    @pytest.mark.parametrize("name", ["eval_entropy", "entropy"])
    def test_what_it_notes_beside_the_loss_can_be_named(self, make_trainer, ours, name):
        assert ours(make_trainer(kind=LikeTRL), LR, n_trials=1, compute_objective=name).best.value == 1.5

    def test_several_evaluation_sets_are_candidates(self, make_trainer, ours):
        trainer = make_trainer()
        trainer.eval_dataset = {"a": trainer.eval_dataset, "b": trainer.eval_dataset}
        with pytest.raises(hp.SearchError, match=r"may be any of eval_a_loss, eval_b_loss \(write 'eval_a_loss'"):
            ours(trainer, LR)
        result = ours(trainer, LR, n_trials=1, compute_objective="eval_b_loss")
        assert result.best.value == result.best.metrics["eval_b_loss"]

    def test_a_name_that_it_cannot_have_is_refused(self, make_trainer, ours):
        with pytest.raises(hp.SearchError, match="compute_objective: 'f1' is not among the metrics of this Trainer"):
            ours(make_trainer(), LR, compute_objective="f1")
        with pytest.raises(hp.SearchError, match="metric_for_best_model: 'f1' is not among the metrics"):
            ours(make_trainer(metric_for_best_model="f1"), LR, direction="maximize")

    def test_nothing_is_evaluated_for_it(self, make_trainer, ours):
        evaluated = []

        class Watched(Trainer):
            def evaluation_loop(self, *args, **kwargs):
                evaluated.append(self.is_in_train)
                return super().evaluation_loop(*args, **kwargs)

        ours(make_trainer(kind=Watched), LR, n_trials=2)
        assert evaluated == [True, True]


class TestNamedObjective:
    def test_a_name_stands_for_a_function_of_the_metrics(self, ours):
        metrics = {"a": 1.0, "eval_b": 2.0, "c": 3.0}
        for name, value in (("a", 1.0), ("b", 2.0), ("eval/b", 2.0)):
            assert ours(lambda trial: metrics, X, n_trials=1, compute_objective=name).best.value == value

    def test_a_list_of_names_has_one_for_each_direction(self, make_trainer, ours):
        trainer = make_trainer(trainer={"compute_metrics": two_metrics})
        names, directions = ["eval_mae", "eval_loss"], ["maximize", "minimize"]
        front = ours(trainer, LR, n_trials=1, compute_objective=names, direction=directions).pareto_front
        assert front[0].values == (100.0, front[0].metrics["eval_loss"])

    def test_it_is_only_a_label_where_a_function_returns_a_number(self, ours):
        assert ours(lambda trial: trial["x"], X, n_trials=1, compute_objective="acc").best.value > 0


class TestKeptUntilItIsDecided:
    def test_the_trained_trial_is_in_the_journal_and_scored_on_resume(self, make_trainer, ours):
        counts = Counts()
        more = {"save_strategy": "epoch", "num_train_epochs": 2, "output_dir": make_trainer().args.output_dir}

        def trainer():
            return make_trainer(trainer={"compute_metrics": two_metrics, "callbacks": [counts]}, **more)

        with pytest.raises(hp.SearchError, match="which metric is the objective") as refusal:
            ours(trainer(), LR, n_trials=3)
        assert len(counts.trainings) == 1
        assert {issue.path for issue in refusal.value.issues} == {"eval_loss", "eval_accuracy", "eval_mae", ""}
        assert 'compute_objective="eval_loss"' in str(refusal.value)
        assert "resume=True" in str(refusal.value)
        (trained,) = refusal.value.trials
        assert trained.values is None
        assert trained.metrics["eval_mae"] == 100.0
        assert os.path.isdir(trained.checkpoint)

        with pytest.raises(hp.SearchError, match="which metric is the objective"):
            ours(trainer(), LR, n_trials=3, resume=True)
        assert len(counts.trainings) == 1

        result = ours(trainer(), LR, n_trials=3, resume=True, compute_objective="eval_loss", keep="all")
        assert len(counts.trainings) == 3
        assert [trial.state for trial in result.trials] == ["COMPLETE"] * 3
        assert result.trials[0].value == trained.metrics["eval_loss"]
        assert result.trials[0].params == trained.params
        assert os.path.isdir(trained.checkpoint)
        expected = ours(
            trainer=make_trainer(trainer={"compute_metrics": two_metrics}, num_train_epochs=2),
            space=LR,
            n_trials=1,
            compute_objective="eval_loss",
        )
        assert result.trials[0].value == expected.best.value

    def test_the_metrics_of_a_function_are_kept_too(self, ours, tmp_path):
        calls = []

        def metrics(trial):
            calls.append(trial.number)
            return {"a": trial["x"], "b": 1.0, "name": "b"}

        out = {"output_dir": str(tmp_path / "out"), "n_trials": 2}
        with pytest.raises(hp.SearchError, match="which metric is the objective"):
            ours(metrics, X, **out)
        result = ours(metrics, X, **out, resume=True, compute_objective="a")
        assert calls == [0, 1]
        assert [trial.value for trial in result.trials] == [trial.params["x"] for trial in result.trials]

    def test_without_a_journal_the_error_has_it_and_history_takes_it(self, ours):
        with pytest.raises(hp.SearchError, match="which metric") as refusal:
            ours(lambda trial: {"a": trial["x"], "b": 1.0}, X)
        assert "resume=True" not in str(refusal.value)
        result = ours(
            lambda trial: {"a": trial["x"], "b": 1.0},
            X,
            n_trials=1,
            history=refusal.value.trials,
            compute_objective="a",
        )
        replayed, own = result.native.trials
        assert replayed.value == replayed.params["x"] != own.params["x"]

    def test_a_wrong_name_loses_nothing_either(self, ours, tmp_path):
        out = {"output_dir": str(tmp_path / "out"), "n_trials": 1}
        metrics = {"acc": 0.5}
        with pytest.raises(hp.SearchError, match="compute_objective='f1' is none of acc"):
            ours(lambda trial: metrics, X, **out, compute_objective="f1")
        assert ours(lambda trial: 1 / 0, X, **out, resume=True, compute_objective="acc").best.value == 0.5

    def test_a_nan_that_is_scored_later_is_a_failure(self, ours, tmp_path):
        out = {"output_dir": str(tmp_path / "out"), "n_trials": 2}
        with pytest.raises(hp.SearchError, match="which metric"):
            ours(lambda trial: {"a": float("nan"), "b": 1.0}, X, **out)
        result = ours(lambda trial: {"a": 2.0, "b": 1.0}, X, **out, resume=True, compute_objective="a")
        assert [trial.state for trial in result.trials] == ["FAILED", "COMPLETE"]

    def test_a_pruner_hears_nothing_of_it(self, make_trainer, ours):
        trainer = make_trainer(trainer={"compute_metrics": two_metrics}, num_train_epochs=2)
        with pytest.raises(hp.SearchError, match="which metric") as refusal:
            ours(trainer, LR, pruner=optuna.pruners.MedianPruner(n_startup_trials=0))
        assert dict(refusal.value.trials[0].intermediate_values) == {}


class TestMetricsOfATrial:
    def test_they_are_those_of_the_evaluation_that_made_the_values(self, make_trainer, ours):
        trainer = make_trainer(
            num_train_epochs=3,
            load_best_model_at_end=True,
            save_strategy="epoch",
            learning_rate=1.0,
            lr_scheduler_type="constant",
        )
        result = ours(trainer, {"seed": hp.Int(1, 9)}, n_trials=3)
        assert [trial.metrics["eval_loss"] for trial in result.trials] == [trial.value for trial in result.trials]

    def test_a_journal_keeps_them(self, make_trainer, ours):
        out = {"output_dir": make_trainer().args.output_dir}
        first = ours(make_trainer(**out), LR, n_trials=1)
        again = ours(make_trainer(**out), LR, n_trials=1, resume=True)
        assert again.trials[0].metrics == first.trials[0].metrics
        assert "eval_loss" in first.trials[0].metrics


class TestOtherObjective:
    """A search that goes on, or starts from earlier trials, compares their values with its own."""

    @pytest.fixture
    def measured(self, ours, tmp_path):
        def run(**options):
            return ours(lambda trial: {"loss": trial["x"], "f1": -trial["x"]}, X, n_trials=2, **options)

        return run

    def test_resume_with_another_metric_is_refused(self, measured, tmp_path):
        out = str(tmp_path / "out")
        first = measured(compute_objective="loss", output_dir=out)
        assert measured(compute_objective="loss", output_dir=out, resume=True).trials == first.trials
        for other in ("f1", lambda metrics: 100 * metrics["loss"]):
            with pytest.raises(hp.SearchError, match=r"journal: trial 0: the value is .*compute_objective"):
                measured(compute_objective=other, output_dir=out, resume=True)

    def test_history_of_another_metric_is_refused(self, measured):
        history = measured(compute_objective="loss")
        with pytest.raises(hp.SearchError, match=r"history: trial 0: the value is "):
            measured(compute_objective="f1", history=history)

    def test_history_of_another_direction_is_refused(self, measured):
        history = measured(compute_objective="loss")
        with pytest.raises(hp.SearchError, match=r"history: it was searched with \['minimize'\]"):
            measured(compute_objective="loss", direction="maximize", history=history)

    def test_metrics_that_are_not_numbers_are_no_candidates(self, ours):
        def function(trial):
            trial.report(0.0, 1)
            return {"f1": trial["x"], "name": "a", "curve": [1, 2]}

        assert ours(function, X, n_trials=2).best.metrics.keys() == {"f1"}

    def test_trainer_with_a_metric_that_is_not_a_number_is_pruned(self, make_trainer, ours):
        def named(prediction):
            return {"f1": 0.5, "name": "a"}

        trainer = make_trainer(trainer={"compute_metrics": named})
        pruner = optuna.pruners.ThresholdPruner(upper=0.1)
        result = ours(trainer, LR, n_trials=2, direction="maximize", pruner=pruner)
        assert [trial.state for trial in result.trials] == ["PRUNED", "PRUNED"]

    def test_function_of_metrics_over_a_number_fails_the_trials(self, ours):
        with pytest.raises(hp.SearchError, match="compute_objective takes metrics, and the function returned"):
            ours(lambda trial: trial["x"], X, n_trials=2, compute_objective=lambda metrics: 1.0)
