"""Joining a sweep that is there: whether it is the plan's, and the trials that it holds."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from hpcompat.errors import BackendError, HpcompatError, Issue, ParamsError, SearchError
from hpcompat.objectives import is_trainer
from hpcompat.objectives.metrics import LABEL, is_same_metric
from hpcompat.objectives.trainer_validation import deciding_metric
from hpcompat.space import SearchSpace
from hpcompat.translators import Translation, translate
from hpcompat.translators.wandb import METHODS, from_wandb
from hpcompat.trials.config import Plan
from hpcompat.trials.notes import load_notes
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, Trial

PROJECT = "uncategorized"
"""Where W&B puts a sweep for which no project is named."""
ENDED, SURPLUS = ("finished", "failed", "crashed", "killed"), "SURPLUS"
NOTES = "hpcompat_notes"
"""Where the summary of a run holds the constraints and attributes of its trial."""


def joined(plan: Plan, sweep_id: str, project: str | None = None, entity: str | None = None) -> tuple[Any, Translation]:
    """The sweep of that id, and the plan's space as it stands there.

    Raises `BackendError` for a sweep of another space, method or goal, and `SearchError` if there is none.
    """
    path, sweep = fetched(sweep_id, project, entity)
    config = sweep.config
    issues = list(_issues(plan, config))
    if not issues:
        options = {name: config[name] for name in ("method", "metric", "early_terminate") if name in config}
        translation = translate(plan.space, "wandb", encode=True, **options)
        issues = list(_space_issues(translation, config))
    if issues:
        raise BackendError(f"the sweep {path!r} is not that of this search", issues)
    return sweep, translation


def fetched(sweep_id: str, project: str | None = None, entity: str | None = None) -> tuple[str, Any]:
    """The sweep of that id, and its path. Raises `SearchError` if there is none."""
    import wandb

    place = (entity, project or os.environ.get("WANDB_PROJECT", PROJECT), sweep_id)
    path = sweep_id if "/" in sweep_id else "/".join(filter(None, place))
    try:
        return path, wandb.Api().sweep(path)  # type: ignore[no-untyped-call]
    except (wandb.Error, ValueError) as error:
        hint = Issue("", "give sweep_id='entity/project/id', or project= and entity= with it")
        raise SearchError(f"W&B has no sweep {path!r}: {error}", [hint]) from error


def _issues(plan: Plan, config: Mapping[str, Any]) -> Iterator[Issue]:
    method, metric = config.get("method"), config.get("metric") or {}
    if method not in METHODS:
        yield Issue("sampler", f"the sweep's method is {method!r}", f"a search joins {', '.join(METHODS)}")
    elif plan.sampler not in (None, method):
        yield Issue("sampler", f"is {plan.sampler!r}, and the sweep's method {method!r}", "leave it out")
    if plan.pruner is not None:
        yield Issue("pruner", "the sweep has its own early_terminate, or none", "leave it out")
    goal = metric.get("goal", "minimize")
    if len(plan.directions) > 1 and metric:
        yield Issue("direction", f"there are {len(plan.directions)}, and the sweep has one metric")
    elif metric and goal != plan.directions[0]:
        yield Issue("direction", f"is {plan.directions[0]!r}, and the sweep's goal {goal!r}")
    decided, name = _decided_metric(plan), metric.get("name", LABEL)
    if decided and name != LABEL and not is_same_metric(decided, name):
        hint = f"use compute_objective={name!r}, or join a sweep of {decided!r}"
        yield Issue("compute_objective", f"is {decided!r}, and the sweep's metric {name!r}", hint)


def _decided_metric(plan: Plan) -> str | None:
    """The name of the metric that the search optimizes, where it is known before the first trial."""
    trainer, setting = plan.origin
    if setting is not None and setting.compute_objective is not None:
        named = setting.compute_objective
        return named[0] if isinstance(named, tuple) and len(named) == 1 else None
    return deciding_metric(trainer) if is_trainer(trainer) else None


def _space_issues(translation: Translation, config: Mapping[str, Any]) -> Iterator[Issue]:
    space: SearchSpace = translation.space
    encoded = [level.name for level in translation.levels if level.level == "encoded"]
    if encoded and not _describes(config.get("description"), space):
        names = ", ".join(encoded)
        yield Issue(names, "the sweep does not say what its values stand for", "join one that a search of this made")
    ours, theirs = from_wandb(translation.spec), from_wandb(config)
    if ours != theirs:
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                yield Issue(name, f"is {theirs.get(name)!r} in the sweep, and {ours.get(name)!r} here")


def _describes(description: Any, space: SearchSpace) -> bool:
    try:
        return SearchSpace.from_dict(json.loads(description)) == space
    except (TypeError, ValueError, HpcompatError):
        return False


def has_ended(run: Any) -> bool:
    """Whether the run is over, or has told how its trial ended and W&B waits for it in vain to finish."""
    return run.state in ENDED or run.summary_metrics.get("state") in (COMPLETE, PRUNED, FAILED, SURPLUS)


def trials_of(runs: Iterable[Any], translation: Translation, names: Sequence[str]) -> dict[str, Trial]:
    """The trials behind the runs of a sweep that have ended, by the run's id, in the order they were made."""
    trials: dict[str, Trial] = {}
    for run in runs:
        if has_ended(run) and run.summary_metrics.get("state") != SURPLUS:
            try:
                trials[run.id] = _trial(run, len(trials), translation, names)
            except ParamsError as error:
                if run.state == "finished":
                    raise BackendError(f"run {run.id!r} of the sweep is of another space", error.issues) from error
                # one that ended before it had params is no trial
    return trials


def _trial(run: Any, number: int, translation: Translation, names: Sequence[str]) -> Trial:
    summary = dict(run.summary_metrics)
    values = tuple(summary.get(name) for name in names)
    measured = all(isinstance(value, (int, float)) and not math.isnan(value) for value in values)
    state = summary.get("state", COMPLETE if run.state == "finished" and measured else FAILED)
    error = summary.get("error") or f"the run {run.state}, with {dict(zip(names, values, strict=True))}"
    return Trial(
        number=number,
        params=translation.decode(dict(run.config)),
        values=tuple(map(float, values)) if measured and state in (COMPLETE, PRUNED) else None,  # type: ignore[arg-type]
        state=state,
        start=datetime.fromisoformat(run.created_at.replace("Z", "+00:00")).astimezone(timezone.utc),
        error=error if state == FAILED else None,
        **load_notes(summary.get(NOTES)),
    )
