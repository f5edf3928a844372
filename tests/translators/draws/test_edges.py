"""The limits of floats: draws beyond a bound by a rounding error, and ranges too fine for an engine's arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from hpcompat import Categorical, Constant, Float, Int, Normal, SearchSpace, translate
from hpcompat.space.parameters import Parameter
from tests.helpers.engines import ENGINES
from tests.helpers.goodness_of_fit import find_misfit

DECIMALS = [float(f"{digits}e{exponent}") for exponent in range(-7, 6) for digits in range(10, 100)]


def _through_log10(bound: float) -> float:
    """Return the bound as SigOpt Lite suggests it, whose optimizer works on decimal logarithms."""
    import numpy

    return float(10 ** numpy.log10([bound]).tolist()[0])


def _through_log(bound: float) -> float:
    """Return the bound as Ray and W&B suggest it, which work on natural logarithms."""
    import numpy

    return float(numpy.exp(numpy.log(bound)))


class TestBounds:
    @pytest.mark.parametrize(
        ("dialect", "round_trip"), [("sigopt", _through_log10), ("ray", _through_log), ("wandb", _through_log)]
    )
    def test_bound_through_a_logarithm_reads_back(self, dialect: str, round_trip: Any) -> None:
        assert any(round_trip(bound) < bound for bound in DECIMALS)
        for bound in DECIMALS:
            low = translate({"x": Float(bound, 1e9, log=True)}, dialect)
            assert low.decode({"x": round_trip(bound)})["x"] == pytest.approx(bound, rel=1e-12)
            high = translate({"x": Float(1e-12, bound, log=True)}, dialect)
            assert high.decode({"x": round_trip(bound)})["x"] == pytest.approx(bound, rel=1e-12)


LARGE_INTS: dict[str, Parameter] = {
    "ints": Int(2**53 - 9, 2**53),
    "negative_ints": Int(-(2**53), 9 - 2**53),
    "ints_with_a_step": Int(2**53 - 20, 2**53, step=2),
    "narrow_log": Int(2**43, 2**43 + 9, log=True),
    "log": Int(2**50, 2**50 + 9, log=True),
}


class TestLargeInts:
    @pytest.mark.parametrize("variant", ENGINES)
    def test_ints_near_max_exact_float_are_drawn_uniformly(self, variant: str) -> None:
        drawn = ENGINES[variant].draw_params(LARGE_INTS, ENGINES[variant].n_conditional_draws, 3)
        assert {
            name: find_misfit(p, [params[name] for params in drawn]) for name, p in LARGE_INTS.items()
        } == dict.fromkeys(LARGE_INTS, "")


ODD_PARAMETERS: dict[str, Parameter] = {
    "wide_steps": Float(-1e308, 1e308, step=1e308),
    "tiny": Float(0.0, 5e-322),
    "two_floats": Float(1.0, 1.0000000000000002, log=True),
    "subnormal_range": Float(1e-300, 1e-290, log=True),
    "noisy_steps": Float(0.3, 0.9, step=0.3),
    "normal_far_out": Normal(1e9, 1.0, step=1.0),
    "keys_with_a_slash": Constant({"a/b": {"c/d": 1}}),
    "data_like_a_call": Constant({"call": "uniform", "args": [0, 1]}),
    "data_like_a_group": Constant({"parameters": {"a": {"value": 3}}}),
    "nothing": Constant({}),
    "choices_like_groups": Categorical([{"parameters": {}}, {"a/b": 1}, {"name": "x"}, []]),
    "line_breaks": Categorical(["a\nb", "é" * 60]),
}


class TestOddParameters:
    @pytest.mark.parametrize("variant", ENGINES)
    def test_odd_parameters_are_drawn_by_their_distribution(self, variant: str) -> None:
        space = SearchSpace(ODD_PARAMETERS)
        for params in ENGINES[variant].draw_params(space, 50, 0):
            space.validate(params)
