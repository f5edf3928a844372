"""Enumeration of the configurations of a finite space."""

from __future__ import annotations

import pytest

import hpcompat as hp
from hpcompat.backends.base import iter_configurations, iter_untried
from hpcompat.space.values import strict_key

SPACE = hp.SearchSpace({"optim": hp.Categorical(["adamw", "sgd"]), "k": hp.Int(0, 1, when={"optim": "sgd"})})
CONTINUOUS = hp.SearchSpace({"x": hp.Float(0, 1)})


class TestIterConfigurations:
    def test_last_parameter_changes_fastest(self):
        space = {"a": hp.Int(1, 2), "b": hp.Categorical(["x", "y"])}
        pairs = [tuple(params.values()) for params in iter_configurations(hp.SearchSpace(space))]
        assert pairs == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]

    def test_unmet_condition_omits_parameter(self):
        assert list(iter_configurations(SPACE)) == [
            {"optim": "adamw"},
            {"optim": "sgd", "k": 0},
            {"optim": "sgd", "k": 1},
        ]

    @pytest.mark.parametrize("parameter", [hp.Float(0, 1), hp.Normal(0, 1), hp.Categorical([1, 2], weights=[1, 2])])
    def test_infinite_or_weighted_parameter_raises_at_once(self, parameter):
        with pytest.raises(hp.BackendError, match="a grid needs a finite space, without weights\n  x: "):
            iter_configurations(hp.SearchSpace({"x": parameter}))


class TestIterUntried:
    def test_tried_configurations_are_skipped(self):
        tried = {strict_key({"optim": "sgd", "k": 0})}
        assert list(iter_untried(SPACE, tried)) == [{"optim": "adamw"}, {"optim": "sgd", "k": 1}]

    def test_configurations_tried_later_are_skipped(self):
        tried = set()
        untried = iter_untried(SPACE, tried)
        assert next(untried) == {"optim": "adamw"}
        tried.add(strict_key({"optim": "sgd", "k": 0}))
        assert list(untried) == [{"optim": "sgd", "k": 1}]

    def test_equal_values_of_other_types_are_distinct(self):
        space = hp.SearchSpace({"x": hp.Categorical([1, True])})
        assert [params["x"] is True for params in iter_untried(space, {strict_key({"x": 1})})] == [True]

    def test_infinite_space_raises_at_once(self):
        with pytest.raises(hp.BackendError):
            iter_untried(CONTINUOUS, set())
