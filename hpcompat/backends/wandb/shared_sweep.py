"""A sweep on a W&B server: whether it fits a search, and which of its runs are trials.

Several processes may search one sweep. A process that has started a run counts the other runs. If these are already
`n_trials`, it marks its own run as surplus, which is not a trial.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

import wandb
from wandb.apis.public import Run, Sweep

from hpcompat.backends.base import retry
from hpcompat.compat.wandb import update_sweep
from hpcompat.errors import BackendError, HpcompatError, Issue, ParamsError, SearchError
from hpcompat.objectives.objective import PLACEHOLDER_METRIC, is_same_metric
from hpcompat.space import SearchSpace
from hpcompat.translators import Translation, translate
from hpcompat.translators.wandb import METHODS, from_wandb
from hpcompat.trials.config import SearchConfig
from hpcompat.trials.notes import load_notes
from hpcompat.trials.process import SYSTEM_RNG
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, Trial

PROJECT = "uncategorized"
"""The project of W&B for sweeps without a project."""
ENDED, SURPLUS = ("finished", "failed", "crashed", "killed"), "SURPLUS"
NOTES = "hpcompat_notes"
"""The key in the summary of a run for the constraints and user attributes of its trial."""


def join_sweep(config: SearchConfig, single_metric: str | None) -> tuple[Sweep, Translation]:
    """Return the sweep that the options name, and the translation of the space to it.

    Raises:
        BackendError: The sweep has another space, method or goal.
        SearchError: The sweep does not exist.
    """
    path, sweep = fetch_sweep(config.options)
    sweep_config = sweep.config
    issues = list(_find_settings_issues(config, single_metric, sweep_config))
    if not issues:
        options = {name: sweep_config[name] for name in ("method", "metric", "early_terminate") if name in sweep_config}
        translation = translate(config.space, "wandb", encode=True, **options)
        issues = list(_find_space_issues(translation, sweep_config))
    if issues:
        raise BackendError(f"the sweep {path!r} does not fit this search", issues)
    return sweep, translation


def fetch_sweep(options: Mapping[str, Any]) -> tuple[str, Sweep]:
    """Return the path and the sweep that the options name. Raises `SearchError` if it does not exist."""
    sweep_id: str = options["sweep_id"]
    parts = (options.get("entity"), options.get("project") or os.environ.get("WANDB_PROJECT", PROJECT), sweep_id)
    path = sweep_id if "/" in sweep_id else "/".join(filter(None, parts))
    try:
        return path, get_sweep(path)
    except (wandb.Error, ValueError) as error:
        hint = Issue("", "give sweep_id='entity/project/id', or project= and entity= with it")
        raise SearchError(f"W&B has no sweep {path!r}: {error}", [hint]) from error


def get_sweep(path: str) -> Sweep:
    """Fetch the current state of the sweep at a path."""
    sweep: Sweep = wandb.Api().sweep(path)  # type: ignore[no-untyped-call]
    return sweep


def _find_settings_issues(
    config: SearchConfig, single_metric: str | None, sweep_config: Mapping[str, Any]
) -> Iterator[Issue]:
    method, metric = sweep_config.get("method"), sweep_config.get("metric") or {}
    if method not in METHODS:
        yield Issue("sampler", f"the sweep's method is {method!r}", f"a search joins {', '.join(METHODS)}")
    elif config.sampler not in (None, method):
        yield Issue("sampler", f"is {config.sampler!r}, and the sweep's method {method!r}", "leave it out")
    if config.pruner is not None:
        yield Issue("pruner", "the sweep has its own early_terminate, or none", "leave it out")
    goal = metric.get("goal", "minimize")
    if len(config.directions) > 1 and metric:
        yield Issue("direction", f"expected one for the metric of the sweep, got {len(config.directions)}")
    elif metric and goal != config.directions[0]:
        yield Issue("direction", f"is {config.directions[0]!r}, and the sweep's goal {goal!r}")
    name = metric.get("name", PLACEHOLDER_METRIC)
    if single_metric and name != PLACEHOLDER_METRIC and not is_same_metric(single_metric, name):
        hint = f"use compute_objective={name!r}, or join a sweep of {single_metric!r}"
        yield Issue("compute_objective", f"is {single_metric!r}, and the sweep's metric {name!r}", hint)


def _find_space_issues(translation: Translation, sweep_config: Mapping[str, Any]) -> Iterator[Issue]:
    encoded_parameters = encoded_names(translation)
    if encoded_parameters and not _is_description_of(sweep_config.get("description"), translation.space):
        hint = "join one that a search of this space created"
        yield Issue(", ".join(encoded_parameters), "the sweep does not say how its values are encoded", hint)
    requested_space, existing_space = from_wandb(translation.spec), from_wandb(sweep_config)
    if requested_space != existing_space:
        for name in sorted({*requested_space, *existing_space}):
            if requested_space.get(name) != existing_space.get(name):
                yield Issue(
                    name, f"is {existing_space.get(name)!r} in the sweep, and {requested_space.get(name)!r} here"
                )


def encoded_names(translation: Translation) -> list[str]:
    """Return the names of the parameters whose values are encoded in the sweep."""
    return [level.name for level in translation.levels if level.level == "encoded"]


def _is_description_of(description: object, space: SearchSpace) -> bool:
    try:
        return isinstance(description, str) and SearchSpace.from_dict(json.loads(description)) == space
    except (TypeError, ValueError, HpcompatError):
        return False


def is_finished(run: Run) -> bool:
    """Return whether the run has ended, or has at least logged the state in which its trial ended."""
    return run.state in ENDED or run.summary_metrics.get("state") in (COMPLETE, PRUNED, FAILED, SURPLUS)


def to_trials(runs: Iterable[Run], translation: Translation, names: Sequence[str]) -> dict[str, Trial]:
    """Return the trials of the finished runs of a sweep, by the id of the run, in order of creation."""
    trials: dict[str, Trial] = {}
    for run in runs:
        if is_finished(run) and run.summary_metrics.get("state") != SURPLUS:
            try:
                trials[run.id] = _to_trial(run, len(trials), translation, names)
            except ParamsError as error:
                if run.state == "finished":
                    raise BackendError(f"run {run.id!r} of the sweep is of another space", error.issues) from error
                # a run that has ended before it had params does not count
    return trials


def _to_trial(run: Run, number: int, translation: Translation, names: Sequence[str]) -> Trial:
    summary = dict(run.summary_metrics)
    values = tuple(summary.get(name) for name in names)
    is_measured = all(isinstance(value, (int, float)) and not math.isnan(value) for value in values)
    state = summary.get("state", COMPLETE if run.state == "finished" and is_measured else FAILED)
    error = summary.get("error") or f"the run {run.state}, with {dict(zip(names, values, strict=True))}"
    return Trial(
        number=number,
        params=translation.decode(dict(run.config)),
        values=tuple(map(float, values)) if is_measured and state in (COMPLETE, PRUNED) else None,  # type: ignore[arg-type]
        state=state,
        start=datetime.fromisoformat(run.created_at.replace("Z", "+00:00")).astimezone(timezone.utc),
        error=error if state == FAILED else None,
        **load_notes(summary.get(NOTES)),
    )


T = TypeVar("T")

_MAX_BACK_OFF_S = 0.5
"""The longest random wait after a surplus run, see `back_off`."""
RETRY_DELAYS_S = (1.0, 4.0)
"""The seconds before each further attempt of a request."""
_REPORT_DELAYS_S = (1.0, 4.0)
"""The seconds before each further check whether W&B shows the end of a run."""


@dataclass(frozen=True)
class SharedSweep:
    """A sweep that several processes may search.

    Attributes:
        path: The path of the sweep: entity/project/id.
        translation: The translation of the space to the sweep.
        names: The names under which the objectives are logged.
        n_trials: How many trials all processes run together.
    """

    path: str
    translation: Translation
    names: tuple[str, ...]
    n_trials: int

    def fetch(self) -> tuple[Sweep, list[Run]]:
        """Fetch the sweep with all its runs. Raises `SearchError` if W&B does not answer."""

        def fetch() -> tuple[Sweep, list[Run]]:
            sweep = get_sweep(self.path)
            return sweep, list(sweep.runs)

        return call_with_retry(fetch, [self.resume_hint])

    def runs(self) -> list[Run]:
        """Fetch all runs of the sweep."""
        return self.fetch()[1]

    def is_paused(self) -> bool:
        """Return whether the sweep is paused at W&B."""
        return bool(self.fetch()[0].state == "PAUSED")

    @property
    def resume_hint(self) -> Issue:
        """The hint of an error: how to continue the sweep."""
        return Issue("", f"finished trials are kept there: continue with sweep_id={self.path!r}")

    def trials(self) -> dict[str, Trial]:
        """Return the finished trials, by the id of their run."""
        return to_trials(self.runs(), self.translation, self.names)

    def started_runs(self, excluding: str | None = None) -> list[Run]:
        """Return the runs that count as trials, except one."""
        return [run for run in self.runs() if run.id != excluding and self._counts(run)]

    def _counts(self, run: Run) -> bool:
        if not is_finished(run):
            return bool(run.state == "running")
        if run.summary_metrics.get("state") == SURPLUS:
            return False
        return run.state == "finished" or self.params(run) is not None

    def params(self, run: Run) -> dict[str, Any] | None:
        """Return the params of a run; None if it has no params yet."""
        try:
            return self.translation.decode(dict(run.config))
        except ParamsError:
            return None

    def has_capacity(self) -> bool:
        """Return whether fewer than `n_trials` trials have started."""
        return len(self.started_runs()) < self.n_trials

    def raise_run_cap(self) -> bool:
        """Raise the run_cap of the sweep so that the remaining trials can run; return whether it was too low.

        A search that is continued may have a larger `n_trials`, and some runs may not have become trials.
        """
        sweep, runs = self.fetch()
        run_cap = len(runs) + self.n_trials - sum(map(self._counts, runs))
        if sweep.config.get("run_cap", run_cap) >= run_cap:
            return False
        try:
            update_sweep(sweep, {**sweep.config, "run_cap": run_cap})
        except (wandb.Error, ValueError) as error:
            hint = Issue("", "raise it in W&B, and search again")
            raise SearchError(
                f"the run_cap of the sweep cannot be raised: {error}", [hint, self.resume_hint]
            ) from error
        return True

    def find_unreported(self, run_ids: Sequence[str]) -> set[str]:
        """Return which of these finished runs W&B does not show as finished, after waiting a moment."""
        for delay in (0.0, *_REPORT_DELAYS_S):
            time.sleep(delay)
            unreported = set(run_ids) - self.trials().keys()
            if not unreported:
                break
        return unreported


def call_with_retry(call: Callable[[], T], hints: Sequence[Issue] = ()) -> T:
    """Call with retries, also for incomplete answers, which W&B's client does not retry.

    Raises:
        SearchError: The last attempt failed too; the error has the `hints`.
    """
    try:
        return retry(call, RETRY_DELAYS_S, _is_wandb_error)
    except Exception as error:
        if not _is_wandb_error(error):
            raise
        raise SearchError(f"W&B does not answer: {error}", hints) from error


def _is_wandb_error(error: Exception) -> bool:
    return type(error).__module__.startswith("wandb.")  # it raises many types of errors


def back_off() -> None:
    """Wait for a random time, so that two processes that compete for the last trial do not collide again."""
    time.sleep(SYSTEM_RNG.uniform(0.0, _MAX_BACK_OFF_S))
