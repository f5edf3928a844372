"""The trial that user code receives supports the API of every dialect."""

from __future__ import annotations

import copy
import enum
import math
import pickle

import numpy as np
import pytest
import torch

import hpcompat as hp
from hpcompat.objectives.trial_view import TrialView
from hpcompat.trials.config import Suggestion

SPACE = hp.SearchSpace(
    {
        "lr": hp.Float(0.0, 1.0),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "momentum": hp.Float(0.0, 0.9, when={"optim": "sgd"}),
        "model": {"layers": hp.Int(1, 4)},
        "a.b": hp.Int(1, 2),
    }
)
PARAMS = {"lr": 0.5, "optim": "adamw", "model": {"layers": 2}, "a.b": 1}


@pytest.fixture
def trial():
    return TrialView(Suggestion(7, PARAMS), SPACE)


def suggest_params(trial):
    return trial.suggest_float("lr", 0.0, 1.0, log=False), trial.suggest_categorical("optim", ["adamw", "sgd"])


class TestUserAttrsAndConstraints:
    def test_values_are_copied_and_sent_to_the_engine_once(self):
        calls = []
        setters = {
            "set_user_attr": lambda *args: calls.append(args),
            "set_constraint": lambda *args: calls.append(args),
        }
        trial = TrialView(Suggestion(0, {}, **setters))
        value = [1, {"a": (2,)}]
        trial.set_user_attr("list", value)
        trial.set_constraint("room", True)
        value.append(2)
        trial.user_attrs["list"].append(3)
        trial.constraints["room"] = 9.0
        with pytest.warns(UserWarning, match=r"constraint 'room': it is 1.0 already, and -1.0 is ignored"):
            trial.set_constraint("room", -1)
        assert calls == [("list", [1, {"a": [2]}]), ("room", 1.0)]
        assert (trial.user_attrs, trial.constraints) == ({"list": [1, {"a": [2]}]}, {"room": 1.0})

    @pytest.mark.parametrize(
        ("value", "stored"),
        [
            (np.float32(0.5), 0.5),
            (np.int64(3), 3),
            (np.True_, True),
            (torch.tensor(2.0), 2.0),
            (math.inf, math.inf),
            ("\x00\ud800", "\x00\ud800"),
            (enum.IntEnum("Size", "LARGE").LARGE, 1),
            ({"a": {"b": (1, [None])}}, {"a": {"b": [1, [None]]}}),
        ],
    )
    def test_attribute_is_stored_as_json_value(self, trial, value, stored):
        trial.set_user_attr("a", value)
        assert trial.user_attrs == {"a": stored}
        assert type(trial.user_attrs["a"]) is type(stored)

    @pytest.mark.parametrize(
        "value", [{1, 2}, b"x", np.ones(2), {"a": {2: 3}}, {None: 1}, [object()], [10**5000], lambda: 1, 1j]
    )
    def test_value_that_is_not_json_raises_with_its_name(self, trial, value):
        with pytest.raises(TypeError, match=r"user attribute 'a': expected a JSON value, but .*; "):
            trial.set_user_attr("a", value)
        assert trial.user_attrs == {}

    def test_value_that_contains_itself_raises(self, trial):
        recursive: list[object] = []
        recursive.append(recursive)
        with pytest.raises(TypeError, match="user attribute 'a'"):
            trial.set_user_attr("a", recursive)

    @pytest.mark.parametrize("key", [1, None, "\ud800", ("a",)])
    def test_name_that_is_not_a_string_raises(self, trial, key):
        for setter in (trial.set_user_attr, trial.set_constraint):
            with pytest.raises(TypeError, match="expected a name that is a string"):
                setter(key, 1)


class TestPruneRequested:
    @pytest.fixture
    def trial(self):
        answers = iter([True, False, False])
        return TrialView(Suggestion(0, {}, should_prune=lambda: next(answers)))

    def test_prune_request_holds_until_next_report(self, trial):
        trial.report(1.0, 1)
        assert trial.should_prune() and not trial.should_prune()
        assert trial.prune_requested
        trial.report(2.0, 1)  # a repeated step is ignored
        assert trial.prune_requested
        trial.report(2.0, 2)
        assert not trial.prune_requested

    def test_negative_step_raises_as_in_optuna(self, trial):
        with pytest.raises(ValueError, match="step must be 0 or more, got -1"):
            trial.report(1.0, -1)

    @pytest.mark.parametrize("step", [0.5, np.float64(1.5), torch.tensor(2.5)])
    def test_fractional_step_raises(self, trial, step):
        with pytest.raises(ValueError, match=r"step must be an integer, got .*\.5"):
            trial.report(1.0, step)
        assert trial.intermediate_values == {}

    def test_integer_step_of_any_type_is_accepted(self, trial):
        for step in (0, 1.0, np.int64(2), torch.tensor(3)):
            trial.report(1.0, step)
        assert trial.intermediate_values == dict.fromkeys(range(4), 1.0)


class TestReports:
    def test_first_report_of_a_step_goes_to_the_pruner(self):
        calls = []
        trial = TrialView(Suggestion(0, {}, lambda value, step: calls.append((value, step)), lambda: len(calls) > 1))
        trial.report(1, step=1)
        assert not trial.should_prune()
        trial.report(2.0, 2)
        trial.report(3.0, 2)
        assert trial.should_prune()
        assert calls == [(1.0, 1), (2.0, 2)]
        assert trial.intermediate_values == {1: 1.0, 2: 2.0}

    def test_several_objectives_raise(self):
        trial = TrialView(Suggestion(0, {}), n_objectives=2)
        for call in (trial.should_prune, lambda: trial.report(1.0, 1)):
            with pytest.raises(NotImplementedError, match="this search has 2"):
                call()


class TestParams:
    @pytest.mark.parametrize(
        "access",
        [
            suggest_params,
            lambda trial: (trial.suggest_uniform("lr", 0, 1), trial.params["optim"]),
            lambda trial: (trial["lr"], trial.get("optim")),
            lambda trial: (trial.assignments["lr"], trial.assignments.get("optim")),
            lambda trial: (lambda lr, optim, **rest: (lr, optim))(**trial),
            lambda trial: (dict(trial)["lr"], dict(trial.items())["optim"]),
        ],
        ids=["optuna", "older optuna", "ray", "sigopt", "keywords", "dict"],
    )
    def test_access_of_every_dialect_gives_the_params(self, trial, access):
        assert access(trial) == (0.5, "adamw")

    def test_mapping_has_the_active_params(self, trial):
        assert trial == PARAMS
        assert (len(trial), list(trial), "lr" in trial, "momentum" in trial) == (4, list(PARAMS), True, False)
        assert (trial.number, trial.id) == (7, "7")
        with pytest.raises(KeyError):
            trial["momentum"]
        with pytest.raises(KeyError):
            trial["model.width"]

    def test_dotted_name_reaches_into_a_group(self, trial):
        assert trial["model"] == {"layers": 2}
        assert trial["model.layers"] == trial.suggest_int("model.layers", 1, 4) == 2
        assert trial["a.b"] == 1

    def test_inactive_or_unknown_name_raises(self, trial):
        with pytest.raises(hp.ParamsError, match="'momentum' is not active in this trial"):
            trial.suggest_float("momentum", 0.0, 0.9)
        with pytest.raises(hp.ParamsError, match="'width' is not in the search space: add it there"):
            trial.suggest_int("width", 1, 4)
        with pytest.raises(AttributeError, match="the trial has no 'study'"):
            _ = trial.study

    def test_unread_params_are_listed(self, trial):
        assert trial.unread == ["lr", "optim", "model.layers", "a.b"]
        _ = trial["model.layers"], trial.suggest_int("a.b", 1, 2)
        assert trial.unread == ["lr", "optim"]
        _ = trial.params
        assert trial.unread == []

    def test_copy_and_pickle_give_the_params(self, trial):
        assert copy.copy(trial) == copy.deepcopy(trial) == pickle.loads(pickle.dumps(trial)) == PARAMS

    def test_suggestion_of_another_type_raises(self, trial):
        assert trial.suggest_float("model.layers", 1, 4) == 2  # an int is a valid float
        with pytest.raises(hp.ParamsError, match=r"suggest_int\('lr', …\): expected int, got 0.5 from the space"):
            trial.suggest_int("lr", 10, 20)
        with pytest.raises(hp.ParamsError, match="expected float, got 'adamw' from the space"):
            trial.suggest_float("optim", 0, 1)
