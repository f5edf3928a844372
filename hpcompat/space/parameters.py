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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from hpcompat.space import validation
from hpcompat.space.base import Parameter, When
from hpcompat.space.distributions import (
    MAX_UNIT,
    MIN_UNIT,
    DiscreteUniform,
    Distribution,
    Quantized,
    TruncatedNormal,
    WeightedDiscrete,
    grid_distribution,
    normal_distribution,
    range_distribution,
)
from hpcompat.space.domains import ChoiceDomain, Grid, multiple_of

__all__ = ["PARAMETER_TYPES", "Categorical", "Constant", "Float", "Int", "Normal", "Parameter", "as_drawn"]


@dataclass(frozen=True, eq=False, repr=False)
class Float(Parameter):
    """A float between low and high, both included.

    Args:
        low: The smallest value.
        high: The largest value.
        log: Uniform in the logarithm; low must be above 0.
        step: Only low, low + step, …, high; it must divide the range. With log, a value v has a probability in
            proportion to ln((v + step/2) / (v - step/2)).
        when: The condition, see `SearchSpace`.

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

    def _make_distribution(self) -> Distribution:
        if self.step is None:
            return range_distribution(self.low, self.high, self.log)
        return grid_distribution(self.low, self.high, self.step, self.log, len(self.support or ()) - 1)

    def bounds(self) -> tuple[float, float]:
        """Return low and high."""
        return self.low, self.high


@dataclass(frozen=True, eq=False, repr=False)
class Int(Parameter):
    """An int between low and high, both included.

    Args:
        low: The smallest value.
        high: The largest value.
        log: A value v has a probability in proportion to ln((v + step/2) / (v - step/2)); low must be above step/2.
        step: Only low, low + step, …, high; it must divide the range.
        when: The condition, see `SearchSpace`.

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

    def _make_distribution(self) -> Distribution:
        return grid_distribution(self.low, self.high, self.step, self.log, len(self.support or ()) - 1)


@dataclass(frozen=True, eq=False, repr=False)
class Categorical(Parameter):
    """One of the choices.

    Args:
        choices: Any JSON values, and tuples; compared by type and value, so that 1, 1.0 and True are three choices.
        weights: How likely each choice is, in any unit; stored with a sum of one, and as None if all are equal.
        ordered: Whether the choices are steps of a scale.
        when: The condition, see `SearchSpace`.

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

    def _make_distribution(self) -> Distribution:
        return DiscreteUniform(len(self.choices)) if self.weights is None else WeightedDiscrete(tuple(self.weights))


@dataclass(frozen=True, eq=False, repr=False)
class Constant(Parameter):
    """Always the same value.

    Args:
        value: Any JSON value, or a tuple.
        when: The condition, see `SearchSpace`.

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

    def _make_distribution(self) -> Distribution:
        return DiscreteUniform(1)


@dataclass(frozen=True, eq=False, repr=False)
class Normal(Parameter):
    """A float, or an int, from a normal distribution.

    Args:
        mean: The mean, before truncation and rounding.
        std: The standard deviation, before truncation and rounding.
        low: The smallest value: the distribution is truncated there.
        high: The largest value: the distribution is truncated there.
        log: Mean and std are those of the logarithm.
        step: Values are rounded to its multiples, ints if it is an int; low and high must be multiples too.
        when: The condition, see `SearchSpace`.

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

    def _make_distribution(self) -> Distribution:
        grid = self.support
        if self.step is None or not isinstance(grid, Grid):
            return self._truncated_normal()
        return Quantized(self._truncated_normal(), 0.0, float(self.step), grid.first, grid.last)

    def _truncated_normal(self) -> TruncatedNormal:
        return normal_distribution(self.mean, self.std, self.low, self.high, self.log, self.step)

    def bounds(self) -> tuple[float, float]:
        """Return low and high; the smallest float, or infinity, where they are None."""
        floor = 5e-324 if self.log else -math.inf
        return floor if self.low is None else self.low, math.inf if self.high is None else self.high


PARAMETER_TYPES: tuple[type[Parameter], ...] = (Float, Int, Categorical, Constant, Normal)


def as_drawn(parameter: Parameter, value: Any) -> Any:
    """Return a number in the type that a parameter draws, given an int for a Float, say, or a scalar of numpy's.

    What is not such a number is returned as it is.

    >>> as_drawn(Float(0, 1), 1), as_drawn(Int(1, 4), 2.0), as_drawn(Int(1, 4), 2.5), as_drawn(Float(0, 1), True)
    (1.0, 2, 2.5, True)
    """
    if parameter.kind not in ("float", "int", "normal") or parameter.contains(value):
        return value
    plain = value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
    for kind in (float, int):
        with suppress(ValueError, OverflowError):
            if type(plain) in (int, float) and kind(plain) == plain and parameter.contains(kind(plain)):
                return kind(plain)
    return value
