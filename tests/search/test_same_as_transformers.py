"""Where transformers is right, the same Trainer gives the same numbers here, to the last bit."""

from __future__ import annotations

import inspect

import optuna
import pytest
from tiny import Net, accuracy, bert
from transformers import Trainer

import hpcompat as hp

SPACE = hp.SearchSpace(
    {
        "learning_rate": hp.Float(1e-4, 1e-1, log=True),
        "num_train_epochs": hp.Int(1, 3),
        "per_device_train_batch_size": hp.Categorical([8, 16, 32]),
        "weight_decay": hp.Float(0.0, 0.3),
    }
)
TO_STATE = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAIL": "FAILED"}


@pytest.mark.parametrize("tokens", [False, True], ids=["net", "bert"])
def test_eight_trials_of_one_seed_have_the_same_objectives(make_trainer, theirs, ours, tokens):
    model = {"model_init": bert, "tokens": True} if tokens else {}
    their = theirs(
        make_trainer(**model),
        hp.to_optuna(SPACE),
        n_trials=8,
        sampler=optuna.samplers.TPESampler(seed=3),
        pruner=optuna.pruners.NopPruner(),
    )
    our = ours(make_trainer(**model), SPACE, n_trials=8, seed=3)

    assert [trial.value for trial in our.trials] == [trial.value for trial in their.trials]
    assert [trial.params for trial in our.trials] == [trial.params for trial in their.trials]
    assert len({trial.value for trial in our.trials}) == 8


def test_the_median_pruner_prunes_the_same_trials_at_the_same_step(make_trainer, theirs, ours):
    space = SPACE | {"num_train_epochs": hp.Constant(4)}
    pruner = {"n_startup_trials": 2, "n_warmup_steps": 1}
    their = theirs(
        make_trainer(),
        hp.to_optuna(space),
        n_trials=10,
        sampler=optuna.samplers.TPESampler(seed=5),
        pruner=optuna.pruners.MedianPruner(**pruner),
    )
    our = ours(make_trainer(), space, n_trials=10, seed=5, pruner=optuna.pruners.MedianPruner(**pruner))

    assert [trial.state for trial in our.trials] == [TO_STATE[trial.state.name] for trial in their.trials]
    assert {trial.state for trial in our.trials} == {"COMPLETE", "PRUNED"}
    assert [trial.value for trial in our.trials] == [trial.value for trial in their.trials]
    assert [dict(t.intermediate_values) for t in our.trials] == [t.intermediate_values for t in their.trials]
    assert [trial.state for trial in our.native.trials] == [trial.state for trial in their.trials]


def test_the_objective_is_the_accuracy_where_that_is_the_only_metric(make_trainer, theirs, ours):
    def trainer():
        return make_trainer(trainer={"compute_metrics": accuracy})

    sampler = {"sampler": optuna.samplers.TPESampler(seed=1), "pruner": optuna.pruners.NopPruner()}
    their = theirs(trainer(), hp.to_optuna(SPACE), n_trials=3, direction="maximize", **sampler)
    our = ours(trainer(), SPACE, n_trials=3, direction="maximize", seed=1)

    assert [trial.value for trial in our.trials] == [trial.value for trial in their.trials]
    assert our.best.value == their.best_value <= 1


def test_hyperparameter_search_is_transformers_own_with_the_trainer_first(make_trainer):
    arguments = {
        "hp_space": hp.to_optuna(SPACE),
        "n_trials": 3,
        "compute_objective": lambda metrics: metrics["eval_loss"],
        "hp_name": lambda trial: f"digits-{trial.number}",
        "backend": "optuna",
    }
    their = make_trainer().hyperparameter_search(**arguments, sampler=optuna.samplers.TPESampler(seed=3))
    our = hp.hyperparameter_search(make_trainer(), **arguments, seed=3, progress=False)

    assert type(our) is type(their)
    assert our[:3] == their[:3]
    assert len(our.run_summary.trials) == 3


def test_hyperparameter_search_has_the_signature_of_transformers():
    theirs, ours = map(inspect.signature, (Trainer.hyperparameter_search, hp.hyperparameter_search))
    assert list(ours.parameters)[1:] == list(theirs.parameters)[1:]
    taken = {name: each.default for name, each in ours.parameters.items()}
    assert taken["direction"] == theirs.parameters["direction"].default == "minimize"
    assert taken["n_trials"] == theirs.parameters["n_trials"].default


def test_hyperparameter_search_without_arguments_searches_transformers_default_space(make_trainer):
    best = hp.hyperparameter_search(make_trainer(), n_trials=1, progress=False)
    assert set(best.hyperparameters) == {
        "learning_rate",
        "num_train_epochs",
        "seed",
        "per_device_train_batch_size",
    }


def test_hyperparameter_search_with_several_directions_returns_the_front(make_trainer):
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


def test_a_model_init_may_suggest_for_itself(make_trainer):
    def model_init(trial):
        return Net(trial.suggest_int("width", 4, 8) if trial is not None else 4)

    def hp_name(trial):
        return f"width-{trial.params['width']}"

    best = hp.hyperparameter_search(make_trainer(model_init), {}, n_trials=3, hp_name=hp_name, seed=0, progress=False)
    assert list(best.hyperparameters) == ["width"]
    assert 4 <= best.hyperparameters["width"] <= 8
