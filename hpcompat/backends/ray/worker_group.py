"""The workers of a trial together: actors in its own placement group, so that all of them run, or none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hpcompat.backends.ray.nodes import NodeLost, explained, node_died
from hpcompat.backends.ray.worker import Ended, Place, Worker, environments
from hpcompat.backends.ray.worker_context import Errand
from hpcompat.trials.config import Suggestion
from hpcompat.trials.trial import Trial


@dataclass
class Group:
    """The workers of the trials of one process, one trial after the other; made anew once they have fallen apart.

    `made`: to be told of the run directories.
    """

    errand: Errand
    shipment: Any
    made: dict[str, str]
    workers: list[Any] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    def evaluate(self, suggestion: Suggestion) -> Trial:
        """A trial, on all workers.

        Raises `NodeLost` if the node of one has died, `RuntimeError` if one has died by itself, and what
        the trial raises.
        """
        whole = False
        try:
            with self._watched():
                if not self.workers:
                    self._start()
                ended = self._led(suggestion)
            whole = ended.whole
        finally:
            if not whole:
                self._dissolve()
        if isinstance(ended.outcome, BaseException):
            raise ended.outcome
        return ended.outcome

    def _led(self, suggestion: Suggestion) -> Ended:
        import ray

        task = (suggestion.number, suggestion.params)
        lead, *others = self.workers
        follow = [worker.follow.remote(*task) for worker in others]
        lead.lead.remote(*task)
        while True:
            said = self._heard(lead.next.remote(), follow)
            self.made.update({path: os.path.dirname(path) for path in said.made if path not in self.made})
            if isinstance(said, Ended):
                break
            suggestion.notes.update(said.notes)
            suggestion.report(said.value, said.step)
            lead.answer.remote(suggestion.should_prune())
        if said.whole:
            ray.wait(follow, num_returns=len(follow))
        return said

    def _heard(self, said: Any, follow: list[Any]) -> Any:
        """What rank 0 says next, as long as no worker dies."""
        import ray

        watched = [said, *follow]
        while said in watched:
            ready, watched = ray.wait(watched)
            for each in ready:
                try:
                    ray.get(each)
                except ray.exceptions.RayTaskError:  # a rank that is out of step: rank 0 will say so
                    continue
        return ray.get(said)

    def _start(self) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group: Any = ray.util.get_current_placement_group()
        for index, bundle in enumerate(group.bundle_specs):
            resources = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
            options = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "resources": resources}
            strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
            self.workers.append(ray.remote(Worker).options(scheduling_strategy=strategy, **options).remote())
        self.places = ray.get([worker.place.remote() for worker in self.workers])
        address = ray.get(self.workers[0].meeting.remote())
        shipment = ray.put(self.shipment)
        plan = zip(self.workers, environments(self.places, address), strict=True)
        issues = ray.get([worker.join.remote(environment, self.errand, shipment) for worker, environment in plan])
        for issue in issues:
            if issue is not None:
                raise issue

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """What Ray says of a dead worker, said as what it means."""
        import ray

        try:
            yield
        except ray.exceptions.RayActorError as error:
            ids = [worker._actor_id.hex() for worker in self.workers]
            rank = ids.index(error.actor_id) if error.actor_id in ids else None
            nodes = [place.node for index, place in enumerate(self.places) if rank in (index, None)]
            if node_died(nodes, str(error)):
                raise NodeLost(f"rank {rank}: {explained(str(error))}") from error
            raise RuntimeError(f"rank {rank}: the worker process has died: {explained(str(error))}") from error

    def _dissolve(self) -> None:
        import ray

        for worker in self.workers:
            ray.kill(worker)
        self.workers, self.places = [], []
