"""What a system can express: the rules of which each dialect makes its capability table.

A table has a row for each shape of parameter, with the rules to try, best first. A rule names the form in which the
parameter is written, states what that form needs of the parameter, and the reason where it is not native.

| level | means |
|---|---|
| native | the system has a form of its own, which reads back as the same parameter |
| equivalent | the system draws the same values with the same probabilities, but forgets the type of the parameter |
| encoded | the system stores something else, and `decode` brings the value back |
| refused | the parameter cannot be represented at all |

Forms named in `codecs.CODECS` are written as a proxy parameter; each dialect writes every other form itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from hpcompat.space.domains import multiple_of, shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.values import SCALARS, strict_key

LEVELS = ("native", "equivalent", "encoded", "refused")
NORMAL_SHAPES = ("normal", "normal log", "normal step", "normal log step")
SHAPES = (
    *("float", "float log", "float step", "float log step"),
    *("int", "int log", "int step", "int log step"),
    *("categorical", "categorical ordered", "categorical weights", "constant"),
    *NORMAL_SHAPES,
)
MAX_ENUMERATED = 10_000
"""A grid of more values than this is not written out as a list."""

MIN_WIDTH = 1e-8
"""The narrowest bounds that a SigOpt server takes."""

Predicate = Callable[[Any], bool]


def always(p: Parameter) -> bool:
    """Return True."""
    return True


class Rule(NamedTuple):
    """One way to represent a parameter: level, form, why it is not a better one, and what it needs."""

    level: str
    form: str
    reason: str = ""
    applies: Predicate = always


Capabilities = Mapping[str, tuple[Rule, ...]]
"""By shape, the rules to try, best first; the last one applies to every parameter of the shape."""


def native(form: str, applies: Predicate = always, reason: str = "") -> Rule:
    """Return the rule of a form of the system's own."""
    return Rule("native", form, reason, applies)


def equivalent(form: str, reason: str, applies: Predicate = always) -> Rule:
    """Return the rule of another form of the system's that draws the same."""
    return Rule("equivalent", form, reason, applies)


def encoded(form: str, reason: str, applies: Predicate = always) -> Rule:
    """Return the rule of a codec, or of a form that has lost what `decode` knows."""
    return Rule("encoded", form, reason, applies)


def unsupported(reason: str) -> Rule:
    """Return the rule of what cannot be represented."""
    return Rule("refused", "", reason)


def all_of(*predicates: Predicate) -> Predicate:
    """Return the predicate that all of these hold."""
    return lambda p: all(predicate(p) for predicate in predicates)


_PLAIN_SHAPES: dict[tuple[str, bool, float | None], str] = {
    (kind, log, step): f"{kind}{' log' * log}"
    for kind, step in (("float", None), ("int", 1), ("normal", None))
    for log in (False, True)
}


def shape(p: Parameter) -> str:
    """Return the row of a capability table that a parameter belongs to.

    >>> shape(Float(0, 1)), shape(Int(2, 8, log=True, step=2)), shape(Categorical([1, 2], ordered=True))
    ('float', 'int log step', 'categorical ordered')
    """
    kind = p.kind
    if isinstance(p, Categorical):
        return "categorical weights" if p.weights else "categorical ordered" if p.ordered else kind
    if not isinstance(p, (Float, Int, Normal)):
        return kind
    return _PLAIN_SHAPES.get((kind, p.log, p.step)) or f"{kind}{' log' * p.log} step"


def best_rules(parameters: Iterable[Parameter], capabilities: Capabilities) -> list[Rule]:
    """Return the best rule for each parameter."""
    return [next(rule for rule in capabilities[shape(p)] if rule.applies(p)) for p in parameters]


def best_rule(p: Parameter, capabilities: Capabilities) -> Rule:
    """Return the best rule for a parameter."""
    (rule,) = best_rules([p], capabilities)
    return rule


# -- what a form can need of a parameter ------------------------------------------------------------


def has_finite_width(p: Float) -> bool:
    """Return whether low + u * (high - low), which engines draw, does not overflow."""
    return p.high - p.low < math.inf


def has_min_width(p: Float | Normal) -> bool:
    """Return whether the range is as wide as SigOpt's bounds must be, and finite."""
    return has_finite_width(p) and p.high - p.low >= MIN_WIDTH  # type: ignore[arg-type, operator]


def fits_float_exactly(p: Int) -> bool:
    """Return whether the ints lie well inside of what a float holds: engines draw them as floats, and round."""
    # exp(log(2**44)) is off by a twentieth of one: a draw next to a bound would be rounded beyond it
    limit = 2**31 if p.log else 2**44
    return p.low >= -limit and p.high <= limit


def is_enumerable(p: Parameter) -> bool:
    """Return whether the values are few enough to write out."""
    return p.size <= MAX_ENUMERATED


def is_multiple_of_step(p: Float | Int) -> bool:
    """Return whether both bounds, and so all values, are multiples of the step."""
    step = p.step or 0
    return multiple_of(p.low, step) is not None and multiple_of(p.high, step) is not None


def is_int_multiple_of_step(p: Int) -> bool:
    """Return whether the ints are multiples of a step above 1: with q=1 Ray's qrandint leaves its upper end out."""
    return p.step >= 2 and fits_float_exactly(p) and is_multiple_of_step(p)


def has_exact_step(p: Float | Normal) -> bool:
    """Return whether floats hold the step exactly: an engine's `round(x / step) * step` is then the grid's value."""
    ends = (p.low, p.step) if isinstance(p, Float) else (p.step,)
    return all(Fraction(x) == Fraction(*shortest_decimal_fraction(x)) for x in ends if isinstance(x, float))


def is_untruncated(p: Normal) -> bool:
    """Return whether the normal distribution has no bounds."""
    return p.low is None and p.high is None


def survives_json(p: Categorical) -> bool:
    """Return whether JSON gives the choices back as they were, and == tells them apart."""
    types = set(map(type, p.choices))
    if types <= SCALARS:
        return len(types) == 1 or len(set(p.choices)) == len(p.choices)
    return not any(map(_contains_tuple, p.choices)) and _are_distinct_untyped(p.choices)


def is_json(p: Constant) -> bool:
    """Return whether JSON gives the value back as it was."""
    return not _contains_tuple(p.value)


def _contains_tuple(value: object) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, tuple) or any(map(_contains_tuple, inner))


def _are_distinct_untyped(values: Sequence[object]) -> bool:
    # 1 == True at any depth: compare keys without types
    def untyped(value: object) -> Hashable:
        if isinstance(value, (list, tuple)):
            return "list", tuple(map(untyped, value))
        if isinstance(value, dict):
            return "dict", frozenset((key, untyped(item)) for key, item in value.items())
        return value

    return len(set(map(untyped, values))) == len({strict_key(value) for value in values})


def is_unordered(p: Categorical) -> bool:
    """Return whether the choices have no order."""
    return not p.ordered


# -- reasons and rules of several dialects ----------------------------------------------------------

AMBIGUOUS_CHOICES = "it would confuse choices that are == to Python, or turn a tuple into a list"
NO_NORMAL = "it has no normal distribution"
NO_LOG_NORMAL = "it has no log-normal distribution"
NO_TRUNCATION = "it has no truncated normal distribution"
NO_WEIGHTS = "it has no weights"
NO_LOG_STEP = "it has no step on a logarithmic scale"
NOT_MULTIPLES_OF_STEP = "it rounds to multiples of the step, and these are not"
NO_ORDER = "a list of choices, without an order"
FLOAT_NOISE = "it works out the multiples of the step in floats, which gives 0.30000000000000004 for 0.3"

UNIT_WIDE = encoded("unit", "the range is wider than a float")
UNIT_NARROW = encoded("unit", "its bounds must lie between 1e-8 and a float apart")
UNIT_LARGE = encoded("unit", "logarithmic ints beyond 2**31 are drawn as floats too coarse for them")
UNIT_NOISE = encoded("unit", FLOAT_NOISE, is_multiple_of_step)
UNIT_NORMAL = encoded("unit", NO_NORMAL)
UNIT_TRUNCATED = encoded("unit", NO_TRUNCATION)
UNIT_LOG_STEP = encoded("unit", NO_LOG_STEP)
UNIT_WEIGHTS = encoded("unit", NO_WEIGHTS)
UNIT_NOT_MULTIPLES = encoded("unit", NOT_MULTIPLES_OF_STEP)
INDEX_LARGE = encoded("index", "ints beyond 2**44 are drawn as floats too coarse for them")
INDEX_LONG = encoded("index", f"it has more than {MAX_ENUMERATED} values")
LABELS = encoded("labels", AMBIGUOUS_CHOICES)


def log_float_step(form: str) -> tuple[Rule, ...]:
    """Return the rules of a float with step and log, for a form that rounds draws to multiples of the step."""
    return (
        native(form, all_of(has_exact_step, is_multiple_of_step)),
        UNIT_NOISE,
        UNIT_NOT_MULTIPLES,
    )


def log_int_step(form: str) -> tuple[Rule, ...]:
    """Return the rules of an int with step and log, for a form that rounds draws to multiples of the step."""
    return (native(form, is_int_multiple_of_step), UNIT_NOT_MULTIPLES)


def one_of_list(form: str) -> tuple[Rule, ...]:
    """Return the rules of a grid that is written as a list of its values."""
    return (equivalent(form, "a list of the values", is_enumerable), INDEX_LONG)
