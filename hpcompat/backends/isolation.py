"""Random generators and a temporary directory that one search has to itself.

Some engines draw from the global generators of `random` and `numpy.random`. Training code reseeds those (a Trainer does
for every trial), another thread may draw from them, and so may an import. So the modules of such an engine get
proxies for `random` and `numpy`, which use the generators of the engine that is active in the thread, and
the global ones where none is.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from hpcompat.trials.files import Directory
from hpcompat.trials.process import has_exited, this_process


class _Active(threading.local):
    generators: Generators | None = None


_ACTIVE = _Active()


class Generators:
    """The generators of one engine. The same seed gives the same draws, whatever else the process draws.

    >>> proxy = get_random_proxy()
    >>> with Generators(0).activate():
    ...     first = proxy.uniform(0.0, 1.0)
    >>> random.seed(9)
    >>> with Generators(0).activate():
    ...     proxy.uniform(0.0, 1.0) == first
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        from numpy.random import RandomState

        self.python = random.Random(seed)
        # `self.python` does not depend on it
        self.numpy = RandomState(random.Random(seed).getrandbits(32))

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Let the proxies draw from these generators, in this thread."""
        before, _ACTIVE.generators = _ACTIVE.generators, self
        try:
            yield
        finally:
            _ACTIVE.generators = before


@cache
def get_random_proxy() -> ModuleType:
    """Return the proxy of the module `random`."""
    return _ModuleProxy("random", lambda: _ACTIVE.generators.python if _ACTIVE.generators else random)


@cache
def get_numpy_proxy() -> ModuleType:
    """Return the proxy of the module `numpy`: numpy itself, but for its `random`."""
    import numpy

    proxy = _ModuleProxy("numpy", lambda: numpy)
    draws = _ModuleProxy("numpy.random", lambda: _ACTIVE.generators.numpy if _ACTIVE.generators else numpy.random)
    # a copy of numpy's names is faster; numpy creates others on access
    vars(proxy).update({**vars(numpy), "random": draws})
    return proxy


class _ModuleProxy(ModuleType):
    """A module whose names are those of what `get_target` returns at the time."""

    def __init__(self, name: str, get_target: Callable[[], object]) -> None:
        super().__init__(name, f"{name}, with generators that an engine has to itself.")
        self._get_target = get_target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_target(), name)


class _Distribution(Protocol):
    """What is used of a distribution of `scipy.stats`, which has no types."""

    def __call__(self, *arguments: object) -> _Distribution: ...

    def rvs(self, size: object, random_state: object) -> object: ...


class SeededDistribution:
    """A distribution of `scipy.stats` whose draws come from the engine's generators."""

    def __init__(self, distribution: _Distribution) -> None:
        self._distribution = distribution

    def rvs(self, *arguments: object, size: object = None) -> object:
        """Draw through a frozen distribution: the generator of the shared one belongs to every thread."""
        state = _ACTIVE.generators.numpy if _ACTIVE.generators else None
        return self._distribution(*arguments).rvs(size=size, random_state=state)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)


PREFIX, OWNER = "hp-", "owner.json"
# Ray's sockets lie under it, and a socket's path has at most 107 characters
_MAX_LENGTH = 40
_MAX_BYTES = 4096


@contextmanager
def private_directory() -> Iterator[str]:
    """Yield a new directory, for the time of a search; those of searches that were killed are removed first.

    >>> with private_directory() as path:
    ...     os.listdir(path)
    ['owner.json']
    """
    root = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _MAX_LENGTH else "/tmp"
    for orphan in _orphans(root):
        shutil.rmtree(orphan, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=root, ignore_cleanup_errors=True) as path:
        Path(path, OWNER).write_text(json.dumps(this_process()), "utf-8")
        yield path


def _orphans(root: str) -> Iterator[str]:
    """Yield the paths of private directories of this user whose process is known to have exited."""
    with os.scandir(root) as entries:
        paths = [entry.path for entry in entries if entry.name.startswith(PREFIX) and _is_directory_of_user(entry)]
    for path in paths:
        try:
            with Directory(path) as directory:
                is_orphan = has_exited(json.loads(directory.read(OWNER, _MAX_BYTES)))
        except (OSError, ValueError, LookupError, TypeError, RecursionError):  # another one, or still being written
            continue
        if is_orphan:
            yield path


def _is_directory_of_user(entry: os.DirEntry[str]) -> bool:
    try:
        is_of_user = entry.stat(follow_symlinks=False).st_uid == getattr(os, "getuid", int)()
        return is_of_user and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
