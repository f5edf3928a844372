"""Hypothesis strategies for search spaces, limited to what a dialect can express.

Needs Hypothesis. For the tests of a translator of your own, or of code that takes a space:

    @given(spaces("wandb", levels=("native", "equivalent")))
    def test_mine(space): ...

What a dialect can express is read from the table that the translators themselves read.
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
from hpcompat.translators.capabilities import LEVELS, best_rule
from hpcompat.translators.dialect import Variant, get_dialect
from hpcompat.translators.translation import levels as levels_of

TRAVELLING = LEVELS[:-1]

_numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: float(f"{x:.6g}"))
_positive = st.floats(-12, 6).map(lambda exponent: float(f"{10**exponent:.4g}"))
_wild = st.floats(allow_nan=False, allow_infinity=False)
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


def _grids(whole: bool) -> st.SearchStrategy[tuple[Any, Any, Any]]:
    """(low, high, step) whose step divides the range."""

    def grid(origin: int, step: int, count: int, exponent: int) -> tuple[Any, Any, Any]:
        numbers = (origin * step, (origin + count) * step, step)
        return numbers if whole else tuple(float(f"{number}e{exponent}") for number in numbers)  # type: ignore[return-value]

    def off_anchor(bounds: tuple[Any, Any, Any], shift: int) -> tuple[Any, Any, Any]:
        low, high, step = bounds
        return (low + shift, high + shift, step) if whole else bounds

    on = st.builds(grid, st.integers(-50, 50), st.integers(1, 12), st.integers(1, 40), st.integers(-6, 3))
    return on | st.builds(off_anchor, on, st.integers(-5, 5))


def _ranges(*, log: bool) -> st.SearchStrategy[tuple[float, float]]:
    bounds = _positive if log else st.one_of(_numbers, _wild)
    return st.tuples(bounds, bounds).map(lambda pair: (min(pair), max(pair)))


def _weighted(choices: list[Any], shares: list[Any]) -> Categorical:
    return Categorical(choices, weights=shares[: len(choices)])


def _step(pair: tuple[Any, ...], log: bool, kind: Callable[..., Parameter]) -> Parameter:
    low, high, step = pair
    return kind(low, high, step=step, log=log)


_choices = st.lists(values, min_size=1, max_size=5) | st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=5)
_shares = st.lists(st.integers(1, 9), min_size=5, max_size=5) | st.lists(st.floats(0.01, 1), min_size=5, max_size=5)
_logs = st.booleans()
_steps = st.sampled_from([None, 1, 2, 0.5, 0.1])

kinds: dict[str, st.SearchStrategy[Parameter]] = {
    "float": _ranges(log=False).map(lambda pair: Float(*pair)),
    "float log": _ranges(log=True).map(lambda pair: Float(*pair, log=True)),
    "float step": st.builds(_step, _grids(False), _logs, st.just(Float)),
    "int": st.builds(
        lambda low, width: Int(low, low + width),
        st.integers(-(2**60), 2**60) | st.integers(-9, 9),
        st.integers(1, 10**6),
    ),
    "int log": st.builds(
        lambda low, width: Int(low, low + width, log=True), st.integers(1, 200), st.integers(1, 10**4)
    ),
    "int step": st.builds(_step, _grids(True), _logs, st.just(Int)),
    "categorical": st.builds(Categorical, _choices, ordered=st.booleans()),
    "weights": st.builds(_weighted, _choices, _shares),
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
"""A strategy for each kind of parameter, invalid ones included."""
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
"""The rows of the capability table that each of them draws from."""


def parameters(
    dialect: str | None = None, *, levels: Collection[str] = TRAVELLING, **options: Any
) -> st.SearchStrategy[Parameter]:
    """Parameters that travel to a dialect on one of the levels; any sound ones without a dialect."""
    if unknown := sorted(set(levels) - set(LEVELS)):
        issue = Issue("", f"there is no {', '.join(map(repr, unknown))}", f"of {', '.join(LEVELS)}")
        raise TranslationError("unknown level", [issue])
    if dialect is None:
        return _parameters("", None, ())
    found = get_dialect(dialect)
    return _parameters(found.variant(found.parse_options(options)).name, dialect, tuple(levels))


@cache  # Hypothesis validates each new strategy, which costs more than drawing from it
def _parameters(variant_name: str, dialect: str | None, levels: tuple[str, ...]) -> st.SearchStrategy[Parameter]:
    variant = get_dialect(dialect).variants[variant_name] if dialect else None

    def is_wanted(parameter: Parameter) -> bool:
        return not parameter.issues and (variant is None or best_rule(parameter, variant.capabilities).level in levels)

    # of a kind that is never represented so, a filter would only reject
    possible = [kind for name, kind in kinds.items() if variant is None or _is_representable(name, variant, levels)]
    return st.one_of(*(kind.filter(is_wanted) for kind in possible))


def _is_representable(name: str, variant: Variant, levels: tuple[str, ...]) -> bool:
    return any(rule.level in levels for shape in SHAPES[name] for rule in variant.capabilities[shape])


_booleans = st.booleans()
_places = st.integers(0, 2**16)
_units = st.sampled_from([0.0, 0.5, 1.0]) | st.integers(0, 2**53 - 1).map(lambda n: n * 2.0**-53)
_groups = st.sampled_from([None, None, "group", "inner.group"])
_lists_of_names = st.lists(names, min_size=1, max_size=6, unique=True)


@st.composite
def spaces(
    draw: Any,
    /,
    dialect: str | None = None,
    *,
    levels: Collection[str] = TRAVELLING,
    groups: bool = True,
    conditions: bool = True,
    **options: Any,
) -> SearchSpace:
    """Spaces of one to six parameters, all of which travel to a dialect on one of the levels.

    With groups and conditions, where these can travel on those levels too.
    """
    one = parameters(dialect, levels=levels, **options)
    entries: dict[str, Any] = {}
    parents: list[tuple[str, Parameter]] = []
    space = SearchSpace()
    for name in draw(_lists_of_names):
        parameter = draw(one)
        if conditions and parents and draw(_booleans):
            parameter = _conditional(draw, parameter, parents)
        group = draw(_groups) if groups else None
        if isinstance(entries.get(group or name), Parameter):
            continue
        inner: Any = {**entries.get(group, {}), name: parameter} if group else parameter
        try:
            candidate = SearchSpace({**entries, group or name: inner})
        except SpaceError:  # the name clashes with a dotted one
            continue
        if dialect and not all(each.level in levels for each in levels_of(candidate, dialect, **options)):
            continue
        entries[group or name], space = inner, candidate
        if parameter.support is not None:
            parents.append((f"{group}.{name}" if group else name, parameter))
    assume(entries)
    return space


def _conditional(draw: Any, parameter: Any, parents: list[tuple[str, Parameter]]) -> Parameter:
    name, parent = parents[draw(_places) % len(parents)]
    when = {name: [parent.quantile(draw(_units)) for _ in range(1 + draw(_places) % 3)]}
    if draw(_booleans):
        other, second = parents[draw(_places) % len(parents)]
        when[other] = [second.quantile(draw(_units))]
    return replace(parameter, when=when)  # type: ignore[no-any-return]


@st.composite
def params_in(draw: Any, space: SearchSpace) -> dict[str, Any]:
    """Params of the space: anything its laws can draw, the ends of every range included."""
    return space.nest(assign_active(space.leaves, lambda leaf: leaf.parameter.quantile(draw(_units))))
