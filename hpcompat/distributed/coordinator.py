"""The ranks of one search, or of one trial, and what this rank does among them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hpcompat.distributed.active_trial import Course, Elsewhere, End, Stand, cause_of
from hpcompat.distributed.interrupts import Interrupts, Place
from hpcompat.distributed.process_group import Group
from hpcompat.distributed.relays import HeardRuns, ToldRuns
from hpcompat.distributed.store_channel import RESUME, Line, Unreachable
from hpcompat.distributed.trial_channel import Talk
from hpcompat.distributed.watchdog import Lookout
from hpcompat.errors import HpcompatError, Issue, SearchError
from hpcompat.objectives.trial_context import Setting, described
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.processes import ended, this_process
from hpcompat.trials.trial import FAILED, Trial

JOIN_S = 1800.0  # as long as torch waits for a group to meet


class Crew:
    """This rank among the others.

    `broken`: why they cannot go on together, once they cannot. `ends_together`: a signal that ends the process
    of one rank, SIGTERM, ends that of all. `termination`: whether that signal has come here, see `joined`.
    """

    def __init__(self, line: Line, group: Group) -> None:
        self.line = line
        self.group = group
        line.patience = group.timeout
        self.rank = line.rank
        self.course: Course | None = None
        self.broken: str | None = None
        self.processes: Mapping[int, Mapping[str, Any]] = {}
        self.ends_together = False
        self.termination: Any = None
        self.others_end = False
        self.runs: ToldRuns | None = None
        self.record: Callable[[Trial], Any] = lambda trial: None
        self.interrupts = Interrupts(self.training)
        self._lookout = Lookout(self)
        self._settled = threading.Lock()
        self._earlier: list[str] = []

    @property
    def begun(self) -> int:
        """How many trials have begun here."""
        return self.course.index if self.course else 0

    @property
    def place(self) -> Place:
        """How far this rank is: the trial, and the step in it."""
        return (self.course.index, self.course.steps) if self.course else (0, 0)

    @property
    def stand(self) -> Stand:
        """The same as the other ranks are told of it."""
        return self.course.stand(self.group.calls()) if self.course else Stand()

    def training(self) -> bool:
        """Whether a training may be under way here, which no rank can leave alone."""
        course = self.course
        if course is None or course.ended.is_set():
            return False
        return course.ready or self.group.calls() > course.begun

    def setting(self, setting: Setting) -> Setting:
        """The setting for this rank: run directories are made, and named, by rank 0 alone."""
        if self.rank == 0:
            self.runs = ToldRuns(**vars(setting.runs), tell=lambda path: self.talk().made(path))
            return replace(setting, runs=self.runs)
        return replace(setting, hp_name=None, runs=HeardRuns(hear=lambda: self.talk().hear("directory")))

    # -- one trial -------------------------------------------------------------------------------------

    def evaluated(self, evaluate: Evaluate, suggestion: Suggestion) -> Trial:
        """The trial, evaluated on every rank. All return the same one: that of rank 0, FAILED if any failed.

        Raises `KeyboardInterrupt` if it was raised on any, and `SearchError` once the ranks are out of step:
        no trial can follow. (Rank 0 first hands back the trial in which that happened.)
        """
        self.require_whole()
        self.line.patience = self.group.timeout
        course = self.course = Course(self.begun + 1, suggestion, self.group.calls(), self.group.timeout)
        try:
            return self._evaluated(course, evaluate, suggestion)
        except Elsewhere:
            return self._fallen(course)
        except Exception:
            raise
        except BaseException as error:
            return self._ended_by_signal(course, error)

    def _ended_by_signal(self, course: Course, error: BaseException) -> Trial:
        """Leave a trial that Ctrl-C, SIGTERM or an exit of a signal handler's ends."""
        ctrl_c = isinstance(error, KeyboardInterrupt)
        self.share_termination()
        if (self.is_terminated or not ctrl_c) and self._lookout.has_lost_one():
            self._leave(course, self.broken)  # the launcher has sent it because of that
            return self._fallen(course)
        if not ctrl_c:
            self.end_all()
        if not (ctrl_c or self.ends_together):
            self.fall_apart(f"rank {self.rank}: {described(error)}")
        self._leave(course, described(error), interrupted=ctrl_c, terminated=self.ends_together and not ctrl_c)
        raise error

    def _evaluated(self, course: Course, evaluate: Evaluate, suggestion: Suggestion) -> Trial:
        fatal: HpcompatError | None = None
        try:
            self.interrupts.reached((course.index, 0))
            trial = evaluate(self.talk().shared(suggestion))
        except HpcompatError as error:
            fatal, trial = error, course.failed(described(error))
        except Exception as error:
            self.fall_apart(f"rank {self.rank}: {described(error)}")
            self._leave(course, described(error))
            raise
        return self._agreed(course, trial, fatal)

    def _agreed(self, course: Course, trial: Trial, fatal: HpcompatError | None) -> Trial:
        """What the trial is once all have left it."""
        self._leave(course, trial.error)
        self.require_together()
        ends: dict[int, End] = {
            rank: self.line.get(course.key("end", rank), self.require_together) for rank in range(self.line.size)
        }
        if any(end.interrupted for end in ends.values()):
            self.interrupts.stopped = True
            raise KeyboardInterrupt
        cause = cause_of(ends)
        if any(end.terminated for end in ends.values()):
            self.others_end = True
            self.interrupts.terminate()
            self.fall_apart(str(cause))  # this process takes no end from it
            raise Elsewhere
        if len({end.calls for end in ends.values()}) > 1:
            self.fall_apart(cause or "the ranks have not begun as many collectives as each other")
            raise Elsewhere
        for key in self._earlier:  # all have left this trial, and so heard everything of the one before
            self.line.drop(key)
        self._earlier = course.keys
        if self.rank == 0:
            whole = trial if cause is None else replace(trial, state=FAILED, values=None, error=cause)
            if whole.directory and self.runs:
                whole = replace(whole, directory=self.runs.settle(whole.directory))
            self.talk().put(course.key("verdict"), fatal or whole)
        verdict = self.line.get(course.key("verdict"), self._require_verdict)
        if isinstance(verdict, HpcompatError):
            raise verdict
        return verdict  # type: ignore[no-any-return]

    def _require_verdict(self) -> None:
        self.require_together()
        if self.line.has("over"):  # Ctrl-C on rank 0
            raise KeyboardInterrupt

    def _leave(self, course: Course, error: str | None, interrupted: bool = False, terminated: bool = False) -> None:
        """Take no part in the trial any more, and say so."""
        if course.ended.is_set():
            return
        talk = self.talk()
        end = End(self.group.calls(), error, course.echoed, interrupted, terminated)
        with suppress(Unreachable):  # where the store is gone there is nobody to tell
            if not course.ready:
                talk.put(course.key("ready", self.rank), error or "it has ended, and trains nothing")
            talk.put(course.key("end", self.rank), end)
            talk.put(course.key("left"), None)
        course.ended.set()

    def _fallen(self, course: Course) -> Trial:
        """The trial in which the ranks got out of step: this ends the search, whatever signal the launcher sends."""
        if self.is_terminated:
            self.termination.is_requested = False
        if self.rank == 0 and self._settled.acquire(blocking=False):
            return course.failed(str(self.broken))
        raise self.failure()

    def give_up(self, course: Course) -> None:
        """From the lookout, for a rank that does not come back: have the trial recorded, and let the others go."""
        if self.rank == 0 and self._settled.acquire(blocking=False):
            with suppress(Exception):
                self.record(course.failed(str(self.broken)))
            with suppress(Unreachable):
                self.line.put("over", self.failure())

    def come_back(self, course: Course) -> None:
        """From the lookout, in the main thread: leave the trial, if it is still there."""
        if not course.ended.is_set():
            raise Elsewhere(str(self.broken))

    @property
    def is_terminated(self) -> bool:
        """Whether SIGTERM has come here, and ends the search."""
        return self.termination is not None and bool(self.termination.is_requested)

    def share_termination(self) -> None:
        """A SIGTERM for one rank is one for all."""
        if self.is_terminated:
            self.end_all()
            return
        with suppress(Unreachable):
            self.others_end = self.others_end or (self.ends_together and self.line.has("terminated"))
        if self.others_end:
            self.interrupts.terminate()

    def end_all(self) -> None:
        """A signal ends this process: have the others end too."""
        if self.interrupts.ends() and self.ends_together:
            with suppress(Unreachable):
                self.line.put(f"terminated/{self.rank}")
                self.line.put("terminated")

    def talk(self) -> Talk:
        """This rank's part of what is said in the trial that is under way."""
        assert self.course is not None
        return Talk(self, self.course)

    # -- together, or not ------------------------------------------------------------------------------

    def join(self) -> None:
        """Meet the others. Raises `SearchError` if they do not come."""
        end = time.monotonic() + JOIN_S
        self.line.put(f"here/{self.rank}", this_process())
        self.processes = {
            rank: self.line.get(f"here/{rank}", lambda: _in_time(end, rank))  # noqa: B023
            for rank in self.line.others
        }
        self.interrupts.install()
        self._lookout.start()

    def close(self) -> None:
        """The end of this rank's part."""
        self.interrupts.restore()
        self._lookout.over.set()
        if self._lookout.is_alive():
            self._lookout.join()
        with suppress(Unreachable):
            self.line.put(f"bye/{self.rank}")
        self.line.close()

    def has_ended(self, rank: int) -> bool:
        """Whether the process of another rank is over, as far as can be seen from this host."""
        return bool(ended(self.processes[rank]))

    def fall_apart(self, cause: str) -> None:
        """Note, for all, that the ranks cannot go on together."""
        if self.broken is None:
            with suppress(Unreachable):
                if not self.line.has("broken"):
                    self.line.put("broken", cause)
                cause = self.line.read("broken")
            self.broken = cause

    def failure(self) -> SearchError:
        """What ends a search whose ranks cannot go on together."""
        cause = str(self.broken).split("\n", 1)[0]
        return SearchError("the ranks are out of step, and no trial can follow", [Issue("", cause), Issue("", RESUME)])

    def require_whole(self) -> None:
        """Raise `SearchError` if the ranks cannot go on together."""
        if self.broken is not None:
            raise self.failure()

    def require_together(self) -> None:
        """Raise `Elsewhere` if they cannot, to get out of a trial."""
        if self.broken is not None:
            raise Elsewhere(self.broken)


def _in_time(end: float, rank: int) -> None:
    if time.monotonic() > end:
        hint = Issue("", "call search on every rank that the launcher has started")
        raise SearchError(f"rank {rank} has not called search in {JOIN_S:.0f} s", [hint])
