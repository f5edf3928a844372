"""Docstring examples run with the public names at hand, as after `from hpcompat import …`."""

from typing import Any

import pytest

import hpcompat


@pytest.fixture(autouse=True)
def _public_names(doctest_namespace: dict[str, Any]) -> None:
    core = ("SearchSpace", "Float", "Int", "Categorical", "Constant", "Normal")
    doctest_namespace |= {"hp": hpcompat} | {name: getattr(hpcompat, name) for name in core}
