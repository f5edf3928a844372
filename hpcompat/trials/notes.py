"""The user attributes and constraints that a trial sets."""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcompat.errors import Issue, ParamsError
from hpcompat.space.values import json_issue, short_repr
from hpcompat.trials.trial import Trial, parse_constraints

RESERVED_PREFIX = "hpcompat:"
"""The prefix of the names under which hpcompat stores its own data about a trial in the store of an engine."""


@dataclass
class Notes:
    """The user attributes and constraints of a running trial; they are kept if it fails.

    >>> notes = Notes()
    >>> notes.add_user_attr("pair", (1, 2)), notes.add_constraint("memory", 1)
    ([1, 2], 1.0)
    >>> notes
    Notes(user_attrs={'pair': [1, 2]}, constraints={'memory': 1.0})
    """

    user_attrs: dict[str, object] = field(default_factory=dict)
    constraints: dict[str, float] = field(default_factory=dict)

    def add_user_attr(self, key: str, value: object) -> object:
        """Set an attribute, and return it as JSON represents it: tuples become lists, NumPy numbers Python numbers.

        Raises `TypeError` for a value that JSON cannot represent, `ValueError` for a reserved name.
        """
        subject = f"user attribute {short_repr(key)}"
        _require_name(subject, key)
        if key.startswith(RESERVED_PREFIX):
            raise ValueError(f"{subject}: names that begin with {RESERVED_PREFIX!r} are reserved; choose another name")
        self.user_attrs[key] = _to_json_value(subject, value)
        return copy.deepcopy(self.user_attrs[key])

    def add_constraint(self, key: str, value: Any) -> float | None:
        """Set the value of a constraint, and return it.

        A constraint that is already set keeps its value, as in Optuna: a warning is issued, and None is returned.

        Raises `TypeError` for a value that is not a number, and `ValueError` for NaN.
        """
        subject = f"constraint {short_repr(key)}"
        _require_name(subject, key)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            raise TypeError(f"{subject}: expected a number, got {short_repr(value)}") from None
        if math.isnan(number):
            raise ValueError(f"{subject}: expected a number, got nan")
        if key in self.constraints:
            current = self.constraints[key]
            message = f"it is {current} already, and {number} is ignored; set each constraint once"
            warnings.warn(f"{subject}: {message}", stacklevel=3)
            return None
        self.constraints[key] = number
        return number

    def update(self, newer: Notes) -> None:
        """Add the newer attributes and constraints that the same trial has set in another process."""
        self.user_attrs.update(newer.user_attrs)
        self.constraints.update(newer.constraints)

    def to_trial_fields(self) -> dict[str, Any]:
        """Return copies of both, as the fields of a `Trial`."""
        return {
            "user_attrs": copy.deepcopy(self.user_attrs) if self.user_attrs else {},
            "constraints": dict(self.constraints),
        }


def _require_name(subject: str, key: object) -> None:
    if type(key) is not str or json_issue(key):
        raise TypeError(f"{subject}: expected a name that is a string, got {short_repr(key)}")


def _to_json_value(subject: str, value: object) -> object:
    """Return the value after a round trip through JSON."""
    try:
        if issue := _find_non_string_keys(value):
            raise _NotJsonError(*issue)
        return json.loads(json.dumps(value, default=_to_plain_number))
    except _NotJsonError as error:
        reason, hint = error.args
    except (ValueError, RecursionError) as error:  # the value contains itself, or ints of thousands of digits
        reason, hint = str(error), "flatten or shorten it"
    raise TypeError(f"{subject}: expected a JSON value, but {reason}; {hint}")


class _NotJsonError(Exception):
    """A value that JSON cannot represent; its arguments are the reason and a hint."""


def _to_plain_number(value: object) -> object:
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of NumPy or torch
        return value.item()
    raise _NotJsonError(*(json_issue(value) or (f"{short_repr(value)} is not a JSON value", "use plain values")))


def _find_non_string_keys(value: object) -> tuple[str, str] | None:
    """Return a reason and a hint if a dict has keys that are not strings, which `json` would convert."""
    if isinstance(value, Mapping):
        keys = [key for key in value if not isinstance(key, str)]
        return json_issue(dict.fromkeys(keys)) if keys else _find_non_string_keys(list(value.values()))
    if isinstance(value, (list, tuple)):
        return next((issue for item in value if (issue := _find_non_string_keys(item))), None)
    return None


def dump_notes(trial: Trial) -> str | None:
    """Return the attributes and constraints of a trial as an ASCII string, for stores of strings; None if it has none.

    >>> dump_notes(Trial(0, {}, constraints={"memory": 1.5}))
    '{"constraints": {"memory": 1.5}}'
    """
    fields = {"constraints": dict(trial.constraints), "user_attrs": dict(trial.user_attrs)}
    notes = {name: value for name, value in fields.items() if value}
    return json.dumps(notes, default=repr) if notes else None  # a study of the user may hold other values


def load_notes(text: str | None) -> dict[str, Any]:
    """Return the fields of a `Trial` from a string of `dump_notes`. Raises `ParamsError` if it is damaged.

    >>> load_notes('{"constraints": {"memory": 1.5}}'), load_notes(None)
    ({'constraints': {'memory': 1.5}}, {})
    """
    if text is None:
        return {}
    try:
        stored = json.loads(text)
        readers: dict[str, Callable[[Any], object]] = {"constraints": parse_constraints, "user_attrs": dict}
        return {name: read(stored[name]) for name, read in readers.items() if name in stored}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        issue = Issue("", f"{short_repr(text)} cannot be read: {error}")
        raise ParamsError("the constraints and attributes of a trial are damaged", [issue]) from error
