"""The structure of a space: its leaves, the conditions between them, and the order to draw them in."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import repeat
from types import MappingProxyType
from typing import Any, NamedTuple, Union

from hpcompat.errors import Issue
from hpcompat.space.conditions import Condition
from hpcompat.space.parameters import KINDS, Parameter
from hpcompat.space.values import identity, is_scalar, show, unfit

EMPTY: Mapping[str, Any] = MappingProxyType({})
ABSENT = object()
MOST_LEVELS = 128
Gates = tuple[tuple[str, frozenset[Hashable]], ...]
Node = dict[str, Union["Leaf", "Node"]]
_KINDS = frozenset(KINDS)


class Leaf(NamedTuple):
    """A parameter where it stands: `path` from the outermost space, `name` the same with dots.

    `when` holds every condition it stands under: its own and those of the groups around it. `gates`
    has for each the parent and the identities of the values that open it.
    """

    path: tuple[str, ...]
    name: str
    parameter: Parameter
    when: tuple[Condition, ...] = ()
    gates: Gates = ()

    def active(self, flat: Mapping[str, Any]) -> bool:
        """Whether the parameter is active beside these values, by dotted name, of its parents."""
        for parent, accepted in self.gates:
            try:
                if parent not in flat or identity(flat[parent]) not in accepted:
                    return False
            except (TypeError, RecursionError):  # unhashable or bottomless: no value that any parent has
                return False
        return True


_LEAF: Callable[[Iterable[Any]], Leaf] = partial(tuple.__new__, Leaf)  # without the names of its fields: twice as fast


def walk(leaves: Iterable[Leaf], value_of: Callable[[Leaf], Any]) -> dict[str, Any]:
    """Ask for the value of each leaf that is active under those before it; values by dotted name."""
    flat: dict[str, Any] = {}
    for leaf in leaves:
        if not leaf.gates or leaf.active(flat):
            value = value_of(leaf)
            if value is not ABSENT:
                flat[leaf.name] = value
    return flat


def plain(entries: Mapping[str, Any]) -> bool:
    """Whether they are parameters alone, sound ones without conditions: one look at all of them, where most are."""
    if not _KINDS.issuperset(map(type, entries.values())):
        return False
    try:
        named = "".join(entries).isprintable() and all(entries)
    except TypeError:  # not all names are texts
        return False
    return named and not any([entry.issues or entry.when for entry in entries.values()])


def leaves_of(entries: Mapping[str, Any]) -> tuple[Leaf, ...]:
    """The leaves of `plain` entries."""
    rows = zip(zip(entries, strict=True), entries, entries.values(), repeat(()), repeat(()))
    return tuple(map(_LEAF, rows))


def resolve(entries: Mapping[str, Any], when: tuple[Condition, ...]) -> tuple[tuple[Leaf, ...], tuple[Issue, ...]]:
    """The leaves, parents first, and everything that is wrong with the space of these entries."""
    found: dict[str, Leaf] = {}
    issues: list[Issue] = []
    if when:
        issues.append(Issue("", "the outermost space has no `when`", "put it inside another space"))
    _gather(entries, (), (), found, issues)
    steered = [leaf for leaf in found.values() if leaf.when]
    for leaf in steered:
        issues += _condition_issues(leaf, found)
    if issues:
        return (), tuple(issues)
    return _ordered(found) if steered else (tuple(found.values()), ())


def _gather(
    space: Mapping[str, Any],
    path: tuple[str, ...],
    when: tuple[Condition, ...],
    found: dict[str, Leaf],
    issues: list[Issue],
) -> None:
    """Add the leaves of a group to those found, and what is wrong with its names and entries to the issues."""
    for name, entry in space.items():
        if not isinstance(name, str) or not name or not name.isprintable() or unfit(name):
            issues.append(Issue(".".join(path), f"{show(name)} is no name for a parameter", "use printable text"))
            continue
        below = (*path, name)
        dotted = ".".join(below) if path else name
        if isinstance(entry, Parameter):
            if entry.issues:
                issues += [issue._replace(path=dotted) for issue in entry.issues]
            if dotted in found:
                reason = "is there twice: as a name with dots, and inside a group"
                issues.append(Issue(dotted, reason, "rename one"))
                continue
            conditions = when + entry.when
            found[dotted] = Leaf(below, dotted, entry, conditions, _gates(conditions) if conditions else ())
        elif not isinstance(entry, Mapping):
            issues.append(Issue(dotted, f"{show(entry)} is no parameter", _way_out(entry)))
        elif not entry:
            issues.append(Issue(dotted, "is an empty group", "leave it out"))
        elif len(below) >= MOST_LEVELS:
            reason = f"is nested more than {MOST_LEVELS} levels deep"
            issues.append(Issue(path[0], reason, "flatten it: names may have dots"))
        else:
            _gather(entry, below, when + entry.when, found, issues)  # type: ignore[attr-defined]


def _gates(conditions: tuple[Condition, ...]) -> Gates:
    return tuple(
        (parent, frozenset([identity(value) for value in values if is_scalar(value) or not unfit(value)]))
        for parent, values in conditions
    )


def _way_out(entry: Any) -> str:
    if isinstance(entry, (list, tuple)):
        return f"write Categorical({show(list(entry))}), or Constant({show(list(entry))})"
    if is_scalar(entry):
        return f"write Constant({show(entry)})"
    return "give a Float, Int, Categorical, Constant, Normal, or a dict of them"


def _condition_issues(leaf: Leaf, leaves: Mapping[str, Leaf]) -> Iterator[Issue]:
    for parent, values in leaf.when:
        if not isinstance(parent, str) or not parent:
            given = show(values[0] if values else parent)
            yield Issue(leaf.name, f"when is {given}", 'write when={"parent": value}')
        elif parent not in leaves:
            yield Issue(leaf.name, f"when names {parent!r}, which is no parameter", near(parent, leaves, _NAMED))
        elif not values:
            yield Issue(leaf.name, f"when lists no value of {parent!r}", "list those under which it is active")
        elif not leaves[parent].parameter.issues:
            parameter = leaves[parent].parameter
            if parameter.support is None:
                yield Issue(leaf.name, f"when needs a discrete parent, and {parent!r} is continuous", "give it a step")
                continue
            for value in values:
                if why := unfit(value):
                    reason = f"when names {show(value)}, which is no value of {parent!r}"
                    several = hasattr(value, "__iter__")  # a set, most likely
                    yield Issue(leaf.name, reason, "several values are a list" if several else why[1])
                elif not parameter.contains(value):
                    reason = f"when names {show(value)}, which {parent!r} never is"
                    yield Issue(leaf.name, reason, f"it is a {show(parameter, 120)}")


_NAMED = "parents are named by their dotted path from the outermost space"


def near(name: str, leaves: Mapping[str, Leaf], otherwise: str) -> str:
    """The way out where a name is none of the leaves': one like it, or what else there is to say."""
    from difflib import get_close_matches

    if not isinstance(name, str):
        return otherwise
    inner = [other for other in leaves if other.endswith(f".{name}")]
    close = inner or get_close_matches(name, leaves, 1)
    return f"did you mean {close[0]!r}?" if close else otherwise


def _ordered(leaves: Mapping[str, Leaf]) -> tuple[tuple[Leaf, ...], tuple[Issue, ...]]:
    """Parents first, otherwise as written; leaves in a cycle are issues."""
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
            f"its conditions run in a circle through {', '.join(sorted(map(repr, parents)))}",
            "break it",
        )
        for name, parents in waiting.items()
    )
    return (() if issues else tuple(order)), issues


def pin(space: Mapping[str, Any], constants: Mapping[str, Parameter], leaves: Mapping[str, Leaf]) -> dict[str, Any]:
    """The entries of a space in which `constants` stand for the parameters of their (dotted) names."""
    gone: set[str] = set()
    for leaf in leaves.values():  # parents first, so that one pass is enough
        for parent, accepted in leaf.gates:
            pinned = constants.get(parent)
            if parent in gone or (pinned and identity(pinned.quantile(0.5)) not in accepted):
                gone.add(leaf.name)

    def simpler(when: tuple[Condition, ...]) -> tuple[Condition, ...]:
        # under a parent that is not always active its pinned value still has to be asked for
        return tuple(
            Condition(parent, (constants[parent].quantile(0.5),) if parent in constants else values)
            for parent, values in when
            if parent not in constants or leaves[parent].when
        )

    def rebuild(group: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for name, entry in group.items():
            dotted = ".".join((*path, name))
            if isinstance(entry, Mapping):
                if inner := rebuild(entry, (*path, name)):
                    entries[name] = type(entry)(inner, when=simpler(entry.when))  # type: ignore[attr-defined, call-arg]
            elif dotted not in gone:
                parameter: Any = constants.get(dotted, entry)
                entries[name] = replace(parameter, when=simpler(parameter.when)) if parameter.when else parameter
        return entries

    return rebuild(space, ())
