"""Suggestions of W&B's sweeps engine: parameter types, methods, seeds, history and pruning."""

from __future__ import annotations

import math
import random

import numpy as np
import optuna
import pytest

import hpcompat as hp
from hpcompat.backends.wandb import LocalSweep
from tests.helpers.spaces import EVERY_TYPE, XN_SPACE, evaluate_to_every_state, parabola, with_types


def params_of(result):
    return [dict(trial.params) for trial in result.trials]


class TestGrid:
    def test_grid_of_several_parameter_types_is_enumerated(self, run_hpcompat):
        space = hp.SearchSpace(
            {
                "optim": hp.Categorical(["adamw", "sgd", "lion"]),
                "nesterov": hp.Categorical([True, False], when={"optim": "sgd"}),
                "rate": hp.Float(0.1, 0.3, step=0.1),
                "model": {"one": hp.Categorical([1, 1.0, (1,)])},
            }
        )
        result = run_hpcompat(lambda trial: trial["rate"], space, n_trials=1_000, sampler="grid")
        assert len(result.trials) == space.size == 36
        assert len({repr(trial.params) for trial in result.trials}) == 36
        assert all(space.contains(trial.params) for trial in result.trials)
        assert not result.interrupted

        first = run_hpcompat(lambda trial: trial["rate"], space, n_trials=20, sampler="grid")
        rest = run_hpcompat(lambda trial: trial["rate"], space, n_trials=1_000, sampler="grid", history=first)
        assert params_of(first) + params_of(rest) == params_of(result)

    def test_grid_too_large_to_enumerate_is_started(self, run_hpcompat):
        space = {f"n{index}": hp.Int(1, 10**9) for index in range(50)}
        result = run_hpcompat(lambda trial: trial["n0"], space, n_trials=5, sampler="grid")
        assert [trial.params["n49"] for trial in result.trials] == [1, 2, 3, 4, 5]

    def test_infinite_parameter_in_a_grid_raises(self, run_hpcompat):
        with pytest.raises(hp.TranslationError, match=r"x: .*give it a step, or use method='random'"):
            run_hpcompat(parabola, XN_SPACE, sampler="grid")


def learning_curve(trial):
    for step in range(1, 10):
        trial.report(trial["x"] + 1 / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return trial["x"]


def falling_curve(trial):
    for step in range(1, 6):
        trial.report(-trial["x"], step)
        if trial.should_prune():
            return None
    return -trial["x"]


class TestPruners:
    @pytest.mark.parametrize("sampler", ["bayes", "random", "grid"])
    def test_hyperband_pruner_prunes_worse_trials_deterministically(self, run_hpcompat, sampler):
        space = {"x": hp.Float(0.0, 4.0, step=0.25)}
        first, second = (
            run_hpcompat(learning_curve, space, n_trials=12, sampler=sampler, pruner="hyperband") for _ in range(2)
        )
        assert [(t.state, t.values) for t in first.trials] == [(t.state, t.values) for t in second.trials]
        pruned = [trial for trial in first.trials if trial.state == "PRUNED"]
        assert pruned
        assert {len(trial.intermediate_values) for trial in pruned} <= {
            2,
            4,
        }  # one report after the bands at steps 1 and 3
        assert all(trial.value == trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned)
        assert first.best.value < min(trial.params["x"] for trial in pruned)
        assert first.native.config["early_terminate"] == {"type": "hyperband", "min_iter": 1}

    def test_early_terminate_as_pruner_is_used(self, run_hpcompat):
        early_terminate = {"type": "hyperband", "min_iter": 6}
        result = run_hpcompat(learning_curve, XN_SPACE, n_trials=10, sampler="random", pruner=early_terminate)
        assert {len(trial.intermediate_values) for trial in result.trials if trial.state == "PRUNED"} == {7}
        with pytest.raises(hp.BackendError, match="is not a valid early_terminate"):
            run_hpcompat(learning_curve, XN_SPACE, pruner={"type": "hyperband", "min_iter": 0})

    def test_pruner_maximizes_too(self, run_hpcompat):
        def rising_curve(trial):
            for step in range(1, 6):
                trial.report(trial["x"] * step, step)
                if trial.should_prune():
                    return None
            return trial["x"]

        result = run_hpcompat(
            rising_curve, {"x": hp.Int(1, 9)}, direction="maximize", sampler="grid", pruner="hyperband"
        )
        assert {trial.state for trial in result.trials} == {"COMPLETE"}  # each trial is better than the earlier ones
        result = run_hpcompat(
            falling_curve, {"x": hp.Int(1, 9)}, direction="maximize", sampler="grid", pruner="hyperband"
        )
        assert [trial.state for trial in result.trials] == ["COMPLETE"] + ["PRUNED"] * 8

    def test_no_pruner_prunes_nothing(self, run_hpcompat):
        assert {trial.state for trial in run_hpcompat(learning_curve, XN_SPACE, n_trials=6).trials} == {"COMPLETE"}


class TestBayes:
    def test_bayes_beats_random(self, run_hpcompat):
        space = {"x": hp.Float(-5.0, 5.0), "y": hp.Float(-5.0, 5.0)}

        def bowl(trial):
            return (trial["x"] - 1) ** 2 + (trial["y"] + 2) ** 2

        def mean_of_later_trials(sampler, **options):
            trials = run_hpcompat(bowl, space, n_trials=20, sampler=sampler, **options).trials[10:]
            return sum(trial.value for trial in trials) / 10

        assert mean_of_later_trials("bayes") < mean_of_later_trials("random") / 3
        best = run_hpcompat(lambda trial: -bowl(trial), space, n_trials=20, direction="maximize").best.value
        assert best > -0.5

    def test_bayes_starts_from_history_without_repeating_draws(self, run_hpcompat):
        first = run_hpcompat(parabola, XN_SPACE, n_trials=10)
        second = run_hpcompat(parabola, XN_SPACE, n_trials=8, history=first)
        cold = run_hpcompat(parabola, XN_SPACE, n_trials=8)
        assert [trial.number for trial in second.trials] == list(range(8))
        assert {t.params["x"] for t in first.trials}.isdisjoint(t.params["x"] for t in second.trials)

        def mean(result):
            return sum(trial.value for trial in result.trials) / len(result.trials)

        assert mean(second) < mean(cold)

    def test_history_of_another_backend_with_every_type_and_state_is_accepted(self, run_hpcompat):
        first = hp.search(evaluate_to_every_state, EVERY_TYPE, n_trials=6, seed=0, progress=False)
        result = run_hpcompat(lambda trial: trial["float"], EVERY_TYPE, n_trials=2, history=first)
        assert [trial.state for trial in result.trials] == ["COMPLETE"] * 2
        from_wandb = hp.search(lambda trial: 0.0, EVERY_TYPE, n_trials=1, history=result, progress=False)
        assert len(from_wandb.native.trials) == 3

    def test_infinite_and_failed_trials_do_not_mislead_bayes(self, run_hpcompat):
        def cliff(trial):
            if trial["x"] > 3:
                raise ValueError("too steep")
            return math.inf if trial["x"] > 2 else 100 + (trial["x"] - 1) ** 2

        result = run_hpcompat(cliff, {"x": hp.Float(0.0, 4.0)}, n_trials=15)
        later_trials = result.trials[8:]
        assert sum(trial.params["x"] <= 2 for trial in later_trials) > len(later_trials) / 2


class TestValidation:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"sampler": optuna.samplers.RandomSampler()},
                "sampler: expected a name, got <optuna.samplers._random.Rando",
            ),
            ({"sampler": "grit"}, "did you mean 'grid'"),
            (
                {"direction": ["minimize", "minimize"]},
                "sampler: W&B's 'bayes', the default, has one objective .'random' and 'grid' take several",
            ),
            ({"direction": ["minimize", "minimize"], "sampler": "bayes"}, "has one objective"),
            ({"pruner": "median"}, "pruner: 'median' is not supported by wandb .supported by optuna, ray"),
            (
                {"pruner": optuna.pruners.NopPruner()},
                "pruner: expected a name or an early_terminate of W&B's: .*, got <optuna.pruners._nop.NopPruner",
            ),
            ({"drive": "server"}, "did you mean 'driver'"),
            ({"driver": "cloud"}, "driver: expected 'embedded' or 'server', got 'cloud'"),
            ({"mode": "online"}, "mode: expected 'offline' or 'disabled', got 'online'"),
            ({"mode": "offline"}, "mode: 'offline' needs a directory for the runs .give output_dir="),
            ({"mode": "disabled", "driver": "server"}, "mode: is not for the server driver"),
            ({"sweep_id": "a/b/c", "driver": "embedded"}, "sweep_id: is not for the embedded driver"),
        ],
    )
    def test_unsupported_option_raises_before_first_trial(self, run_hpcompat, options, message):
        with pytest.raises(hp.BackendError, match=message):
            run_hpcompat(lambda trial: pytest.fail("a trial was started"), XN_SPACE, **options)


class TestDraws:
    @pytest.mark.parametrize("sampler", ["bayes", "random"])
    def test_every_parameter_type_is_drawn_typed_and_in_space(self, run_hpcompat, sampler):
        received = []
        result = run_hpcompat(
            lambda trial: received.append(trial.params) or trial["float"], EVERY_TYPE, n_trials=12, sampler=sampler
        )
        assert len(result.trials) == 12
        assert all(EVERY_TYPE.contains(trial.params) for trial in result.trials)
        assert list(map(with_types, params_of(result))) == list(map(with_types, received))
        assert {trial.params["optim"] for trial in result.trials} == {"adamw", "sgd"}
        assert all(("sgd" in trial.params) == (trial.params["optim"] == "sgd") for trial in result.trials)
        assert result.native.config["method"] == sampler

    @pytest.mark.parametrize("method", ["bayes", "random"])
    def test_global_generators_are_unchanged(self, method):
        random.seed(1)
        np.random.seed(1)
        states = random.getstate(), np.random.get_state()
        engine = LocalSweep(hp.translate(XN_SPACE, "wandb", method=method, metric="objective"), seed=0)
        for number in range(3):
            engine.tell(hp.Trial(number, engine.suggest(), (float(number),)))
        assert random.getstate() == states[0]
        assert all(np.array_equal(*pair) for pair in zip(np.random.get_state(), states[1], strict=True))

    def test_space_without_choice_raises(self, run_hpcompat):
        with pytest.raises(hp.TranslationError, match="expected a parameter that varies"):
            run_hpcompat(parabola, {"x": hp.Constant(1)})
