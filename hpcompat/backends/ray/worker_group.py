"""The workers of a trial: the ranks of a process group (DDP), as actors in one placement group."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import cast

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hpcompat import distributed
from hpcompat.backends.ray.cluster import NodeLost, death_reason, has_node_died
from hpcompat.backends.ray.pickling import Payload, WorkerContext, enter_context, load_objective
from hpcompat.errors import HpcompatError, TrialPruned
from hpcompat.trials.config import Suggestion
from hpcompat.trials.notes import Notes
from hpcompat.trials.run_dirs import RunDirLog
from hpcompat.trials.trial import Trial


@dataclass(frozen=True)
class WorkerLocation:
    """The node of a worker, and the GPUs that are reserved for it."""

    node: str
    gpus: tuple[str, ...] = ()


def build_torchrun_env(locations: Sequence[WorkerLocation], address: tuple[str, int]) -> list[dict[str, str]]:
    """Return the environment variables of each rank, as torchrun sets them.

    Each rank sees all GPUs that the trial has on its node, in the order of the local ranks.

    >>> locations = [WorkerLocation("a", ("2",)), WorkerLocation("b", ("0",)), WorkerLocation("a", ("3",))]
    >>> for env in build_torchrun_env(locations, ("10.0.0.1", 29500)):
    ...     print(env["RANK"], env["LOCAL_RANK"], env["LOCAL_WORLD_SIZE"], env["CUDA_VISIBLE_DEVICES"])
    0 0 2 2,3
    1 0 1 0
    2 1 2 2,3
    """
    common = {"MASTER_ADDR": address[0], "MASTER_PORT": str(address[1]), "WORLD_SIZE": str(len(locations))}
    result = []
    for rank, location in enumerate(locations):
        local_ranks = [index for index, other in enumerate(locations) if other.node == location.node]
        gpus = [gpu for index in local_ranks for gpu in locations[index].gpus]
        env = {"RANK": rank, "LOCAL_RANK": local_ranks.index(rank), "LOCAL_WORLD_SIZE": len(local_ranks)}
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        result.append({**common, **{name: str(value) for name, value in env.items()}, **visible})
    return result


@dataclass(frozen=True)
class ReportEvent:
    """An intermediate value from rank 0, with the run directories and notes so far."""

    value: float
    step: int
    created: tuple[str, ...]
    notes: Notes


@dataclass(frozen=True)
class EndEvent:
    """The end of a trial on rank 0; `is_usable` says whether the ranks can run another trial."""

    outcome: Trial | BaseException
    is_usable: bool
    created: tuple[str, ...]


Event = ReportEvent | EndEvent


class Worker:
    """The actor of one rank. Rank 0 puts events, and waits for a decision after each report."""

    def __init__(self) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.decisions: queue.Queue[bool] = queue.Queue()
        self.is_stopped = False
        self.contexts = ExitStack()
        self.created: dict[str, str] = {}
        self.notes = Notes()

    def get_location(self) -> WorkerLocation:
        """Return the node and the GPUs of this worker."""
        context = ray.get_runtime_context()
        return WorkerLocation(context.get_node_id(), tuple(map(str, context.get_accelerator_ids().get("GPU", ()))))

    def open_store(self) -> tuple[str, int]:
        """Open the store of the process group on a free port of rank 0, and return its address."""
        import torch.distributed

        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self.store = torch.distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
        return host, self.store.port

    def join(self, env: Mapping[str, str], context: WorkerContext, payload: Payload) -> HpcompatError | None:
        """Join the process group, and open the objective; return the error if that fails."""
        os.environ.update(env)
        enter_context(context)
        import torch.distributed

        rank, size = int(env["RANK"]), int(env["WORLD_SIZE"])
        host, port = env["MASTER_ADDR"], int(env["MASTER_PORT"])
        store = self.store if rank == 0 else torch.distributed.TCPStore(host, port)  # type: ignore[attr-defined]
        torch.distributed.init_process_group(store=store, rank=rank, world_size=size)
        coordinator = self.contexts.enter_context(distributed.connect())
        assert coordinator is not None
        self.coordinator = coordinator
        coordinator.on_abandoned = self._end
        log = RunDirLog(context.log_dir)
        try:
            objective = load_objective(payload, self.created, log, coordinator.adapt)
            self.evaluate = self.contexts.enter_context(objective)
        except HpcompatError as error:
            return error
        return None

    def follow(self, number: int, params: dict[str, object]) -> None:
        """Run a trial on a follower."""
        self.coordinator.evaluate(self.evaluate, Suggestion(number, params))

    def lead(self, number: int, params: dict[str, object]) -> None:
        """Start a trial on rank 0 in a thread; `next_event` returns its events."""
        self.is_stopped = False
        self.notes = Notes()
        suggestion = Suggestion(number, params, self._report, lambda: self.is_stopped, notes=self.notes)
        threading.Thread(target=self._lead, args=(suggestion,), daemon=True).start()

    def _lead(self, suggestion: Suggestion) -> None:
        try:
            self._end(self.coordinator.evaluate(self.evaluate, suggestion))
        except BaseException as error:
            self._end(error)

    def _end(self, outcome: Trial | BaseException) -> None:
        self.events.put(EndEvent(outcome, self.coordinator.peers.abort_reason is None, tuple(self.created)))

    def _report(self, value: float, step: int) -> None:
        if self.is_stopped:
            raise TrialPruned
        self.events.put(ReportEvent(value, step, tuple(self.created), Notes(**self.notes.to_trial_fields())))
        self.is_stopped = self.decisions.get()

    def next_event(self) -> Event:
        """Wait for the next event of rank 0, and return it."""
        return self.events.get()

    def decide(self, should_prune: bool) -> None:
        """Tell rank 0 whether to stop the trial after its report."""
        self.decisions.put(should_prune)


@dataclass
class WorkerGroup:
    """The workers that run the trials of one process; they are replaced if they become unusable.

    `created`: receives the run directories that they create, each with its root.
    """

    context: WorkerContext
    payload: Payload
    created: dict[str, str]
    workers: list[ActorHandle[Worker]] = field(default_factory=list)
    locations: list[WorkerLocation] = field(default_factory=list)

    def evaluate(self, suggestion: Suggestion) -> Trial:
        """Run a trial on all workers.

        Raises:
            NodeLost: The node of a worker has died.
            RuntimeError: A worker has died, but its node has not.
            BaseException: The error that the trial raises.
        """
        is_usable = False
        try:
            with self._translate_errors():
                if not self.workers:
                    self._start()
                end = self._run_trial(suggestion)
            is_usable = end.is_usable
        finally:
            if not is_usable:
                self._kill()
        if isinstance(end.outcome, BaseException):
            raise end.outcome
        return end.outcome

    def _run_trial(self, suggestion: Suggestion) -> EndEvent:
        leader, *followers = self.workers
        tasks = [worker.follow.remote(suggestion.number, suggestion.params) for worker in followers]
        leader.lead.remote(suggestion.number, suggestion.params)
        while True:
            event = self._wait(leader.next_event.remote(), tasks)
            self.created.update({path: os.path.dirname(path) for path in event.created if path not in self.created})
            if isinstance(event, EndEvent):
                break
            suggestion.notes.update(event.notes)
            suggestion.report(event.value, event.step)
            leader.decide.remote(suggestion.should_prune())
        if event.is_usable:
            ray.wait(tasks, num_returns=len(tasks))
        return event

    def _wait(self, event: ObjectRef[Event], tasks: list[ObjectRef[Event]]) -> Event:
        """Return the next event of rank 0. Raises the error of a worker that dies before."""
        pending = [event, *tasks]
        while event in pending:
            ready, pending = ray.wait(pending)
            for ref in ready:
                try:
                    ray.get(ref)
                except ray.exceptions.RayTaskError:  # a rank is out of step, which rank 0 will report as an event
                    continue
        return ray.get(event)

    def _start(self) -> None:
        group = ray.util.get_current_placement_group()
        assert group is not None
        for index, bundle in enumerate(group.bundle_specs):
            resources = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
            options = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "resources": resources}
            strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
            actor = ray.remote(Worker).options(scheduling_strategy=strategy, **options).remote()
            self.workers.append(cast("ActorHandle[Worker]", actor))  # Ray's annotation says Worker to editors
        self.locations = ray.get([worker.get_location.remote() for worker in self.workers])
        address_ref: ObjectRef[tuple[str, int]] = self.workers[0].open_store.remote()
        payload = ray.put(self.payload)
        envs = zip(self.workers, build_torchrun_env(self.locations, ray.get(address_ref)), strict=True)
        for error in ray.get([worker.join.remote(env, self.context, payload) for worker, env in envs]):
            if error is not None:
                raise error

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Convert Ray's error for a dead worker to `NodeLost`, or to `RuntimeError` if its node is alive."""
        try:
            yield
        except ray.exceptions.RayActorError as error:
            ids = [worker._actor_id.hex() for worker in self.workers]  # private API of ray 2.60
            rank = ids.index(error.actor_id) if error.actor_id in ids else None
            nodes = [location.node for index, location in enumerate(self.locations) if rank in (index, None)]
            if has_node_died(nodes, str(error)):
                raise NodeLost(f"rank {rank}: {death_reason(str(error))}") from error
            raise RuntimeError(f"rank {rank}: the worker process has died: {death_reason(str(error))}") from error

    def _kill(self) -> None:
        for worker in self.workers:
            ray.kill(worker)
        self.workers, self.locations = [], []
