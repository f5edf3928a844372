"""What rank 0 knows and the others hear of it: names that the engine draws as the trial runs, run directories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hpcompat.trials.run_dirs import Runs


class Relay:
    """Rank 0's trial of the engine; every value that it suggests is told."""

    def __init__(self, native: Any, tell: Callable[[str, Any], None]) -> None:
        self._native = native
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._native, name)
        if not name.startswith("suggest_"):
            return found

        def suggest(*args: Any, **kwargs: Any) -> Any:
            value = found(*args, **kwargs)
            self._tell("suggest", value)
            return value

        return suggest


class Echo:
    """The same on the other ranks: what was suggested to rank 0 is suggested here."""

    def __init__(self, hear: Callable[[str], Any]) -> None:
        self._hear = hear

    def __getattr__(self, name: str) -> Any:
        if name.startswith("suggest_"):
            return lambda *args, **kwargs: self._hear("suggest")
        raise AttributeError(f"the engine's trial is on rank 0, and {name!r} with it")


def _nobody(path: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class ToldRuns(Runs):
    """Rank 0 makes the run directories, and tells of them."""

    tell: Callable[[str], None] = field(default=_nobody)

    def create(self, root: str, name: str) -> str:
        """See `Runs.create`."""
        path = super().create(root, name)
        self.tell(path)
        return path

    def close(self, path: str) -> str | None:
        """Not yet: the others may be looking for checkpoints in it."""
        return path

    def settle(self, path: str) -> str | None:
        """`Runs.close`, once all have left the trial."""
        return super().close(path)


@dataclass(frozen=True)
class HeardRuns(Runs):
    """The others use them."""

    hear: Callable[[], str] = field(default=str)

    def create(self, root: str, name: str) -> str:
        """Rank 0's directory."""
        return self.hear()

    def close(self, path: str) -> str | None:
        """Rank 0 may be removing it."""
        return path
