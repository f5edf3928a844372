"""Conversion of finished trials to and from Optuna's FrozenTrial."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hpcompat.space import SearchSpace
from hpcompat.translators import Translation, translate
from hpcompat.translators.optuna import SPACE
from hpcompat.trials.notes import RESERVED_PREFIX, Notes
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, Trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial


STATE_NAMES = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL"}
_ATTR_PREFIX = f"{RESERVED_PREFIX} "  # `Notes.add_user_attr` refuses such names
OWNER_ATTR = f"{_ATTR_PREFIX}owner"
"""The user attribute that says which process runs a trial of a shared study."""
ERROR_ATTR = f"{_ATTR_PREFIX}error"
"""The user attribute that says why a trial failed."""
_STORED_FIELDS = ("run_id", "directory", "checkpoint", "error", "unread")
_VERBOSITY_GUARD = threading.Lock()
_verbosities: list[int] = []
"""The verbosity to restore, repeated once for each open `quiet_optuna` block."""


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log within the block.

    The verbosity belongs to the process, and the blocks of several threads may overlap: the last one restores it.
    """
    from optuna import logging

    with _VERBOSITY_GUARD:
        _verbosities.append(_verbosities[0] if _verbosities else logging.get_verbosity())
        logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        with _VERBOSITY_GUARD:
            before = _verbosities.pop()
            if not _verbosities:
                logging.set_verbosity(before)


def to_distributions(translation: Translation) -> dict[str, BaseDistribution]:
    """Return the Optuna distributions of a translation, by name in Optuna."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    types = {
        "suggest_float": FloatDistribution,
        "suggest_int": IntDistribution,
        "suggest_categorical": CategoricalDistribution,
    }
    calls = [call for call in translation.spec if call["call"] in types]
    return {call["name"]: types[call["call"]](**call["kwargs"]) for call in calls}


def to_frozen_trial(trial: Trial, translation: Translation, **attrs: object) -> FrozenTrial:
    """Return the trial as a FrozenTrial for `Study.add_trial`; `attrs` are added to its user_attrs."""
    import optuna

    from hpcompat.compat import optuna as compat

    searched_params = {name: value for name, value in trial.params.items() if name in translation.space}
    native = translation.encode(searched_params)
    distributions = to_distributions(translation)
    frozen_trial = compat.create_trial(
        state=optuna.trial.TrialState[STATE_NAMES[trial.state]],
        values=list(trial.values) if trial.values else None,
        params=native,
        distributions={name: distributions[name] for name in native},
        intermediate_values=dict(trial.intermediate_values),
        user_attrs={**without_reserved(trial.user_attrs), **to_user_attrs(trial), **attrs},
        constraints=trial.constraints,
    )
    # Optuna requires both; a trial from a server may lack one, and a trial that the user has created both
    frozen_trial.datetime_start = _to_naive_local(trial.start or trial.end) or frozen_trial.datetime_start
    frozen_trial.datetime_complete = _to_naive_local(trial.end or trial.start) or frozen_trial.datetime_complete
    return frozen_trial


def to_user_attrs(trial: Trial) -> dict[str, object]:
    """Return the fields of a trial that Optuna does not have, as reserved user attributes."""
    return {f"{_ATTR_PREFIX}{name}": value for name in _STORED_FIELDS if (value := getattr(trial, name)) is not None}


def without_reserved(user_attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes without those that hpcompat has added."""
    return {name: value for name, value in user_attrs.items() if not name.startswith(RESERVED_PREFIX)}


def to_notes(trial: optuna.trial.Trial | FrozenTrial) -> Notes:
    """Return the attributes and constraints of an Optuna trial, running or finished."""
    from hpcompat.compat.optuna import get_constraints

    constraints = {name: float(value) for name, value in get_constraints(trial).items()}
    return Notes(without_reserved(trial.user_attrs), constraints)


def from_frozen_trial(frozen_trial: FrozenTrial, translation: Translation, number: int) -> Trial:
    """Convert a finished Optuna trial. Raises `ParamsError` if its params are not in the space."""
    names = {name: state for state, name in STATE_NAMES.items()}
    fields: dict[str, Any] = {name: frozen_trial.user_attrs.get(f"{_ATTR_PREFIX}{name}") for name in _STORED_FIELDS}
    if fields["unread"] is not None:  # a storage returns a list
        fields["unread"] = tuple(fields["unread"])
    owner: Mapping[str, object] | None = frozen_trial.user_attrs.get(OWNER_ATTR)
    if frozen_trial.state.name == "FAIL" and fields["error"] is None and owner:
        fields["error"] = f"the process that ran it (pid {owner['pid']} on {owner['host']}) has ended"
    native_names = {field.native_name for field in translation.fields}
    # the trial may have suggested more than the space has
    extra_params = {name: value for name, value in frozen_trial.params.items() if name not in native_names}
    return Trial(
        number=number,
        params={**translation.decode(frozen_trial.params), **extra_params},
        values=tuple(frozen_trial.values) if frozen_trial.values else None,
        state=names[frozen_trial.state.name],
        intermediate_values=dict(frozen_trial.intermediate_values),
        start=_to_aware(frozen_trial.datetime_start),
        end=_to_aware(frozen_trial.datetime_complete),
        **fields,
        **to_notes(frozen_trial).to_trial_fields(),
    )


def to_study(trials: Iterable[Trial], space: SearchSpace, directions: Sequence[str]) -> Study:
    """Return an in-memory Study that holds the trials."""
    import optuna

    translation = translate(space, "optuna", encode=True)
    with quiet_optuna():
        study = optuna.create_study(study_name="hpcompat", directions=directions)  # type: ignore[arg-type]
    study.set_user_attr(SPACE, space.to_dict())
    for trial in trials:
        params = {} if "params" in trial.user_attrs else {"params": dict(trial.params)}
        study.add_trial(to_frozen_trial(trial, translation, **params))
    return study


def _to_naive_local(time: datetime | None) -> datetime | None:
    # Optuna stores local times without a time zone
    return time and time.astimezone().replace(tzinfo=None)


def _to_aware(time: datetime | None) -> datetime | None:
    return time and time.astimezone()
