"""Finished trials as Optuna keeps them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hpcompat.translators import Translation, translate
from hpcompat.translators.optuna import SPACE
from hpcompat.trials.notes import RESERVED, Notes
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from hpcompat.trials.result import SearchResult

STATES = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL"}
_MARK = f"{RESERVED} "  # `Trial` takes no attribute from its user that begins so
OWNER = f"{_MARK}owner"
"""The mark of a trial in a study that several processes share: the process that runs it."""
ERROR = f"{_MARK}error"
"""The mark of a failed trial: why it did."""
_ATTRIBUTES = ("run_id", "directory", "checkpoint", "error", "unread")
_GUARD = threading.Lock()
_verbosities: list[int] = []
"""That of Optuna before the first of the searches that keep it quiet, once for each of them."""


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Leave out Optuna's own lines: a search has its own. The verbosity returns when the last such block ends.

    It is of the whole process, and blocks of several threads overlap.
    """
    from optuna import logging

    with _GUARD:
        _verbosities.append(_verbosities[0] if _verbosities else logging.get_verbosity())
        logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        with _GUARD:
            before = _verbosities.pop()
            if not _verbosities:
                logging.set_verbosity(before)


def distributions(translation: Translation) -> dict[str, BaseDistribution]:
    """The distributions that the suggest calls of a translation draw from, by the name Optuna knows."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kinds = {
        "suggest_float": FloatDistribution,
        "suggest_int": IntDistribution,
        "suggest_categorical": CategoricalDistribution,
    }
    calls = [call for call in translation.spec if call["call"] in kinds]
    return {call["name"]: kinds[call["call"]](**call["kwargs"]) for call in calls}


def frozen(trial: Trial, translation: Translation, **marks: Any) -> FrozenTrial:
    """The trial as `Study.add_trial` takes it; `marks` go to its user_attrs beside its own."""
    import optuna

    inside = {name: value for name, value in trial.params.items() if name in translation.space}
    raw = translation.encode(inside)
    every = distributions(translation)
    frozen_trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState[STATES[trial.state]],
        values=list(trial.values) if trial.values else None,
        params=raw,
        distributions={name: every[name] for name in raw},
        intermediate_values=dict(trial.intermediate_values),
        user_attrs={**own_attrs(trial.user_attrs), **attributes(trial), **marks},
        constraints=dict(trial.constraints),
    )
    # Optuna demands both; of a trial from a server one is not known, of one made by hand none
    frozen_trial.datetime_start = _local(trial.start or trial.end) or frozen_trial.datetime_start
    frozen_trial.datetime_complete = _local(trial.end or trial.start) or frozen_trial.datetime_complete
    return frozen_trial


def attributes(trial: Trial) -> dict[str, Any]:
    """What of a trial Optuna has no field for, by its mark."""
    return {f"{_MARK}{name}": value for name in _ATTRIBUTES if (value := getattr(trial, name)) is not None}


def own_attrs(user_attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that a trial set, without our marks."""
    return {name: value for name, value in user_attrs.items() if not name.startswith(RESERVED)}


def notes_of(trial: Any) -> Notes:
    """What one of Optuna's trials, live or frozen, has noted."""
    return Notes(own_attrs(trial.user_attrs), {name: float(value) for name, value in trial.constraints.items()})


def from_frozen_trial(frozen_trial: FrozenTrial, translation: Translation, number: int) -> Trial:
    """The trial behind a finished one of Optuna's. Raises `ParamsError` if it is not of the space."""
    names = {name: state for state, name in STATES.items()}
    known: dict[str, Any] = {name: frozen_trial.user_attrs.get(f"{_MARK}{name}") for name in _ATTRIBUTES}
    if known["unread"] is not None:  # in a storage it is a list
        known["unread"] = tuple(known["unread"])
    owner: Mapping[str, Any] | None = frozen_trial.user_attrs.get(OWNER)
    if frozen_trial.state.name == "FAIL" and known["error"] is None and owner:
        known["error"] = f"the process that ran it (pid {owner['pid']} on {owner['host']}) has ended"
    of_space = {field.native_name for field in translation.fields}
    suggested = {name: value for name, value in frozen_trial.params.items() if name not in of_space}  # as the trial ran
    return Trial(
        number=number,
        params={**translation.decode(frozen_trial.params), **suggested},
        values=tuple(frozen_trial.values) if frozen_trial.values else None,
        state=names[frozen_trial.state.name],
        intermediate_values=dict(frozen_trial.intermediate_values),
        start=_aware(frozen_trial.datetime_start),
        end=_aware(frozen_trial.datetime_complete),
        **known,
        **notes_of(frozen_trial).fields(),
    )


def study_of(result: SearchResult) -> Study:
    """A Study in memory that holds the trials of a result."""
    import optuna

    translation = translate(result.space, "optuna", encode=True)
    with quiet_optuna():
        study = optuna.create_study(study_name="hpcompat", directions=result.directions)  # type: ignore[arg-type]
    study.set_user_attr(SPACE, result.space.to_dict())
    for trial in result.trials:
        params = {} if "params" in trial.user_attrs else {"params": dict(trial.params)}
        study.add_trial(frozen(trial, translation, **params))
    return study


def _local(moment: datetime | None) -> datetime | None:
    # Optuna's own are local time without a zone
    return moment and moment.astimezone().replace(tzinfo=None)


def _aware(moment: datetime | None) -> datetime | None:
    return moment and moment.astimezone()
