"""The process group that a launcher has set up or named: messages between its ranks, and whether all can go on.

Messages go through the store that the group was made with. A wait at it can be interrupted, whatever the backend and
however far apart the ranks are in the collectives of a training. A broadcast of torch's cannot:
docs/internals/distributed.md says why.

All private names of torch are here (checked with torch 2.13, torch/distributed/distributed_c10d.py and
torch/csrc/distributed/c10d/Backend.hpp); none of them has a public counterpart:

- `_get_default_store`: the store through which the group has met. One of our own would need an address that all ranks
  know.
- `ProcessGroup._device_types`, `_get_backend`: the backends of a group, of which "cpu:gloo,cuda:nccl" has two.
- `Backend._get_sequence_number_for_group`: how many collectives this rank has begun on a backend.
- `Backend.options._timeout`: how long they may take.
"""

from __future__ import annotations

import atexit
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hpcompat.errors import Issue, SearchError
from hpcompat.trials.process import has_exited, this_process

if TYPE_CHECKING:  # torch is loaded only where there is a group
    from torch.distributed import ProcessGroup

RESUME_HINT = "start it again with resume=True: finished trials are in the journal"
MEET_TIMEOUT_S = 1800.0  # as long as torch waits for a group to meet
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.001, 0.05
_TICK_S = 1.0

T = TypeVar("T")
_prefix_numbers = count()


class PeerFailed(Exception):
    """Another rank has failed: this one leaves the trial at the same point."""


class StoreUnreachable(SearchError):
    """The store is gone, or does not answer."""


# -- torch --------------------------------------------------------------------------------------------


def join_process_group() -> tuple[StoreChannel, GroupBackends]:
    """Return a channel between the ranks and the backends of their group, which is made if it is only named.

    The group stays until the process ends: another one would find in the store what the first one has left there.
    At exit it is destroyed, also if the launcher has made it: a process that ends with a gloo group may abort.

    Raises:
        SearchError: if the ranks do not meet.
    """
    import torch.distributed as dist

    torch_distributed: Any = dist  # torch's stubs lack both names
    try:
        if not dist.is_initialized():
            dist.init_process_group()
        store = torch_distributed.distributed_c10d._get_default_store().clone()
        prefixed = torch_distributed.PrefixStore(f"hpcompat/{next(_prefix_numbers)}", store)
    except (RuntimeError, ValueError) as error:
        hint = "start every rank that the launcher names, and let it reach MASTER_ADDR at MASTER_PORT"
        raise SearchError(f"the ranks of the process group do not meet: {error}", [Issue("", hint)]) from error
    atexit.unregister(_destroy)  # register it once
    atexit.register(_destroy)
    assert dist.group.WORLD is not None
    return StoreChannel(prefixed, dist.get_rank(), dist.get_world_size()), GroupBackends(dist.group.WORLD)


def _destroy() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


class GroupBackends:
    """The backends of a process group: they tell whether its ranks are still in step."""

    def __init__(self, group: ProcessGroup) -> None:
        import torch
        from torch.distributed.constants import default_pg_timeout

        self._default_timeout = default_pg_timeout
        self._backends: list[Any] = []  # torch's stubs lack the sequence number
        for device in sorted({device.type for device in group._device_types}):
            with suppress(RuntimeError):  # the device has no backend, or one that does not count
                backend: Any = group._get_backend(torch.device(device))
                backend._get_sequence_number_for_group()
                self._backends.append(backend)

    @property
    def timeout(self) -> float:
        """The seconds that the ranks may wait for each other in a collective."""
        options = [getattr(backend, "options", None) for backend in self._backends]
        timeouts = [option._timeout for option in options if option]
        return min(timeouts, default=self._default_timeout).total_seconds()

    def collective_count(self) -> int:
        """Return how many collectives this rank has begun; ranks in step have begun equally many."""
        return sum(backend._get_sequence_number_for_group() for backend in self._backends)

    def abort(self) -> None:
        """Release a thread that waits in a collective, if the backend can: NCCL does, gloo waits on."""
        for backend in self._backends:
            with suppress(Exception):
                backend.abort()


# -- messages -----------------------------------------------------------------------------------------


class Store(Protocol):
    """The part of a torch.distributed store that a channel uses."""

    def set(self, key: str, value: bytes) -> None: ...
    def get(self, key: str) -> bytes: ...
    def check(self, keys: list[str]) -> bool: ...
    def delete_key(self, key: str) -> bool: ...


class StoreChannel:
    """Messages by key, each set once, in a store that no other thread uses.

    A daemon thread asks the store: if the store's process is stopped, an answer never comes, and neither a signal nor
    a timeout ends the wait in torch. (An executor of concurrent.futures would wait for its thread at exit.)
    `timeout`: the seconds to wait for an answer, counted only while this process runs.
    """

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size
        self.timeout = float("inf")
        self._store = store
        self._problem: str | None = None
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="hpcompat-store", daemon=True).start()

    @property
    def other_ranks(self) -> list[int]:
        """All ranks but this one."""
        return [rank for rank in range(self.world_size) if rank != self.rank]

    def set(self, key: str, value: object = None) -> None:
        """Send a value to all ranks that read the key, now or later."""
        data = pickle.dumps(value)
        self._request(lambda: self._store.set(key, data))

    def contains(self, key: str) -> bool:
        """Return whether the key is set."""
        return self._request(lambda: self._store.check([key]))

    def read(self, key: str) -> Any:
        """Return the value of a key that is set."""
        return pickle.loads(self._request(lambda: self._store.get(key)))

    def wait(self, key: str, check: Callable[[], None]) -> Any:
        """Return the value of a key as soon as it is set, see `wait_any`."""
        self.wait_any([key], check)
        return self.read(key)

    def wait_any(self, keys: Iterable[str], check: Callable[[], None]) -> None:
        """Wait until one of the keys is set; until then call `check` again and again, which may raise."""
        pause = _MIN_PAUSE_S
        while not any(map(self.contains, keys)):
            check()
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)

    def delete(self, key: str) -> None:
        """Remove a key that this rank has set and all have read."""
        self._request(lambda: self._store.delete_key(key))

    def close(self) -> None:
        """End the thread."""
        self._requests.put(None)

    def _request(self, operation: Callable[[], T]) -> T:
        if self._problem is not None:
            raise self._unreachable()
        answer: futures.Future[T] = futures.Future()
        self._requests.put(partial(_resolve, answer, operation))
        waited = 0.0
        while True:
            try:
                return answer.result(_TICK_S)
            except futures.TimeoutError:
                waited += _TICK_S
                if waited > self.timeout:
                    self._problem = f"has not answered for {waited:.0f} s"
                    raise self._unreachable() from None
            except RuntimeError as error:  # torch.distributed.DistNetworkError is one
                self._problem = f"is gone ({str(error).splitlines()[0]})"
                raise self._unreachable() from error

    def _unreachable(self) -> StoreUnreachable:
        message = f"rank 0: the store of the process group, in the process of rank 0 or its launcher, {self._problem}"
        return StoreUnreachable("the ranks cannot reach each other", [Issue("", message), Issue("", RESUME_HINT)])

    def _serve(self) -> None:
        while (request := self._requests.get()) is not None:
            request()


def _resolve(answer: futures.Future[T], operation: Callable[[], T]) -> None:
    try:
        answer.set_result(operation())
    except BaseException as error:
        answer.set_exception(error)


# -- the other ranks ----------------------------------------------------------------------------------


class Peers:
    """The other ranks of this one. `abort_reason`: why all ranks cannot go on together, if they cannot."""

    def __init__(self, store: StoreChannel) -> None:
        self.store = store
        self.processes: Mapping[int, Mapping[str, object]] = {}
        self.abort_reason: str | None = None

    def meet(self) -> None:
        """Wait for the other ranks. Raises `SearchError` if they do not come."""
        check = partial(_check_deadline, time.monotonic() + MEET_TIMEOUT_S)
        self.store.set(f"process/{self.store.rank}", this_process())
        self.processes = {
            rank: self.store.wait(f"process/{rank}", partial(check, rank)) for rank in self.store.other_ranks
        }

    def leave(self) -> None:
        """Say that this rank takes no further part."""
        with suppress(StoreUnreachable):
            self.store.set(f"left/{self.store.rank}")
        self.store.close()

    def has_left(self, rank: int) -> bool:
        """Return whether a rank has left in order, or is ended by a signal that it has announced."""
        return self.store.contains(f"left/{rank}") or self.store.contains(f"terminated/{rank}")

    def has_exited(self, rank: int) -> bool | None:
        """Return whether the process of a rank has exited; None if that cannot be seen from this host."""
        return has_exited(self.processes[rank])

    def abort_for(self, rank: int, problem: str) -> None:
        """Abort because of a problem with the process of another rank."""
        process = self.processes[rank]
        self.abort(f"rank {rank}: {problem} (pid {process['pid']} on {process['host']})")

    def abort(self, reason: str) -> None:
        """Note, for all ranks, that they cannot go on together; the first reason counts."""
        if self.abort_reason is None:
            with suppress(StoreUnreachable):
                if not self.store.contains("abort"):
                    self.store.set("abort", reason)
                reason = self.store.read("abort")
            self.abort_reason = reason

    def refresh(self) -> None:
        """See whether another rank has aborted."""
        if self.abort_reason is None and self.store.contains("abort"):
            self.abort_reason = self.store.read("abort")

    def on_store_unreachable(self, error: StoreUnreachable) -> None:
        """Abort on this rank alone: it cannot reach the others."""
        self.abort_reason = self.abort_reason or error.issues[0].message

    def to_error(self) -> SearchError:
        """Return what ends the search after `abort`."""
        reason = str(self.abort_reason).split("\n", 1)[0]
        message = "the ranks are out of step, and no trial can follow"
        return SearchError(message, [Issue("", reason), Issue("", RESUME_HINT)])

    def raise_if_aborted(self) -> None:
        """Raise `SearchError` if the ranks cannot go on together."""
        if self.abort_reason is not None:
            raise self.to_error()

    def leave_trial_if_aborted(self) -> None:
        """Raise `PeerFailed` if they cannot: for a wait inside a trial."""
        if self.abort_reason is not None:
            raise PeerFailed(self.abort_reason)


def _check_deadline(deadline: float, rank: int) -> None:
    if time.monotonic() > deadline:
        hint = Issue("", "call search on every rank that the launcher has started")
        raise SearchError(f"rank {rank} has not called search in {MEET_TIMEOUT_S:.0f} s", [hint])
