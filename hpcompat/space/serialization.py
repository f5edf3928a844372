"""A space as versioned JSON data, and back.

    {"hpcompat": 1, "space": {"lr": {"kind": "float", "low": 1e-06, "high": 0.0001, "log": true}}}

Arguments at their default are left out. A group is {"kind": "group", "space": {…}}. Values are
written as JSON holds them; what JSON has no form for is tagged: a tuple is {"$tuple": […]}, and a
dict with a key that starts with "$" is {"$dict": [[key, value], …]}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hpcompat.errors import Issue, SpaceError
from hpcompat.space.base import Condition, arguments_of, parse_when
from hpcompat.space.parameters import PARAMETER_TYPES, Float, Int, Parameter
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import SCALARS, short_repr

Space = TypeVar("Space")
VERSION = 1
TYPES_BY_KIND: dict[str, type[Parameter]] = {kind.kind: kind for kind in PARAMETER_TYPES}


def to_dict(space: Mapping[str, object]) -> dict[str, Any]:
    """See `SearchSpace.to_dict`."""
    return {"hpcompat": VERSION, "space": _group_to_json(space)}


def _group_to_json(space: Mapping[str, object]) -> dict[str, object]:
    return {name: _entry_to_json(entry) for name, entry in space.items()}


_DEFAULT_STEPS: dict[type, int | None] = {Float: None, Int: 1}


def _entry_to_json(entry: Any) -> dict[str, object]:
    kind = type(entry)
    if kind in _DEFAULT_STEPS:  # most parameters of a large space, which takes two thirds of the time so
        data: dict[str, object] = {"kind": entry.kind, "low": entry.low, "high": entry.high}
        if entry.log:
            data["log"] = True
        if entry.step != _DEFAULT_STEPS[kind]:
            data["step"] = entry.step
    elif isinstance(entry, Parameter):
        data = {"kind": entry.kind, **entry.arguments(value_to_json)}
    else:
        data = {"kind": "group", "space": _group_to_json(entry)}
    if entry.when:
        data["when"] = {parent: list(map(value_to_json, values)) for parent, values in parse_when(entry.when)}
    return data


def value_to_json(value: object) -> Any:
    """Return a value as JSON data, tuples tagged."""
    if type(value) in SCALARS:
        return value
    if isinstance(value, tuple):
        return {"$tuple": [value_to_json(item) for item in value]}
    if isinstance(value, list):
        return list(value) if SCALARS.issuperset(map(type, value)) else [value_to_json(item) for item in value]
    if isinstance(value, dict):
        if any(key.startswith("$") for key in value):
            return {"$dict": [[key, value_to_json(item)] for key, item in value.items()]}
        return {key: value_to_json(item) for key, item in value.items()}
    return value


def value_from_json(data: object) -> Any:
    """Return the value that `value_to_json` wrote. Raises ValueError for a tag that it never writes."""
    if isinstance(data, list):
        return [value_from_json(item) for item in data]
    if not isinstance(data, dict):
        return data
    if set(data) == {"$tuple"} and isinstance(data["$tuple"], list):
        return tuple(value_from_json(item) for item in data["$tuple"])
    if set(data) == {"$dict"}:
        return {key: value_from_json(item) for key, item in data["$dict"]}
    if any(isinstance(key, str) and key.startswith("$") for key in data):
        raise ValueError(f"unknown tag in {short_repr(data)}")
    return {key: value_from_json(item) for key, item in data.items()}


def from_dict(data: Mapping[str, object], make_space: Callable[..., Space]) -> Space:
    """See `SearchSpace.from_dict`; `make_space` makes the space, and the groups in it."""
    if not isinstance(data, Mapping) or "hpcompat" not in data:
        raise SpaceError("hpcompat did not write this space", [Issue("", f"got {short_repr(data)}")])
    version = data["hpcompat"]
    if type(version) is not int or version != VERSION:
        message = f"expected version {VERSION}, got {short_repr(version)}"
        raise SpaceError("unknown format", [Issue("hpcompat", message, "a newer hpcompat wrote it: update")])
    issues: list[Issue] = []
    entries = _read_group(data.get("space"), (), issues, make_space)
    if issues:
        raise SpaceError("hpcompat did not write this space", issues)
    return make_space(entries)


def _read_group(
    data: object, path: tuple[str, ...], issues: list[Issue], make_space: Callable[..., Space]
) -> dict[str, object]:
    if not isinstance(data, Mapping) or len(path) > MAX_DEPTH:
        message = f"expected a dict of at most {MAX_DEPTH} levels, got {short_repr(data)}"
        issues.append(Issue(".".join(path), message))
        return {}
    return {name: _read_entry(entry, (*path, str(name)), issues, make_space) for name, entry in data.items()}


def _read_entry(data: Any, path: tuple[str, ...], issues: list[Issue], make_space: Callable[..., Space]) -> object:
    dotted = ".".join(path)
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in (*TYPES_BY_KIND, "group"):
        hint = f"kinds are group, {', '.join(TYPES_BY_KIND)}"
        issues.append(Issue(dotted, f"{short_repr(data)} has no known kind", hint))
        return None
    arguments = () if kind == "group" else arguments_of(TYPES_BY_KIND[kind])
    required = ["space"] if kind == "group" else [argument.name for argument in arguments if argument.is_required]
    optional = [argument.name for argument in arguments if not argument.is_required]
    missing = [name for name in required if name not in data]
    unknown = [name for name in data if name not in ("kind", "when", *required, *optional)]
    if missing or unknown:
        parts = [
            f"{verb} {', '.join(map(repr, names))}"
            for verb, names in (("lacks", missing), ("has an unknown", unknown))
            if names
        ]
        issues.append(Issue(dotted, f"a {kind} {' and '.join(parts)}"))
        return None
    try:
        when = _read_when(data.get("when"))
        if kind == "group":
            return make_space(_read_group(data["space"], path, issues, make_space), when=when)
        values = {name: value_from_json(data[name]) for name in (*required, *optional) if name in data}
    except (ValueError, TypeError, RecursionError) as error:
        issues.append(Issue(dotted, str(error)))
        return None
    make_parameter: Callable[..., Parameter] = TYPES_BY_KIND[kind]
    return make_parameter(**values, when=when)


def _read_when(data: object) -> tuple[Condition, ...]:
    if data is None:
        return ()
    if not isinstance(data, Mapping) or not all(isinstance(values, list) for values in data.values()):
        raise ValueError(f"when must be a dict of lists, got {short_repr(data)}")
    return tuple(Condition(parent, tuple(map(value_from_json, values))) for parent, values in data.items())
