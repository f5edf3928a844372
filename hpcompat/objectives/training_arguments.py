"""Apply params to a fresh and validated copy of TrainingArguments, converted to the declared types."""

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
_MAX_EXACT_INT = 2**53  # floats represent all ints up to here exactly

# the constructor of the Trainer uses these fields, so that a trial cannot change them
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
    """Return whether TrainingArguments have a field for a parameter name, which may be dotted.

    >>> @dataclasses.dataclass
    ... class Arguments:
    ...     learning_rate: float = 5e-5
    ...     lr_scheduler_kwargs: dict | None = None
    >>> has_field(Arguments(), "learning_rate"), has_field(Arguments(), "lr_scheduler_kwargs.num_cycles")
    (True, True)
    """
    return name.partition(".")[0] in _get_init_fields(args)


def suggest_field(args: object, name: str) -> str:
    """Return a hint with a similar field name, or ""."""
    return did_you_mean(name, _get_init_fields(args), cutoff=0.75)


def apply_params(args: Args, params: Mapping[str, object]) -> Args:
    """Return a fresh copy of TrainingArguments with the params that are fields; ignore other params.

    Values are converted to the declared type of the field: 3 becomes 3.0 for a float, "False" becomes False for a bool.
    A dotted name such as "lr_scheduler_kwargs.num_cycles", or a group with the name of a field, is merged into a copy
    of that dict. `__post_init__` runs again; attributes that are not fields are copied.

    Raises:
        ParamsError: The type of a field cannot represent a value exactly; with an issue for each such field.

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
    # attributes that the user or the Trainer has added
    for name, value in vars(args).items():
        if name not in vars(copy):
            setattr(copy, name, value)
    return copy


def validate_params(args: object, params: Mapping[str, object]) -> list[Issue]:
    """Return the issues of the `ParamsError` that `apply_params(args, params)` would raise."""
    return _convert_params(args, params)[1]


def _convert_params(args: object, params: Mapping[str, object]) -> tuple[dict[str, object], list[Issue]]:
    """Return the new field values, and an issue for each param that cannot be converted."""
    fields = _get_init_fields(args)
    hints = _get_type_hints(type(args))
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
            if not (current is None or isinstance(current, dict)) or not _get_allowed_types(hints[field]) & {dict, Any}:
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
    """Return a copy of a dict with a value set at a path; at an empty path the value is a dict that is merged.

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
        ValueError: The type cannot represent the value exactly.

    >>> coerce(3, float), coerce(4.0, int | None), coerce("False", bool), coerce("1e-5", float)
    (3.0, 4, False, 1e-05)
    """
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of NumPy or torch
        value = value.item()
    allowed_types = _get_allowed_types(hint)
    value_type = type(value)
    if value_type is str and str in allowed_types:
        _require_enum_value(value, allowed_types)
    if Any in allowed_types or value_type in allowed_types or (value is None and default is None):
        return value
    if value_type is int and float in allowed_types and abs(value) <= _MAX_EXACT_INT:
        return float(value)
    if value_type is float and int in allowed_types and value.is_integer():
        return int(value)
    if value_type is int and bool in allowed_types and value in (0, 1):
        return bool(value)
    if value_type is tuple and list in allowed_types:
        return list(value)
    if value_type is str:
        return _parse_string(value, allowed_types)
    raise ValueError(f"expected {_format_types(allowed_types)}, got {short_repr(value)}")


def _parse_string(text: str, allowed_types: set[object]) -> object:
    if bool in allowed_types and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    for number_type in (int, float):
        if number_type in allowed_types:
            with suppress(ValueError):
                return number_type(text)
    for enum_type in _iter_enum_types(allowed_types):
        return enum_type(text)
    raise ValueError(f"expected {_format_types(allowed_types)}, got {text!r}")


def _require_enum_value(text: str, allowed_types: set[object]) -> None:
    """Raise `ValueError` if the field declares an enum, and the string is not one of its values."""
    for enum_type in _iter_enum_types(allowed_types):
        values = [str(member.value) for member in enum_type]
        if text not in values:
            hint = did_you_mean(text, values) or f"use one of {', '.join(map(repr, values))}"
            raise ValueError(f"expected a value of {enum_type.__name__}, got {text!r}; {hint}")


def _iter_enum_types(allowed_types: set[object]) -> Iterator[type[enum.Enum]]:
    for value_type in allowed_types:
        if isinstance(value_type, type) and issubclass(value_type, enum.Enum):
            yield value_type


def _get_allowed_types(hint: object) -> set[object]:
    """Return the plain types that an annotation allows.

    >>> _get_allowed_types(dict[str, int] | str | None) == {dict, str, type(None)}
    True
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(_get_allowed_types, typing.get_args(hint)))
    if origin is typing.Literal:
        return {type(value) for value in typing.get_args(hint)}
    if origin is typing.Annotated:
        return _get_allowed_types(typing.get_args(hint)[0])
    return {origin or hint}


def _format_types(allowed_types: Iterable[Any]) -> str:
    return " or ".join(sorted(value_type.__name__ for value_type in allowed_types if value_type is not type(None)))


def _get_init_fields(args: Any) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(args) if field.init}


def _get_type_hints(cls: type) -> dict[str, object]:
    try:
        hints = typing.get_type_hints(cls)
    except NameError:  # an annotation cannot be resolved at run time
        hints = {}
    return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(cls)}
