"""How many different configurations a space has, its conditions taken into account."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable

from hpcompat.errors import SpaceError
from hpcompat.space.tree import ActivationConditions, Leaf

MAX_STEPS = 100_000
MAX_DEPTH = 150
_OTHER_VALUE = object()

Conditions = dict[str, ActivationConditions]
"""The activation conditions of parameters by name, parents first."""


def count_configurations(leaves: Iterable[Leaf]) -> float:
    """Return the number of configurations of these parameters, or inf.

    Each parent is set to one value of every class of values that activate the same children. What is left falls
    apart into parts without a condition between them, whose numbers are multiplied.

    Raises:
        SpaceError: The conditions are too entangled to count within `MAX_STEPS`.
    """
    leaves = tuple(leaves)
    counter = _Counter({leaf.name: leaf.parameter.size for leaf in leaves})
    return counter.count({leaf.name: leaf.activation for leaf in leaves}, depth=0)


class _Counter:
    def __init__(self, sizes: dict[str, float]) -> None:
        self.sizes = sizes
        self.steps = 0

    def count(self, conditions: Conditions, depth: int) -> float:
        self.steps += 1
        if self.steps > MAX_STEPS or depth > MAX_DEPTH:
            raise SpaceError("the conditions of this space are too entangled to count its configurations")
        parents = {parent for activation in conditions.values() for parent, _ in activation}
        independent = [name for name, activation in conditions.items() if not activation and name not in parents]
        total: float = math.prod(self.sizes[name] for name in independent)
        for component in _connected_components(
            {name: activation for name, activation in conditions.items() if activation or name in parents}
        ):
            root = next(name for name, activation in component.items() if not activation)
            total *= sum(
                n_values * self.count(_condition_on(component, root, value), depth + 1)
                for value, n_values in self._equivalence_classes(component, root).items()
            )
        return total

    def _equivalence_classes(self, component: Conditions, root: str) -> dict[Hashable, float]:
        """Return a value of `root` for each set of children that it may activate, and how many values do the same."""
        accepted = [values for activation in component.values() for parent, values in activation if parent == root]
        mentioned = frozenset().union(*accepted)
        n_values: Counter[tuple[bool, ...]] = Counter()
        example: dict[tuple[bool, ...], Hashable] = {}
        for value in mentioned:
            pattern = tuple(value in values for values in accepted)
            n_values[pattern] += 1
            example[pattern] = value
        classes: dict[Hashable, float] = {example[pattern]: number for pattern, number in n_values.items()}
        n_others = self.sizes[root] - len(mentioned)
        return {**classes, _OTHER_VALUE: n_others} if n_others else classes


def _condition_on(component: Conditions, root: str, value: Hashable) -> Conditions:
    """Return the parameters that may still be active once `root` has `value`, without the conditions on it."""
    remaining: Conditions = {}
    for name, activation in component.items():
        is_inactive = any(
            (parent == root and value not in values) or (parent != root and parent not in remaining)
            for parent, values in activation
        )
        if name != root and not is_inactive:
            remaining[name] = tuple(condition for condition in activation if condition[0] != root)
    return remaining


def _connected_components(conditions: Conditions) -> list[Conditions]:
    """Group parameters so that no condition runs between two groups, parents first in each."""
    group: dict[str, str] = {name: name for name in conditions}

    def find(name: str) -> str:
        while group[name] != name:
            group[name] = name = group[group[name]]
        return name

    for name, activation in conditions.items():
        for parent, _ in activation:
            group[find(name)] = find(parent)
    components: dict[str, Conditions] = {}
    for name, activation in conditions.items():
        components.setdefault(find(name), {})[name] = activation
    return list(components.values())
