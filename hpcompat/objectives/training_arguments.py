"""Apply params to TrainingArguments: converted to each field's declared type, in a fresh and validated copy."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from hpcompat.errors import Issue, ParamsError, did_you_mean
from hpcompat.space.values import short_repr

Args = TypeVar("Args")
_BOOLEANS = {"true": True, "false": False}
_MAX_EXACT_INT = 2**53  # every int up to here is a float of the same value

# the Trainer reads them once, in its constructor: a trial could not change them any more
_NOT_SEARCHABLE = {
    "output_dir": "every trial has a run directory of its own",
    "report_to": "the Trainer took its callbacks from it when it was made",
    "disable_tqdm": "the Trainer took its callbacks from it when it was made",
    "label_names": "the Trainer took its labels from it when it was made",
    "push_to_hub": "the Trainer made the repository when it was made",
    "deepspeed": "the Trainer was set up for it when it was made",
    "fsdp": "the Trainer was set up for it when it was made",
}


def has_field(args: object, name: str) -> bool:
    """Return whether TrainingArguments have a field for a parameter of this (dotted) name.

    >>> @dataclasses.dataclass
    ... class Arguments:
    ...     learning_rate: float = 5e-5
    ...     lr_scheduler_kwargs: dict | None = None
    >>> has_field(Arguments(), "learning_rate"), has_field(Arguments(), "lr_scheduler_kwargs.num_cycles")
    (True, True)
    """
    return name.partition(".")[0] in _init_fields(args)


def suggest_field(args: object, name: str) -> str:
    """Return a hint at the field that was perhaps meant, or ""."""
    return did_you_mean(name, _init_fields(args), cutoff=0.75)


def apply_params(args: Args, params: Mapping[str, object]) -> Args:
    """Return a fresh copy of TrainingArguments with the params that are its fields; ignore the others.

    Values take the declared type of their field: 3 becomes 3.0 for a float, "False" becomes False for
    a bool. "lr_scheduler_kwargs.num_cycles", or a group of params under a field's name, goes into a
    copy of that dict. `__post_init__` runs again, with everything that it derives and validates;
    attributes that are not fields are carried over.

    Raises:
        ParamsError: with an issue for each field whose type cannot hold the value without loss.

    >>> @dataclasses.dataclass
    ... class Arguments:
    ...     epochs: float = 3.0
    ...     lr_scheduler_kwargs: dict | None = None
    >>> apply_params(Arguments(), {"epochs": 2, "lr_scheduler_kwargs.num_cycles": 3, "layers": 4})
    Arguments(epochs=2.0, lr_scheduler_kwargs={'num_cycles': 3})
    """
    changes, issues = _convert_params(args, params)
    if issues:
        raise ParamsError(f"{type(args).__name__} cannot take these params", issues)
    copy: Args = dataclasses.replace(args, **changes)  # type: ignore[type-var]
    # what a caller or the Trainer set on the arguments beside their fields
    for name, value in vars(args).items():
        if name not in vars(copy):
            setattr(copy, name, value)
    return copy


def validate_params(args: object, params: Mapping[str, object]) -> list[Issue]:
    """Return the issues of the `ParamsError` that `apply_params(args, params)` would raise."""
    return _convert_params(args, params)[1]


def _convert_params(args: object, params: Mapping[str, object]) -> tuple[dict[str, object], list[Issue]]:
    """Return the new value of each field, and the issues of the params that have none."""
    fields = _init_fields(args)
    hints = _type_hints(type(args))
    changes: dict[str, object] = {}
    issues: list[Issue] = []
    for name, value in params.items():
        field, _, inner_path = name.partition(".")
        if field not in fields:
            continue
        if field in _NOT_SEARCHABLE:
            issues.append(Issue(name, f"cannot be searched: {_NOT_SEARCHABLE[field]}"))
        elif inner_path or isinstance(value, Mapping):
            current = changes.get(field, getattr(args, field))
            if not (current is None or isinstance(current, dict)) or not _allowed_types(hints[field]) & {dict, Any}:
                issues.append(Issue(name, f"{field} is not a dict field of {type(args).__name__}"))
                continue
            changes[field] = _merge_at(current or {}, inner_path.split(".") if inner_path else [], value)
        else:
            try:
                changes[field] = coerce(value, hints[field], fields[field].default)
            except ValueError as error:
                issues.append(Issue(name, str(error)))
    return changes, issues


def _merge_at(current: Mapping[str, object], path: list[str], value: Any) -> dict[str, object]:
    """Return a copy of the dict with the value at the path; at an empty path the value is a dict to merge.

    >>> _merge_at({"a": {"b": 1}}, ["a", "c"], 2), _merge_at({"a": 1}, [], {"b": 2})
    ({'a': {'b': 1, 'c': 2}}, {'a': 1, 'b': 2})
    """
    if not path:
        return {**current, **value}
    first, *rest = path
    if rest:
        inner = current.get(first)
        value = _merge_at(inner if isinstance(inner, Mapping) else {}, rest, value)
    return {**current, first: value}


def coerce(value: Any, hint: object, default: object = None) -> object:
    """Convert a value to a declared type.

    Raises:
        ValueError: where the type cannot hold the value without loss.

    >>> coerce(3, float), coerce(4.0, int | None), coerce("False", bool), coerce("1e-5", float)
    (3.0, 4, False, 1e-05)
    """
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of NumPy's or torch's
        value = value.item()
    allowed = _allowed_types(hint)
    kind = type(value)
    if kind is str and str in allowed:
        _require_enum_value(value, allowed)
    if Any in allowed or kind in allowed or (value is None and default is None):
        return value
    if kind is int and float in allowed and abs(value) <= _MAX_EXACT_INT:
        return float(value)
    if kind is float and int in allowed and value.is_integer():
        return int(value)
    if kind is int and bool in allowed and value in (0, 1):
        return bool(value)
    if kind is tuple and list in allowed:
        return list(value)
    if kind is str:
        return _parse_string(value, allowed)
    raise ValueError(f"expected {_type_names(allowed)}, got {short_repr(value)}")


def _parse_string(text: str, allowed: set[object]) -> object:
    if bool in allowed and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    for number_type in (int, float):
        if number_type in allowed:
            with suppress(ValueError):
                return number_type(text)
    for enum_type in _enum_types(allowed):
        return enum_type(text)
    raise ValueError(f"expected {_type_names(allowed)}, got {text!r}")


def _require_enum_value(text: str, allowed: set[object]) -> None:
    """Raise `ValueError` for a string that is not a value of an enum, where the field declares one."""
    for enum_type in _enum_types(allowed):
        values = [str(member.value) for member in enum_type]
        if text not in values:
            hint = did_you_mean(text, values) or f"use one of {', '.join(map(repr, values))}"
            raise ValueError(f"expected a value of {enum_type.__name__}, got {text!r}; {hint}")


def _enum_types(allowed: set[object]) -> Iterator[type[enum.Enum]]:
    for kind in allowed:
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            yield kind


def _allowed_types(hint: object) -> set[object]:
    """Return the plain types that an annotation allows.

    >>> _allowed_types(dict[str, int] | str | None) == {dict, str, type(None)}
    True
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(_allowed_types, typing.get_args(hint)))
    if origin is typing.Literal:
        return {type(value) for value in typing.get_args(hint)}
    if origin is typing.Annotated:
        return _allowed_types(typing.get_args(hint)[0])
    return {origin or hint}


def _type_names(allowed: Iterable[Any]) -> str:
    return " or ".join(sorted(kind.__name__ for kind in allowed if kind is not type(None)))


def _init_fields(args: Any) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(args) if field.init}


def _type_hints(cls: type) -> dict[str, object]:
    try:
        hints = typing.get_type_hints(cls)
    except NameError:  # an annotation that only a type checker can resolve
        hints = {}
    return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(cls)}
