"""A sweep of a W&B server: `wandb.sweep` makes it, or it is joined; `wandb.agent` fetches its runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import Any

from hpcompat.backends.wandb.agent import Fetcher
from hpcompat.backends.wandb.joining import SURPLUS, fetched, joined
from hpcompat.backends.wandb.runs import Offer, Source, metrics, opened, record, served
from hpcompat.backends.wandb.shared_sweep import Shared, asked, meet
from hpcompat.errors import Issue, SearchError
from hpcompat.space.values import strict_key
from hpcompat.translators import Translation, translate
from hpcompat.trials.config import Plan
from hpcompat.trials.trial import Trial

_PATIENCE = 300.0
"""Seconds that a run may take to tell W&B of its end."""
_SURPLUS = Trial(0, {}, state=SURPLUS)
_EMBEDDED = Issue("", "or search without a server: driver='embedded'")


def logged_in() -> bool:
    """Whether wandb finds a key, which is not tried."""
    import wandb

    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise SearchError(f"the login at W&B failed: {error}", [_EMBEDDED]) from error
    finally:
        wandb.teardown()  # what it has read of its environment is not yet what it is to be


@contextmanager
def on_server(plan: Plan, sweep: Mapping[str, Any]) -> Iterator[Source]:
    """The source of a sweep that W&B's server decides."""
    _connect()
    place = _place(plan.options)
    if "sweep_id" in plan.options:
        found, translation = joined(plan, plan.options["sweep_id"], **place)
    else:
        translation = translate(plan.space, "wandb", encode=True, **sweep)
        found = _created(translation, _cap(plan, translation), **place)
    spec = translation.spec
    names = (spec["metric"]["name"],) if "metric" in spec else metrics(len(plan.directions))
    shared = Shared(f"{found.entity}/{found.project}/{found.id}", translation, names, plan.n_trials)
    before = shared.trials()
    if "sweep_id" in plan.options and shared.wants():
        shared.lift_cap()
    seen = {strict_key(trial.params): trial for trial in before.values()}
    waits_until = None if plan.timeout is None else time.monotonic() + plan.timeout
    exhaustive = spec["method"] == "grid"
    reported = names[0] if "early_terminate" in spec else "reported"
    fetchers = [Fetcher(shared.path, shared.is_paused)]

    def offer(number: int) -> Offer | None:
        while not (exhaustive and len(seen) >= plan.space.size) and shared.wants():
            try:
                job = fetchers[-1].fetch(waits_until)
            except SearchError as error:
                raise SearchError(error.message, {*error.issues, shared.way_on}) from error
            if job is None:
                late = waits_until is not None and time.monotonic() > waits_until
                if late or not (shared.wants() and shared.lift_cap()):
                    break
                fetchers.append(Fetcher(shared.path, shared.is_paused))
                continue
            run = opened([shared.way_on], settings={"finish_timeout": _PATIENCE, **plan.options.get("settings", {})})
            params = _params(run, translation)
            known = strict_key(params)
            others = shared.begun(besides=run.id)
            if exhaustive and (known in seen or known in {strict_key(shared.params(other)) for other in others}):
                # raw values differ where conditions are not met
                record(run, replace(seen.get(known, _SURPLUS), state=SURPLUS), names)
            elif len(others) >= plan.n_trials:
                record(run, _SURPLUS, names)
                meet()
            else:
                return Offer(params, run, job.stops, reported)
        return None

    def tell(trial: Trial) -> None:
        seen[strict_key(trial.params)] = trial

    try:
        yield Source(offer, tell, names, spec, found.id, found.url, before, shared)
    finally:
        fetchers[-1].close()


def goal(options: Mapping[str, Any]) -> str | None:
    """The goal of the sweep that the options name; None where it has no metric."""
    _connect()
    _, sweep = fetched(options["sweep_id"], **_place(options))
    metric = sweep.config.get("metric")
    return str(metric.get("goal", "minimize")) if metric else None


def _place(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("project", "entity") if name in options}


def _connect() -> None:
    os.environ.pop("WANDB_MODE", None)
    served()
    _verify_login()


def _verify_login() -> None:
    import wandb

    try:
        if wandb.login(prompt=False, verify=True):
            return
    except wandb.Error as error:
        raise SearchError(f"W&B cannot be reached, or refuses the key: {error}", [_EMBEDDED]) from error
    raise SearchError("W&B needs a key", [Issue("", "call wandb.login(), or set WANDB_API_KEY"), _EMBEDDED])


def _cap(plan: Plan, translation: Translation) -> dict[str, int]:
    """What bounds all agents of the sweep, whoever starts them; a grid may hold some configurations twice."""
    conditional = any(leaf.when for leaf in plan.space.leaves)
    return {} if translation.spec["method"] == "grid" and conditional else {"run_cap": plan.n_trials}


def _created(
    translation: Translation, cap: Mapping[str, int], project: str | None = None, entity: str | None = None
) -> Any:
    import wandb

    sweep = {**translation.spec, **cap}
    if any(level.level == "encoded" for level in translation.levels):
        # who joins has to know what the values stand for
        sweep["description"] = json.dumps(translation.space.to_dict())
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            name = wandb.sweep(sweep, project=project, entity=entity)
    except (wandb.Error, ValueError) as error:
        raise SearchError(f"W&B does not make the sweep: {error}", [_EMBEDDED]) from error
    return asked(lambda: wandb.Api().sweep(name), [_EMBEDDED])  # type: ignore[no-untyped-call]


def _params(run: Any, translation: Translation) -> dict[str, Any]:
    params = translation.decode(run.config.as_dict())
    if any(level.level == "encoded" for level in translation.levels):
        run.config.update({"params": params})
    return params
