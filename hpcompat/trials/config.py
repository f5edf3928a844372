"""What a search is to do: its configuration, the suggestion of one trial, and what a backend hands back."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hpcompat.space import SearchSpace
from hpcompat.trials.notes import Notes
from hpcompat.trials.trial import Trial


def _unheard(value: float, step: int) -> None:
    """Where no pruner listens."""


def _unnoted(key: str, value: Any) -> None:
    """Where the engine hears of notes with the finished trial alone."""


def _never() -> bool:
    return False


def _nobody(*anything: Any) -> None:
    """Where there are no other ranks."""


@dataclass(frozen=True)
class Suggestion:
    """The params of one trial to come, and the way back to the engine while it runs.

    `report(value, step)` and `should_prune()` talk to the engine's pruner. `native`: the engine's own
    trial object, if there is one. `prepared()` is called when all is set up and before a training begins,
    `stepped()` after each step of it: where several ranks go through one trial they meet there.
    `notes`: what the trial has noted so far; each note goes to `set_user_attr` or `set_constraint` at once.
    `on_ddp_timeout(seconds)` is called when it is known how long they may wait for each other.
    """

    number: int
    params: dict[str, Any]
    report: Callable[[float, int], None] = _unheard
    should_prune: Callable[[], bool] = _never
    native: Any = None
    prepared: Callable[[], None] = _nobody
    stepped: Callable[[], None] = _nobody
    notes: Notes = field(default_factory=Notes)
    set_user_attr: Callable[[str, Any], None] = _unnoted
    set_constraint: Callable[[str, float], None] = _unnoted
    on_ddp_timeout: Callable[[float], None] = _nobody


Evaluate = Callable[[Suggestion], Trial]


def _no_end(trial: Trial) -> bool:
    return False


@dataclass(frozen=True)
class Plan:
    """What a search asks of a backend.

    `sampler`: "bayes", "random", "grid" or a native one; `pruner`: None, "median", "hyperband", "asha"
    or a native one. `history`: finished trials to tell the engine of before it starts; they are not
    counted in `n_trials`. `resume`: to go on with a store that is there already. `taken`: the numbers of
    the search's trials that are in the history, see `number`. `finished(trial)`: to be called once for
    each trial; True asks for an end.
    `output_dir`: where the search may leave what it writes; None where nothing is to be left. `origin`:
    the Trainer or function that `evaluate` is made of, and its Setting, to make it again in another process.
    """

    space: SearchSpace
    directions: tuple[str, ...]
    n_trials: int
    sampler: Any = None
    pruner: Any = None
    seed: int | None = None
    timeout: float | None = None
    history: tuple[Trial, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    finished: Callable[[Trial], bool] = _no_end
    output_dir: str | None = None
    origin: tuple[Any, Any] = (None, None)
    resume: bool = False
    taken: frozenset[int] = frozenset()

    def number(self, index: int) -> int:
        """The number of the trial that is to be run as the one of this index: the next that is free.

        >>> plan = Plan(SearchSpace(), ("minimize",), 3, taken=frozenset({0, 1, 3}))
        >>> [plan.number(index) for index in range(3)]
        [2, 4, 5]
        """
        return index + bisect_right(self._free_before, index)

    def going_on(self, trials: Sequence[Trial]) -> Plan:
        """What is left of the plan with these trials finished."""
        taken = frozenset(trial.number for trial in trials)
        return replace(self, history=(*self.history, *trials), n_trials=self.n_trials - len(trials), taken=taken)

    @cached_property
    def _free_before(self) -> list[int]:
        """How many numbers are free below each that is taken."""
        return [number - taken for taken, number in enumerate(sorted(self.taken))]


@dataclass(frozen=True)
class Run:
    """What a backend hands back: every finished trial of the search, and its own object."""

    trials: tuple[Trial, ...]
    native: Any
    interrupted: bool = False


_SEEDS = 2**32


def leg_seed(seed: int | None, replayed: int) -> int | None:
    """The seed of an engine that has `replayed` trials behind it: the plain one would draw them all again.

    One that no engine takes (numpy's generators take 32 bits) stands for another.
    """
    if seed is None or (not replayed and 0 <= seed < _SEEDS):
        return seed
    return random.Random(f"{seed}/{replayed}").getrandbits(32)
