"""Protocols for the parts of SigOpt's client that are used; the client has no type annotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload

T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """One page of a list of objects, which fetches the next pages."""

    count: int

    def iterate_pages(self) -> Iterator[T_co]: ...


class Collection(Protocol[T_co]):
    """A list of objects at SigOpt."""

    def fetch(self, **query: object) -> Page[T_co]: ...

    def create(self, **body: object) -> T_co: ...


class Resource(Protocol[T_co]):
    """One object at SigOpt."""

    def fetch(self) -> T_co: ...

    def delete(self) -> object: ...


class Endpoint(Protocol[T_co]):
    """Returns a collection, or the resource with an id."""

    @overload
    def __call__(self) -> Collection[T_co]: ...

    @overload
    def __call__(self, id_: str) -> Resource[T_co]: ...


class NativeSuggestion(Protocol):
    """A suggestion, and the part of an observation that is the same."""

    id: str
    assignments: Mapping[str, Any]
    metadata: Mapping[str, str] | None


class MetricValue(Protocol):
    name: str | None
    value: float


class NativeObservation(NativeSuggestion, Protocol):
    failed: bool
    values: Sequence[MetricValue] | None
    created: float | None


class Progress(Protocol):
    observation_count: int


class NativeExperiment(Protocol):
    id: str
    progress: Progress

    def to_json(self) -> dict[str, Any]: ...


class ExperimentResource(Resource[NativeExperiment], Protocol):
    """One experiment at SigOpt."""

    suggestions: Endpoint[NativeSuggestion]
    observations: Endpoint[NativeObservation]


class Token(Protocol):
    client: str | None


class ClientResource(Resource[object], Protocol):
    """A team at SigOpt."""

    projects: Endpoint[object]


class Connection(Protocol):
    """The part of `sigopt.Connection` that is used."""

    impl: object

    @overload
    def experiments(self) -> Collection[NativeExperiment]: ...

    @overload
    def experiments(self, id_: str) -> ExperimentResource: ...

    def tokens(self, id_: str) -> Resource[Token]: ...

    def clients(self, id_: str) -> ClientResource: ...

    def set_timeout(self, timeout: float) -> None: ...


class RequestDriver(Protocol):
    """Executes the requests of a connection: a `sigoptlite.LocalDriver`, or the HTTP driver of a server."""

    def request(self, method: str, path: list[str], data: object, headers: object) -> object: ...
