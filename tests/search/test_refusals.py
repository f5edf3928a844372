"""What cannot work is refused before the first trial, all of it at once, with the way out."""

from __future__ import annotations

import inspect
import sys

import optuna
import pytest
from tiny import Net

import hpcompat as hp
from hpcompat.backends import BACKENDS, SEARCH

X = {"x": hp.Float(0.0, 4.0)}
LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


def test_what_search_takes_is_known_to_the_backends():
    keywords = list(inspect.signature(hp.search).parameters)
    assert ["trainer", "space", *SEARCH, "options"] == keywords


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_misspelt_word_of_search_is_told_from_an_unknown_option(backend, never):
    with pytest.raises(hp.BackendError, match="did you mean 'callbacks'"):
        hp.search(never, X, backend, callback=print)


@pytest.fixture
def never():
    def function(trial):
        raise AssertionError("a trial was begun")

    return function


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "optima"}, hp.BackendError, "there is no backend 'optima'; did you mean 'optuna'?"),
        ({"backend": "hyperopt"}, hp.BackendError, "there is no backend 'hyperopt'"),
        ({"backend": ["optuna"]}, hp.BackendError, "there is no backend ['optuna']"),
        ({"direction": "minimze"}, hp.SearchError, "did you mean 'minimize'?"),
        ({"direction": ["minimize", "most"]}, hp.SearchError, "there is no 'most'"),
        ({"direction": 3}, hp.SearchError, "there is no 3"),
        ({"direction": []}, hp.SearchError, "is empty"),
        ({"n_trials": 0}, hp.SearchError, "n_trials: is 0 (give an int of at least 1)"),
        ({"n_trials": 2.0}, hp.SearchError, "n_trials: is 2.0"),
        ({"n_trials": True}, hp.SearchError, "n_trials: is True"),
        ({"timeout": 0}, hp.SearchError, "timeout: is 0"),
        ({"timeout": "60"}, hp.SearchError, "timeout: is '60'"),
        ({"seed": "1"}, hp.SearchError, "seed: is '1' (give an int, or None)"),
        ({"history": [{"x": 1.0}]}, hp.SearchError, "history: {'x': 1.0} is no Trial"),
        ({"history": 3}, hp.SearchError, "history: 3 is no Trial"),
        ({"callbacks": print}, hp.SearchError, "callbacks: is <built-in function print> (give a list"),
        ({"callbacks": [3]}, hp.SearchError, "callbacks: is [3]"),
        ({"keep": "bset"}, hp.SearchError, "did you mean 'best'?"),
        (
            {"resume": True},
            hp.SearchError,
            "resume: there is no journal to go on from (give output_dir=",
        ),
        ({"sampler": "bayse"}, hp.BackendError, "did you mean 'bayes'?"),
        ({"pruner": "medain"}, hp.BackendError, "did you mean 'median'?"),
        ({"pruner": "median", "direction": ["minimize"] * 2}, hp.BackendError, "cannot be pruned"),
        (
            {"compute_objective": 3},
            hp.SearchError,
            "compute_objective: is int (give a function, or the name of a metric)",
        ),
        ({"compute_objective": ["loss", 3]}, hp.SearchError, "compute_objective: is ['loss', 3]"),
        ({"compute_objective": ["loss", "f1"]}, hp.SearchError, "names 2 metrics for 1 direction"),
        ({"hp_name": "run"}, hp.SearchError, "hp_name: is str (give a function)"),
        ({"sampler": "grid"}, hp.BackendError, "x: Float(0.0, 4.0) has no end of values"),
        ({"n_jobs": 2}, hp.BackendError, "several processes"),
        ({"catch": (ValueError,)}, hp.BackendError, "every exception in a trial is caught"),
        ({"storgae": "sqlite://"}, hp.BackendError, "did you mean 'storage'?"),
        (
            {"history": [hp.Trial(4, {"x": 9.0}, (1.0,))]},
            hp.SearchError,
            "history: trial 4: x: 9.0 is not in",
        ),
        (
            {"history": [hp.Trial(number, {"y": 9.0}, (1.0,)) for number in (4, 5)]},
            hp.SearchError,
            "history: trials 4, 5: y: is not in the space",
        ),
        ({"history": [hp.Trial(4, {"x": 1.0}, (1.0, 2.0))]}, hp.SearchError, "2 values for 1 direction"),
        ({"sampler": optuna.samplers.RandomSampler(), "seed": 1}, hp.BackendError, "seed"),
        ({"sampler": 3}, hp.BackendError, "3 is no sampler"),
        ({"pruner": 3}, hp.BackendError, "3 is no pruner"),
    ],
)
def test_of_any_search(never, ours, options, error, message):
    with pytest.raises(error) as refusal:
        ours(never, X, **{"seed": None, **options})
    assert message in str(refusal.value)
    assert refusal.value.__class__ is error


def test_everything_at_once(never, ours):
    with pytest.raises(hp.SearchError) as refusal:
        ours(never, X, n_trials=0, keep="some", timeout=-1)
    assert [issue.path for issue in refusal.value.issues] == ["n_trials", "timeout", "keep"]


def test_the_space_where_the_function_belongs(never, ours):
    with pytest.raises(hp.SearchError, match="the space comes second"):
        ours(hp.SearchSpace(X), never)


def test_what_is_neither_a_trainer_nor_a_function(ours):
    with pytest.raises(hp.SearchError, match="trainer: is str"):
        ours("trainer", X)


def test_a_backend_that_is_not_installed(never, ours, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(hp.MissingBackendError, match=r"pip install 'hpcompat\[optuna\]'") as refusal:
        ours(never, X)
    assert isinstance(refusal.value, ImportError)


def test_a_weighted_choice_in_a_grid(never, ours):
    with pytest.raises(hp.BackendError, match=r"c: .* is weighted"):
        ours(never, {"c": hp.Categorical([1, 2], weights=[1, 2])}, sampler="grid")


def test_a_study_beside_what_makes_a_study(never, ours):
    study = optuna.create_study()
    for options in ({"sampler": "random"}, {"pruner": "median"}, {"seed": 1}, {"storage": "sqlite://"}):
        with pytest.raises(hp.BackendError, match=f"comes with its own {next(iter(options))}"):
            ours(never, X, **{"seed": None, "study": study, **options})
    with pytest.raises(hp.BackendError, match="directions"):
        ours(never, X, seed=None, study=study, direction="maximize")
    assert study.trials == []


@pytest.mark.parametrize(
    ("trainer", "space", "options", "message"),
    [
        ({"model_init": None, "model": Net()}, LR, {}, "model_init: without one every trial"),
        (
            {},
            {"lr": hp.Float(0.1, 1.0)},
            {},
            "lr: is no field of TrainingArguments, and model_init takes no argument",
        ),
        ({}, {"learning_rte": hp.Float(0.1, 1.0)}, {}, "did you mean 'learning_rate'?"),
        ({}, {"model": {"width": hp.Int(1, 4)}}, {}, "model.width: is no field"),
        ({}, {"max_steps": hp.Float(1.0, 9.0)}, {}, "max_steps: 3.96 is no int"),
        ({}, {"bf16": hp.Categorical(["yes", "no"])}, {}, "bf16: 'yes' is no bool"),
        ({}, {"learning_rate": hp.Categorical([0.1, None])}, {}, "learning_rate: None is no float"),
        ({}, {"output_dir": hp.Categorical(["a", "b"])}, {}, "output_dir: cannot be searched"),
        ({}, {"optim": hp.Categorical(["adamw_torch", "adamw_troch"])}, {}, "did you mean 'adamw_torch'?"),
        ({}, {"learning_rate.peak": hp.Float(0.0, 1.0)}, {}, "learning_rate is no dict field"),
        ({"eval_dataset": None}, LR, {}, "eval_dataset: the Trainer has none"),
        ({"train_dataset": None}, LR, {}, "train_dataset: the Trainer has none"),
        ({}, LR, {"direction": ["minimize"] * 2}, "compute_objective: 2 directions need one"),
    ],
)
def test_of_a_trainer(make_trainer, ours, trainer, space, options, message):
    no_evaluation = {"eval_strategy": "no"} if "eval_dataset" in trainer else {}
    given = make_trainer(trainer=trainer, **no_evaluation)
    model = given.model
    with pytest.raises(hp.SearchError) as refusal:
        ours(given, space, **options)
    assert message in str(refusal.value)
    assert given.model is model


def test_a_pruner_that_would_have_nothing_to_prune_by(make_trainer, ours):
    with pytest.raises(hp.SearchError, match="pruner: there is no evaluation during training"):
        ours(make_trainer(eval_strategy="no"), LR, pruner="median")


def test_an_output_dir_that_cannot_be_written(make_trainer, ours, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(hp.SearchError, match="nothing can be written to output_dir"):
        ours(make_trainer(), LR, output_dir=str(tmp_path / "file" / "below"))


def test_a_refused_trainer_can_still_be_used(make_trainer, ours):
    trainer = make_trainer()
    with pytest.raises(hp.SearchError):
        ours(trainer, {"lr": hp.Float(0.1, 1.0)})
    trainer.train()
    assert "eval_loss" in trainer.evaluate()
