"""Generated Python source runs without changes, and defines the space that it was generated from."""

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.cli.codegen import encoded_levels, optuna_source, python_source, ray_source
from hpcompat.errors import TranslationError
from hpcompat.space.values import strict_equal
from hpcompat.testing import spaces
from hpcompat.translators import translate
from tests.cli.helpers import draw_params, execute, fewer_examples
from tests.cli.published_specs import CATBOOST, DEPTHS


def suggest_function(space: hp.SearchSpace) -> Any:
    """Return the function that the source for Optuna defines."""
    return execute(optuna_source(translate(space, "optuna")))["suggest"]


class TestPythonSource:
    @fewer_examples
    @given(spaces())
    def test_source_of_any_space_defines_equal_space(self, space: hp.SearchSpace) -> None:
        assert execute(python_source(space))["space"] == space

    def test_deeply_nested_space_raises(self) -> None:
        group: Any = hp.Constant(1)
        for _ in range(110):
            group = hp.SearchSpace({"g": group}, when={"gate": 1})
        with pytest.raises(TranslationError, match="--to json"):
            python_source(hp.SearchSpace({"gate": hp.Int(0, 1), "g": group}))


class TestOptunaSource:
    @fewer_examples
    @given(spaces("optuna", levels=("native", "equivalent")) | spaces(), st.integers(0, 2**32 - 1))
    def test_any_space_suggests_same_params_as_hpcompat(self, space: hp.SearchSpace, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        trial = study.ask()
        params = hp.to_optuna(space, encode=True)(trial)
        translation = translate(space, "optuna", encode=True)
        suggest = execute(optuna_source(translation))["suggest"]
        suggested = suggest(optuna.trial.FixedTrial(trial.params))
        if encoded_levels(translation):
            assert strict_equal(suggested, params)
        else:  # plain Optuna leaves rounding noise in the values of a grid
            assert suggested.keys() == params.keys()
            assert strict_equal(translation.decode(space.flatten(suggested)), params)

    @pytest.mark.parametrize("calls", [CATBOOST, DEPTHS], ids=["categorical parent", "int parent"])
    def test_conditions_become_ifs(self, calls: list[dict[str, Any]]) -> None:
        space = hp.from_optuna(calls)
        suggest = suggest_function(space)
        drawn = draw_params(suggest)
        for params in drawn:
            space.validate(params)
        assert len({tuple(params) for params in drawn}) > 1
        assert hp.from_optuna(suggest) == space

    def test_conditional_groups_are_created_when_active(self) -> None:
        space = hp.SearchSpace(
            {
                "optim": hp.Categorical(["adamw", "sgd", None, True]),
                "momentum": hp.Float(0.0, 0.9, when={"optim": "sgd"}),
                "nesterov": hp.Categorical([True, False], when={"optim": ["sgd", "adamw"]}),
                "damping": hp.Int(1, 9, step=2, when={"nesterov": True}),
                "model": {
                    "layers": hp.Int(1, 4),
                    "head": hp.SearchSpace(
                        {"width": hp.Categorical([16, 32]), "inner": {"z": hp.Int(1, 3, log=True)}},
                        when={"optim": [None, True]},
                    ),
                },
                "late": {"seed": hp.Constant((1, [2]), when={"model.head.width": 16})},
                "both": hp.Float(0, 1, when={"optim": True, "model.layers": [2, 3]}),
            }
        )
        suggest = suggest_function(space)
        drawn = draw_params(suggest, 200)
        for params in drawn:
            space.validate(params)
        assert {"late" in params for params in drawn} == {"both" in params for params in drawn} == {True, False}
        read_back = hp.from_optuna(suggest)
        for seed in range(200):
            assert space.contains(read_back.sample(seed))
            assert read_back.contains(space.sample(seed))

    def test_source_with_float_parent_uses_hpcompat(self) -> None:
        """Optuna would suggest 0.30000000000000004, which does not equal 0.3."""
        space = hp.SearchSpace({"x": hp.Float(0, 1, step=0.1), "y": hp.Int(1, 2, when={"x": [0.3, 0.7]})})
        drawn = draw_params(suggest_function(space), 60)
        for params in drawn:
            space.validate(params)
        assert any("y" in params for params in drawn)

    def test_long_chain_of_conditions_is_indented_within_limit(self) -> None:
        chain: dict[str, Any] = {"p0": hp.Int(0, 1)}
        for depth in range(1, 120):
            chain[f"p{depth}"] = hp.Int(0, 1, when={f"p{depth - 1}": [0, 1]})
        space = hp.SearchSpace(chain)
        for params in draw_params(suggest_function(space), 2):
            space.validate(params)


class TestRaySource:
    @fewer_examples
    @given(spaces(), st.sampled_from([None, "optuna", True]))
    def test_any_space_makes_same_domains_as_hpcompat(self, space: hp.SearchSpace, searcher: Any) -> None:
        source = ray_source(translate(space, "ray", encode=True, searcher=searcher))
        domains = hp.to_ray(space, encode=True, searcher=searcher)
        assert are_equal_domains(execute(source)["param_space"], domains)


def are_equal_domains(one: Any, other: Any) -> bool:
    """Return whether two dicts hold the same domains with the same arguments, and the same groups and constants."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(are_equal_domains(one[name], other[name]) for name in one)
    if hasattr(one, "__dict__") and hasattr(other, "__dict__"):  # a domain, or its sampler
        return type(one) is type(other) and are_equal_domains(vars(one), vars(other))
    return strict_equal(one, other)
