"""The line between the ranks: messages through the store that their process group was made with.

No collectives: a wait at the store can be interrupted, whatever the backend of the group, and however far
apart the ranks are in the collectives of a training.
"""

from __future__ import annotations

import pickle
import queue
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

from hpcompat.errors import Issue, SearchError

RESUME = "start it again with resume=True: what is finished is in the journal"
_SHORTEST, _LONGEST = 0.001, 0.05
_TICK_S = 1.0


class Unreachable(SearchError):
    """The store is gone, or does not answer."""


def unreachable(said: str) -> Unreachable:
    """The error that names who holds it."""
    reason = f"rank 0: the store of the process group, which it or its launcher holds, {said}"
    return Unreachable("the ranks cannot reach each other", [Issue("", reason), Issue("", RESUME)])


class Line:
    """Messages by key, each put once. `store`: a store of torch.distributed, shared with no other thread's waits.

    A thread of its own asks it: where the store's process is stopped an answer never comes, and no signal and
    no timeout ends the wait in torch. `patience`: how many seconds to wait for it, counted while this process
    runs.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self._store = store
        self.rank = rank
        self.size = size
        self.patience = float("inf")
        self._lost: str | None = None
        self._questions: queue.SimpleQueue[tuple[futures.Future[Any], str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="hpcompat-line", daemon=True).start()

    @property
    def others(self) -> list[int]:
        """The other ranks."""
        return [rank for rank in range(self.size) if rank != self.rank]

    def put(self, key: str, thing: Any = None) -> None:
        """Say it to all that ask for the key, now or later."""
        self._ask("set", key, pickle.dumps(thing))

    def has(self, key: str) -> bool:
        """Whether it was said already."""
        return bool(self._ask("check", [key]))

    def read(self, key: str) -> Any:
        """What was said under a key that is there."""
        return pickle.loads(self._ask("get", key))

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
        self._ask("delete_key", key)

    def close(self) -> None:
        """Say no more."""
        self._questions.put(None)

    def _ask(self, operation: str, *arguments: Any) -> Any:
        if self._lost is not None:
            raise unreachable(self._lost)
        answer: futures.Future[Any] = futures.Future()
        self._questions.put((answer, operation, arguments))
        waited = 0.0
        while True:
            try:
                return answer.result(_TICK_S)
            except futures.TimeoutError:
                waited += _TICK_S
                if waited > self.patience:
                    self._lost = f"has not answered for {waited:.0f} s"
                    raise unreachable(self._lost) from None
            except RuntimeError as error:  # torch.distributed.DistNetworkError is one
                self._lost = f"is gone ({str(error).splitlines()[0]})"
                raise unreachable(self._lost) from error

    def _serve(self) -> None:
        while (question := self._questions.get()) is not None:
            answer, operation, arguments = question
            try:
                answer.set_result(getattr(self._store, operation)(*arguments))
            except BaseException as error:
                answer.set_exception(error)
