"""The Optuna backend: samplers, grids, history, studies, storages, user attributes and constraints."""

from __future__ import annotations

import itertools

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning

import hpcompat as hp
from hpcompat.backends.optuna import shared_study
from hpcompat.backends.optuna.shared_study import make_sampler
from hpcompat.compat.optuna import make_tpe_sampler, set_constraint
from hpcompat.trials.config import SearchConfig
from tests.helpers.spaces import EVERY_TYPE, XN_SPACE, evaluate_to_every_state, parabola, trial_rows, with_types
from tests.helpers.storages import FILE_STORAGES, locate_storage, open_storage
from tests.helpers.versions import is_since

BEST_IS_FEASIBLE = is_since("optuna", "4.0")
"""Whether `Study.best_trial` ignores infeasible trials."""


class TestSpaces:
    def test_every_parameter_type_is_drawn_typed_and_in_space(self, run_hpcompat):
        received = []
        result = run_hpcompat(lambda trial: received.append(trial.params) or trial["float"], EVERY_TYPE, n_trials=40)
        assert all(EVERY_TYPE.contains(trial.params) for trial in result.trials)
        assert [with_types(dict(trial.params)) for trial in result.trials] == list(map(with_types, received))
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
    def test_space_of_any_dialect_is_accepted(self, run_hpcompat, space):
        result = run_hpcompat(lambda trial: trial["lr"] * trial["batch"], space, n_trials=4)
        expected = run_hpcompat(lambda trial: trial["lr"] * trial["batch"], hp.as_space(space), n_trials=4)
        assert trial_rows(result) == trial_rows(expected)
        assert all(type(trial.params["batch"]) is int for trial in result.trials)


class InterruptedStorage(optuna.storages.InMemoryStorage):
    """A storage that raises KeyboardInterrupt in one call of one method, before or after the method's work."""

    def interrupt(self, method, at, after):
        calls = itertools.count()
        original = getattr(self, method)

        def call(*args, **kwargs):
            is_interrupted = next(calls) == at
            if is_interrupted and not after:
                raise KeyboardInterrupt
            result = original(*args, **kwargs)
            if is_interrupted:
                raise KeyboardInterrupt
            return result

        setattr(self, method, call)
        return self


class TestCtrlC:
    def test_ctrl_c_fails_trial_in_storage_and_does_not_rerun_it(self, run_hpcompat, tmp_path):
        def function(trial):
            if trial.number == 2:
                raise KeyboardInterrupt
            return trial["x"]

        storage = {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "x", "load_if_exists": True}
        first = run_hpcompat(function, XN_SPACE, n_trials=5, **storage)
        assert [trial.number for trial in first.trials] == [0, 1]
        resumed = run_hpcompat(function, XN_SPACE, n_trials=5, **storage)
        assert [trial.state for trial in resumed.trials] == ["COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
        assert resumed.trials[2].cause == "KeyboardInterrupt: the search was interrupted"

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("at", range(10))
    @pytest.mark.parametrize(
        "method", ["get_trial", "set_trial_param", "set_trial_user_attr", "set_trial_state_values", "get_all_trials"]
    )
    def test_ctrl_c_in_storage_loses_no_finished_trial(self, run_hpcompat, monkeypatch, method, at, after):
        # for a trial that was created in the storage before the interrupt, but never returned to the search
        monkeypatch.setattr(shared_study, "ORPHAN_TIMEOUT_S", 0.2)
        storage, study = InterruptedStorage(), {"study_name": "x", "resume": True}
        try:
            first = run_hpcompat(
                parabola, XN_SPACE, n_trials=5, storage=storage.interrupt(method, at, after), **study
            ).trials
        except KeyboardInterrupt:  # before the first trial has finished
            first = ()
        vars(storage).pop(method)
        resumed = run_hpcompat(parabola, XN_SPACE, n_trials=5, storage=storage, **study)
        assert [trial.state for trial in resumed.trials] == ["COMPLETE"] * 5 and not resumed.interrupted
        assert {(trial.number, trial.value) for trial in first} <= {
            (trial.number, trial.value) for trial in resumed.trials
        }

    def test_ctrl_c_in_sampler_loses_no_finished_trial(self, run_hpcompat):
        class InterruptingSampler(optuna.samplers.RandomSampler):
            def after_trial(self, study, trial, state, values):
                if trial.number == 2:
                    raise KeyboardInterrupt

        result = run_hpcompat(parabola, XN_SPACE, n_trials=5, sampler=InterruptingSampler(), seed=None)
        assert result.interrupted and [trial.number for trial in result.trials] == [0, 1, 2]
        assert [frozen_trial.value for frozen_trial in result.native.trials] == [trial.value for trial in result.trials]


class TestSamplers:
    def test_bayes_counts_running_trials(self):
        def draw_with_a_running_trial(sampler):
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
            study.optimize(lambda trial: trial.suggest_float("x", 0, 4) ** 2, n_trials=20)
            study.sampler = sampler
            study.ask().suggest_float("x", 0, 4)
            return [study.ask().suggest_float("x", 0, 4) for _ in range(5)]

        config = SearchConfig(hp.SearchSpace({"x": hp.Float(0, 4)}), ("minimize",), 1, seed=0)
        values = draw_with_a_running_trial(make_sampler(config, 0))
        assert values == draw_with_a_running_trial(make_tpe_sampler(seed=0, constant_liar=True))
        assert values != draw_with_a_running_trial(optuna.samplers.TPESampler(seed=0, constant_liar=False))

    def test_native_sampler_draws_as_in_users_study(self, run_hpcompat):
        def native(trial):
            return (trial.suggest_float("x", 0.0, 4.0) - 1) ** 2 + trial.suggest_int("n", 1, 3)

        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=4))
        study.optimize(native, n_trials=20)
        by_seed = run_hpcompat(parabola, XN_SPACE, seed=4)
        by_sampler = run_hpcompat(parabola, XN_SPACE, seed=None, sampler=optuna.samplers.TPESampler(seed=4))
        values = [trial.value for trial in study.trials]
        assert [trial.value for trial in by_seed.trials] == [trial.value for trial in by_sampler.trials] == values

    def test_draw_outside_space_ends_search_with_its_trials(self, run_hpcompat):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.enqueue_trial({"x": 0.5, "n": 1})
        study.enqueue_trial({"x": 0.5, "n": 7})
        with pytest.raises(hp.SearchError, match=r"n: 7 is not in Int\(1, 3\)") as caught:
            run_hpcompat(parabola, XN_SPACE, n_trials=5, study=study, seed=None)
        assert [trial.number for trial in caught.value.trials] == [0]

    def test_sampler_that_raises_ends_search_with_its_trials(self, run_hpcompat):
        class FailingSampler(optuna.samplers.RandomSampler):
            def infer_relative_search_space(self, study, trial):
                if trial.number == 2:
                    raise RuntimeError("the sampler fails")
                return {}

        with pytest.raises(hp.SearchError, match="RuntimeError: the sampler fails") as caught:
            run_hpcompat(parabola, XN_SPACE, n_trials=5, sampler=FailingSampler(), seed=None)
        assert [trial.number for trial in caught.value.trials] == [0, 1]


class TestGrid:
    def test_grid_too_large_to_enumerate_is_started(self, run_hpcompat):
        space = {f"n{index}": hp.Int(1, 10**9) for index in range(50)}
        result = run_hpcompat(lambda trial: trial["n0"], space, n_trials=5, sampler="grid")
        assert [trial.params["n49"] for trial in result.trials] == [1, 2, 3, 4, 5]


class TestHistory:
    def test_history_reaches_sampler(self, run_hpcompat):
        first = run_hpcompat(parabola, XN_SPACE, n_trials=15)
        second = run_hpcompat(parabola, XN_SPACE, n_trials=10, history=first)
        cold = run_hpcompat(parabola, XN_SPACE, n_trials=10)

        assert [trial.number for trial in second.trials] == list(range(10))
        assert len(second.native.trials) == 25
        tried = {trial.params["x"] for trial in first.trials}
        assert tried.isdisjoint(trial.params["x"] for trial in second.trials)

        def mean(result):
            return sum(trial.value for trial in result.trials) / len(result.trials)

        assert mean(second) < mean(cold)  # it benefits from the first search

    def test_history_has_every_parameter_type_and_state(self, run_hpcompat):
        first = run_hpcompat(evaluate_to_every_state, EVERY_TYPE, n_trials=6)
        second = run_hpcompat(lambda trial: 0.0, EVERY_TYPE, n_trials=1, history=first.trials)
        assert [trial.state.name for trial in second.native.trials[:6]] == [
            trial.state.name for trial in first.native.trials
        ]
        assert [trial.values for trial in second.native.trials[:6]] == [t.values for t in first.native.trials]

    def test_history_with_existing_study_raises(self, run_hpcompat):
        study = optuna.create_study()
        run_hpcompat(parabola, XN_SPACE, n_trials=2, seed=None, study=study)
        with pytest.raises(hp.BackendError, match="history= is for a new study"):
            run_hpcompat(
                parabola,
                XN_SPACE,
                n_trials=2,
                seed=None,
                study=study,
                history=[hp.Trial(0, {"x": 1.0, "n": 1}, (1.0,))],
            )


class TestStudies:
    def test_study_of_user_is_continued(self, run_hpcompat):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        first = run_hpcompat(parabola, XN_SPACE, n_trials=4, seed=None, study=study)
        second = run_hpcompat(parabola, XN_SPACE, n_trials=10, seed=None, study=study)
        assert [trial.number for trial in second.trials] == list(range(10))
        assert trial_rows(second)[:4] == trial_rows(first)
        assert len(study.trials) == 10
        with pytest.warns(UserWarning, match="no trial was run: there are 10 already"):
            assert trial_rows(run_hpcompat(parabola, XN_SPACE, n_trials=10, seed=None, study=study)) == trial_rows(
                second
            )

    def test_study_of_another_space_raises(self, run_hpcompat):
        study = optuna.create_study()
        study.optimize(lambda trial: trial.suggest_float("x", 5.0, 6.0), n_trials=2)
        with pytest.raises(hp.BackendError, match="holds trials of another space") as refusal:
            run_hpcompat(parabola, XN_SPACE, n_trials=4, seed=None, study=study)
        assert {issue.path for issue in refusal.value.issues} == {"trial 0", "trial 1"}

    @pytest.mark.parametrize("kind", FILE_STORAGES)
    def test_search_in_storage_resumes(self, run_hpcompat, tmp_path, kind):
        def storage():
            return open_storage(locate_storage(kind, tmp_path))

        def function(trial):
            if trial.number == 1:
                raise ValueError("once")
            return trial["float"]

        named = {"study_name": "digits", "load_if_exists": True}
        first = run_hpcompat(function, EVERY_TYPE, n_trials=4, storage=storage(), **named)
        resumed = run_hpcompat(function, EVERY_TYPE, n_trials=7, storage=storage(), **named)
        assert [trial.number for trial in resumed.trials] == list(range(7))
        for before, after in zip(first.trials, resumed.trials, strict=False):
            assert with_types(dict(after.params)) == with_types(dict(before.params))
            assert (after.values, after.state, after.error) == (before.values, before.state, before.error)
        assert len({trial.value for trial in resumed.trials}) == 7  # no params twice

    def test_study_name_as_study_raises(self, run_hpcompat):
        with pytest.raises(
            hp.BackendError,
            match=r"study: expected an optuna\.Study, got 'digits' \(or give storage= and study_name=\)",
        ):
            run_hpcompat(parabola, XN_SPACE, n_trials=5, study="digits", seed=None)

    def test_study_stop_ends_search(self, run_hpcompat):
        grid = optuna.samplers.GridSampler({"x": [0.0, 4.0], "n": [1, 2]})
        exhausted = run_hpcompat(parabola, XN_SPACE, n_trials=20, sampler=grid, seed=None)
        assert sorted(trial.value for trial in exhausted.trials) == [2.0, 3.0, 10.0, 11.0]

        def stop_study(trial):
            if trial.number == 3:
                trial.study.stop()
            return parabola(trial)

        assert [trial.number for trial in run_hpcompat(stop_study, XN_SPACE, n_trials=20).trials] == [0, 1, 2, 3]

    def test_two_searches_share_a_study(self, run_hpcompat, tmp_path):
        storage = f"sqlite:///{tmp_path}/study.db"
        calls = []

        def start_second_search(trial):
            if trial.number == 2 and not calls:
                calls.append(trial.number)
                search_in_thread()
            return parabola(trial)

        def search_in_thread():
            from threading import Thread

            thread = Thread(target=lambda: inner.append(run_hpcompat(parabola, XN_SPACE, n_trials=5, seed=1, **shared)))
            thread.start()
            thread.join()

        inner = []
        shared = {"storage": storage, "study_name": "shared", "load_if_exists": True}
        outer = run_hpcompat(start_second_search, XN_SPACE, n_trials=6, seed=0, **shared)
        assert [trial.number for trial in outer.trials] == list(range(6))
        assert [trial.number for trial in inner[0].trials] == [0, 1, 3, 4]  # the running trial 2 counts in n_trials

    def test_verbosity_of_optuna_is_restored(self, run_hpcompat):
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.DEBUG)
        try:
            run_hpcompat(parabola, XN_SPACE, n_trials=1)
            assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
        finally:
            optuna.logging.set_verbosity(verbosity)

    def test_methods_of_optuna_trial_are_available(self, run_hpcompat):
        def function(trial):
            trial.set_user_attr("note", trial.number)
            return trial["x"] + trial.suggest_int("extra", 5, 6)

        result = run_hpcompat(function, XN_SPACE, n_trials=2)
        assert [trial.user_attrs["note"] for trial in result.native.trials] == [0, 1]
        assert all(trial.params["extra"] in (5, 6) for trial in result.trials)


def note_and_evaluate(trial):
    trial.set_constraint("room", trial["x"] - 2)
    trial.set_user_attr("error", "mine")
    trial.set_user_attr("run_id", [1, {"a": None}])
    if trial.number == 1:
        raise ValueError("once")
    return -trial["x"]


def note_rows(result):
    return [(trial.number, trial.state, trial.user_attrs, trial.constraints, trial.cause) for trial in result.trials]


class TestUserAttrsAndConstraints:
    def test_attributes_and_constraints_are_read_from_storage(self, run_hpcompat, tmp_path):
        storage = {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "x", "load_if_exists": True}
        first = run_hpcompat(note_and_evaluate, XN_SPACE, n_trials=3, **storage)
        resumed = run_hpcompat(note_and_evaluate, XN_SPACE, n_trials=4, **storage)
        assert note_rows(resumed)[:3] == note_rows(first)
        assert [trial.cause for trial in resumed.trials] == [None, "ValueError: once", None, None]
        assert {trial.run_id for trial in resumed.trials} == {None}
        assert resumed.trials[1].user_attrs == {"error": "mine", "run_id": [1, {"a": None}]}
        assert not BEST_IS_FEASIBLE or resumed.best.value == resumed.native.best_value

    def test_constraints_of_users_study_are_read(self, run_hpcompat):
        def native(trial):
            x, n = trial.suggest_float("x", 0.0, 4.0), trial.suggest_int("n", 1, 3)
            set_constraint(trial, "room", x - 2)
            trial.set_user_attr("n", n)
            return -x

        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(native, n_trials=6)
        with pytest.warns(UserWarning, match="there are 6 already"):
            result = run_hpcompat(note_and_evaluate, XN_SPACE, n_trials=6, seed=None, study=study)
        assert not BEST_IS_FEASIBLE or result.best.number == study.best_trial.number
        assert result.best.constraints == {"room": result.best.params["x"] - 2}
        assert [trial.user_attrs for trial in result.trials] == [{"n": trial.params["n"]} for trial in result.trials]

    def test_constraints_reach_sampler(self, run_hpcompat):
        def native(trial):
            x = trial.suggest_float("x", 0.0, 4.0)
            set_constraint(trial, "room", x - 2)
            return -x - trial.suggest_int("n", 1, 3)

        def function(trial):
            trial.set_constraint("room", trial["x"] - 2)
            return -trial["x"] - trial["n"]

        study = optuna.create_study(sampler=make_tpe_sampler(seed=4))
        study.optimize(native, n_trials=20)
        result = run_hpcompat(function, XN_SPACE, n_trials=20, seed=4)
        assert [trial.value for trial in result.trials] == [trial.value for trial in study.trials]
        assert not BEST_IS_FEASIBLE or result.best.number == study.best_trial.number

    def test_constraints_func_of_sampler_is_used(self, run_hpcompat, tmp_path):
        def function(trial):
            trial.set_user_attr("room", (trial["x"] - 2, -1))
            return -trial["x"]

        def constraints_func(trial):
            return tuple(trial.user_attrs["room"])

        with pytest.warns((FutureWarning, ExperimentalWarning)):
            sampler = optuna.samplers.TPESampler(seed=0, constraints_func=constraints_func)
        out = str(tmp_path)
        result = run_hpcompat(function, XN_SPACE, n_trials=8, seed=None, sampler=sampler, output_dir=out)
        assert [trial.constraints for trial in result.trials] == [
            {"0": trial.params["x"] - 2, "1": -1.0} for trial in result.trials
        ]
        assert not BEST_IS_FEASIBLE or result.best.number == result.native.best_trial.number
        assert False in [trial.is_feasible for trial in result.trials]
        assert (
            run_hpcompat(function, XN_SPACE, n_trials=8, seed=None, output_dir=out, resume=True).trials == result.trials
        )

    def test_constraints_func_that_raises_ends_search_with_the_trial(self, run_hpcompat):
        with pytest.warns((FutureWarning, ExperimentalWarning)):
            sampler = optuna.samplers.TPESampler(constraints_func=lambda trial: [1 / 0])
        with pytest.raises(hp.SearchError, match="ZeroDivisionError") as failure:
            run_hpcompat(parabola, XN_SPACE, n_trials=3, seed=None, sampler=sampler)
        assert [trial.state for trial in failure.value.trials] == ["COMPLETE"]

    def test_enqueued_trial_has_its_attributes(self, run_hpcompat):
        def function(trial):
            trial.set_user_attr("copy", trial.user_attrs.get("memo"))
            return trial["x"]

        study = optuna.create_study()
        study.enqueue_trial({"x": 1.0, "n": 2}, user_attrs={"memo": "mine"})
        result = run_hpcompat(function, XN_SPACE, n_trials=2, seed=None, study=study)
        assert [trial.user_attrs for trial in result.trials] == [{"memo": "mine", "copy": "mine"}, {"copy": None}]

    def test_to_optuna_keeps_user_attribute_named_params(self, run_hpcompat):
        def function(trial):
            if trial.number:
                trial.set_user_attr("params", 7)
            return trial["x"]

        result = run_hpcompat(function, XN_SPACE, n_trials=2)
        assert [trial.user_attrs["params"] for trial in result.to_optuna().trials] == [result.trials[0].params, 7]

    def test_internal_attributes_in_history_are_ignored(self, run_hpcompat):
        history = [hp.Trial(0, {"x": 1.0, "n": 1}, (1.0,), user_attrs={"hpcompat: surplus": True, "mine": 1})]
        (frozen_trial, _) = run_hpcompat(parabola, XN_SPACE, n_trials=1, history=history).native.trials
        assert "hpcompat: surplus" not in frozen_trial.user_attrs
        assert frozen_trial.user_attrs["mine"] == 1
