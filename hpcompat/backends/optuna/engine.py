"""The engine of an Optuna study.

It follows the loop of `Study.optimize`: https://github.com/optuna/optuna/blob/v5.0.0/optuna/study/_optimize.py
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial

import optuna
from optuna.trial import TrialState

from hpcompat.backends.optuna.shared_study import (
    HISTORY_ATTR,
    SURPLUS_ATTR,
    FixedParamsSampler,
    LocalStudy,
    SharedStudy,
)
from hpcompat.compat.optuna import (
    fail_stale_trials,
    is_heartbeat_enabled,
    is_stopped,
    send_heartbeat,
    set_constraint,
    tell_study,
)
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.translators.optuna import Suggest
from hpcompat.trials import optuna_trials
from hpcompat.trials.config import SearchConfig, Suggestion
from hpcompat.trials.loop import Engine
from hpcompat.trials.notes import Notes
from hpcompat.trials.trial import COMPLETE, Trial


class StudyEngine(Engine):
    """Suggests params by `Study.ask`, and reports finished trials by `Study.tell`."""

    def __init__(
        self, study: optuna.Study, config: SearchConfig, suggest: Suggest, is_shared: bool, gc_after_trial: bool
    ) -> None:
        self.native = self._study = study
        self._suggest = suggest
        self._is_shared = is_shared
        self._gc_after_trial = gc_after_trial
        # a sampler of the user may have a constraints_func
        self._adds_constraints = "study" in config.options or not isinstance(config.sampler, (str, type(None)))
        self._has_heartbeat = is_heartbeat_enabled(study._storage)
        self._heartbeats: dict[int, ExitStack] = {}
        self._asked: set[int] = set()
        _add_history(study, config, suggest)
        grid_sampler = study.sampler if isinstance(study.sampler, FixedParamsSampler) else None
        self._shared = SharedStudy(study, config.n_trials, suggest.translation, grid_sampler) if is_shared else None
        self._trials = self._shared or LocalStudy(config, suggest.translation, grid_sampler)
        if self._shared:
            self._shared.require_same_space()

    @property
    def is_exhausted(self) -> bool:  # type: ignore[override]
        """Whether the study was stopped, by a trial or by an exhausted sampler."""
        return is_stopped(self._study)

    def ask(self, index: int) -> Suggestion | None:
        """Ask the study until it returns a trial that the search needs."""
        with _translate_errors():
            # other processes may claim the last trials meanwhile: then this trial is discarded
            while self._trials.has_next():
                if self._has_heartbeat:
                    fail_stale_trials(self._study)
                trial = self._study.ask()
                self._asked.add(trial.number)
                try:
                    if self._trials.try_claim(trial):
                        return self._to_suggestion(trial)
                except BaseException:
                    self._discard(trial)
                    raise
                self._discard(trial)
        return None

    def _to_suggestion(self, trial: optuna.Trial) -> Suggestion:
        if self._has_heartbeat:
            heartbeat = self._heartbeats[trial.number] = ExitStack()
            heartbeat.enter_context(send_heartbeat(trial))
        return Suggestion(
            number=self._trials.trial_number(trial.number),
            params=self._suggest(trial),
            report=trial.report,
            should_prune=trial.should_prune,
            native=trial,
            notes=optuna_trials.to_notes(trial)
            if self._is_shared
            else Notes(),  # an enqueued trial may have attributes
            set_user_attr=trial.set_user_attr,
            set_constraint=partial(set_constraint, trial),
        )

    def tell(self, suggestion: Suggestion, trial: Trial) -> Trial:
        """Report a finished trial to the study; return it with the constraints of a constraints_func."""
        native: optuna.Trial = suggestion.native
        with _translate_errors():
            try:
                self._tell(native, trial)
            except BaseException as error:
                if _is_interrupt(error):  # store the trial before the search ends
                    self._tell(native, trial)
                raise
        if self._gc_after_trial:
            gc.collect()
        if not self._adds_constraints:
            return trial
        frozen_trial = self._study.get_trials(deepcopy=False)[native.number]
        return replace(trial, constraints=optuna_trials.to_notes(frozen_trial).constraints)

    def _tell(self, native: optuna.Trial, trial: Trial) -> None:
        self._stop_heartbeat(native)
        for name, value in optuna_trials.to_user_attrs(trial).items():
            native.set_user_attr(name, value)
        values = list(trial.values or ()) if trial.state == COMPLETE else None
        state = TrialState[optuna_trials.STATE_NAMES[trial.state]]
        tell_study(native, state, values)

    def abandon(self, suggestion: Suggestion, error: BaseException) -> None:
        """Fail the trial; after Ctrl-C or an exit, store that as its error."""
        native: optuna.Trial = suggestion.native
        self._stop_heartbeat(native)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            native.set_user_attr(optuna_trials.ERROR_ATTR, f"{type(error).__name__}: the search was interrupted")
        tell_study(native, TrialState.FAIL)

    def _discard(self, trial: optuna.Trial) -> None:
        self._stop_heartbeat(trial)
        trial.set_user_attr(SURPLUS_ATTR, True)
        with suppress(RuntimeError):  # some samplers call study.stop() again, which raises outside the loop
            tell_study(trial, TrialState.FAIL)

    def _stop_heartbeat(self, trial: optuna.Trial) -> None:
        if trial.number in self._heartbeats:
            self._heartbeats.pop(trial.number).close()

    def trials_of_other_processes(self, own: Sequence[Trial]) -> list[Trial]:
        """Return the trials that other processes ran, and those that the study held before."""
        if self._shared is None:
            return []
        return [
            optuna_trials.from_frozen_trial(
                frozen_trial, self._suggest.translation, self._shared.trial_number(frozen_trial.number)
            )
            for frozen_trial in self._shared.finished_trials()
            if frozen_trial.number not in self._asked
        ]


def _add_history(study: optuna.Study, config: SearchConfig, suggest: Suggest) -> None:
    if config.history and study.get_trials(deepcopy=False):
        raise BackendError("history= is for a new study, and this one already has trials of its own")
    for trial in config.history:
        study.add_trial(optuna_trials.to_frozen_trial(trial, suggest.translation, **{HISTORY_ATTR: True}))


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Convert errors of the storage to `SearchError`, or to `KeyboardInterrupt` if Ctrl-C has caused them."""
    try:
        yield
    except Exception as error:
        if _is_interrupt(error):
            raise KeyboardInterrupt from error
        cause = error.__cause__ or error
        if not isinstance(error, OSError) and not type(cause).__module__.startswith(("sqlalchemy.", "optuna.")):
            raise
        hint = Issue("", "its trials are safe: repair it, then continue with resume=True")
        raise SearchError(f"the storage of the study fails: {str(cause).splitlines()[0]}", [hint]) from error


def _is_interrupt(error: BaseException) -> bool:
    # an error that Ctrl-C causes in a storage has the KeyboardInterrupt as its context
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)
