"""How W&B's own engine chooses: every kind of parameter, methods, seeds, history, pruning."""

from __future__ import annotations

import math
import random

import numpy as np
import optuna
import pytest

import hpcompat as hp
from hpcompat.backends.wandb.engine import SweepEngine

X = {"x": hp.Float(0.0, 4.0), "n": hp.Int(1, 3)}
EVERY_KIND = hp.SearchSpace(
    {
        "float": hp.Float(0.0, 1.0),
        "log": hp.Float(1e-6, 1e-4, log=True),
        "step": hp.Float(0.1, 0.5, step=0.1),
        "log_step": hp.Float(2.0, 10.0, step=2.0, log=True),
        "int": hp.Int(1, 9, step=2),
        "big": hp.Int(1, 10**4, log=True),
        "mixed": hp.Categorical([1, 1.0, True, None, "1", (1, 2), [1, 2], {"a": 1}]),
        "weighted": hp.Categorical(["a", "b"], weights=[9, 1]),
        "ordered": hp.Categorical(["small", "large"], ordered=True),
        "constant": hp.Constant((1, 2)),
        "normal": hp.Normal(0.0, 1.0),
        "truncated": hp.Normal(0.0, 1.0, low=-1.0, high=2.0),
        "log_normal": hp.Normal(0.0, 1.0, log=True),
        "rounded": hp.Normal(8.0, 2.0, step=2),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "sgd": hp.SearchSpace(
            {
                "momentum": hp.Float(0.0, 0.9),
                "nesterov": hp.Categorical([True, False]),
                "deep": {"er": hp.Int(0, 3)},
            },
            when={"optim": "sgd"},
        ),
        "a.b": hp.Int(1, 2),
    }
)


def parabola(trial):
    return (trial["x"] - 1) ** 2 + trial["n"]


def types(value):
    if isinstance(value, dict):
        return {name: types(each) for name, each in value.items()}
    return type(value), value


def params_of(result):
    return [dict(trial.params) for trial in result.trials]


@pytest.mark.parametrize("sampler", ["bayes", "random"])
def test_a_space_with_every_kind_arrives_typed_and_inside_the_space(ours, sampler):
    seen = []
    result = ours(lambda trial: seen.append(trial.params) or trial["float"], EVERY_KIND, n_trials=12, sampler=sampler)
    assert len(result.trials) == 12
    assert all(EVERY_KIND.contains(trial.params) for trial in result.trials)
    assert list(map(types, params_of(result))) == list(map(types, seen))
    assert {trial.params["optim"] for trial in result.trials} == {"adamw", "sgd"}
    assert all(("sgd" in trial.params) == (trial.params["optim"] == "sgd") for trial in result.trials)
    assert result.native.config["method"] == sampler


def test_several_kinds_in_a_grid(ours):
    space = hp.SearchSpace(
        {
            "optim": hp.Categorical(["adamw", "sgd", "lion"]),
            "nesterov": hp.Categorical([True, False], when={"optim": "sgd"}),
            "rate": hp.Float(0.1, 0.3, step=0.1),
            "model": {"one": hp.Categorical([1, 1.0, (1,)])},
        }
    )
    result = ours(lambda trial: trial["rate"], space, n_trials=1_000, sampler="grid")
    assert len(result.trials) == space.size == 36
    assert len({repr(trial.params) for trial in result.trials}) == 36
    assert all(space.contains(trial.params) for trial in result.trials)
    assert not result.interrupted

    first = ours(lambda trial: trial["rate"], space, n_trials=20, sampler="grid")
    rest = ours(lambda trial: trial["rate"], space, n_trials=1_000, sampler="grid", history=first)
    assert params_of(first) + params_of(rest) == params_of(result)


def test_a_grid_too_large_to_write_out_is_begun(ours):
    space = {f"n{index}": hp.Int(1, 10**9) for index in range(50)}
    result = ours(lambda trial: trial["n0"], space, n_trials=5, sampler="grid")
    assert [trial.params["n49"] for trial in result.trials] == [1, 2, 3, 4, 5]


def test_a_grid_refuses_what_has_no_end(ours):
    with pytest.raises(hp.TranslationError, match=r"x: .*give it a step, or use method='random'"):
        ours(parabola, X, sampler="grid")


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_the_engine_leaves_the_global_generators_as_they_are(method):
    random.seed(1)
    np.random.seed(1)
    states = random.getstate(), np.random.get_state()
    engine = SweepEngine(hp.translate(X, "wandb", method=method, metric="objective"), seed=0)
    for number in range(3):
        engine.tell(hp.Trial(number, engine.choose(), (float(number),)))
    assert random.getstate() == states[0]
    assert all(np.array_equal(*pair) for pair in zip(np.random.get_state(), states[1], strict=True))


def test_bayes_finds_what_random_does_not(ours):
    space = {"x": hp.Float(-5.0, 5.0), "y": hp.Float(-5.0, 5.0)}

    def bowl(trial):
        return (trial["x"] - 1) ** 2 + (trial["y"] + 2) ** 2

    def later(sampler, **options):
        trials = ours(bowl, space, n_trials=20, sampler=sampler, **options).trials[10:]
        return sum(trial.value for trial in trials) / 10

    assert later("bayes") < later("random") / 3
    up = ours(lambda trial: -bowl(trial), space, n_trials=20, direction="maximize").best.value
    assert up > -0.5


def test_bayes_starts_from_history_and_repeats_none_of_its_draws(ours):
    first = ours(parabola, X, n_trials=10)
    second = ours(parabola, X, n_trials=8, history=first)
    cold = ours(parabola, X, n_trials=8)
    assert [trial.number for trial in second.trials] == list(range(8))
    assert {t.params["x"] for t in first.trials}.isdisjoint(t.params["x"] for t in second.trials)

    def mean(result):
        return sum(trial.value for trial in result.trials) / len(result.trials)

    assert mean(second) < mean(cold)


def test_history_of_another_backend_with_every_kind_and_state(ours):
    def function(trial):
        if trial.number == 1:
            raise ValueError
        trial.report(trial["float"], 1)
        if trial.number == 2:
            raise optuna.TrialPruned
        return trial["float"]

    first = hp.search(function, EVERY_KIND, n_trials=6, seed=0, progress=False)
    result = ours(lambda trial: trial["float"], EVERY_KIND, n_trials=2, history=first)
    assert [trial.state for trial in result.trials] == ["COMPLETE"] * 2
    back = hp.search(lambda trial: 0.0, EVERY_KIND, n_trials=1, history=result, progress=False)
    assert len(back.native.trials) == 3


def learning_curve(trial):
    for step in range(1, 10):
        trial.report(trial["x"] + 1 / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return trial["x"]


@pytest.mark.parametrize("sampler", ["bayes", "random", "grid"])
def test_hyperband_prunes_the_worse_ones_and_the_same_ones_twice(ours, sampler):
    space = {"x": hp.Float(0.0, 4.0, step=0.25)}
    one, other = (ours(learning_curve, space, n_trials=12, sampler=sampler, pruner="hyperband") for _ in range(2))
    assert [(t.state, t.values) for t in one.trials] == [(t.state, t.values) for t in other.trials]
    pruned = [trial for trial in one.trials if trial.state == "PRUNED"]
    assert pruned
    assert {len(trial.intermediate_values) for trial in pruned} <= {2, 4}  # after 1 and 3 others
    assert all(trial.value == trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned)
    assert one.best.value < min(trial.params["x"] for trial in pruned)
    assert one.native.config["early_terminate"] == {"type": "hyperband", "min_iter": 1}


def test_an_early_terminate_of_ones_own(ours):
    late = {"type": "hyperband", "min_iter": 6}
    result = ours(learning_curve, X, n_trials=10, sampler="random", pruner=late)
    assert {len(trial.intermediate_values) for trial in result.trials if trial.state == "PRUNED"} == {7}
    with pytest.raises(hp.BackendError, match="is no early_terminate"):
        ours(learning_curve, X, pruner={"type": "hyperband", "min_iter": 0})


def test_pruning_is_maximising_too(ours):
    def rising(trial):
        for step in range(1, 6):
            trial.report(trial["x"] * step, step)
            if trial.should_prune():
                return None
        return trial["x"]

    result = ours(rising, {"x": hp.Int(1, 9)}, direction="maximize", sampler="grid", pruner="hyperband")
    assert {trial.state for trial in result.trials} == {"COMPLETE"}  # each is better than the ones before it
    result = ours(falling, {"x": hp.Int(1, 9)}, direction="maximize", sampler="grid", pruner="hyperband")
    assert [trial.state for trial in result.trials] == ["COMPLETE"] + ["PRUNED"] * 8


def falling(trial):
    for step in range(1, 6):
        trial.report(-trial["x"], step)
        if trial.should_prune():
            return None
    return -trial["x"]


def test_without_a_pruner_nothing_is_pruned(ours):
    assert {trial.state for trial in ours(learning_curve, X, n_trials=6).trials} == {"COMPLETE"}


def test_infinite_and_failed_trials_do_not_mislead_bayes(ours):
    def cliff(trial):
        if trial["x"] > 3:
            raise ValueError("too steep")
        return math.inf if trial["x"] > 2 else 100 + (trial["x"] - 1) ** 2

    result = ours(cliff, {"x": hp.Float(0.0, 4.0)}, n_trials=15)
    later = result.trials[8:]
    assert sum(trial.params["x"] <= 2 for trial in later) > len(later) / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": optuna.samplers.RandomSampler()}, "W&B has no samplers but its own"),
        ({"sampler": "grit"}, "did you mean 'grid'"),
        ({"direction": ["minimize", "minimize"]}, "has one objective.*\n.*'random' and 'grid' take several"),
        ({"direction": ["minimize", "minimize"], "sampler": "bayes"}, "has one objective"),
        ({"pruner": "median"}, "pruner: there is no 'median'"),
        ({"pruner": optuna.pruners.NopPruner()}, "is no pruner of W&B's"),
        ({"drive": "server"}, "did you mean 'driver'"),
        ({"driver": "cloud"}, "there is no driver 'cloud'"),
        ({"mode": "online"}, "there is no mode 'online'; did you mean 'offline'"),
        ({"mode": "offline"}, "offline runs have to lie somewhere: give output_dir="),
        ({"mode": "disabled", "driver": "server"}, "mode= is nothing for the server driver"),
        ({"sweep_id": "a/b/c", "driver": "embedded"}, "sweep_id= is nothing for the embedded driver"),
    ],
)
def test_what_it_cannot_do_is_refused_before_the_first_trial(ours, options, message):
    with pytest.raises(hp.BackendError, match=message):
        ours(lambda trial: pytest.fail("a trial was run"), X, **options)


def test_a_space_with_nothing_to_search_is_refused(ours):
    with pytest.raises(hp.TranslationError, match="there is no parameter that varies"):
        ours(parabola, {"x": hp.Constant(1)})
