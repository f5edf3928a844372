"""What is taken at a glance is what a close look finds sound, and leaves as it is."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpcompat import Categorical, Float, Int, SearchSpace
from hpcompat.space import checks, glances, structure
from hpcompat.testing import parameters, spaces

FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 2.0**-1022, 1.7e308])
INTS = st.integers() | st.sampled_from([0, 1, 2**40, 2**52, -(2**52), 2**53]) | st.booleans()
CHOICES = st.lists(st.text(max_size=3)) | st.lists(INTS) | st.lists(st.sampled_from(["a", 1, 1.0, True, None, (1,)]))
FLAGS = st.sampled_from([False, True, 0, 1, None])


@given(FLOATS | INTS, FLOATS | INTS, FLAGS)
def test_intervals(low: Any, high: Any, log: Any) -> None:
    if glances.interval(low, high, log):
        unchanged(Float(low, high, log=log), checks.interval(low, high, log, None))


@given(INTS, INTS | FLOATS, FLAGS)
def test_int_ranges(low: Any, high: Any, log: Any) -> None:
    if glances.int_range(low, high, log):
        unchanged(Int(low, high, log=log), checks.int_range(low, high, log, 1))


@given(CHOICES, FLAGS)
def test_choices(values: Any, ordered: Any) -> None:
    if glances.choices(values, ordered):
        unchanged(Categorical(values, ordered=ordered), checks.choices(values, None, ordered))


@given(spaces())
def test_spaces(space: SearchSpace) -> None:
    if structure.plain(space):
        assert (structure.leaves_of(space), ()) == structure.resolve(space, ())


@given(st.dictionaries(st.text(max_size=3) | st.integers(), parameters()))
def test_names_and_parameters(entries: dict[Any, Any]) -> None:
    leaves, issues = structure.resolve(entries, ())
    if structure.plain(entries):
        assert (structure.leaves_of(entries), ()) == (leaves, issues)
    assert not (issues and structure.plain(entries))


def unchanged(parameter: Any, fields: checks.Fields) -> None:
    assert fields.pop("issues") == ()
    assert fields.pop("_drawn") is not None
    assert {name: getattr(parameter, name) for name in fields} == fields


def test_most_are_taken_at_a_glance() -> None:
    assert glances.interval(1e-6, 1e-4, True)
    assert glances.int_range(-3, 12, False)
    assert glances.choices(["adamw", "sgd"], False)
    assert glances.choices((16, 32, 64), True)
