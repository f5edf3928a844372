"""A search restores the Trainer afterwards, and every trial starts from its original state."""

from __future__ import annotations

import os
import sys
from typing import ClassVar

import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

import hpcompat as hp
from hpcompat.trials.journal import JOURNAL_FILE
from tests.helpers.trainers import Net, compute_accuracy, constant_space, create_bert, list_remaining
from tests.helpers.versions import requires

LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


def copy_weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def are_equal_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class CollectEpochs(TrainerCallback):
    """A user's callback that collects values in lists, which a search does not reset."""

    def __init__(self) -> None:
        self.epochs = []
        self.trials = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.trials.append((state.trial_name, state.trial_params))

    def on_epoch_end(self, args, state, control, **kwargs):
        self.epochs.append(state.epoch)


class TestTrainerRestored:
    def test_arguments_callbacks_and_attributes_are_the_same_objects(self, make_trainer, run_hpcompat):
        trainer = make_trainer(trainer={"callbacks": [TrainerCallback()]})
        model = trainer.model
        callbacks, before = list(trainer.callback_handler.callbacks), dict(vars(trainer))
        arguments, control = trainer.args.to_dict(), trainer.control.state()

        run_hpcompat(trainer, LR | {"num_train_epochs": hp.Int(1, 2)}, n_trials=3)

        rebuilt = {"accelerator", "gather_function"}
        after = vars(trainer)
        assert {name for name in after if after[name] is not before.get(name)} <= rebuilt
        assert after.keys() == before.keys()
        assert trainer.args.to_dict() == arguments
        assert trainer.control.state() == control
        assert trainer.callback_handler.callbacks == callbacks
        assert trainer.model is trainer.callback_handler.model is model

    def test_model_without_references_is_created_again(self, make_trainer, run_hpcompat):
        trainer = make_trainer()
        before, loss = copy_weights(trainer.model), trainer.evaluate()["eval_loss"]
        run_hpcompat(trainer, LR | {"seed": hp.Int(1, 9)}, n_trials=2)
        assert are_equal_weights(copy_weights(trainer.model), before)
        assert trainer.evaluate()["eval_loss"] == loss

    def test_created_model_has_the_original_config(self, make_trainer, run_hpcompat):
        trainer = make_trainer(create_bert, tokens=True)
        config = trainer.model.config.to_dict()
        run_hpcompat(trainer, LR, n_trials=1)
        assert trainer.model.config.to_dict() == config

    def test_trained_model_keeps_its_weights(self, make_trainer, run_hpcompat, tmp_path):
        trainer = make_trainer(learning_rate=0.01)
        trainer.train()
        before, loss = copy_weights(trainer.model), trainer.evaluate()["eval_loss"]
        history, step = list(trainer.state.log_history), trainer.state.global_step
        files = {path for path in tmp_path.rglob("*")}

        run_hpcompat(trainer, LR, n_trials=2)

        assert are_equal_weights(copy_weights(trainer.model), before)
        assert trainer.evaluate()["eval_loss"] == loss
        assert trainer.state.log_history[: len(history)] == history
        assert trainer.state.global_step == step
        assert {path for path in tmp_path.rglob("*") if path.name != JOURNAL_FILE} == files

    def test_train_after_search_equals_that_of_a_fresh_trainer(self, make_trainer, run_hpcompat):
        fresh, searched = make_trainer(), make_trainer()
        run_hpcompat(searched, LR | {"per_device_train_batch_size": hp.Categorical([4, 8])}, n_trials=2)
        assert searched.train().training_loss == fresh.train().training_loss
        assert searched.evaluate()["eval_loss"] == fresh.evaluate()["eval_loss"]

    def test_trainer_without_a_model_gets_one(self, make_trainer, run_transformers, run_hpcompat):
        trainer = make_trainer()
        run_transformers(trainer, lambda trial: {}, n_trials=1)  # since transformers 4.57 it takes the model away
        trainer.model = None
        run_hpcompat(trainer, LR, n_trials=1)
        assert "eval_loss" in trainer.evaluate()

    def test_mixed_precision_of_a_trial_is_reset(self, make_trainer, run_hpcompat):
        trainer = make_trainer()
        loss = trainer.evaluate()["eval_loss"]
        run_hpcompat(trainer, constant_space(bf16=True), n_trials=1)
        assert trainer.accelerator.mixed_precision == "no"
        assert trainer.evaluate()["eval_loss"] == loss

    def test_torch_compile_of_a_trial_is_reset(self, make_trainer, run_hpcompat):
        trainer = make_trainer()
        space = constant_space(torch_compile=True, torch_compile_backend="eager")
        run_hpcompat(trainer, space, n_trials=1)
        assert "ACCELERATE_DYNAMO_BACKEND" not in os.environ
        assert trainer.accelerator.state.dynamo_plugin.backend.name == "NO"

    def test_ctrl_c_restores_the_trainer(self, make_trainer, run_hpcompat):
        class Interrupt(TrainerCallback):
            runs: ClassVar[list[str]] = []

            def on_step_end(self, args, state, control, **kwargs):
                if state.global_step == 2:
                    self.runs.append(state.trial_name)
                    if len(self.runs) == 3:
                        raise KeyboardInterrupt

        trainer = make_trainer(trainer={"callbacks": [Interrupt()]}, save_strategy="steps", save_steps=1)
        args, callbacks, loss = (
            trainer.args,
            list(trainer.callback_handler.callbacks),
            trainer.evaluate()["eval_loss"],
        )
        result = run_hpcompat(trainer, LR, n_trials=5)

        assert result.interrupted
        assert [trial.state for trial in result.trials] == ["COMPLETE", "COMPLETE"]
        assert trainer.args is args
        assert trainer.callback_handler.callbacks == callbacks
        assert not trainer.is_in_train
        assert trainer.evaluate()["eval_loss"] == loss
        assert list_remaining(trainer.args.output_dir) == [result.best.run_id]

    def test_model_init_that_raises_warns_and_keeps_the_result(self, make_trainer, run_hpcompat):
        calls = []

        def model_init():
            calls.append(1)
            if len(calls) == 4:
                raise OSError("offline")
            return Net()

        trainer = make_trainer(model_init)
        with pytest.warns(UserWarning, match="offline"):
            result = run_hpcompat(trainer, LR, n_trials=2)
        assert len(result.trials) == 2
        assert trainer.model is None


class TotalLossTrainer(Trainer):
    """Adds the total of all losses to the metrics."""

    def evaluate(self, *args, **kwargs):
        metrics = super().evaluate(*args, **kwargs)
        return {
            **metrics,
            "eval_total": sum(value for name, value in metrics.items() if name.endswith("_loss")),
        }


class OutOfMemory(Net):
    """Raises an out-of-memory error for training batches of more than six digits."""

    batches: ClassVar[list[int]] = []

    def forward(self, pixels, labels):
        if self.training:
            self.batches.append(len(pixels))
            if len(pixels) > 6:
                raise RuntimeError("CUDA out of memory. Tried to allocate more than is available.")
        return super().forward(pixels, labels)


class TestTrialState:
    def test_early_stopping_is_reset_in_each_trial(self, make_trainer, run_hpcompat):
        stopping = EarlyStoppingCallback(early_stopping_patience=2)
        trainer = make_trainer(
            num_train_epochs=8,
            learning_rate=1.0,
            lr_scheduler_type="constant",
            save_strategy="epoch",
            load_best_model_at_end=True,
            trainer={"callbacks": [stopping]},
        )
        trials = run_hpcompat(trainer, {}, n_trials=3).trials
        assert 2 < len(trials[0].intermediate_values) < 8
        assert len({tuple(trial.intermediate_values.items()) for trial in trials}) == 1
        assert stopping.early_stopping_patience_counter == 0

    def test_callback_of_user_collects_over_all_trials_and_gets_trial_info(self, make_trainer, run_hpcompat):
        collecting = CollectEpochs()
        result = run_hpcompat(make_trainer(trainer={"callbacks": [collecting]}), LR, n_trials=3)
        assert collecting.epochs == [1.0, 1.0, 1.0]
        assert collecting.trials == [(trial.run_id, trial.params) for trial in result.trials]

    def test_nothing_is_printed(self, make_trainer, run_hpcompat, capsys):
        trainer = make_trainer(logging_strategy="steps", logging_steps=1)
        capsys.readouterr()
        run_hpcompat(trainer, LR, n_trials=2)
        assert capsys.readouterr() == ("", "")

    def test_training_needs_no_search_package(self, make_trainer, monkeypatch):
        from hpcompat.objectives.trainer import TrainerObjective
        from hpcompat.trials.config import Suggestion

        for package in ("optuna", "ray", "wandb", "sigopt"):
            monkeypatch.setitem(sys.modules, package, None)
        trainer = make_trainer(lambda trial: Net(trial["width"] if trial else 4), save_strategy="epoch")
        with TrainerObjective(trainer).open() as evaluate:
            trials = [evaluate(Suggestion(number, {"width": 4 + number})) for number in range(2)]
        assert [trial.state for trial in trials] == ["COMPLETE", "COMPLETE"]
        assert all(os.path.isdir(trial.checkpoint) for trial in trials)

    def test_each_trial_has_its_own_batch_size_and_model(self, make_trainer, run_hpcompat):
        steps, widths = [], []

        class RecordSteps(TrainerCallback):
            def on_train_end(self, args, state, control, model, **kwargs):
                steps.append(state.global_step)
                widths.append(model.hidden.out_features)

        trainer = make_trainer(
            lambda trial: Net(trial["width"] if trial else 4), trainer={"callbacks": [RecordSteps()]}
        )
        space = {"per_device_train_batch_size": hp.Categorical([8, 16]), "width": hp.Categorical([5, 6])}
        run_hpcompat(trainer, space, sampler="grid", seed=None)
        assert steps == [8, 8, 4, 4]
        assert widths == [5, 6, 5, 6]

    def test_batch_size_found_automatically_is_reset_in_next_trial(self, make_trainer, run_hpcompat):
        OutOfMemory.batches.clear()
        trainer = make_trainer(OutOfMemory, auto_find_batch_size=True)
        space = {"per_device_train_batch_size": hp.Categorical([8, 4])}
        result = run_hpcompat(trainer, space, sampler="grid", seed=None)
        assert [trial.state for trial in result.trials] == ["COMPLETE", "COMPLETE"]
        assert OutOfMemory.batches[0] == 8
        assert max(OutOfMemory.batches[-16:]) == 4


class TestEvaluations:
    def test_objective_gets_the_metrics_that_evaluate_returns(self, make_trainer, run_hpcompat, run_transformers):
        from tests.helpers.trainers import Digits

        def create(trainer_class):
            sets = {"one": Digits(64, 96), "two": Digits(96, 128)}
            return make_trainer(trainer_class=trainer_class, num_train_epochs=2, trainer={"eval_dataset": sets})

        def total(metrics):
            return metrics["eval_one_loss"] + metrics["eval_two_loss"]

        expected = run_transformers(create(Trainer), lambda trial: {}, n_trials=1, compute_objective=total)
        hpcompat_trials = [
            run_hpcompat(create(Trainer), {}, n_trials=1, compute_objective=total).best,
            run_hpcompat(
                create(TotalLossTrainer), {}, n_trials=1, compute_objective=lambda metrics: metrics["eval_total"]
            ).best,
        ]
        for best in hpcompat_trials:
            assert best.value == expected.best_value
            assert best.intermediate_values == expected.trials[0].intermediate_values

    def test_evaluation_on_other_data_is_not_the_objective(self, make_trainer, run_hpcompat):
        class EvaluateOnTrainingData(TrainerCallback):
            trainer: Trainer

            def on_epoch_end(self, args, state, control, **kwargs):
                self.trainer.evaluate(self.trainer.train_dataset, metric_key_prefix="train")
                self.trainer.evaluate(eval_dataset=self.trainer.train_dataset)

        callback = EvaluateOnTrainingData()
        trainer = make_trainer(trainer={"callbacks": [callback]})
        callback.trainer = trainer
        assert (
            run_hpcompat(trainer, {}, n_trials=1).best.value == run_hpcompat(make_trainer(), {}, n_trials=1).best.value
        )

    def test_training_without_evaluation_is_evaluated_at_the_end(self, make_trainer, run_hpcompat, run_transformers):
        trainer = make_trainer(eval_strategy="no")
        assert (
            run_hpcompat(trainer, {}, n_trials=1).best.value == run_hpcompat(make_trainer(), {}, n_trials=1).best.value
        )

    @requires("transformers", "4.42")
    def test_training_with_evaluation_before_it_is_evaluated_at_the_end(self, make_trainer, run_hpcompat):
        only_before = make_trainer(eval_strategy="no", eval_on_start=True)
        assert (
            run_hpcompat(only_before, {}, n_trials=1).best.value
            == run_hpcompat(make_trainer(), {}, n_trials=1).best.value
        )

    def test_metric_for_best_model_is_the_objective(self, make_trainer, run_hpcompat):
        trainer = make_trainer(
            trainer={"compute_metrics": compute_accuracy}, metric_for_best_model="accuracy", greater_is_better=True
        )
        assert 0 <= run_hpcompat(trainer, LR, n_trials=2, direction="maximize").best.value <= 1
        with pytest.raises(hp.SearchError, match="better when greater"):
            run_hpcompat(trainer, LR, n_trials=2)
