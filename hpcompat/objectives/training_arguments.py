"""TrainingArguments with params applied: typed as each field declares, in a fresh validated copy."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from hpcompat.errors import Issue, ParamsError
from hpcompat.space.values import short_repr

Args = TypeVar("Args")
_WORDS = {"true": True, "false": False}

# read once, when the Trainer is made: a trial could not change them any more
_FIXED = {
    "output_dir": "every trial has a run directory of its own",
    "report_to": "the Trainer took its callbacks from it when it was made",
    "disable_tqdm": "the Trainer took its callbacks from it when it was made",
    "label_names": "the Trainer took its labels from it when it was made",
    "push_to_hub": "the Trainer made the repository when it was made",
    "deepspeed": "the Trainer was set up for it when it was made",
    "fsdp": "the Trainer was set up for it when it was made",
}


def takes(args: Any, name: str) -> bool:
    """Whether TrainingArguments take a parameter of that (dotted) name.

    >>> @dataclasses.dataclass
    ... class Arguments:
    ...     learning_rate: float = 5e-5
    ...     lr_scheduler_kwargs: dict | None = None
    >>> takes(Arguments(), "learning_rate"), takes(Arguments(), "lr_scheduler_kwargs.num_cycles")
    (True, True)
    """
    return name.partition(".")[0] in _fields(args)


def near(args: Any, name: str) -> str:
    """A hint at the field that was perhaps meant, or nothing."""
    close = difflib.get_close_matches(name, _fields(args), 1, 0.75)
    return f"did you mean {close[0]!r}?" if close else ""


def applied(args: Args, params: Mapping[str, Any]) -> Args:
    """A fresh copy of TrainingArguments with the params that are its fields; the others are left out.

    Values take the declared type of their field: 3 becomes 3.0 for a float, "False" becomes False for
    a bool. "lr_scheduler_kwargs.num_cycles", or a group of params under a field's name, goes into a
    copy of that dict. Everything that `__post_init__` derives and checks is derived and checked anew;
    attributes that are no fields are carried over.

    Raises `ParamsError`, naming each field, for values that its type cannot hold without loss.

    >>> @dataclasses.dataclass
    ... class Arguments:
    ...     epochs: float = 3.0
    ...     lr_scheduler_kwargs: dict | None = None
    >>> applied(Arguments(), {"epochs": 2, "lr_scheduler_kwargs.num_cycles": 3, "layers": 4})
    Arguments(epochs=2.0, lr_scheduler_kwargs={'num_cycles': 3})
    """
    changes, issues = _changes(args, params)
    if issues:
        raise ParamsError(f"{type(args).__name__} cannot take these params", issues)
    copy: Args = dataclasses.replace(args, **changes)  # type: ignore[type-var]
    # what a caller or the Trainer set on the arguments beside their fields
    for name, value in vars(args).items():
        if name not in vars(copy):
            setattr(copy, name, value)
    return copy


def find_issues(args: Any, params: Mapping[str, Any]) -> list[Issue]:
    """Why `applied(args, params)` would raise `ParamsError`."""
    return _changes(args, params)[1]


def _changes(args: Any, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[Issue]]:
    fields = _fields(args)
    hints = _hints(type(args))
    changes: dict[str, Any] = {}
    issues: list[Issue] = []
    for name, value in params.items():
        field, _, inside = name.partition(".")
        if field not in fields:
            continue
        if field in _FIXED:
            issues.append(Issue(name, f"cannot be searched: {_FIXED[field]}"))
        elif inside or isinstance(value, Mapping):
            held = changes.get(field, getattr(args, field))
            if not (held is None or isinstance(held, dict)) or not _kinds(hints[field]) & {dict, Any}:
                issues.append(Issue(name, f"{field} is no dict field of {type(args).__name__}"))
                continue
            changes[field] = _merged(held or {}, inside.split(".") if inside else [], value)
        else:
            try:
                changes[field] = typed(value, hints[field], fields[field].default)
            except ValueError as error:
                issues.append(Issue(name, str(error)))
    return changes, issues


def _merged(held: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy of the dict with the value at the path; a group of values joins what is there.

    >>> _merged({"a": {"b": 1}}, ["a", "c"], 2), _merged({"a": 1}, [], {"b": 2})
    ({'a': {'b': 1, 'c': 2}}, {'a': 1, 'b': 2})
    """
    if not path:
        return {**held, **value}
    first, *rest = path
    inner = held.get(first)
    if rest:
        value = _merged(inner if isinstance(inner, Mapping) else {}, rest, value)
    return {**held, first: value}


def typed(value: Any, hint: Any, default: Any = None) -> Any:
    """The value as the declared type holds it. Raises `ValueError` where that would lose something.

    >>> typed(3, float), typed(4.0, int | None), typed("False", bool), typed("1e-5", float)
    (3.0, 4, False, 1e-05)
    """
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    kinds = _kinds(hint)
    kind = type(value)
    if kind is str and str in kinds:
        _require_member(value, kinds)
    if Any in kinds or kind in kinds or (value is None and default is None):
        return value
    if kind is int and float in kinds and abs(value) <= 2**53:
        return float(value)
    if kind is float and int in kinds and value.is_integer():
        return int(value)
    if kind is int and bool in kinds and value in (0, 1):
        return bool(value)
    if kind is tuple and list in kinds:
        return list(value)
    if kind is str:
        return _parsed(value, kinds)
    raise ValueError(f"{short_repr(value)} is no {_name(kinds)}")


def _parsed(text: str, kinds: set[Any]) -> Any:
    if bool in kinds and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        if number in kinds:
            try:
                return number(text)
            except ValueError:
                continue
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return kind(text)
    raise ValueError(f"{text!r} is no {_name(kinds)}")


def _require_member(text: str, kinds: set[Any]) -> None:
    """Raise `ValueError` for a text that is none of an enumeration's, where the field declares one."""
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            names = [str(member.value) for member in kind]
            if text not in names:
                close = difflib.get_close_matches(text, names, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(map(repr, names))}"
                raise ValueError(f"{text!r} is no {kind.__name__}: {hint}")


def _kinds(hint: Any) -> set[Any]:
    """The plain types that an annotation allows.

    >>> _kinds(dict[str, int] | str | None) == {dict, str, type(None)}
    True
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(_kinds, typing.get_args(hint)))
    if origin is typing.Literal:
        return {type(value) for value in typing.get_args(hint)}
    if origin is typing.Annotated:
        return _kinds(typing.get_args(hint)[0])
    return {origin or hint}


def _name(kinds: Iterable[Any]) -> str:
    return " or ".join(sorted(kind.__name__ for kind in kinds if kind is not type(None)))


def _fields(args: Any) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(args) if field.init}


def _hints(cls: type) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(cls)
    except NameError:  # an annotation that only a type checker can resolve
        hints = {}
    return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(cls)}
