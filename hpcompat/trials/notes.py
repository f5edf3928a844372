"""What a trial sets beside its values: user attributes, and the values of its constraints."""

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
"""What the names begin with under which engines' stores keep what else belongs to a trial."""


@dataclass
class Notes:
    """The attributes and constraints of a trial under way; they are kept if it fails.

    >>> notes = Notes()
    >>> notes.add_user_attr("pair", (1, 2)), notes.add_constraint("memory", 1)
    ([1, 2], 1.0)
    >>> notes
    Notes(user_attrs={'pair': [1, 2]}, constraints={'memory': 1.0})
    """

    user_attrs: dict[str, object] = field(default_factory=dict)
    constraints: dict[str, float] = field(default_factory=dict)

    def add_user_attr(self, key: str, value: object) -> object:
        """Set an attribute; returns it as JSON holds it: a tuple is a list, a number of NumPy's a plain one.

        Raises `TypeError` for what is not a JSON value, `ValueError` for a name that is reserved.
        """
        what = f"user attribute {short_repr(key)}"
        _require_name(what, key)
        if key.startswith(RESERVED_PREFIX):
            raise ValueError(f"{what}: names that begin with {RESERVED_PREFIX!r} are reserved; choose another name")
        self.user_attrs[key] = _to_json_value(what, value)
        return copy.deepcopy(self.user_attrs[key])

    def add_constraint(self, key: str, value: Any) -> float | None:
        """Set the value of a constraint, and return it.

        If it has one already, that stays, as in Optuna; there is a warning, and None is returned.

        Raises `TypeError` for what is not a number, and `ValueError` for NaN.
        """
        what = f"constraint {short_repr(key)}"
        _require_name(what, key)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            raise TypeError(f"{what}: expected a number, got {short_repr(value)}") from None
        if math.isnan(number):
            raise ValueError(f"{what}: expected a number, got nan")
        if key in self.constraints:
            kept = f"it is {self.constraints[key]} already"
            warnings.warn(f"{what}: {kept}, and {number} is ignored; set each constraint once", stacklevel=3)
            return None
        self.constraints[key] = number
        return number

    def update(self, later: Notes) -> None:
        """Take over the later notes of the same trial in another process."""
        self.user_attrs.update(later.user_attrs)
        self.constraints.update(later.constraints)

    def fields(self) -> dict[str, Any]:
        """Return a copy of both, as fields of a `Trial`."""
        return {
            "user_attrs": copy.deepcopy(self.user_attrs) if self.user_attrs else {},
            "constraints": dict(self.constraints),
        }


def _require_name(what: str, key: object) -> None:
    if type(key) is not str or json_issue(key):
        raise TypeError(f"{what}: expected a name that is a string, got {short_repr(key)}")


def _to_json_value(what: str, value: object) -> object:
    """Return the value as a store returns it: written as JSON and read."""
    try:
        if issue := _non_string_keys(value):
            raise _NotJsonError(*issue)
        return json.loads(json.dumps(value, default=_to_plain_number))
    except _NotJsonError as error:
        reason, hint = error.args
    except (ValueError, RecursionError) as error:  # it contains itself, or ints of thousands of digits
        reason, hint = str(error), "flatten or shorten it"
    raise TypeError(f"{what}: expected a JSON value, but {reason}; {hint}")


class _NotJsonError(Exception):
    """The reason and the hint."""


def _to_plain_number(value: object) -> object:
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of NumPy's or torch's
        return value.item()
    raise _NotJsonError(*(json_issue(value) or (f"{short_repr(value)} is not a JSON value", "use plain values")))


def _non_string_keys(value: object) -> tuple[str, str] | None:
    """Return reason and hint for a dict whose keys are not strings: `json` would turn 1 into "1"."""
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        return json_issue(dict.fromkeys(odd)) if odd else _non_string_keys(list(value.values()))
    if isinstance(value, (list, tuple)):
        return next((issue for item in value if (issue := _non_string_keys(item))), None)
    return None


def dump_notes(trial: Trial) -> str | None:
    """Return the notes of a trial as an ASCII string, for stores that keep strings; None if it has none.

    >>> dump_notes(Trial(0, {}, constraints={"memory": 1.5}))
    '{"constraints": {"memory": 1.5}}'
    """
    notes = {"constraints": dict(trial.constraints), "user_attrs": dict(trial.user_attrs)}
    kept = {name: value for name, value in notes.items() if value}
    return json.dumps(kept, default=repr) if kept else None  # a study of the user's own may hold anything


def load_notes(text: str | None) -> dict[str, Any]:
    """Return what `dump_notes` has written, as fields of a `Trial`. Raises `ParamsError` for anything else.

    >>> load_notes('{"constraints": {"memory": 1.5}}'), load_notes(None)
    ({'constraints': {'memory': 1.5}}, {})
    """
    if text is None:
        return {}
    try:
        found = json.loads(text)
        readers: dict[str, Callable[[Any], object]] = {"constraints": parse_constraints, "user_attrs": dict}
        return {name: read(found[name]) for name, read in readers.items() if name in found}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        issue = Issue("", f"{short_repr(text)} cannot be read: {error}")
        raise ParamsError("the constraints and attributes of a trial are damaged", [issue]) from error
