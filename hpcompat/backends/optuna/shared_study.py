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

from hpcompat.errors import BackendError, Issue, ParamsError
from hpcompat.space.values import strict_key
from hpcompat.translators import Translation
from hpcompat.trials.grid import configurations
from hpcompat.trials.optuna_trials import ERROR, OWNER
from hpcompat.trials.processes import ended, this_process

HISTORY, SURPLUS, CLAIM = "hpcompat: history", "hpcompat: surplus", "hpcompat: claim"
DONE = ("COMPLETE", "PRUNED", "FAIL")
PATIENCE = 10.0
"""Seconds that a trial without an owner, whose params are being drawn, is waited for where all depends on it."""
_TICK = 0.05
_CHANCE = random.SystemRandom()  # training code seeds the others, alike in every process

FrozenTrials = Sequence[Any]
Predicate = Callable[[FrozenTrials], bool]


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
        issues = []
        for frozen_trial in self.finished():
            try:
                self.translation.decode(frozen_trial.params)
            except ParamsError as error:
                issues += [Issue(f"trial {frozen_trial.number}", str(issue)) for issue in error.issues]
        if issues:
            raise BackendError(f"study {self.study.study_name!r} holds trials of another space", issues)

    def next(self) -> bool:
        """Whether there is to be another trial."""
        return not self._surely(self._complete)

    def admits(self, trial: Any) -> bool:
        """Whether the trial is one of those wanted; with its configuration, in a grid. Else it is marked as surplus."""
        trial.set_user_attr(OWNER, self.owner)

        def enough_before(frozen_trials: FrozenTrials) -> bool:
            others = [frozen_trial for frozen_trial in frozen_trials if frozen_trial.number != trial.number]
            before = [
                frozen_trial
                for frozen_trial in others
                if frozen_trial.state.name in DONE or frozen_trial.number < trial.number
            ]
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
        return [frozen_trial for frozen_trial in self._forms() if frozen_trial.state.name in DONE]

    def _forms(self) -> list[Any]:
        """The trials that count, running or over: no history, nothing surplus, none that never got its params."""
        frozen_trials = self.study.get_trials(deepcopy=False)
        if any([self._buried(frozen_trial) for frozen_trial in frozen_trials]):
            frozen_trials = self.study.get_trials(deepcopy=False)
        self.history.update(frozen_trial.number for frozen_trial in frozen_trials if HISTORY in frozen_trial.user_attrs)
        return [
            frozen_trial
            for frozen_trial in frozen_trials
            if frozen_trial.number not in self.lost and self._counts(frozen_trial)
        ]

    def _counts(self, frozen_trial: Any) -> bool:
        marks = frozen_trial.user_attrs
        if HISTORY in marks or SURPLUS in marks or frozen_trial.state.name == "WAITING":
            return False
        if frozen_trial.state.name != "FAIL" or ERROR in marks:
            return True
        return bool(frozen_trial.params) and (OWNER not in marks or self._is_whole(frozen_trial))

    def _is_whole(self, frozen_trial: Any) -> bool:
        try:
            self.translation.decode(frozen_trial.params)
        except ParamsError:
            return False
        return True

    def _complete(self, frozen_trials: FrozenTrials) -> bool:
        return len(frozen_trials) >= self.n_trials or (
            self.hand_out is not None and not self._untaken(frozen_trials, 1)
        )

    def _surely(self, holds: Predicate) -> bool:
        """Whether it holds, even if the trials that have no owner yet should never get one.

        A process that dies while params are drawn leaves such a trial, of which nobody can tell whether
        it is alive. They are waited for only if it depends on them.
        """
        end = time.monotonic() + PATIENCE
        while True:
            frozen_trials = self._forms()
            nameless = {frozen_trial.number for frozen_trial in frozen_trials if _is_nameless(frozen_trial)}
            if not holds(frozen_trials):
                return False
            if not nameless or holds(
                [frozen_trial for frozen_trial in frozen_trials if frozen_trial.number not in nameless]
            ):
                return True
            if time.monotonic() > end:
                self.lost.update(nameless)
            else:
                time.sleep(_TICK)

    def _buried(self, frozen_trial: Any) -> bool:
        """Whether Optuna was just told that the trial has failed, for its process, on this host, has ended."""
        owner = frozen_trial.user_attrs.get(OWNER)
        if frozen_trial.state.name != "RUNNING" or owner is None or owner == self.owner or not ended(owner):
            return False
        with suppress(RuntimeError):  # some of Optuna's samplers stop an optimize, and there may be none now
            self.study.tell(frozen_trial.number, state=_fail(), skip_if_finished=True)
        return True

    # -- a grid: who has which configuration ----------------------------------------------------------

    def _claim(self, trial: Any) -> bool:
        """Give the trial a configuration that no other one has; False if there is none left."""
        for attempt in count():
            frozen_trials = [frozen_trial for frozen_trial in self._forms() if frozen_trial.number != trial.number]
            untaken = self._untaken(frozen_trials, 1 + attempt)
            if not untaken:
                return False
            params = _CHANCE.choice(untaken)  # the first one, but for who has met others there
            raw = self.translation.encode(params)
            trial.set_user_attr(CLAIM, raw)
            if strict_key(params) not in self._taken(
                frozen_trial for frozen_trial in self._forms() if frozen_trial.number != trial.number
            ):
                self.hand_out.chosen = raw
                return True
            trial.set_user_attr(CLAIM, None)
        raise AssertionError  # it counts for ever

    def _untaken(self, frozen_trials: FrozenTrials, most: int) -> list[dict[str, Any]]:
        taken = self._taken(frozen_trials)
        every = configurations(self.translation.space)
        return list(islice((params for params in every if strict_key(params) not in taken), most))

    def _taken(self, frozen_trials: FrozenTrials | Iterator[Any]) -> set[Hashable]:
        return {self._identity(frozen_trial) for frozen_trial in frozen_trials}

    def _identity(self, frozen_trial: Any) -> Hashable:
        """Of the params of a trial, or of those that it claims; None if it has none yet."""
        if frozen_trial.number in self.known:
            return self.known[frozen_trial.number]
        over = frozen_trial.state.name in DONE
        raw = frozen_trial.params if over else frozen_trial.user_attrs.get(CLAIM)
        if raw is None:
            return None
        found = strict_key(self.translation.decode(raw))
        if over:
            self.known[frozen_trial.number] = found
        return found


def _is_nameless(frozen_trial: Any) -> bool:
    return frozen_trial.state.name == "RUNNING" and OWNER not in frozen_trial.user_attrs and not frozen_trial.params


def _fail() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL
