"""Searches over a Trainer on Ray, and bugs of transformers' own Ray search that hpcompat does not have.

A worker process needs seconds to import transformers, so each search covers several properties.
If an assertion about `run_transformers` fails, transformers has fixed the bug, and the assertion can be removed.
"""

from __future__ import annotations

import os

import pytest
from accelerate.state import GradientState
from ray import tune
from transformers import TrainerCallback

import hpcompat as hp
from tests.helpers.trainers import Net, list_remaining

LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


class CallbackWithTrainer(TrainerCallback):
    """A callback with a reference to its Trainer."""

    trainer = None

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_hyper_param_search:
            assert self.trainer.args is args
            assert self.trainer.callback_handler.callbacks[-1] is self


class CheckTypes(TrainerCallback):
    """Asserts the types and values of a trial's arguments."""

    def on_train_begin(self, args, state, control, **kwargs):
        assert args.dataloader_drop_last is False
        assert (args.num_train_epochs, type(args.num_train_epochs)) == (3.0, float)
        assert args.adam_beta1 == (0.8 if args.optim == "adamw_torch" else 0.9)


class TestTransformersIssues:
    def test_hpcompat_search_is_right(self, run_hpcompat, make_trainer, tmp_path, monkeypatch):
        """Covers what is wrong in the next test. The paths are relative to the working directory."""

        def model_init(trial):
            if trial is not None and trial.params.get("width") == 0:
                raise ValueError("no width")
            with open("width.txt") as file:
                return Net(int(file.read()))

        monkeypatch.chdir(tmp_path)
        (tmp_path / "width.txt").write_text("4")
        space = hp.SearchSpace(
            {
                "dataloader_drop_last": hp.Constant("False"),
                "num_train_epochs": hp.Constant(3),
                "optim": hp.Categorical(["adamw_torch", "sgd"]),
                "adam_beta1": hp.Categorical([0.8], when={"optim": "adamw_torch"}),
                "width": hp.Categorical([0, 4], when={"optim": "sgd"}),
            }
        )
        trainer = make_trainer(
            model_init,
            output_dir="here",
            learning_rate=1.0,
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="loss",
            greater_is_better=True,
            trainer={"callbacks": [CheckTypes()]},
        )
        records = tmp_path / "records"
        result = run_hpcompat(trainer, space, direction="maximize", sampler="grid", storage_path=str(records))

        assert [trial.cause for trial in result.trials] == [None, "ValueError: no width", None]
        assert [set(trial.params) & {"adam_beta1", "width"} for trial in result.trials] == [
            {"adam_beta1"},
            {"width"},
            {"width"},
        ]
        for trial in (result.trials[0], result.trials[2]):
            assert trial.value == max(trial.intermediate_values.values())
        best = result.best
        step = max(best.intermediate_values, key=best.intermediate_values.get)
        assert best.checkpoint == str(tmp_path / "here" / best.run_id / f"checkpoint-{step}")
        assert os.path.isfile(os.path.join(best.checkpoint, "trainer_state.json"))
        assert list_remaining("here") == [best.run_id]
        assert [(t.directory, t.checkpoint) for t in result.trials if t is not best] == [(None, None)] * 2
        assert sorted(os.listdir(tmp_path)) == ["here", "records", "width.txt"]
        assert len(list(records.glob("*/trial-*"))) == 3
        assert not list(records.glob("**/*.safetensors"))
        assert "eval_loss" in trainer.evaluate()

    def test_transformers_search_is_wrong(self, run_transformers, make_trainer, tmp_path, monkeypatch):
        """The last evaluation is the objective (#16683, #25247), and one failed trial makes the search fail.

        "False" becomes True, checkpoints are written twice and the best one is not returned (#10550, #23150), and the
        Trainer loses its model. None for an inactive parameter raises, and so does a run_config (#24278).
        """

        class WriteArgument(TrainerCallback):
            def on_train_begin(self, args, state, control, **kwargs):
                (tmp_path / "argument").write_text(str(args.dataloader_drop_last))

        # after an earlier training in this process, this Trainer could not be pickled
        GradientState._reset_state()
        rising = {"learning_rate": 1.0, "num_train_epochs": 3, "save_strategy": "epoch", "load_best_model_at_end": True}
        best = {"metric_for_best_model": "loss", "greater_is_better": True}
        trainer = make_trainer(**rising, **best, trainer={"callbacks": [WriteArgument()]})
        best_run = run_transformers(trainer, {"dataloader_drop_last": "False"})
        rows = best_run.run_summary.trial_dataframes[best_run.run_id].to_dict("records")
        losses = [row["eval_loss"] for row in rows]
        assert best_run.objective == losses[-1] < max(losses)
        assert (tmp_path / "argument").read_text() == "True"
        assert trainer.model is None
        assert [len(list(tmp_path.glob(f"{name}/**/*.safetensors"))) for name in ("transformers", "out")] == [3, 3]
        assert not hasattr(best_run, "checkpoint")

        trainer = make_trainer()
        with pytest.raises(tune.TuneError, match="TypeError: float"):
            run_transformers(trainer, {"adam_beta1": tune.grid_search([0.9, None])})
        with pytest.raises(TypeError, match="run_config"):
            run_transformers(make_trainer(), {"learning_rate": 1e-3}, run_config=tune.RunConfig())

    def test_list_of_directions_gives_pareto_front_in_hpcompat_only(self, run_transformers, make_trainer, tmp_path):
        """Transformers runs every trial and then raises."""
        runs = hp.hyperparameter_search(
            lambda trial: {"eval_loss": trial["learning_rate"]},
            LR,
            lambda metrics: [metrics["eval_loss"], -metrics["eval_loss"]],
            n_trials=2,
            direction=["minimize", "minimize"],
            backend="ray",
            max_concurrent_trials=1,
            progress=False,
        )
        assert [len(run.objective) for run in runs] == [2, 2]

        GradientState._reset_state()
        with pytest.raises(ValueError, match="`mode` has to be one of"):
            run_transformers(make_trainer(), {"learning_rate": 1e-3}, direction=["minimize", "minimize"], n_trials=2)
        assert all(file.read_text() for file in (tmp_path / "transformers").glob("*/*/result.json"))


class EarlyStopping(TrainerCallback):
    """Early stopping without a reset between trainings, with a counter object that a search cannot reset."""

    def __init__(self):
        self.bad, self.meter = 0, Meter()

    def on_evaluate(self, args, state, control, **kwargs):
        self.bad += 1
        self.meter.total += 1
        control.should_training_stop = self.bad >= 2


class Meter:
    def __init__(self):
        self.total = 0


class TestTrainers:
    def test_trained_trainer_has_same_trials_as_on_optuna(self, run_hpcompat, run_transformers, make_trainer):
        """Transformers cannot pickle a Trainer after a training (transformers#27598, #11249, #17696, #11930)."""
        callback = CallbackWithTrainer()
        trainer = make_trainer(lr_scheduler_type="cosine", trainer={"callbacks": [callback]})
        callback.trainer = trainer
        trainer.train()
        loss, model = trainer.evaluate()["eval_loss"], trainer.model
        space = LR | {"num_train_epochs": hp.Int(1, 2), "seed": hp.Int(1, 9)}
        options = {"n_trials": 4, "seed": 0, "sampler": "random"}

        result = run_hpcompat(trainer, space, **options)

        assert trainer.model is model
        assert trainer.evaluate()["eval_loss"] == loss
        expected = hp.search(make_trainer(lr_scheduler_type="cosine"), space, progress=False, **options)
        assert [trial.cause for trial in result.trials] == [None] * 4
        for trial, other in zip(result.trials, expected.trials, strict=True):
            assert (trial.number, trial.params, trial.state) == (other.number, other.params, other.state)
            assert trial.values == pytest.approx(other.values, rel=1e-5)
            assert dict(trial.intermediate_values) == pytest.approx(dict(other.intermediate_values), rel=1e-5)

        for unpicklable in (trainer, make_trainer()):
            with pytest.raises(TypeError, match="cannot pickle"):
                run_transformers(unpicklable, {"learning_rate": 1e-3})

    def test_pruned_trial_has_evaluations_and_no_directory(self, run_hpcompat, make_trainer):
        trainer = make_trainer(num_train_epochs=6, save_strategy="epoch")
        space = {"learning_rate": hp.Categorical([1e-1, 1e-7])}
        result = run_hpcompat(trainer, space, n_trials=2, sampler="grid", pruner="asha")
        good, bad = result.trials
        assert (good.state, bad.state) == ("COMPLETE", "PRUNED")
        assert list(good.intermediate_values) == [4, 8, 12, 16, 20, 24]
        assert list(bad.intermediate_values) == [4]
        assert bad.values == tuple(bad.intermediate_values.values())
        assert (good.run_id, bad.run_id) == ("run-0", "run-1")
        assert list_remaining(trainer.args.output_dir) == ["run-0"]

    def test_function_that_creates_a_trainer_is_searched(self, run_hpcompat, make_trainer):
        def function(trial):
            return make_trainer(lambda: Net(trial["width"]), save_strategy="epoch")

        result = run_hpcompat(function, {"width": hp.Categorical([4, 8])}, n_trials=2, sampler="grid", keep="all")
        assert [trial.cause for trial in result.trials] == [None] * 2
        assert all(os.path.isdir(trial.checkpoint) for trial in result.trials)

    def test_shared_state_is_reset_or_warned_of(self, run_hpcompat, make_trainer):
        trainer = make_trainer(num_train_epochs=4, trainer={"callbacks": [EarlyStopping()]})

        def model_init():
            assert trainer.model is None  # the worker drops the model of the pickled Trainer
            return Net()

        trainer.model_init = model_init
        with pytest.warns(
            UserWarning, match=r"trials see state that earlier trials have changed: EarlyStopping\.meter\."
        ) as warned:
            result = run_hpcompat(trainer, LR, n_trials=3)
        assert len(warned) == 1
        assert [len(trial.intermediate_values) for trial in result.trials] == [2, 2, 2], result.trials[0].error
