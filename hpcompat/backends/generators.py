"""Random generators of an engine's own, for engines that draw from the global ones of `random` and `numpy.random`.

Training code reseeds those (a Trainer does for every trial), another thread may draw from them, and so may an import.
So the modules of such an engine get stand-ins for `random` and `numpy`, which answer with the generators of the engine
that is at work in the thread, and with the global ones where none is.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any


class _AtWork(threading.local):
    generators: Generators | None = None


_AT_WORK = _AtWork()


class Generators:
    """The generators of one engine. The same seed gives the same draws, whatever else the process draws.

    >>> lent = lent_random()
    >>> with Generators(0).at_work():
    ...     first = lent.uniform(0.0, 1.0)
    >>> random.seed(9)
    >>> with Generators(0).at_work():
    ...     lent.uniform(0.0, 1.0) == first
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        from numpy.random import RandomState

        self.python = random.Random(seed)
        # the numbers for `random` are drawn as if this one had not been
        self.numpy = RandomState(random.Random(seed).getrandbits(32))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the stand-ins draw from these generators, in this thread."""
        before, _AT_WORK.generators = _AT_WORK.generators, self
        try:
            yield
        finally:
            _AT_WORK.generators = before


@cache
def lent_random() -> ModuleType:
    """Return the stand-in for the module `random`."""
    return _StandIn("random", lambda: _AT_WORK.generators.python if _AT_WORK.generators else random)


@cache
def lent_numpy() -> ModuleType:
    """Return the stand-in for the module `numpy`: numpy itself, but for its `random`."""
    import numpy

    lent = _StandIn("numpy", lambda: numpy)
    draws = _StandIn("numpy.random", lambda: _AT_WORK.generators.numpy if _AT_WORK.generators else numpy.random)
    # what numpy holds is copied, which is found faster; the rest it makes when it is asked for
    vars(lent).update({**vars(numpy), "random": draws})
    return lent


class _StandIn(ModuleType):
    """A module whose names are those of what `behind` returns at the time."""

    def __init__(self, name: str, behind: Any) -> None:
        super().__init__(name, f"{name}, with generators that an engine has to itself.")
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind(), name)


class LentDistribution:
    """A distribution of `scipy.stats` whose draws come from the engine's generators."""

    def __init__(self, distribution: Any) -> None:
        self._distribution = distribution

    def rvs(self, *arguments: Any, size: Any = None) -> Any:
        """Draw; through a frozen distribution, as setting the generator of the shared one is seen by every thread."""
        state = _AT_WORK.generators.numpy if _AT_WORK.generators else None
        return self._distribution(*arguments).rvs(size=size, random_state=state)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)
