"""The judgement that test_table passes by turns away every mistake that a translator could make."""

from __future__ import annotations

import pytest

from tests.helpers.engine_distributions import ENGINE_DISTRIBUTIONS, EngineDistribution
from tests.helpers.engines import COLUMNS, Draws
from tests.helpers.goodness_of_fit import find_misfit
from tests.helpers.mistranslations import RIGHT, WRONG
from tests.helpers.parameter_cases import ALL_CASES, find_rule


class TestMistranslations:
    @pytest.mark.parametrize("name", RIGHT)
    @pytest.mark.parametrize("column", COLUMNS)
    def test_wrong_parameter_is_detected(self, column: str, name: str, draws: Draws) -> None:
        drawn = [params[name] for params in draws(column, "kinds")]
        assert find_misfit(RIGHT[name], drawn), f"{WRONG[name]} passes for {RIGHT[name]}"

    @pytest.mark.parametrize(("column", "form"), ENGINE_DISTRIBUTIONS)
    def test_engine_distribution_differs_from_parameter(self, column: str, form: str, draws: Draws) -> None:
        """Each row of the table of engine distributions is needed: without it the draws do not pass."""
        concerned = {name: p for name, p in ALL_CASES.items() if find_rule(p, column).form == form and p.size <= 20}
        assert concerned
        for name, parameter in concerned.items():
            drawn = [params[name] for params in draws(column, "kinds")]
            assert "chi-square" in find_misfit(parameter, drawn), parameter

    def test_engine_distribution_sums_to_one(self) -> None:
        for (column, form), law in ENGINE_DISTRIBUTIONS.items():
            assert isinstance(law, EngineDistribution)
            for parameter in ALL_CASES.values():
                if find_rule(parameter, column).form == form:
                    assert sum(law.probabilities(parameter)) == pytest.approx(1.0)
