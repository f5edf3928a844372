"""The fast path of validation, for arguments that are valid and canonical, gives the result of the full validation."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcompat import Categorical, Float, Int
from hpcompat.space import validation

FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 2.0**-1022, 1.7e308])
INTS = st.integers() | st.sampled_from([0, 1, 2**40, 2**52, -(2**52), 2**53]) | st.booleans()
CHOICES = st.lists(st.text(max_size=3)) | st.lists(INTS) | st.lists(st.sampled_from(["a", 1, 1.0, True, None, (1,)]))
FLAGS = st.sampled_from([False, True])


class Index:
    """An integer that is not an instance of int."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def assert_equal(plain: Any, other: Any) -> None:
    assert plain.issues == other.issues
    if not plain.issues:
        assert plain == other
        assert repr(plain) == repr(other)


class TestPlainArguments:
    @given(FLOATS, FLOATS, FLAGS)
    def test_floats_equal_converted_numpy_floats(self, low: float, high: float, log: bool) -> None:
        plain, other = Float(low, high, log=log), Float(np.float64(low), np.float64(high), log=log)
        assert bool(plain.issues) == bool(other.issues)
        if not plain.issues:
            assert_equal(plain, other)

    @given(INTS, INTS, FLAGS)
    def test_ints_equal_converted_ints(self, low: Any, high: Any, log: bool) -> None:
        if type(low) is type(high) is int:
            assert_equal(Int(low, high, log=log), Int(Index(low), Index(high), log=log))  # type: ignore[arg-type]

    @given(CHOICES, FLAGS)
    def test_choices_equal_those_of_another_sequence(self, choices: Any, ordered: bool) -> None:
        class Choices(list):  # type: ignore[type-arg]
            pass

        assert_equal(Categorical(choices, ordered=ordered), Categorical(Choices(choices), ordered=ordered))

    def test_typical_arguments_are_recognized_as_plain(self) -> None:
        for validated in (
            validation.validate_float(1e-6, 1e-4, True, None),
            validation.validate_int(-3, 12, False, 1),
        ):
            assert validated.values == {}
        assert validation.validate_categorical(["adamw", "sgd"], None, False).values.keys() == {"choices"}
        assert validation.validate_categorical((16, 32, 64), None, True).values.keys() == {"choices"}
