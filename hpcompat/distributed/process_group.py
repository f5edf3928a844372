"""The process group that a launcher has set up, or has named for us to set up."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from itertools import count
from typing import Any

from hpcompat.distributed.store_channel import Line
from hpcompat.errors import Issue, SearchError

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_uses = count()


def size() -> int:
    """How many ranks there are; 1 without a launcher. torch is loaded only if there is one."""
    if (distributed := _initialised()) is not None:
        return int(distributed.get_world_size())
    named = all(os.environ.get(name) for name in LAUNCHED)
    return int(os.environ["WORLD_SIZE"]) if named else 1


def connected() -> tuple[Line, Group]:
    """The line between the ranks, and their group, which is made if the launcher has only named it.

    It then stays until the process ends: a second one would read in the store where the first had been. Whoever
    has made it, it is taken down then: a process that ends with a group of gloo aborts now and again.

    Raises `SearchError` if the ranks do not meet.
    """
    import torch.distributed

    stores: Any = torch.distributed  # whose type stubs know neither
    try:
        if _initialised() is None:
            torch.distributed.init_process_group()
        shared: Any = torch.distributed.distributed_c10d._get_default_store()
        store = stores.PrefixStore(f"hpcompat/{next(_uses)}", shared.clone())
    except (RuntimeError, ValueError) as error:
        hint = Issue("", "every rank that the launcher names has to run, and to reach MASTER_ADDR at MASTER_PORT")
        raise SearchError(f"the ranks of the process group do not meet: {error}", [hint]) from error
    atexit.unregister(_taken_down)  # once is enough
    atexit.register(_taken_down)
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return Line(store, rank, size), Group(torch.distributed.group.WORLD)


def _taken_down() -> None:
    if (distributed := _initialised()) is not None:
        distributed.destroy_process_group()


class Group:
    """What has to be known of a process group to tell whether its ranks are still in step."""

    def __init__(self, group: Any) -> None:
        import torch

        self._backends: list[Any] = []
        for device in sorted({device.type for device in group._device_types}):
            with contextlib.suppress(RuntimeError):  # no backend for the device, or one that does not count
                backend = group._get_backend(torch.device(device))
                backend._get_sequence_number_for_group()
                self._backends.append(backend)

    @property
    def timeout(self) -> float:
        """How many seconds its ranks may wait for each other in a collective."""
        from torch.distributed.constants import default_pg_timeout

        timeouts = [options._timeout for each in self._backends if (options := getattr(each, "options", None))]
        return min(timeouts, default=default_pg_timeout).total_seconds()

    def calls(self) -> int:
        """How many collectives this rank has begun. In step means: as many as the others."""
        return sum(backend._get_sequence_number_for_group() for backend in self._backends)

    def abort(self) -> None:
        """Free a thread that waits in a collective, where the backend can (NCCL; gloo waits on for its peer)."""
        for backend in self._backends:
            with contextlib.suppress(Exception):
                backend.abort()


def _initialised() -> Any:
    distributed = sys.modules.get("torch.distributed")
    there = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return distributed if there else None
