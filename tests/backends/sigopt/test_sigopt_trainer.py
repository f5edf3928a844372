"""Searches over a Trainer on SigOpt, which replace transformers' own SigOpt search, dropped in version 5."""

from __future__ import annotations

import math
import os

import pytest

import hpcompat as hp
from tests.helpers.trainers import Net, list_remaining

OPTIONS = {"progress": False, "seed": 0}


def hp_space(trial):
    """Return a search space as for SigOpt in transformers 4.57."""
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
def migrated_search(create_any_trainer, tmp_path_factory):
    """Search as in transformers 4.57; returns the best run, id, assignments and arguments of the trials, and files."""
    received = []

    def model_init(trial):
        if trial is None:  # when the Trainer is created
            return Net()
        applied = {name: getattr(trainer.args, name) for name in trial.assignments if name != "width"}
        received.append((trial.id, dict(trial.assignments), applied))
        return Net(trial.assignments["width"])

    output_dir = tmp_path_factory.mktemp("migrated")
    trainer = create_any_trainer(model_init, output_dir=str(output_dir), save_strategy="epoch")
    best = hp.hyperparameter_search(trainer, hp_space, n_trials=4, backend="sigopt", keep="all", **OPTIONS)
    return best, received, list_remaining(str(output_dir))


def hp_space_of_lr(trial):
    return hp_space(trial)[:1]


class TestMigration:
    def test_hyperparameter_search_works_as_in_transformers_4_57(self, migrated_search):
        best, received, directories = migrated_search
        trials = best.run_summary.trials
        assert [trial.state for trial in trials] == ["COMPLETE"] * 4
        assert [(str(trial.number), trial.params) for trial in trials] == [
            (name, params) for name, params, _ in received
        ]
        assert best.objective == min(trial.value for trial in trials)
        assert best.hyperparameters == trials[int(best.run_id)].params
        assert directories == ["run-0", "run-1", "run-2", "run-3"]

    def test_string_values_keep_their_type(self, migrated_search):
        _, received, _ = migrated_search
        for _, params, applied in received:
            # the string of the space is converted to the declared type of the field, bool
            expected = {name: params[name] for name in applied}
            assert expected | {"dataloader_drop_last": expected["dataloader_drop_last"] == "True"} == applied
            types = {name: type(value) for name, value in params.items()}
            assert types == {
                "learning_rate": float,
                "num_train_epochs": int,
                "per_device_train_batch_size": int,
                "lr_scheduler_type": str,  # transformers 4.57 raised in int("linear")
                "dataloader_drop_last": str,
                "width": int,
            }

    def test_best_hyperparameters_keep_their_type(self, migrated_search):
        assert migrated_search[0].hyperparameters["per_device_train_batch_size"] in (8, 16)

    def test_false_stays_false(self, migrated_search):
        assert {applied["dataloader_drop_last"] for _, _, applied in migrated_search[1]} == {True, False}

    def test_no_project_is_needed(self, migrated_search):
        assert migrated_search[0].run_summary.native.project is None

    def test_unknown_keyword_raises(self, make_trainer):
        with pytest.raises(hp.BackendError, match="metric: unknown option"):
            hp.hyperparameter_search(make_trainer(), hp_space_of_lr, backend="sigopt", metric="eval_loss", **OPTIONS)
        options = {"name": "mine", "backend": "sigopt", "n_trials": 1, **OPTIONS}
        best = hp.hyperparameter_search(make_trainer(), hp_space_of_lr, **options)
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
        best = hp.hyperparameter_search(trainer, hp_space_of_lr, objective, n_trials=4, backend="sigopt", **OPTIONS)
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
            **OPTIONS,
        )
        (best,) = runs
        assert best.objective == list(min(trial.values for trial in best.run_summary.trials))


class TestTrainerFunction:
    def test_function_that_creates_a_trainer_is_searched(self, make_trainer, run_hpcompat):
        def function(trial):
            arguments = {"learning_rate": trial["learning_rate"], "save_strategy": "epoch"}
            return make_trainer(lambda: Net(trial["width"]), **arguments)

        space = {"learning_rate": hp.Float(1e-3, 1e-1, log=True), "width": hp.Int(2, 8)}
        result = run_hpcompat(function, space, n_trials=3)
        expected = run_hpcompat(make_trainer(lambda trial: Net(trial["width"] if trial else 2)), space, n_trials=3)
        assert [trial.value for trial in result.trials] == [trial.value for trial in expected.trials]
        assert os.path.dirname(result.best.checkpoint) == result.best.directory
