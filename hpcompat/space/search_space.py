"""The search space: named parameters, groups and conditions, as plain frozen data."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Protocol, Union

from hpcompat.errors import Issue, ParamsError, SpaceError
from hpcompat.space import counting, structure
from hpcompat.space.conditions import Condition, When, conditions, when_dict, when_key
from hpcompat.space.parameters import Constant, Parameter
from hpcompat.space.structure import Leaf, Node
from hpcompat.space.values import show

Entry = Union[Parameter, "SearchSpace"]


class Generator(Protocol):
    """What draws floats from 0 to 1."""

    def random(self) -> float: ...


class SearchSpace(Mapping[str, Entry]):
    """Parameters by name; immutable. A group of parameters is a space (or a dict) inside the space.

    `when={"optim": "sgd"}` on a parameter or a group makes it active only where that parameter has
    that value; a list means any of several, several parents must all hold, and a parent that is not
    active deactivates its children. Parents are discrete, and named by their dotted path from the
    outermost space. Params hold the active parameters alone; a group none of whose parameters is
    active is absent.

    Raises `SpaceError` with every issue of the space, by dotted path.

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
    _plain: bool
    when: tuple[Condition, ...]

    def __init__(self, parameters: Mapping[str, Any] = structure.EMPTY, *, when: When = None) -> None:
        self._fill(parameters, conditions(when), 0)
        # a group's conditions name parameters outside it: only the outermost space can check them
        if when is None:
            self._require_sound()

    @classmethod
    def _group(cls, parameters: Mapping[str, Any], depth: int, when: tuple[Condition, ...] = ()) -> SearchSpace:
        group = cls.__new__(cls)
        group._fill(parameters, when, depth)
        return group

    def _fill(self, parameters: Mapping[str, Any], when: tuple[Condition, ...], depth: int) -> None:
        if not isinstance(parameters, Mapping):
            raise SpaceError(f"a space is made of a dict of parameters, not of {show(parameters)}")
        if depth > structure.MOST_LEVELS:
            raise SpaceError(f"the space is nested more than {structure.MOST_LEVELS} levels deep")
        if plain := structure.plain(parameters):
            entries = dict(parameters)
        else:
            entries = {
                name: SearchSpace._group(entry, depth + 1)
                if not isinstance(entry, (Parameter, SearchSpace)) and isinstance(entry, Mapping)
                else entry
                for name, entry in parameters.items()
            }
        self.__dict__.update(when=when, _entries=entries, _plain=plain and not when)

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every parameter with its dotted name, its path, and all conditions that it stands under.

        Parents come before their children, otherwise in the order written.

        >>> [leaf.name for leaf in SearchSpace({"model": {"layers": Int(1, 4)}, "lr": Float(0, 1)}).leaves]
        ['model.layers', 'lr']
        """
        if self._plain:
            return structure.leaves_of(self._entries)
        leaves, issues = structure.resolve(self._entries, self.when)
        if issues:
            count = f"{len(issues)} issue{'s' * (len(issues) > 1)}"
            raise SpaceError(f"{count} in the space", issues)
        return leaves

    def _require_sound(self) -> None:
        """Raise what is wrong with it; what is plain needs no further look."""
        if not self._plain:
            _ = self.leaves

    @cached_property
    def size(self) -> float:
        """The number of different configurations: an int, or inf.

        >>> SearchSpace({"a": Categorical(["x", "y"]), "b": Int(1, 3, when={"a": "x"})}).size
        4
        """
        return counting.configurations(self.leaves)

    def sample(self, rng: Generator | int | None = None) -> dict[str, Any]:
        """Params drawn by the space's laws; `rng` is a random.Random or numpy's Generator, or a seed for the former.

        >>> SearchSpace({"lr": Float(1e-6, 1e-4, log=True), "layers": Int(1, 4)}).sample(0)
        {'lr': 4.884765313390345e-05, 'layers': 4}
        """
        source: Any = rng
        if not hasattr(source, "random"):
            try:  # numpy's ints are no seeds to Python
                source = random.Random(source.__index__() if hasattr(source, "__index__") else source)
            except (TypeError, ValueError):
                reason = f"rng must be a generator or a seed, got {show(rng)}"
                raise ParamsError(reason, [Issue("", reason, "give an int, or a random.Random")]) from None
        draw = source.random
        if self._plain:
            return {name: quantile(draw()) for name, quantile in self._quantiles}
        return self.nest(structure.walk(self.leaves, lambda leaf: leaf.parameter.quantile(draw())))

    @cached_property
    def _flat(self) -> bool:
        """Whether it has no groups."""
        return all(isinstance(entry, Parameter) for entry in self._entries.values())

    @cached_property
    def _quantiles(self) -> tuple[tuple[str, Any], ...]:
        return tuple((leaf.name, leaf.parameter.quantile) for leaf in self.leaves)

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Whether `params` is a configuration of the space: exactly the active names, values of the right type."""
        return not self.find_issues(params)

    def validate(self, params: Mapping[str, Any]) -> None:
        """Raise `ParamsError`, with every issue by name, unless `contains(params)`."""
        if issues := self.find_issues(params):
            raise ParamsError("params outside the space", issues)

    def find_issues(self, params: Mapping[str, Any]) -> tuple[Issue, ...]:
        """Why `params` is not a configuration of this space; empty if it is."""
        flat, issues = self._flatten(params)
        known = set()

        def value_of(leaf: Leaf) -> Any:
            known.add(leaf.name)
            if leaf.name not in flat:
                issues.append(Issue(leaf.name, "is missing", "an active parameter needs a value"))
                return structure.ABSENT
            if not leaf.parameter.contains(flat[leaf.name]):
                issues.append(Issue(leaf.name, f"{show(flat[leaf.name])} is no value of {show(leaf.parameter, 120)}"))
            return flat[leaf.name]

        structure.walk(self.leaves, value_of)
        names = {leaf.name for leaf in self.leaves}
        for name in flat.keys() - known:
            reason = "is not active under these params" if name in names else "is no parameter of the space"
            issues.append(Issue(name, reason, "leave it out"))
        return tuple(issues)

    def flatten(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Params by dotted name. Raises `ParamsError` for a name that is not in the space.

        >>> SearchSpace({"model": {"layers": Int(1, 4)}}).flatten({"model": {"layers": 2}})
        {'model.layers': 2}
        """
        flat, issues = self._flatten(params)
        if issues:
            raise ParamsError("params outside the space", issues)
        return flat

    def _flatten(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[Issue]]:
        flat: dict[str, Any] = {}
        issues: list[Issue] = []

        def descend(group: SearchSpace, values: Any, path: tuple[str, ...]) -> None:
            if not isinstance(values, Mapping):
                issues.append(Issue(".".join(path), f"is {show(values)}", "a group takes a dict"))
                return
            for name, value in values.items():
                entry = group._entries.get(name) if isinstance(name, str) else None
                if isinstance(entry, SearchSpace):
                    descend(entry, value, (*path, name))
                elif entry is None:
                    issues.append(Issue(".".join((*path, str(name))), "is no parameter of the space", "leave it out"))
                else:
                    flat[".".join((*path, name))] = value

        descend(self, params, ())
        return flat, issues

    def nest(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """Params from values by dotted name: the inverse of `flatten`.

        >>> SearchSpace({"model": {"layers": Int(1, 4)}}).nest({"model.layers": 2})
        {'model': {'layers': 2}}
        """
        if type(flat) is not dict and not isinstance(flat, Mapping):
            hint = "give a dict by dotted name"
            raise ParamsError("these are no params", [Issue("", f"expected a dict, got {show(flat)}", hint)])
        if self._flat:
            return {name: flat[name] for name in self._entries if name in flat}

        def build(node: Node) -> dict[str, Any]:
            params: dict[str, Any] = {}
            for name, below in node.items():
                if isinstance(below, Leaf):
                    if below.name in flat:
                        params[name] = flat[below.name]
                elif group := build(below):
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

    def fix(self, pinned: Mapping[str, Any] = structure.EMPTY, /, **more: Any) -> SearchSpace:
        """The space with parameters pinned to a value, by (dotted) name.

        A condition that a pinned parent always meets goes; a child that it rules out goes too.
        Raises `ParamsError` for an unknown name or a value that the parameter cannot take.

        >>> SearchSpace({"optim": Categorical(["adamw", "sgd"]), "lr": Float(0, 1)}).fix(optim="sgd")
        SearchSpace({'optim': Constant('sgd'), 'lr': Float(0.0, 1.0)})
        """
        if not isinstance(pinned, Mapping):
            hint = "give a dict by name, or keywords"
            raise ParamsError("these cannot be pinned", [Issue("", f"expected a dict, got {show(pinned)}", hint)])
        leaves = {leaf.name: leaf for leaf in self.leaves}
        given = {**pinned, **more}
        pins = {
            name: as_drawn(leaves[name].parameter, value) if name in leaves else value for name, value in given.items()
        }
        unknown = [name for name in pins if name not in leaves]
        hint = "parameters in groups are named by their dotted path"
        issues = [Issue(name, "is no parameter of the space", structure.near(name, leaves, hint)) for name in unknown]
        issues += [
            Issue(name, f"{show(value)} is no value of {show(leaves[name].parameter, 120)}")
            for name, value in pins.items()
            if name in leaves and not leaves[name].parameter.contains(value)
        ]
        if issues:
            raise ParamsError("these cannot be pinned", issues)
        constants = {name: Constant(value, when=leaves[name].parameter.when) for name, value in pins.items()}
        return SearchSpace(structure.pin(self, constants, leaves))

    def to_dict(self) -> dict[str, Any]:
        """The space as versioned JSON data, which `from_dict` reads back to an equal space.

        >>> SearchSpace({"lr": Float(1e-6, 1e-4, log=True)}).to_dict()
        {'hpcompat': 1, 'space': {'lr': {'kind': 'float', 'low': 1e-06, 'high': 0.0001, 'log': True}}}
        """
        from hpcompat.space import serial

        self._require_sound()
        return serial.to_dict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> SearchSpace:
        """Read what `to_dict` wrote. Raises `SpaceError`.

        >>> space = SearchSpace({"pair": Categorical([(1, 2), (3, 4)])})
        >>> SearchSpace.from_dict(space.to_dict()) == space
        True
        """
        from hpcompat.space import serial

        return serial.from_dict(data, SearchSpace)

    def __or__(self, other: Mapping[str, Any]) -> SearchSpace:
        if not isinstance(other, Mapping):
            return NotImplemented
        return SearchSpace({**self._entries, **other})

    def __ror__(self, other: Mapping[str, Any]) -> SearchSpace:
        return SearchSpace({**other, **self._entries}) if isinstance(other, Mapping) else NotImplemented

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _key(self) -> Hashable:
        return when_key(self.when), frozenset((name, entry) for name, entry in self._entries.items())

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, SearchSpace) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a SearchSpace is immutable: cannot set {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return SearchSpace._group, (self._entries, 0, self.when)

    def __repr__(self) -> str:
        entries = ", ".join(
            f"{name!r}: {_braces(entry) if isinstance(entry, SearchSpace) and not entry.when else repr(entry)}"
            for name, entry in self._entries.items()
        )
        when = f", when={when_dict(self.when)!r}" if self.when else ""
        return f"SearchSpace({{{entries}}}{when})"


def _braces(group: SearchSpace) -> str:
    return repr(group).removeprefix("SearchSpace(").removesuffix(")")


def as_drawn(parameter: Parameter, value: Any) -> Any:
    """A number in the type that a numeric parameter draws: an int for a Float, a scalar of numpy's; else as it is.

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


def params_as_drawn(space: SearchSpace, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Params with each number in the type that its parameter draws; as they are where they do not fit the space."""
    flat, issues = space._flatten(params)
    if issues or space.contains(params):
        return params
    parameters = {leaf.name: leaf.parameter for leaf in space.leaves}
    return space.nest({name: as_drawn(parameters[name], value) for name, value in flat.items()})
