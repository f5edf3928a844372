"""Searches over a function: returned values, failures, pruning, and functions that create Trainers."""

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

import hpcompat as hp
from tests.helpers.trainers import Net, list_remaining

X = {"x": hp.Float(0.0, 4.0)}


def parabola(trial):
    return (trial["x"] - 1) ** 2


def fail(error):
    raise error


class TestFailedTrial:
    @pytest.mark.parametrize(
        ("call", "cause"),
        [
            (lambda: fail(RuntimeError("CUDA error")), "RuntimeError: CUDA error"),
            (lambda: fail(MemoryError()), "MemoryError"),
            (lambda: bytearray(2**62), "MemoryError"),
            (lambda: math.nan, "ValueError: the objective is nan"),
            (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
            (
                lambda: fail(hp.SearchError("an inner search failed")),
                "hpcompat.errors.SearchError: an inner search failed",
            ),
        ],
    )
    def test_failed_trial_has_its_cause_and_the_search_continues(self, run_hpcompat, call, cause):
        result = run_hpcompat(lambda trial: call() if trial.number in (1, 3) else parabola(trial), X, n_trials=5)
        states = ["COMPLETE", "FAILED", "COMPLETE", "FAILED", "COMPLETE"]
        assert [trial.state for trial in result.trials] == states
        failed = result.trials[1]
        assert failed.values is None
        assert failed.cause == cause
        assert [trial.state.name for trial in result.native.trials] == [s.replace("ED", "") for s in states]
        assert result.native.trials[1].user_attrs["hpcompat: error"].startswith(cause)
        assert "1: " in str(result) or "FAILED" in str(result)

    def test_failed_trial_has_its_traceback(self, run_hpcompat):
        result = run_hpcompat(lambda trial: fail(OSError("x")) if trial.number else 1.0, X, n_trials=2)
        assert "in fail" in result.trials[1].error
        assert result.trials[0].error is None

    def test_failed_trial_holds_no_reference_to_its_frame(self, run_hpcompat):
        class Large:
            pass

        references = []

        def fail_after_first(trial):
            large = Large()
            references.append(weakref.ref(large))
            if trial.number:
                raise ValueError("its traceback refers to this frame")
            return 1.0

        run_hpcompat(fail_after_first, X, n_trials=3, callbacks=[lambda trial: gc.collect() and None])
        assert [reference() for reference in references] == [None] * 3


def learning_curve(trial):
    for step in range(1, 6):
        trial.report(trial["x"] * step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return trial["x"]


class TestPruner:
    def test_pruner_prunes_as_in_optuna(self, run_hpcompat):
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
        result = run_hpcompat(learning_curve, X, n_trials=12, pruner=optuna.pruners.MedianPruner(n_startup_trials=2))

        assert [trial.state for trial in result.trials] == [trial.state.name for trial in study.trials]
        assert {"PRUNED", "COMPLETE"} == {trial.state for trial in result.trials}
        assert [trial.value for trial in result.trials] == [trial.value for trial in study.trials]
        assert [dict(t.intermediate_values) for t in result.trials] == [t.intermediate_values for t in study.trials]

    @pytest.mark.parametrize("pruner", ["median", "hyperband", "asha"])
    def test_pruner_by_name_is_deterministic(self, run_hpcompat, pruner):
        first, second = (run_hpcompat(learning_curve, X, n_trials=25, pruner=pruner).trials for _ in range(2))
        assert [trial.state for trial in first] == [trial.state for trial in second]
        assert "PRUNED" in {trial.state for trial in first}

    def test_no_pruner_prunes_nothing(self, run_hpcompat):
        assert {trial.state for trial in run_hpcompat(learning_curve, X, n_trials=25).trials} == {"COMPLETE"}

    def test_none_after_should_prune_is_pruned(self, run_hpcompat):
        def curve(trial):
            trial.report(trial["x"], 1)
            return None if trial.should_prune() else trial["x"]

        result = run_hpcompat(curve, X, n_trials=20, pruner="median")
        assert {trial.state for trial in result.trials} == {"COMPLETE", "PRUNED"}

    def test_nan_report_is_pruned_without_a_value(self, run_hpcompat):
        def curve(trial):
            trial.report(math.nan if trial.number == 9 else 1.0, 1)
            if trial.should_prune():
                raise optuna.TrialPruned
            return 1.0

        pruned = run_hpcompat(curve, X, n_trials=10, pruner="median").trials[9]
        assert (pruned.state, pruned.values) == ("PRUNED", None)


class TestReturnedValue:
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
    def test_number_or_metrics_give_a_float(self, run_hpcompat, returned, value):
        trial = run_hpcompat(lambda trial: returned, X, n_trials=1).best
        assert (trial.values, type(trial.value)) == ((value,), float)

    @pytest.mark.parametrize(
        ("returned", "cause"),
        [
            (None, "TypeError: the function returned None"),
            ("0.5", "TypeError: expected a number as the objective, got '0.5'"),
            (math.nan, "ValueError: the objective is nan"),
            ([1.0, 2.0], "ValueError: expected 1 value for 1 direction, got 2: (1.0, 2.0); pass direction=[…]"),
            (np.ones(2), "ValueError: expected 1 value for 1 direction, got 2"),
            (np.ones((2, 2)), "TypeError: expected a number as the objective"),
        ],
    )
    def test_other_value_fails_the_trial(self, run_hpcompat, returned, cause):
        with pytest.raises(hp.SearchError, match="all 2 trials failed") as failure:
            run_hpcompat(lambda trial: returned, X, n_trials=2)
        assert failure.value.issues[0].message.startswith(cause)

    def test_compute_objective_takes_the_metrics(self, run_hpcompat):
        def metrics(trial):
            return {"a": trial["x"], "b": 1.0, "c": 2.0}

        result = run_hpcompat(metrics, X, n_trials=2, compute_objective=lambda metrics: metrics["a"])
        assert result.best.value == result.best.params["x"]
        with pytest.raises(hp.SearchError, match="which metric"):
            run_hpcompat(metrics, X, n_trials=2)

    @pytest.mark.parametrize("values", [np.array([1.0, 2.0]), torch.tensor([1.0, 2.0]), (1.0, 2.0)])
    def test_array_gives_a_value_for_each_direction(self, run_hpcompat, values):
        result = run_hpcompat(lambda trial: values, X, n_trials=1, direction=["minimize", "maximize"])
        assert result.trials[0].values == (1.0, 2.0)


class TestSearch:
    @pytest.mark.parametrize("after", [1, 3])
    def test_ctrl_c_returns_the_finished_trials(self, run_hpcompat, after):
        def interrupt(trial):
            if trial.number == after:
                signal.raise_signal(signal.SIGINT)
            return parabola(trial)

        result = run_hpcompat(interrupt, X, n_trials=9)
        assert result.interrupted
        assert len(result.trials) == after
        assert "interrupted" in repr(result)
        assert result.best.value == min(trial.value for trial in result.trials)

    def test_different_seeds_give_different_trials(self, run_hpcompat):
        searches = [run_hpcompat(parabola, X, n_trials=3, seed=seed).trials for seed in (1, 2, -1, 2**40)]
        assert len({trial.value for trials in searches for trial in trials}) == 12

    @pytest.mark.parametrize(
        ("returned", "n_trials"), [(True, 1), (np.True_, 1), (torch.tensor(True), 1), (1, 3), (None, 3)]
    )
    def test_callback_that_returns_true_ends_the_search(self, run_hpcompat, returned, n_trials):
        result = run_hpcompat(parabola, X, n_trials=np.int64(3), callbacks=[lambda trial: returned])
        assert len(result.trials) == n_trials


class TestFunctionThatCreatesTrainers:
    def test_trials_equal_those_of_model_init(self, make_trainer, run_hpcompat, tmp_path):
        args = hp.with_params(make_trainer(save_strategy="epoch").args, {"seed": 3})
        models, alive_counts = [], []

        def create(trial):
            alive_counts.append(sum(model() is not None for model in models))
            trainer = make_trainer(trainer={"args": hp.with_params(args, trial)})
            models.append(weakref.ref(trainer.model))
            return trainer

        space = {
            "learning_rate": hp.Float(1e-3, 1e-1, log=True),
            "per_device_train_batch_size": hp.Categorical([8, 16]),
        }
        result = run_hpcompat(create, space, n_trials=4, keep="all")

        expected = run_hpcompat(make_trainer(seed=3), space, n_trials=4)
        assert [trial.value for trial in result.trials] == [trial.value for trial in expected.trials]
        assert alive_counts == [0] * 4
        assert list_remaining(args.output_dir) == [f"run-{number}" for number in range(4)]
        assert all(os.path.dirname(trial.checkpoint) == trial.directory for trial in result.trials)
        assert args.output_dir == str(tmp_path / "out")

    def test_trainers_without_model_init_are_pruned(self, make_trainer, run_hpcompat):
        def create(trial):
            torch.manual_seed(0)
            arguments = make_trainer(num_train_epochs=3).args
            model = {"model_init": None, "model": Net(trial["width"])}
            return make_trainer(trainer={"args": hp.with_params(arguments, {"learning_rate": trial["lr"]}), **model})

        space = {"lr": hp.Float(1e-4, 1e-1, log=True), "width": hp.Int(2, 8)}
        result = run_hpcompat(create, space, n_trials=10, pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
        assert {trial.state for trial in result.trials} == {"COMPLETE", "PRUNED"}
        assert all(len(trial.intermediate_values) == 3 for trial in result.trials if trial.state == "COMPLETE")
