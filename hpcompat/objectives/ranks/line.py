"""The line between the ranks: messages through the store that their process group was made with.

No collectives: a wait at the store can be interrupted and has no timeout of its own, whatever the backend
of the group, and however far apart the ranks are in the collectives of a training.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SHORTEST, _LONGEST = 0.001, 0.05


@dataclass(frozen=True)
class Line:
    """Messages by key, each put once. `store`: a store of torch.distributed, shared with no other thread's waits."""

    store: Any
    rank: int
    size: int

    @property
    def others(self) -> list[int]:
        """The other ranks."""
        return [rank for rank in range(self.size) if rank != self.rank]

    def put(self, key: str, thing: Any = None) -> None:
        """Say it to all that ask for the key, now or later."""
        self.store.set(key, pickle.dumps(thing))

    def has(self, key: str) -> bool:
        """Whether it was said already."""
        return bool(self.store.check([key]))

    def read(self, key: str) -> Any:
        """What was said under a key that is there."""
        return pickle.loads(self.store.get(key))

    def get(self, key: str, meanwhile: Callable[[], Any]) -> Any:
        """Wait until it is said. `meanwhile` is called as long as it is not, and may raise."""
        pause = _SHORTEST
        while not self.has(key):
            meanwhile()
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
        return self.read(key)

    def drop(self, key: str) -> None:
        """Forget what was said; for its author, when all have heard it."""
        self.store.delete_key(key)
