"""The judgement that test_table passes by turns away every mistake that a translator could make."""

from __future__ import annotations

import pytest
from cells import ALL, rule_of
from engine_laws import WRITTEN, EngineLaw
from engines import COLUMNS, Draws
from mistakes import RIGHT, WRONG
from verdicts import objection


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_mistake_is_noticed(column: str, name: str, draws: Draws) -> None:
    drawn = [params[name] for params in draws(column, "kinds")]
    assert objection(RIGHT[name], drawn), f"{WRONG[name]} passes for {RIGHT[name]}"


@pytest.mark.parametrize(("column", "form"), WRITTEN)
def test_an_engine_law_is_not_the_parameters_own(column: str, form: str, draws: Draws) -> None:
    """Each row of the table of engine laws is needed: without it the law does not hold."""
    concerned = {name: p for name, p in ALL.items() if rule_of(p, column).form == form and p.size <= 20}
    assert concerned
    for name, parameter in concerned.items():
        drawn = [params[name] for params in draws(column, "kinds")]
        assert "chi-square" in objection(parameter, drawn), parameter


def test_an_engine_law_is_a_law() -> None:
    for (column, form), law in WRITTEN.items():
        assert isinstance(law, EngineLaw)
        for parameter in ALL.values():
            if rule_of(parameter, column).form == form:
                assert sum(law.masses(parameter)) == pytest.approx(1.0)
