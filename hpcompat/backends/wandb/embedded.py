"""A sweep without a server: W&B's engine chooses in this process, and each trial is an offline run.

`wandb sync <output_dir>/wandb/offline-run-*` sends the runs to W&B later; they share a group.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hpcompat.backends.wandb.engine import SweepEngine
from hpcompat.backends.wandb.runs import METRIC, Offer, Source, metrics, opened, served
from hpcompat.space.values import strict_key
from hpcompat.translators import translate
from hpcompat.trials.config import Plan, leg_seed
from hpcompat.trials.grid import configurations

INIT = ("project", "entity", "settings")


@contextmanager
def embedded(plan: Plan, sweep: dict[str, Any]) -> Iterator[Source]:
    """The source of a sweep that is decided here."""
    translation = translate(plan.space, "wandb", encode=True, **sweep)
    engine = SweepEngine(translation, leg_seed(plan.seed, len(plan.history)))
    for trial in plan.history:
        engine.tell(trial)
    group = uuid.uuid4().hex[:8]
    wanted = plan.output_dir and os.environ.get("WANDB_MODE") != "disabled"
    mode = os.environ["WANDB_MODE"] = plan.options.get("mode") or ("offline" if wanted else "disabled")
    served()
    init = {name: plan.options[name] for name in INIT if name in plan.options}

    def chosen() -> Iterator[dict[str, Any]]:
        if sweep["method"] != "grid":
            while True:
                yield engine.choose()
        # the engine's own grid is of raw values: it repeats params where conditions are not met, and is
        # written out whole before its first
        tried = {strict_key(trial.params) for trial in plan.history}
        yield from (params for params in configurations(plan.space) if strict_key(params) not in tried)

    params_to_come = chosen()

    def offer(number: int) -> Offer | None:
        params = next(params_to_come, None)
        if params is None:
            return None
        name = f"run-{number}"
        run = opened(mode=mode, id=f"{group}-{number}", name=name, group=group, config=params, **init)
        return Offer(params, run, engine.stops if plan.pruner else _never, METRIC)

    yield Source(offer, engine.tell, metrics(len(plan.directions)), translation.spec, group)


def _never(reports: object) -> bool:
    return False
