"""A thread on each rank that looks out for the others while its rank is busy, or waits for one that is gone."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpcompat.objectives.ranks.course import Course, cause_of
from hpcompat.objectives.ranks.interrupts import Place

if TYPE_CHECKING:
    from hpcompat.objectives.ranks.crew import Crew

POLL_S = 0.1
BEATS_S = 1.0
SILENT_BEATS = 60
GRACE_S = 2.0
LAST_S = 30.0


class Lookout(threading.Thread):
    """Sees a rank that another one waits for in vain, a rank that is dead, and a Ctrl-C anywhere."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(name="hpcompat-lookout", daemon=True)
        self.crew = crew
        self.line = crew.line
        self.over = threading.Event()
        self._beats = 0
        self._next_beat = 0.0
        self._silence = {rank: (b"", 0) for rank in crew.line.others}
        self._agreed = False
        self._freed: Course | None = None

    def run(self) -> None:
        """Look, until the search is over."""
        while not self.over.wait(POLL_S):
            try:
                self._look()
            except Exception as error:  # the store is gone, and rank 0 with it
                if not self.over.is_set():
                    self.crew.broken = self.crew.broken or f"rank {self.line.rank} cannot reach the others: {error}"

    def _look(self) -> None:
        crew = self.crew
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + BEATS_S
            self._beat()
        course = crew.course
        busy = course is not None and not course.ended.is_set()
        if crew.broken is None and self.line.has("broken"):
            crew.broken = self.line.read("broken")
        if crew.broken is None and course and busy:
            self._overtaken(course)
        if not self._agreed and (crew.interrupts.asked or self.line.has("interrupt")):
            self._agree()
        if crew.broken is not None and course and busy and course is not self._freed:
            self._freed = course
            threading.Thread(target=self._free, args=(course,), daemon=True).start()

    def _overtaken(self, course: Course) -> None:
        """Whether this rank has begun a collective that a rank which has left the trial will never join."""
        if not self.line.has(course.key("left")):
            return
        calls = self.crew.group.calls()
        keys = {rank: course.key("end", rank) for rank in self.line.others}
        ends = {rank: self.line.read(key) for rank, key in keys.items() if self.line.has(key)}
        if any(end.calls < calls for end in ends.values()) and not course.ended.is_set():
            ranks = ", ".join(map(str, ends))
            self.crew.fall_apart(cause_of(ends) or f"rank {ranks}: left the trial, and rank {self.line.rank} had not")

    def _free(self, course: Course) -> None:
        """Get this rank out of a collective that will never end; failing that, end its process."""
        crew = self.crew
        if course.ended.wait(GRACE_S):
            return
        crew.group.abort()
        if course.ended.wait(GRACE_S):
            return
        crew.give_up(course)
        if not course.ended.wait(LAST_S):
            print(
                f"hpcompat: rank {self.line.rank} cannot leave a trial: {crew.failure()}", file=sys.stderr, flush=True
            )
            os._exit(1)

    def _beat(self) -> None:
        """A sign of life; a rank that has given none for SILENT_BEATS of ours is dead."""
        self._beats += 1
        self.line.put(f"beat/{self.line.rank}", self._beats)
        for rank, (last, silent) in self._silence.items():
            key = f"beat/{rank}"
            now = self.line.store.get(key) if self.line.has(key) else b""
            self._silence[rank] = (now, 0 if now != last else silent + 1)
            if silent > SILENT_BEATS and self.crew.broken is None and not self.line.has(f"bye/{rank}"):
                self.crew.fall_apart(f"rank {rank}: no sign of life for {SILENT_BEATS * BEATS_S:.0f} s")

    def _agree(self) -> None:
        """Settle with the other lookouts where all stop."""
        crew = self.crew
        self._agreed = True
        self.line.put("interrupt")
        with crew.interrupts.held:  # this rank takes no further step until it is settled
            self.line.put(f"at/{self.line.rank}", crew.place)
            places: list[Place] = [self._heard(f"at/{rank}", crew.place) for rank in range(self.line.size)]
            trial, step = max(places)
            crew.interrupts.target = (trial, step + 1)
        crew.interrupts.asked = True
        if not crew.training():
            crew.interrupts.nudge()

    def _heard(self, key: str, otherwise: Any) -> Any:
        end = time.monotonic() + LAST_S
        late: Callable[[], bool] = lambda: time.monotonic() > end or self.over.is_set()  # noqa: E731
        while not self.line.has(key):
            if late():
                return otherwise
            time.sleep(POLL_S / 10)
        return self.line.read(key)
