"""The cluster that a search runs on: the one that is there, the one at an address, or one of its own."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcompat.backends.temp_dirs import private_directory
from hpcompat.errors import BackendError

_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean what they mean here
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # of no use once their directory is gone
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one is not silent even when told to be
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Cluster:
    """Where a search runs: a private directory that goes with it, and whether the cluster goes too."""

    private: str
    own: bool


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """A cluster to run on, for the time of a search."""
    import ray

    address = address or os.environ.get("RAY_ADDRESS")
    with _quiet(), _environment(), _handlers(), private_directory() as private:
        own, sigterm = not ray.is_initialized(), signal.getsignal(signal.SIGTERM)
        if not own and address not in (None, "auto", "local", ray.get_runtime_context().gcs_address):
            raise BackendError(f"address={address!r}: this process is on another cluster already")
        if own:
            _init(ray, address, private)
            _set(signal.SIGTERM, sigterm)  # Ray's own would end the process before anything is put in order
        try:
            yield Cluster(private, own and address in (None, "local"))
        finally:
            if own:
                ray.shutdown()


def _init(ray: Any, address: str | None, private: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address in (None, "local"):
        _authenticate()
        options |= {"include_dashboard": False, "_temp_dir": os.path.join(private, "ray")}
    try:
        ray.init(address=address or "local", **options)
    except Exception as error:
        raise BackendError(f"Ray cannot be reached at {address or 'local'!r}: {error}") from error


def _authenticate() -> None:
    """Give a cluster of our own a token that no file holds: Ray would write one to the home directory."""
    chosen = os.environ.get("RAY_AUTH_MODE", "token").lower() != "token"
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if not (chosen or given or (Path.home() / ".ray" / "auth_token").exists()):
        # not taken back: Ray itself remembers it as long as the process lives
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _environment() -> Iterator[None]:
    new = [name for name in _ENVIRONMENT if name not in os.environ]
    os.environ.update({name: _ENVIRONMENT[name] for name in new})
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@contextmanager
def _handlers() -> Iterator[None]:
    """Tune takes the first Ctrl-C to end its loop, and would take the first one after the search too."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            _set(number, handler)


def _set(number: int, handler: Any) -> None:
    # None: it is not one of Python's, and cannot be set again
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """What Ray says of a trial, the trial itself says better."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray(\.|$)")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
