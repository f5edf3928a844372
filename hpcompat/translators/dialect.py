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
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.values import short_repr
from hpcompat.translators.capabilities import SHAPES, Capabilities, Rule, always, encoded
from hpcompat.translators.fields import FieldMapping
from hpcompat.translators.names import ANY_NAME, NamePolicy
from hpcompat.translators.settings import SearchSettings

NO_CONDITIONS = encoded("", "it has no conditions")
ENTRY_POINTS = "hpcompat.dialects"
BUILT_IN = {
    "optuna": "hpcompat.translators.optuna:OPTUNA",
    "ray": "hpcompat.translators.ray:RAY",
    "sigopt": "hpcompat.translators.sigopt:SIGOPT",
    "wandb": "hpcompat.translators.wandb:WANDB",
}
RESERVED = (*BUILT_IN, "json", "python")
"""Names that no other package can register: `hpcompat convert` writes JSON and Python, too."""


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

    def __init_subclass__(cls) -> None:
        for name, variant in getattr(cls, "variants", {}).items():
            missing = [shape for shape in SHAPES if not variant.capabilities.get(shape)]
            if missing:
                raise TypeError(f"{name}: the capability table lacks {', '.join(map(repr, missing))}")
            partial = [shape for shape in SHAPES if variant.capabilities[shape][-1].applies is not always]
            if partial:
                listed = ", ".join(map(repr, partial))
                raise TypeError(f"{name}: the last rule has to apply to all parameters, and does not for {listed}")

    def parse_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options of `translate`, defaults filled in. Raises `TranslationError` for invalid ones."""
        if options:
            issue = Issue("", f"{self.title} has no option {', '.join(map(repr, options))}", "leave it out")
            raise TranslationError("unknown option", [issue])
        return options

    def variant(self, options: Mapping[str, Any]) -> Variant:
        """Return the variant that parsed options choose."""
        return next(iter(self.variants.values()))

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
    """The dialects by name, the built-in ones first; each is loaded when it is first asked for.

    Iterating leaves out those of other packages that cannot be loaded, with a warning; asking for one by its name
    raises `TranslationError` with the cause.
    """

    def __getitem__(self, name: str) -> Dialect:
        if name in BUILT_IN:
            module, _, attribute = BUILT_IN[name].partition(":")
            dialect: Dialect = getattr(import_module(module), attribute)
            return dialect
        return _load(name, _entry_points()[name])

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        for name, points in _entry_points().items():
            try:
                _load(name, points)
            except TranslationError as error:
                warnings.warn(str(error), stacklevel=2)
            else:
                yield name

    def __contains__(self, name: object) -> bool:
        return name in BUILT_IN or name in _entry_points()

    def __len__(self) -> int:
        return len(list(iter(self)))


def _load(name: str, points: Sequence[Any]) -> Dialect:
    """Return the dialect of an entry point. Raises `TranslationError` for one that is not valid."""
    where = f"the dialect {name!r}, which {' and '.join(sorted(_package(point) for point in points))} registers,"
    if len(points) > 1:
        raise TranslationError(f"{where} is there twice: uninstall one")
    try:
        dialect = points[0].load()
    except Exception as error:
        raise TranslationError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(dialect, Dialect):
        raise TranslationError(f"{where} must be an instance of Dialect, got {short_repr(dialect)}")
    if dialect.name != name:
        raise TranslationError(f"{where} must have that name, and is called {dialect.name!r}")
    return dialect


def _package(point: Any) -> str:
    return str(point.dist.name) if point.dist else "a package"


def _entry_points() -> dict[str, tuple[Any, ...]]:
    return _entry_points_on(tuple(sys.path))


@cache  # looking through all that is installed takes milliseconds
def _entry_points_on(path: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    """Return the entry points by name, those with the name of a built-in dialect left out."""
    from importlib.metadata import entry_points

    found: dict[str, tuple[Any, ...]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in RESERVED:
            warnings.warn(f"{_package(point)} registers a dialect {point.name!r}, which is reserved", stacklevel=2)
        else:
            found[point.name] = (*found.get(point.name, ()), point)
    return found


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
