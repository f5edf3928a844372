"""A search over several ranks: rank 0 drives it, the others follow."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hpcompat.distributed.coordinator import Crew
from hpcompat.distributed.relays import Echo
from hpcompat.distributed.store_channel import Unreachable
from hpcompat.distributed.watchdog import GRACE_S, LAST_S
from hpcompat.errors import HpcompatError, SearchError
from hpcompat.objectives.trial_context import Setting, cause, described
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.trial import Trial

Found = tuple[tuple[Trial, ...], bool]
"""All trials, and whether Ctrl-C has ended the search."""


class Alone:
    """A search in a single process: nothing to share."""

    follows = False

    def setting(self, setting: Setting) -> Setting:
        """As it is."""
        return setting

    def lead(self, evaluate: Evaluate) -> Evaluate:
        """As it is."""
        return evaluate

    def reporting(self, finished: Callable[[Trial], bool]) -> Callable[[Trial], bool]:
        """As it is."""
        return finished

    def conclude(self, found: Found) -> None:
        """Nobody is to be told."""

    def follow(self, evaluate: Evaluate) -> Found:
        """There is nobody to follow."""
        raise NotImplementedError


class Together(Alone):
    """A search that the ranks of a crew go through together."""

    def __init__(self, crew: Crew, termination: Any = None) -> None:
        self.crew = crew
        crew.ends_together, crew.termination = True, termination
        self.line = crew.line
        self.follows = crew.rank > 0

    def setting(self, setting: Setting) -> Setting:
        """See `Crew.setting`."""
        return self.crew.setting(setting)

    def lead(self, evaluate: Evaluate) -> Evaluate:
        """Rank 0: what its backend evaluates trials with."""

        def led(suggestion: Suggestion) -> Trial:
            self.crew.require_whole()
            number = self.crew.begun + 1
            live = hasattr(suggestion.native, "suggest_float")
            self.line.put(f"order/{number}", (suggestion.number, suggestion.params, live, suggestion.notes))
            self.line.drop(f"order/{number - 2}")
            return self.crew.evaluated(evaluate, suggestion)

        return led

    def reporting(self, finished: Callable[[Trial], bool]) -> Callable[[Trial], bool]:
        """Rank 0: what its backend tells of finished trials. No more are wanted once the ranks are out of step."""
        self.crew.record = finished
        return lambda trial: any([finished(trial), self.crew.broken is not None])

    def conclude(self, found: Found) -> None:
        """Rank 0: let the others return too. Raises `SearchError` if the ranks have got out of step."""
        trials, interrupted = found
        if self.crew.broken is not None and not interrupted:
            error = self.crew.failure()
            error.trials = trials
            raise error
        self._say_over(found)

    def follow(self, evaluate: Evaluate) -> Found:
        """The others: evaluate what rank 0 says, until it says what was found."""
        try:
            while (order := self._order()) is not None:
                number, params, live, notes = order
                native = Echo(lambda kind: self.crew.talk().hear(kind)) if live else None
                self.crew.evaluated(evaluate, Suggestion(number, params, native=native, notes=notes))
        except KeyboardInterrupt:
            self.crew.interrupts.asked = self.crew.interrupts.stopped = True
        except SearchError:
            if self.crew.broken is None:
                raise
        end = time.monotonic() + LAST_S
        said = self.line.get("over", lambda: self._require_end(end))
        if isinstance(said, BaseException):
            raise said
        return said  # type: ignore[no-any-return]

    def _order(self) -> Any:
        def unless_over() -> None:
            if self.line.has("over"):
                raise _Over
            self.crew.require_whole()

        try:
            return self.line.get(f"order/{self.crew.begun + 1}", unless_over)
        except _Over:
            return None

    def _require_end(self, end: float) -> None:
        if self.crew.broken is not None and (time.monotonic() > end or self.crew.has_ended(0)):
            raise self.crew.failure()

    def fail(self, error: BaseException) -> None:
        """Leave the search with an error, and have the others leave it."""
        with suppress(Unreachable):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, (Exception, KeyboardInterrupt)):  # a signal ends this process
            self.crew.end_all()
            self._await_byes(2 * GRACE_S)
        elif self.crew.rank == 0:
            portable = isinstance(error, (HpcompatError, KeyboardInterrupt))
            self._say_over(error if portable else SearchError(f"rank 0: {cause(error)}"))
        elif not self.line.has("over"):
            self.crew.fall_apart(f"rank {self.crew.rank}: {described(error)}")

    def _say_over(self, said: Any) -> None:
        self.crew.share_termination()
        if not self.line.has("over"):
            self.line.put("over", said)
        self._await_byes(LAST_S)

    def _await_byes(self, seconds: float) -> None:
        """On rank 0: the store may be in its process, and has to outlive the others' reading."""
        end = time.monotonic() + seconds
        for rank in self.line.others if self.crew.rank == 0 else ():
            while not self.line.has(f"bye/{rank}") and self.crew.broken is None and time.monotonic() < end:
                time.sleep(0.01)


class _Over(Exception):
    """Rank 0 has ended the search."""
