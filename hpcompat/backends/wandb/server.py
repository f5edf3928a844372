"""A sweep of a W&B server: `wandb.sweep` makes it, or it is joined; `wandb.agent` fetches its runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from hpcompat.backends import Plan
from hpcompat.backends.wandb.agent import Fetcher
from hpcompat.backends.wandb.joining import joined, trials_of
from hpcompat.backends.wandb.runs import Offer, Source, metrics, opened, record
from hpcompat.errors import Fault, SearchError
from hpcompat.space.values import identity
from hpcompat.translators import Translation, translate
from hpcompat.trials import Trial

_EMBEDDED = Fault("", "or search without a server: driver='embedded'")


def logged_in() -> bool:
    """Whether wandb finds a key, which is not tried."""
    import wandb

    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise SearchError(f"the login at W&B is faulty: {error}", [_EMBEDDED]) from error
    finally:
        wandb.teardown()  # what it has read of its environment is not yet what it is to be


@contextmanager
def on_server(plan: Plan, sweep: Mapping[str, Any]) -> Iterator[Source]:
    """The source of a sweep that W&B's server decides."""
    os.environ.pop("WANDB_MODE", None)
    _verify_login()
    place = {name: plan.options[name] for name in ("project", "entity") if name in plan.options}
    if "sweep_id" in plan.options:
        found, translation = joined(plan, plan.options["sweep_id"], **place)
    else:
        translation = translate(plan.space, "wandb", encode=True, **sweep)
        found = _created(translation, **place)
    form = translation.form
    names = (form["metric"]["name"],) if "metric" in form else metrics(len(plan.directions))
    before = trials_of(found, translation, names)
    seen = {identity(trial.params): trial for trial in before.values()}
    waits_until = None if plan.timeout is None else time.monotonic() + plan.timeout
    exhaustive = form["method"] == "grid"
    reported = names[0] if "early_terminate" in form else "reported"

    def offer(number: int) -> Offer | None:
        while not (exhaustive and len(seen) >= plan.space.size):
            job = fetcher.fetch(waits_until)
            if job is None:
                break
            run = opened(settings=plan.options.get("settings", {}))
            params = _params(run, translation)
            if not (exhaustive and identity(params) in seen):
                return Offer(params, run, job.stops, reported)
            # raw values differ where conditions are not met
            record(run, seen[identity(params)], names)
        return None

    def tell(trial: Trial) -> None:
        seen[identity(trial.params)] = trial

    fetcher = Fetcher(f"{found.entity}/{found.project}/{found.id}")
    try:
        yield Source(offer, tell, names, form, found.id, found.url, before)
    finally:
        fetcher.close()


def _verify_login() -> None:
    import wandb

    try:
        if wandb.login(prompt=False, verify=True):
            return
    except wandb.Error as error:
        raise SearchError(f"W&B cannot be reached, or refuses the key: {error}", [_EMBEDDED]) from error
    raise SearchError("W&B needs a key", [Fault("", "call wandb.login(), or set WANDB_API_KEY"), _EMBEDDED])


def _created(translation: Translation, project: str | None = None, entity: str | None = None) -> Any:
    import wandb

    sweep = dict(translation.form)
    if any(level.level == "encoded" for level in translation.levels):
        # who joins has to know what the values stand for
        sweep["description"] = json.dumps(translation.space.to_dict())
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            name = wandb.sweep(sweep, project=project, entity=entity)
        return wandb.Api().sweep(name)  # type: ignore[no-untyped-call]
    except (wandb.Error, ValueError) as error:
        raise SearchError(f"W&B does not make the sweep: {error}", [_EMBEDDED]) from error


def _params(run: Any, translation: Translation) -> dict[str, Any]:
    params = translation.decode(run.config.as_dict())
    if any(level.level == "encoded" for level in translation.levels):
        run.config.update({"params": params})
    return params
