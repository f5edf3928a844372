"""The nodes of a cluster: what they hold, where a trial's process runs, and whether its node has died."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from hpcompat.errors import BackendError, Fault

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
    if unfit and own:
        faults = [
            Fault(name, f"{amount:g} a trial, and there are {max(node.get(name, 0) for node in nodes):g}")
            for bundle in unfit
            for name, amount in bundle.items()
            if not any(_times({name: amount}, node) for node in nodes)
        ]
        raise BackendError("resources_per_trial is more than this machine has", faults)
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


def node_died(place: Any, error: str) -> bool:
    """Whether an actor that has ended with this error lived on a node that has died.

    `place`: its `whereabouts`, if it got as far. The error itself cannot tell: of a machine that has lost
    its power Ray first says that the actor is unavailable. So a task is sent to the node, which Ray runs,
    or refuses as soon as it knows that the node is gone.
    """
    ray: Any = import_module("ray")
    named = [node["NodeID"] for node in _nodes() if node["NodeID"] in error]
    with suppress(ray.exceptions.RayError):  # it may have ended before it could say
        named += [ray.get(place, timeout=0)] if place else []
    return any(_is_gone(node) for node in named)


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
