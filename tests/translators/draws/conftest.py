"""Draws that the tests share: once per session, all parameter cases of a variant in one space, with a fixed seed."""

from __future__ import annotations

from typing import Any

import pytest

from hpcompat import HpcompatError
from tests.helpers.conditional_spaces import SPACES
from tests.helpers.engines import ENGINES, Draws
from tests.helpers.mistranslations import WRONG
from tests.helpers.parameter_cases import ALL_CASES

SEED = 20_240_229


@pytest.fixture(scope="session")
def draws() -> Draws:
    """Draw params for a variant and a space: "cases" for all parameter cases, or the name of a conditional space."""
    cache: dict[tuple[str, str], list[dict[str, Any]] | HpcompatError] = {}

    def get_draws(variant: str, name: str) -> list[dict[str, Any]]:
        if (variant, name) not in cache:
            engine = ENGINES[variant]
            if name == "cases":
                space, n = {**ALL_CASES, **WRONG}, engine.n_draws
            else:
                space, n = SPACES[name], engine.n_conditional_draws
            try:
                cache[variant, name] = engine.draw_params(space, n, SEED)
            except HpcompatError as error:  # raised again in every test instead of a second attempt
                cache[variant, name] = error
        result = cache[variant, name]
        if isinstance(result, HpcompatError):
            raise result
        return result

    return get_draws
