"""The Optuna backend: its samplers, grids, studies and storages, and what history does."""

from __future__ import annotations

import itertools

import optuna
import pytest

import hpcompat as hp
from hpcompat.backends.optuna import shared_study

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
        "constant": hp.Constant((1, 2)),
        "normal": hp.Normal(0.0, 1.0, low=-1.0, high=2.0),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "sgd": hp.SearchSpace(
            {"momentum": hp.Float(0.0, 0.9), "nesterov": hp.Categorical([True, False])}, when={"optim": "sgd"}
        ),
    }
)


def parabola(trial):
    return (trial["x"] - 1) ** 2 + trial["n"]


def outcomes(result):
    return [(trial.number, trial.params, trial.values, trial.state) for trial in result.trials]


def types(value):
    if isinstance(value, dict):
        return {name: types(each) for name, each in value.items()}
    return type(value), value


def test_a_space_with_every_kind_arrives_typed_and_inside_the_space(ours):
    seen = []
    result = ours(lambda trial: seen.append(trial.params) or trial["float"], EVERY_KIND, n_trials=40)
    assert all(EVERY_KIND.contains(trial.params) for trial in result.trials)
    assert [types(dict(trial.params)) for trial in result.trials] == list(map(types, seen))
    assert {trial.params["optim"] for trial in result.trials} == {"adamw", "sgd"}
    assert all(("sgd" in trial.params) == (trial.params["optim"] == "sgd") for trial in result.trials)


@pytest.mark.parametrize(
    "space",
    [
        hp.SearchSpace({"lr": hp.Float(1e-6, 1e-4), "batch": hp.Categorical([16, 32])}),
        {"lr": hp.Float(1e-6, 1e-4), "batch": hp.Categorical([16, 32])},
        lambda trial: {
            "lr": trial.suggest_float("lr", 1e-6, 1e-4),
            "batch": trial.suggest_categorical("batch", [16, 32]),
        },
        [
            {"name": "lr", "type": "double", "bounds": {"min": 1e-6, "max": 1e-4}},
            {"name": "batch", "type": "categorical", "categorical_values": ["16", "32"]},
        ],
        {
            "method": "random",
            "parameters": {
                "lr": {"distribution": "uniform", "min": 1e-6, "max": 1e-4},
                "batch": {"values": [16, 32]},
            },
        },
    ],
    ids=["space", "dict", "optuna", "sigopt", "wandb"],
)
def test_the_space_may_be_in_any_dialect(ours, space):
    result = ours(lambda trial: trial["lr"] * trial["batch"], space, n_trials=4)
    same = ours(lambda trial: trial["lr"] * trial["batch"], hp.as_space(space), n_trials=4)
    assert outcomes(result) == outcomes(same)
    assert all(type(trial.params["batch"]) is int for trial in result.trials)


def test_a_native_sampler_draws_as_in_a_study_of_ones_own(ours):
    def native(trial):
        return (trial.suggest_float("x", 0.0, 4.0) - 1) ** 2 + trial.suggest_int("n", 1, 3)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=4))
    study.optimize(native, n_trials=20)
    by_seed = ours(parabola, X, seed=4)
    given = ours(parabola, X, seed=None, sampler=optuna.samplers.TPESampler(seed=4))
    values = [trial.value for trial in study.trials]
    assert [trial.value for trial in by_seed.trials] == [trial.value for trial in given.trials] == values


def test_a_grid_is_every_configuration_once(ours):
    space = hp.SearchSpace(
        {
            "optim": hp.Categorical(["adamw", "sgd", "lion"]),
            "nesterov": hp.Categorical([True, False], when={"optim": "sgd"}),
            "rate": hp.Float(0.1, 0.3, step=0.1),
            "one": hp.Categorical([1, 1.0]),
        }
    )
    result = ours(lambda trial: trial["rate"], space, n_trials=1_000, sampler="grid")
    assert len(result.trials) == space.size == 24
    assert len({repr(trial.params) for trial in result.trials}) == 24
    assert all(space.contains(trial.params) for trial in result.trials)
    assert not result.interrupted


def test_a_grid_too_large_to_write_out_is_begun(ours):
    space = {f"n{index}": hp.Int(1, 10**9) for index in range(50)}
    result = ours(lambda trial: trial["n0"], space, n_trials=5, sampler="grid")
    assert [trial.params["n49"] for trial in result.trials] == [1, 2, 3, 4, 5]


def test_a_study_of_ones_own_is_gone_on_with(ours):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    first = ours(parabola, X, n_trials=4, seed=None, study=study)
    second = ours(parabola, X, n_trials=10, seed=None, study=study)
    assert [trial.number for trial in second.trials] == list(range(10))
    assert outcomes(second)[:4] == outcomes(first)
    assert len(study.trials) == 10
    with pytest.warns(UserWarning, match="no trial was run: there are 10 already"):
        assert outcomes(ours(parabola, X, n_trials=10, seed=None, study=study)) == outcomes(second)


def test_a_study_of_another_space_is_refused(ours):
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 5.0, 6.0), n_trials=2)
    with pytest.raises(hp.BackendError, match="holds trials of another space") as refusal:
        ours(parabola, X, n_trials=4, seed=None, study=study)
    assert {issue.path for issue in refusal.value.issues} == {"trial 0", "trial 1"}


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_search_on_a_storage_is_found_again(ours, tmp_path, kind):
    def storage():
        if kind == "sqlite":
            return f"sqlite:///{tmp_path}/study.db"
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
        return optuna.storages.JournalStorage(backend)

    def function(trial):
        if trial.number == 1:
            raise ValueError("once")
        return trial["float"]

    named = {"study_name": "digits", "load_if_exists": True}
    first = ours(function, EVERY_KIND, n_trials=4, storage=storage(), **named)
    again = ours(function, EVERY_KIND, n_trials=7, storage=storage(), **named)
    assert [trial.number for trial in again.trials] == list(range(7))
    for before, after in zip(first.trials, again.trials, strict=False):
        assert types(dict(after.params)) == types(dict(before.params))
        assert (after.values, after.state, after.error) == (before.values, before.state, before.error)
    assert len({trial.value for trial in again.trials}) == 7  # the second leg repeats no draw of the first


def test_a_trial_that_ctrl_c_ended_is_failed_in_the_storage_and_not_run_again(ours, tmp_path):
    def function(trial):
        if trial.number == 2:
            raise KeyboardInterrupt
        return trial["x"]

    storage = {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "x", "load_if_exists": True}
    first = ours(function, X, n_trials=5, **storage)
    assert [trial.number for trial in first.trials] == [0, 1]
    again = ours(function, X, n_trials=5, **storage)
    assert [trial.state for trial in again.trials] == ["COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    assert again.trials[2].cause == "KeyboardInterrupt: the search was interrupted"


class Interrupted(optuna.storages.InMemoryStorage):
    """A storage that Ctrl-C is pressed in: at one of the calls of one of its methods, before or after its work."""

    def press(self, method, at, after):
        calls = itertools.count()
        work = getattr(self, method)

        def interrupted(*args, **kwargs):
            pressed = next(calls) == at
            if pressed and not after:
                raise KeyboardInterrupt
            done = work(*args, **kwargs)
            if pressed:
                raise KeyboardInterrupt
            return done

        setattr(self, method, interrupted)
        return self


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(10))
@pytest.mark.parametrize(
    "method", ["get_trial", "set_trial_param", "set_trial_user_attr", "set_trial_state_values", "get_all_trials"]
)
def test_ctrl_c_while_optuna_stores_a_trial_loses_nothing(ours, monkeypatch, method, at, after):
    monkeypatch.setattr(shared_study, "PATIENCE", 0.2)  # for a trial that Optuna has begun, and nobody has heard of
    storage, study = Interrupted(), {"study_name": "x", "resume": True}
    try:
        first = ours(parabola, X, n_trials=5, storage=storage.press(method, at, after), **study).trials
    except KeyboardInterrupt:  # before anything was finished
        first = ()
    vars(storage).pop(method)
    again = ours(parabola, X, n_trials=5, storage=storage, **study)
    assert [trial.state for trial in again.trials] == ["COMPLETE"] * 5 and not again.interrupted
    assert {(trial.number, trial.value) for trial in first} <= {(trial.number, trial.value) for trial in again.trials}


def test_ctrl_c_while_the_sampler_hears_of_a_trial_loses_nothing_of_it(ours):
    class Interrupting(optuna.samplers.RandomSampler):
        def after_trial(self, study, trial, state, values):
            if trial.number == 2:
                raise KeyboardInterrupt

    result = ours(parabola, X, n_trials=5, sampler=Interrupting(), seed=None)
    assert result.interrupted and [trial.number for trial in result.trials] == [0, 1, 2]
    assert [form.value for form in result.native.trials] == [trial.value for trial in result.trials]


def test_an_engine_that_gives_what_is_not_in_the_space_ends_the_search_with_its_trials(ours):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial({"x": 0.5, "n": 1})
    study.enqueue_trial({"x": 0.5, "n": 7})
    with pytest.raises(hp.SearchError, match=r"n: 7 is not in Int\(1, 3\)") as caught:
        ours(parabola, X, n_trials=5, study=study, seed=None)
    assert [trial.number for trial in caught.value.trials] == [0]


def test_the_name_of_a_study_is_no_study(ours):
    with pytest.raises(hp.BackendError, match="study_name='digits'"):
        ours(parabola, X, n_trials=5, study="digits", seed=None)


def test_a_sampler_that_raises_ends_the_search_with_its_trials(ours):
    class Broken(optuna.samplers.RandomSampler):
        def before_trial(self, study, trial):
            if trial.number == 2:
                raise RuntimeError("out of order")

    with pytest.raises(hp.SearchError, match="RuntimeError: out of order") as caught:
        ours(parabola, X, n_trials=5, sampler=Broken(), seed=None)
    assert [trial.number for trial in caught.value.trials] == [0, 1]


def test_what_stops_the_study_ends_the_search(ours):
    grid = optuna.samplers.GridSampler({"x": [0.0, 4.0], "n": [1, 2]})
    exhausted = ours(parabola, X, n_trials=20, sampler=grid, seed=None)
    assert sorted(trial.value for trial in exhausted.trials) == [2.0, 3.0, 10.0, 11.0]

    def stops(trial):
        if trial.number == 3:
            trial.study.stop()
        return parabola(trial)

    assert [trial.number for trial in ours(stops, X, n_trials=20).trials] == [0, 1, 2, 3]


def test_two_searches_share_a_study(ours, tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    inner = []

    def joins(trial):
        if trial.number == 2 and not inner:
            inner.append(None)
            inner[0] = join()
        return parabola(trial)

    def join():
        from threading import Thread

        thread = Thread(target=lambda: found.append(ours(parabola, X, n_trials=5, seed=1, **shared)))
        thread.start()
        thread.join()

    found = []
    shared = {"storage": storage, "study_name": "shared", "load_if_exists": True}
    outer = ours(joins, X, n_trials=6, seed=0, **shared)
    assert [trial.number for trial in outer.trials] == list(range(6))
    assert [trial.number for trial in found[0].trials] == [0, 1, 3, 4]  # the one that was running counts as well


def test_history_of_an_earlier_result_is_told_to_the_sampler(ours):
    first = ours(parabola, X, n_trials=15)
    second = ours(parabola, X, n_trials=10, history=first)
    cold = ours(parabola, X, n_trials=10)

    assert [trial.number for trial in second.trials] == list(range(10))
    assert len(second.native.trials) == 25
    drawn = {trial.params["x"] for trial in first.trials}
    assert drawn.isdisjoint(trial.params["x"] for trial in second.trials)

    def mean(result):
        return sum(trial.value for trial in result.trials) / len(result.trials)

    assert mean(second) < mean(cold)  # it starts from what the first has found


def test_history_carries_every_kind_and_state(ours):
    def function(trial):
        if trial.number == 1:
            raise ValueError
        trial.report(trial["float"], 1)
        if trial.number == 2:
            raise optuna.TrialPruned
        return trial["float"]

    first = ours(function, EVERY_KIND, n_trials=6)
    second = ours(lambda trial: 0.0, EVERY_KIND, n_trials=1, history=first.trials)
    assert [trial.state.name for trial in second.native.trials[:6]] == [
        trial.state.name for trial in first.native.trials
    ]
    assert [trial.values for trial in second.native.trials[:6]] == [t.values for t in first.native.trials]


def test_a_grid_leaves_out_what_history_has(ours):
    space = {"a": hp.Int(1, 3), "b": hp.Categorical(["x", "y"])}
    first = ours(lambda trial: trial["a"], space, n_trials=4, sampler="grid")
    rest = ours(lambda trial: trial["a"], space, n_trials=100, sampler="grid", history=first)
    params = [tuple(trial.params.values()) for trial in (*first.trials, *rest.trials)]
    assert len(params) == len(set(params)) == 6


def test_history_is_for_a_new_study(ours):
    study = optuna.create_study()
    ours(parabola, X, n_trials=2, seed=None, study=study)
    with pytest.raises(hp.BackendError, match="history= is for a new study"):
        ours(parabola, X, n_trials=2, seed=None, study=study, history=[hp.Trial(0, {"x": 1.0, "n": 1}, (1.0,))])


def test_optuna_keeps_its_voice_afterwards(ours):
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        ours(parabola, X, n_trials=1)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


def test_the_live_trial_answers_what_the_view_does_not(ours):
    def function(trial):
        trial.set_user_attr("note", trial.number)
        return trial["x"] + trial.suggest_int("extra", 5, 6)

    result = ours(function, X, n_trials=2)
    assert [trial.user_attrs["note"] for trial in result.native.trials] == [0, 1]
    assert all(trial.params["extra"] in (5, 6) for trial in result.trials)


# -- what a trial notes -----------------------------------------------------------------------------------


def noting(trial):
    trial.set_constraint("room", trial["x"] - 2)
    trial.set_user_attr("error", "mine")
    trial.set_user_attr("run_id", [1, {"a": None}])
    if trial.number == 1:
        raise ValueError("once")
    return -trial["x"]


def notes(result):
    return [(trial.number, trial.state, trial.user_attrs, trial.constraints, trial.cause) for trial in result.trials]


class TestNotes:
    def test_a_storage_brings_them_back_and_no_name_of_a_trials_own_is_mistaken(self, ours, tmp_path):
        storage = {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "x", "load_if_exists": True}
        first = ours(noting, X, n_trials=3, **storage)
        again = ours(noting, X, n_trials=4, **storage)
        assert notes(again)[:3] == notes(first)
        assert [trial.cause for trial in again.trials] == [None, "ValueError: once", None, None]
        assert {trial.run_id for trial in again.trials} == {None}
        assert again.trials[1].user_attrs == {"error": "mine", "run_id": [1, {"a": None}]}
        assert again.best.value == again.native.best_value  # Optuna's own best is feasible too

    def test_the_trials_of_ones_own_study_have_their_constraints(self, ours):
        def native(trial):
            x, n = trial.suggest_float("x", 0.0, 4.0), trial.suggest_int("n", 1, 3)
            trial.set_constraint("room", x - 2)
            trial.set_user_attr("n", n)
            return -x

        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(native, n_trials=6)
        with pytest.warns(UserWarning, match="there are 6 already"):
            result = ours(noting, X, n_trials=6, seed=None, study=study)
        assert result.best.number == study.best_trial.number
        assert result.best.constraints == {"room": result.best.params["x"] - 2}
        assert [trial.user_attrs for trial in result.trials] == [{"n": trial.params["n"]} for trial in result.trials]

    def test_a_sampler_hears_of_constraints(self, ours):
        def native(trial):
            x = trial.suggest_float("x", 0.0, 4.0)
            trial.set_constraint("room", x - 2)
            return -x - trial.suggest_int("n", 1, 3)

        def function(trial):
            trial.set_constraint("room", trial["x"] - 2)
            return -trial["x"] - trial["n"]

        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=4))
        study.optimize(native, n_trials=20)
        result = ours(function, X, n_trials=20, seed=4)
        assert [trial.value for trial in result.trials] == [trial.value for trial in study.trials]
        assert result.best.number == study.best_trial.number

    def test_the_constraints_func_of_a_sampler_counts(self, ours, tmp_path):
        def function(trial):
            trial.set_user_attr("room", (trial["x"] - 2, -1))
            return -trial["x"]

        def constraints_func(trial):
            return tuple(trial.user_attrs["room"])

        with pytest.warns(FutureWarning):
            sampler = optuna.samplers.TPESampler(seed=0, constraints_func=constraints_func)
        out = str(tmp_path)
        result = ours(function, X, n_trials=8, seed=None, sampler=sampler, output_dir=out)
        assert [trial.constraints for trial in result.trials] == [
            {"0": trial.params["x"] - 2, "1": -1.0} for trial in result.trials
        ]
        assert result.best.number == result.native.best_trial.number
        assert False in [trial.is_feasible for trial in result.trials]
        assert ours(function, X, n_trials=8, seed=None, output_dir=out, resume=True).trials == result.trials

    def test_a_constraints_func_that_raises_ends_the_search_with_the_trial(self, ours):
        with pytest.warns(FutureWarning):
            sampler = optuna.samplers.TPESampler(constraints_func=lambda trial: [1 / 0])
        with pytest.raises(hp.SearchError, match="ZeroDivisionError") as failure:
            ours(parabola, X, n_trials=3, seed=None, sampler=sampler)
        assert [trial.state for trial in failure.value.trials] == ["COMPLETE"]

    def test_a_trial_that_was_enqueued_begins_with_its_attributes(self, ours):
        def function(trial):
            trial.set_user_attr("seen", trial.user_attrs.get("memo"))
            return trial["x"]

        study = optuna.create_study()
        study.enqueue_trial({"x": 1.0, "n": 2}, user_attrs={"memo": "mine"})
        result = ours(function, X, n_trials=2, seed=None, study=study)
        assert [trial.user_attrs for trial in result.trials] == [{"memo": "mine", "seen": "mine"}, {"seen": None}]

    def test_to_optuna_leaves_an_attribute_called_params_alone(self, ours):
        def function(trial):
            if trial.number:
                trial.set_user_attr("params", 7)
            return trial["x"]

        result = ours(function, X, n_trials=2)
        assert [trial.user_attrs["params"] for trial in result.to_optuna().trials] == [result.trials[0].params, 7]

    def test_marks_in_a_history_are_not_taken_for_our_own(self, ours):
        history = [hp.Trial(0, {"x": 1.0, "n": 1}, (1.0,), user_attrs={"hpcompat: surplus": True, "mine": 1})]
        (told, _) = ours(parabola, X, n_trials=1, history=history).native.trials
        assert "hpcompat: surplus" not in told.user_attrs
        assert told.user_attrs["mine"] == 1
