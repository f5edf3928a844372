"""Formatted JSON, YAML and Python literals read back equal, for any space."""

import json
from typing import Any

import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.cli.formatting import format_json, format_yaml, python_literal, render
from hpcompat.space.values import strict_equal
from hpcompat.testing import spaces, values
from tests.cli.helpers import fewer_examples


class TestPythonLiteral:
    @given(values)
    def test_evaluated_literal_equals_value(self, value: Any) -> None:
        assert strict_equal(eval(render(python_literal(value))), value)


class TestFormatJson:
    @fewer_examples
    @given(spaces(), st.integers(0, 4))
    def test_any_space_reads_back_from_json_and_yaml(self, space: hp.SearchSpace, multiline_levels: int) -> None:
        text = format_json(space.to_dict(), multiline_levels)
        assert strict_equal(json.loads(text), space.to_dict())
        assert strict_equal(yaml.safe_load(text), space.to_dict())


class TestFormatYaml:
    @fewer_examples
    @given(spaces(), st.sampled_from(["random", "bayes"]))
    def test_any_sweep_reads_back(self, space: hp.SearchSpace, method: str) -> None:
        assume(any(leaf.parameter.size > 1 for leaf in space.leaves))
        sweep = hp.to_wandb(space, method=method, metric="eval_loss", encode=True)
        assert strict_equal(yaml.safe_load(format_yaml(sweep)), sweep)
        assert strict_equal(yaml.safe_load(format_json(sweep)), sweep)
