"""The nodes of a cluster: what they hold, where a trial's process runs, and whether its node has died."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from hpcompat.errors import BackendError, Issue


class NodeLost(Exception):
    """A node on which a trial ran has died."""


# Ray takes up to 30 s to notice that a machine has gone
_PATIENCE_S = 120.0


def resources_of_cluster() -> dict[str, float]:
    """What the nodes have between them: "CPU", "GPU", and whatever they were given by name."""
    ray: Any = import_module("ray")
    return dict(ray.cluster_resources())


def capacity(bundles: Iterable[Mapping[str, float]], own: bool) -> int:
    """How many trials, each with these bundles of resources, the cluster can run at a time, as it is now.

    Raises `BackendError` if not even one fits, and no node could be added: the cluster is our `own`.
    """
    bundles = list(bundles)
    nodes: list[dict[str, float]] = [node["Resources"] for node in _nodes() if node["Alive"]]
    unfit = [bundle for bundle in bundles if not any(_times(bundle, node) for node in nodes)]
    if unfit:
        issues = [
            Issue(name, f"{amount:g} a trial, and there are {max(node.get(name, 0) for node in nodes):g}")
            for bundle in unfit
            for name, amount in bundle.items()
            if not any(_times({name: amount}, node) for node in nodes)
        ]
        if own:
            raise BackendError("resources_per_trial is more than this machine has", issues)
        waiting = "no node of the cluster has room for a trial, and the search waits for one that has"
        warnings.warn(f"{waiting}: {'; '.join(map(str, issues))}", stacklevel=2)
    if len(bundles) == 1:  # a bundle lies on one node; how several lie is for Ray to say
        return max(1, sum(_times(bundles[0], node) for node in nodes))
    needed = {name: sum(bundle.get(name, 0) for bundle in bundles) for bundle in bundles for name in bundle}
    return max(1, _times(needed, resources_of_cluster()))


def _times(bundle: Mapping[str, float], there: Mapping[str, float]) -> int:
    return min(int(there.get(name, 0) / amount) for name, amount in bundle.items())


def _nodes() -> list[dict[str, Any]]:
    ray: Any = import_module("ray")
    return list(ray.nodes())


def whereabouts(actor: Any) -> Any:
    """A reference to the id of the node that an actor lives on; to be asked for before it works."""
    return actor.__ray_call__.remote(_here)


def _here(actor: Any) -> str:
    ray: Any = import_module("ray")
    return str(ray.get_runtime_context().get_node_id())


def known(place: Any) -> list[str]:
    """The node of `whereabouts`, if the actor has come so far as to say."""
    ray: Any = import_module("ray")
    with suppress(ray.exceptions.RayError):
        return [ray.get(place, timeout=0)] if place else []
    return []


def node_died(nodes: Iterable[str], error: str) -> bool:
    """Whether an actor that lived on one of these nodes, and has ended with this error, has lost its node.

    The error itself cannot tell: of a machine that has lost its power Ray first says that the actor is
    unavailable. So a task is sent to the node, which Ray runs, or refuses as soon as it knows that the node
    is gone.
    """
    named = [node["NodeID"] for node in _nodes() if node["NodeID"] in error]
    return any(_is_gone(node) for node in {*nodes, *named})


def explained(error: str) -> str:
    """Ray's explanation of the death of an actor: the end of its message."""
    return (error.strip().splitlines() or ["unknown"])[-1].rpartition("Worker exit detail: ")[2]


def _is_gone(node: str) -> bool:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray: Any = import_module("ray")
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(num_cpus=0, max_retries=-1, scheduling_strategy=there)(_here)
    try:
        ray.get(task.remote(None), timeout=_PATIENCE_S)
    except ray.exceptions.GetTimeoutError:
        return False
    except ray.exceptions.RayError:
        return True
    return False
