"""What all types of parameter share: the base class `Parameter`, its conditions, and the arguments of a type."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeVar

from hpcompat.errors import Issue, ParamsError, SpaceError
from hpcompat.space import validation
from hpcompat.space.distributions import ContinuousDistribution, Distribution
from hpcompat.space.domains import ChoiceDomain, Grid
from hpcompat.space.values import SCALARS, copy_if_valid, short_repr, strict_key


class Condition(NamedTuple):
    """A parent's dotted name, and the values under which its child is active."""

    parent: str
    values: tuple[object, ...]


When = Mapping[str, object] | tuple[Condition, ...] | None


def parse_when(when: When) -> tuple[Condition, ...]:
    """Return the conditions of a `when`; those that are parsed already stay as they are. Only a list means several.

    >>> parse_when({"optim": "sgd", "layers": [1, 2]})
    (Condition(parent='optim', values=('sgd',)), Condition(parent='layers', values=(1, 2)))
    """
    if when is None or (isinstance(when, tuple) and all(isinstance(entry, Condition) for entry in when)):
        return when or ()
    if not isinstance(when, Mapping):
        return (Condition("", (when,)),)
    return tuple(
        Condition(parent, tuple(map(copy_if_valid, values if isinstance(values, list) else [values])))
        for parent, values in when.items()
    )


def condition_key(when: When) -> Hashable:
    """Return a key that is equal for conditions that mean the same, in whatever order they are written."""
    return frozenset((parent, frozenset(map(strict_key, values))) for parent, values in parse_when(when))


def when_dict(when: When) -> dict[str, object]:
    """Return conditions as a `when`: a single value stands alone, unless it is a list itself.

    >>> when_dict(parse_when({"optim": ["sgd"]}))
    {'optim': 'sgd'}
    """
    return {
        parent: values[0] if len(values) == 1 and not isinstance(values[0], list) else list(values)
        for parent, values in parse_when(when)
    }


P = TypeVar("P", bound="Parameter")


class Argument(NamedTuple):
    """An argument of a type of parameter: its name, and its default, `MISSING` if it has none."""

    name: str
    default: object

    @property
    def is_required(self) -> bool:
        """Whether the argument has no default."""
        return self.default is MISSING


_ARGUMENTS: dict[type[Parameter], tuple[Argument, ...]] = {}


def arguments_of(kind: type[Parameter]) -> tuple[Argument, ...]:
    """Return the arguments of a type of parameter, `when` left out.

    >>> from hpcompat import Float
    >>> [argument.name for argument in arguments_of(Float)]
    ['low', 'high', 'log', 'step']
    """
    if kind not in _ARGUMENTS:
        found = fields(kind)  # type: ignore[arg-type]  # each subclass is a dataclass
        _ARGUMENTS[kind] = tuple(Argument(field.name, field.default) for field in found if field.name != "when")
    return _ARGUMENTS[kind]


class Parameter:
    """What all parameters can do. Make one of the subclasses, which are all that there are.

    It is not an ABC: `isinstance` takes three times as long with one, and is asked of every entry of a space.
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

    def _make_distribution(self) -> Distribution:
        """Return the distribution: of the index of a value if there is a support, else of the value."""
        raise NotImplementedError

    @cached_property
    def support(self) -> Grid | ChoiceDomain | None:
        """The values of a discrete parameter, by index, without enumerating them; None if continuous.

        >>> from hpcompat import Float, Int
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

        >>> from hpcompat import Float, Int
        >>> Int(1, 10).size, Float(0, 1).size
        (10, inf)
        """
        support = self.support
        return math.inf if support is None else support.size

    def quantile(self, u: float) -> Any:
        """Return the value below which a share `u` (0 … 1) of the draws lies: `quantile(random())` samples.

        >>> from hpcompat import Float, Int
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

    def cdf(self, value: object) -> float:
        """Return the probability of a draw at or below `value`; of choices, of it and those listed before it.

        Raises:
            ParamsError: A discrete parameter cannot take the value.

        >>> from hpcompat import Float, Int
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

        >>> from hpcompat import Float, Int
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

    def contains(self, value: object) -> bool:
        """Return whether the parameter can take the value, the type included.

        >>> from hpcompat import Categorical, Int
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

    def index_of(self, value: object) -> int:
        """Return the index of a value in the `support` of a discrete parameter.

        Raises:
            ParamsError: The parameter cannot take the value.
        """
        index = self.support.index(value)  # type: ignore[union-attr]
        if index is None:
            raise self._out_of_range(value)
        return index

    def _out_of_range(self, value: object) -> ParamsError:
        return ParamsError(f"{short_repr(value)} is not in {short_repr(self, 200)}")

    def with_when(self: P, when: When) -> P:
        """Return the parameter with other conditions."""
        return replace(self, when=when)  # type: ignore[type-var]  # each subclass is a dataclass

    def arguments(self, convert: Callable[[object], object] = copy_if_valid) -> dict[str, Any]:
        """Return what the parameter was made with, in canonical form: arguments at their default and `when` left out.

        Args:
            convert: What to return for a value that is not a scalar; a copy by default.

        >>> from hpcompat import Categorical, Float
        >>> Float(1, 2, log=True).arguments(), Categorical(("a", "b")).arguments()
        ({'low': 1.0, 'high': 2.0, 'log': True}, {'choices': ['a', 'b']})
        """
        found: dict[str, Any] = {}
        for name, default in arguments_of(type(self)):
            value = getattr(self, name)
            if value is default or (type(value) is type(default) and value == default):
                continue
            if type(value) in SCALARS:
                found[name] = value
            elif type(value) is tuple and name in self._list_names:
                found[name] = list(value) if SCALARS.issuperset(map(type, value)) else list(map(convert, value))
            else:
                found[name] = convert(value)
        return found

    def __eq__(self, other: object) -> bool:
        # by type and value: to Python, Categorical([1]) and Categorical([True]) hold equal lists
        if not isinstance(other, Parameter):
            return NotImplemented
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> Hashable:
        values = [getattr(self, argument.name) for argument in arguments_of(type(self))]
        return strict_key(values), condition_key(self.when)

    def __repr__(self) -> str:
        required = {argument.name for argument in arguments_of(type(self)) if argument.is_required}
        arguments = {**self.arguments(), **({"when": when_dict(self.when)} if self.when else {})}
        # an int of 5,000 digits, which is an issue, has no repr
        reprs = {name: short_repr(value, sys.maxsize) for name, value in arguments.items()}
        shown = [text if name in required else f"{name}={text}" for name, text in reprs.items()]
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
