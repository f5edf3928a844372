"""User attributes, constraints and pruning of a trial work the same on all backends.

Ray's worker processes import this module, so slow imports are inside the functions that need them. Several tests
share one search.
"""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import optuna
import pytest

import hpcompat as hp
from hpcompat.compat.optuna import get_constraints
from tests.helpers.versions import is_since

BACKENDS = ("optuna", "ray", "sigopt", "wandb")
PRUNING = {"optuna": "asha", "ray": "asha", "wandb": "hyperband"}
NINE_VALUES = {"x": hp.Categorical([float(x) for x in range(9)])}
USER_ATTRS = {
    "error": "mine",
    "run_id": 7,
    "directory": "/",
    "params": None,
    "state": [1, 2],
    "deep": {"a": [None, True]},
}
"""Valid user attributes, under names that storages and hpcompat use themselves."""


def note_fail_or_prune(trial):
    """Set attributes and constraints, then return a value, fail or be pruned, depending on the trial number."""
    number = trial.number
    if number == 0:
        for name, value in USER_ATTRS.items():
            trial.set_user_attr(name, value)
        trial.set_user_attr("score", np.float32(0.5))
        trial.set_user_attr("pair", (1, [2.5]))
        assert trial.user_attrs == {**USER_ATTRS, "score": 0.5, "pair": [1, [2.5]]}
    trial.set_constraint("room", 1 if number == 1 else -1)
    trial.set_constraint(key="time", value=np.float64(0.0))
    assert trial.constraints == {"room": 1.0 if number == 1 else -1.0, "time": 0.0}
    assert type(trial.constraints["time"]) is float
    trial.set_user_attr(key="number", value=number)
    if number == 2:
        raise ValueError("once")
    if number == 3:
        trial.report(3.5, 1)
        assert not trial.should_prune()
        raise hp.TrialPruned
    if number == 4:
        trial.set_user_attr("model", object())
    if number == 5:
        trial.set_constraint("memory", float("nan"))
    if number == 6:
        trial.set_constraint("memory", "much")
    if number == 7:
        trial.set_user_attr("hpcompat: owner", {})
    if number == 8:
        trial.set_user_attr("layers", {1: 2})
    return 100.0 if number == 1 else float(number)


@pytest.fixture(scope="module")
def get_result(search, tmp_path_factory):
    """Run the search once per backend; returns its result and its output_dir."""

    @cache
    def get_result(backend):
        out = str(tmp_path_factory.mktemp(backend))
        return search(
            note_fail_or_prune, NINE_VALUES, backend=backend, direction="maximize", n_trials=9, output_dir=out
        ), out

    return get_result


@pytest.mark.parametrize("backend", BACKENDS)
class TestConstraints:
    def test_infeasible_trial_is_never_best(self, get_result, backend):
        result, _ = get_result(backend)
        assert [trial.constraints["room"] for trial in result.trials] == [-1, 1, -1, -1, -1, -1, -1, -1, -1]
        assert result.trials[1].value == 100.0
        assert not result.trials[1].is_feasible
        assert result.best is result.trials[0]
        assert result.pareto_front == (result.trials[0],)
        if is_since("optuna", "4.0"):  # before, it does not know of constraints
            assert result.to_optuna().best_trial.number == 0

    def test_search_without_feasible_trial_raises(self, run_search, backend):
        def infeasible(trial):
            trial.set_constraint("room", 2.5 + trial.number)
            return trial["x"]

        with pytest.raises(hp.SearchError, match="no complete trial is feasible") as refusal:
            run_search(hp.hyperparameter_search, infeasible, NINE_VALUES, None, 2, backend=backend)
        assert list(map(str, refusal.value.issues)) == ["room: is above 0 in 2 trials, by at least 2.5"]
        assert [trial.constraints["room"] for trial in refusal.value.trials] == [2.5, 3.5]
        if backend == "optuna":
            two_objectives = {"direction": ["minimize"] * 2, "backend": backend}
            with pytest.raises(hp.SearchError, match="no complete trial is feasible"):
                run_search(
                    hp.hyperparameter_search,
                    lambda trial: [infeasible(trial)] * 2,
                    NINE_VALUES,
                    None,
                    2,
                    **two_objectives,
                )

    def test_pareto_front_has_feasible_trials_only(self, search, backend):
        def evaluate_both(trial):
            trial.set_constraint("odd", trial.number % 2)
            return [trial["x"], -trial["x"]]

        sampler = "random" if backend == "wandb" else None
        directions = ["minimize", "minimize"]
        result = search(evaluate_both, NINE_VALUES, backend=backend, direction=directions, sampler=sampler, n_trials=4)
        assert [trial.number for trial in result.pareto_front] == [0, 2]

    def test_checkpoints_of_best_feasible_trial_are_kept(self, search, tmp_path, backend):
        from tests.helpers.trainers import Net, create_trainer

        def model_init(trial):
            if trial is not None:
                trial.set_constraint("room", -1 if trial.number == 1 else 0.1)
                trial.set_user_attr("width", 2)
            return Net(2)

        trainer = create_trainer(str(tmp_path), model_init, save_strategy="epoch")
        space = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
        result = search(trainer, space, backend=backend, n_trials=3)
        assert result.best is result.trials[1]
        assert [name for name in os.listdir(tmp_path) if name.startswith("run-")] == ["run-1"]
        assert os.path.isdir(result.best.checkpoint)
        assert [dict(trial.user_attrs) for trial in result.trials] == [{"width": 2}] * 3


@pytest.mark.parametrize("backend", BACKENDS)
class TestUserAttrs:
    def test_attributes_of_failed_and_pruned_trials_are_kept(self, get_result, backend):
        result, _ = get_result(backend)
        first, *others = result.trials
        assert first.user_attrs == {**USER_ATTRS, "score": 0.5, "pair": [1, [2.5]], "number": 0}
        assert [type(value) for value in first.user_attrs["pair"]] == [int, list]
        assert [trial.user_attrs for trial in others] == [{"number": trial.number} for trial in others]
        assert all(trial.constraints["time"] == 0 for trial in result.trials)
        assert (first.error, first.directory) == (None, None)

    def test_invalid_attribute_or_constraint_fails_trial_with_cause(self, get_result, backend):
        result, _ = get_result(backend)
        assert [(trial.state, trial.cause) for trial in result.trials[2:]] == [
            ("FAILED", "ValueError: once"),
            ("PRUNED", None),
            (
                "FAILED",
                "TypeError: user attribute 'model': expected a JSON value, but object is not a JSON value; "
                "use a list, or a name that your code maps to the object",
            ),
            ("FAILED", "ValueError: constraint 'memory': expected a number, got nan"),
            ("FAILED", "TypeError: constraint 'memory': expected a number, got 'much'"),
            (
                "FAILED",
                "ValueError: user attribute 'hpcompat: owner': names that begin with 'hpcompat:' are reserved; "
                "choose another name",
            ),
            (
                "FAILED",
                "TypeError: user attribute 'layers': expected a JSON value, but a dict whose keys are not all strings "
                "is not a JSON value; use string keys",
            ),
        ]

    def test_attributes_are_in_journal_and_dataframe(self, get_result, search, backend):
        result, out = get_result(backend)
        options = {"backend": backend, "direction": "maximize", "output_dir": out, "resume": True}
        resumed = search(note_fail_or_prune, NINE_VALUES, n_trials=9, **options)
        assert resumed.trials == result.trials
        frame = resumed.to_dataframe()
        assert frame["constraint.room"].tolist() == [trial.constraints["room"] for trial in result.trials]
        assert frame["user_attrs.number"].tolist() == list(range(9))
        assert frame["user_attrs.run_id"][0] == 7

    def test_attributes_survive_resume(self, get_result, search, backend):
        history = get_result(backend)[0].trials
        resumed = search(lambda trial: trial["x"], NINE_VALUES, backend=backend, n_trials=1, history=history)
        assert resumed.best.is_feasible
        if backend == "optuna":
            frozen_trials = resumed.native.trials[:9]
            assert [get_constraints(frozen) for frozen in frozen_trials] == [trial.constraints for trial in history]
            assert [frozen.user_attrs["number"] for frozen in frozen_trials] == list(range(9))
            assert frozen_trials[0].user_attrs["error"] == "mine"


class TestUnsupportedAttribute:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_attribute_of_one_backend_only_raises_with_its_name(self, search, backend):
        def function(trial):
            if backend == "optuna":
                return float(trial.study.direction == optuna.study.StudyDirection.MINIMIZE)
            with pytest.raises(AttributeError, match="the trial has no 'study': only Optuna's own trial may have it"):
                _ = trial.study
            return 1.0

        assert search(function, NINE_VALUES, backend=backend, n_trials=1).trials[0].values == (1.0,)


def report_until_pruned(trial):
    """Report up to nine values, worse for each later trial; return whether the pruner stopped the trial."""
    for step in range(1, 10):
        trial.report(float(trial.number * step), step)
        if trial.should_prune():
            return True
    return False


def return_value(trial):
    return 0.5 if report_until_pruned(trial) else 1.0


def return_invalid_value(trial):
    return {"a": 1, "b": 2} if report_until_pruned(trial) else 1.0


def report_again(trial):
    if report_until_pruned(trial):
        trial.report(0.0, 20)
    return 0.5


def raise_pruned(trial):
    if report_until_pruned(trial):
        raise hp.TrialPruned
    return 1.0


@pytest.mark.parametrize("backend", PRUNING)
class TestPruned:
    @pytest.mark.parametrize("function", [return_value, return_invalid_value, raise_pruned])
    def test_stopped_trial_is_pruned_whatever_it_returns(self, search, backend, function):
        result = search(function, NINE_VALUES, backend=backend, n_trials=8, pruner=PRUNING[backend])
        stopped = [len(trial.intermediate_values) < 9 for trial in result.trials]
        assert [trial.state for trial in result.trials] == [
            "PRUNED" if is_stopped else "COMPLETE" for is_stopped in stopped
        ]
        assert True in stopped
        for trial in result.trials:
            last = trial.intermediate_values[max(trial.intermediate_values)]
            assert trial.value == (last if trial.state == "PRUNED" else 1.0)

    def test_trial_that_reports_again_is_not_pruned(self, search, backend):
        result = search(report_again, NINE_VALUES, backend=backend, n_trials=8, pruner=PRUNING[backend])
        has_late_report = [20 in trial.intermediate_values for trial in result.trials]
        if backend == "ray":  # the scheduler has ended the trial and ignores its later reports
            assert "PRUNED" in {trial.state for trial in result.trials}
            assert has_late_report == [False] * 8
        else:
            assert True in has_late_report
            assert {trial.state for trial in result.trials} == {"COMPLETE"}


class TestPrunedTrainer:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_trial_pruned_in_trainer_callback_prunes_trial(self, search, tmp_path, backend):
        from transformers import TrainerCallback

        from tests.helpers.trainers import Net, create_trainer

        trial_numbers = []

        class PruneSecond(TrainerCallback):
            def on_evaluate(self, args, state, control, **kwargs):
                if trial_numbers[-1] == 1:
                    raise hp.TrialPruned

        def model_init(trial):
            trial_numbers.append(trial.number if trial is not None else -1)
            return Net(2)

        trainer = create_trainer(str(tmp_path), model_init, trainer={"callbacks": [PruneSecond()]})
        space = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
        result = search(trainer, space, backend=backend, n_trials=3)
        assert [trial.state for trial in result.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
