"""The same Trainer gives bit-identical results in hpcompat and transformers, where transformers is right."""

from __future__ import annotations

import inspect

import optuna
import pytest
from transformers import Trainer

import hpcompat as hp
from tests.helpers.trainers import Net, compute_accuracy, create_bert

SPACE = hp.SearchSpace(
    {
        "learning_rate": hp.Float(1e-4, 1e-1, log=True),
        "num_train_epochs": hp.Int(1, 3),
        "per_device_train_batch_size": hp.Categorical([8, 16, 32]),
        "weight_decay": hp.Float(0.0, 0.3),
    }
)
TO_STATE = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAIL": "FAILED"}


class TestSameTrials:
    @pytest.mark.parametrize("tokens", [False, True], ids=["net", "bert"])
    def test_eight_trials_of_one_seed_have_same_objectives(self, make_trainer, run_transformers, run_hpcompat, tokens):
        model = {"model_init": create_bert, "tokens": True} if tokens else {}
        expected = run_transformers(
            make_trainer(**model),
            hp.to_optuna(SPACE),
            n_trials=8,
            sampler=optuna.samplers.TPESampler(seed=3),
            pruner=optuna.pruners.NopPruner(),
        )
        result = run_hpcompat(make_trainer(**model), SPACE, n_trials=8, seed=3)

        assert [trial.value for trial in result.trials] == [trial.value for trial in expected.trials]
        assert [trial.params for trial in result.trials] == [trial.params for trial in expected.trials]
        assert len({trial.value for trial in result.trials}) == 8

    def test_median_pruner_prunes_same_trials_at_same_step(self, make_trainer, run_transformers, run_hpcompat):
        space = SPACE | {"num_train_epochs": hp.Constant(4)}
        pruner = {"n_startup_trials": 2, "n_warmup_steps": 1}
        expected = run_transformers(
            make_trainer(),
            hp.to_optuna(space),
            n_trials=10,
            sampler=optuna.samplers.TPESampler(seed=5),
            pruner=optuna.pruners.MedianPruner(**pruner),
        )
        result = run_hpcompat(make_trainer(), space, n_trials=10, seed=5, pruner=optuna.pruners.MedianPruner(**pruner))

        assert [trial.state for trial in result.trials] == [TO_STATE[trial.state.name] for trial in expected.trials]
        assert {trial.state for trial in result.trials} == {"COMPLETE", "PRUNED"}
        assert [trial.value for trial in result.trials] == [trial.value for trial in expected.trials]
        assert [dict(t.intermediate_values) for t in result.trials] == [t.intermediate_values for t in expected.trials]
        assert [trial.state for trial in result.native.trials] == [trial.state for trial in expected.trials]

    def test_accuracy_as_only_metric_is_objective(self, make_trainer, run_transformers, run_hpcompat):
        def trainer():
            return make_trainer(trainer={"compute_metrics": compute_accuracy})

        sampler = {"sampler": optuna.samplers.TPESampler(seed=1), "pruner": optuna.pruners.NopPruner()}
        expected = run_transformers(trainer(), hp.to_optuna(SPACE), n_trials=3, direction="maximize", **sampler)
        result = run_hpcompat(trainer(), SPACE, n_trials=3, direction="maximize", seed=1)

        assert [trial.value for trial in result.trials] == [trial.value for trial in expected.trials]
        assert result.best.value == expected.best_value <= 1


class TestHyperparameterSearch:
    def test_function_and_method_give_same_best_run(self, make_trainer):
        arguments = {
            "hp_space": hp.to_optuna(SPACE),
            "n_trials": 3,
            "compute_objective": lambda metrics: metrics["eval_loss"],
            "hp_name": lambda trial: f"digits-{trial.number}",
            "backend": "optuna",
        }
        expected = make_trainer().hyperparameter_search(**arguments, sampler=optuna.samplers.TPESampler(seed=3))
        result = hp.hyperparameter_search(make_trainer(), **arguments, seed=3, progress=False)

        assert type(result) is type(expected)
        assert result[:3] == expected[:3]
        assert len(result.run_summary.trials) == 3

    def test_signature_is_that_of_transformers(self):
        original, signature = map(inspect.signature, (Trainer.hyperparameter_search, hp.hyperparameter_search))
        assert list(signature.parameters)[1:] == list(original.parameters)[1:]
        defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
        assert defaults["direction"] == original.parameters["direction"].default == "minimize"
        assert defaults["n_trials"] == original.parameters["n_trials"].default

    def test_no_arguments_search_default_space(self, make_trainer):
        best = hp.hyperparameter_search(make_trainer(), n_trials=1, progress=False)
        assert set(best.hyperparameters) == {
            "learning_rate",
            "num_train_epochs",
            "seed",
            "per_device_train_batch_size",
        }

    def test_several_directions_return_pareto_front(self, make_trainer):
        runs = hp.hyperparameter_search(
            make_trainer(),
            hp.to_optuna(SPACE),
            compute_objective=lambda metrics: (metrics["eval_loss"], metrics["epoch"]),
            direction=["minimize", "minimize"],
            n_trials=4,
            seed=0,
            progress=False,
        )
        result = runs[0].run_summary
        assert [run.hyperparameters for run in runs] == [trial.params for trial in result.pareto_front]
        assert all(len(run.objective) == 2 for run in runs)

    def test_model_init_may_suggest(self, make_trainer):
        def model_init(trial):
            return Net(trial.suggest_int("width", 4, 8) if trial is not None else 4)

        def hp_name(trial):
            return f"width-{trial.params['width']}"

        best = hp.hyperparameter_search(
            make_trainer(model_init), {}, n_trials=3, hp_name=hp_name, seed=0, progress=False
        )
        assert list(best.hyperparameters) == ["width"]
        assert 4 <= best.hyperparameters["width"] <= 8
