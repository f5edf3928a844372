"""Draws are made once a session: one space for all of a column's parameters, a fixed seed for each engine."""

from __future__ import annotations

from typing import Any

import pytest

from hpcompat import HpcompatError
from tests.helpers.conditional_spaces import SPACES
from tests.helpers.engines import COLUMNS, Draws
from tests.helpers.mistranslations import WRONG
from tests.helpers.parameter_cases import ALL_CASES

SEED = 20_240_229


@pytest.fixture(scope="session")
def draws() -> Draws:
    """Params by column, and by the space they are drawn from: "kinds", or the name of one with conditions."""
    made: dict[tuple[str, str], list[dict[str, Any]] | HpcompatError] = {}

    def of(column: str, name: str) -> list[dict[str, Any]]:
        if (column, name) not in made:
            engine = COLUMNS[column]
            space, n = ({**ALL_CASES, **WRONG}, engine.draws) if name == "kinds" else (SPACES[name], engine.few)
            try:
                made[column, name] = engine.params(space, n, SEED)
            except HpcompatError as error:  # it names the parameter: no other test need find it again
                made[column, name] = error
        found = made[column, name]
        if isinstance(found, HpcompatError):
            raise found
        return found

    return of
