"""The registry of backends.

A `Backend` validates a call, opens its `Engine`, and passes it to `run_loop`. Another package registers a `BackendSpec`
as an entry point of the group `hpcompat.backends`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from hpcompat.backends.base import drop_unset
from hpcompat.compat import require_versions
from hpcompat.errors import BackendError, MissingBackendError, expected_one_of
from hpcompat.registry import Registry

if TYPE_CHECKING:
    from hpcompat.backends.base import Backend

ENTRY_POINTS = "hpcompat.backends"


@dataclass(frozen=True)
class BackendSpec:
    """The name, the requirements and the capabilities of a backend, which are known without importing it.

    Attributes:
        name: The value of the argument `backend` of `search`.
        package: The package that has to be installed.
        module: The module whose BACKEND is the `Backend`.
        samplers: The names of the supported samplers.
        pruners: The names of the supported pruners.
        store_options: The options that name a store of trials, such as a database or a sweep.
        max_objectives: The maximum number of objectives.
        aliases: Other names of the samplers.
    """

    name: str
    package: str
    module: str
    samplers: tuple[str, ...]
    pruners: tuple[str, ...] = ()
    store_options: tuple[str, ...] = ()
    max_objectives: float = float("inf")
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def pip(self) -> str:
        """The command that installs the backend."""
        return f"pip install 'hpcompat[{self.name}]'"

    def is_persistent(self, options: Mapping[str, object]) -> bool:
        """Return whether the options name a store of trials, which outlives the search."""
        return any(name in drop_unset(options) for name in self.store_options)

    def load(self) -> Backend:
        """Return the backend. Raises `MissingBackendError` if its package is not installed, or too old."""
        if not _is_installed(self.package):
            raise MissingBackendError(f"the {self.name} backend is not installed (no {self.package}): {self.pip}")
        require_versions(self.name)
        backend: Backend = import_module(self.module).BACKEND
        return backend

    def stored_directions(self, options: Mapping[str, object], metrics: Sequence[str] = ()) -> tuple[str, ...] | None:
        """Return `Backend.stored_directions` if the options name a store, else None."""
        return self.load().stored_directions(options, metrics) if self.is_persistent(options) else None


_SAMPLERS = ("bayes", "random", "grid")
_PRUNERS = ("median", "hyperband", "asha")
_TPE = {"tpe": "bayes"}  # "bayes" uses the TPE sampler
_BUILT_IN = (
    BackendSpec("optuna", "optuna", f"{__name__}.optuna", _SAMPLERS, _PRUNERS, ("study", "storage"), aliases=_TPE),
    BackendSpec("ray", "ray.tune", f"{__name__}.ray", _SAMPLERS, _PRUNERS, aliases=_TPE),
    BackendSpec("sigopt", "sigopt", f"{__name__}.sigopt", _SAMPLERS, (), ("experiment_id",), max_objectives=2),
    BackendSpec("wandb", "wandb", f"{__name__}.wandb", _SAMPLERS, ("hyperband",), ("sweep_id",)),
)


def _get(spec: BackendSpec) -> BackendSpec:
    return spec


BACKENDS: Mapping[str, BackendSpec] = Registry(
    ENTRY_POINTS, BackendSpec, {spec.name: partial(_get, spec) for spec in _BUILT_IN}, BackendError
)
"""The backends by name, the built-in ones first."""


def _is_installed(package: str) -> bool:
    # without importing it: SigOpt's client cannot be imported in every directory
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # the parent package is not installed, or its import is blocked
        return False


def get_backend(name: str) -> BackendSpec:
    """Return the backend of that name. Raises `BackendError` for an unknown one.

    >>> get_backend("optuna").pip
    "pip install 'hpcompat[optuna]'"
    """
    if isinstance(name, str) and name in BACKENDS:
        return BACKENDS[name]
    raise BackendError(f"unknown backend {name!r}; {expected_one_of(name, BACKENDS)}")
