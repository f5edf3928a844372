"""How many different configurations a space has, its conditions counted in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable

from hpcompat.errors import SpaceError
from hpcompat.space.structure import Gates, Leaf

_MOST_STEPS = 100_000
_DEEPEST = 150


def configurations(leaves: Iterable[Leaf]) -> float:
    """The number of configurations, or inf. Raises `SpaceError` where conditions are too entangled to count."""
    sizes = {leaf.name: leaf.parameter.size for leaf in leaves}
    steps = 0

    def count(gates: dict[str, Gates], depth: int) -> float:
        nonlocal steps
        steps += 1
        if steps > _MOST_STEPS or depth > _DEEPEST:
            raise SpaceError("the conditions of this space are too entangled to count its configurations")
        parents = {parent for each in gates.values() for parent, _ in each}
        free = [name for name, each in gates.items() if not each]
        total: float = math.prod(sizes[name] for name in free if name not in parents)
        for part in _parts({name: each for name, each in gates.items() if each or name in parents}):
            root = next(name for name, each in part.items() if not each)
            total *= sum(
                ways * count(_given(part, root, value), depth + 1) for value, ways in _classes(part, root).items()
            )
        return total

    def _classes(part: dict[str, Gates], root: str) -> dict[Hashable, float]:
        """A value of `root` for each way in which its values open the gates on it, and how many do."""
        accepted = [values for each in part.values() for parent, values in each if parent == root]
        mentioned = frozenset().union(*accepted)
        ways: Counter[tuple[bool, ...]] = Counter()
        example: dict[tuple[bool, ...], Hashable] = {}
        for value in mentioned:
            pattern = tuple(value in values for values in accepted)
            ways[pattern] += 1
            example[pattern] = value
        classes: dict[Hashable, float] = {example[pattern]: number for pattern, number in ways.items()}
        rest = sizes[root] - len(mentioned)
        return {**classes, _OTHER: rest} if rest else classes

    return count({leaf.name: leaf.gates for leaf in leaves}, 0)


_OTHER = object()


def _given(part: dict[str, Gates], root: str, value: Hashable) -> dict[str, Gates]:
    """The leaves that may still be active once `root` has `value`; the gates that it opened are gone."""
    gates: dict[str, Gates] = {}
    for name, each in part.items():  # parents first
        closed = any(
            (parent == root and value not in values) or (parent != root and parent not in gates)
            for parent, values in each
        )
        if name != root and not closed:
            gates[name] = tuple(gate for gate in each if gate[0] != root)
    return gates


def _parts(gates: dict[str, Gates]) -> list[dict[str, Gates]]:
    """Leaves grouped so that no condition runs between two groups; parents stay first."""
    group: dict[str, str] = {name: name for name in gates}

    def find(name: str) -> str:
        while group[name] != name:
            group[name] = name = group[group[name]]
        return name

    for name, each in gates.items():
        for parent, _ in each:
            group[find(name)] = find(parent)
    parts: dict[str, dict[str, Gates]] = {}
    for name, each in gates.items():
        parts.setdefault(find(name), {})[name] = each
    return list(parts.values())
