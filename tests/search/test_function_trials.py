"""A search over a function: what it may return, how it may fail, and how it talks to the engine."""

from __future__ import annotations

import gc
import math
import os
import signal
import weakref

import numpy as np
import optuna
import pytest
import torch
from tiny import Net, left

import hpcompat as hp

X = {"x": hp.Float(0.0, 4.0)}


def parabola(trial):
    return (trial["x"] - 1) ** 2


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (3, 3.0),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (torch.tensor(0.5), 0.5),
        ([0.5], 0.5),
        ({"eval_loss": 0.5, "eval_runtime": 9.0}, 0.5),
        ({"loss": 0.5, "accuracy": 0.75}, 0.75),
        (math.inf, math.inf),
    ],
)
def test_a_function_returns_a_number_or_metrics(ours, returned, value):
    trial = ours(lambda trial: returned, X, n_trials=1).best
    assert (trial.values, type(trial.value)) == ((value,), float)


@pytest.mark.parametrize(
    ("returned", "cause"),
    [
        (None, "TypeError: the function returned None"),
        ("0.5", "TypeError: the objective is no number: '0.5'"),
        (math.nan, "ValueError: the objective is nan"),
        ([1.0, 2.0], "ValueError: 2 values for 1 direction: (1.0, 2.0) (direction=[…] names"),
        (np.ones(2), "ValueError: 2 values for 1 direction"),
        (np.ones((2, 2)), "TypeError: the objective is no number"),
    ],
)
def test_what_is_no_objective_fails_the_trial(ours, returned, cause):
    with pytest.raises(hp.SearchError, match="all 2 trials failed") as failure:
        ours(lambda trial: returned, X, n_trials=2)
    assert failure.value.issues[0].message.startswith(cause)


def boom(kind):
    raise kind


@pytest.mark.parametrize(
    ("issue", "cause"),
    [
        (lambda: boom(RuntimeError("CUDA error")), "RuntimeError: CUDA error"),
        (lambda: boom(MemoryError()), "MemoryError"),
        (lambda: bytearray(2**62), "MemoryError"),
        (lambda: math.nan, "ValueError: the objective is nan"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (
            lambda: boom(hp.SearchError("an inner search failed")),
            "hpcompat.errors.SearchError: an inner search failed",
        ),
    ],
)
def test_a_failed_trial_has_its_cause_and_the_search_goes_on(ours, issue, cause):
    result = ours(lambda trial: issue() if trial.number in (1, 3) else parabola(trial), X, n_trials=5)
    states = ["COMPLETE", "FAILED", "COMPLETE", "FAILED", "COMPLETE"]
    assert [trial.state for trial in result.trials] == states
    failed = result.trials[1]
    assert failed.values is None
    assert failed.cause == cause
    assert [trial.state.name for trial in result.native.trials] == [s.replace("ED", "") for s in states]
    assert result.native.trials[1].user_attrs["hpcompat: error"].startswith(cause)
    assert "1: " in str(result) or "FAILED" in str(result)


def test_the_traceback_of_a_failure_is_kept(ours):
    result = ours(lambda trial: boom(OSError("x")) if trial.number else 1.0, X, n_trials=2)
    assert "in boom" in result.trials[1].error
    assert result.trials[0].error is None


def test_a_failure_keeps_nothing_alive(ours):
    class Large:
        pass

    kept = []

    def fail(trial):
        large = Large()
        kept.append(weakref.ref(large))
        if trial.number:
            raise ValueError("with the frame in its traceback")
        return 1.0

    ours(fail, X, n_trials=3, callbacks=[lambda trial: gc.collect() and None])
    assert [reference() for reference in kept] == [None] * 3


@pytest.mark.parametrize("after", [1, 3])
def test_ctrl_c_returns_what_is_finished(ours, after):
    def interrupted(trial):
        if trial.number == after:
            signal.raise_signal(signal.SIGINT)
        return parabola(trial)

    result = ours(interrupted, X, n_trials=9)
    assert result.interrupted
    assert len(result.trials) == after
    assert "interrupted" in repr(result)
    assert result.best.value == min(trial.value for trial in result.trials)


def test_different_seeds_give_different_trials(ours):
    drawn = [ours(parabola, X, n_trials=3, seed=seed).trials for seed in (1, 2, -1, 2**40)]
    assert len({trial.value for trials in drawn for trial in trials}) == 12


def test_metrics_and_compute_objective(ours):
    def metrics(trial):
        return {"a": trial["x"], "b": 1.0, "c": 2.0}

    result = ours(metrics, X, n_trials=2, compute_objective=lambda metrics: metrics["a"])
    assert result.best.value == result.best.params["x"]
    with pytest.raises(hp.SearchError, match="which metric"):
        ours(metrics, X, n_trials=2)


def learning_curve(trial):
    for step in range(1, 6):
        trial.report(trial["x"] * step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return trial["x"]


def test_pruning_is_that_of_optuna(ours):
    def native(trial):
        x = trial.suggest_float("x", 0.0, 4.0)
        for step in range(1, 6):
            trial.report(x * step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner(n_startup_trials=2)
    )
    study.optimize(native, n_trials=12)
    result = ours(learning_curve, X, n_trials=12, pruner=optuna.pruners.MedianPruner(n_startup_trials=2))

    assert [trial.state for trial in result.trials] == [trial.state.name for trial in study.trials]
    assert {"PRUNED", "COMPLETE"} == {trial.state for trial in result.trials}
    assert [trial.value for trial in result.trials] == [trial.value for trial in study.trials]
    assert [dict(t.intermediate_values) for t in result.trials] == [t.intermediate_values for t in study.trials]


@pytest.mark.parametrize("pruner", ["median", "hyperband", "asha"])
def test_pruners_by_name_prune_the_same_twice(ours, pruner):
    one, other = (ours(learning_curve, X, n_trials=25, pruner=pruner).trials for _ in range(2))
    assert [trial.state for trial in one] == [trial.state for trial in other]
    assert "PRUNED" in {trial.state for trial in one}


def test_without_a_pruner_nothing_is_pruned(ours):
    assert {trial.state for trial in ours(learning_curve, X, n_trials=25).trials} == {"COMPLETE"}


def test_returning_nothing_after_should_prune_is_pruned(ours):
    def curve(trial):
        trial.report(trial["x"], 1)
        return None if trial.should_prune() else trial["x"]

    result = ours(curve, X, n_trials=20, pruner="median")
    assert {trial.state for trial in result.trials} == {"COMPLETE", "PRUNED"}


def test_a_nan_report_prunes_and_has_no_value(ours):
    def curve(trial):
        trial.report(math.nan if trial.number == 9 else 1.0, 1)
        if trial.should_prune():
            raise optuna.TrialPruned
        return 1.0

    pruned = ours(curve, X, n_trials=10, pruner="median").trials[9]
    assert (pruned.state, pruned.values) == ("PRUNED", None)


def test_a_function_that_makes_trainers(make_trainer, ours, tmp_path):
    args = hp.with_params(make_trainer(save_strategy="epoch").args, {"seed": 3})
    models, alive = [], []

    def make(trial):
        alive.append(sum(model() is not None for model in models))
        trainer = make_trainer(trainer={"args": hp.with_params(args, trial)})
        models.append(weakref.ref(trainer.model))
        return trainer

    space = {
        "learning_rate": hp.Float(1e-3, 1e-1, log=True),
        "per_device_train_batch_size": hp.Categorical([8, 16]),
    }
    result = ours(make, space, n_trials=4, keep="all")

    by_model_init = ours(make_trainer(seed=3), space, n_trials=4)
    assert [trial.value for trial in result.trials] == [trial.value for trial in by_model_init.trials]
    assert alive == [0] * 4
    assert left(args.output_dir) == [f"run-{number}" for number in range(4)]
    assert all(os.path.dirname(trial.checkpoint) == trial.directory for trial in result.trials)
    assert args.output_dir == str(tmp_path / "out")


@pytest.mark.parametrize("values", [np.array([1.0, 2.0]), torch.tensor([1.0, 2.0]), (1.0, 2.0)])
def test_an_array_has_a_value_for_each_direction(ours, values):
    result = ours(lambda trial: values, X, n_trials=1, direction=["minimize", "maximize"])
    assert result.trials[0].values == (1.0, 2.0)


@pytest.mark.parametrize(("answer", "trials"), [(True, 1), (np.True_, 1), (torch.tensor(True), 1), (1, 3), (None, 3)])
def test_only_a_callback_that_says_true_ends_the_search(ours, answer, trials):
    result = ours(parabola, X, n_trials=np.int64(3), callbacks=[lambda trial: answer])
    assert len(result.trials) == trials


def test_trainers_without_model_init_can_be_made_and_pruned(make_trainer, ours):
    def make(trial):
        torch.manual_seed(0)
        arguments = make_trainer(num_train_epochs=3).args
        model = {"model_init": None, "model": Net(trial["width"])}
        return make_trainer(trainer={"args": hp.with_params(arguments, {"learning_rate": trial["lr"]}), **model})

    space = {"lr": hp.Float(1e-4, 1e-1, log=True), "width": hp.Int(2, 8)}
    result = ours(make, space, n_trials=10, pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
    assert {trial.state for trial in result.trials} == {"COMPLETE", "PRUNED"}
    assert all(len(trial.intermediate_values) == 3 for trial in result.trials if trial.state == "COMPLETE")
