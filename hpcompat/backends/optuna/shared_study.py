"""Samplers and pruners of a study, and which of its trials count if several processes share it.

The processes coordinate through the storage, which numbers the trials and shows them to all processes. A trial beyond
`n_trials` is marked as surplus and not run. In a grid a trial publishes a claim of its configuration, see
`claim_configuration`. A trial whose process has died is FAILED.
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
from hpcompat.compat.optuna import call_before_trial, ensure_before_trial, make_tpe_sampler
from hpcompat.errors import BackendError, Issue, ParamsError
from hpcompat.space.values import strict_key
from hpcompat.translators import Translation
from hpcompat.trials.config import SearchConfig, derive_seed
from hpcompat.trials.optuna_trials import ERROR_ATTR, OWNER_ATTR
from hpcompat.trials.process import has_exited, identify_process


def make_sampler(config: SearchConfig, n_earlier: int, *, is_shared: bool = False) -> BaseSampler:
    """Return the sampler of a search.

    Args:
        config: The configuration of the search.
        n_earlier: How many trials the study already holds.
        is_shared: Whether several processes share the study. Then each trial is seeded by its number, because samplers
            with the same seed would draw the same params in each process.
    """
    if isinstance(config.sampler, BaseSampler):
        return config.sampler
    make: Callable[..., BaseSampler] = samplers.RandomSampler
    if config.sampler in (None, "bayes"):
        # penalize the params of running trials, else concurrent trials would be alike
        make = partial(make_tpe_sampler, constant_liar=True)
    if is_shared and config.seed is not None:
        sampler: BaseSampler = SeededByTrialSampler(make, config.seed)
    else:
        sampler = make(seed=derive_seed(config.seed, n_earlier))
    return FixedParamsSampler(sampler) if config.sampler == "grid" else sampler


def make_pruner(pruner: str | BasePruner | None) -> BasePruner:
    """Return the pruner of that name; return a native pruner unchanged."""
    if isinstance(pruner, BasePruner):
        return pruner
    types: dict[str | None, type[BasePruner]] = {
        None: pruners.NopPruner,  # Optuna's default would be the MedianPruner
        "median": pruners.MedianPruner,
        "hyperband": pruners.HyperbandPruner,
        "asha": pruners.SuccessiveHalvingPruner,
    }
    return types[pruner]()


class FixedParamsSampler(BaseSampler):
    """Suggests the values in `params`; a fallback sampler draws the other parameters."""

    def __init__(self, fallback: BaseSampler) -> None:
        self.params: Mapping[str, object] = {}
        self._fallback = fallback

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        call_before_trial(self._fallback, study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        ensure_before_trial(self, study, trial)
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
    """Draws each trial with a new sampler that is seeded by the number of the trial."""

    def __init__(self, make_sampler: Callable[..., BaseSampler], seed: int) -> None:
        self._make_sampler = make_sampler
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler = self._make_sampler(seed=derive_seed(self._seed, trial.number))
        call_before_trial(self._sampler, study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        ensure_before_trial(self, study, trial)
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        # not the sampler that has drawn the trial, which may be of another process
        self._make_sampler(seed=self._seed).after_trial(study, trial, state, values)


HISTORY_ATTR, SURPLUS_ATTR, CLAIM_ATTR = "hpcompat: history", "hpcompat: surplus", "hpcompat: claim"
ORPHAN_TIMEOUT_S = 10.0
"""How long to wait until a new trial has an owner or params, if a decision depends on it."""
_POLL_S = 0.05

FrozenTrials = Sequence[FrozenTrial]
Predicate = Callable[[FrozenTrials], bool]
Claim = Mapping[str, object]


@dataclass(frozen=True)
class SharedStudy:
    """A study that several processes share.

    Attributes:
        study: The study.
        n_trials: How many trials all processes run together.
        translation: The space as Optuna stores it.
        grid_sampler: The sampler of a grid, else None.
        owner: The identity of this process.
        abandoned: The numbers of trials whose process died before it was recorded as the owner.
        history: The numbers of trials of an earlier search, which do not count.
        key_cache: The keys of the params of finished trials, by number.
    """

    study: Study
    n_trials: int
    translation: Translation
    grid_sampler: FixedParamsSampler | None = None
    owner: dict[str, object] = field(default_factory=identify_process)
    abandoned: set[int] = field(default_factory=set)
    history: set[int] = field(default_factory=set)
    key_cache: dict[int, Hashable] = field(default_factory=dict)

    def require_same_space(self) -> None:
        """Raise `BackendError` if the study holds trials of another space."""
        issues = []
        for frozen_trial in self.finished_trials():
            try:
                self.translation.decode(frozen_trial.params)
            except ParamsError as error:
                issues += [Issue(f"trial {frozen_trial.number}", str(issue)) for issue in error.issues]
        if issues:
            raise BackendError(f"study {self.study.study_name!r} holds trials of another space", issues)

    def has_next(self) -> bool:
        """Return whether the search needs another trial."""
        return not self._decide(self._is_complete)

    def try_claim(self, trial: Trial) -> bool:
        """Return whether the search needs the trial; in a grid also claim a configuration for it."""
        trial.set_user_attr(OWNER_ATTR, self.owner)

        def has_enough_before(frozen_trials: FrozenTrials) -> bool:
            n_before = sum(
                other.number < trial.number or (other.number > trial.number and other.state.is_finished())
                for other in frozen_trials
            )
            return n_before >= self.n_trials

        if self._decide(has_enough_before):
            return False
        return self.grid_sampler is None or self._claim_configuration(trial, self.grid_sampler)

    def trial_number(self, number: int) -> int:
        """Return the number in the search of an Optuna trial; trials of the history are not counted."""
        return number - sum(earlier < number for earlier in self.history)

    def finished_trials(self) -> list[FrozenTrial]:
        """Return the finished trials of the search, of all processes."""
        return [frozen_trial for frozen_trial in self._get_counted_trials() if frozen_trial.state.is_finished()]

    def _get_counted_trials(self) -> list[FrozenTrial]:
        """Return the running and finished trials of the search: without history, surplus and trials without params."""
        frozen_trials = self.study.get_trials(deepcopy=False)
        orphans = [frozen_trial for frozen_trial in frozen_trials if self._is_orphan(frozen_trial)]
        if orphans:
            for frozen_trial in orphans:
                with suppress(RuntimeError):  # a sampler may call study.stop(), which raises outside of the loop
                    self.study.tell(frozen_trial.number, state=TrialState.FAIL, skip_if_finished=True)
            frozen_trials = self.study.get_trials(deepcopy=False)
        self.history.update(
            frozen_trial.number for frozen_trial in frozen_trials if HISTORY_ATTR in frozen_trial.user_attrs
        )
        return [
            frozen_trial
            for frozen_trial in frozen_trials
            if frozen_trial.number not in self.abandoned and self._is_counted(frozen_trial)
        ]

    def _is_counted(self, frozen_trial: FrozenTrial) -> bool:
        attrs = frozen_trial.user_attrs
        if HISTORY_ATTR in attrs or SURPLUS_ATTR in attrs or frozen_trial.state == TrialState.WAITING:
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
        return self.grid_sampler is not None and next(self._iter_untried(frozen_trials), None) is None

    def _decide(self, predicate: Predicate) -> bool:
        """Return whether a predicate holds for the trials of the search, whether or not new trials count.

        A new trial has no owner yet. If its process dies at that moment, other processes cannot see that, and the trial
        must not count. So if the answer depends on new trials, this waits for them until a timeout.
        """
        deadline = time.monotonic() + ORPHAN_TIMEOUT_S
        while True:
            frozen_trials = self._get_counted_trials()
            owned_trials = [frozen_trial for frozen_trial in frozen_trials if not _has_no_owner(frozen_trial)]
            if not predicate(frozen_trials):
                return False
            if len(owned_trials) == len(frozen_trials) or predicate(owned_trials):
                return True
            if time.monotonic() > deadline:
                self.abandoned.update(set(map(_number, frozen_trials)) - set(map(_number, owned_trials)))
            else:
                time.sleep(_POLL_S)

    def _is_orphan(self, frozen_trial: FrozenTrial) -> bool:
        """Return whether the trial is running, but its process on this host has exited."""
        owner = frozen_trial.user_attrs.get(OWNER_ATTR)
        if frozen_trial.state != TrialState.RUNNING or owner is None or owner == self.owner:
            return False
        return bool(has_exited(owner))

    # -- grid ------------------------------------------------------------------------------------------

    def _claim_configuration(self, trial: Trial, sampler: FixedParamsSampler) -> bool:
        """Claim an unused configuration for the trial; return False if all are used."""

        def get_used_keys(claim: Claim | None) -> set[Hashable]:
            return self._used_keys(other for other in self._get_counted_trials() if other.number != trial.number)

        def publish(params: dict[str, object]) -> Claim:
            claim = self.translation.encode(params)
            trial.set_user_attr(CLAIM_ATTR, claim)
            return claim

        claim = claim_configuration(
            self.translation.space, get_used_keys, publish, withdraw=lambda claim: trial.set_user_attr(CLAIM_ATTR, None)
        )
        sampler.params = claim or {}
        return claim is not None

    def _iter_untried(self, frozen_trials: FrozenTrials) -> Iterator[dict[str, object]]:
        return iter_untried(self.translation.space, self._used_keys(frozen_trials))

    def _used_keys(self, frozen_trials: Iterable[FrozenTrial]) -> set[Hashable]:
        return {self._params_key(frozen_trial) for frozen_trial in frozen_trials}

    def _params_key(self, frozen_trial: FrozenTrial) -> Hashable:
        """Return the key of the params that a trial has or claims; None if it has none yet."""
        if frozen_trial.number in self.key_cache:
            return self.key_cache[frozen_trial.number]
        is_finished = frozen_trial.state.is_finished()
        native = frozen_trial.params if is_finished else frozen_trial.user_attrs.get(CLAIM_ATTR)
        if native is None:
            return None
        key = strict_key(self.translation.decode(native))
        if is_finished:
            self.key_cache[frozen_trial.number] = key
        return key


class LocalStudy:
    """The trials of an in-memory study, with the methods of a `SharedStudy`."""

    def __init__(self, config: SearchConfig, translation: Translation, grid_sampler: FixedParamsSampler | None) -> None:
        self._config = config
        self._translation = translation
        self._grid_sampler = grid_sampler
        tried_keys = {strict_key(dict(trial.params)) for trial in config.history}
        self._untried = iter_untried(config.space, tried_keys) if grid_sampler else iter(())
        self._n_claimed = 0

    def has_next(self) -> bool:
        """Return whether the search needs another trial; in a grid also set its params."""
        if self._n_claimed == self._config.n_trials:
            return False
        if self._grid_sampler is None:
            return True
        params = next(self._untried, None)
        self._grid_sampler.params = {} if params is None else dict(self._translation.encode(params))
        return params is not None

    def try_claim(self, trial: Trial) -> bool:
        """Count the trial, and return True, because no other process competes for it."""
        self._n_claimed += 1
        return True

    def trial_number(self, number: int) -> int:
        """Return the number in the search of an Optuna trial."""
        return self._config.trial_number(number - len(self._config.history))


def _number(frozen_trial: FrozenTrial) -> int:
    return frozen_trial.number


def _has_no_owner(frozen_trial: FrozenTrial) -> bool:
    return (
        frozen_trial.state == TrialState.RUNNING
        and OWNER_ATTR not in frozen_trial.user_attrs
        and not frozen_trial.params
    )
