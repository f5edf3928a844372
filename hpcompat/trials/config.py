"""The types between a search and its backend: the configuration, the suggestion of a trial, and the result."""

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


def _do_nothing(*arguments: object) -> None:
    """Do nothing: the default callback of a suggestion."""


def _return_false() -> bool:
    return False


@dataclass(frozen=True)
class Suggestion:
    """The params of the next trial, with the callbacks through which the running trial reaches the engine.

    Attributes:
        number: The number of the trial.
        params: The params, nested where the space has groups.
        report: Called with each value and its step, for the engine's pruner.
        should_prune: Returns whether the engine's pruner stops the trial.
        native: The engine's own trial object, if there is one.
        on_ready: Called before the training starts; there the ranks of a trial wait for each other.
        on_step: Called after each step of a training.
        notes: The user attributes and constraints that the trial has set so far.
        set_user_attr: Called with each user attribute as soon as it is set.
        set_constraint: Called with each constraint as soon as it is set.
        on_ddp_timeout: Called with the timeout of the Trainer, in seconds, for which ranks may wait for each other.
    """

    number: int
    params: dict[str, Any]
    report: Callable[[float, int], None] = _do_nothing
    should_prune: Callable[[], bool] = _return_false
    native: Any = None
    on_ready: Callable[[], None] = _do_nothing
    on_step: Callable[[], None] = _do_nothing
    notes: Notes = field(default_factory=Notes)
    set_user_attr: Callable[[str, object], None] = _do_nothing
    set_constraint: Callable[[str, float], None] = _do_nothing
    on_ddp_timeout: Callable[[float], None] = _do_nothing


Evaluate = Callable[[Suggestion], Trial]


@dataclass(frozen=True)
class SearchConfig:
    """The configuration of a search, as a backend receives it.

    Attributes:
        space: The space to search.
        directions: "minimize" or "maximize", for each objective.
        n_trials: How many trials to run.
        sampler: "bayes", "random", "grid" or a native one; None for the default.
        pruner: None, "median", "hyperband", "asha" or a native one.
        seed: The seed of the search; an engine uses `engine_seed`.
        timeout: The seconds after which no further trial starts.
        history: Finished trials that the engine learns from before it starts; not counted in `n_trials`.
        options: The backend's own options, as given.
        output_dir: The directory for files of the search; None if it must not leave any.
        resume: Whether to continue in a store that already exists.
        used_numbers: The trial numbers in `history` that belong to this search, see `trial_number`.
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
        """The seed of the engine; it depends on how much history there is, see `derive_seed`."""
        return derive_seed(self.seed, len(self.history))

    def trial_number(self, index: int) -> int:
        """Return the number of the trial at an index among the new trials: used numbers are skipped.

        >>> config = SearchConfig(SearchSpace(), ("minimize",), 3, used_numbers=frozenset({0, 1, 3}))
        >>> [config.trial_number(index) for index in range(3)]
        [2, 4, 5]
        """
        return index + bisect_right(self._n_free_below, index)

    def remaining_after(self, trials: Sequence[Trial]) -> SearchConfig:
        """Return the configuration of the remaining search once these trials are finished."""
        used_numbers = frozenset(trial.number for trial in trials)
        n_trials = self.n_trials - len(trials)
        return replace(self, history=(*self.history, *trials), n_trials=n_trials, used_numbers=used_numbers)

    @cached_property
    def _n_free_below(self) -> list[int]:
        """The count of free numbers below each used number."""
        return [number - used for used, number in enumerate(sorted(self.used_numbers))]


@dataclass(frozen=True)
class BackendResult:
    """The result of a backend: every finished trial of the search, in order, and the engine's own object."""

    trials: tuple[Trial, ...]
    native: Any
    interrupted: bool = False


def derive_seed(seed: int | None, n_earlier: int) -> int | None:
    """Return the seed of an engine that continues after `n_earlier` trials, so that it does not repeat their draws.

    A seed outside the 32 bits that numpy's generators take is mapped into them.
    """
    if seed is None or (not n_earlier and 0 <= seed < _MAX_SEED):
        return seed
    return random.Random(f"{seed}/{n_earlier}").getrandbits(32)
