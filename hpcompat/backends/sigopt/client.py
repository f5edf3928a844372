"""Connections of SigOpt's client: to SigOpt Lite in this process, and to a server.

The released sigoptlite and libsigopt need qmcpy, and numpy below 1.23. To run without these, their modules are patched:
with numpy's `product`, and with two quasi-random sequences from `scipy.stats.qmc`. Both packages draw from numpy's
global generator; a connection here has its own generator.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from hpcompat.backends.base import retry
from hpcompat.backends.isolation import Generators, SeededDistribution, get_numpy_proxy
from hpcompat.backends.sigopt.types import Collection, Connection, RequestDriver
from hpcompat.errors import BackendError, Issue, MissingBackendError, SearchError

CLIENT_INSTALL = "pip install 'hpcompat[sigopt]'"
INSTALL = f"{CLIENT_INSTALL} && pip install --no-deps sigoptlite==0.1.2 libsigopt==1.0.0"
_PACKAGES = ("sigoptlite.", "libsigopt.")
_MODULES_USING_PRODUCT = ("sigoptlite.validators", "libsigopt.compute.probabilistic_failures")
_SAMPLERS_MODULE, _DOMAIN_MODULE = "libsigopt.aux.samplers", "libsigopt.compute.domain"
_IMPORT_LOCK = threading.RLock()
"""Held during imports that need a changed environment or changed modules."""


T = TypeVar("T")


def lite_connection(seed: int | None = None, driver: RequestDriver | None = None) -> Connection:
    """Return a `sigopt.Connection` to a new SigOpt Lite optimizer, which holds one experiment.

    Args:
        seed: The seed of its generator; it makes the suggestions reproducible.
        driver: The `sigoptlite.LocalDriver` to use; by default a new one.

    Raises:
        MissingBackendError: sigopt, sigoptlite or libsigopt is not installed.

    >>> connection = lite_connection(seed=0)
    >>> lr = {"name": "lr", "type": "double", "bounds": {"min": 1e-6, "max": 1e-4}, "transformation": "log"}
    >>> experiment = connection.experiments().create(
    ...     name="demo", parameters=[lr], metrics=[{"name": "loss", "objective": "minimize"}], observation_budget=20
    ... )
    >>> connection.experiments(experiment.id).suggestions().create().assignments["lr"]
    1.2...e-05
    """
    try:
        connection_type = import_client().Connection
        with _IMPORT_LOCK:
            local_driver = _patch_dependencies()
            import_module("sigoptlite")  # the import may be blocked meanwhile
    except ImportError as error:
        raise MissingBackendError(f"SigOpt Lite is not installed ({error}): {INSTALL}") from error
    connection: Connection = connection_type(driver=lambda: _SeededDriver(driver or local_driver(), seed))
    return connection


def lite_driver(connection: Connection) -> RequestDriver | None:
    """Return the `sigoptlite.LocalDriver` of a connection; None for a connection to a server."""
    driver: RequestDriver | None = getattr(connection.impl, "driver", None)
    if isinstance(driver, _SeededDriver):
        return driver.driver
    return driver if type(driver).__module__.startswith("sigoptlite.") else None


class _SeededDriver:
    """A driver of SigOpt's client that draws from its own generator."""

    def __init__(self, driver: RequestDriver, seed: int | None) -> None:
        from numpy.random import RandomState

        self.driver = driver
        self._generators = Generators(seed)
        self._generators.numpy = RandomState(None if seed is None else seed % 2**32)

    def request(self, method: str, path: list[str], data: object, headers: object) -> object:
        with self._generators.activate():
            return self.driver.request(method, path, data, headers)


def import_client() -> ModuleType:
    """Import SigOpt's client.

    The import raises ValueError if SIGOPT_PROJECT, or else the name of the working directory, is not a valid project
    id; then it is repeated with a valid id.
    """
    with _IMPORT_LOCK:
        try:
            return import_module("sigopt")
        except ValueError:
            project = os.environ.get("SIGOPT_PROJECT")
            os.environ["SIGOPT_PROJECT"] = "hpcompat"
            try:
                return import_module("sigopt")
            finally:
                del os.environ["SIGOPT_PROJECT"]
                os.environ |= {"SIGOPT_PROJECT": project} if project is not None else {}


@cache
def _patch_dependencies() -> Callable[[], RequestDriver]:
    """Import SigOpt Lite, patch its modules, and return its `LocalDriver`."""
    import numpy

    sequences = ModuleType("qmcpy", "The two sequences of qmcpy that libsigopt uses.")
    vars(sequences).update(Halton=partial(_QmcSequence, "Halton"), Sobol=partial(_QmcSequence, "Sobol"))
    with _temporary_module(sequences):
        samplers = import_module(_SAMPLERS_MODULE)
    vars(samplers)["qmcpy"] = sequences  # even if qmcpy is installed, because it cannot be seeded from outside
    numpy_with_product = ModuleType("numpy", "numpy, with the name that numpy 2 dropped.")
    vars(numpy_with_product).update(
        {**vars(get_numpy_proxy()), "product": numpy.prod, "__getattr__": partial(getattr, numpy)}
    )
    from sigoptlite import LocalDriver

    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGES) and vars(module).get("numpy") is numpy:
            vars(module)["numpy"] = numpy_with_product if name in _MODULES_USING_PRODUCT else get_numpy_proxy()
    priors = vars(import_module(_DOMAIN_MODULE))
    priors.update({name: SeededDistribution(priors[name]) for name in ("truncnorm", "beta")})
    local_driver: Callable[[], RequestDriver] = LocalDriver
    return local_driver


@contextmanager
def _temporary_module(module: ModuleType) -> Iterator[None]:
    """Let `import` find the module within the block, in place of an installed one."""
    name = module.__name__
    before = {name: sys.modules[name]} if name in sys.modules else {}
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
        sys.modules.update(before)


class _QmcSequence:
    """A randomized low-discrepancy sequence with the interface of qmcpy."""

    def __init__(self, name: str, dimension: int, *, seed: int | None = None, **options: object) -> None:
        from scipy.stats import qmc

        seed = int(get_numpy_proxy().random.randint(2**31)) if seed is None else seed
        self._engine = getattr(qmc, name)(dimension, scramble=True, seed=seed)

    def gen_samples(self, *, n_min: int, n_max: int) -> object:
        return self._engine.fast_forward(n_min or 0).random(n_max - n_min)


URL, TOKEN = "SIGOPT_API_URL", "SIGOPT_API_TOKEN"
RETRY_DELAYS_S = (0.5, 2.0, 8.0, 30.0)
"""The seconds before each further attempt of a request."""
STARTUP_DELAYS_S = RETRY_DELAYS_S[:2]
"""The same before the first trial; they are fewer, because the address may be wrong."""
TIMEOUT_S = 60.0
"""The timeout of one request."""

TOKEN_HINT = Issue(
    TOKEN, "expected the API token of a client (team)", "the token of a user session does not name a client"
)


def server_connection() -> Connection:
    """Return a `sigopt.Connection` to the server that SIGOPT_API_URL names.

    The token is SIGOPT_API_TOKEN, or else that in the configuration file of SigOpt's client.
    """
    try:
        connection_type = import_client().Connection
    except ImportError as error:
        raise MissingBackendError(f"SigOpt's client is not installed ({error}): {CLIENT_INSTALL}") from error
    if not os.environ.get(URL):
        hint = Issue("", f"set {URL} to the address of yours, or leave out driver='server'")
        raise BackendError("no SigOpt server is named, and api.sigopt.com has been shut down", [hint])
    try:
        connection: Connection = connection_type()
    except ValueError as error:
        raise BackendError(f"{URL} names a server without a token: set {TOKEN}") from error
    connection.set_timeout(TIMEOUT_S)
    return connection


def is_not_found(error: SearchError) -> bool:
    """Return whether the server has answered with status 404 (not found)."""
    return getattr(error.__cause__, "status_code", None) == 404


def fetch_all(collection: Collection[T], **query: object) -> list[T]:
    """Return the objects on all pages of a collection."""
    first = _require_complete(collection.fetch(**query))
    items = list(first.iterate_pages())
    if len(items) < first.count:  # a later page was truncated, or an object was deleted meanwhile
        raise _truncated_error()
    return items


def _require_complete(answer: T) -> T:
    """Return the answer; raise if it is truncated, which SigOpt's client turns into an object with only a message."""
    document = answer.to_json() if hasattr(answer, "to_json") else None
    if isinstance(document, dict) and document.keys() == {"message"}:
        raise _truncated_error()
    return answer


def _format_message(error: Exception) -> str:
    """Return the message of the server without its advice about SigOpt's own client."""
    return str(error).partition(" Provide the client ID")[0]


def _truncated_error() -> Exception:
    from sigopt.exception import ConnectionException

    error: Exception = ConnectionException("an answer broke off")
    return error


def send(
    call: Callable[[], T],
    find_result: Callable[[], T | None] = lambda: None,
    *,
    delays: Sequence[float] | None = None,
    hints: Iterable[Issue] = (),
) -> T:
    """Return the result of a request, which is repeated if the server cannot be reached or has failed.

    Args:
        call: Sends the request.
        find_result: Returns the result if an earlier attempt was executed although its answer was lost, else None.
        delays: The seconds before each further attempt.
        hints: Advice for the error.

    Raises:
        SearchError: The server refuses the request, or the last attempt has failed.
    """
    from sigopt.exception import SigOptException

    delays = RETRY_DELAYS_S if delays is None else delays
    n_attempts = 0

    def attempt() -> T:
        nonlocal n_attempts
        n_attempts += 1
        if n_attempts > 1 and (result := find_result()) is not None:
            return result
        return _require_complete(call())

    try:
        return retry(attempt, delays, _is_transient)
    except SigOptException as error:
        if getattr(error, "status_code", 0) == 403:
            message, issues = f"the SigOpt server refuses the token: {_format_message(error)}", [TOKEN_HINT, *hints]
        elif _is_transient(error):
            message, issues = f"the SigOpt server failed {n_attempts} times: {error}", [*hints]
        else:
            message, issues = f"the SigOpt server refuses this: {error}", [*hints]
        raise SearchError(message, issues) from error


def _is_transient(error: Exception) -> bool:
    from sigopt.exception import ConnectionException, SigOptException

    status = getattr(error, "status_code", 0)
    is_server_fault = isinstance(error, SigOptException) and (status >= 500 or status == 429)
    return isinstance(error, ConnectionException) or is_server_fault
