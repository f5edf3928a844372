"""What the tests of the command line share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def written(thing: Any, name: str = "given.json") -> str:
    Path(name).write_text(thing if isinstance(thing, str) else json.dumps(thing), encoding="utf-8")
    return name


def executed(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(source, "printed", "exec"), names)
    return names


def drawn(suggest: Any, trials: int = 30) -> list[dict[str, Any]]:
    """What a function suggests under a real study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: list[dict[str, Any]] = []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: float(found.append(suggest(trial)) or 0), n_trials=trials)
    return found
