"""Optuna 3.0 to 5: what differs between its versions, and the private names that are used.

Optuna has had `Trial.set_constraint` since 5.0. Before, a sampler only learns from the constraints that its
constraints_func returns for a finished trial. There the constraints of a trial are kept in a user attribute, and the
TPE sampler gets a constraints_func that reads it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.storages._heartbeat import is_heartbeat_enabled as is_heartbeat_enabled
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial, TrialState

_HAS_CONSTRAINTS = hasattr(optuna.Trial, "set_constraint")  # since 5.0
_CALLS_BEFORE_TRIAL = hasattr(BaseSampler, "before_trial")  # since 3.3
_HAS_THREAD_LOCAL = hasattr(optuna.study.study, "_ThreadLocalStudyAttribute")  # since 3.1
_CONSTRAINTS_ATTR = "hpcompat: constraints"
"""The user attribute for the constraints of a trial before Optuna 5."""
_LISTED_CONSTRAINTS = "constraints"
"""The system attribute in which Optuna stores the constraints of a constraints_func."""


def set_constraint(trial: optuna.Trial, name: str, value: float) -> None:
    """Set a constraint of a running trial."""
    if _HAS_CONSTRAINTS:
        trial.set_constraint(name, value)
        return
    if getattr(trial.study.sampler, "_constraints_func", _listed_constraints) is None:
        message = (
            "the sampler does not learn from constraints: before Optuna 5 only its constraints_func tells it of them; "
            f"this is Optuna {optuna.__version__}"
        )
        warnings.warn(message, stacklevel=2)
    trial.set_user_attr(_CONSTRAINTS_ATTR, {**trial.user_attrs.get(_CONSTRAINTS_ATTR, {}), name: value})


def get_constraints(trial: optuna.Trial | FrozenTrial) -> dict[str, float]:
    """Return the constraints of a trial by name; those of a constraints_func have their index as the name."""
    if _HAS_CONSTRAINTS:
        return dict(trial.constraints)
    named: Mapping[str, float] = trial.user_attrs.get(_CONSTRAINTS_ATTR, {})
    if isinstance(trial, optuna.Trial):
        trial = trial.study._storage.get_trial(trial._trial_id)
    listed = trial.system_attrs.get(_LISTED_CONSTRAINTS) or ()
    if list(listed) == list(named.values()):  # made by `_listed_constraints`
        return dict(named)
    return {**{str(index): value for index, value in enumerate(listed)}, **named}


def _listed_constraints(trial: FrozenTrial) -> list[float]:
    return list(trial.user_attrs.get(_CONSTRAINTS_ATTR, {}).values())


def create_trial(constraints: Mapping[str, float], user_attrs: Mapping[str, object], **fields: Any) -> FrozenTrial:
    """Call `optuna.trial.create_trial`, which has `constraints` since 5.0."""
    if _HAS_CONSTRAINTS:
        return optuna.trial.create_trial(constraints=dict(constraints), user_attrs=dict(user_attrs), **fields)
    if constraints:
        user_attrs = {**user_attrs, _CONSTRAINTS_ATTR: dict(constraints)}
    # a sampler with a constraints_func would take a trial without the list as infeasible
    system_attrs = {_LISTED_CONSTRAINTS: list(constraints.values())}
    return optuna.trial.create_trial(user_attrs=dict(user_attrs), system_attrs=system_attrs, **fields)


def create_study(**options: Any) -> optuna.Study:
    """Call `optuna.create_study`; an existing study may have other directions, which 3.0 refuses by a ValueError."""
    try:
        return optuna.create_study(**options)
    except ValueError:
        if not options["load_if_exists"]:
            raise
        return optuna.load_study(study_name=options["study_name"], storage=options["storage"])


def make_tpe_sampler(**options: Any) -> TPESampler:
    """Return a TPESampler that learns from the constraints of trials."""
    if _HAS_CONSTRAINTS:
        return TPESampler(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _ConstrainedTPESampler(constraints_func=_listed_constraints, **options)


class _ConstrainedTPESampler(TPESampler):
    """A TPESampler of Optuna before 5.0 that takes running trials as feasible."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Record that the new trial has no constraints yet; without a record it would count as infeasible."""
        study._storage.set_trial_system_attr(trial._trial_id, _LISTED_CONSTRAINTS, [])
        return super().infer_relative_search_space(study, trial)


def call_before_trial(sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> None:
    """Call `before_trial` of a sampler that has it."""
    if hasattr(sampler, "before_trial"):
        sampler.before_trial(study, trial)


def ensure_before_trial(sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> None:
    """Call `before_trial` if Optuna has not: `Study.ask` does so since 3.3."""
    if not _CALLS_BEFORE_TRIAL:
        sampler.before_trial(study, trial)


@contextmanager
def in_optimize_loop(study: optuna.Study) -> Iterator[None]:
    """Allow trials and samplers to call `study.stop()` within the block; see `is_stopped`."""
    if not _set_in_optimize_loop(study):
        raise RuntimeError("expected a study that is not being optimized, got one that is")
    study._stop_flag = False
    try:
        yield
    finally:
        if _HAS_THREAD_LOCAL:
            study._thread_local.in_optimize_loop = False
        else:
            study._optimize_lock.release()  # type: ignore[attr-defined]
        study._storage.remove_session()


def _set_in_optimize_loop(study: optuna.Study) -> bool:
    """Return False if the study is being optimized already."""
    if not _HAS_THREAD_LOCAL:
        return bool(study._optimize_lock.acquire(blocking=False))  # type: ignore[attr-defined]
    if study._thread_local.in_optimize_loop:
        return False
    study._thread_local.in_optimize_loop = True
    return True


def is_stopped(study: optuna.Study) -> bool:
    """Return whether `study.stop()` was called."""
    return study._stop_flag


def tell_study(trial: optuna.Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
    """Call `Study.tell` without copying the trial; a finished trial does not change."""
    _tell_with_warning(trial.study, trial, values, state, skip_if_finished=True, suppress_warning=True)


def fail_stale_trials(study: optuna.Study) -> None:
    """Call `optuna.storages.fail_stale_trials`: fail the trials whose heartbeat has stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


@contextmanager
def send_heartbeat(trial: optuna.Trial) -> Iterator[None]:
    """Record heartbeats of the trial within the block."""
    with get_heartbeat_thread(trial._trial_id, trial.study._storage):
        yield
