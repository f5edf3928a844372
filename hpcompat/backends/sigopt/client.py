"""The way to a SigOpt server: which one, and how often it is asked before it counts as gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from hpcompat.backends.sigopt.lite import CLIENT, client
from hpcompat.errors import BackendError, Issue, MissingBackendError, SearchError

T = TypeVar("T")

URL, TOKEN = "SIGOPT_API_URL", "SIGOPT_API_TOKEN"
PAUSES = (0.5, 2.0, 8.0, 30.0)
"""Seconds before each repetition of a request."""
TIMEOUT = 60.0
"""Seconds that a request may take."""
HASTY = 2
"""How many of the pauses are made before the first trial, when the address may just be wrong."""

TOKEN_HINT = Issue(TOKEN, "expected the API token of a client (team)", "the token of a user's session names none")


def server_connection() -> Any:
    """A `sigopt.Connection` to the server that SIGOPT_API_URL names.

    The token is that of SIGOPT_API_TOKEN, or else of the configuration file of SigOpt's client.
    """
    try:
        connection_to = client().Connection
    except ImportError as error:
        raise MissingBackendError(f"SigOpt's client is not installed ({error}): {CLIENT}") from error
    if not os.environ.get(URL):
        way_out = Issue("", f"set {URL} to the address of yours, or leave out driver='server'")
        raise BackendError("no SigOpt server is named, and api.sigopt.com is no more", [way_out])
    try:
        connection = connection_to()
    except ValueError as error:
        raise BackendError(f"{URL} names a server, but there is no token for it: set {TOKEN}") from error
    connection.set_timeout(TIMEOUT)
    return connection


def ensure_project(connection: Any, project: str) -> None:
    """Make the project of that id, if there is none."""
    owner = steadily(connection.tokens("self").fetch, pauses=PAUSES[:HASTY]).client
    if owner is None:
        raise SearchError("the token is a user's, and a project is of a client", [TOKEN_HINT])
    projects = connection.clients(owner).projects
    try:
        steadily(projects(project).fetch, pauses=PAUSES[:HASTY])
    except SearchError as error:
        if getattr(error.__cause__, "status_code", None) != 404:
            raise
        steadily(lambda: projects().create(id=project, name=project), pauses=PAUSES[:HASTY])


def listed(resource: Any, **query: Any) -> list[Any]:
    """Everything on all the pages that a resource of the server's has."""
    first = _whole(resource.fetch(**query))
    found = list(first.iterate_pages())
    if len(found) < first.count:  # a later page broke off, or something was deleted meanwhile
        raise _broken_off()
    return found


def _whole(answer: T) -> T:
    """The answer. SigOpt's client takes one that breaks off for a success, with that text for its message."""
    told = answer.to_json() if hasattr(answer, "to_json") else None
    if isinstance(told, dict) and told.keys() == {"message"}:
        raise _broken_off()
    return answer


def _said(error: Exception) -> str:
    """What a server says, without the advice on SigOpt's own client."""
    return str(error).partition(" Provide the client ID")[0]


def _broken_off() -> Exception:
    from sigopt.exception import ConnectionException

    error: Exception = ConnectionException("an answer broke off")
    return error


def steadily(
    call: Callable[[], T],
    done: Callable[[], bool] = lambda: False,
    *,
    pauses: Sequence[float] | None = None,
    hints: Iterable[Issue] = (),
) -> T | Any:
    """What `call` returns; it is repeated where the server cannot be reached, or is itself at issue.

    `done`: whether a call without an answer was carried out all the same; then it is not repeated,
    and None is returned. Raises `SearchError`, with `hints`, for what the server refuses, and after
    the last of the pauses.
    """
    from sigopt.exception import ConnectionException, SigOptException

    for attempt, pause in enumerate((*(PAUSES if pauses is None else pauses), None)):
        try:
            return None if attempt and done() else _whole(call())
        except SigOptException as error:
            status = getattr(error, "status_code", 0)
            if status == 403:
                refusal = f"the SigOpt server refuses the token: {_said(error)}"
                raise SearchError(refusal, [TOKEN_HINT, *hints]) from error
            passing = isinstance(error, ConnectionException) or status >= 500 or status == 429
            if not passing:
                raise SearchError(f"the SigOpt server refuses this: {error}", hints) from error
            if pause is None:
                raise SearchError(f"the SigOpt server failed {attempt + 1} times: {error}", hints) from error
            time.sleep(pause)
    raise AssertionError  # the last pause is None
