"""Parameters: exact bounds, decimal grids, consistent quantiles and cdf, and issues with hints."""

import copy
import math
import pickle
import random
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcompat import Categorical, Constant, Float, Int, Normal, ParamsError, SearchSpace, SpaceError
from hpcompat.testing import parameters

unit_floats = st.floats(0.0, 1.0)


class Choice(Enum):
    ONE = "one"


class TestQuantile:
    @given(parameters(), unit_floats)
    def test_unit_float_gives_value_of_parameter(self, parameter: Any, u: float) -> None:
        assert parameter.contains(parameter.quantile(u))

    @given(parameters(), unit_floats)
    def test_to_unit_inverts_quantile(self, parameter: Any, u: float) -> None:
        value = parameter.quantile(u)
        read_back = parameter.quantile(parameter.to_unit(value))
        if parameter.support is not None:
            assert read_back == value and type(read_back) is type(value)
        else:
            width = abs(parameter.quantile(0.75) - parameter.quantile(0.25))
            assert math.isclose(read_back, value, rel_tol=1e-9, abs_tol=1e-9 * width)

    @pytest.mark.parametrize("value", [76376.75, 21875.76, 45958.73, 18588.18, 99254.32])
    def test_to_unit_picks_neighbour_that_gives_value_back(self, value: float) -> None:
        parameter = Float(-3, 1e5)
        assert parameter.quantile(parameter.cdf(value)) != value  # the quotient was rounded
        assert parameter.quantile(parameter.to_unit(value)) == value

    @given(parameters(), unit_floats, unit_floats)
    def test_quantile_is_monotonic(self, parameter: Any, u: float, v: float) -> None:
        if parameter.kind in ("float", "int", "normal"):
            low, high = sorted((u, v))
            assert parameter.quantile(low) <= parameter.quantile(high)

    @pytest.mark.parametrize("parameter", [Float(0.25, 7.5), Float(1e-300, 1e300, log=True), Float(-1.7e308, 1.7e308)])
    def test_ends_of_float_are_exact(self, parameter: Float) -> None:
        assert (parameter.quantile(0.0), parameter.quantile(1.0)) == (parameter.low, parameter.high)


class TestSupport:
    def test_step_gives_decimal_grid(self) -> None:
        assert list(Float(0.1, 0.7, step=0.1).support) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]  # type: ignore[arg-type]
        assert list(Float(-1e-5, 1e-5, step=5e-6).support) == [-1e-5, -5e-6, 0.0, 5e-6, 1e-5]  # type: ignore[arg-type]
        assert Float(0, 1e12, step=1e-3).quantile(0.5) == 5e11  # a grid of 1e15 values is not enumerated


class TestCdf:
    @given(parameters(), unit_floats)
    def test_cdf_of_quantile_reaches_its_argument(self, parameter: Any, u: float) -> None:
        # quantile(u) is the first value whose cdf reaches u, up to the spacing of floats
        value = parameter.quantile(u)
        above = value if parameter.support is not None else value + 4 * math.ulp(value)
        assert parameter.cdf(above) >= u - 1e-3

    @pytest.mark.parametrize(
        ("parameter", "probabilities"),
        [
            (Int(1, 4), {1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25}),
            (Int(1, 3, log=True), {v: math.log((v + 0.5) / (v - 0.5)) / math.log(7) for v in (1, 2, 3)}),
            (
                Float(10, 12, step=1, log=True),
                {v: math.log((v + 0.5) / (v - 0.5)) / math.log(12.5 / 9.5) for v in (10, 11, 12)},
            ),
            (
                Float(1, 2, step=0.5, log=True),
                {v: math.log((v + 0.25) / (v - 0.25)) / math.log(3) for v in (1, 1.5, 2)},
            ),
            (Categorical(["a", "b"], weights=[1, 3]), {"a": 0.25, "b": 0.75}),
            (Normal(0, 1, low=-1, high=1, step=1), {-1: 0.241730, 0: 0.382925, 1: 0.241730}),
        ],
        ids=repr,
    )
    def test_discrete_parameter_has_expected_probabilities(
        self, parameter: Any, probabilities: dict[Any, float]
    ) -> None:
        rng = random.Random(0)
        counts = Counter(parameter.quantile(rng.random()) for _ in range(20_000))
        total = sum(probabilities.values())
        for value, probability in probabilities.items():
            assert counts[value] / 20_000 == pytest.approx(probability / total, abs=0.012)
        assert counts.keys() == probabilities.keys()

    def test_tails_have_equal_precision(self) -> None:
        upper, lower = Normal(0, 1, low=6, high=7), Normal(0, 1, low=-7, high=-6)
        assert 6 < upper.quantile(0.5) < 6.2
        for u in (0.1, 0.5, 0.9):
            assert upper.quantile(u) == pytest.approx(-lower.quantile(1 - u), rel=1e-12)


class TestWeights:
    def test_equal_weights_are_dropped_and_others_normalized(self) -> None:
        assert Categorical("ab", weights=[1, 1]).issues
        assert Categorical(["a", "b"], weights=[5, 5]).weights is None
        weighted = Categorical(["a", "b", "c"], weights=[1, 2, 4])
        assert weighted.weights == (1 / 7, 2 / 7, 4 / 7)
        assert Categorical(["a", "b", "c"], weights=weighted.weights) == weighted

    def test_weights_whose_sum_overflows_are_normalized(self) -> None:
        assert Categorical(["a", "b"], weights=[1e308, 1.5e308]).weights == (0.4, 0.6)


def nested_list(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class TestIssues:
    @pytest.mark.parametrize(
        ("parameter", "reason", "hint"),
        [
            (Float(1, 0), "low 1.0 is above high 0.0", "Float(0.0, 1.0)"),
            (Float(1, 1), "both 1.0", "Constant(1.0)"),
            (Float(0, 1, log=True), "needs low above 0", "leave log out"),
            (Float("1e-5", 1), "'1e-5', which is not a number", "write 1e-05 without quotes"),
            (Float(False, 1), "False, which is not a number", ""),
            (Float(0, math.inf), "not finite", "finite"),
            (Float(0, math.nan), "not finite", "finite"),
            (Float(0, 2**53 + 1), "no exact float", "Int"),
            (Float(0, 1, step=0.3), "does not divide", "Float(0.0, 0.9, step=0.3)"),
            (Float(0, 1, step=2), "does not divide", "Constant(0.0)"),
            (Float(0, 1, step=-1), "step is -1.0", "above 0"),
            (Float(1e17, 1e17 + 64, step=1), "finer than floats", "widen the step"),
            (Float(0.1, 1.1, step=0.5, log=True), "above step/2", "raise low"),
            (Int(1.0, 5), "1.0, which is not an int", "write 1"),
            (Int(0.5, 5), "not an int", "Float"),
            (Int(np.arange(2), 5), "not an int", "give an int"),
            (Int(1, 10, step=2), "does not divide", "Int(1, 9, step=2)"),
            (Int(0, 10**5000), "more than 1024 bits", "smaller"),
            (Constant(10**5000), "more than 1024 bits", "string"),
            (Int(0, 5, log=True), "needs low above 0", "raise low"),
            (Int(0, 2**60), "more than 2**53", "narrow"),
            (Int(1, 2**52, log=True), "too unlikely", "narrow"),
            (Categorical([]), "no choices", "at least one"),
            (Categorical("abc"), "'abc', not a list", "['abc']"),
            (Categorical({1, 2}), "set", "list"),
            (Categorical([1, 1]), "listed twice", "weights"),
            (Categorical([{1, 2}]), "set is not a JSON value", "list"),
            (Categorical([math.nan]), "not finite", "None"),
            (Categorical([1.0, math.inf]), "not finite", "None"),
            (Constant(-math.inf), "not finite", "None"),
            (Categorical([object()]), "object is not a JSON value", "name"),
            (Categorical(["a", "b"], weights=[1]), "1 weights for 2 choices", "one for each"),
            (Categorical(["a", "b"], weights=[1, 0]), "a weight is 0.0", "leave out"),
            (Categorical(["a"], ordered="yes"), "ordered is 'yes'", "True or False"),
            (Constant({1: 2}), "string", "string keys"),
            (Normal(0, 0), "std is 0.0", "Constant"),
            (Normal(0, -1), "std is -1.0", "above 0"),
            (Normal(0, 1, low=9, high=10), "less than 1e-12", "widen the bounds"),
            (Normal(0, 1, low=2, high=1), "not below", "swap"),
            (Normal(0, 1, low=0.3, step=0.2), "not a multiple", "0.2 and 0.4"),
            (Normal(700, 10, log=True), "beyond what a float holds", "logarithm"),
            (Normal(0, 1, log=True, low=-1), "nothing at or below 0", "leave low out"),
            (Normal(1e9, 1e-9), "lost beside", "Constant"),
            (Categorical({"adamw": 3, "sgd": 1}), "whose values would be lost", "weights"),
            (Categorical([Path("a")]), "Path is not a JSON value", "str(…)"),
            (Categorical([Choice.ONE]), "Choice is not a JSON value", ".value"),
            (Int(True, 5), "low is True, which is not an int", "give an int"),
        ],
    )
    def test_invalid_parameter_has_reason_and_hint(self, parameter: Any, reason: str, hint: str) -> None:
        assert any(reason in issue.message and hint in issue.hint for issue in parameter.issues), parameter.issues
        with pytest.raises(SpaceError):
            parameter.quantile(0.5)

    @pytest.mark.parametrize(
        ("accepted", "rejected"),
        [
            (Normal(0, 85.4, log=True), Normal(0, 85.5, log=True)),  # exp(8.3 std) is a float up to exp(709)
            (Normal(0, 89.6, high=1, log=True), Normal(0, 89.7, high=1, log=True)),  # exp(-744) is above 0
            (Normal(0, 1, step=2.0**-40), Normal(0, 1, step=2.0**-41)),
            (Normal(0, 2.0**20, step=2.0**-20), Normal(0, 2.0**20, step=2.0**-21)),
            (Normal(2.0**52, 2.0**20, step=1), Normal(2.0**53, 2.0**20, step=1)),
            (Normal(0, 80, log=True, step=1e-10), Normal(0, 80, log=True, step=1e-30)),
            (Constant(nested_list(32)), Constant(nested_list(33))),
            (Int(1, 2**53), Int(0, 2**53)),
        ],
    )
    def test_parameter_beyond_limit_is_rejected(self, accepted: Any, rejected: Any) -> None:
        assert not accepted.issues
        assert rejected.issues

    def test_numpy_bounds_are_converted_and_numpy_choices_rejected(self) -> None:
        import numpy

        assert Float(numpy.float64(0), numpy.float32(1)) == Float(0, 1)
        assert Int(numpy.int64(1), numpy.int32(4)) == Int(1, 4)
        assert "item()" in Categorical([numpy.int64(1)]).issues[0].hint
        assert Categorical(numpy.arange(3)) == Categorical([0, 1, 2])
        assert "tolist()" in Categorical(numpy.zeros((2, 2))).issues[0].hint


class TestParameter:
    @given(parameters())
    def test_copy_pickle_and_repr_are_equal(self, parameter: Any) -> None:
        for other in (copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter)), eval(repr(parameter))):
            assert other == parameter and hash(other) == hash(parameter) and not other.issues

    def test_equality_compares_type_and_value(self) -> None:
        assert Categorical([1, "a"]) != Categorical([True, "a"]) != Categorical([1.0, "a"])
        assert Categorical([[1]]) != Categorical([(1,)])
        assert Constant(0) != Constant(False) and Constant(1) != Constant(1.0)
        assert Normal(0, 1, step=1) != Normal(0, 1, step=1.0)
        assert Float(0, 1) == Float(0.0, 1.0)
        assert Int(1, 2, when={"a": [1, 2]}) == Int(1, 2, when={"a": [2, 1]})

    def test_changes_to_returned_values_have_no_effect(self) -> None:
        choices = [["a"], ["b"]]
        parameter = Categorical(choices)
        parameter.quantile(0.0).append("changed")
        choices[0].append("changed")
        assert parameter == Categorical([["a"], ["b"]])

    def test_value_outside_is_rejected(self) -> None:
        for parameter, value in [
            (Float(0, 1), 2.0),
            (Float(0, 1), 1),
            (Int(1, 9, step=2), 2),
            (Categorical([1]), True),
        ]:
            assert not parameter.contains(value)
            with pytest.raises(ParamsError, match="is not in"):
                parameter.to_unit(value)


class TestMutableArguments:
    def test_change_to_list_does_not_change_constant(self) -> None:
        values = [0]
        space = SearchSpace({"c": Constant(values)})
        values.append(1)
        assert space.sample(0) == {"c": [0]}
        assert space == SearchSpace({"c": Constant([0])})

    def test_change_to_list_does_not_change_conditions(self) -> None:
        values = [0]
        space = SearchSpace({"p": Categorical([[0], [1]]), "x": Float(0, 1, when={"p": [values]})})
        values.append(1)
        assert SearchSpace.from_dict(space.to_dict()) == space

    def test_arguments_returns_copies(self) -> None:
        parameter = Categorical([[1], [2]])
        parameter.arguments()["choices"][0].append(4)
        assert parameter == Categorical([[1], [2]])

    @pytest.mark.parametrize("step", [np.int64(1), np.int32(2)])
    def test_numpy_int_step_of_normal_draws_ints(self, step: Any) -> None:
        assert Normal(0.0, 5.0, step=step) == Normal(0.0, 5.0, step=int(step))

    @pytest.mark.parametrize("when", [np.array([1, 2]), np.int64(1), [1, 2], "a"])
    def test_invalid_condition_raises_in_the_space(self, when: Any) -> None:
        with pytest.raises(SpaceError, match=r"x: when is .*write when="):
            SearchSpace({"x": Float(0, 1, when=when)})

    def test_invalid_parameter_has_repr(self) -> None:
        assert repr(Float(0, 10**5000)).startswith("Float(0")
