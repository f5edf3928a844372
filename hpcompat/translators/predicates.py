"""What a form can need of a parameter: the questions that the capability table asks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hpcompat.space.domains import multiple_of, shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.values import SCALARS, strict_key
from hpcompat.translators import literals

MAX_ENUMERATED = 10_000
"""A grid of more values than this is not written out as a list."""


def has_finite_width(p: Float) -> bool:
    """The engines draw low + u * (high - low), which must not overflow."""
    return p.high - p.low < math.inf


def has_min_width(p: Float | Normal) -> bool:
    """SigOpt's narrowest interval."""
    return has_finite_width(p) and p.high - p.low >= 1e-8  # type: ignore[arg-type, operator]


def has_min_width_and_is_enumerable(p: Any) -> bool:
    """Few enough values to write out, the first and the last as far apart as SigOpt's bounds must be."""
    ends = (p.choices[0], p.choices[-1]) if isinstance(p, Categorical) else (p.low, p.high)
    return is_enumerable(p) and ends[1] - ends[0] >= 1e-8


def fits_float_exactly(p: Int) -> bool:
    """Ints well inside of what a float holds: the engines draw them as floats, and round."""
    # exp(log(2**44)) is off by a twentieth of one: a draw next to a bound would be rounded beyond it
    most = 2**31 if p.log else 2**44
    return p.low >= -most and p.high <= most


def is_enumerable(p: Parameter) -> bool:
    """Few enough values to write out."""
    return p.size <= MAX_ENUMERATED


def always(p: Parameter) -> bool:
    """Nothing."""
    return True


def is_multiple_of_step(p: Float | Int) -> bool:
    """The grid's values are multiples of the step."""
    step = p.step or 0
    return multiple_of(p.low, step) is not None and multiple_of(p.high, step) is not None


def has_exact_step(p: Float | Normal) -> bool:
    """A step whose multiples floats hold exactly: an engine's `round(x / step) * step` is then the grid's value."""
    ends = (p.low, p.step) if isinstance(p, Float) else (p.step,)
    return all(Fraction(x) == Fraction(*shortest_decimal_fraction(x)) for x in ends if isinstance(x, float))


def is_exact_multiple_of_step(p: Float) -> bool:
    """The grid's values are multiples of the step, and come out of an engine's arithmetic as themselves."""
    return has_exact_step(p) and is_multiple_of_step(p)


def is_exact_multiple_of_step_and_finite(p: Float) -> bool:
    """The same, over a range that floats can measure."""
    return has_finite_width(p) and is_exact_multiple_of_step(p)


def is_int_multiple_of_step(p: Int) -> bool:
    """Ray's qrandint: with q=1 it leaves its upper end out."""
    return p.step >= 2 and fits_float_exactly(p) and is_multiple_of_step(p)


def has_distinct_scalars(p: Categorical) -> bool:
    """No two choices that an engine comparing by == would confuse."""
    return SCALARS.issuperset(map(type, p.choices)) and len(set(p.choices)) == len(p.choices)


def survives_json(p: Categorical) -> bool:
    """Choices that JSON gives back as they were, and that == tells apart."""
    kinds = set(map(type, p.choices))
    if kinds <= SCALARS:
        return len(kinds) == 1 or len(set(p.choices)) == len(p.choices)
    return not any(map(_contains_tuple, p.choices)) and _are_distinct_untyped(p.choices)


def _contains_tuple(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, tuple) or any(map(_contains_tuple, inner))


def _are_distinct_untyped(values: Sequence[Any]) -> bool:
    # 1 == True at any depth: compare the typed identities with their types taken out
    def untyped(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return "list", tuple(map(untyped, value))
        if isinstance(value, dict):
            return "dict", frozenset((key, untyped(item)) for key, item in value.items())
        return value

    return len(set(map(untyped, values))) == len({strict_key(value) for value in values})


def is_inert_in_ray(p: Categorical | Constant) -> bool:
    """Nothing in it that Ray would resolve, and no tuple."""
    values = p.choices if isinstance(p, Categorical) else (p.value,)
    return not any(map(ray_would_resolve, values))


def ray_would_resolve(value: Any) -> bool:
    """Whether Ray would take a dict inside the value for part of the space: it evaluates {"eval": …}, splits at "/"."""
    if type(value) in SCALARS:
        return False
    if isinstance(value, dict):
        return (
            bool({"eval", "grid_search"} & value.keys())
            or any("/" in key for key in value)
            or any(map(ray_would_resolve, value.values()))
        )
    return (
        isinstance(value, (list, tuple))
        and not SCALARS.issuperset(map(type, value))
        and any(map(ray_would_resolve, value))
    )


def is_inert_and_not_a_dict(p: Constant) -> bool:
    """A dict in a Ray config reads back as a group."""
    return is_inert_in_ray(p) and not (isinstance(p.value, dict) and p.value)


def is_scalar_constant(p: Constant) -> bool:
    """A number, a bool or a text."""
    return p.value is not None and type(p.value) in SCALARS


def is_repeatable(p: Categorical) -> bool:
    """Weights whose ratios are small whole numbers, so that listing a choice repeatedly gives them."""
    return is_inert_in_ray(p) and repeat_counts(p) is not None


def repeat_counts(p: Categorical) -> tuple[int, ...] | None:
    """How often to list each choice for exactly its weight; None if more than 1,000 in all."""
    smallest = min(p.weights or (1.0,))
    for base in range(1, 101):
        counts = tuple(round(weight / smallest * base) for weight in p.weights or ())
        total = sum(counts)
        if total > 1000:
            return None
        if all(count / total == weight for count, weight in zip(counts, p.weights or (), strict=True)):
            return counts
    return None


def are_sigopt_strings(p: Categorical) -> bool:
    """SigOpt's categories: two or more texts of 1–50 characters, none with blanks around it, that read as texts."""
    return (
        len(p.choices) >= 2
        and all(
            isinstance(choice, str) and 1 <= len(choice) <= 50 and choice == choice.strip() and choice.isprintable()
            for choice in p.choices
        )
        and literals.parse_all_or_none(p.choices) == tuple(p.choices)
    )


def are_sigopt_literals(p: Categorical) -> bool:
    """Numbers, true, false and null whose texts say what they are."""
    written = [literals.format_literal(choice) for choice in p.choices]
    return len(written) >= 2 and all(text is not None and len(text) <= 50 for text in written)


def is_irregular_scale(p: Categorical) -> bool:
    """An ordered scale of numbers that is no arithmetic grid, which would read back as Int or Float."""
    kinds = {type(choice) for choice in p.choices}
    if not p.ordered or len(p.choices) < 3 or len(kinds) != 1 or not kinds <= {int, float}:
        return False
    ordered = all(a < b for a, b in zip(p.choices, p.choices[1:], strict=False))
    return ordered and even_step(p.choices) is None


def is_wide_irregular_scale(p: Categorical) -> bool:
    """Such a scale, as wide as SigOpt's bounds must be."""
    return is_irregular_scale(p) and has_min_width_and_is_enumerable(p)


def even_step(values: Sequence[Any]) -> Any:
    """The step of ascending numbers that lie evenly spaced, in decimals; None if they do not."""
    low, second = (Decimal(repr(value)) for value in values[:2])
    step = type(values[0])(second - low)
    kind = Int if type(values[0]) is int else Float
    grid = kind(values[0], values[-1], step=step)
    even = not grid.issues and grid.size == len(values) and all(map(grid.contains, values))
    return step if even else None


def has_interior_mean(p: Normal) -> bool:
    """SigOpt's prior: a mean strictly between two bounds."""
    return p.low is not None and p.high is not None and p.low < p.mean < p.high and has_min_width(p)


def is_untruncated(p: Normal) -> bool:
    """Not truncated."""
    return p.low is None and p.high is None


def is_untruncated_with_exact_step(p: Normal) -> bool:
    """Not truncated, and rounded to values that come out of an engine's arithmetic as themselves."""
    return is_untruncated(p) and has_exact_step(p)


def is_untruncated_float(p: Normal) -> bool:
    """Not truncated, and rounded to floats."""
    return is_untruncated(p) and type(p.step) is float


def is_untruncated_float_with_exact_step(p: Normal) -> bool:
    """Not truncated, and rounded to floats that come out of an engine's arithmetic as themselves."""
    return is_untruncated_float(p) and has_exact_step(p)


def is_unordered(p: Categorical) -> bool:
    """Choices without an order."""
    return not p.ordered


def has_several_choices(p: Categorical) -> bool:
    """More than one choice."""
    return len(p.choices) > 1


def is_inert_and_survives_json(p: Categorical) -> bool:
    """Both of it."""
    return is_inert_in_ray(p) and survives_json(p)


def is_json(p: Constant) -> bool:
    """A value that JSON gives back as it was."""
    return not _contains_tuple(p.value)
