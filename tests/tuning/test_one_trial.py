"""One trial is the same on each backend: its attributes, its constraints, how it is pruned; asserted by the same code.

Ray's worker processes import this module: what takes seconds to import is imported where it is needed. And
one search shows several things.
"""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import optuna
import pytest

import hpcompat as hp

BACKENDS = ("optuna", "ray", "sigopt", "wandb")
PRUNING = {"optuna": "asha", "ray": "asha", "wandb": "hyperband"}
NINE = {"x": hp.Categorical([float(x) for x in range(9)])}
NOTED = {"error": "mine", "run_id": 7, "directory": "/", "params": None, "state": [1, 2], "deep": {"a": [None, True]}}
"""What a trial may note, under names that stores and the library use themselves."""


def of_all_sorts(trial):
    """By its number a trial that sets, fails, or is pruned."""
    number = trial.number
    if number == 0:
        for name, value in NOTED.items():
            trial.set_user_attr(name, value)
        trial.set_user_attr("score", np.float32(0.5))
        trial.set_user_attr("pair", (1, [2.5]))
        assert trial.user_attrs == {**NOTED, "score": 0.5, "pair": [1, [2.5]]}
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
def found(search, tmp_path_factory):
    @cache
    def found(backend):
        out = str(tmp_path_factory.mktemp(backend))
        return search(of_all_sorts, NINE, backend=backend, direction="maximize", n_trials=9, output_dir=out), out

    return found


@pytest.mark.parametrize("backend", BACKENDS)
class TestConstraints:
    def test_infeasible_trial_is_never_best(self, found, backend):
        result, _ = found(backend)
        assert [trial.constraints["room"] for trial in result.trials] == [-1, 1, -1, -1, -1, -1, -1, -1, -1]
        assert result.trials[1].value == 100.0
        assert not result.trials[1].is_feasible
        assert result.best is result.trials[0]
        assert result.pareto_front == (result.trials[0],)
        assert result.to_optuna().best_trial.number == 0

    def test_every_complete_trial_infeasible_has_no_best(self, called, backend):
        def infeasible(trial):
            trial.set_constraint("room", 2.5 + trial.number)
            return trial["x"]

        with pytest.raises(hp.SearchError, match="no complete trial is feasible") as refusal:
            called(hp.hyperparameter_search, infeasible, NINE, None, 2, backend=backend)
        assert list(map(str, refusal.value.issues)) == ["room: is above 0 in 2 trials, by at least 2.5"]
        assert [trial.constraints["room"] for trial in refusal.value.trials] == [2.5, 3.5]
        if backend == "optuna":
            both = {"direction": ["minimize"] * 2, "backend": backend}
            with pytest.raises(hp.SearchError, match="no complete trial is feasible"):
                called(hp.hyperparameter_search, lambda trial: [infeasible(trial)] * 2, NINE, None, 2, **both)

    def test_pareto_front_has_feasible_trials_only(self, search, backend):
        def both(trial):
            trial.set_constraint("odd", trial.number % 2)
            return [trial["x"], -trial["x"]]

        sampler = "random" if backend == "wandb" else None
        directions = ["minimize", "minimize"]
        result = search(both, NINE, backend=backend, direction=directions, sampler=sampler, n_trials=4)
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
class TestNotes:
    def test_notes_are_kept_however_trial_ends(self, found, backend):
        result, _ = found(backend)
        first, *others = result.trials
        assert first.user_attrs == {**NOTED, "score": 0.5, "pair": [1, [2.5]], "number": 0}
        assert [type(value) for value in first.user_attrs["pair"]] == [int, list]
        assert [trial.user_attrs for trial in others] == [{"number": trial.number} for trial in others]
        assert all(trial.constraints["time"] == 0 for trial in result.trials)
        assert (first.error, first.directory) == (None, None)

    def test_invalid_note_fails_trial_with_cause(self, found, backend):
        result, _ = found(backend)
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

    def test_notes_are_in_journal_and_dataframe(self, found, search, backend):
        result, out = found(backend)
        options = {"backend": backend, "direction": "maximize", "output_dir": out, "resume": True}
        again = search(of_all_sorts, NINE, n_trials=9, **options)
        assert again.trials == result.trials
        frame = again.to_dataframe()
        assert frame["constraint.room"].tolist() == [trial.constraints["room"] for trial in result.trials]
        assert frame["user_attrs.number"].tolist() == list(range(9))
        assert frame["user_attrs.run_id"][0] == 7

    def test_notes_survive_resume(self, found, search, backend):
        history = found(backend)[0].trials
        more = search(lambda trial: trial["x"], NINE, backend=backend, n_trials=1, history=history)
        assert more.best.is_feasible
        if backend == "optuna":
            forms = more.native.trials[:9]
            assert [form.constraints for form in forms] == [dict(trial.constraints) for trial in history]
            assert [form.user_attrs["number"] for form in forms] == list(range(9))
            assert forms[0].user_attrs["error"] == "mine"


class TestUnsupportedAttribute:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_attribute_of_one_backend_only_raises_with_its_name(self, search, backend):
        def function(trial):
            if backend == "optuna":
                return float(trial.study.direction == optuna.study.StudyDirection.MINIMIZE)
            with pytest.raises(AttributeError, match="the trial has no 'study': only Optuna's own trial may have it"):
                _ = trial.study
            return 1.0

        assert search(function, NINE, backend=backend, n_trials=1).trials[0].values == (1.0,)


def reports(trial):
    """Whether the trial was told to stop on its way, of nine reports: each trial is worse than those before."""
    for step in range(1, 10):
        trial.report(float(trial.number * step), step)
        if trial.should_prune():
            return True
    return False


def returns(trial):
    return 0.5 if reports(trial) else 1.0


def returns_what_is_no_value(trial):
    return {"a": 1, "b": 2} if reports(trial) else 1.0


def goes_on(trial):
    if reports(trial):
        trial.report(0.0, 20)
    return 0.5


def raises(trial):
    if reports(trial):
        raise hp.TrialPruned
    return 1.0


@pytest.mark.parametrize("backend", PRUNING)
class TestPruned:
    @pytest.mark.parametrize("function", [returns, returns_what_is_no_value, raises])
    def test_trial_told_to_stop_is_pruned_whatever_it_returns(self, search, backend, function):
        result = search(function, NINE, backend=backend, n_trials=8, pruner=PRUNING[backend])
        stopped = [len(trial.intermediate_values) < 9 for trial in result.trials]
        assert [trial.state for trial in result.trials] == ["PRUNED" if short else "COMPLETE" for short in stopped]
        assert True in stopped
        for trial in result.trials:
            last = trial.intermediate_values[max(trial.intermediate_values)]
            assert trial.value == (last if trial.state == "PRUNED" else 1.0)

    def test_trial_that_reports_again_is_not_pruned(self, search, backend):
        result = search(goes_on, NINE, backend=backend, n_trials=8, pruner=PRUNING[backend])
        went_on = [20 in trial.intermediate_values for trial in result.trials]
        if backend == "ray":  # there the scheduler has ended the trial: nothing that it does is heard of any more
            assert "PRUNED" in {trial.state for trial in result.trials}
            assert went_on == [False] * 8
        else:
            assert True in went_on
            assert {trial.state for trial in result.trials} == {"COMPLETE"}


class TestPrunedTrainer:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_trial_pruned_raised_by_trainer_callback_prunes_trial(self, search, tmp_path, backend):
        from transformers import TrainerCallback

        from tests.helpers.trainers import Net, create_trainer

        running = []

        class Raises(TrainerCallback):
            def on_evaluate(self, args, state, control, **kwargs):
                if running[-1] == 1:
                    raise hp.TrialPruned

        def model_init(trial):
            running.append(trial.number if trial is not None else -1)
            return Net(2)

        trainer = create_trainer(str(tmp_path), model_init, trainer={"callbacks": [Raises()]})
        space = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
        result = search(trainer, space, backend=backend, n_trials=3)
        assert [trial.state for trial in result.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
