"""A thread on each rank that looks out for the others while its rank is busy, or waits for one that is gone."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpcompat.distributed.active_trial import Course, Stand, cause_of
from hpcompat.distributed.interrupts import Place
from hpcompat.distributed.store_channel import Unreachable
from hpcompat.objectives.trial_context import cause
from hpcompat.trials.processes import ended

if TYPE_CHECKING:
    from hpcompat.distributed.coordinator import Crew

POLL_S = 0.1
BEATS_S = 1.0
QUIET_BEATS = 2
SILENT_BEATS = 30
GRACE_S = 2.0
LAST_S = 20.0


@dataclass
class Watched:
    """A rank as this one sees it. All is counted in beats of this rank: none passes while its process is stopped.

    `silent`: for how many it has said nothing; `behind`: for how many it has stood still behind another one.
    """

    beat: tuple[int, Stand] = (0, Stand(()))
    silent: int = 0
    behind: int = 0

    def look(self, beat: tuple[int, Stand]) -> None:
        """Take in what it says."""
        self.silent = 0 if beat != self.beat else self.silent + 1
        self.behind = 0 if beat[1] != self.beat[1] else self.behind + 1
        self.beat = beat


class Lookout(threading.Thread):
    """Sees a rank that another one waits for in vain, a rank that is dead, and a Ctrl-C or SIGTERM anywhere."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(name="hpcompat-lookout", daemon=True)
        self.crew = crew
        self.line = crew.line
        self.over = threading.Event()
        self._beats = 0
        self._next_beat = 0.0
        self._watched = {rank: Watched() for rank in range(crew.line.size)}
        self._agreed = False
        self._freed: Course | None = None

    def run(self) -> None:
        """Look, until the search is over."""
        while not self.over.wait(POLL_S):
            try:
                self._look()
            except Unreachable as error:
                self.crew.broken = self.crew.broken or error.issues[0].message
            except Exception as error:  # an error of our own must not leave the rank without one
                self.crew.fall_apart(f"rank {self.line.rank}: its lookout raised {cause(error)}")
            course = self.crew.course
            if self.crew.broken is not None and course is not None and course is not self._freed:
                self._freed = course
                threading.Thread(target=self._free, args=(course,), daemon=True).start()

    def has_lost_one(self) -> bool:
        """Whether the process of another rank is over, though nobody has ended it and it has not said goodbye."""
        try:
            for rank in self.line.others:
                if self.crew.has_ended(rank) and not any(map(self.line.has, self._ends(rank))):
                    self.crew.fall_apart(f"rank {rank}: its process has ended ({self._where(rank)})")
        except Unreachable as error:
            if not self.crew.others_end:
                self.crew.broken = self.crew.broken or error.issues[0].message
        return self.crew.broken is not None

    def _ends(self, rank: int) -> tuple[str, str]:
        """What a rank says before it ends."""
        return f"bye/{rank}", f"terminated/{rank}"

    def _where(self, rank: int) -> str:
        process = self.crew.processes[rank]
        return f"pid {process['pid']} on {process['host']}"

    def _look(self) -> None:
        crew = self.crew
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + BEATS_S
            self._beat()
        course = crew.course
        busy = course is not None and not course.ended.is_set()
        crew.share_termination()
        if crew.broken is None and self.line.has("broken"):
            crew.broken = self.line.read("broken")
        if crew.broken is None and course and busy:
            self._overtaken(course)
        if not self._agreed and (crew.interrupts.asked or self.line.has("interrupt")):
            self._agree()

    def _overtaken(self, course: Course) -> None:
        """Whether this rank has begun a collective that a rank which has left the trial will never join."""
        if not self.line.has(course.key("left")):
            return
        calls = self.crew.group.calls()
        keys = {rank: course.key("end", rank) for rank in self.line.others}
        ends = {rank: self.line.read(key) for rank, key in keys.items() if self.line.has(key)}
        if any(end.terminated for end in ends.values()):
            self.crew.others_end = True
            self.crew.interrupts.terminate()
        elif any(end.calls < calls for end in ends.values()) and not course.ended.is_set():
            ranks = ", ".join(map(str, ends))
            self.crew.fall_apart(cause_of(ends) or f"rank {ranks}: left the trial, and rank {self.line.rank} had not")

    def _free(self, course: Course) -> None:
        """Get this rank out of a trial that will never end; failing that, end its process."""
        crew = self.crew
        if course.ended.wait(GRACE_S):
            return
        crew.group.abort()
        crew.interrupts.have_done(lambda: crew.come_back(course))
        if course.ended.wait(GRACE_S):
            return
        crew.give_up(course)
        if not course.ended.wait(LAST_S):
            print(
                f"hpcompat: rank {self.line.rank} cannot leave a trial: {crew.failure()}", file=sys.stderr, flush=True
            )
            os._exit(1)

    def _beat(self) -> None:
        """A sign of life and of how far this rank is; what those of the others say."""
        self._beats += 1
        self.line.put(f"beat/{self.line.rank}", (self._beats, self.crew.stand))
        for rank, watched in self._watched.items():
            key = f"beat/{rank}"
            watched.look(self.line.read(key) if self.line.has(key) else watched.beat)
        if self.crew.broken is None:
            self._hung()
        for rank in self.line.others:
            if self.crew.broken is None and self._watched[rank].silent >= QUIET_BEATS:
                self._dead(rank, self._watched[rank].silent)

    def _dead(self, rank: int, silent: int) -> None:
        """Whether a rank that says nothing is dead: on this host its process is over, or it says nothing for long."""
        over = ended(self.crew.processes[rank])
        if (over or (over is None and silent >= SILENT_BEATS)) and not any(map(self.line.has, self._ends(rank))):
            what = "its process has ended" if over else f"no sign of life for {silent * BEATS_S:.0f} s"
            self.crew.fall_apart(f"rank {rank}: {what} ({self._where(rank)})")

    def _hung(self) -> None:
        """Whether a rank has stood still behind another one for longer than ranks may wait for each other."""
        course = self.crew.course
        if course is None:
            return
        furthest = max(watched.beat[1].place for watched in self._watched.values())
        for watched in self._watched.values():
            if watched.beat[1].place >= furthest:
                watched.behind = 0
        late = [rank for rank, each in self._watched.items() if each.behind * BEATS_S > course.ddp_timeout]
        if late:
            what = f"no progress for {course.ddp_timeout:.0f} s, while others wait for it (ddp_timeout)"
            self.crew.fall_apart(f"rank {', '.join(map(str, late))}: {what}")

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
        if crew.broken is not None:
            return
        crew.interrupts.asked = True
        if not crew.training():
            crew.interrupts.nudge()

    def _heard(self, key: str, otherwise: Any) -> Any:
        end = time.monotonic() + LAST_S
        while not self.line.has(key):
            if time.monotonic() > end or self.over.is_set() or self.has_lost_one():
                return otherwise
            time.sleep(POLL_S)
        return self.line.read(key)
