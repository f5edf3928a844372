"""The notes on the standard error: probable mistakes in the input, and encoded parameters."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

import hpcompat as hp
from tests.cli.helpers import INEXACT_SPACE, RunCommand, write_input
from tests.cli.published_specs import SWEEPS


def find_hints(message: str) -> list[str]:
    """Return the hints in the standard error of a command."""
    return [line.partition("hint: ")[2] for line in message.splitlines() if "hint: " in line]


class TestSuspicionNotes:
    def test_suspicious_bounds_are_noted(self, run: RunCommand) -> None:
        parameters = {
            "lr": {"distribution": "log_uniform", "min": 1e-4, "max": 0.1},
            "wd": {"distribution": "log_uniform", "min": -9.2, "max": -2.3},
            "group": {"parameters": {"momentum": {"min": 0, "max": 1}}},
            "n": {"min": 0, "max": 2},
        }
        lr, momentum = find_hints(run("convert", write_input({"parameters": parameters}), "--to", "python").err)
        assert lr.startswith("lr draws 1.0001 … 1.10517") and "log_uniform_values" in lr
        assert momentum.startswith("group.momentum is 0 or 1")

    def test_numeric_strings_are_noted(self, run: RunCommand) -> None:
        values, bound = (
            find_hints(run("convert", write_input(SWEEPS[name]), "--to", "json").err)[0]
            for name in ("string values", "string bounds")
        )
        assert values == (
            "model.qr has strings that look like numbers: '1e-3', '1e-2', '1e-1' (YAML 1.1 wants 0.001 for a number)"
        )
        assert bound == (
            "weight_decay has a string for a bound, '1e-5', which W&B refuses (YAML 1.1 wants 1.0e-05 for a number)"
        )

    def test_constant_space_is_noted(self, run: RunCommand) -> None:
        (hint,) = find_hints(run("convert", write_input({"parameters": {"a": {"value": 1}}}), "--to", "python").err)
        assert hint.startswith("nothing varies")

    def test_python_object_is_converted_without_notes(self, run: RunCommand) -> None:
        write_input("import hpcompat as hp\nspace = {'a': hp.Categorical(['1', '2'])}", "strings.py")
        assert run("convert", "strings.py:space", "--to", "json").err == ""
        assert "hint: a has strings that look like numbers: '1', '2'\n" in run("show", "strings.py:space").out


class TestDecodingNotes:
    def test_numbers_stored_as_strings_are_noted(self, run: RunCommand) -> None:
        result = run("convert", write_input(SWEEPS["nested"]), "--to", "sigopt")
        assert "stored as strings: jac_reg, jac_reg_tau" in result.err
        assert 'hp.translate(space, "sigopt").decode(assignments)' in result.err

    @pytest.mark.parametrize(("to", "load"), [("sigopt", json.loads), ("wandb", yaml.safe_load)])
    def test_encoded_data_is_noted_with_its_decoder(self, run: RunCommand, to: str, load: Callable[[str], Any]) -> None:
        result = run("convert", write_input(INEXACT_SPACE.to_dict()), "--to", to, "--encode")
        spec = load(result.out)
        names = spec["parameters"] if to == "wandb" else {parameter["name"] for parameter in spec}
        assert set(names) == {"optim", "warmup", "layers"}
        assert "hpcompat: encoded: warmup: " in result.err
        call = re.search(r"hp\.translate\(.*\)\.decode", result.err)
        assert call
        decode = eval(call[0], {"hp": hp, "space": INEXACT_SPACE})
        native = hp.translate(INEXACT_SPACE, to, encode=True).encode({"optim": "adamw", "layers": 2})
        assert decode(native) == {"optim": "adamw", "layers": 2}
