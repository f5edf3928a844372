"""The Ray cluster of a search, existing or new, and its nodes."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpcompat.backends.isolation import private_directory
from hpcompat.errors import BackendError, Issue


class NodeLost(Exception):
    """A node on which a trial ran has died."""


# Ray takes up to 30 s to notice that a machine is down
_LOSS_TIMEOUT_S = 120.0


def get_cluster_resources() -> dict[str, float]:
    """Return the total resources of all nodes, by name, such as "CPU" and "GPU"."""
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def count_concurrent_trials(bundles: Iterable[Mapping[str, float]], is_own: bool) -> int:
    """Return how many trials the cluster can run at a time, at least one.

    Args:
        bundles: The resources of a trial; each bundle must fit on one node.
        is_own: Whether this search has started the cluster, so that nodes cannot be added.

    Raises:
        BackendError: A trial does not fit, and the cluster is `is_own`.
    """
    bundles = list(bundles)
    nodes: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    unfit = [bundle for bundle in bundles if not any(_count_fits(bundle, node) for node in nodes)]
    if unfit:
        issues = [
            Issue(name, f"{amount:g} a trial, and a node has at most {max(node.get(name, 0) for node in nodes):g}")
            for bundle in unfit
            for name, amount in bundle.items()
            if not any(_count_fits({name: amount}, node) for node in nodes)
        ]
        if is_own:
            raise BackendError("resources_per_trial is more than this machine has", issues)
        message = "no node of the cluster has room for a trial; the search waits for such a node"
        warnings.warn(f"{message}: {'; '.join(map(str, issues))}", stacklevel=2)
    if len(bundles) == 1:  # Ray places several bundles
        return max(1, sum(_count_fits(bundles[0], node) for node in nodes))
    total = {name: sum(bundle.get(name, 0) for bundle in bundles) for bundle in bundles for name in bundle}
    return max(1, _count_fits(total, get_cluster_resources()))


def _count_fits(bundle: Mapping[str, float], resources: Mapping[str, float]) -> int:
    return min(int(resources.get(name, 0) / amount) for name, amount in bundle.items())


def node_id_ref(actor: ActorHandle[object]) -> ObjectRef[str]:
    """Request the id of the node of an actor, for `resolve_node`."""
    ref: ObjectRef[str] = actor.__ray_call__.remote(_node_id)
    return ref


def _node_id(actor: object) -> str:
    return str(ray.get_runtime_context().get_node_id())


def resolve_node(ref: ObjectRef[str] | None) -> list[str]:
    """Return the node id of `node_id_ref` in a list, which is empty if it is not available."""
    with suppress(ray.exceptions.RayError):
        return [ray.get(ref, timeout=0)] if ref else []
    return []


def has_node_died(nodes: Iterable[str], error: str) -> bool:
    """Return whether one of the nodes of a dead actor has died.

    The error of the actor does not say so: after a power loss Ray only reports that the actor is unavailable. So this
    runs a task on each node, which Ray refuses as soon as it knows that the node has died.
    """
    in_error = [node["NodeID"] for node in ray.nodes() if node["NodeID"] in error]  # type: ignore[no-untyped-call]
    return any(_is_dead(node) for node in {*nodes, *in_error})


def death_reason(error: str) -> str:
    """Return Ray's reason for the death of an actor, which is at the end of the error."""
    return (error.strip().splitlines() or ["unknown"])[-1].rpartition("Worker exit detail: ")[2]


def _is_dead(node: str) -> bool:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(_node_id).options(num_cpus=0, max_retries=-1, scheduling_strategy=strategy)
    try:
        ray.get(task.remote(None), timeout=_LOSS_TIMEOUT_S)
    except ray.exceptions.GetTimeoutError:
        return False
    except ray.exceptions.RayError:
        return True
    return False


_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # so that relative paths mean the same as in the driver
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # their directory is removed after the search
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output ignores verbose=0
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Cluster:
    """A cluster: `private` is a temporary directory, `is_own` whether the search has started the cluster."""

    private: str
    is_own: bool


@contextmanager
def connect_cluster(address: str | None) -> Iterator[Cluster]:
    """Connect to a cluster, or start one, within the block."""
    address = address or os.environ.get("RAY_ADDRESS")
    with _silence_logs(), _set_environment(), _restore_handlers(), private_directory() as private:
        is_new, on_sigterm = not ray.is_initialized(), signal.getsignal(signal.SIGTERM)
        if not is_new and address not in (None, "auto", "local", ray.get_runtime_context().gcs_address):
            raise BackendError(f"address={address!r}: this process is on another cluster already")
        if is_new:
            _init(address, private)
            _set_handler(signal.SIGTERM, on_sigterm)  # Ray's handler would exit before the journal is closed
        try:
            yield Cluster(private, is_new and address in (None, "local"))
        finally:
            if is_new:
                ray.shutdown()


def _init(address: str | None, private: str) -> None:
    is_local = address in (None, "local")
    if is_local:
        _authenticate()
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if is_local else None,
            _temp_dir=os.path.join(private, "ray") if is_local else None,
        )
    except Exception as error:
        raise BackendError(f"Ray cannot be reached at {address or 'local'!r}: {error}") from error


def _authenticate() -> None:
    """Set a token for a new cluster in the environment; Ray would write one to the home directory."""
    has_other_mode = os.environ.get("RAY_AUTH_MODE", "token").lower() != "token"
    has_token = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if not (has_other_mode or has_token or (Path.home() / ".ray" / "auth_token").exists()):
        # it is not removed later, because Ray caches it in the process
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _set_environment() -> Iterator[None]:
    new = [name for name in _ENVIRONMENT if name not in os.environ]
    os.environ.update({name: _ENVIRONMENT[name] for name in new})
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@contextmanager
def _restore_handlers() -> Iterator[None]:
    """Restore the signal handlers after the block; Tune leaves its own handler for Ctrl-C."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            _set_handler(number, handler)


def _set_handler(number: int, handler: Callable[[int, FrameType | None], object] | int | None) -> None:
    # None means a handler that was not set by Python and cannot be restored
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


@contextmanager
def _silence_logs() -> Iterator[None]:
    """Silence Ray's log within the block; trials have the messages in their `error`."""
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
