"""What hpcompat knows by name, its own and what other packages register with an entry point."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from hpcompat.errors import HpcompatError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Named(Protocol):
    """Something that is registered by its name."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class Registry(Mapping[str, T], Generic[T]):
    """Things of one type by name, the built-in ones first; each is loaded when it is first asked for.

    Iterating leaves out those of other packages that cannot be loaded, with a warning; asking for one by its name
    raises the error with the cause.

    Args:
        group: Of the entry points.
        registered_type: What an entry point has to name.
        built_in: Functions that return the built-in ones, by name.
        error: What is raised for an entry point that is not valid.
        reserved: Further names that no other package can register.
    """

    def __init__(
        self,
        group: str,
        registered_type: type[T],
        built_in: Mapping[str, Callable[[], T]],
        error: type[HpcompatError],
        reserved: Sequence[str] = (),
    ) -> None:
        self._group = group
        self._type = registered_type
        self._built_in = built_in
        self._error = error
        self._reserved = frozenset((*built_in, *reserved))
        self._noun = group.rpartition(".")[2].removesuffix("s")

    def __getitem__(self, name: str) -> T:
        if name in self._built_in:
            return self._built_in[name]()
        return self._load(name, self._entry_points()[name])

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        for name, points in self._entry_points().items():
            try:
                self._load(name, points)
            except HpcompatError as error:
                warnings.warn(str(error), stacklevel=2)
            else:
                yield name

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self._entry_points()

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _load(self, name: str, points: Sequence[EntryPoint]) -> T:
        """Return what an entry point names. Raises the error of the registry if that is not valid."""
        packages = " and ".join(sorted(_package(point) for point in points))
        where = f"the {self._noun} {name!r}, which {packages} registers,"
        if len(points) > 1:
            raise self._error(f"{where} is there twice: uninstall one")
        try:
            value = points[0].load()
        except Exception as error:
            raise self._error(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(value, self._type):
            raise self._error(f"{where} must be an instance of {self._type.__name__}, got {type(value).__name__}")
        if value.name != name:
            raise self._error(f"{where} must have that name, and is called {value.name!r}")
        return value

    def _entry_points(self) -> dict[str, tuple[EntryPoint, ...]]:
        """Return the entry points by name, those with a reserved name left out."""
        return _find_entry_points(self._group, self._reserved, tuple(sys.path))


@cache  # looking through all that is installed takes milliseconds
def _find_entry_points(
    group: str, reserved: frozenset[str], path: tuple[str, ...]
) -> dict[str, tuple[EntryPoint, ...]]:
    from importlib.metadata import entry_points

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        if point.name in reserved:
            noun = group.rpartition(".")[2].removesuffix("s")
            message = f"{_package(point)} registers a {noun} {point.name!r}, which is reserved"
            warnings.warn(message, stacklevel=2)
        else:
            found[point.name] = (*found.get(point.name, ()), point)
    return found


def _package(point: EntryPoint) -> str:
    return str(point.dist.name) if point.dist else "a package"


def import_attribute(path: str) -> Callable[[], Any]:
    """Return a function that imports what "module:attribute" names.

    >>> import_attribute("hpcompat.translators.wandb:WANDB")().title
    'W&B'
    """

    def load() -> Any:
        module, _, attribute = path.partition(":")
        return getattr(import_module(module), attribute)

    return load
