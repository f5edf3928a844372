"""Hypothesis strategies for search spaces, limited to what a dialect can represent.

They need Hypothesis. Use them in the tests of a translator of your own, or of code that takes a space:

    @given(spaces("wandb", levels=("native", "equivalent")))
    def test_mine(space): ...

The limits are the capability tables that the translators read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from hpcompat.errors import Issue, SpaceError, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.tree import assign_active
from hpcompat.translators import levels as levels_of
from hpcompat.translators.capabilities import LEVELS, best_rule
from hpcompat.translators.dialect import Variant, get_dialect

REPRESENTABLE = LEVELS[:-1]

Grid = tuple[float, float, float]

_numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: float(f"{x:.6g}"))
_positive = st.floats(-12, 6).map(lambda exponent: float(f"{10**exponent:.4g}"))
_any_float = st.floats(allow_nan=False, allow_infinity=False)
_scalars = st.one_of(
    st.integers(-100, 1000),
    st.booleans(),
    st.none(),
    _numbers,
    st.sampled_from(["adamw", "sgd", "true", "16", "1e-5"]),
    st.text(max_size=60),
)
values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)
"""Values that a parameter can take: scalars, lists, tuples, dicts."""
names = st.one_of(
    st.sampled_from(
        ["lr", "batch_size", "optim", "weight_decay", "seed", "model", "layers", "lr_scheduler.num_cycles"]
    ),
    st.from_regex(r"[a-z_][a-z0-9_.]{0,8}", fullmatch=True),
    st.text(min_size=1, max_size=8),
    st.sampled_from(["a/b", "eval", "grid_search", " x ", "_x2f_", "x" * 120, "call", "é"]),
).filter(str.isprintable)


def _grids(is_integer: bool) -> st.SearchStrategy[Grid]:
    """Return a strategy for (low, high, step) whose step divides the range."""

    def grid(origin: int, step: int, count: int, exponent: int) -> Grid:
        low, high = origin * step, (origin + count) * step
        if is_integer:
            return low, high, step
        return float(f"{low}e{exponent}"), float(f"{high}e{exponent}"), float(f"{step}e{exponent}")

    def off_anchor(bounds: Grid, shift: int) -> Grid:
        low, high, step = bounds
        return (low + shift, high + shift, step) if is_integer else bounds

    multiples = st.builds(grid, st.integers(-50, 50), st.integers(1, 12), st.integers(1, 40), st.integers(-6, 3))
    return multiples | st.builds(off_anchor, multiples, st.integers(-5, 5))


def _ranges(*, log: bool) -> st.SearchStrategy[tuple[float, float]]:
    bounds = _positive if log else st.one_of(_numbers, _any_float)
    return st.tuples(bounds, bounds).map(lambda pair: (min(pair), max(pair)))


def _weighted(choices: list[object], weights: list[float]) -> Categorical:
    return Categorical(choices, weights=weights[: len(choices)])


def _stepped(grid: Grid, log: bool, parameter_type: Callable[..., Parameter]) -> Parameter:
    low, high, step = grid
    return parameter_type(low, high, step=step, log=log)


_choices = st.lists(values, min_size=1, max_size=5) | st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=5)
_weights = st.lists(st.integers(1, 9), min_size=5, max_size=5) | st.lists(st.floats(0.01, 1), min_size=5, max_size=5)
_logs = st.booleans()
_steps = st.sampled_from([None, 1, 2, 0.5, 0.1])

PARAMETERS_BY_SHAPE: dict[str, st.SearchStrategy[Parameter]] = {
    "float": _ranges(log=False).map(lambda pair: Float(*pair)),
    "float log": _ranges(log=True).map(lambda pair: Float(*pair, log=True)),
    "float step": st.builds(_stepped, _grids(False), _logs, st.just(Float)),
    "int": st.builds(
        lambda low, width: Int(low, low + width),
        st.integers(-(2**60), 2**60) | st.integers(-9, 9),
        st.integers(1, 10**6),
    ),
    "int log": st.builds(
        lambda low, width: Int(low, low + width, log=True), st.integers(1, 200), st.integers(1, 10**4)
    ),
    "int step": st.builds(_stepped, _grids(True), _logs, st.just(Int)),
    "categorical": st.builds(Categorical, _choices, ordered=st.booleans()),
    "weights": st.builds(_weighted, _choices, _weights),
    "ordered numbers": st.sets(st.integers(1, 99), min_size=2, max_size=5).map(
        lambda numbers: Categorical(sorted(numbers), ordered=True)
    ),
    "constant": st.builds(Constant, values),
    "normal": st.builds(Normal, _numbers, _positive, step=_steps),
    "truncated": st.builds(
        lambda mean, std, low, high, step: Normal(mean, std, low=mean + low * std, high=mean + high * std)
        if step is None
        else Normal(mean, std, low=round(mean / step + low) * step, high=round(mean / step + high) * step, step=step),
        _numbers, _positive, st.floats(-4, 0), st.floats(0.1, 4), st.none() | st.sampled_from([1, 0.5]),
    ),
    "log-normal": st.builds(
        lambda mean, std, step: Normal(mean, std, log=True, step=step), st.floats(-9, 9), st.floats(0.01, 2), _steps
    ),
}  # fmt: skip
"""A strategy for each type of parameter, invalid ones included."""
SHAPES = {
    "float": ["float"],
    "float log": ["float log"],
    "float step": ["float step", "float log step"],
    "int": ["int"],
    "int log": ["int log"],
    "int step": ["int step", "int log step"],
    "categorical": ["categorical", "categorical ordered"],
    "weights": ["categorical weights"],
    "ordered numbers": ["categorical ordered"],
    "constant": ["constant"],
    "normal": ["normal", "normal step"],
    "truncated": ["normal", "normal step"],
    "log-normal": ["normal log", "normal log step"],
}
"""The rows of a capability table that the parameters of each strategy belong to."""


def parameters(
    dialect: str | None = None, *, levels: Collection[str] = REPRESENTABLE, **options: Any
) -> st.SearchStrategy[Parameter]:
    """Return a strategy for parameters.

    Args:
        dialect: The name of the dialect that can represent them; None for any valid parameters.
        levels: Of representation in the dialect.
        options: Of the dialect, as for `translate`.
    """
    if unknown := sorted(set(levels) - set(LEVELS)):
        message = f"expected some of {', '.join(LEVELS)}, got {', '.join(map(repr, unknown))}"
        raise TranslationError("unknown level", [Issue("levels", message)])
    if dialect is None:
        return _parameters("", None, ())
    target = get_dialect(dialect)
    return _parameters(target.variant(target.parse_options(options)).name, dialect, tuple(levels))


@cache  # Hypothesis validates each new strategy, which costs more than drawing from it
def _parameters(variant_name: str, dialect: str | None, levels: tuple[str, ...]) -> st.SearchStrategy[Parameter]:
    variant = get_dialect(dialect).variants[variant_name] if dialect else None

    def is_wanted(parameter: Parameter) -> bool:
        return not parameter.issues and (variant is None or best_rule(parameter, variant.capabilities).level in levels)

    # without those of which the filter would reject all
    strategies = [
        strategy
        for name, strategy in PARAMETERS_BY_SHAPE.items()
        if variant is None or _is_representable(name, variant, levels)
    ]
    return st.one_of(*(strategy.filter(is_wanted) for strategy in strategies))


def _is_representable(name: str, variant: Variant, levels: tuple[str, ...]) -> bool:
    return any(rule.level in levels for shape in SHAPES[name] for rule in variant.capabilities[shape])


_booleans = st.booleans()
_indices = st.integers(0, 2**16)
_units = st.sampled_from([0.0, 0.5, 1.0]) | st.integers(0, 2**53 - 1).map(lambda n: n * 2.0**-53)
_groups = st.sampled_from([None, None, "group", "inner.group"])
_lists_of_names = st.lists(names, min_size=1, max_size=6, unique=True)


@st.composite
def spaces(
    draw: st.DrawFn,
    /,
    dialect: str | None = None,
    *,
    levels: Collection[str] = REPRESENTABLE,
    groups: bool = True,
    conditions: bool = True,
    **options: Any,
) -> SearchSpace:
    """Return a strategy for spaces of one to six parameters.

    Args:
        draw: Passed in by Hypothesis.
        dialect: The name of the dialect that can represent them; None for any valid spaces.
        levels: Of representation in the dialect.
        groups: Whether a space may have groups, if the dialect can represent them on these levels.
        conditions: Whether a space may have conditions, if the dialect can represent them on these levels.
        options: Of the dialect, as for `translate`.
    """
    strategy = parameters(dialect, levels=levels, **options)
    entries: dict[str, Parameter | dict[str, Parameter]] = {}
    parents: list[tuple[str, Parameter]] = []
    space = SearchSpace()
    for name in draw(_lists_of_names):
        parameter = draw(strategy)
        if conditions and parents and draw(_booleans):
            parameter = _conditional(draw, parameter, parents)
        group = draw(_groups) if groups else None
        siblings = entries.get(group or name, {})
        if isinstance(siblings, Parameter):
            continue
        entry = {**siblings, name: parameter} if group else parameter
        try:
            candidate = SearchSpace({**entries, group or name: entry})
        except SpaceError:  # the name clashes with a dotted one
            continue
        if dialect and not all(level.level in levels for level in levels_of(candidate, dialect, **options)):
            continue
        entries[group or name], space = entry, candidate
        if parameter.support is not None:
            parents.append((f"{group}.{name}" if group else name, parameter))
    assume(entries)
    return space


def _conditional(draw: st.DrawFn, parameter: Parameter, parents: list[tuple[str, Parameter]]) -> Parameter:
    name, parent = parents[draw(_indices) % len(parents)]
    when = {name: [parent.quantile(draw(_units)) for _ in range(1 + draw(_indices) % 3)]}
    if draw(_booleans):
        other, second = parents[draw(_indices) % len(parents)]
        when[other] = [second.quantile(draw(_units))]
    return replace(parameter, when=when)  # type: ignore[type-var]


@st.composite
def params_in(draw: st.DrawFn, space: SearchSpace) -> dict[str, Any]:
    """Return a strategy for params of the space, the ends of every range included."""
    return space.nest(assign_active(space.leaves, lambda leaf: leaf.parameter.quantile(draw(_units))))
