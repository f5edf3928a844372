"""What a space becomes hangs on predicates, not on the wording of a message."""

import sys
from pathlib import Path
from typing import Any

import pytest

import hpcompat as hp
from hpcompat import Categorical, Float, Int
from hpcompat.errors import HpcompatError, Issue
from hpcompat.translators.ray import Form

sys.path.insert(0, str(Path(__file__).parents[1] / "laws"))
from cells import ALL, VARIANTS, rule_of


class TestLevels:
    def test_reworded_issues_change_no_form(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = {(name, column): rule_of(p, column) for name, p in ALL.items() for column in VARIANTS}
        monkeypatch.setattr("hpcompat.space.validation.Issue", lambda *text: Issue("", "reworded"))
        after = {(name, column): rule_of(p, column) for name, p in ALL.items() for column in VARIANTS}
        assert after == before

    @pytest.mark.parametrize(
        ("parameter", "level"),
        [
            (Float(0.75, 4.25, log=True, step=0.5), "encoded"),
            (Float(0.5, 4.0, log=True, step=0.5), "native"),
            (Int(3, 18, log=True, step=5), "encoded"),
        ],
    )
    def test_log_grid_off_the_multiples_of_its_step_is_not_native(self, parameter: Any, level: str) -> None:
        assert rule_of(parameter, "ray").level == rule_of(parameter, "wandb random").level == level


class TestCallArguments:
    @pytest.mark.parametrize(
        ("read", "text"),
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
    def test_call_with_wrong_arguments_is_refused_in_its_own_name(self, read: Any, text: str) -> None:
        with pytest.raises(hp.TranslationError, match=text) as refusal:
            read()
        assert "lambda" not in str(refusal.value) and "_read" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("call", "reader"),
        [
            ("suggest_float", "hpcompat.translators.suggest_calls.READERS"),
            ("uniform", "hpcompat.translators.ray.FORMS"),
        ],
    )
    def test_type_error_from_within_a_reader_blames_no_signature(
        self, call: str, reader: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*args: Any, **kwargs: Any) -> Any:
            raise TypeError("inside() got something else")

        failing = fails if call == "suggest_float" else Form(fails)
        monkeypatch.setitem(__import__("pkgutil").resolve_name(reader), call, failing)
        with pytest.raises(hp.TranslationError) as refusal:
            if call == "uniform":
                hp.from_ray({"x": {"call": call, "args": [0, 1]}})
            else:
                hp.from_optuna([{"name": "x", "call": call, "args": [0, 1]}])
        assert "something else" not in str(refusal.value)


class TestCommandLine:
    def test_every_way_out_that_names_arguments_has_words_of_its_own(self) -> None:
        from hpcompat import cli

        spaces: list[tuple[Any, dict[str, Any]]] = [
            ({"x": Float(0, 1)}, {"method": "grid"}),
            ({"x": Categorical([1, 2], weights=[1, 2])}, {"method": "grid"}),
            ({"x": Categorical([1, 2], weights=[1, 2])}, {"method": "bayes", "metric": "loss"}),
            ({"x": Float(0, 1)}, {"method": "bayes"}),
            ({"x": hp.Constant(1)}, {"method": "bayes", "metric": "loss"}),
        ]
        for space, options in spaces:
            with pytest.raises(HpcompatError) as refusal:
                hp.to_wandb(space, **options)
            hints = [text.rpartition("(")[2] for text in cli._message(refusal.value).splitlines()[1:]]
            assert all("--" in hint and "=" not in hint for hint in hints), hints
