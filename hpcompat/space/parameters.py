"""The parameters that a search space is made of: plain frozen data.

| parameter | distribution |
|---|---|
| `Float(low, high, log=, step=)` | uniform, or uniform in the logarithm; on low, low+step, …, high with step |
| `Int(low, high, log=, step=)` | the same over ints, both ends included |
| `Categorical(choices, weights=, ordered=)` | one of the choices, equally likely or by weight |
| `Constant(value)` | always the value |
| `Normal(mean, std, low=, high=, log=, step=)` | normal, of the logarithm if log; truncated; rounded to step |

Each takes `when={"parent": value}`: see `SearchSpace`.

A parameter made on its own never raises: it lists its `issues`, and the `SearchSpace` that takes it in raises all of
them together, by name.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from hpcompat.errors import Issue, ParamsError, SpaceError
from hpcompat.space import validation
from hpcompat.space.conditions import When, condition_key, parse_when, when_dict
from hpcompat.space.distributions import (
    MAX_UNIT,
    MIN_UNIT,
    ContinuousDistribution,
    DiscreteUniform,
    Quantized,
    WeightedDiscrete,
    grid_distribution,
    normal_distribution,
    range_distribution,
)
from hpcompat.space.domains import ChoiceDomain, Grid, multiple_of
from hpcompat.space.values import copy_list_if_mutable, short_repr, strict_equal, strict_key


class Argument(NamedTuple):
    """An argument of a type of parameter: its name, and its default, `MISSING` if it has none."""

    name: str
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether the argument has no default."""
        return self.default is MISSING


_ARGUMENTS: dict[Any, tuple[Argument, ...]] = {}


def arguments_of(kind: Any) -> tuple[Argument, ...]:
    """Return the arguments of a type of parameter, `when` left out.

    >>> [argument.name for argument in arguments_of(Float)]
    ['low', 'high', 'log', 'step']
    """
    if kind not in _ARGUMENTS:
        _ARGUMENTS[kind] = tuple(Argument(field.name, field.default) for field in fields(kind) if field.name != "when")
    return _ARGUMENTS[kind]


class Parameter:
    """What all parameters can do. Make one of the subclasses, which are all that there are.

    It is no ABC: `isinstance` takes three times as long with one, and is asked of every entry of a space.
    """

    kind: ClassVar[str]
    _list_names: ClassVar[tuple[str, ...]] = ()
    """The arguments that are lists: stored as tuples, shown as lists."""
    when: When
    issues: tuple[Issue, ...] = ()

    def __post_init__(self) -> None:
        values, issues = self._validate()
        if type(self.when) is not tuple or self.when:
            values = {**values, "when": parse_when(self.when)}
        if issues:
            values = {**values, "issues": issues}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _validate(self) -> validation.Validated:
        """Return the arguments in canonical form, and what is wrong with them."""
        raise NotImplementedError

    def _make_support(self) -> Grid | ChoiceDomain | None:
        """Return the values of a discrete parameter, None for a continuous one."""
        raise NotImplementedError

    def _make_distribution(self) -> Any:
        """Return the distribution: of the index of a value if there is a support, else of the value."""
        raise NotImplementedError

    @cached_property
    def support(self) -> Grid | ChoiceDomain | None:
        """The values of a discrete parameter, by index, without enumerating them; None if continuous.

        >>> list(Int(1, 7, step=3).support), Float(0, 1).support
        ([1, 4, 7], None)
        """
        self._require_valid()
        return self._make_support()

    @cached_property
    def _distribution(self) -> Any:
        self._require_valid()
        return self._make_distribution()

    def _require_valid(self) -> None:
        if self.issues:
            raise SpaceError(f"{short_repr(self, 200)} is not a valid {type(self).__name__}", self.issues)

    @property
    def size(self) -> float:
        """The number of values that the parameter can take: an int, or inf.

        >>> Int(1, 10).size, Float(0, 1).size
        (10, inf)
        """
        support = self.support
        return math.inf if support is None else support.size

    def quantile(self, u: float) -> Any:
        """Return the value below which a share `u` (0 … 1) of the draws lies: `quantile(random())` samples.

        >>> Float(0, 10).quantile(0.25), Int(1, 4).quantile(1.0)
        (2.5, 4)
        """
        distribution, support = self._distribution, self.support
        try:
            if not 0.0 <= u <= 1.0:
                raise ValueError(u)
            u = float(u)  # of numpy's floats the arithmetic would make more of them
            return distribution.quantile(u) if support is None else support[distribution.quantile(u)]
        except (TypeError, ValueError, AttributeError, ArithmeticError):
            message = f"expected a float from 0 to 1, got {short_repr(u)}"
            raise ParamsError(message, [Issue("", message, "a unit float gives a draw")]) from None

    def cdf(self, value: Any) -> float:
        """Return the probability of a draw at or below `value`; of choices, of it and those listed before it.

        Raises:
            ParamsError: A discrete parameter cannot take the value.

        >>> Float(0, 10).cdf(2.5), Int(1, 4).cdf(3)
        (0.25, 0.75)
        """
        distribution = self._distribution
        if self.support is not None:
            return float(distribution.cdf_exclusive(self.index_of(value) + 1))
        if not isinstance(value, (int, float)):
            raise self._out_of_range(value)
        try:
            return float(distribution.cdf(value))
        except OverflowError:  # an int beyond every float
            return 1.0 if value > 0 else 0.0

    def to_unit(self, value: Any) -> float:
        """Return a `u` with `quantile(u) == value`: for a discrete parameter the middle of the value's share.

        Raises:
            ParamsError: The parameter cannot take the value.

        >>> Int(1, 4).to_unit(1), Float(0, 10).to_unit(2.5)
        (0.125, 0.25)
        """
        distribution = self._distribution
        if not self.contains(value):
            raise self._out_of_range(value)
        if self.support is None:
            return _refine(distribution, value, distribution.cdf(value))
        index = self.index_of(value)
        low, high = distribution.cdf_exclusive(index), distribution.cdf_exclusive(index + 1)
        for u in (low + (high - low) / 2, low, math.nextafter(low, 1.0), math.nextafter(high, 0.0)):
            if distribution.quantile(u) == index:
                return u
        raise ParamsError(f"{short_repr(value)} is so unlikely under {short_repr(self, 200)} that no draw reaches it")

    def contains(self, value: Any) -> bool:
        """Return whether the parameter can take the value, the type included.

        >>> Int(1, 4).contains(2), Int(1, 4).contains(2.0), Categorical([1]).contains(True)
        (True, False, False)
        """
        support = self.support
        if support is not None:
            return support.index(value) is not None
        low, high = self.bounds()
        return type(value) is float and low <= value <= high and math.isfinite(value)

    def bounds(self) -> tuple[float, float]:
        """Return the ends of the range of a continuous parameter; those of a Normal may be infinite."""
        raise TypeError(f"{type(self).__name__} is discrete")

    def index_of(self, value: Any) -> int:
        """Return the index of a value in the `support` of a discrete parameter.

        Raises:
            ParamsError: The parameter cannot take the value.
        """
        index = self.support.index(value)  # type: ignore[union-attr]
        if index is None:
            raise self._out_of_range(value)
        return index

    def _out_of_range(self, value: Any) -> ParamsError:
        return ParamsError(f"{short_repr(value)} is not in {short_repr(self, 200)}")

    def arguments(self) -> dict[str, Any]:
        """Return what the parameter was made with, in canonical form: arguments at their default and `when` left out.

        >>> Float(1, 2, log=True).arguments(), Categorical(("a", "b")).arguments()
        ({'low': 1.0, 'high': 2.0, 'log': True}, {'choices': ['a', 'b']})
        """
        found, values = {}, self.__dict__
        for name, default in arguments_of(type(self)):
            value = values[name]
            if value is not default and (default is MISSING or not strict_equal(value, default)):
                is_list = type(value) is tuple and name in self._list_names
                found[name] = copy_list_if_mutable(value) if is_list else value
        return found

    def __eq__(self, other: object) -> bool:
        # by type and value: to Python, Categorical([1]) and Categorical([True]) hold equal lists
        if not isinstance(other, Parameter):
            return NotImplemented
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> Any:
        values = [getattr(self, argument.name) for argument in arguments_of(type(self))]
        return strict_key(values), condition_key(self.when)

    def __repr__(self) -> str:
        required = {argument.name for argument in arguments_of(type(self)) if argument.is_required}
        arguments = {**self.arguments(), **({"when": when_dict(self.when)} if self.when else {})}
        # an int of 5,000 digits, which is an issue, has no repr
        texts = {name: short_repr(value, sys.maxsize) for name, value in arguments.items()}
        shown = [text if name in required else f"{name}={text}" for name, text in texts.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


def _refine(distribution: ContinuousDistribution, value: float, u: float) -> float:
    """Return the neighbour of `u` whose quantile is nearest to the value: `cdf` and `quantile` each round."""
    best, distance = u, abs(distribution.quantile(u) - value)
    for side in (0.0, 1.0):
        candidate = u
        for _ in range(6):
            if distance == 0.0:
                return best
            candidate = math.nextafter(candidate, side)
            gap = abs(distribution.quantile(candidate) - value)
            if gap < distance:
                best, distance = candidate, gap
    return best


@dataclass(frozen=True, eq=False, repr=False)
class Float(Parameter):
    """A float between low and high, both included.

    `log=True`: uniform in the logarithm (low above 0). `step`: only low, low + step, …, high; the
    step must divide the range. Both: value v with probability in proportion to
    ln((v + step/2) / (v - step/2)).

    >>> Float(1e-6, 1e-4, log=True)
    Float(1e-06, 0.0001, log=True)
    >>> list(Float(0.1, 0.4, step=0.1).support)
    [0.1, 0.2, 0.3, 0.4]
    """

    kind: ClassVar[str] = "float"
    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    step: float | None = None
    when: When = ()

    def _validate(self) -> validation.Validated:
        return validation.validate_float(self.low, self.high, self.log, self.step)

    def _make_support(self) -> Grid | None:
        return None if self.step is None else Grid.between(self.low, self.high, self.step)[0]

    def _make_distribution(self) -> Any:
        if self.step is None:
            return range_distribution(self.low, self.high, self.log)
        return grid_distribution(self.low, self.high, self.step, self.log, len(self.support or ()) - 1)

    def bounds(self) -> tuple[float, float]:
        """Return low and high."""
        return self.low, self.high


@dataclass(frozen=True, eq=False, repr=False)
class Int(Parameter):
    """An int between low and high, both included.

    `step`: only low, low + step, …, high; the step must divide the range. `log=True` (low above
    step/2): value v with probability in proportion to ln((v + step/2) / (v - step/2)).

    >>> Int(1, 10), Int(16, 128, log=True), Int(1, 10, step=3)
    (Int(1, 10), Int(16, 128, log=True), Int(1, 10, step=3))
    """

    kind: ClassVar[str] = "int"
    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    step: int = 1
    when: When = ()

    def _validate(self) -> validation.Validated:
        return validation.validate_int(self.low, self.high, self.log, self.step)

    def _make_support(self) -> Grid:
        return Grid.between(self.low, self.high, self.step)[0]

    def _make_distribution(self) -> Any:
        return grid_distribution(self.low, self.high, self.step, self.log, len(self.support or ()) - 1)


@dataclass(frozen=True, eq=False, repr=False)
class Categorical(Parameter):
    """One of the choices: any JSON values, and tuples, told apart by type and value.

    `weights`: how likely each is, in any unit; normalised to sum to one, and None if all are equal.
    `ordered=True`: the choices are steps of a scale.

    >>> Categorical(["adamw", "sgd"], weights=[3, 1])
    Categorical(['adamw', 'sgd'], weights=[0.75, 0.25])
    """

    kind: ClassVar[str] = "categorical"
    _list_names = ("choices", "weights")
    choices: Sequence[Any]
    _: KW_ONLY
    weights: Sequence[float] | None = None
    ordered: bool = False
    when: When = ()

    def _validate(self) -> validation.Validated:
        return validation.validate_categorical(self.choices, self.weights, self.ordered)

    def _make_support(self) -> ChoiceDomain:
        return ChoiceDomain(tuple(self.choices))

    def _make_distribution(self) -> Any:
        return DiscreteUniform(len(self.choices)) if self.weights is None else WeightedDiscrete(tuple(self.weights))


@dataclass(frozen=True, eq=False, repr=False)
class Constant(Parameter):
    """Always the same value: any JSON value, or a tuple.

    >>> Constant("cosine").quantile(0.5)
    'cosine'
    """

    kind: ClassVar[str] = "constant"
    value: Any
    _: KW_ONLY
    when: When = ()

    def _validate(self) -> validation.Validated:
        return validation.validate_constant(self.value)

    def _make_support(self) -> ChoiceDomain:
        return ChoiceDomain((self.value,))

    def _make_distribution(self) -> Any:
        return DiscreteUniform(1)


@dataclass(frozen=True, eq=False, repr=False)
class Normal(Parameter):
    """A normal distribution with the given mean and std.

    `log=True`: mean and std are those of the logarithm. `low`, `high`: truncated there, either may
    be left out. `step`: rounded to multiples of step, ints if step is an int; low and high, if
    given, are multiples too.

    >>> Normal(0.0, 1.0).quantile(0.5), Normal(10, 5, low=0, step=1).quantile(0.5)
    (0.0, 10)
    """

    kind: ClassVar[str] = "normal"
    mean: float
    std: float
    _: KW_ONLY
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    when: When = ()

    def _validate(self) -> validation.Validated:
        return validation.validate_normal(self.mean, self.std, self.low, self.high, self.log, self.step)

    def _make_support(self) -> Grid | None:
        if self.step is None:
            return None
        # what no unit float reaches is not a value: draws end at these quantiles
        unbounded = Quantized(self._truncated_normal(), 0.0, float(self.step), -math.inf, math.inf)
        first = unbounded.quantile(MIN_UNIT) if self.low is None else multiple_of(self.low, self.step)
        last = unbounded.quantile(MAX_UNIT) if self.high is None else multiple_of(self.high, self.step)
        return Grid.multiples(self.step, first or 0, last or 0)

    def _make_distribution(self) -> Any:
        if self.step is None:
            return self._truncated_normal()
        grid: Any = self.support
        return Quantized(self._truncated_normal(), 0.0, float(self.step), grid.first, grid.last)

    def _truncated_normal(self) -> Any:
        return normal_distribution(self.mean, self.std, self.low, self.high, self.log, self.step)

    def bounds(self) -> tuple[float, float]:
        """Return low and high; the smallest float, or infinity, where they are None."""
        floor = 5e-324 if self.log else -math.inf
        return floor if self.low is None else self.low, math.inf if self.high is None else self.high


PARAMETER_TYPES: tuple[type[Parameter], ...] = (Float, Int, Categorical, Constant, Normal)
