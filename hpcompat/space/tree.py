"""The tree of a space: its parameters with their paths and conditions, order, and number of configurations."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Union

from hpcompat.errors import Issue, SpaceError, did_you_mean
from hpcompat.space.base import Condition, parse_when
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import is_scalar, json_issue, short_repr, strict_key

EMPTY: Mapping[str, object] = MappingProxyType({})
MISSING = object()
MAX_DEPTH = 128
ActivationConditions = tuple[tuple[str, frozenset[Hashable]], ...]
"""For each parent the keys (`strict_key`) of the values under which its child is active."""
Node = dict[str, Union["Leaf", "Node"]]


class Leaf(NamedTuple):
    """A parameter in its place: `path` from the outermost space, `name` the same with dots.

    `when`: all its conditions, its own and those of the groups around it. `activation`: the same, by key.
    """

    path: tuple[str, ...]
    name: str
    parameter: Parameter
    when: tuple[Condition, ...] = ()
    activation: ActivationConditions = ()

    def active(self, flat: Mapping[str, object]) -> bool:
        """Return whether the parameter is active beside these values, by dotted name, of its parents."""
        for parent, accepted in self.activation:
            try:
                if parent not in flat or strict_key(flat[parent]) not in accepted:
                    return False
            except (TypeError, RecursionError):  # unhashable or endlessly nested: a value that no parent has
                return False
        return True


def assign_active(leaves: Iterable[Leaf], value_of: Callable[[Leaf], object]) -> dict[str, Any]:
    """Ask for the value of each leaf that is active under those before it.

    Args:
        leaves: Parents before their children.
        value_of: Returns the value of a leaf, or `MISSING` where it has none.

    Returns:
        The values by dotted name.
    """
    flat: dict[str, Any] = {}
    for leaf in leaves:
        if not leaf.activation or leaf.active(flat):
            value = value_of(leaf)
            if value is not MISSING:
                flat[leaf.name] = value
    return flat


def set_at_path(nested: dict[str, Any], path: Sequence[str], value: object) -> None:
    """Set a value in nested dicts, which are added where they are missing."""
    for part in path[:-1]:
        nested = nested.setdefault(part, {})
    nested[path[-1]] = value


def flatten(entries: Mapping[str, object], when: tuple[Condition, ...]) -> tuple[tuple[Leaf, ...], tuple[Issue, ...]]:
    """Return the leaves of a space, parents first, or all its issues."""
    found: dict[str, Leaf] = {}
    issues: list[Issue] = []
    if when:
        issues.append(Issue("", "the outermost space takes no `when`", "put it inside another space"))
    _collect(entries, (), (), found, issues)
    conditional = [leaf for leaf in found.values() if leaf.when]
    for leaf in conditional:
        issues += _condition_issues(leaf, found)
    if issues:
        return (), tuple(issues)
    return _topological_order(found) if conditional else (tuple(found.values()), ())


def _collect(
    group: Mapping[str, object],
    path: tuple[str, ...],
    when: tuple[Condition, ...],
    found: dict[str, Leaf],
    issues: list[Issue],
) -> None:
    """Add the leaves of a group to those found, and what is wrong with its names and entries to the issues."""
    for name, entry in group.items():
        if not isinstance(name, str) or not name or not name.isprintable() or json_issue(name):
            issues.append(Issue(".".join(path), f"{short_repr(name)} cannot name a parameter", "use printable text"))
            continue
        entry_path = (*path, name)
        dotted = ".".join(entry_path) if path else name
        if isinstance(entry, Parameter):
            if entry.issues:
                issues += [issue._replace(path=dotted) for issue in entry.issues]
            if dotted in found:
                message = "is there twice: as a name with dots, and inside a group"
                issues.append(Issue(dotted, message, "rename one"))
                continue
            conditions = when + parse_when(entry.when) if entry.when else when
            found[dotted] = Leaf(entry_path, dotted, entry, conditions, _activation(conditions) if conditions else ())
        elif not isinstance(entry, Mapping):
            issues.append(Issue(dotted, f"expected a parameter, got {short_repr(entry)}", _hint_for(entry)))
        elif not entry:
            issues.append(Issue(dotted, "is an empty group", "leave it out"))
        elif len(entry_path) >= MAX_DEPTH:
            message = f"is nested more than {MAX_DEPTH} levels deep"
            issues.append(Issue(path[0], message, "flatten it: names may have dots"))
        else:
            _collect(entry, entry_path, when + entry.when, found, issues)  # type: ignore[attr-defined]


def _activation(conditions: tuple[Condition, ...]) -> ActivationConditions:
    return tuple(
        (parent, frozenset([strict_key(value) for value in values if is_scalar(value) or not json_issue(value)]))
        for parent, values in conditions
    )


def _hint_for(entry: object) -> str:
    if isinstance(entry, (list, tuple)):
        return f"use Categorical({short_repr(list(entry))}), or Constant({short_repr(list(entry))})"
    if is_scalar(entry):
        return f"use Constant({short_repr(entry)})"
    return "give a Float, Int, Categorical, Constant, Normal, or a dict of them"


def _condition_issues(leaf: Leaf, leaves: Mapping[str, Leaf]) -> Iterator[Issue]:
    for parent, values in leaf.when:
        if not isinstance(parent, str) or not parent:
            given = short_repr(values[0] if values else parent)
            yield Issue(leaf.name, f"when is {given}", 'write when={"parent": value}')
        elif parent not in leaves:
            hint = suggest_name(parent, leaves, _PARENT_NAMES)
            yield Issue(leaf.name, f"when names an unknown parameter {parent!r}", hint)
        elif not values:
            yield Issue(leaf.name, f"when lists no value of {parent!r}", "list those under which it is active")
        elif not leaves[parent].parameter.issues:
            parameter = leaves[parent].parameter
            if parameter.support is None:
                yield Issue(leaf.name, f"when needs a discrete parent, and {parent!r} is continuous", "give it a step")
                continue
            for value in values:
                if issue := json_issue(value):
                    message = f"when names {short_repr(value)}, which {parent!r} cannot take"
                    is_set = hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
                    yield Issue(leaf.name, message, "several values are a list" if is_set else issue[1])
                elif not parameter.contains(value):
                    message = f"when names {short_repr(value)}, which {parent!r} never is"
                    hint = "; several values are a list" if isinstance(value, tuple) else ""
                    yield Issue(leaf.name, message, f"it is a {short_repr(parameter, 120)}{hint}")


_PARENT_NAMES = "parents are named by their dotted path from the outermost space"


def suggest_name(name: str, leaves: Mapping[str, Leaf], otherwise: str) -> str:
    """Return a hint for a name that is not among the leaves: a similar one, else what `otherwise` says."""
    if not isinstance(name, str):
        return otherwise
    in_groups = [other for other in leaves if other.endswith(f".{name}")]
    return f"did you mean {in_groups[0]!r}?" if in_groups else did_you_mean(name, leaves) or otherwise


def _topological_order(leaves: Mapping[str, Leaf]) -> tuple[tuple[Leaf, ...], tuple[Issue, ...]]:
    """Return the leaves, parents first and otherwise as written; an issue for each in a cycle."""
    rank = {name: index for index, name in enumerate(leaves)}
    waiting = {name: {parent for parent, _ in leaf.when} for name, leaf in leaves.items()}
    children: dict[str, list[str]] = {}
    for name, parents in waiting.items():
        for parent in parents:
            children.setdefault(parent, []).append(name)
    names = list(leaves)
    ready = [rank[name] for name, parents in waiting.items() if not parents]
    order = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(leaves[name])
        del waiting[name]
        for child in children.get(name, ()):
            waiting[child].discard(name)
            if not waiting[child]:
                heapq.heappush(ready, rank[child])
    issues = tuple(
        Issue(
            name,
            f"its conditions form a cycle through {', '.join(sorted(map(repr, parents)))}",
            "remove one of them",
        )
        for name, parents in waiting.items()
    )
    return (() if issues else tuple(order)), issues


def pin(
    space: Mapping[str, object], constants: Mapping[str, Parameter], leaves: Mapping[str, Leaf]
) -> dict[str, object]:
    """Return the entries of a space with constants in place of the parameters of those dotted names."""
    removed: set[str] = set()
    for leaf in leaves.values():  # parents first, so that one pass is enough
        for parent, accepted in leaf.activation:
            pinned = constants.get(parent)
            if parent in removed or (pinned and strict_key(pinned.quantile(0.5)) not in accepted):
                removed.add(leaf.name)

    def simplify(when: tuple[Condition, ...]) -> tuple[Condition, ...]:
        # under a parent that is not always active its pinned value still has to be asked for
        return tuple(
            Condition(parent, (constants[parent].quantile(0.5),) if parent in constants else values)
            for parent, values in when
            if parent not in constants or leaves[parent].when
        )

    def rebuild(group: Mapping[str, object], path: tuple[str, ...]) -> dict[str, object]:
        entries: dict[str, object] = {}
        for name, entry in group.items():
            dotted = ".".join((*path, name))
            if isinstance(entry, Mapping):
                if inner := rebuild(entry, (*path, name)):
                    entries[name] = type(entry)(inner, when=simplify(entry.when))  # type: ignore[attr-defined, call-arg]
            elif isinstance(entry, Parameter) and dotted not in removed:
                parameter = constants.get(dotted, entry)
                entries[name] = (
                    parameter.with_when(simplify(parse_when(parameter.when))) if parameter.when else parameter
                )
        return entries

    return rebuild(space, ())


MAX_COUNTING_STEPS = 100_000
MAX_COUNTING_DEPTH = 150
_OTHER_VALUE = object()

Conditions = dict[str, ActivationConditions]
"""The activation conditions of parameters by name, parents first."""


def count_configurations(leaves: Iterable[Leaf]) -> float:
    """Return the number of configurations of these parameters, or inf.

    Each parent is set to one value of every class of values that activate the same children. What is left falls
    apart into parts without a condition between them, whose numbers are multiplied.

    Raises:
        SpaceError: The conditions are too entangled to count within `MAX_COUNTING_STEPS`.
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
        if self.steps > MAX_COUNTING_STEPS or depth > MAX_COUNTING_DEPTH:
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
