"""Params are converted to the declared type of their field, in a copy of the TrainingArguments."""

from __future__ import annotations

import enum

import pytest

from hpcompat.objectives.training_arguments import apply_params, coerce


class TestCoerce:
    @pytest.mark.parametrize(
        ("value", "hint", "expected"),
        [
            (3, float, 3.0),
            (3, float | None, 3.0),
            (0.25, float, 0.25),
            (4.0, int, 4),
            ("7", int, 7),
            ("1e-5", float, 1e-5),
            ("False", bool, False),
            ("true", bool, True),
            (1, bool, True),
            (None, int | None, None),
            ("cosine", str, "cosine"),
            ("5", str, "5"),
            ((1, 2), list[int], [1, 2]),
            ({"a": 1}, dict | str | None, {"a": 1}),
        ],
    )
    def test_value_is_converted_to_the_declared_type(self, value, hint, expected):
        assert (type(coerce(value, hint)), coerce(value, hint)) == (type(expected), expected)

    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (0.5, int),
            (True, int),
            (True, float),
            (2, bool),
            ("maybe", bool),
            ("x", int),
            (3, str),
            (None, int),
            (2**60 + 1, float),
        ],
    )
    def test_value_that_the_type_cannot_hold_raises(self, value, hint):
        with pytest.raises(ValueError, match=r"expected (int|float|bool|str), got "):
            coerce(value, hint, default=0)

    def test_string_outside_of_the_enum_raises(self):
        class Colour(enum.Enum):
            RED = "red"

        assert coerce("red", Colour | str) == "red"
        with pytest.raises(ValueError, match="expected a value of Colour, got 'rad'; did you mean 'red'"):
            coerce("rad", Colour | str)


class TestApplyParams:
    def test_attributes_that_are_not_fields_are_copied(self, make_trainer):
        args = make_trainer().args
        args.note = "mine"
        copied = apply_params(args, {"learning_rate": 1})
        assert (copied.note, copied.learning_rate, type(copied.learning_rate)) == ("mine", 1.0, float)
        assert args.learning_rate == 5e-5
