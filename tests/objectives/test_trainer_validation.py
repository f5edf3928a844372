"""Errors that would make a search over a Trainer fail are raised before the first trial."""

from __future__ import annotations

import pytest

import hpcompat as hp
from tests.helpers.trainers import Net

LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


class TestValidateTrainer:
    @pytest.mark.parametrize(
        ("trainer", "space", "options", "message"),
        [
            ({"model_init": None, "model": Net()}, LR, {}, "model_init: is required: without it every trial"),
            (
                {},
                {"lr": hp.Float(0.1, 1.0)},
                {},
                "lr: is not a field of TrainingArguments, and model_init takes no argument",
            ),
            ({}, {"learning_rte": hp.Float(0.1, 1.0)}, {}, "did you mean 'learning_rate'?"),
            ({}, {"model": {"width": hp.Int(1, 4)}}, {}, "model.width: is not a field"),
            ({}, {"max_steps": hp.Float(1.0, 9.0)}, {}, "max_steps: expected int, got 3.96"),
            ({}, {"bf16": hp.Categorical(["yes", "no"])}, {}, "bf16: expected bool, got 'yes'"),
            ({}, {"learning_rate": hp.Categorical([0.1, None])}, {}, "learning_rate: expected float, got None"),
            ({}, {"output_dir": hp.Categorical(["a", "b"])}, {}, "output_dir: cannot be searched"),
            ({}, {"optim": hp.Categorical(["adamw_torch", "adamw_troch"])}, {}, "did you mean 'adamw_torch'?"),
            ({}, {"learning_rate.peak": hp.Float(0.0, 1.0)}, {}, "learning_rate is not a dict field"),
            ({"eval_dataset": None}, LR, {}, "eval_dataset: is required"),
            ({"train_dataset": None}, LR, {}, "train_dataset: is required"),
            ({}, LR, {"direction": ["minimize"] * 2}, "compute_objective: is required for 2 directions"),
        ],
    )
    def test_unusable_search_raises_before_the_first_trial(
        self, make_trainer, run_hpcompat, trainer, space, options, message
    ):
        no_evaluation = {"eval_strategy": "no"} if "eval_dataset" in trainer else {}
        searched = make_trainer(trainer=trainer, **no_evaluation)
        model = searched.model
        with pytest.raises(hp.SearchError) as refusal:
            run_hpcompat(searched, space, **options)
        assert message in str(refusal.value)
        assert searched.model is model

    def test_pruner_without_evaluations_raises(self, make_trainer, run_hpcompat):
        with pytest.raises(hp.SearchError, match="pruner: needs evaluations during training"):
            run_hpcompat(make_trainer(eval_strategy="no"), LR, pruner="median")

    def test_trainer_can_be_used_after_the_error(self, make_trainer, run_hpcompat):
        trainer = make_trainer()
        with pytest.raises(hp.SearchError):
            run_hpcompat(trainer, {"lr": hp.Float(0.1, 1.0)})
        trainer.train()
        assert "eval_loss" in trainer.evaluate()
