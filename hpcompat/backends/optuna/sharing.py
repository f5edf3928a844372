"""A study that several processes may share: which trials count, which one comes too late, whose process is gone.

The storage gives every trial a number of its own, and shows it to all from then on; everything here is
decided by what it shows. A trial that comes after the last one wanted is marked as surplus and not run.
In a grid a trial claims its configuration, then looks who else has: whoever sees another claim gives up
his own, so of two at most one keeps it, whichever wrote first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from hpcompat.backends.grid import configurations
from hpcompat.backends.processes import ended, this_process
from hpcompat.errors import BackendError, Fault, ParamsError
from hpcompat.space.values import identity
from hpcompat.studies import ERROR, OWNER
from hpcompat.translators import Translation

HISTORY, SURPLUS, CLAIM = "hpcompat: history", "hpcompat: surplus", "hpcompat: claim"
DONE = ("COMPLETE", "PRUNED", "FAIL")
PATIENCE = 10.0
"""Seconds that a trial without an owner, whose params are being drawn, is waited for where all depends on it."""
_TICK = 0.05
_CHANCE = random.SystemRandom()  # training code seeds the others, alike in every process

Forms = Sequence[Any]
Predicate = Callable[[Forms], bool]


@dataclass(frozen=True)
class Shared:
    """The study, seen from this process. `hand_out` is the sampler of a grid, else None.

    `lost`: numbers of trials without an owner that were waited for in vain; `history`: of those that are
    an earlier search's.
    """

    study: Any
    n_trials: int
    translation: Translation
    hand_out: Any = None
    owner: dict[str, Any] = field(default_factory=this_process)
    lost: set[int] = field(default_factory=set)
    history: set[int] = field(default_factory=set)
    known: dict[int, Hashable] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `BackendError` if it holds trials of another space."""
        faults = []
        for form in self.finished():
            try:
                self.translation.decode(form.params)
            except ParamsError as error:
                faults += [Fault(f"trial {form.number}", str(fault)) for fault in error.faults]
        if faults:
            raise BackendError(f"study {self.study.study_name!r} holds trials of another space", faults)

    def next(self) -> bool:
        """Whether there is to be another trial."""
        return not self._surely(self._complete)

    def admits(self, trial: Any) -> bool:
        """Whether the trial is one of those wanted; with its configuration, in a grid. Else it is marked as surplus."""
        trial.set_user_attr(OWNER, self.owner)

        def enough_before(forms: Forms) -> bool:
            others = [form for form in forms if form.number != trial.number]
            before = [form for form in others if form.state.name in DONE or form.number < trial.number]
            return len(before) >= self.n_trials

        if self._surely(enough_before) or (self.hand_out is not None and not self._claim(trial)):
            trial.set_user_attr(SURPLUS, True)
            return False
        return True

    def number(self, trial: Any) -> int:
        """Of a trial that was admitted, or of a form: its number, not counting history."""
        return int(trial.number) - len([number for number in self.history if number < trial.number])

    def finished(self) -> list[Any]:
        """The trials that count and are over, of all processes."""
        return [form for form in self._forms() if form.state.name in DONE]

    def _forms(self) -> list[Any]:
        """The trials that count, running or over: no history, nothing surplus, none that never got its params."""
        forms = self.study.get_trials(deepcopy=False)
        if any([self._buried(form) for form in forms]):
            forms = self.study.get_trials(deepcopy=False)
        self.history.update(form.number for form in forms if HISTORY in form.user_attrs)
        return [form for form in forms if form.number not in self.lost and self._counts(form)]

    def _counts(self, form: Any) -> bool:
        marks = form.user_attrs
        if HISTORY in marks or SURPLUS in marks or form.state.name == "WAITING":
            return False
        if form.state.name != "FAIL" or ERROR in marks:
            return True
        return bool(form.params) and (OWNER not in marks or self._is_whole(form))

    def _is_whole(self, form: Any) -> bool:
        try:
            self.translation.decode(form.params)
        except ParamsError:
            return False
        return True

    def _complete(self, forms: Forms) -> bool:
        return len(forms) >= self.n_trials or (self.hand_out is not None and not self._untaken(forms, 1))

    def _surely(self, holds: Predicate) -> bool:
        """Whether it holds, even if the trials that have no owner yet should never get one.

        A process that dies while params are drawn leaves such a trial, of which nobody can tell whether
        it is alive. They are waited for only if it depends on them.
        """
        end = time.monotonic() + PATIENCE
        while True:
            forms = self._forms()
            nameless = {form.number for form in forms if _is_nameless(form)}
            if not holds(forms):
                return False
            if not nameless or holds([form for form in forms if form.number not in nameless]):
                return True
            if time.monotonic() > end:
                self.lost.update(nameless)
            else:
                time.sleep(_TICK)

    def _buried(self, form: Any) -> bool:
        """Whether Optuna was just told that the trial has failed, for its process, on this host, has ended."""
        owner = form.user_attrs.get(OWNER)
        if form.state.name != "RUNNING" or owner is None or owner == self.owner or not ended(owner):
            return False
        with suppress(RuntimeError):  # some of Optuna's samplers stop an optimize, and there may be none now
            self.study.tell(form.number, state=_fail(), skip_if_finished=True)
        return True

    # -- a grid: who has which configuration ----------------------------------------------------------

    def _claim(self, trial: Any) -> bool:
        """Give the trial a configuration that no other one has; False if there is none left."""
        for attempt in count():
            forms = [form for form in self._forms() if form.number != trial.number]
            untaken = self._untaken(forms, 1 + attempt)
            if not untaken:
                return False
            params = _CHANCE.choice(untaken)  # the first one, but for who has met others there
            raw = self.translation.encode(params)
            trial.set_user_attr(CLAIM, raw)
            if identity(params) not in self._taken(form for form in self._forms() if form.number != trial.number):
                self.hand_out.chosen = raw
                return True
            trial.set_user_attr(CLAIM, None)
        raise AssertionError  # it counts for ever

    def _untaken(self, forms: Forms, most: int) -> list[dict[str, Any]]:
        taken = self._taken(forms)
        every = configurations(self.translation.space)
        return list(islice((params for params in every if identity(params) not in taken), most))

    def _taken(self, forms: Forms | Iterator[Any]) -> set[Hashable]:
        return {self._identity(form) for form in forms}

    def _identity(self, form: Any) -> Hashable:
        """Of the params of a trial, or of those that it claims; None if it has none yet."""
        if form.number in self.known:
            return self.known[form.number]
        over = form.state.name in DONE
        raw = form.params if over else form.user_attrs.get(CLAIM)
        if raw is None:
            return None
        found = identity(self.translation.decode(raw))
        if over:
            self.known[form.number] = found
        return found


def _is_nameless(form: Any) -> bool:
    return form.state.name == "RUNNING" and OWNER not in form.user_attrs and not form.params


def _fail() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL
