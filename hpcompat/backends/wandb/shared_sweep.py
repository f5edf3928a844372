"""A sweep of a W&B server: whether it is that of a search, and which of its runs are trials.

Several processes may search it. A run counts from its start. A process that has started one counts the others: if there
are as many as wanted already, it marks its own as surplus, which is not a trial.
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
from wandb.apis.public.sweeps import _upsert_sweep  # private API of wandb 0.31: what `wandb sweep --update` calls

from hpcompat.backends.base import retry
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
"""Where W&B puts a sweep for which no project is named."""
ENDED, SURPLUS = ("finished", "failed", "crashed", "killed"), "SURPLUS"
NOTES = "hpcompat_notes"
"""Where the summary of a run holds the constraints and attributes of its trial."""


def join(config: SearchConfig, decided_metric: str | None) -> tuple[Sweep, Translation]:
    """Return the sweep that the options name, and the space as it is written there.

    Raises:
        BackendError: The sweep has another space, method or goal.
        SearchError: W&B does not have the sweep.
    """
    path, sweep = fetch_sweep(config.options)
    stored = sweep.config
    issues = list(_find_settings_issues(config, decided_metric, stored))
    if not issues:
        options = {name: stored[name] for name in ("method", "metric", "early_terminate") if name in stored}
        translation = translate(config.space, "wandb", encode=True, **options)
        issues = list(_find_space_issues(translation, stored))
    if issues:
        raise BackendError(f"the sweep {path!r} is not that of this search", issues)
    return sweep, translation


def fetch_sweep(options: Mapping[str, Any]) -> tuple[str, Sweep]:
    """Return the sweep that the options name, after its path. Raises `SearchError` if W&B does not have it."""
    sweep_id: str = options["sweep_id"]
    parts = (options.get("entity"), options.get("project") or os.environ.get("WANDB_PROJECT", PROJECT), sweep_id)
    path = sweep_id if "/" in sweep_id else "/".join(filter(None, parts))
    try:
        return path, get_sweep(path)
    except (wandb.Error, ValueError) as error:
        hint = Issue("", "give sweep_id='entity/project/id', or project= and entity= with it")
        raise SearchError(f"W&B has no sweep {path!r}: {error}", [hint]) from error


def get_sweep(path: str) -> Sweep:
    """Return the sweep at a path, as W&B has it now."""
    sweep: Sweep = wandb.Api().sweep(path)  # type: ignore[no-untyped-call]
    return sweep


def _find_settings_issues(
    config: SearchConfig, decided_metric: str | None, stored: Mapping[str, Any]
) -> Iterator[Issue]:
    method, metric = stored.get("method"), stored.get("metric") or {}
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
    decided, name = decided_metric, metric.get("name", PLACEHOLDER_METRIC)
    if decided and name != PLACEHOLDER_METRIC and not is_same_metric(decided, name):
        hint = f"use compute_objective={name!r}, or join a sweep of {decided!r}"
        yield Issue("compute_objective", f"is {decided!r}, and the sweep's metric {name!r}", hint)


def _find_space_issues(translation: Translation, stored: Mapping[str, Any]) -> Iterator[Issue]:
    encoded = encoded_names(translation)
    if encoded and not _describes(stored.get("description"), translation.space):
        hint = "join one that a search of this space created"
        yield Issue(", ".join(encoded), "the sweep does not say what its values stand for", hint)
    requested, existing = from_wandb(translation.spec), from_wandb(stored)
    if requested != existing:
        for name in sorted({*requested, *existing}):
            if requested.get(name) != existing.get(name):
                yield Issue(name, f"is {existing.get(name)!r} in the sweep, and {requested.get(name)!r} here")


def encoded_names(translation: Translation) -> list[str]:
    """Return the names of the parameters whose values in the sweep stand for others."""
    return [level.name for level in translation.levels if level.level == "encoded"]


def _describes(description: object, space: SearchSpace) -> bool:
    try:
        return isinstance(description, str) and SearchSpace.from_dict(json.loads(description)) == space
    except (TypeError, ValueError, HpcompatError):
        return False


def is_finished(run: Run) -> bool:
    """Return whether the run has ended, or has reported how its trial ended without ending at W&B itself."""
    return run.state in ENDED or run.summary_metrics.get("state") in (COMPLETE, PRUNED, FAILED, SURPLUS)


def to_trials(runs: Iterable[Run], translation: Translation, names: Sequence[str]) -> dict[str, Trial]:
    """Return the trials behind the runs of a sweep that have ended, by the run's id, in the order of their creation."""
    trials: dict[str, Trial] = {}
    for run in runs:
        if is_finished(run) and run.summary_metrics.get("state") != SURPLUS:
            try:
                trials[run.id] = _to_trial(run, len(trials), translation, names)
            except ParamsError as error:
                if run.state == "finished":
                    raise BackendError(f"run {run.id!r} of the sweep is of another space", error.issues) from error
                # one that ended before it had params does not count
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
"""How long a process waits at most that has come for the same trial as another."""
RETRY_DELAYS_S = (1.0, 4.0)
"""Before each repetition of a request."""
_LAG_S = (1.0, 4.0)
"""Before each further look for a run that has ended."""


@dataclass(frozen=True)
class SharedSweep:
    """The sweep at a path (entity/project/id), of `n_trials` trials, whose objectives have these `names`."""

    path: str
    translation: Translation
    names: tuple[str, ...]
    n_trials: int

    def fetch(self) -> tuple[Sweep, list[Run]]:
        """Return the sweep as W&B has it now, and all its runs. Raises `SearchError` where W&B does not answer."""

        def fetch() -> tuple[Sweep, list[Run]]:
            sweep = get_sweep(self.path)
            return sweep, list(sweep.runs)

        return call_with_retry(fetch, [self.resume_hint])

    def runs(self) -> list[Run]:
        """Return all its runs."""
        return self.fetch()[1]

    def is_paused(self) -> bool:
        """Return whether it was paused at W&B, and may be resumed there."""
        return bool(self.fetch()[0].state == "PAUSED")

    @property
    def resume_hint(self) -> Issue:
        """How to continue it."""
        return Issue("", f"what is finished is kept there: go on with sweep_id={self.path!r}")

    def trials(self) -> dict[str, Trial]:
        """Return the trials that have ended, by the id of their run."""
        return to_trials(self.runs(), self.translation, self.names)

    def started(self, besides: str | None = None) -> list[Run]:
        """Return the runs that count, but for the one of that id."""
        return [run for run in self.runs() if run.id != besides and self._counts(run)]

    def _counts(self, run: Run) -> bool:
        if not is_finished(run):
            return bool(run.state == "running")
        if run.summary_metrics.get("state") == SURPLUS:
            return False
        return run.state == "finished" or self.params(run) is not None

    def params(self, run: Run) -> dict[str, Any] | None:
        """Return the params of a run; None if it has none yet."""
        try:
            return self.translation.decode(dict(run.config))
        except ParamsError:
            return None

    def has_capacity(self) -> bool:
        """Return whether there is a trial to be run that no process has started."""
        return len(self.started()) < self.n_trials

    def raise_run_cap(self) -> bool:
        """Let the server start as many runs as are still wanted; return whether its cap was too low.

        A continued search wants more than the first one, and some runs of the server may not have become trials.
        """
        entity, project, _ = self.path.split("/")
        sweep, runs = self.fetch()
        run_cap = len(runs) + self.n_trials - sum(map(self._counts, runs))
        if sweep.config.get("run_cap", run_cap) >= run_cap:
            return False
        try:
            spec = {**sweep.config, "run_cap": run_cap}
            _upsert_sweep(wandb.Api(), spec, obj_id=sweep._attrs["id"], project=project, entity=entity)
        except (wandb.Error, ValueError) as error:
            hint = Issue("", "raise it in W&B, and search again")
            raise SearchError(f"the sweep's run_cap stays: {error}", [hint, self.resume_hint]) from error
        return True

    def unreported(self, run_ids: Sequence[str]) -> set[str]:
        """Return which of the runs that have ended here do not appear at W&B; that may take a moment."""
        for delay in (0.0, *_LAG_S):
            time.sleep(delay)
            unreported = set(run_ids) - self.trials().keys()
            if not unreported:
                break
        return unreported


def call_with_retry(call: Callable[[], T], hints: Sequence[Issue] = ()) -> T:
    """Return what `call` returns; it is repeated, as W&B's client does only where no part of an answer arrives.

    Raises:
        SearchError: The last repetition failed too; with `hints`.
    """
    try:
        return retry(call, RETRY_DELAYS_S, _is_wandb_error)
    except Exception as error:
        if not _is_wandb_error(error):
            raise
        raise SearchError(f"W&B does not answer: {error}", hints) from error


def _is_wandb_error(error: Exception) -> bool:
    return type(error).__module__.startswith("wandb.")  # it raises errors of many types


def back_off() -> None:
    """Wait for a random time, so that one of two processes that have come for the same trial is the next to try."""
    time.sleep(SYSTEM_RNG.uniform(0.0, _MAX_BACK_OFF_S))
