"""A worker of a trial: one rank of a process group (DDP), in a process of its own, and what it says."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hpcompat.backends.ray.pickling import unpacked
from hpcompat.backends.ray.worker_context import Errand, settle
from hpcompat.errors import HpcompatError, TrialPruned
from hpcompat.trials.config import Suggestion
from hpcompat.trials.notes import Notes
from hpcompat.trials.run_dir_log import Diary
from hpcompat.trials.trial import Trial


@dataclass(frozen=True)
class Place:
    """Where a worker is: its node, and the GPUs there that are its own."""

    node: str
    gpus: tuple[str, ...] = ()


def environments(places: Sequence[Place], address: tuple[str, int]) -> list[dict[str, str]]:
    """What a launcher such as torchrun sets for each rank.

    Each sees all GPUs that the trial has on its node, the local rank's own first in line for it.

    >>> places = [Place("a", ("2",)), Place("b", ("0",)), Place("a", ("3",))]
    >>> for each in environments(places, ("10.0.0.1", 29500)):
    ...     print(each["RANK"], each["LOCAL_RANK"], each["LOCAL_WORLD_SIZE"], each["CUDA_VISIBLE_DEVICES"])
    0 0 2 2,3
    1 0 1 0
    2 1 2 2,3
    """
    shared = {"MASTER_ADDR": address[0], "MASTER_PORT": str(address[1]), "WORLD_SIZE": str(len(places))}
    result = []
    for rank, place in enumerate(places):
        near = [index for index, other in enumerate(places) if other.node == place.node]
        gpus = [gpu for index in near for gpu in places[index].gpus]
        own = {"RANK": rank, "LOCAL_RANK": near.index(rank), "LOCAL_WORLD_SIZE": len(near)}
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        result.append({**shared, **{name: str(value) for name, value in own.items()}, **visible})
    return result


@dataclass(frozen=True)
class Reported:
    """An intermediate value from rank 0; `made`: the run directories so far, `notes`: the trial's."""

    value: float
    step: int
    made: tuple[str, ...]
    notes: Notes


@dataclass(frozen=True)
class Ended:
    """How rank 0 has left the trial. `whole`: the ranks can go through another one."""

    outcome: Trial | BaseException
    whole: bool
    made: tuple[str, ...]


class Worker:
    """One rank, in a process of its own. Rank 0 is asked what it has to say; the others just take part."""

    def __init__(self) -> None:
        self.said: queue.Queue[Reported | Ended] = queue.Queue()
        self.answers: queue.Queue[bool] = queue.Queue()
        self.stopped = False
        self.group = ExitStack()
        self.made: dict[str, str] = {}
        self.notes = Notes()

    def place(self) -> Place:
        """Where it is."""
        import ray

        context = ray.get_runtime_context()
        return Place(context.get_node_id(), tuple(map(str, context.get_accelerator_ids().get("GPU", ()))))

    def meeting(self) -> tuple[str, int]:
        """Rank 0: open the store through which the ranks meet, on a port that is free."""
        import torch.distributed

        ray: Any = import_module("ray")
        host = ray.util.get_node_ip_address()
        self.store = torch.distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
        return host, self.store.port

    def join(self, environment: dict[str, str], errand: Errand, shipment: Any) -> HpcompatError | None:
        """Meet the others, and make the objective; what stands against that."""
        os.environ.update(environment)
        settle(errand)
        import torch.distributed

        from hpcompat import distributed

        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        store = self.store if rank == 0 else torch.distributed.TCPStore(host, port)  # type: ignore[attr-defined]
        torch.distributed.init_process_group(store=store, rank=rank, world_size=size)
        crew = self.group.enter_context(distributed.crew())
        assert crew is not None
        self.crew = crew
        self.crew.record = self._end
        diary = Diary(errand.diary)
        try:
            self.evaluated = self.group.enter_context(unpacked(shipment, self.made, diary, crew.setting))
        except HpcompatError as error:
            return error
        return None

    def follow(self, number: int, params: dict[str, Any]) -> None:
        """The other ranks: go through a trial."""
        self.crew.evaluated(self.evaluated, Suggestion(number, params))

    def lead(self, number: int, params: dict[str, Any]) -> None:
        """Rank 0: begin a trial; `next` says how it goes."""
        self.stopped = False
        self.notes = Notes()
        suggestion = Suggestion(number, params, self._report, lambda: self.stopped, notes=self.notes)
        threading.Thread(target=self._lead, args=(suggestion,), daemon=True).start()

    def _lead(self, suggestion: Suggestion) -> None:
        try:
            self._end(self.crew.evaluated(self.evaluated, suggestion))
        except BaseException as error:
            self._end(error)

    def _end(self, outcome: Trial | BaseException) -> None:
        self.said.put(Ended(outcome, self.crew.broken is None, tuple(self.made)))

    def _report(self, value: float, step: int) -> None:
        if self.stopped:
            raise TrialPruned
        self.said.put(Reported(value, step, tuple(self.made), Notes(**self.notes.fields())))
        self.stopped = self.answers.get()

    def next(self) -> Reported | Ended:
        """Rank 0: wait for what it has to say."""
        return self.said.get()

    def answer(self, stop: bool) -> None:
        """Rank 0: whether the trial is to stop after what it has reported."""
        self.answers.put(stop)
