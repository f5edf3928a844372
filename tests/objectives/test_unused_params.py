"""A param that nothing reads raises before the first trial if that is certain; otherwise a warning names it later."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from transformers import Trainer, TrainerCallback

import hpcompat as hp
from tests.helpers.trainers import Net
from tests.helpers.versions import requires

LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
SGD = {"optimizer_cls_and_kwargs": (torch.optim.SGD, {"lr": 0.1})}
with_sgd = partial(pytest.param, SGD, marks=requires("transformers", "4.47"))


def loss_func(outputs, labels, num_items_in_batch=None):
    return outputs["loss"]


class TestUnusedFields:
    @pytest.mark.parametrize(
        ("trainer", "arguments", "space", "reason"),
        [
            with_sgd({}, LR, "learning_rate: is not used: the Trainer was given optimizer_cls_and_kwargs"),
            with_sgd({}, {"optim": hp.Categorical(["sgd", "adamw_torch"])}, "optim: is not used"),
            ({}, {"optim": "sgd"}, {"adam_beta1": hp.Float(0.8, 0.9)}, "adam_beta1: is not used: the optimizer"),
            ({}, {"max_steps": 2}, {"num_train_epochs": hp.Int(1, 3)}, "num_train_epochs: is not used: max_steps"),
            (
                {},
                {"lr_scheduler_type": "constant"},
                {"warmup_steps": hp.Int(0, 3)},
                "warmup_steps: is not used: lr_scheduler_type is 'constant'",
            ),
            pytest.param(
                {"compute_loss_func": loss_func},
                {},
                {"label_smoothing_factor": hp.Float(0.0, 0.3)},
                "label_smoothing_factor: is not used: the Trainer was given compute_loss_func",
                marks=requires("transformers", "4.46"),
            ),
        ],
        ids=lambda value: next(iter(value), "") if isinstance(value, dict) else None,
    )
    def test_unused_field_raises_before_the_first_trial(
        self, make_trainer, run_hpcompat, trainer, arguments, space, reason
    ):
        searched = make_trainer(trainer=trainer, **arguments)
        before = searched.model
        with pytest.raises(hp.SearchError, match=re.escape(reason)):
            run_hpcompat(searched, space, n_trials=1)
        assert searched.model is before

    @pytest.mark.parametrize(
        ("trainer", "arguments", "space"),
        [
            with_sgd({}, {"weight_decay": hp.Float(0.0, 0.3)}),
            ({}, {"optim": "adafactor"}, LR),
            ({}, {"max_steps": 2}, {"num_train_epochs": hp.Int(1, 3), "max_steps": hp.Categorical([-1, 2])}),
            ({}, {"optim": "sgd"}, {"adam_beta1": hp.Float(0.8, 0.9), "optim": hp.Categorical(["sgd", "adamw_torch"])}),
            ({}, {"lr_scheduler_type": "constant_with_warmup"}, {"warmup_steps": hp.Int(0, 3)}),
        ],
        ids=["decay", "adafactor", "steps", "optim", "warmup"],
    )
    def test_field_that_may_be_used_is_searched(self, make_trainer, run_hpcompat, trainer, arguments, space):
        result = run_hpcompat(make_trainer(trainer=trainer, **arguments), space, n_trials=1)
        assert result.unread == ()

    @requires("transformers", "4.47")
    def test_field_that_classes_of_the_user_mention_is_searched(self, make_trainer, run_hpcompat):
        class CustomTrainer(Trainer):
            def create_optimizer(self, model=None):
                self.optimizer = torch.optim.SGD(self.model.parameters(), lr=self.args.learning_rate)
                return self.optimizer

        class SetLearningRate(TrainerCallback):
            def on_train_begin(self, args, state, control, optimizer, **kwargs):
                optimizer.param_groups[0]["lr"] = args.learning_rate

        for searched in (
            make_trainer(trainer_class=CustomTrainer, trainer=SGD),
            make_trainer(trainer={**SGD, "callbacks": [SetLearningRate()]}),
        ):
            assert run_hpcompat(searched, LR, n_trials=1).unread == ()

    @requires("transformers", "4.47")
    def test_field_that_model_init_reads_is_searched(self, make_trainer, run_hpcompat):
        def model_init(trial):
            return Net(4 if trial is None or trial["learning_rate"] > 1e-3 else 8)

        assert run_hpcompat(make_trainer(model_init, trainer=SGD), LR, n_trials=1).unread == ()
        with pytest.warns(UserWarning, match="no trial has read 'learning_rate'"):
            assert run_hpcompat(make_trainer(lambda trial: Net(), trainer=SGD), LR, n_trials=1).unread == (
                "learning_rate",
            )


class TestUnreadParams:
    @pytest.mark.parametrize("backend", ["optuna", "sigopt", "wandb"])
    def test_unread_params_are_in_the_result_and_in_one_warning(self, make_trainer, run_hpcompat, backend):
        space = LR | {"num_beams": hp.Int(1, 4), "net": {"width": hp.Int(2, 8), "depth": hp.Int(1, 2)}}
        trainer = make_trainer(lambda trial: Net(trial["net.width"] if trial else 4))
        with pytest.warns(UserWarning, match=r"no trial has read 'num_beams', 'net\.depth'") as warned:
            result = run_hpcompat(trainer, space, n_trials=2, backend=backend)
        assert [warning.category for warning in warned if warning.category is not ResourceWarning] == [UserWarning]
        assert result.unread == ("num_beams", "net.depth")
        assert [trial.unread for trial in result.trials] == [("num_beams", "net.depth")] * 2
        assert "never read: num_beams, net.depth" in repr(result)
        assert "never read: num_beams, net.depth" in result._repr_html_()

    def test_warning_suggests_a_similar_field(self, make_trainer, run_hpcompat):
        trainer = make_trainer(lambda trial: Net(4))
        with pytest.warns(UserWarning, match=r"'learning_rat' \(did you mean 'learning_rate'\?\)"):
            run_hpcompat(trainer, {"learning_rat": hp.Float(0.1, 1.0)}, n_trials=2)

    def test_unread_param_of_a_function_is_warned_of(self, run_hpcompat):
        with pytest.warns(UserWarning, match="no trial has read 'y'"):
            assert run_hpcompat(
                lambda trial: trial["x"], {"x": hp.Int(1, 9), "y": hp.Int(1, 9)}, n_trials=2
            ).unread == ("y",)

    def test_hp_name_does_not_count_as_reading(self, make_trainer, run_hpcompat):
        trainer = make_trainer(lambda trial: Net(4))
        with pytest.warns(UserWarning, match="no trial has read 'x'"):
            run_hpcompat(trainer, {"x": hp.Int(1, 9)}, n_trials=1, hp_name=lambda trial: f"x-{trial['x']}")

    def test_param_that_one_trial_reads_is_read(self, run_hpcompat):
        def function(trial):
            if trial.number == 2:
                raise ValueError("before a param is read")
            return trial["x"] + (trial["y"] if trial.number == 1 else 0) + trial.get("z", 0)

        space = {"x": hp.Categorical([1, 2]), "y": hp.Int(1, 9), "z": hp.Int(1, 2, when={"x": 2})}
        assert run_hpcompat(function, space, n_trials=5, sampler="random").unread == ()

    @pytest.mark.parametrize(
        "read",
        [lambda t: t.params, lambda t: dict(t), lambda t: t["net"], lambda t: t.get("net"), lambda t: {**t}],
        ids=["params", "dict", "group", "get", "unpacked"],
    )
    def test_group_is_read_with_all_its_params(self, run_hpcompat, read):
        def function(trial):
            assert read(trial)
            return 1.0

        space = {"net": {"width": hp.Int(1, 9), "act": hp.Categorical([{"a": 1}, {"a": 2}])}}
        assert run_hpcompat(function, space, n_trials=2).unread == ()

    def test_resume_keeps_the_unread_params(self, run_hpcompat, tmp_path):
        options = {"output_dir": str(tmp_path), "resume": True}
        space = {"x": hp.Int(1, 9), "y": hp.Int(1, 9), "z": hp.Int(1, 9)}
        with pytest.warns(UserWarning, match="no trial has read 'y', 'z'"):
            run_hpcompat(lambda trial: trial["x"], space, n_trials=2, **options)
        with pytest.warns(UserWarning, match="no trial has read 'z'"):
            assert run_hpcompat(lambda trial: trial["y"], space, n_trials=4, **options).unread == ("z",)

    def test_storage_keeps_the_unread_params(self, run_hpcompat, tmp_path):
        options = {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "s", "load_if_exists": True}
        for n_trials in (1, 2):
            with pytest.warns(UserWarning, match="no trial has read 'y'"):
                result = run_hpcompat(
                    lambda trial: trial["x"], {"x": hp.Int(1, 9), "y": hp.Int(1, 9)}, n_trials=n_trials, **options
                )
            assert result.unread == ("y",)


class TestHyperparameterSearch:
    def test_unknown_name_warns(self, make_trainer):
        trainer = make_trainer()
        space = LR | {"num_beams": hp.Int(1, 4)}
        with pytest.warns(UserWarning, match="num_beams: is not a field of TrainingArguments") as warned:
            best = hp.hyperparameter_search(trainer, space, n_trials=2, progress=False)
        assert len(warned) == 1
        assert best.run_summary.unread == ("num_beams",)
        with pytest.raises(hp.SearchError, match="num_beams: is not a field"):
            hp.search(trainer, space, n_trials=1, output_dir=trainer.args.output_dir + "-2")

    def test_unread_name_warns(self, make_trainer):
        trainer = make_trainer(lambda trial: Net())
        with pytest.warns(UserWarning, match="no trial has read 'num_beams'"):
            hp.hyperparameter_search(trainer, LR | {"num_beams": hp.Int(1, 4)}, n_trials=1, progress=False)
