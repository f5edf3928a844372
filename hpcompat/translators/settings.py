"""What an object says of a search besides its space: a sweep's goal and method, an experiment's budget, …

Each dialect that has such objects reads them in its own module, with `read_settings`; `settings_of` asks the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcompat.errors import Issue, TranslationError
from hpcompat.space.values import short_repr

DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search that an object states; what it leaves open is empty, or None.

    `dialect`: whose object it is; `noun`: what it is called. `directions`: one for each objective, None where the
    object does not say, which means `default` there. `metrics`: the names of the objectives. `options`: those of the
    dialect's own backend. `terms`: what the object calls a setting, by the name that `search` has for it. `unused`:
    what it says that has no counterpart in any search.
    """

    dialect: str = ""
    noun: str = "space"
    directions: tuple[str | None, ...] = ()
    default: str = "minimize"
    metrics: tuple[str, ...] = ()
    sampler: str | None = None
    n_trials: int | None = None
    pruner: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, Any] = field(default_factory=dict)


class Reader:
    """Reads values by name, and collects what is wrong with them."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.left = dict(found)
        self.issues: list[Issue] = []

    def take(self, name: str, fits: Callable[[Any], bool], hint: str) -> Any:
        """Return the value of that name, if there is one that fits; else add an issue."""
        value = self.left.pop(name, None)
        if value is None or fits(value):
            return value
        self.issues.append(Issue(name, f"is {short_repr(value)}", hint))
        return None

    def one_of(self, name: str, values: Sequence[str]) -> Any:
        """Return the value of that name, which has to be one of several strings."""
        return self.take(name, lambda value: isinstance(value, str) and value in values, f"one of {', '.join(values)}")

    def finish(self, what: str) -> dict[str, Any]:
        """Return what was not taken. Raises `TranslationError` for all that did not fit."""
        if self.issues:
            raise TranslationError(f"these settings of the {what} cannot be read", self.issues)
        return self.left


def is_count(value: Any) -> bool:
    """Return whether a value is an int of at least 1.

    >>> is_count(3), is_count(True), is_count(0), is_count("3")
    (True, False, False, False)
    """
    return type(value) is int and value >= 1


def brief(unused: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of settings, with their values where those are short.

    >>> list(brief({"method": "bayes", "metric": {"goal": "minimize", "name": "loss"}, "command": ["python"]}))
    ['method (bayes)', 'metric (minimize loss)', 'command']
    """
    for name, value in unused.items():
        if name == "metric" and isinstance(value, Mapping):
            value = " ".join(str(value[key]) for key in ("goal", "name") if key in value)
        short = isinstance(value, (str, int, float)) and len(str(value)) <= 40
        yield f"{name} ({value})" if short else str(name)
