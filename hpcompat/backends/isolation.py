"""Private random generators and a private temporary directory for a search.

Some engines draw from the global generators of `random` and `numpy.random`. These are not reproducible: a Trainer
reseeds them in every trial, and imports and other threads draw from them too. Therefore the modules of such an engine
get proxies of `random` and `numpy`, which use the generators that are active in the thread, or else the global ones.
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
from hpcompat.trials.process import has_exited, identify_process


class _Active(threading.local):
    generators: Generators | None = None


_ACTIVE = _Active()


class Generators:
    """The random generators of an engine, which the rest of the process does not draw from.

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
        # seeded apart, so that its draws do not change those of `self.python`
        self.numpy = RandomState(random.Random(seed).getrandbits(32))

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Let the proxies draw from these generators in this thread, within the block."""
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
    """Return the proxy of the module `numpy`, which differs from numpy only in `random`."""
    import numpy

    proxy = _ModuleProxy("numpy", lambda: numpy)
    random_proxy = _ModuleProxy(
        "numpy.random", lambda: _ACTIVE.generators.numpy if _ACTIVE.generators else numpy.random
    )
    # copying the names makes access faster; numpy creates further names on access
    vars(proxy).update({**vars(numpy), "random": random_proxy})
    return proxy


class _ModuleProxy(ModuleType):
    """A module that looks up its names in the object that `get_target` returns."""

    def __init__(self, name: str, get_target: Callable[[], object]) -> None:
        super().__init__(name, f"{name}, with generators that an engine has to itself.")
        self._get_target = get_target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_target(), name)


class _Distribution(Protocol):
    """The part of a `scipy.stats` distribution that is used; scipy has no type annotations."""

    def __call__(self, *arguments: object) -> _Distribution: ...

    def rvs(self, size: object, random_state: object) -> object: ...


class SeededDistribution:
    """A distribution of `scipy.stats` whose draws come from the engine's generators."""

    def __init__(self, distribution: _Distribution) -> None:
        self._distribution = distribution

    def rvs(self, *arguments: object, size: object = None) -> object:
        """Draw from a frozen distribution, because the generator of the original one is shared by all threads."""
        state = _ACTIVE.generators.numpy if _ACTIVE.generators else None
        return self._distribution(*arguments).rvs(size=size, random_state=state)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)


PREFIX, OWNER = "hp-", "owner.json"
# Ray puts its sockets there, whose paths may have at most 107 characters
_MAX_LENGTH = 40
_MAX_BYTES = 4096


@contextmanager
def private_directory() -> Iterator[str]:
    """Yield a new temporary directory; first remove those that killed searches have left.

    >>> with private_directory() as path:
    ...     os.listdir(path)
    ['owner.json']
    """
    root = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _MAX_LENGTH else "/tmp"
    for orphan in _find_orphans(root):
        shutil.rmtree(orphan, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=root, ignore_cleanup_errors=True) as path:
        Path(path, OWNER).write_text(json.dumps(identify_process()), "utf-8")
        yield path


def _find_orphans(root: str) -> Iterator[str]:
    """Yield the private directories of this user whose process has exited."""
    with os.scandir(root) as entries:
        paths = [entry.path for entry in entries if entry.name.startswith(PREFIX) and _is_directory_of_user(entry)]
    for path in paths:
        try:
            with Directory(path) as directory:
                is_orphan = has_exited(json.loads(directory.read(OWNER, _MAX_BYTES)))
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            RecursionError,
        ):  # not a private directory, or not complete yet
            continue
        if is_orphan:
            yield path


def _is_directory_of_user(entry: os.DirEntry[str]) -> bool:
    try:
        is_of_user = entry.stat(follow_symlinks=False).st_uid == getattr(os, "getuid", int)()
        return is_of_user and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
