"""The search space: named parameters, groups and conditions, as plain frozen data."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Mapping
from functools import cached_property
from typing import Any, Protocol, Union

from hpcompat.errors import Issue, ParamsError, SpaceError
from hpcompat.space import tree
from hpcompat.space.base import Condition, When, condition_key, parse_when, when_dict
from hpcompat.space.parameters import Constant, Parameter, as_drawn
from hpcompat.space.tree import Leaf, Node
from hpcompat.space.values import pluralize, short_repr

Entry = Union[Parameter, "SearchSpace"]


class Generator(Protocol):
    """A generator of floats from 0 to 1."""

    def random(self) -> float: ...


class SearchSpace(Mapping[str, Entry]):
    """Parameters by name; immutable. A group of parameters is a space (or a dict) inside the space.

    `when={"optim": "sgd"}` on a parameter or a group makes it active only if that parameter has that value. A list
    means any of its values; several parents must all hold; if a parent is not active, its children are not active
    either. Parents are discrete, and named by their dotted path from the outermost space. Params have the active
    parameters only; a group without an active parameter is left out.

    Args:
        parameters: By name, a parameter, or a group: a SearchSpace or a dict.
        when: The condition of a group.

    Raises:
        SpaceError: The space is invalid; with all its issues, by dotted path.

    >>> space = SearchSpace({
    ...     "optim": Categorical(["adamw", "sgd"]),
    ...     "momentum": Float(0.0, 0.9, when={"optim": "sgd"}),
    ...     "model": {"layers": Int(1, 4)},
    ... })
    >>> space.contains({"optim": "adamw", "model": {"layers": 2}})
    True
    >>> space.fix(optim="sgd", **{"model.layers": 2})["momentum"]
    Float(0.0, 0.9)
    """

    _entries: dict[str, Entry]
    when: tuple[Condition, ...]

    def __init__(self, parameters: Mapping[str, object] = tree.EMPTY, *, when: When = None) -> None:
        self._init(parameters, parse_when(when), 0)
        # a group's conditions name parameters outside it: only the outermost space can validate them
        if when is None:
            self._require_valid()

    @classmethod
    def _group(cls, parameters: Mapping[str, object], depth: int, when: tuple[Condition, ...] = ()) -> SearchSpace:
        group = cls.__new__(cls)
        group._init(parameters, when, depth)
        return group

    def _init(self, parameters: Mapping[str, object], when: tuple[Condition, ...], depth: int) -> None:
        if not isinstance(parameters, Mapping):
            raise SpaceError(f"expected a dict of parameters, got {short_repr(parameters)}")
        if depth > tree.MAX_DEPTH:
            raise SpaceError(f"the space is nested more than {tree.MAX_DEPTH} levels deep")
        entries: dict[str, Any] = {
            name: SearchSpace._group(entry, depth + 1)
            if not isinstance(entry, (Parameter, SearchSpace)) and isinstance(entry, Mapping)
            else entry
            for name, entry in parameters.items()
        }
        self.__dict__.update(when=when, _entries=entries)

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every parameter with its dotted name, its path and all its conditions.

        Parents come before their children, otherwise in the order written.

        >>> [leaf.name for leaf in SearchSpace({"model": {"layers": Int(1, 4)}, "lr": Float(0, 1)}).leaves]
        ['model.layers', 'lr']
        """
        leaves, issues = tree.flatten(self._entries, self.when)
        if issues:
            raise SpaceError(f"{pluralize(len(issues), 'issue')} in the space", issues)
        return leaves

    def _require_valid(self) -> tuple[Leaf, ...]:
        """Raise `SpaceError` if the space is invalid, which finding its leaves does."""
        return self.leaves

    @cached_property
    def size(self) -> float:
        """The number of different configurations: an int, or inf.

        Raises:
            SpaceError: The conditions are too entangled to count.

        >>> SearchSpace({"a": Categorical(["x", "y"]), "b": Int(1, 3, when={"a": "x"})}).size
        4
        """
        return tree.count_configurations(self.leaves)

    def sample(self, rng: Generator | int | None = None) -> dict[str, Any]:
        """Return params drawn by the distributions of the parameters.

        Args:
            rng: A `random.Random` or numpy's `Generator`, or a seed for the former.

        >>> SearchSpace({"lr": Float(1e-6, 1e-4, log=True), "layers": Int(1, 4)}).sample(0)
        {'lr': 4.884765313390345e-05, 'layers': 4}
        """
        source: Any = rng
        if not hasattr(source, "random"):
            try:  # Python takes no int of numpy's for a seed
                source = random.Random(source.__index__() if hasattr(source, "__index__") else source)
            except (TypeError, ValueError):
                reason = f"rng must be a generator or a seed, got {short_repr(rng)}"
                raise ParamsError(reason, [Issue("", reason, "give an int, or a random.Random")]) from None
        draw = source.random
        return self.nest(tree.assign_active(self.leaves, lambda leaf: leaf.parameter.quantile(draw())))

    @cached_property
    def _has_no_groups(self) -> bool:
        return all(isinstance(entry, Parameter) for entry in self._entries.values())

    def contains(self, params: Mapping[str, object]) -> bool:
        """Return whether `params` is a configuration: exactly the active names, with values of the right type."""
        return not self.find_issues(params)

    def validate(self, params: Mapping[str, object]) -> None:
        """Raise `ParamsError`, with all issues by name, unless the space contains `params`."""
        if issues := self.find_issues(params):
            raise ParamsError("params outside the space", issues)

    def find_issues(self, params: Mapping[str, object]) -> tuple[Issue, ...]:
        """Return why `params` is not a configuration of the space; nothing if it is."""
        flat, issues = self._flatten(params)
        known = set()

        def value_of(leaf: Leaf) -> object:
            known.add(leaf.name)
            if leaf.name not in flat:
                issues.append(Issue(leaf.name, "is missing", "an active parameter needs a value"))
                return tree.MISSING
            if not leaf.parameter.contains(flat[leaf.name]):
                issues.append(
                    Issue(leaf.name, f"{short_repr(flat[leaf.name])} is not in {short_repr(leaf.parameter, 120)}")
                )
            return flat[leaf.name]

        tree.assign_active(self.leaves, value_of)
        names = {leaf.name for leaf in self.leaves}
        for name in flat.keys() - known:
            message = "is not active under these params" if name in names else "is not in the space"
            issues.append(Issue(name, message, "leave it out"))
        return tuple(issues)

    def flatten(self, params: Mapping[str, object]) -> dict[str, Any]:
        """Return params by dotted name.

        Raises:
            ParamsError: A name is not in the space.

        >>> SearchSpace({"model": {"layers": Int(1, 4)}}).flatten({"model": {"layers": 2}})
        {'model.layers': 2}
        """
        flat, issues = self._flatten(params)
        if issues:
            raise ParamsError("params outside the space", issues)
        return flat

    def _flatten(self, params: Mapping[str, object]) -> tuple[dict[str, Any], list[Issue]]:
        flat: dict[str, Any] = {}
        issues: list[Issue] = []

        def descend(group: SearchSpace, values: object, path: tuple[str, ...]) -> None:
            if not isinstance(values, Mapping):
                issues.append(Issue(".".join(path), f"is {short_repr(values)}", "a group takes a dict"))
                return
            for name, value in values.items():
                entry = group._entries.get(name) if isinstance(name, str) else None
                if isinstance(entry, SearchSpace):
                    descend(entry, value, (*path, name))
                elif entry is None:
                    issues.append(Issue(".".join((*path, str(name))), "is not in the space", "leave it out"))
                else:
                    flat[".".join((*path, name))] = value

        descend(self, params, ())
        return flat, issues

    def nest(self, flat: Mapping[str, object]) -> dict[str, Any]:
        """Return params from values by dotted name: the inverse of `flatten`.

        >>> SearchSpace({"model": {"layers": Int(1, 4)}}).nest({"model.layers": 2})
        {'model': {'layers': 2}}
        """
        if type(flat) is not dict and not isinstance(flat, Mapping):
            hint = "give a dict by dotted name"
            raise ParamsError("invalid params", [Issue("", f"expected a dict, got {short_repr(flat)}", hint)])
        if self._has_no_groups:
            return {name: flat[name] for name in self._entries if name in flat}

        def build(node: Node) -> dict[str, Any]:
            params: dict[str, Any] = {}
            for name, child in node.items():
                if isinstance(child, Leaf):
                    if child.name in flat:
                        params[name] = flat[child.name]
                elif group := build(child):
                    params[name] = group
            return params

        return build(self._tree)

    @cached_property
    def _tree(self) -> Node:
        leaves = {leaf.path: leaf for leaf in self.leaves}

        def build(group: SearchSpace, path: tuple[str, ...]) -> Node:
            return {
                name: build(entry, (*path, name)) if isinstance(entry, SearchSpace) else leaves[(*path, name)]
                for name, entry in group._entries.items()
            }

        return build(self, ())

    def fix(self, pinned: Mapping[str, object] = tree.EMPTY, /, **more: object) -> SearchSpace:
        """Return the space with parameters pinned to a value, by (dotted) name.

        A condition that a pinned parent always meets is removed; a child that it rules out is removed too.

        Raises:
            ParamsError: A name is unknown, or its parameter cannot take the value.

        >>> SearchSpace({"optim": Categorical(["adamw", "sgd"]), "lr": Float(0, 1)}).fix(optim="sgd")
        SearchSpace({'optim': Constant('sgd'), 'lr': Float(0.0, 1.0)})
        """
        if not isinstance(pinned, Mapping):
            hint = "give a dict by name, or keywords"
            raise ParamsError(
                "these parameters cannot be pinned", [Issue("", f"expected a dict, got {short_repr(pinned)}", hint)]
            )
        leaves = {leaf.name: leaf for leaf in self.leaves}
        pins = {
            name: as_drawn(leaves[name].parameter, value) if name in leaves else value
            for name, value in {**pinned, **more}.items()
        }
        unknown = [name for name in pins if name not in leaves]
        hint = "parameters in groups are named by their dotted path"
        issues = [Issue(name, "is not in the space", tree.suggest_name(name, leaves, hint)) for name in unknown]
        issues += [
            Issue(name, f"{short_repr(value)} is not in {short_repr(leaves[name].parameter, 120)}")
            for name, value in pins.items()
            if name in leaves and not leaves[name].parameter.contains(value)
        ]
        if issues:
            raise ParamsError("these parameters cannot be pinned", issues)
        constants = {name: Constant(value, when=leaves[name].parameter.when) for name, value in pins.items()}
        return SearchSpace(tree.pin(self, constants, leaves))

    def to_dict(self) -> dict[str, Any]:
        """Return the space as versioned JSON data, which `from_dict` reads back to an equal space.

        >>> SearchSpace({"lr": Float(1e-6, 1e-4, log=True)}).to_dict()
        {'hpcompat': 1, 'space': {'lr': {'kind': 'float', 'low': 1e-06, 'high': 0.0001, 'log': True}}}
        """
        from hpcompat.space import serialization

        self._require_valid()
        return serialization.to_dict(self)

    @staticmethod
    def from_dict(data: Mapping[str, object]) -> SearchSpace:
        """Return the space that `to_dict` wrote.

        Raises:
            SpaceError: The data is not a space, or an invalid one.

        >>> space = SearchSpace({"pair": Categorical([(1, 2), (3, 4)])})
        >>> SearchSpace.from_dict(space.to_dict()) == space
        True
        """
        from hpcompat.space import serialization

        return serialization.from_dict(data, SearchSpace)

    def __or__(self, other: Mapping[str, object]) -> SearchSpace:
        if not isinstance(other, Mapping):
            return NotImplemented
        return SearchSpace({**self._entries, **other})

    def __ror__(self, other: Mapping[str, object]) -> SearchSpace:
        return SearchSpace({**other, **self._entries}) if isinstance(other, Mapping) else NotImplemented

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _key(self) -> Hashable:
        return condition_key(self.when), frozenset((name, entry) for name, entry in self._entries.items())

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, SearchSpace) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a SearchSpace is immutable: cannot set {name}")

    def __reduce__(self) -> tuple[object, ...]:
        return SearchSpace._group, (self._entries, 0, self.when)

    def __repr__(self) -> str:
        entries = ", ".join(
            f"{name!r}: {_repr_group(entry) if isinstance(entry, SearchSpace) and not entry.when else repr(entry)}"
            for name, entry in self._entries.items()
        )
        when = f", when={when_dict(self.when)!r}" if self.when else ""
        return f"SearchSpace({{{entries}}}{when})"


def _repr_group(group: SearchSpace) -> str:
    return repr(group).removeprefix("SearchSpace(").removesuffix(")")


def params_as_drawn(space: SearchSpace, params: Mapping[str, object]) -> Mapping[str, object]:
    """Return params with each number in the type that its parameter draws; as they are if they are not in the space."""
    flat, issues = space._flatten(params)
    if issues or space.contains(params):
        return params
    parameters = {leaf.name: leaf.parameter for leaf in space.leaves}
    return space.nest({name: as_drawn(parameters[name], value) for name, value in flat.items()})
