"""What the ranks say to each other in a running trial."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hpcompat.distributed.active_trial import Course, Elsewhere, End
from hpcompat.distributed.relays import Relay
from hpcompat.trials.config import Suggestion

if TYPE_CHECKING:
    from hpcompat.distributed.coordinator import Crew

_REQUIRED = object()


@dataclass(frozen=True)
class Talk:
    """One rank's part of it: rank 0 tells, the others hear."""

    crew: Crew
    course: Course

    def shared(self, suggestion: Suggestion) -> Suggestion:
        """The suggestion for this rank: what the engine answers, it answers to rank 0, and so to all."""
        native = suggestion.native
        if self.crew.rank == 0 and hasattr(native, "suggest_float"):
            native = Relay(native, self.tell)
        return replace(
            suggestion,
            report=self._report,
            should_prune=self._should_prune,
            prepared=self._prepared,
            stepped=self._stepped,
            on_ddp_timeout=self._on_ddp_timeout,
            native=native,
        )

    def _report(self, value: float, step: int) -> None:
        self.course.reports[step] = value
        self.course.suggestion.report(value, step)

    def _should_prune(self) -> bool:
        if self.crew.rank:
            return bool(self.hear("prune", otherwise=False))
        decision = self.course.suggestion.should_prune()
        self.tell("prune", decision)
        return decision

    def _prepared(self) -> None:
        """Wait until all ranks are. Raises `Elsewhere` if one has failed to be."""
        if self.course.ready:
            return
        self.course.ready = True
        self.put(self.course.key("ready", self.crew.rank), None)
        for rank in self.crew.line.others:
            issue = self.crew.line.get(self.course.key("ready", rank), self.crew.require_together)
            if issue is not None:
                self.course.echoed = True
                raise Elsewhere(f"rank {rank}: {issue}")

    def _stepped(self) -> None:
        self.course.steps += 1
        self.crew.interrupts.reached((self.course.index, self.course.steps))

    def _on_ddp_timeout(self, seconds: float) -> None:
        self.course.ddp_timeout = self.crew.line.patience = seconds

    def made(self, path: str) -> None:
        """Rank 0 has made the run directory."""
        self.course.directory = path
        self.tell("directory", path)

    def put(self, key: str, thing: Any) -> None:
        """Say something that this rank will take back when the next trial is over."""
        self.course.keys.append(key)
        self.crew.line.put(key, thing)

    def tell(self, kind: str, thing: Any) -> None:
        """Rank 0: the next thing of a kind."""
        self.put(self.course.next(kind), thing)

    def hear(self, kind: str, otherwise: Any = _REQUIRED) -> Any:
        """The others: wait for the next thing of a kind; `otherwise` if rank 0 ends the trial without it.

        Raises `Elsewhere` if rank 0 fails instead: then all fail at the same point, and stay in step.
        """
        line, key, end_key = self.crew.line, self.course.next(kind), self.course.key("end", 0)

        def unless_ended() -> None:
            self.crew.require_together()
            if line.has(end_key) and not line.has(key):
                raise _Ended

        self.course.hearing = True
        try:
            return line.get(key, unless_ended)
        except _Ended:
            end: End = line.read(end_key)
        finally:
            self.course.hearing = False
        if end.error is None and otherwise is not _REQUIRED:
            return otherwise
        self.course.echoed = True
        raise Elsewhere(f"rank 0: {end.error or f'it has ended, and told no {kind}'}")


class _Ended(Exception):
    """Rank 0 has left the trial."""
