"""What a dialect is: one system's way to describe a search space; and the dialects that there are.

A dialect is one file. It says which parameters its system can express (its capability table), writes a space as the
system's own data and reads that back. A line in `BUILT_IN` registers it; a package of its own registers one with an
entry point:

    [project.entry-points."hpcompat.dialects"]
    katib = "hpcompat_katib:KATIB"

Everything else reads `DIALECTS`: `translate`, `as_space`, the command line, the Hypothesis strategies, the
completeness page and the conformance tests.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.values import short_repr
from hpcompat.translators.capabilities import Capabilities, Rule, encoded
from hpcompat.translators.names import ANY_NAME, NamePolicy
from hpcompat.translators.settings import SearchSettings

if TYPE_CHECKING:
    from hpcompat.translators.translation import FieldMapping

NO_CONDITIONS = encoded("", "it has no conditions")
ENTRY_POINTS = "hpcompat.dialects"
BUILT_IN = {
    "optuna": "hpcompat.translators.optuna:OPTUNA",
    "ray": "hpcompat.translators.ray:RAY",
    "sigopt": "hpcompat.translators.sigopt:SIGOPT",
    "wandb": "hpcompat.translators.wandb:WANDB",
}


@dataclass(frozen=True)
class Variant:
    """One way to drive a system: W&B by each of its methods, Ray by each thing that draws.

    Attributes:
        name: The dialect's name, and what sets the variant apart: "wandb grid".
        title: The same as documentation writes it: "W&B, method grid".
        capabilities: By shape of parameter, the rules to try, best first; the last one applies to all.
        options: The options of `translate` that choose the variant.
        conditions: How a condition travels that the dialect does not write natively.
    """

    name: str
    title: str
    capabilities: Capabilities
    options: Mapping[str, Any] = field(default_factory=dict)
    conditions: Rule = NO_CONDITIONS


@dataclass(frozen=True)
class NativeConditions:
    """The conditions of a space that a dialect writes natively.

    Attributes:
        children: The names of the parameters that the system itself leaves out where they are not active.
        parents: The rules of parameters that travel in another way than the table's because they are parents.
    """

    children: frozenset[str] = frozenset()
    parents: Mapping[str, Rule] = field(default_factory=dict)


class Dialect(ABC):
    """One system's way to describe a search space; make one instance of each subclass.

    Attributes:
        name: What `translate` calls it.
        title: What documentation and messages call it.
        noun: What the system calls the object that holds a space: a sweep, an experiment.
        names: The names that it takes for a parameter.
        is_nested: Whether groups are nested; else parameters have dotted names.
        variants: The ways to drive the system, by name; there is at least one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    noun: ClassVar[str] = "space"
    names: ClassVar[NamePolicy] = ANY_NAME
    is_nested: ClassVar[bool] = False
    variants: ClassVar[Mapping[str, Variant]]

    def parse_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options of `translate`, defaults filled in. Raises `TranslationError` for invalid ones."""
        if options:
            issue = Issue("", f"{self.title} has no option {', '.join(map(repr, options))}", "leave it out")
            raise TranslationError("unknown option", [issue])
        return options

    def variant(self, options: Mapping[str, Any]) -> Variant:
        """Return the variant that parsed options choose."""
        return self.variants[self.name]

    def native_conditions(self, space: SearchSpace) -> NativeConditions:
        """Return the conditions of the space that are written natively."""
        return NativeConditions()

    @abstractmethod
    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> Any:
        """Return the spec: JSON data that describes the fields to the system."""

    @abstractmethod
    def accepts(self, source: Any) -> bool:
        """Return whether this is a search space of the system, judged by structure and types."""

    @abstractmethod
    def read(self, source: Any) -> SearchSpace:
        """Return the space of what the dialect accepts, a spec included. Raises `TranslationError`."""

    def extra_settings(self, source: Any) -> dict[str, Any] | None:
        """Return what stands beside the parameters in an object of the system, by key; None for anything else."""
        return None

    def read_settings(self, source: Any) -> SearchSettings:
        """Return what the system's own object says of a search besides its space. Raises `TranslationError`."""
        return SearchSettings()


class _Dialects(Mapping[str, Dialect]):
    """The dialects by name, the built-in ones first; each is loaded when it is first asked for."""

    def __getitem__(self, name: str) -> Dialect:
        module, _, attribute = BUILT_IN[name].partition(":") if name in BUILT_IN else ("", "", "")
        dialect = getattr(import_module(module), attribute) if module else _entry_points()[name].load()
        if not isinstance(dialect, Dialect):
            raise TranslationError(
                f"the entry point {name!r} of {ENTRY_POINTS} is {short_repr(dialect)}, not a Dialect"
            )
        return dialect

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        yield from (name for name in _entry_points() if name not in BUILT_IN)

    def __len__(self) -> int:
        return len(list(iter(self)))


def _entry_points() -> dict[str, Any]:
    return _entry_points_on(tuple(sys.path))


@cache  # looking through all that is installed takes milliseconds
def _entry_points_on(path: tuple[str, ...]) -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


DIALECTS: Mapping[str, Dialect] = _Dialects()


def get_dialect(name: str) -> Dialect:
    """Return the dialect of that name. Raises `TranslationError`, naming those that there are.

    >>> get_dialect("wandb").title
    'W&B'
    """
    if isinstance(name, str) and name in DIALECTS:
        return DIALECTS[name]
    issue = Issue("", f"unknown dialect {short_repr(name)}", f"use one of {', '.join(DIALECTS)}")
    raise TranslationError("unknown dialect", [issue])


def get_variants() -> dict[str, Variant]:
    """Return the variants of all dialects by name.

    >>> list(get_variants())[:3]
    ['optuna', 'ray', 'ray optuna']
    """
    return {name: variant for dialect in DIALECTS.values() for name, variant in dialect.variants.items()}
