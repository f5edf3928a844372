"""SigOpt: its optimizer SigOpt Lite in this process, or a SigOpt server.

The server is the one at SIGOPT_API_URL, with the token SIGOPT_API_TOKEN. Without a server, or with `driver="lite"`,
Lite is used. (The hosted service api.sigopt.com has been shut down.) Options:

- `connection`: a `sigopt.Connection` to use; `driver`: "lite" or "server", to require one of them.
- `name`: the name of the experiment.
- `metrics`: the names of the objectives at SigOpt, one for each direction, in that order; by default "objective", or
  "objective_1" and "objective_2".
- Only on a server: `project`, an id, which is created if it does not exist; `parallel_bandwidth`; and `experiment_id`,
  to continue an experiment with the same space. Its trials count in `n_trials`, and are in the result.

In an experiment that was created elsewhere, a single objective is the only metric, whatever its name. Two objectives
are matched with the metrics by their direction. If both have the same direction, `metrics=["loss", "latency"]` defines
the order of the values. `trial.metrics` has the values by name too.

Several processes may use one `experiment_id`: `n_trials` is their total, and open suggestions that one of them is
working on count. If a process on this host has died, its suggestion is deleted, and another trial replaces it.

Samplers: "bayes" is SigOpt's own optimizer, "random" its experiment type random. "grid" runs every configuration once.
When Lite has as many observations as a finite space has configurations, the search runs the untried ones, and then
repeats some at random. After a hundred trials a suggestion of Lite takes a second or more.

SigOpt does not learn from constraints; on a server the metadata of the observation holds them, and the user attributes.
"""

from __future__ import annotations

import os
import random
import re
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, TypeGuard

from hpcompat.backends.base import EngineBackend, choice, claim_configuration, iter_untried, option
from hpcompat.backends.sigopt.client import (
    INSTALL,
    URL,
    import_client,
    lite_connection,
    lite_driver,
    server_connection,
)
from hpcompat.backends.sigopt.experiment import Experiment, NoSuggestion
from hpcompat.backends.sigopt.joining import create_experiment, fetch_directions, join_experiment
from hpcompat.backends.sigopt.types import Connection, NativeExperiment, NativeObservation, NativeSuggestion
from hpcompat.errors import BackendError, Issue, MissingBackendError, ParamsError, SearchError
from hpcompat.objectives.objective import Objective
from hpcompat.space.values import short_repr, strict_key
from hpcompat.translators import translate
from hpcompat.translators.dialect import is_count
from hpcompat.trials.config import SearchConfig, Suggestion
from hpcompat.trials.loop import Engine
from hpcompat.trials.trial import Trial

DRIVERS = ("lite", "server")
_MAX_NAME_LENGTH = 100
_PROJECT_PATTERN = re.compile(r"[a-z0-9_.-]{1,32}")
_SERVER_OPTIONS = ("project", "parallel_bandwidth", "experiment_id")


def _is_connection(value: object) -> TypeGuard[Connection]:
    try:
        return bool(isinstance(value, import_client().Connection))
    except ImportError as error:
        raise MissingBackendError(f"SigOpt's client is not installed ({error}): {INSTALL}") from error


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and bool(name.strip()) and len(name) <= _MAX_NAME_LENGTH and min(name) >= " "


def _are_names(names: object) -> bool:
    return isinstance(names, (list, tuple)) and all(map(_is_name, names)) and len({*names}) == len(names)


def _is_id(experiment_id: object) -> bool:
    return type(experiment_id) in (int, str) and bool(re.fullmatch(r"\w+", str(experiment_id)))


def _is_project(project: object) -> bool:
    return isinstance(project, str) and bool(_PROJECT_PATTERN.fullmatch(project))


@dataclass(frozen=True)
class SigOptOptions:
    """The options of the backend, as the module describes them."""

    connection: Connection | None = option(_is_connection, "a sigopt.Connection")
    driver: str | None = choice(*DRIVERS)
    name: str = option(
        _is_name, f"a str of 1 to {_MAX_NAME_LENGTH} characters without control characters", default="hpcompat"
    )
    metrics: Sequence[str] | None = option(
        _are_names,
        f"a list of different names, of 1 to {_MAX_NAME_LENGTH} characters",
        hint="one for each direction, in order",
    )
    project: str | None = option(_is_project, "an id of 1 to 32 of the characters a-z, 0-9, '-', '_' and '.'")
    parallel_bandwidth: int | None = option(is_count, "an int of at least 1")
    experiment_id: int | str | None = option(_is_id, "the id of an experiment", may_be_none=False)

    @property
    def is_lite(self) -> bool:
        """Whether to use SigOpt Lite, and not a server."""
        if self.connection is not None:
            return lite_driver(self.connection) is not None
        return (self.driver or ("server" if os.environ.get(URL) else "lite")) == "lite"


class SigOptBackend(EngineBackend):
    """Searches with the suggestions and observations of a SigOpt experiment."""

    Options = SigOptOptions

    def find_issues(self, config: SearchConfig, objective: Objective) -> Iterator[Issue]:
        """Yield options that exclude each other, and options that only a server has."""
        options: SigOptOptions = self.parse_options(config)
        if options.connection is not None and options.driver is not None:
            yield Issue("driver", "connection= has one of its own", "give one or the other")
        if options.metrics is not None and len(options.metrics) != len(config.directions):
            message = f"expected {len(config.directions)} different names, got {short_repr(options.metrics)}"
            yield Issue("metrics", message, "give one for each direction, in that order")
        yield from self._find_lite_issues(options) if options.is_lite else self._find_server_issues(config, options)

    def _find_lite_issues(self, options: SigOptOptions) -> Iterator[Issue]:
        for name in _SERVER_OPTIONS:
            if getattr(options, name) is not None:
                yield Issue(name, "is for a server, and not for SigOpt Lite", f"leave it out, or set {URL}")

    def _find_server_issues(self, config: SearchConfig, options: SigOptOptions) -> Iterator[Issue]:
        if config.seed is not None and config.sampler != "grid":
            yield Issue("seed", "a server cannot be seeded", "leave it out, or give driver='lite'")
        if options.experiment_id is not None:
            for name in ("name", "project", "parallel_bandwidth"):
                if config.options.get(name) is not None:
                    yield Issue(name, "the experiment that experiment_id names has its own", "give one or the other")
            if config.history:
                yield Issue("history", "is for a new experiment, and this one exists already")

    @contextmanager
    def open_engine(self, config: SearchConfig, objective: Objective) -> Iterator[Engine]:
        """Create an experiment, or join the one that the options name."""
        options: SigOptOptions = self.parse_options(config)
        if options.is_lite:
            driver = None if options.connection is None else lite_driver(options.connection)
            connection = lite_connection(config.engine_seed, driver)
        else:
            connection = options.connection or server_connection()
        translation = translate(config.space, "sigopt", encode=True)
        if options.experiment_id is None:
            experiment = create_experiment(connection, config, translation, on_server=not options.is_lite)
        else:
            experiment = join_experiment(connection, config, translation, objective.metric_names)
        yield ExperimentEngine(experiment, config, is_new=options.experiment_id is None)

    def stored_directions(self, options: Mapping[str, Any], metrics: Sequence[str]) -> tuple[str, ...] | None:
        """Return the directions of the experiment that the options name, in the order of the values."""
        if not _is_id(options["experiment_id"]) or not _are_names(options.get("metrics") or ()):
            return None
        connection = options.get("connection")
        if connection is not None and not _is_connection(connection):
            return None
        if SigOptOptions(connection=connection, driver=options.get("driver")).is_lite:
            return None
        return fetch_directions(connection or server_connection(), options, tuple(metrics))


BACKEND = SigOptBackend()


Params = dict[str, Any]
Proposal = tuple[NativeSuggestion | None, Params]
"""A SigOpt suggestion with its params; the suggestion is None for params that SigOpt has not suggested."""

_MAX_ENUMERATED = 10_000


class ExperimentEngine(Engine):
    """The engine of an experiment: trials are its suggestions, and finished trials its observations."""

    def __init__(self, experiment: Experiment, config: SearchConfig, is_new: bool) -> None:
        self._experiment = experiment
        self._config = config
        self._index = -1
        existing = [] if is_new else self._to_trials(experiment.observations(), count())
        self._used = {strict_key(dict(trial.params)) for trial in (*config.history, *existing)}
        if config.sampler != "grid":
            self._proposals = self._iter_suggestions()
        elif experiment.on_server:
            self._proposals = self._iter_claims()
        else:
            self._proposals = ((None, params) for params in iter_untried(config.space, self._used))

    @property
    def native(self) -> NativeExperiment:
        """The current state of SigOpt's own experiment."""
        return self._experiment.fetch()

    def ask(self, index: int) -> Suggestion | None:
        """Ask for suggestions until one of them is a trial that the search needs."""
        n_trials = self._config.n_trials
        while (n_finished := self._experiment.count_finished_unless_full(n_trials)) is not None:
            suggestion, params = next(self._proposals, (None, None))
            if params is None:
                return None
            try:
                is_claimed = suggestion is None or self._experiment.try_claim(suggestion, n_trials)
            except BaseException:
                if suggestion is not None:
                    self._experiment.delete(suggestion)
                raise
            if is_claimed:
                self._index = max(n_finished, self._index + 1)
                return Suggestion(self._config.trial_number(self._index), params, native=suggestion)
        return None

    def tell(self, suggestion: Suggestion, trial: Trial) -> Trial:
        """Report the trial as an observation."""
        try:
            self._experiment.tell(trial, suggestion.native)
        except BaseException as error:
            self.abandon(suggestion, error)
            if not isinstance(error, SearchError):
                raise
            outcome = f"gave {short_repr(trial.values)}" if trial.values else f"is {trial.state}: {trial.cause}"
            message = f"{outcome} with {short_repr(trial.params, 500)}"
            issue = Issue(f"trial {trial.number}", message, "the server has not stored it")
            raise SearchError(error.message, [*error.issues, issue]) from error.__cause__
        return trial

    def abandon(self, suggestion: Suggestion, error: BaseException) -> None:
        """Delete the suggestion, so that a server does not wait for an observation."""
        if suggestion.native is not None:
            self._experiment.delete(suggestion.native)

    def trials_of_other_processes(self, own: Sequence[Trial]) -> list[Trial]:
        """Return the trials of the experiment that this process has not run."""
        used_numbers = {trial.number for trial in own}
        free_numbers = (number for number in count() if number not in used_numbers)
        observations = self._experiment.observations()
        others = [observation for observation in observations if not self._experiment.is_own(observation)]
        return self._to_trials(others, free_numbers)

    def _to_trials(self, observations: Sequence[NativeObservation], numbers: Iterator[int]) -> list[Trial]:
        trials, issues = [], []
        for number, observation in zip(numbers, observations, strict=False):
            try:
                trials.append(self._experiment.to_trial(observation, number))
            except ParamsError as error:
                issues += [Issue(f"observation {observation.id}", str(issue)) for issue in error.issues]
        if issues:
            raise BackendError(f"experiment {self._experiment.id} holds observations of another space", issues)
        return trials

    # -- proposals -------------------------------------------------------------------------------------

    def _iter_suggestions(self) -> Iterator[Proposal]:
        """Yield SigOpt's suggestions with their params; if Lite has none, yield other params."""
        rng = random.Random(self._config.engine_seed)
        is_exhausted = False
        while True:
            suggestion = None
            if not is_exhausted:
                try:
                    suggestion, params = self._experiment.suggest()
                except NoSuggestion as error:
                    # Lite counts repeated observations too, and may be off by one
                    is_exhausted = len(self._experiment.reported_tags) + 1 >= self._config.space.size
                    if not is_exhausted:
                        warnings.warn(f"SigOpt Lite failed ({error}); a random trial is run instead", stacklevel=2)
            if suggestion is None:
                params = self._draw_untried(rng)
            self._used.add(strict_key(params))
            yield suggestion, params

    def _draw_untried(self, rng: random.Random) -> Params:
        """Draw untried params of a finite space; if there are none, draw any params."""
        space = self._config.space
        try:
            untried = list(islice(iter_untried(space, self._used), _MAX_ENUMERATED))
        except BackendError:  # continuous, or weighted
            untried = []
        return rng.choice(untried) if untried else space.sample(rng)

    def _iter_claims(self) -> Iterator[Proposal]:
        """Yield untried configurations of a grid, as suggestions that other processes see."""
        experiment = self._experiment

        def get_used_keys(claim: tuple[NativeSuggestion, Params] | None) -> set[Hashable]:
            return self._used | experiment.used_params(excluding=claim[0] if claim else None)

        while True:
            claim = claim_configuration(
                self._config.space,
                get_used_keys,
                publish=experiment.suggest,
                withdraw=lambda claim: experiment.release(claim[0]),
            )
            if claim is None:
                return
            yield claim
