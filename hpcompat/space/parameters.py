"""The kinds of parameter that a search space is made of: plain frozen data.

| kind | law |
|---|---|
| `Float(low, high, log=, step=)` | uniform, or uniform in the logarithm; on low, low+step, …, high with step |
| `Int(low, high, log=, step=)` | the same over ints, both ends included |
| `Categorical(choices, weights=, ordered=)` | one of the choices, equally likely or by weight |
| `Constant(value)` | always the value |
| `Normal(mean, std, low=, high=, log=, step=)` | normal, of the logarithm if log; truncated; rounded to step |

Every kind takes `when={"parent": value}`: see `SearchSpace`.

A kind made on its own never raises: it lists its `issues`, and the `SearchSpace` that takes it in
raises all of them together, by name.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hpcompat.errors import Issue, ParamsError, SpaceError
from hpcompat.space import checks, glances
from hpcompat.space.conditions import Condition, When, conditions, when_dict, when_key
from hpcompat.space.laws import Continuous
from hpcompat.space.supports import Choices, Steps
from hpcompat.space.values import identity, show

Drawn = tuple[Any, Steps | Choices | None]
"""How a parameter is drawn: its law, and the support that a discrete law draws an index of."""
_set = object.__setattr__  # the dataclasses are frozen for everyone but themselves


class Parameter:
    """What all kinds can do. Make one of the kinds, never this.

    What an instance does not set of its own stands in its class, and each kind's `__init__` is written
    out: reading a large space is making its parameters, and this halves it. What is plainly sound is
    looked at closely when it is first drawn from.
    """

    kind: ClassVar[str]
    when: tuple[Condition, ...] = ()
    issues: tuple[Issue, ...] = ()
    _drawn: Drawn | None = None

    def _settle(self) -> None:
        for name, value in self._checked().items():
            _set(self, name, value)

    def _checked(self) -> checks.Fields:
        """The arguments in canonical form, the issues, and what follows from them."""
        raise TypeError("Parameter is abstract: use Float, Int, Categorical, Constant or Normal")

    def _sound(self) -> Drawn:
        """The law and the support."""
        if self._drawn is None and not self.issues:
            self._settle()
        if self._drawn is None:
            raise SpaceError(f"{show(self, 200)} is no valid {type(self).__name__}", self.issues)
        return self._drawn

    @property
    def support(self) -> Steps | Choices | None:
        """The values of a discrete kind, by index, without enumerating them; None if continuous.

        >>> list(Int(1, 7, step=3).support), Float(0, 1).support
        ([1, 4, 7], None)
        """
        return (self._drawn or self._sound())[1]

    @property
    def size(self) -> float:
        """How many values the parameter can take: an int, or inf.

        >>> Int(1, 10).size, Float(0, 1).size
        (10, inf)
        """
        support = self.support
        return math.inf if support is None else support.size

    def quantile(self, u: float) -> Any:
        """The value below which a share `u` (0 … 1) of the draws lies: `quantile(random())` samples.

        >>> Float(0, 10).quantile(0.25), Int(1, 4).quantile(1.0)
        (2.5, 4)
        """
        law, support = self._drawn or self._sound()
        try:
            if not 0.0 <= u <= 1.0:
                raise ValueError(u)
            u = float(u)  # of numpy's floats the arithmetic would make more of them
            return law.quantile(u) if support is None else support[law.quantile(u)]
        except (TypeError, ValueError, AttributeError, ArithmeticError):
            reason = f"expected a float from 0 to 1, got {show(u)}"
            raise ParamsError(reason, [Issue("", reason, "a unit float gives a draw")]) from None

    def cdf(self, value: Any) -> float:
        """The probability of a draw at or below `value` (for choices: of it and those listed before it).

        Raises `ParamsError` for a value that a discrete kind cannot take.

        >>> Float(0, 10).cdf(2.5), Int(1, 4).cdf(3)
        (0.25, 0.75)
        """
        law, support = self._sound()
        if support is not None:
            return float(law.below(self._index(value) + 1))
        if not isinstance(value, (int, float)):
            raise ParamsError(f"{show(value)} is no value of {show(self, 200)}")
        try:
            return float(law.cdf(value))
        except OverflowError:  # an int beyond every float
            return 1.0 if value > 0 else 0.0

    def to_unit(self, value: Any) -> float:
        """A `u` with `quantile(u) == value`: for a discrete kind the middle of the value's share.

        Raises `ParamsError` for a value that the parameter cannot take.

        >>> Int(1, 4).to_unit(1), Float(0, 10).to_unit(2.5)
        (0.125, 0.25)
        """
        law, support = self._sound()
        if not self.contains(value):
            raise ParamsError(f"{show(value)} is no value of {show(self, 200)}")
        if support is None:
            return _nearest(law, value, law.cdf(value))
        index = self._index(value)
        low, high = law.below(index), law.below(index + 1)
        for u in (low + (high - low) / 2, low, math.nextafter(low, 1.0), math.nextafter(high, 0.0)):
            if law.quantile(u) == index:
                return u
        raise ParamsError(f"{show(value)} is so unlikely under {show(self, 200)} that no draw reaches it")

    def contains(self, value: Any) -> bool:
        """Whether the parameter can take the value, the type included.

        >>> Int(1, 4).contains(2), Int(1, 4).contains(2.0), Categorical([1]).contains(True)
        (True, False, False)
        """
        _, support = self._drawn or self._sound()
        if support is not None:
            return support.index(value) is not None
        low, high = self._range()
        return type(value) is float and low <= value <= high and math.isfinite(value)

    def _range(self) -> tuple[float, float]:
        raise TypeError(f"{type(self).__name__} is discrete")

    def _index(self, value: Any) -> int:
        index = self.support.index(value)  # type: ignore[union-attr]
        if index is None:
            raise ParamsError(f"{show(value)} is no value of {show(self, 200)}")
        return index

    def _key(self) -> Hashable:
        raise TypeError("Parameter is abstract: use Float, Int, Categorical, Constant or Normal")

    def __eq__(self, other: object) -> bool:
        # by type and value: to Python, Categorical([1]) and Categorical([True]) hold equal lists
        if not isinstance(other, Parameter):
            return NotImplemented
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._arguments())})"

    def _arguments(self) -> list[str]:
        raise TypeError("Parameter is abstract: use Float, Int, Categorical, Constant or Normal")

    def _when_argument(self) -> list[str]:
        return [f"when={when_dict(self.when)!r}"] if self.when else []


def _nearest(law: Continuous, value: float, u: float) -> float:
    # cdf and quantile each round: step to the neighbour that gives the very value back
    best, distance = u, abs(law.quantile(u) - value)
    for side in (0.0, 1.0):
        candidate = u
        for _ in range(6):
            if distance == 0.0:
                return best
            candidate = math.nextafter(candidate, side)
            gap = abs(law.quantile(candidate) - value)
            if gap < distance:
                best, distance = candidate, gap
    return best


@dataclass(init=False, frozen=True, eq=False, repr=False)
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
    log: bool = False
    step: float | None = None
    when: tuple[Condition, ...] = ()

    def __init__(
        self, low: float, high: float, *, log: bool = False, step: float | None = None, when: When = None
    ) -> None:
        _set(self, "low", low)
        _set(self, "high", high)
        if log is not False:
            _set(self, "log", log)
        if step is not None:
            _set(self, "step", step)
        if when is not None:
            _set(self, "when", conditions(when))
        if step is not None or not glances.interval(low, high, log):
            self._settle()

    def _checked(self) -> checks.Fields:
        return checks.interval(self.low, self.high, self.log, self.step)

    def _range(self) -> tuple[float, float]:
        return self.low, self.high

    def _key(self) -> Hashable:
        return identity((self.low, self.high, self.log, self.step)), when_key(self.when)

    def _arguments(self) -> list[str]:
        step = [f"step={self.step!r}"] if self.step is not None else []
        return [
            f"{self.low!r}, {self.high!r}",
            *(["log=True"] if self.log else []),
            *step,
            *self._when_argument(),
        ]


@dataclass(init=False, frozen=True, eq=False, repr=False)
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
    log: bool = False
    step: int = 1
    when: tuple[Condition, ...] = ()

    def __init__(self, low: int, high: int, *, log: bool = False, step: int = 1, when: When = None) -> None:
        _set(self, "low", low)
        _set(self, "high", high)
        if log is not False:
            _set(self, "log", log)
        if stepped := type(step) is not int or step != 1:
            _set(self, "step", step)
        if when is not None:
            _set(self, "when", conditions(when))
        if stepped or not glances.int_range(low, high, log):
            self._settle()

    def _checked(self) -> checks.Fields:
        return checks.int_range(self.low, self.high, self.log, self.step)

    def _key(self) -> Hashable:
        return identity((self.low, self.high, self.log, self.step)), when_key(self.when)

    def _arguments(self) -> list[str]:
        step = [f"step={self.step!r}"] if self.step != 1 else []
        return [
            f"{self.low!r}, {self.high!r}",
            *(["log=True"] if self.log else []),
            *step,
            *self._when_argument(),
        ]


@dataclass(init=False, frozen=True, eq=False, repr=False)
class Categorical(Parameter):
    """One of the choices: any JSON values, and tuples, told apart by type and value.

    `weights`: how likely each is, in any unit; normalised to sum to one, and None if all are equal.
    `ordered=True`: the choices are steps of a scale.

    >>> Categorical(["adamw", "sgd"], weights=[3, 1])
    Categorical(['adamw', 'sgd'], weights=[0.75, 0.25])
    """

    kind: ClassVar[str] = "categorical"
    choices: Sequence[Any]
    weights: Sequence[float] | None = None
    ordered: bool = False
    when: tuple[Condition, ...] = ()

    def __init__(
        self,
        choices: Sequence[Any],
        *,
        weights: Sequence[float] | None = None,
        ordered: bool = False,
        when: When = None,
    ) -> None:
        plain = weights is None and glances.choices(choices, ordered)
        _set(self, "choices", tuple(choices) if plain else choices)
        if weights is not None:
            _set(self, "weights", weights)
        if ordered is not False:
            _set(self, "ordered", ordered)
        if when is not None:
            _set(self, "when", conditions(when))
        if not plain:
            self._settle()

    def _checked(self) -> checks.Fields:
        return checks.choices(self.choices, self.weights, self.ordered)

    def _key(self) -> Hashable:
        return identity((self.choices, self.weights, self.ordered)), when_key(self.when)

    def _arguments(self) -> list[str]:
        weights = [f"weights={list(self.weights)!r}"] if self.weights else []
        choices = list(self.choices) if isinstance(self.choices, tuple) else self.choices
        return [repr(choices), *weights, *(["ordered=True"] if self.ordered else []), *self._when_argument()]


@dataclass(init=False, frozen=True, eq=False, repr=False)
class Constant(Parameter):
    """Always the same value: any JSON value, or a tuple.

    >>> Constant("cosine").quantile(0.5)
    'cosine'
    """

    kind: ClassVar[str] = "constant"
    value: Any
    when: tuple[Condition, ...] = ()

    def __init__(self, value: Any, *, when: When = None) -> None:
        _set(self, "value", value)
        if when is not None:
            _set(self, "when", conditions(when))
        self._settle()

    def _checked(self) -> checks.Fields:
        return checks.constant(self.value)

    def _key(self) -> Hashable:
        return identity(self.value), when_key(self.when)

    def _arguments(self) -> list[str]:
        return [repr(self.value), *self._when_argument()]


@dataclass(init=False, frozen=True, eq=False, repr=False)
class Normal(Parameter):
    """A normal law with the given mean and std.

    `log=True`: mean and std are those of the logarithm. `low`, `high`: truncated there, either may
    be left out. `step`: rounded to multiples of step, ints if step is an int; low and high, if
    given, are multiples too.

    >>> Normal(0.0, 1.0).quantile(0.5), Normal(10, 5, low=0, step=1).quantile(0.5)
    (0.0, 10)
    """

    kind: ClassVar[str] = "normal"
    mean: float
    std: float
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    when: tuple[Condition, ...] = ()

    def __init__(
        self,
        mean: float,
        std: float,
        *,
        low: float | None = None,
        high: float | None = None,
        log: bool = False,
        step: float | None = None,
        when: When = None,
    ) -> None:
        arguments = {"mean": mean, "std": std, "low": low, "high": high, "log": log, "step": step}
        for name, value in arguments.items():
            _set(self, name, value)
        if when is not None:
            _set(self, "when", conditions(when))
        self._settle()

    def _checked(self) -> checks.Fields:
        return checks.bell(self.mean, self.std, self.low, self.high, self.log, self.step)

    def _range(self) -> tuple[float, float]:
        floor = 5e-324 if self.log else -math.inf
        return floor if self.low is None else self.low, math.inf if self.high is None else self.high

    def _key(self) -> Hashable:
        return identity((self.mean, self.std, self.low, self.high, self.log, self.step)), when_key(self.when)

    def _arguments(self) -> list[str]:
        bounds = [f"{name}={getattr(self, name)!r}" for name in ("low", "high") if getattr(self, name) is not None]
        step = [f"step={self.step!r}"] if self.step is not None else []
        log = ["log=True"] if self.log else []
        return [f"{self.mean!r}, {self.std!r}", *bounds, *log, *step, *self._when_argument()]


KINDS: tuple[type[Parameter], ...] = (Float, Int, Categorical, Constant, Normal)
"""All that there are."""
