"""The driver of a search under Ray: its engines, and the trials that run, are restarted or have finished."""

from __future__ import annotations

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

import optuna
from ray.tune.search import ConcurrencyLimiter, Repeater, Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.tune.utils import merge_dicts

from hpcompat.backends.optuna.engine import StudyEngine
from hpcompat.backends.optuna.shared_study import make_sampler
from hpcompat.backends.ray.cluster import death_reason
from hpcompat.backends.ray.trainable import FATAL, LOST, REPORT, TRIAL, Report, TrialConfig
from hpcompat.compat.optuna import in_optimize_loop
from hpcompat.errors import BackendError
from hpcompat.objectives.objective import AmbiguousObjectiveError
from hpcompat.translators import Translation, get_path, translate
from hpcompat.translators.optuna import to_optuna
from hpcompat.translators.ray import build_domains
from hpcompat.trials import optuna_trials
from hpcompat.trials.config import SearchConfig, Suggestion
from hpcompat.trials.loop import Recorder, process_finished_trial
from hpcompat.trials.notes import Notes
from hpcompat.trials.run_dirs import last_checkpoint
from hpcompat.trials.trial import FAILED, PRUNED, Trial, objective_names

Result = MutableMapping[str, Any]  # of Ray: the values by name, with its own entries such as training_iteration


class NoSuggestionYet(Exception):
    """Raised if the engine has no suggestion until another trial has finished."""


class RayEngine(ABC):
    """Chooses params, and learns from reports and finished trials; like `Engine`, but with the results of Ray."""

    @property
    def is_exhausted(self) -> bool:
        """Whether the engine has no more suggestions."""
        return False

    @abstractmethod
    def ask(self, index: int) -> Suggestion | None:
        """Return the next suggestion, or None at the end. Raises `NoSuggestionYet`."""

    @abstractmethod
    def report(self, suggestion: Suggestion, value: float, step: int, result: Result) -> None:
        """Learn from an intermediate value."""

    @abstractmethod
    def tell(self, suggestion: Suggestion, trial: Trial, result: Result | None) -> Trial:
        """Learn from a finished trial; return it, with any constraints that the sampler adds."""


@contextmanager
def open_engine(config: SearchConfig) -> Iterator[RayEngine]:
    """Open the engine of a search: its native Searcher, or else a study with its sampler."""
    if isinstance(config.sampler, Searcher):
        yield SearcherEngine(config, config.sampler)
        return
    with optuna_trials.quiet_optuna():  # which logs that a study is created
        study = optuna.create_study(
            study_name="hpcompat",
            directions=config.directions,  # type: ignore[arg-type]
            sampler=make_sampler(config, len(config.history)),
        )
        engine = RayStudyEngine(StudyEngine(study, config, to_optuna(config.space, encode=True), False, False))
    with in_optimize_loop(study):
        yield engine


class RayStudyEngine(RayEngine):
    """An Optuna study, which gets the attributes and constraints of a trial at its end, from another process."""

    def __init__(self, engine: StudyEngine) -> None:
        self._engine = engine

    @property
    def is_exhausted(self) -> bool:
        return self._engine.is_exhausted

    def ask(self, index: int) -> Suggestion | None:
        return self._engine.ask(index)

    def report(self, suggestion: Suggestion, value: float, step: int, result: Result) -> None:
        suggestion.report(value, step)

    def tell(self, suggestion: Suggestion, trial: Trial, result: Result | None) -> Trial:
        for name, value in trial.user_attrs.items():
            suggestion.set_user_attr(name, value)
        for name, violation in trial.constraints.items():
            suggestion.set_constraint(name, violation)
        return self._engine.tell(suggestion, trial)


class SearcherEngine(RayEngine):
    """A `Searcher` of Ray, which searches the space as Ray's domains."""

    def __init__(self, config: SearchConfig, search_alg: Searcher) -> None:
        self._config = config
        self._search_alg = search_alg
        self._translation = translate(config.space, "ray", encode=True, searcher=searcher_option(search_alg))
        self._domains = build_domains(self._translation.spec)
        metric = objective_names(1)[0] if len(config.directions) == 1 else None
        mode = config.directions[0][:3] if metric else None
        if not search_alg.set_search_properties(metric, mode, self._domains):
            raise BackendError(f"{self._name} has a space already; pass it without a space, it gets that of the search")
        self._add_history()

    @property
    def _name(self) -> str:
        return type(self._search_alg).__name__

    def _add_history(self) -> None:
        hint = "leave it out, or use sampler='bayes'"
        if self._config.history and len(self._config.directions) > 1:
            # add_evaluated_point of ray 2.60 hands Optuna a single value
            raise BackendError(f"{self._name} takes no history of several objectives: {hint}")
        for trial in self._config.history:
            if trial.state == FAILED or not trial.values:
                continue
            point, is_pruned = _to_point(self._translation, trial.params), trial.state == PRUNED
            try:
                self._search_alg.add_evaluated_point(point, trial.values[0], pruned=is_pruned)
            except NotImplementedError as error:
                raise BackendError(f"{self._name} takes no history: {hint}") from error

    def ask(self, index: int) -> Suggestion | None:
        key = str(index)
        native = self._search_alg.suggest(key)
        if native == Searcher.FINISHED:  # type: ignore[comparison-overlap]
            return None
        if native is None:
            raise NoSuggestionYet
        # Ray adds the constants, which a Searcher leaves out
        params = self._translation.decode(merge_dicts(self._domains, native))
        return Suggestion(self._config.trial_number(index), params, native=key)

    def report(self, suggestion: Suggestion, value: float, step: int, result: Result) -> None:
        self._search_alg.on_trial_result(suggestion.native, dict(result))

    def tell(self, suggestion: Suggestion, trial: Trial, result: Result | None) -> Trial:
        has_failed = trial.state == FAILED
        final = None if has_failed or result is None else dict(result)
        self._search_alg.on_trial_complete(suggestion.native, final, error=has_failed)
        return trial


def searcher_option(search_alg: Searcher) -> Literal["optuna", True]:
    """Return the `searcher` option of `to_ray` for a Searcher."""
    while isinstance(search_alg, (ConcurrencyLimiter, Repeater)):  # wrappers, which pass on the space and the params
        search_alg = search_alg.searcher
    return "optuna" if isinstance(search_alg, OptunaSearch) else True


def _to_point(translation: Translation, params: Mapping[str, object]) -> dict[str, object]:
    """Return params for `add_evaluated_point`: with group names joined by "/", and without constants."""
    native = translation.encode(params)
    drawn_fields = (field for field in translation.fields if field.proxy is not None and field.rule.form != "constant")
    return {"/".join(field.native_path): get_path(native, field.native_path) for field in drawn_fields}


MAX_START_RETRIES = 3
"""How often a trial is restarted whose process dies before it has started."""


class NoTrialLeft(Exception):
    """Raised if the search starts no more trials."""


@dataclass
class RunningTrial:
    """A trial that has started.

    Attributes:
        reported_steps: The steps whose reports the engine has received, also before a restart.
        node_loss: The message that the node of one of its workers has died, if so.
        reports: Its reports since the last restart.
    """

    suggestion: Suggestion
    restarts: int = 0
    reported_steps: set[int] = field(default_factory=set)
    node_loss: str | None = None
    start: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    reports: list[Report] = field(default_factory=list)


@dataclass
class Driver:
    """Connects Ray's loop, which identifies trials by a key, with the engine and the recorder.

    Attributes:
        adopt: Registers the run directory of a trial before the recorder receives the trial.
        root: The directory of the run directories.
        is_over: Whether the search has ended, so that no trial starts any more.
        is_exhausted: Whether every trial has started.
        error: The error that has ended the search early.
        pending_restarts: The trials to restart, each with the error that has stopped it.
    """

    config: SearchConfig
    engine: RayEngine
    recorder: Recorder
    adopt: Callable[[str], object]
    root: str | None
    deadline: float | None = None
    n_asked: int = 0
    is_over: bool = False
    is_exhausted: bool = False
    error: BaseException | None = None
    running: dict[str, RunningTrial] = field(default_factory=dict)
    pending_restarts: list[tuple[RunningTrial, str]] = field(default_factory=list)
    finished: list[Trial] = field(default_factory=list)

    def suggest(self, key: str) -> TrialConfig | None:
        """Return the config of the next trial, or None if there is none yet. Raises `NoTrialLeft`."""
        if self.deadline is None:  # from the first trial on, because Ray takes long to start
            self.deadline = time.monotonic() + (self.config.timeout or math.inf)
        self.is_over = self.is_over or time.monotonic() > self.deadline
        if self.is_over:
            self._fail_pending_restarts()
            raise NoTrialLeft
        if self.pending_restarts:
            previous, _ = self.pending_restarts.pop(0)
            self.running[key] = RunningTrial(previous.suggestion, previous.restarts + 1, previous.reported_steps)
        elif not self.is_exhausted:
            self._ask(key)
        if key not in self.running:
            if self.is_exhausted and not self.running:
                raise NoTrialLeft
            return None  # the running trials may have to be restarted
        trial = self.running[key]
        suggestion = trial.suggestion
        return {"number": suggestion.number, "params": suggestion.params, "again": trial.restarts}

    def _ask(self, key: str) -> None:
        try:
            suggestion = self.engine.ask(self.n_asked)
        except NoSuggestionYet:
            return
        if suggestion is not None:
            self.running[key] = RunningTrial(suggestion)
            self.n_asked += 1
        self.is_exhausted = suggestion is None or self.n_asked >= self.config.n_trials

    def on_result(self, key: str, result: Result) -> None:
        """Handle a report or the end of a trial."""
        trial = self.running[key]
        if FATAL in result:
            self._stop(result.pop(FATAL))
            del self.running[key]
        elif TRIAL in result:
            self._finish(key, result.pop(TRIAL), result)
        elif LOST in result:
            trial.node_loss = result.pop(LOST)
        elif REPORT in result:
            report: Report = result.pop(REPORT)
            trial.reports.append(report)
            if report.step not in trial.reported_steps:
                trial.reported_steps.add(report.step)
                self.engine.report(trial.suggestion, report.value, report.step, result)
            if result.get("done"):  # the scheduler has stopped it
                self._finish(key, self._pruned_trial(trial), result)

    def on_death(self, key: str, error: str, is_node_dead: bool, has_begun: bool = True) -> None:
        """Handle the death of a trial's process: restart the trial if its node has died, else fail it.

        A trial that has not begun cannot be the cause, and is restarted too, up to `MAX_START_RETRIES` times.
        """
        if key not in self.running:
            return
        trial = self.running[key]
        is_node_dead = is_node_dead or trial.node_loss is not None
        dead_part = "node" if is_node_dead else "worker process"
        error = f"the {dead_part} has died: {trial.node_loss or death_reason(error)}\n\n{error}"
        should_restart = is_node_dead or (not has_begun and trial.restarts < MAX_START_RETRIES)
        if self.is_over or not should_restart:
            self._finish(key, self._build_trial(trial, FAILED, error=error), None)
            return
        del self.running[key]
        self.pending_restarts.append((trial, error))
        if trial.reports and trial.reports[-1].directory:
            self.adopt(trial.reports[-1].directory)

    def _fail_pending_restarts(self) -> None:
        """Fail the trials that wait for a restart."""
        while self.pending_restarts:
            trial, error = self.pending_restarts.pop(0)
            key = f"restart-{trial.suggestion.number}"
            self.running[key] = trial
            self._finish(key, self._build_trial(trial, FAILED, error=error), None)

    @property
    def was_interrupted(self) -> bool:
        """Whether Ray's loop has ended before the search was over."""
        return bool(self.running or self.pending_restarts) or not (self.is_over or self.is_exhausted)

    def _finish(self, key: str, trial: Trial, result: Result | None) -> None:
        suggestion = self.running.pop(key).suggestion
        try:
            if trial.directory:
                self.adopt(trial.directory)
            is_end = process_finished_trial(
                trial, lambda trial: self.engine.tell(suggestion, trial, result), self.finished, self.recorder
            )
            self.is_over = is_end or self.engine.is_exhausted or self.is_over
        except BaseException as error:  # Ray's loop would only log it
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        if isinstance(error, AmbiguousObjectiveError) and isinstance(self.error, AmbiguousObjectiveError):
            self.error.unscored += error.unscored  # from concurrent trials
        self.error, self.is_over = self.error or error, True

    def _pruned_trial(self, trial: RunningTrial) -> Trial:
        highest = max(trial.reports, key=lambda report: report.step)
        values = None if math.isnan(highest.value) else (highest.value,)
        return self._build_trial(trial, PRUNED, values=values)

    def _build_trial(
        self, trial: RunningTrial, state: str, values: tuple[float, ...] | None = None, error: str | None = None
    ) -> Trial:
        """Build a trial from its reports, because its process cannot return it."""
        last = trial.reports[-1] if trial.reports else None
        directory = last.directory if last else None
        return Trial(
            number=trial.suggestion.number,
            params=trial.suggestion.params,
            values=values,
            state=state,
            intermediate_values={report.step: report.value for report in trial.reports},
            start=last.start if last else trial.start,
            end=datetime.now(timezone.utc),
            run_id=directory and os.path.relpath(directory, self.root or os.path.dirname(directory)),
            directory=directory,
            checkpoint=directory and last_checkpoint(directory),
            error=error,
            **(last.notes if last else Notes()).to_trial_fields(),
        )
