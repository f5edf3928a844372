"""The process group: messages between its ranks, their processes, and the reason to abort.

Messages go through the store of the group. Unlike a collective, a wait at the store can be interrupted, whatever
the ranks are doing; docs/internals/distributed.md explains that.

All private names of torch are in this module (checked with torch 2.13, torch/distributed/distributed_c10d.py and
torch/csrc/distributed/c10d/Backend.hpp). They have no public counterparts:

- `_get_default_store`: the store of the group. Another store would need an address that all ranks know.
- `ProcessGroup._device_types`, `_get_backend`: the backends of a group; "cpu:gloo,cuda:nccl" has two.
- `Backend._get_sequence_number_for_group`: how many collectives this rank has begun on a backend.
- `Backend.options._timeout`: how long a collective may take.
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
from hpcompat.trials.process import has_exited, identify_process

if TYPE_CHECKING:  # torch is loaded only where there is a group
    from torch.distributed import ProcessGroup

RESUME_HINT = "start it again with resume=True: finished trials are in the journal"
MEET_TIMEOUT_S = 1800.0  # the timeout of init_process_group
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.001, 0.05
_TICK_S = 1.0

T = TypeVar("T")
_prefix_numbers = count()


class PeerFailed(Exception):
    """Raised on a rank to leave the trial after another rank has failed."""


class StoreUnreachable(SearchError):
    """Raised if the store of the process group is gone or does not answer."""


# -- torch --------------------------------------------------------------------------------------------


def join_process_group() -> tuple[StoreChannel, GroupBackends]:
    """Return a channel between the ranks, and the backends of their group, which is initialized if need be.

    The group exists until the process exits, because a new group would find the old keys in the store. At exit it is
    destroyed, even if it was initialized elsewhere: with a gloo group the process may abort at exit.

    Raises:
        SearchError: The group cannot be initialized.
    """
    import torch.distributed as dist

    torch_distributed: Any = dist  # torch's stubs lack both names
    try:
        if not dist.is_initialized():
            dist.init_process_group()
        store = torch_distributed.distributed_c10d._get_default_store().clone()
        prefixed_store = torch_distributed.PrefixStore(f"hpcompat/{next(_prefix_numbers)}", store)
    except (RuntimeError, ValueError) as error:
        hint = "start every rank that the launcher names, and let it reach MASTER_ADDR at MASTER_PORT"
        raise SearchError(f"the ranks of the process group do not meet: {error}", [Issue("", hint)]) from error
    atexit.unregister(_destroy)  # so that it is registered once
    atexit.register(_destroy)
    assert dist.group.WORLD is not None
    return StoreChannel(prefixed_store, dist.get_rank(), dist.get_world_size()), GroupBackends(dist.group.WORLD)


def _destroy() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


class GroupBackends:
    """The backends of a process group, which show whether its ranks are in step."""

    def __init__(self, group: ProcessGroup) -> None:
        import torch
        from torch.distributed.constants import default_pg_timeout

        self._default_timeout = default_pg_timeout
        self._backends: list[Any] = []  # torch's stubs lack the sequence number
        for device in sorted({device.type for device in group._device_types}):
            with suppress(RuntimeError):  # the device has no backend, or a backend without sequence numbers
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
        """Return how many collectives this rank has begun; the counts of ranks in step are equal."""
        return sum(backend._get_sequence_number_for_group() for backend in self._backends)

    def abort(self) -> None:
        """Abort the collectives that a thread waits in, if the backend can: NCCL can, gloo cannot."""
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
    """Messages between the ranks, in a store that no other thread uses; each key is set once.

    A daemon thread accesses the store, because a call of torch cannot be interrupted, neither by a signal nor by a
    timeout, if the process of the store is stopped. (A concurrent.futures executor would wait for its thread at exit.)

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
        """Store a value for the other ranks."""
        data = pickle.dumps(value)
        self._request(lambda: self._store.set(key, data))

    def contains(self, key: str) -> bool:
        """Return whether the key is set."""
        return self._request(lambda: self._store.check([key]))

    def read(self, key: str) -> Any:
        """Return the value of a key that is set."""
        return pickle.loads(self._request(lambda: self._store.get(key)))

    def wait(self, key: str, check: Callable[[], None]) -> Any:
        """Wait until a key is set, and return its value; see `wait_any`."""
        self.wait_any([key], check)
        return self.read(key)

    def wait_any(self, keys: Iterable[str], check: Callable[[], None]) -> None:
        """Wait until one of the keys is set; meanwhile call `check` repeatedly, which may raise."""
        pause = _MIN_PAUSE_S
        while not any(map(self.contains, keys)):
            check()
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_S)

    def delete(self, key: str) -> None:
        """Delete a key that this rank has set and all ranks have read."""
        self._request(lambda: self._store.delete_key(key))

    def close(self) -> None:
        """End the thread."""
        self._requests.put(None)

    def _request(self, operation: Callable[[], T]) -> T:
        if self._problem is not None:
            raise self._unreachable_error()
        answer: futures.Future[T] = futures.Future()
        self._requests.put(partial(_resolve, answer, operation))
        waited_s = 0.0
        while True:
            try:
                return answer.result(_TICK_S)
            except futures.TimeoutError:
                waited_s += _TICK_S
                if waited_s > self.timeout:
                    self._problem = f"has not answered for {waited_s:.0f} s"
                    raise self._unreachable_error() from None
            except RuntimeError as error:  # torch.distributed.DistNetworkError is one
                self._problem = f"is gone ({str(error).splitlines()[0]})"
                raise self._unreachable_error() from error

    def _unreachable_error(self) -> StoreUnreachable:
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
    """The other ranks. `abort_reason`: why the ranks cannot continue together, or None."""

    def __init__(self, store: StoreChannel) -> None:
        self.store = store
        self.processes: Mapping[int, Mapping[str, object]] = {}
        self.abort_reason: str | None = None

    def meet(self) -> None:
        """Wait until all ranks have called this. Raises `SearchError` after a timeout."""
        check = partial(_check_deadline, time.monotonic() + MEET_TIMEOUT_S)
        self.store.set(f"process/{self.store.rank}", identify_process())
        self.processes = {
            rank: self.store.wait(f"process/{rank}", partial(check, rank)) for rank in self.store.other_ranks
        }

    def leave(self) -> None:
        """Announce that this rank leaves the search."""
        with suppress(StoreUnreachable):
            self.store.set(f"left/{self.store.rank}")
        self.store.close()

    def has_left(self, rank: int) -> bool:
        """Return whether a rank has announced that it leaves, or that a signal ends its process."""
        return self.store.contains(f"left/{rank}") or self.store.contains(f"terminated/{rank}")

    def has_exited(self, rank: int) -> bool | None:
        """Return whether the process of a rank has exited; None if it runs on another host."""
        return has_exited(self.processes[rank])

    def abort_for_process(self, rank: int, problem: str) -> None:
        """Abort because of a problem with the process of another rank."""
        process = self.processes[rank]
        self.abort(f"rank {rank}: {problem} (pid {process['pid']} on {process['host']})")

    def abort(self, reason: str) -> None:
        """Record for all ranks that they cannot continue together; only the first reason is kept."""
        if self.abort_reason is None:
            with suppress(StoreUnreachable):
                if not self.store.contains("abort"):
                    self.store.set("abort", reason)
                reason = self.store.read("abort")
            self.abort_reason = reason

    def read_abort(self) -> None:
        """Check whether another rank has called `abort`."""
        if self.abort_reason is None and self.store.contains("abort"):
            self.abort_reason = self.store.read("abort")

    def on_store_unreachable(self, error: StoreUnreachable) -> None:
        """Abort on this rank only, because it cannot reach the others."""
        self.abort_reason = self.abort_reason or error.issues[0].message

    def to_error(self) -> SearchError:
        """Return the error that ends the search after `abort`."""
        reason = str(self.abort_reason).split("\n", 1)[0]
        message = "the ranks are out of step, and cannot run further trials"
        return SearchError(message, [Issue("", reason), Issue("", RESUME_HINT)])

    def raise_if_aborted(self) -> None:
        """Raise `SearchError` if the ranks have aborted."""
        if self.abort_reason is not None:
            raise self.to_error()

    def leave_trial_if_aborted(self) -> None:
        """Raise `PeerFailed` if the ranks have aborted; used by waits inside a trial."""
        if self.abort_reason is not None:
            raise PeerFailed(self.abort_reason)


def _check_deadline(deadline: float, rank: int) -> None:
    if time.monotonic() > deadline:
        hint = Issue("", "call search on every rank that the launcher has started")
        raise SearchError(f"rank {rank} has not called search in {MEET_TIMEOUT_S:.0f} s", [hint])
