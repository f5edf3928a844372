"""Helpers of the tests of the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings

import hpcompat as hp

INEXACT_SPACE = hp.SearchSpace(
    {
        "optim": hp.Categorical(["adamw", "sgd"], weights=[3, 1]),
        "warmup": hp.Normal(0.1, 0.05, low=0.0, when={"optim": "sgd"}),
        "layers": hp.Int(1, 4),
    }
)
"""A space that no system represents exactly."""

# an example draws a space and compiles its source, which takes about five times as long as in other tests
fewer_examples = settings(
    max_examples=settings.default.max_examples // 5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


class CommandResult(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


RunCommand = Callable[..., CommandResult]


def write_input(data: Any, name: str = "input.json") -> str:
    """Write a string, or data as JSON, to a file; returns its name."""
    Path(name).write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return name


def execute(source: str) -> dict[str, Any]:
    """Run Python source and return the names that it defines."""
    names: dict[str, Any] = {}
    exec(compile(source, "output", "exec"), names)
    return names


def draw_params(suggest: Callable[[Any], dict[str, Any]], n_trials: int = 30) -> list[dict[str, Any]]:
    """Return the suggestions of a function in the trials of an Optuna study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn: list[dict[str, Any]] = []

    def objective(trial: Any) -> float:
        drawn.append(suggest(trial))
        return 0.0

    study.optimize(objective, n_trials=n_trials)
    return drawn
