"""The trial that user code sees answers to the habits of every dialect."""

from __future__ import annotations

import copy
import enum
import math
import pickle

import numpy as np
import pytest
import torch

import hpcompat as hp
from hpcompat.objectives.training_arguments import applied, typed
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


def optunas(trial):
    return trial.suggest_float("lr", 0.0, 1.0, log=False), trial.suggest_categorical("optim", ["adamw", "sgd"])


@pytest.mark.parametrize(
    "habit",
    [
        optunas,
        lambda trial: (trial.suggest_uniform("lr", 0, 1), trial.params["optim"]),
        lambda trial: (trial["lr"], trial.get("optim")),
        lambda trial: (trial.assignments["lr"], trial.assignments.get("optim")),
        lambda trial: (lambda lr, optim, **rest: (lr, optim))(**trial),
        lambda trial: (dict(trial)["lr"], dict(trial.items())["optim"]),
    ],
    ids=["optuna", "older optuna", "ray", "sigopt", "keywords", "dict"],
)
def test_the_params_in_every_way(trial, habit):
    assert habit(trial) == (0.5, "adamw")


def test_it_is_a_mapping(trial):
    assert trial == PARAMS
    assert (len(trial), list(trial), "lr" in trial, "momentum" in trial) == (4, list(PARAMS), True, False)
    assert (trial.number, trial.id) == (7, "7")
    with pytest.raises(KeyError):
        trial["momentum"]
    with pytest.raises(KeyError):
        trial["model.width"]


def test_groups_and_dotted_names(trial):
    assert trial["model"] == {"layers": 2}
    assert trial["model.layers"] == trial.suggest_int("model.layers", 1, 4) == 2
    assert trial["a.b"] == 1


def test_what_is_not_in_the_space_says_so(trial):
    with pytest.raises(hp.ParamsError, match="'momentum' is not active in this trial"):
        trial.suggest_float("momentum", 0.0, 0.9)
    with pytest.raises(hp.ParamsError, match="'width' is not in the search space: add it there"):
        trial.suggest_int("width", 1, 4)
    with pytest.raises(AttributeError, match="the trial has no 'study'"):
        _ = trial.study


def test_what_nobody_asked_for_is_known(trial):
    assert trial.unread == ["lr", "optim", "model.layers", "a.b"]
    _ = trial["model.layers"], trial.suggest_int("a.b", 1, 2)
    assert trial.unread == ["lr", "optim"]
    _ = trial.params
    assert trial.unread == []


def test_reports_go_to_the_engine_once_a_step():
    heard = []
    trial = TrialView(Suggestion(0, {}, lambda value, step: heard.append((value, step)), lambda: len(heard) > 1))
    trial.report(1, step=1)
    assert not trial.should_prune()
    trial.report(2.0, 2)
    trial.report(3.0, 2)
    assert trial.should_prune()
    assert heard == [(1.0, 1), (2.0, 2)]
    assert trial.intermediate_values == {1: 1.0, 2: 2.0}


class TestNotes:
    def test_each_goes_to_the_engine_once_and_as_it_is_kept(self):
        heard = []
        tell = {"set_user_attr": lambda *note: heard.append(note), "set_constraint": lambda *note: heard.append(note)}
        trial = TrialView(Suggestion(0, {}, **tell))
        mine = [1, {"a": (2,)}]
        trial.set_user_attr("list", mine)
        trial.set_constraint("room", True)
        mine.append(2)
        trial.user_attrs["list"].append(3)
        trial.constraints["room"] = 9.0
        with pytest.warns(UserWarning, match=r"constraint 'room': it is 1.0 already, and -1.0 is ignored"):
            trial.set_constraint("room", -1)
        assert heard == [("list", [1, {"a": [2]}]), ("room", 1.0)]
        assert (trial.user_attrs, trial.constraints) == ({"list": [1, {"a": [2]}]}, {"room": 1.0})

    @pytest.mark.parametrize(
        ("value", "kept"),
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
    def test_an_attribute_is_as_json_holds_it(self, trial, value, kept):
        trial.set_user_attr("a", value)
        assert trial.user_attrs == {"a": kept}
        assert type(trial.user_attrs["a"]) is type(kept)

    @pytest.mark.parametrize(
        "value", [{1, 2}, b"x", np.ones(2), {"a": {2: 3}}, {None: 1}, [object()], [10**5000], lambda: 1, 1j]
    )
    def test_any_other_value_is_refused_with_its_name(self, trial, value):
        with pytest.raises(TypeError, match=r"user attribute 'a': expected a JSON value, but .*; "):
            trial.set_user_attr("a", value)
        assert trial.user_attrs == {}

    def test_one_that_contains_itself_is_refused(self, trial):
        around: list[object] = []
        around.append(around)
        with pytest.raises(TypeError, match="user attribute 'a'"):
            trial.set_user_attr("a", around)

    @pytest.mark.parametrize("key", [1, None, "\ud800", ("a",)])
    def test_a_name_is_text(self, trial, key):
        for note in (trial.set_user_attr, trial.set_constraint):
            with pytest.raises(TypeError, match="expected a name that is text"):
                note(key, 1)


class TestToldToStop:
    @pytest.fixture
    def trial(self):
        answers = iter([True, False, False])
        return TrialView(Suggestion(0, {}, should_prune=lambda: next(answers)))

    def test_it_stays_so_until_the_next_report(self, trial):
        trial.report(1.0, 1)
        assert trial.should_prune() and not trial.should_prune()
        assert trial.told_to_stop
        trial.report(2.0, 1)  # of a step that was reported: nothing new
        assert trial.told_to_stop
        trial.report(2.0, 2)
        assert not trial.told_to_stop

    def test_a_negative_step_is_refused_as_by_optuna(self, trial):
        with pytest.raises(ValueError, match="step must be 0 or more, got -1"):
            trial.report(1.0, -1)

    @pytest.mark.parametrize("step", [0.5, np.float64(1.5), torch.tensor(2.5)])
    def test_a_step_between_two_is_refused(self, trial, step):
        with pytest.raises(ValueError, match=r"step must be a whole number, got .*\.5"):
            trial.report(1.0, step)
        assert trial.intermediate_values == {}

    def test_a_step_is_a_whole_number_of_any_kind(self, trial):
        for step in (0, 1.0, np.int64(2), torch.tensor(3)):
            trial.report(1.0, step)
        assert trial.intermediate_values == dict.fromkeys(range(4), 1.0)


def test_several_objectives_have_nothing_to_report():
    trial = TrialView(Suggestion(0, {}), objectives=2)
    for ask in (trial.should_prune, lambda: trial.report(1.0, 1)):
        with pytest.raises(NotImplementedError, match="this search has 2"):
            ask()


def test_it_can_be_copied_and_pickled(trial):
    assert copy.copy(trial) == copy.deepcopy(trial) == pickle.loads(pickle.dumps(trial)) == PARAMS


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, float, 3.0),
        (3, float | None, 3.0),
        (0.25, float, 0.25),
        (4.0, int, 4),
        ("7", int, 7),
        ("1e-5", float, 1e-5),
        ("False", bool, False),
        ("true", bool, True),
        (1, bool, True),
        (None, int | None, None),
        ("cosine", str, "cosine"),
        ("5", str, "5"),
        ((1, 2), list[int], [1, 2]),
        ({"a": 1}, dict | str | None, {"a": 1}),
    ],
)
def test_values_take_the_declared_type(value, hint, expected):
    assert (type(typed(value, hint)), typed(value, hint)) == (type(expected), expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (0.5, int),
        (True, int),
        (True, float),
        (2, bool),
        ("maybe", bool),
        ("x", int),
        (3, str),
        (None, int),
        (2**60 + 1, float),
    ],
)
def test_what_a_type_cannot_hold_is_refused(value, hint):
    with pytest.raises(ValueError, match="is no"):
        typed(value, hint, default=0)


def test_arguments_carry_what_was_set_on_them(make_trainer):
    args = make_trainer().args
    args.note = "mine"
    copied = applied(args, {"learning_rate": 1})
    assert (copied.note, copied.learning_rate, type(copied.learning_rate)) == ("mine", 1.0, float)
    assert args.learning_rate == 5e-5


def test_a_suggestion_of_another_kind_than_the_space_has_is_an_error(trial):
    assert trial.suggest_float("model.layers", 1, 4) == 2  # an int is a float, too
    with pytest.raises(hp.ParamsError, match=r"suggest_int\('lr', …\): the space gives 0.5, which is no int"):
        trial.suggest_int("lr", 10, 20)
    with pytest.raises(hp.ParamsError, match="'adamw', which is no float"):
        trial.suggest_float("optim", 0, 1)


def test_a_text_that_the_declared_enumeration_does_not_have_is_an_error():
    class Colour(enum.Enum):
        RED = "red"

    assert typed("red", Colour | str) == "red"
    with pytest.raises(ValueError, match="'rad' is no Colour: did you mean 'red'"):
        typed("rad", Colour | str)
