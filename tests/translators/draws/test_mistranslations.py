"""The goodness-of-fit test of `test_capabilities` rejects every mistake that a translator could make."""

from __future__ import annotations

import pytest

from tests.helpers.engine_distributions import ENGINE_DISTRIBUTIONS, EngineDistribution
from tests.helpers.engines import ENGINES, Draws
from tests.helpers.goodness_of_fit import find_misfit
from tests.helpers.mistranslations import RIGHT, WRONG
from tests.helpers.parameter_cases import ALL_CASES, find_rule


class TestMistranslations:
    @pytest.mark.parametrize("name", RIGHT)
    @pytest.mark.parametrize("variant", ENGINES)
    def test_wrong_parameter_is_detected(self, variant: str, name: str, draws: Draws) -> None:
        drawn = [params[name] for params in draws(variant, "cases")]
        assert find_misfit(RIGHT[name], drawn), f"{WRONG[name]} passes for {RIGHT[name]}"

    @pytest.mark.parametrize(("variant", "form"), ENGINE_DISTRIBUTIONS)
    def test_engine_distribution_differs_from_parameter(self, variant: str, form: str, draws: Draws) -> None:
        """Without its entry in the table of engine distributions, the draws fail the test."""
        affected = {name: p for name, p in ALL_CASES.items() if find_rule(p, variant).form == form and p.size <= 20}
        assert affected
        for name, parameter in affected.items():
            drawn = [params[name] for params in draws(variant, "cases")]
            assert "chi-square" in find_misfit(parameter, drawn), parameter

    def test_engine_distribution_sums_to_one(self) -> None:
        for (variant, form), distribution in ENGINE_DISTRIBUTIONS.items():
            assert isinstance(distribution, EngineDistribution)
            for parameter in ALL_CASES.values():
                if find_rule(parameter, variant).form == form:
                    assert sum(distribution.probabilities(parameter)) == pytest.approx(1.0)
