"""SigOpt Lite: SigOpt's own optimiser inside this process, behind a `Connection` that needs no server.

sigoptlite and libsigopt as released lean on numpy below 1.23 and on qmcpy. The two things they miss
elsewhere are put into the modules that use them, and nowhere else: numpy's `product`, and the two
quasi-random sequences, over `scipy.stats.qmc`. Both packages draw from numpy's global generator: a
connection brings one of its own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any

from hpcompat.backends.generators import Generators, LentDistribution, lent_numpy
from hpcompat.errors import MissingBackendError

CLIENT = "pip install 'hpcompat[sigopt]'"
INSTALL = f"{CLIENT} && pip install --no-deps sigoptlite==0.1.2 libsigopt==1.0.0"
_PACKAGES = ("sigoptlite.", "libsigopt.")
_PRODUCT_USERS = ("sigoptlite.validators", "libsigopt.compute.probabilistic_failures")
_SEQUENCES, _PRIORS = "libsigopt.aux.samplers", "libsigopt.compute.domain"
_FIRST = threading.RLock()
"""Held while something is imported that needs the process to be other than it is."""


def lite_connection(seed: int | None = None, driver: Any = None) -> Any:
    """A `sigopt.Connection` to an optimiser of its own, which holds one experiment.

    `seed`: its suggestions then depend on it and on the calls made alone, for two metrics too.
    `driver`: the `sigoptlite.LocalDriver` to use instead of a new one. Raises `MissingBackendError`
    without sigopt, sigoptlite and libsigopt.

    >>> connection = lite_connection(seed=0)
    >>> lr = {"name": "lr", "type": "double", "bounds": {"min": 1e-6, "max": 1e-4}, "transformation": "log"}
    >>> experiment = connection.experiments().create(
    ...     name="demo", parameters=[lr], metrics=[{"name": "loss", "objective": "minimize"}], observation_budget=20
    ... )
    >>> connection.experiments(experiment.id).suggestions().create().assignments["lr"]
    1.2...e-05
    """
    try:
        connection_to = client().Connection
        with _FIRST:
            local_driver = _furnished()
            import_module("sigoptlite")  # it may have been blocked since
    except ImportError as error:
        raise MissingBackendError(f"SigOpt Lite is not installed ({error}): {INSTALL}") from error
    return connection_to(driver=lambda: _OwnGenerator(driver or local_driver(), seed))


def lite_driver(connection: Any) -> Any:
    """The `sigoptlite.LocalDriver` behind a connection; None where there is a server behind it."""
    driver = getattr(connection.impl, "driver", None)
    if isinstance(driver, _OwnGenerator):
        return driver.driver
    return driver if type(driver).__module__.startswith("sigoptlite.") else None


class _OwnGenerator:
    """A driver of SigOpt's client whose calls draw from a generator of their own."""

    def __init__(self, driver: Any, seed: int | None) -> None:
        from numpy.random import RandomState

        self.driver = driver
        self._generators = Generators(seed)
        self._generators.numpy = RandomState(None if seed is None else seed % 2**32)

    def request(self, method: str, path: list[str], data: Any, headers: Any) -> Any:
        with self._generators.at_work():
            return self.driver.request(method, path, data, headers)


def client() -> ModuleType:
    """SigOpt's client. By itself it cannot be imported where SIGOPT_PROJECT, or else the name of the
    working directory, is no project id.
    """
    with _FIRST:
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
def _furnished() -> Any:
    """Import SigOpt Lite, supply what its modules miss, and return its `LocalDriver`."""
    import numpy

    sequences = ModuleType("qmcpy", "The two sequences of qmcpy that libsigopt uses.")
    vars(sequences).update(Halton=partial(_Sequence, "Halton"), Sobol=partial(_Sequence, "Sobol"))
    with _importable(sequences):
        samplers = import_module(_SEQUENCES)
    vars(samplers)["qmcpy"] = sequences  # over an installed qmcpy too, which cannot be seeded from outside
    complete = ModuleType("numpy", "numpy, with the name that numpy 2 dropped.")
    vars(complete).update({**vars(lent_numpy()), "product": numpy.prod, "__getattr__": partial(getattr, numpy)})
    from sigoptlite import LocalDriver

    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGES) and vars(module).get("numpy") is numpy:
            vars(module)["numpy"] = complete if name in _PRODUCT_USERS else lent_numpy()
    for name in ("truncnorm", "beta"):
        vars(import_module(_PRIORS))[name] = LentDistribution(vars(import_module(_PRIORS))[name])
    return LocalDriver


@contextmanager
def _importable(module: ModuleType) -> Iterator[None]:
    absent = object()
    before: Mapping[str, Any] = {module.__name__: sys.modules.get(module.__name__, absent)}
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]
        sys.modules.update({name: found for name, found in before.items() if found is not absent})


class _Sequence:
    """A randomised low-discrepancy sequence, called as qmcpy's are."""

    def __init__(self, name: str, dimension: int, *, seed: int | None = None, **_: Any) -> None:
        from scipy.stats import qmc

        seed = int(lent_numpy().random.randint(2**31)) if seed is None else seed
        self._engine = getattr(qmc, name)(dimension, scramble=True, seed=seed)

    def gen_samples(self, *, n_min: int, n_max: int) -> Any:
        return self._engine.fast_forward(n_min or 0).random(n_max - n_min)
