"""The trials of a study and its samplers: which trials count, which come too late, whose process has ended.

Several processes may share a study. The storage gives every trial a number of its own, and shows it to all from then
on; everything here is decided by what it shows. A trial that comes after the last one wanted is marked as surplus and
not run. In a grid a trial claims its configuration, then looks who else has: a process that sees another claim gives
up its own, so of two at most one keeps it, whichever wrote first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from optuna import Study, Trial, pruners, samplers
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hpcompat.backends.base import claim_configuration, iter_untried
from hpcompat.errors import BackendError, Issue, ParamsError
from hpcompat.space.values import strict_key
from hpcompat.translators import Translation
from hpcompat.trials.config import SearchConfig, derive_seed
from hpcompat.trials.optuna_trials import ERROR_ATTR, OWNER_ATTR
from hpcompat.trials.process import has_exited, this_process


def make_sampler(config: SearchConfig, n_earlier: int, *, is_shared: bool = False) -> BaseSampler:
    """Return the sampler of a search.

    Args:
        config: Of the search.
        n_earlier: How many trials the study already holds.
        is_shared: Whether processes share the study. Then the draws depend on the number of the trial: a sampler with
            one seed would draw the same in each process.
    """
    if isinstance(config.sampler, BaseSampler):
        return config.sampler
    make: Callable[..., BaseSampler] = samplers.RandomSampler
    if config.sampler in (None, "bayes"):
        # running trials count as bad ones: else those that are asked for together would be alike
        make = partial(samplers.TPESampler, constant_liar=True)
    if is_shared and config.seed is not None:
        sampler: BaseSampler = SeededByTrialSampler(make, config.seed)
    else:
        sampler = make(seed=derive_seed(config.seed, n_earlier))
    return FixedParamsSampler(sampler) if config.sampler == "grid" else sampler


def make_pruner(pruner: str | BasePruner | None) -> BasePruner:
    """Return the pruner of that name; a native one as it is."""
    if isinstance(pruner, BasePruner):
        return pruner
    types: dict[str | None, type[BasePruner]] = {
        None: pruners.NopPruner,  # Optuna's own default is the median
        "median": pruners.MedianPruner,
        "hyperband": pruners.HyperbandPruner,
        "asha": pruners.SuccessiveHalvingPruner,
    }
    return types[pruner]()


class FixedParamsSampler(BaseSampler):
    """Gives a trial its `params`, as Optuna stores them by name; a fallback draws the others."""

    def __init__(self, fallback: BaseSampler) -> None:
        self.params: Mapping[str, object] = {}
        self._fallback = fallback

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._fallback.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        if param_name in self.params:
            return self.params[param_name]
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)


class SeededByTrialSampler(BaseSampler):
    """Draws each trial with a new sampler that is seeded by its number: a sampler learns from the study alone."""

    def __init__(self, make_sampler: Callable[..., BaseSampler], seed: int) -> None:
        self._make_sampler = make_sampler
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler = self._make_sampler(seed=derive_seed(self._seed, trial.number))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


HISTORY, SURPLUS, CLAIM = "hpcompat: history", "hpcompat: surplus", "hpcompat: claim"
ORPHAN_TIMEOUT_S = 10.0
"""How long to wait for the owner of a trial whose params are being drawn, where a decision depends on it."""
_TICK_S = 0.05

FrozenTrials = Sequence[FrozenTrial]
Predicate = Callable[[FrozenTrials], bool]
NativeParams = Mapping[str, object]


@dataclass(frozen=True)
class SharedStudy:
    """The study, seen from this process.

    `grid_sampler`: of a grid, else None. `owner`: this process. `abandoned`: the numbers of trials that never got an
    owner. `history`: the numbers of trials of an earlier search. `known`: the keys of params of finished trials.
    """

    study: Study
    n_trials: int
    translation: Translation
    grid_sampler: FixedParamsSampler | None = None
    owner: dict[str, object] = field(default_factory=this_process)
    abandoned: set[int] = field(default_factory=set)
    history: set[int] = field(default_factory=set)
    known: dict[int, Hashable] = field(default_factory=dict)

    def require_same_space(self) -> None:
        """Raise `BackendError` if the study holds trials of another space."""
        issues = []
        for frozen_trial in self.finished():
            try:
                self.translation.decode(frozen_trial.params)
            except ParamsError as error:
                issues += [Issue(f"trial {frozen_trial.number}", str(issue)) for issue in error.issues]
        if issues:
            raise BackendError(f"study {self.study.study_name!r} holds trials of another space", issues)

    def has_next(self) -> bool:
        """Return whether the search needs another trial."""
        return not self._wait_until_certain(self._is_complete)

    def try_claim(self, trial: Trial) -> bool:
        """Return whether the search needs the trial; in a grid it gets its configuration."""
        trial.set_user_attr(OWNER_ATTR, self.owner)

        def enough_before(frozen_trials: FrozenTrials) -> bool:
            n_before = sum(
                other.number < trial.number or (other.number > trial.number and other.state.is_finished())
                for other in frozen_trials
            )
            return n_before >= self.n_trials

        if self._wait_until_certain(enough_before):
            return False
        return self.grid_sampler is None or self._claim_configuration(trial, self.grid_sampler)

    def trial_number(self, number: int) -> int:
        """Return the number of one of Optuna's trials in the search, which does not count history."""
        return number - sum(earlier < number for earlier in self.history)

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that count and have ended, of all processes."""
        return [frozen_trial for frozen_trial in self._counted() if frozen_trial.state.is_finished()]

    def _counted(self) -> list[FrozenTrial]:
        """Return the trials that count, running or ended: no history, no surplus, none that never got its params."""
        frozen_trials = self.study.get_trials(deepcopy=False)
        orphans = [frozen_trial for frozen_trial in frozen_trials if self._is_orphan(frozen_trial)]
        if orphans:
            for frozen_trial in orphans:
                with suppress(RuntimeError):  # some of Optuna's samplers stop a study, which may not be optimized now
                    self.study.tell(frozen_trial.number, state=TrialState.FAIL, skip_if_finished=True)
            frozen_trials = self.study.get_trials(deepcopy=False)
        self.history.update(frozen_trial.number for frozen_trial in frozen_trials if HISTORY in frozen_trial.user_attrs)
        return [
            frozen_trial
            for frozen_trial in frozen_trials
            if frozen_trial.number not in self.abandoned and self._counts(frozen_trial)
        ]

    def _counts(self, frozen_trial: FrozenTrial) -> bool:
        attrs = frozen_trial.user_attrs
        if HISTORY in attrs or SURPLUS in attrs or frozen_trial.state == TrialState.WAITING:
            return False
        if frozen_trial.state != TrialState.FAIL or ERROR_ATTR in attrs:
            return True
        return bool(frozen_trial.params) and (OWNER_ATTR not in attrs or self._is_complete_draw(frozen_trial))

    def _is_complete_draw(self, frozen_trial: FrozenTrial) -> bool:
        try:
            self.translation.decode(frozen_trial.params)
        except ParamsError:
            return False
        return True

    def _is_complete(self, frozen_trials: FrozenTrials) -> bool:
        if len(frozen_trials) >= self.n_trials:
            return True
        return self.grid_sampler is not None and next(self._iter_free(frozen_trials), None) is None

    def _wait_until_certain(self, holds: Predicate) -> bool:
        """Return whether a predicate holds, even if the trials that have no owner yet never get one.

        A process that dies while params are drawn leaves such a trial, and no other process can see whether
        it is alive. This waits for them only if the answer depends on them.
        """
        deadline = time.monotonic() + ORPHAN_TIMEOUT_S
        while True:
            frozen_trials = self._counted()
            owned = [frozen_trial for frozen_trial in frozen_trials if not _has_no_owner(frozen_trial)]
            if not holds(frozen_trials):
                return False
            if len(owned) == len(frozen_trials) or holds(owned):
                return True
            if time.monotonic() > deadline:
                self.abandoned.update(set(map(_number, frozen_trials)) - set(map(_number, owned)))
            else:
                time.sleep(_TICK_S)

    def _is_orphan(self, frozen_trial: FrozenTrial) -> bool:
        """Return whether the trial is running, and its process, on this host, has ended."""
        owner = frozen_trial.user_attrs.get(OWNER_ATTR)
        if frozen_trial.state != TrialState.RUNNING or owner is None or owner == self.owner:
            return False
        return bool(has_exited(owner))

    # -- a grid: which process has which configuration -------------------------------------------------

    def _claim_configuration(self, trial: Trial, sampler: FixedParamsSampler) -> bool:
        """Give the trial a configuration that no other one has; return False if all are used."""

        def list_used(claim: NativeParams | None) -> set[Hashable]:
            return self._used_keys(other for other in self._counted() if other.number != trial.number)

        def place(params: dict[str, object]) -> NativeParams:
            claim = self.translation.encode(params)
            trial.set_user_attr(CLAIM, claim)
            return claim

        claim = claim_configuration(
            self.translation.space, list_used, place, release=lambda claim: trial.set_user_attr(CLAIM, None)
        )
        sampler.params = claim or {}
        return claim is not None

    def _iter_free(self, frozen_trials: FrozenTrials) -> Iterator[dict[str, object]]:
        return iter_untried(self.translation.space, self._used_keys(frozen_trials))

    def _used_keys(self, frozen_trials: Iterable[FrozenTrial]) -> set[Hashable]:
        return {self._params_key(frozen_trial) for frozen_trial in frozen_trials}

    def _params_key(self, frozen_trial: FrozenTrial) -> Hashable:
        """Return the key of the params of a trial, or of those that it claims; None if it has none yet."""
        if frozen_trial.number in self.known:
            return self.known[frozen_trial.number]
        is_finished = frozen_trial.state.is_finished()
        native = frozen_trial.params if is_finished else frozen_trial.user_attrs.get(CLAIM)
        if native is None:
            return None
        key = strict_key(self.translation.decode(native))
        if is_finished:
            self.known[frozen_trial.number] = key
        return key


class LocalStudy:
    """The trials of a study in memory, which no other process sees, with the methods of a `SharedStudy`."""

    def __init__(self, config: SearchConfig, translation: Translation, grid_sampler: FixedParamsSampler | None) -> None:
        self._config = config
        self._translation = translation
        self._grid_sampler = grid_sampler
        tried = {strict_key(dict(trial.params)) for trial in config.history}
        self._untried = iter_untried(config.space, tried) if grid_sampler else iter(())
        self._n_claimed = 0

    def has_next(self) -> bool:
        """Return whether the search needs another trial; in a grid set its params."""
        if self._n_claimed == self._config.n_trials:
            return False
        if self._grid_sampler is None:
            return True
        params = next(self._untried, None)
        self._grid_sampler.params = {} if params is None else dict(self._translation.encode(params))
        return params is not None

    def try_claim(self, trial: Trial) -> bool:
        """Count the trial; return True: the search needs every trial."""
        self._n_claimed += 1
        return True

    def trial_number(self, number: int) -> int:
        """Return the number of one of Optuna's trials in the search."""
        return self._config.trial_number(number - len(self._config.history))


def _number(frozen_trial: FrozenTrial) -> int:
    return frozen_trial.number


def _has_no_owner(frozen_trial: FrozenTrial) -> bool:
    return (
        frozen_trial.state == TrialState.RUNNING
        and OWNER_ATTR not in frozen_trial.user_attrs
        and not frozen_trial.params
    )
