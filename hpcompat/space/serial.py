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
from hpcompat.space import parameters
from hpcompat.space.conditions import Condition
from hpcompat.space.parameters import Parameter
from hpcompat.space.structure import MOST_LEVELS
from hpcompat.space.values import SCALARS, show

Space = TypeVar("Space")
VERSION = 1
KINDS: dict[str, type[Any]] = {kind.kind: kind for kind in parameters.KINDS}
OPTIONAL: dict[str, dict[str, Any]] = {
    "float": {"log": False, "step": None},
    "int": {"log": False, "step": 1},
    "categorical": {"weights": None, "ordered": False},
    "constant": {},
    "normal": {"low": None, "high": None, "log": False, "step": None},
}
REQUIRED: dict[str, tuple[str, ...]] = {
    "float": ("low", "high"),
    "int": ("low", "high"),
    "categorical": ("choices",),
    "constant": ("value",),
    "normal": ("mean", "std"),
}  # fmt: skip


def to_dict(space: Mapping[str, Any]) -> dict[str, Any]:
    """See `SearchSpace.to_dict`."""
    return {"hpcompat": VERSION, "space": _write_group(space)}


def _write_group(space: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _write(entry) for name, entry in space.items()}


def _write(entry: Any) -> dict[str, Any]:
    if isinstance(entry, Parameter):
        data = _WRITERS[entry.kind](entry)
    else:
        data = {"kind": "group", "space": _write_group(entry)}
    if entry.when:
        data["when"] = {parent: [write_value(value) for value in values] for parent, values in entry.when}
    return data


def _write_span(p: Any) -> dict[str, Any]:
    data = {"kind": p.kind, "low": p.low, "high": p.high}
    if p.log:
        data["log"] = True
    if p.step is not None and (p.kind == "float" or p.step != 1):
        data["step"] = p.step
    return data


def _write_choices(p: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": p.kind, "choices": list(map(write_value, p.choices))}
    if p.weights is not None:
        data["weights"] = list(p.weights)
    if p.ordered:
        data["ordered"] = True
    return data


def _write_bell(p: Any) -> dict[str, Any]:
    optional = {name: getattr(p, name) for name in OPTIONAL[p.kind]}
    given = {name: value for name, value in optional.items() if value is not None and value is not False}
    return {"kind": p.kind, "mean": p.mean, "std": p.std, **given}


_WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "float": _write_span,
    "int": _write_span,
    "categorical": _write_choices,
    "constant": lambda p: {"kind": p.kind, "value": write_value(p.value)},
    "normal": _write_bell,
}


def write_value(value: Any) -> Any:
    """A value as JSON data, tuples tagged."""
    if type(value) in SCALARS:
        return value
    if isinstance(value, tuple):
        return {"$tuple": [write_value(item) for item in value]}
    if isinstance(value, list):
        return [write_value(item) for item in value]
    if isinstance(value, dict):
        if any(key.startswith("$") for key in value):
            return {"$dict": [[key, write_value(item)] for key, item in value.items()]}
        return {key: write_value(item) for key, item in value.items()}
    return value


def read_value(data: Any) -> Any:
    """What `write_value` wrote. Raises ValueError for a tag that it never writes."""
    if isinstance(data, list):
        return [read_value(item) for item in data]
    if not isinstance(data, dict):
        return data
    if set(data) == {"$tuple"} and isinstance(data["$tuple"], list):
        return tuple(read_value(item) for item in data["$tuple"])
    if set(data) == {"$dict"}:
        return {key: read_value(item) for key, item in data["$dict"]}
    if any(isinstance(key, str) and key.startswith("$") for key in data):
        raise ValueError(f"unknown tag in {show(data)}")
    return {key: read_value(item) for key, item in data.items()}


def from_dict(data: Mapping[str, Any], space: Callable[..., Space]) -> Space:
    """See `SearchSpace.from_dict`; `space` makes one, and the groups in it."""
    if not isinstance(data, Mapping) or "hpcompat" not in data:
        raise SpaceError("this is no space that hpcompat wrote", [Issue("", f"got {show(data)}")])
    if type(data["hpcompat"]) is not int or data["hpcompat"] != VERSION:
        hint = "a newer hpcompat wrote it: update"
        raise SpaceError("unknown format", [Issue("hpcompat", f"is {show(data['hpcompat'])}, not {VERSION}", hint)])
    issues: list[Issue] = []
    entries = _read_group(data.get("space"), (), issues, space)
    if issues:
        raise SpaceError("this is no space that hpcompat wrote", issues)
    return space(entries)


def _read_group(data: Any, path: tuple[str, ...], issues: list[Issue], space: Any) -> dict[str, Any]:
    if not isinstance(data, Mapping) or len(path) > MOST_LEVELS:
        issues.append(Issue(".".join(path), f"a space is a dict of at most {MOST_LEVELS} levels, not {show(data)}"))
        return {}
    return {name: _read(entry, (*path, str(name)), issues, space) for name, entry in data.items()}


def _read(data: Any, path: tuple[str, ...], issues: list[Issue], space: Any) -> Any:
    where = ".".join(path)
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in (*KINDS, "group"):
        issues.append(Issue(where, f"{show(data)} has no known kind", f"kinds are group, {', '.join(KINDS)}"))
        return None
    required, optional = (("space",), dict[str, Any]()) if kind == "group" else (REQUIRED[kind], OPTIONAL[kind])
    missing = [name for name in required if name not in data]
    unknown = [name for name in data if name not in ("kind", "when", *required, *optional)]
    if missing or unknown:
        parts = [
            f"{verb} {', '.join(map(repr, names))}"
            for verb, names in (("lacks", missing), ("has an unknown", unknown))
            if names
        ]
        issues.append(Issue(where, f"a {kind} {' and '.join(parts)}"))
        return None
    try:
        when = _read_when(data.get("when"))
        if kind == "group":
            return space(_read_group(data["space"], path, issues, space), when=when)
        arguments = {name: read_value(data[name]) for name in (*required, *optional) if name in data}
    except (ValueError, TypeError, RecursionError) as error:
        issues.append(Issue(where, str(error)))
        return None
    return KINDS[kind](**arguments, when=when)


def _read_when(data: Any) -> tuple[Condition, ...]:
    if data is None:
        return ()
    if not isinstance(data, Mapping) or not all(isinstance(values, list) for values in data.values()):
        raise ValueError(f"when is {show(data)}, not a dict of lists")
    return tuple(Condition(parent, tuple(map(read_value, values))) for parent, values in data.items())
