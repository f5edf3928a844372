"""What a dialect is: one system's way to describe a search space, its names and its settings; and all dialects.

A dialect is a module, or a folder of them. It says which parameters its system can express (its capability table),
writes a space as the system's own data and reads that back. A line in `BUILT_IN` registers it; a package of its own
registers one with an entry point:

    [project.entry-points."hpcompat.dialects"]
    katib = "hpcompat_katib:KATIB"

Everything else reads `DIALECTS`: `translate`, `as_space`, the command line, the Hypothesis strategies, the
completeness page and the conformance tests.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hpcompat.errors import Issue, TranslationError
from hpcompat.registry import Registry, import_attribute
from hpcompat.space import SearchSpace
from hpcompat.space.values import short_repr
from hpcompat.translators.capabilities import SHAPES, Capabilities, Rule, always, encoded
from hpcompat.translators.codecs import FieldMapping

_ENDLESS = float("inf")


@dataclass(frozen=True)
class NamePolicy:
    """The names that a system takes for a parameter, and an escape for others under which names stay distinct."""

    pattern: re.Pattern[str]
    reserved: frozenset[str] = frozenset()
    max_length: float = _ENDLESS

    def accepts_all(self, names: Sequence[str]) -> bool:
        """Return whether all names are identifiers that the system takes.

        >>> names = NamePolicy(re.compile("[a-z_0-9]*"))
        >>> names.accepts_all(["lr", "depth"]), names.accepts_all(["lr", "top/k"])
        (True, False)
        """
        return (
            all(map(str.isidentifier, names))
            and "".join(names).isascii()
            and "_x" not in " ".join(names)
            and (not self.reserved or self.reserved.isdisjoint(names))
            and (self.max_length == _ENDLESS or max(map(len, names), default=0) <= self.max_length)
        )

    def escape(self, name: str) -> str:
        """Return the name where the system takes it, else an escaped one.

        >>> names = NamePolicy(re.compile("[a-z_0-9]*"))
        >>> names.escape("lr"), names.escape("top/k")
        ('lr', 'top_x2f_k')
        """
        if self.pattern.fullmatch(name) and not _ESCAPE.search(name) and name not in self.reserved:
            return name if len(name) <= self.max_length else self._hash_suffix(name)
        letters = (
            letter
            if self.pattern.fullmatch(f"a{letter}a") and not (name in self.reserved or _ESCAPE.match(name, place))
            else f"_x{ord(letter):x}_"
            for place, letter in enumerate(name)
        )
        escaped = "".join(letters)
        if not self.pattern.fullmatch(escaped):  # a letter that is legal, but not at an end
            escaped = "".join(f"_x{ord(letter):x}_" for letter in name)
        return escaped if len(escaped) <= self.max_length else self._hash_suffix(escaped)

    def _hash_suffix(self, name: str) -> str:
        from hashlib import blake2s

        return f"{name[: int(self.max_length) - 18].rstrip()}_x{blake2s(name.encode(), digest_size=7).hexdigest()}_"


_ESCAPE = re.compile(r"_x[0-9a-f]+_")
ANY_NAME = NamePolicy(re.compile(r".*", re.DOTALL))


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
    pruner: Mapping[str, object] | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    terms: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, object] = field(default_factory=dict)


class Reader:
    """Reads values by name, and collects what is wrong with them."""

    def __init__(self, found: Mapping[str, object]) -> None:
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

    def finish(self, what: str) -> dict[str, object]:
        """Return what was not taken. Raises `TranslationError` for all that did not fit."""
        if self.issues:
            raise TranslationError(f"these settings of the {what} cannot be read", self.issues)
        return self.left


def is_count(value: object) -> bool:
    """Return whether a value is an int of at least 1.

    >>> is_count(3), is_count(True), is_count(0), is_count("3")
    (True, False, False, False)
    """
    return type(value) is int and value >= 1


def brief(unused: Mapping[str, object]) -> Iterator[str]:
    """Yield the names of settings, with their values where those are short.

    >>> list(brief({"method": "bayes", "metric": {"goal": "minimize", "name": "loss"}, "command": ["python"]}))
    ['method (bayes)', 'metric (minimize loss)', 'command']
    """
    for name, value in unused.items():
        if name == "metric" and isinstance(value, Mapping):
            value = " ".join(str(value[key]) for key in ("goal", "name") if key in value)
        short = isinstance(value, (str, int, float)) and len(str(value)) <= 40
        yield f"{name} ({value})" if short else str(name)


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
        conditions: How a condition is represented that the dialect does not write natively.
    """

    name: str
    title: str
    capabilities: Capabilities
    options: Mapping[str, object] = field(default_factory=dict)
    conditions: Rule = NO_CONDITIONS


@dataclass(frozen=True)
class NativeConditions:
    """The conditions of a space that a dialect writes natively.

    Attributes:
        children: The names of the parameters that the system itself leaves out where they are not active.
        parents: The rules of parameters that are represented in another way than the table's because they are parents.
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

    def parse_options(self, options: Mapping[str, object]) -> Mapping[str, object]:
        """Return the options of `translate`, defaults filled in. Raises `TranslationError` for invalid ones."""
        if options:
            issue = Issue("", f"{self.title} has no option {', '.join(map(repr, options))}", "leave it out")
            raise TranslationError("unknown option", [issue])
        return options

    def variant(self, options: Mapping[str, object]) -> Variant:
        """Return the variant that parsed options choose."""
        return next(iter(self.variants.values()))

    def native_conditions(self, space: SearchSpace) -> NativeConditions:
        """Return the conditions of the space that are written natively."""
        return NativeConditions()

    @abstractmethod
    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, object]) -> Any:
        """Return the spec: JSON data that describes the fields to the system."""

    @abstractmethod
    def accepts(self, source: object) -> bool:
        """Return whether this is a search space of the system, judged by structure and types."""

    @abstractmethod
    def read(self, source: object) -> SearchSpace:
        """Return the space of what the dialect accepts, a spec included. Raises `TranslationError`."""

    def extra_settings(self, source: object) -> dict[str, Any] | None:
        """Return what stands beside the parameters in an object of the system, by key; None for anything else."""
        return None

    def read_settings(self, source: object) -> SearchSettings:
        """Return what the system's own object says of a search besides its space. Raises `TranslationError`."""
        return SearchSettings()


DIALECTS: Mapping[str, Dialect] = Registry(
    ENTRY_POINTS,
    Dialect,  # type: ignore[type-abstract]
    {name: import_attribute(path) for name, path in BUILT_IN.items()},
    TranslationError,
    RESERVED,
)
"""The dialects by name, the built-in ones first; each is loaded when it is first asked for."""


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
