"""A Trainer searched on SigOpt, and the place of transformers' own SigOpt search, that version 5 has dropped.

Each test of a fault names what transformers 4.57 did.
"""

from __future__ import annotations

import math
import os

import pytest

import hpcompat as hp
from tests.helpers.trainers import Net, list_remaining

SILENT = {"progress": False, "seed": 0}


def hp_space(trial):
    """A search space as transformers 4.57 had it for SigOpt."""
    return [
        {
            "bounds": {"min": 1e-3, "max": 1e-1},
            "name": "learning_rate",
            "type": "double",
            "transformation": "log",
        },
        {"bounds": {"min": 1, "max": 2}, "name": "num_train_epochs", "type": "int"},
        {"categorical_values": ["8", "16"], "name": "per_device_train_batch_size", "type": "categorical"},
        {"categorical_values": ["linear", "cosine"], "name": "lr_scheduler_type", "type": "categorical"},
        {"categorical_values": ["True", "False"], "name": "dataloader_drop_last", "type": "categorical"},
        {"grid": [2, 4, 8], "name": "width", "type": "int"},
    ]


@pytest.fixture(scope="module")
def migrated(any_trainer, tmp_path_factory):
    """A search as a user of transformers 4.57 called it, and what its trials saw: id, assignments, arguments."""
    seen = []

    def model_init(trial):
        if trial is None:  # as the Trainer is made
            return Net()
        applied = {name: getattr(trainer.args, name) for name in trial.assignments if name != "width"}
        seen.append((trial.id, dict(trial.assignments), applied))
        return Net(trial.assignments["width"])

    output_dir = tmp_path_factory.mktemp("migrated")
    trainer = any_trainer(model_init, output_dir=str(output_dir), save_strategy="epoch")
    best = hp.hyperparameter_search(trainer, hp_space, n_trials=4, backend="sigopt", keep="all", **SILENT)
    return best, seen, list_remaining(str(output_dir))


def hp_space_of_lr(trial):
    return hp_space(trial)[:1]


class TestMigration:
    def test_hyperparameter_search_works_as_in_transformers_4_57(self, migrated):
        best, seen, directories = migrated
        trials = best.run_summary.trials
        assert [trial.state for trial in trials] == ["COMPLETE"] * 4
        assert [(str(trial.number), trial.params) for trial in trials] == [(name, params) for name, params, _ in seen]
        assert best.objective == min(trial.value for trial in trials)
        assert best.hyperparameters == trials[int(best.run_id)].params
        assert directories == ["run-0", "run-1", "run-2", "run-3"]

    def test_string_values_keep_their_type(self, migrated):
        _, seen, _ = migrated
        for _, params, applied in seen:
            # the string that the space holds is the bool that the field declares
            drawn = {name: params[name] for name in applied}
            assert drawn | {"dataloader_drop_last": drawn["dataloader_drop_last"] == "True"} == applied
            kinds = {name: type(value) for name, value in params.items()}
            assert kinds == {
                "learning_rate": float,
                "num_train_epochs": int,
                "per_device_train_batch_size": int,
                "lr_scheduler_type": str,  # int("linear") raised
                "dataloader_drop_last": str,
                "width": int,
            }

    def test_best_hyperparameters_keep_their_type(self, migrated):
        assert migrated[0].hyperparameters["per_device_train_batch_size"] in (8, 16)

    def test_false_stays_false(self, migrated):
        assert {applied["dataloader_drop_last"] for _, _, applied in migrated[1]} == {True, False}

    def test_no_project_is_needed(self, migrated):
        assert migrated[0].run_summary.native.project is None

    def test_unknown_keyword_raises(self, make_trainer):
        with pytest.raises(hp.BackendError, match="metric: unknown option"):
            hp.hyperparameter_search(make_trainer(), hp_space_of_lr, backend="sigopt", metric="eval_loss", **SILENT)
        named = {"name": "mine", "backend": "sigopt", "n_trials": 1, **SILENT}
        best = hp.hyperparameter_search(make_trainer(), hp_space_of_lr, **named)
        assert best.run_summary.native.name == "mine"

    def test_exception_or_nan_fails_one_trial(self, make_trainer):
        def model_init(trial):
            if trial is not None and trial.number == 1:
                raise MemoryError
            return Net()

        def objective(metrics):
            return math.nan if next(evaluations) == 1 else metrics["eval_loss"]

        evaluations = iter(range(9))
        trainer = make_trainer(model_init)
        best = hp.hyperparameter_search(trainer, hp_space_of_lr, objective, n_trials=4, backend="sigopt", **SILENT)
        trials = best.run_summary.trials
        assert [trial.state for trial in trials] == ["COMPLETE", "FAILED", "FAILED", "COMPLETE"]
        assert [trial.cause for trial in trials[1:3]] == ["MemoryError", "ValueError: the objective is nan"]

    def test_list_of_directions_gives_pareto_front(self, make_trainer):
        runs = hp.hyperparameter_search(
            make_trainer(),
            hp_space_of_lr,
            lambda metrics: [metrics["eval_loss"], metrics["eval_loss"] ** 2],
            n_trials=3,
            direction=["minimize", "minimize"],
            backend="sigopt",
            **SILENT,
        )
        (best,) = runs
        assert best.objective == list(min(trial.values for trial in best.run_summary.trials))


class TestTrainerFunction:
    def test_function_that_makes_a_trainer_is_searched(self, make_trainer, run_hpcompat):
        def function(trial):
            arguments = {"learning_rate": trial["learning_rate"], "save_strategy": "epoch"}
            return make_trainer(lambda: Net(trial["width"]), **arguments)

        space = {"learning_rate": hp.Float(1e-3, 1e-1, log=True), "width": hp.Int(2, 8)}
        result = run_hpcompat(function, space, n_trials=3)
        by_model_init = run_hpcompat(make_trainer(lambda trial: Net(trial["width"] if trial else 2)), space, n_trials=3)
        assert [trial.value for trial in result.trials] == [trial.value for trial in by_model_init.trials]
        assert os.path.dirname(result.best.checkpoint) == result.best.directory
