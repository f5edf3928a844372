"""Translations depend on predicates, not on the wording of messages."""

from typing import Any

import pytest

import hpcompat as hp
from hpcompat import Categorical, Float, Int
from hpcompat.errors import HpcompatError, Issue
from hpcompat.translators.codecs import Form
from tests.helpers.parameter_cases import ALL_CASES, VARIANTS, find_rule


class TestLevels:
    def test_reworded_issues_do_not_change_rules(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = {(name, variant): find_rule(p, variant) for name, p in ALL_CASES.items() for variant in VARIANTS}
        monkeypatch.setattr("hpcompat.space.validation.Issue", lambda *args: Issue("", "reworded"))
        after = {(name, variant): find_rule(p, variant) for name, p in ALL_CASES.items() for variant in VARIANTS}
        assert after == before

    @pytest.mark.parametrize(
        ("parameter", "level"),
        [
            (Float(0.75, 4.25, log=True, step=0.5), "encoded"),
            (Float(0.5, 4.0, log=True, step=0.5), "native"),
            (Int(3, 18, log=True, step=5), "encoded"),
        ],
    )
    def test_log_grid_of_non_multiples_of_step_is_not_native(self, parameter: Any, level: str) -> None:
        assert find_rule(parameter, "ray").level == find_rule(parameter, "wandb random").level == level


class TestCallArguments:
    @pytest.mark.parametrize(
        ("read", "message"),
        [
            (lambda: hp.from_ray({"x": {"call": "uniform", "args": [0]}}), "uniform does not take these arguments"),
            (lambda: hp.from_ray({"x": {"call": "uniform", "args": [0, 1, 2]}}), "too many positional arguments"),
            (lambda: hp.from_ray({"x": {"call": "choice", "kwargs": {"values": [1]}}}), "'categories'"),
            (
                lambda: hp.from_optuna([{"name": "x", "call": "suggest_int", "args": [0]}]),
                "suggest_int does not take these arguments",
            ),
        ],
    )
    def test_wrong_arguments_raise_with_name_of_call(self, read: Any, message: str) -> None:
        with pytest.raises(hp.TranslationError, match=message) as error_info:
            read()
        assert "lambda" not in str(error_info.value) and "_read" not in str(error_info.value)

    @pytest.mark.parametrize(
        ("call", "reader"),
        [
            ("suggest_float", "hpcompat.translators.optuna.forms.FORMS"),
            ("uniform", "hpcompat.translators.ray.forms.FORMS"),
        ],
    )
    def test_type_error_inside_reader_is_not_shown(
        self, call: str, reader: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any, **kwargs: Any) -> Any:
            raise TypeError("inside() got something else")

        monkeypatch.setitem(__import__("pkgutil").resolve_name(reader), call, Form(fail))
        with pytest.raises(hp.TranslationError) as error_info:
            if call == "uniform":
                hp.from_ray({"x": {"call": call, "args": [0, 1]}})
            else:
                hp.from_optuna([{"name": "x", "call": call, "args": [0, 1]}])
        assert "something else" not in str(error_info.value)


class TestCommandLine:
    def test_hints_with_python_arguments_have_command_line_versions(self) -> None:
        from hpcompat import cli

        spaces: list[tuple[Any, dict[str, Any]]] = [
            ({"x": Float(0, 1)}, {"method": "grid"}),
            ({"x": Categorical([1, 2], weights=[1, 2])}, {"method": "grid"}),
            ({"x": Categorical([1, 2], weights=[1, 2])}, {"method": "bayes", "metric": "loss"}),
            ({"x": Float(0, 1)}, {"method": "bayes"}),
            ({"x": hp.Constant(1)}, {"method": "bayes", "metric": "loss"}),
        ]
        for space, options in spaces:
            with pytest.raises(HpcompatError) as error_info:
                hp.to_wandb(space, **options)
            hints = [line.rpartition("(")[2] for line in cli._format_error(error_info.value).splitlines()[1:]]
            assert all("--" in hint and "=" not in hint for hint in hints), hints
