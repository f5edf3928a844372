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

_MAX_SEED = 2**32


def _ignore(*arguments: object) -> None:
    """Where nothing listens: no pruner, no other ranks."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Suggestion:
    """The params of one trial to come, and the way back to the engine while it runs.

    Attributes:
        number: The number of the trial.
        params: The params, nested where the space has groups.
        report: Called with each value and its step, for the engine's pruner.
        should_prune: Returns whether the engine's pruner ends the trial.
        native: The engine's own trial object, if there is one.
        on_ready: Called when all is set up, before a training begins: the ranks of a trial wait for each other there.
        on_step: Called after each step of a training.
        notes: What the trial has noted so far.
        set_user_attr: Called with each user attribute at once.
        set_constraint: Called with each constraint at once.
        on_ddp_timeout: Called with the seconds that ranks may wait for each other, when they are known.
    """

    number: int
    params: dict[str, Any]
    report: Callable[[float, int], None] = _ignore
    should_prune: Callable[[], bool] = _never
    native: Any = None
    on_ready: Callable[[], None] = _ignore
    on_step: Callable[[], None] = _ignore
    notes: Notes = field(default_factory=Notes)
    set_user_attr: Callable[[str, object], None] = _ignore
    set_constraint: Callable[[str, float], None] = _ignore
    on_ddp_timeout: Callable[[float], None] = _ignore


Evaluate = Callable[[Suggestion], Trial]


@dataclass(frozen=True)
class SearchConfig:
    """What a search asks of a backend.

    Attributes:
        space: The space.
        directions: "minimize" or "maximize", for each objective.
        n_trials: How many trials are to run.
        sampler: "bayes", "random", "grid" or a native one; None for the default.
        pruner: None, "median", "hyperband", "asha" or a native one.
        seed: The seed of the search; an engine takes `engine_seed`.
        timeout: The seconds in which trials may begin.
        history: Finished trials to tell the engine of before it starts; not counted in `n_trials`.
        options: The backend's own options, as given.
        output_dir: Where the search may leave what it writes; None if it is to leave nothing.
        resume: Whether to continue in a store that exists already.
        used_numbers: The numbers of the search's own trials in the history, see `trial_number`.
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
    output_dir: str | None = None
    resume: bool = False
    used_numbers: frozenset[int] = frozenset()

    @property
    def engine_seed(self) -> int | None:
        """The seed of an engine that starts with the history."""
        return derive_seed(self.seed, len(self.history))

    def trial_number(self, index: int) -> int:
        """Return the number of the trial that runs as the one of this index: the next that is free.

        >>> config = SearchConfig(SearchSpace(), ("minimize",), 3, used_numbers=frozenset({0, 1, 3}))
        >>> [config.trial_number(index) for index in range(3)]
        [2, 4, 5]
        """
        return index + bisect_right(self._free_before, index)

    def after(self, trials: Sequence[Trial]) -> SearchConfig:
        """Return what remains of the search with these of its trials finished."""
        used_numbers = frozenset(trial.number for trial in trials)
        n_trials = self.n_trials - len(trials)
        return replace(self, history=(*self.history, *trials), n_trials=n_trials, used_numbers=used_numbers)

    @cached_property
    def _free_before(self) -> list[int]:
        """How many numbers are free below each that is used."""
        return [number - used for used, number in enumerate(sorted(self.used_numbers))]


@dataclass(frozen=True)
class BackendResult:
    """What a backend hands back: every finished trial of the search, in order, and its own object."""

    trials: tuple[Trial, ...]
    native: Any
    interrupted: bool = False


def derive_seed(seed: int | None, n_earlier: int) -> int | None:
    """Return the seed of an engine that has `n_earlier` trials behind it: the plain one would draw them all again.

    A seed that no engine takes (numpy's generators take 32 bits) stands for another.
    """
    if seed is None or (not n_earlier and 0 <= seed < _MAX_SEED):
        return seed
    return random.Random(f"{seed}/{n_earlier}").getrandbits(32)
