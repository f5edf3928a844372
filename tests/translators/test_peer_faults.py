"""Bugs of other search space converters, with a test for each that hpcompat does not have it."""

from __future__ import annotations

import copy
import json
import warnings
from typing import Any

import pytest

import hpcompat as hp
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import strict_equal
from tests.helpers.engines import ENGINES, draw_ray, draw_wandb_random
from tests.helpers.goodness_of_fit import find_misfit

ROUND_TRIPS = {
    "optuna": lambda space: hp.from_optuna(hp.to_optuna(space)),
    "ray": lambda space: hp.from_ray(hp.to_ray(space)),
    "ray optuna": lambda space: hp.from_ray(hp.to_ray(space, searcher="optuna"), searcher="optuna"),
    "sigopt": lambda space: hp.from_sigopt(hp.to_sigopt(space)),
    "wandb": lambda space: hp.from_wandb(hp.to_wandb(space)),
}
WRITERS = {
    "optuna": hp.to_optuna,
    "ray": hp.to_ray,
    "ray optuna": lambda space: hp.to_ray(space, searcher="optuna"),
    "ray searcher": lambda space: hp.to_ray(space, searcher=True),
    "sigopt": hp.to_sigopt,
    "wandb": hp.to_wandb,
}


def draw_values(variant: str, parameter: Parameter, n: int = 1_000) -> list[Any]:
    return [params["x"] for params in ENGINES[variant].draw_params({"x": parameter}, n, 0)]


def rejection_message(write: Any, space: dict[str, Parameter]) -> str:
    with pytest.raises(hp.TranslationError) as error:
        write(space)
    assert all(issue.path and issue.message and issue.hint for issue in error.value.issues)
    return str(error.value)


def through_json(space: hp.SearchSpace) -> hp.SearchSpace:
    return hp.SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))


# -- 1. Vizier and Ray: int [1, 10] shrinks by one with every round trip; log on ints is lost --------


class TestIntRoundTrips:
    @pytest.mark.parametrize("system", ROUND_TRIPS)
    def test_ints_keep_their_bounds(self, system: str) -> None:
        space = read_back = hp.SearchSpace({"x": hp.Int(1, 10), "y": hp.Int(-3, 0)})
        for _ in range(3):
            read_back = ROUND_TRIPS[system](read_back)
        assert read_back == space

    @pytest.mark.parametrize("system", ["optuna", "ray", "ray optuna", "wandb"])
    def test_ints_keep_their_scale(self, system: str) -> None:
        space = read_back = hp.SearchSpace({"x": hp.Int(1, 10, log=True)})
        for _ in range(3):
            read_back = ROUND_TRIPS[system](read_back)
        assert read_back == space

    def test_log_int_is_rejected_by_sigopt(self) -> None:
        assert "no logarithmic ints" in rejection_message(hp.to_sigopt, {"x": hp.Int(1, 10, log=True)})


# -- 2. Ray to Ax and Nevergrad: qrandint(0, 9, 3) becomes [0, 8], q is dropped, 9 is out of reach ----


class TestQuantizedInt:
    def test_step_and_upper_end_are_kept(self) -> None:
        space = hp.from_ray({"x": {"call": "qrandint", "args": [0, 9, 3]}})
        assert space == hp.SearchSpace({"x": hp.Int(0, 9, step=3)})
        assert hp.to_optuna(space).spec[0]["kwargs"] == {"low": 0, "high": 9, "step": 3}
        assert hp.to_sigopt(space)[0]["grid"] == [0, 3, 6, 9]
        for method in ("random", "bayes", "grid"):
            assert hp.to_wandb(space, method=method, metric="loss")["parameters"]["x"]["values"] == [0, 3, 6, 9]


# -- 3. Ray to Nevergrad: randn gives a NaN without an error -----------------------------------------


class TestNormal:
    @pytest.mark.parametrize("dialect", ["optuna", "sigopt"])
    def test_normal_is_rejected_or_encoded_and_never_nan(self, dialect: str) -> None:
        space = hp.from_ray({"x": {"call": "randn", "args": []}})
        assert space == hp.SearchSpace({"x": hp.Normal(0.0, 1.0)})
        rejection_message(WRITERS[dialect], dict(space))
        translation = hp.translate(space, dialect, encode=True)
        for end in (0.0, 0.5, 1.0):
            assert -9.0 < translation.decode({"x": end})["x"] < 9.0


# -- 4. Ray to hyperopt: randint(1, 6) has ends of half mass; qrandint(2, 8, 2) never yields 8 --------


class TestIntEnds:
    @pytest.mark.parametrize("variant", ENGINES)
    def test_ends_of_int_range_are_as_likely_as_its_middle(self, variant: str) -> None:
        parameter: Any = hp.from_ray({"x": {"call": "randint", "args": [1, 6]}})["x"]
        assert parameter == hp.Int(1, 5)
        assert find_misfit(parameter, draw_values(variant, parameter)) == ""

    @pytest.mark.parametrize("variant", ENGINES)
    def test_upper_end_of_quantized_int_is_drawn(self, variant: str) -> None:
        parameter: Any = hp.from_ray({"x": {"call": "qrandint", "args": [2, 8, 2]}})["x"]
        assert set(draw_values(variant, parameter, 300)) == {2, 4, 6, 8}


# -- 5. Ray to Optuna: qlograndint(2, 100, 2) warns "probably ignored", then raises -------------------


class TestLogStep:
    def test_log_step_is_rejected_without_warning(self) -> None:
        space = hp.from_ray({"x": {"call": "qlograndint", "args": [2, 100, 2]}})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "no step on a logarithmic scale" in rejection_message(hp.to_optuna, dict(space))
            translation = hp.translate(space, "optuna", encode=True)
        assert [translation.decode(translation.encode({"x": v})) for v in (2, 50, 100)] == [
            {"x": 2},
            {"x": 50},
            {"x": 100},
        ]


# -- 6. Ray and its own searcher disagree about quantised domains ------------------------------------


class TestQuantizedDomains:
    def test_q_of_1_excludes_upper_end_only_without_searcher(self) -> None:
        spec = {"x": {"call": "qrandint", "args": [1, 5, 1]}}
        assert hp.from_ray(spec)["x"] == hp.Int(1, 4)
        assert hp.from_ray(spec, searcher="optuna")["x"] == hp.Int(1, 5)
        for variant, options in {"ray": {}, "ray optuna": {"searcher": "optuna"}}.items():
            translated = hp.translate({"x": hp.Int(1, 5)}, "ray", **options).spec
            assert translated == {"x": {"call": "randint", "args": [1, 6]}}
            assert 5 in draw_values(variant, hp.Int(1, 5), 200)

    @pytest.mark.parametrize("variant", ["ray", "ray optuna", "ray searcher"])
    def test_ends_of_stepped_range_are_as_likely_as_its_middle(self, variant: str) -> None:
        parameter = hp.Float(0.0, 1.0, step=0.25)
        assert find_misfit(parameter, draw_values(variant, parameter)) == ""


# -- 7. W&B to Optuna, as wandb does it: probabilities, bounds and steps dropped, a constant 0 lost ----


class TestSweepToOptuna:
    def test_probabilities_are_kept(self) -> None:
        space = hp.from_wandb({"parameters": {"x": {"values": ["a", "b"], "probabilities": [0.9, 0.1]}}})
        assert "no weights" in rejection_message(hp.to_optuna, dict(space))
        assert find_misfit(hp.Categorical(["a", "b"], weights=[9, 1]), draw_values("optuna", space["x"])) == ""

    @pytest.mark.parametrize(
        "keys",
        [
            {"distribution": "q_log_uniform_values", "min": 1.5, "max": 10.0},
            {"distribution": "q_log_uniform_values", "min": 4, "max": 64, "q": 4},
            {"distribution": "q_uniform", "min": 0, "max": 10, "q": 3},
            {"distribution": "q_uniform", "min": 1, "max": 10, "q": 3},
        ],
    )
    def test_quantized_range_reads_as_values_of_engine(self, keys: dict[str, Any]) -> None:
        sweep = {"method": "random", "parameters": {"x": keys}}
        parameter: Any = hp.from_wandb(sweep)["x"]
        values = {params["x"].item() for params in draw_wandb_random(sweep, 2_000, 0)}
        assert sorted(values) == list(parameter.support)
        assert {type(value) for value in parameter.support} == {type(value) for value in values}

    @pytest.mark.parametrize("value", [0, 0.0, False, None, "", []])
    def test_falsy_constant_is_kept(self, value: Any) -> None:
        space = hp.from_wandb({"parameters": {"x": {"value": value}, "y": {"min": 1, "max": 2}}})
        assert space["x"] == hp.Constant(value)
        for variant, engine in ENGINES.items():
            params = engine.draw_params(space, 1, 0)[0]
            assert strict_equal(params["x"], value), variant


# -- 8. ConfigSpace: bounds rounded to 13 decimals, tuples turned into lists, the input mutated --------


class TestConfigSpaceFaults:
    @pytest.mark.parametrize("variant", ENGINES)
    def test_tiny_bounds_are_kept(self, variant: str) -> None:
        parameter = hp.Float(1e-17, 1e-15, log=True)
        assert through_json(hp.SearchSpace({"x": parameter}))["x"] == parameter
        assert find_misfit(parameter, draw_values(variant, parameter, 500)) == ""

    def test_tuples_read_back_as_tuples(self) -> None:
        space = hp.SearchSpace({"x": hp.Categorical([(1, 2), (3, 4)])})
        assert through_json(space) == space
        for variant in ENGINES:
            assert {type(value) for value in draw_values(variant, space["x"], 50)} == {tuple}  # type: ignore[arg-type]

    def test_reading_leaves_input_unchanged(self) -> None:
        space = hp.SearchSpace({"x": hp.Int(1, 3), "g": {"y": hp.Categorical([[1], [2]])}})
        inputs: list[tuple[Any, Any]] = [
            (hp.SearchSpace.from_dict, space.to_dict()),
            (hp.from_ray, {"x": {"call": "choice", "args": [[1, 2]]}, "g": {"y": {"grid_search": [1, 2]}}}),
            (hp.from_sigopt, [{"name": "x", "type": "double", "grid": [3.0, 1.0, 2.0]}]),
            (
                hp.from_wandb,
                {"parameters": {"x": {"min": "1e-5", "max": 1.0}, "g": {"parameters": {"y": {"value": 1}}}}},
            ),
            (hp.from_optuna, [{"name": "x", "call": "suggest_float", "args": [0, 10], "kwargs": {"step": 3}}]),
        ]
        for read, source in inputs:
            before = copy.deepcopy(source)
            read(source)
            assert source == before


# -- 9. Orion to ConfigSpace: a TypeError on every numeric dimension, since the other's API moved ------


NUMBERS: dict[str, Parameter] = {
    "float": hp.Float(0.0, 1.0),
    "float_log": hp.Float(1e-3, 1.0, log=True),
    "int": hp.Int(1, 8),
    "int_log": hp.Int(1, 8, log=True),
    "int_step": hp.Int(2, 8, step=2),
    "float_step": hp.Float(0.0, 1.0, step=0.5),
}


class TestInstalledEngines:
    @pytest.mark.parametrize("variant", ENGINES)
    def test_every_numeric_kind_is_accepted(self, variant: str) -> None:
        space = hp.SearchSpace(NUMBERS)
        for params in ENGINES[variant].draw_params(space, 20, 0):
            space.validate(params)


# -- 10. Optuna: choices [1, "a"] equal [True, "a"] ---------------------------------------------------


class TestChoiceEquality:
    def test_choices_are_compared_by_type_and_value(self) -> None:
        assert hp.Categorical([1, "a"]) != hp.Categorical([True, "a"])
        assert hp.Constant(1) != hp.Constant(1.0)
        assert len({hp.Categorical([0]), hp.Categorical([False]), hp.Categorical([0.0])}) == 3
        space = hp.SearchSpace({"x": hp.Categorical([1, True, 1.0])})
        for variant in ENGINES:
            assert {type(value) for value in draw_values(variant, space["x"], 100)} == {int, bool, float}, variant  # type: ignore[arg-type]


# -- 11. Katib to Optuna: low is clamped without a word ----------------------------------------------


class TestLogFromZero:
    @pytest.mark.parametrize(
        ("read", "source"),
        [
            (
                hp.from_optuna,
                [{"name": "x", "call": "suggest_float", "kwargs": {"low": 0.0, "high": 1.0, "log": True}}],
            ),
            (hp.from_optuna, [{"name": "x", "call": "suggest_int", "kwargs": {"low": 0, "high": 9, "log": True}}]),
            (hp.from_ray, {"x": {"call": "loguniform", "args": [0, 1]}}),
            (hp.from_wandb, {"parameters": {"x": {"distribution": "log_uniform_values", "min": 0, "max": 1}}}),
            (
                hp.from_sigopt,
                [{"name": "x", "type": "double", "bounds": {"min": 0, "max": 1}, "transformation": "log"}],
            ),
        ],
    )
    def test_log_range_from_0_is_rejected(self, read: Any, source: Any) -> None:
        with pytest.raises(hp.TranslationError, match="log=True needs low above 0") as error:
            read(source)
        assert [issue.path for issue in error.value.issues] == ["x"]


# -- 12. Syne Tune: quniform cannot be serialized ----------------------------------------------------


class TestJsonSpecs:
    def test_specs_of_every_parameter_type_are_json(self) -> None:
        parameters = {
            **NUMBERS,
            "float_log_step": hp.Float(0.5, 2.0, log=True, step=0.5),
            "normal": hp.Normal(0.0, 1.0, low=0.0, step=0.25),
            "weights": hp.Categorical(["a", (1, 2)], weights=[2, 1]),
            "constant": hp.Constant({"a": [None]}),
        }
        space = hp.SearchSpace(parameters)
        assert through_json(space) == space
        for variant, engine in ENGINES.items():
            spec = engine.translate(space).spec
            assert json.loads(json.dumps(spec)) == spec, variant

    def test_quniform_is_read_from_domain_and_from_spec(self) -> None:
        from ray import tune

        expected = hp.SearchSpace({"x": hp.Float(0.0, 1.0, step=0.25)})
        assert hp.from_ray({"x": tune.quniform(0.0, 1.0, 0.25)}) == expected
        assert hp.from_ray(json.loads(json.dumps({"x": {"call": "quniform", "args": [0.0, 1.0, 0.25]}}))) == expected
        assert len(draw_ray({"x": tune.quniform(0.0, 1.0, 0.25)}, 5, 0)) == 5
