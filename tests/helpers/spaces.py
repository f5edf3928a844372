"""Search spaces and objectives for the tests of the backends."""

from __future__ import annotations

from typing import Any

import hpcompat as hp

X_SPACE = {"x": hp.Float(0.0, 4.0)}
XN_SPACE = {"x": hp.Float(0.0, 4.0), "n": hp.Int(1, 3)}
SIX_CONFIGURATIONS = {"a": hp.Int(1, 3), "b": hp.Categorical(["x", "y"])}
EVERY_TYPE = hp.SearchSpace(
    {
        "float": hp.Float(0.0, 1.0),
        "narrow": hp.Float(0.5, 0.5 + 1e-9),
        "log": hp.Float(1e-6, 1e-4, log=True),
        "tiny": hp.Float(1e-300, 1e-290, log=True),
        "step": hp.Float(0.1, 0.5, step=0.1),
        "log_step": hp.Float(2.0, 10.0, step=2.0, log=True),
        "int": hp.Int(-3, 8),
        "odd": hp.Int(1, 9, step=2),
        "big": hp.Int(1, 10**4, log=True),
        "batch": hp.Categorical([16, 32, 64]),
        "flag": hp.Categorical([True, False, None]),
        "mixed": hp.Categorical([1, 1.0, True, None, "1", (1, 2), [1, 2], {"a": 1}, {"eval": "1 + 1"}]),
        "ordered": hp.Categorical([1, 10, 1000], ordered=True),
        "fractions": hp.Categorical([0.1, 1.0, 2.5], ordered=True),
        "weighted": hp.Categorical(["a", "b"], weights=[9, 1]),
        "constant": hp.Constant((1, 2)),
        "prior": hp.Normal(0.0, 1.0, low=-1.0, high=2.0),
        "normal": hp.Normal(3.0, 1.0),
        "log_normal": hp.Normal(0.0, 1.0, log=True),
        "rounded": hp.Normal(8.0, 3.0, step=4, low=0),
        "top/k é": hp.Int(1, 2),
        "a.b": hp.Int(1, 2),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "beta": hp.Float(0.9, 0.999, when={"optim": "adamw"}),
        "sgd": hp.SearchSpace(
            {
                "momentum": hp.Float(0.0, 0.9),
                "nesterov": hp.Categorical([True, False]),
                "dampening": hp.Float(0.0, 0.1, when={"sgd.nesterov": False}),
            },
            when={"optim": "sgd"},
        ),
    }
)


def parabola(trial: Any) -> float:
    return float((trial["x"] - 1) ** 2 + trial.get("n", 0))


def trial_rows(result: hp.SearchResult) -> list[Any]:
    return [(trial.number, trial.params, trial.values, trial.state) for trial in result.trials]


def with_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: with_types(entry) for name, entry in value.items()}
    return type(value), value


def evaluate_with_notes(trial: Any) -> float:
    """Set attributes and constraints that are hard to store; trial 0 fails, and trial 1 is pruned."""
    trial.set_constraint("room", trial["x"] - 2)
    trial.set_constraint("time \u20ac", float("inf") if trial.number == 2 else -1)
    trial.set_user_attr("log", "\u00e9\x00\ud800" * 700)
    trial.set_user_attr("error", {"deep": [None, True]})
    if trial.number == 0:
        raise ValueError("once")
    if trial.number == 1:
        raise hp.TrialPruned
    return float(trial["x"])


def evaluate_to_every_state(trial: Any) -> float:
    """Trial 1 fails, and trial 2 is pruned."""
    if trial.number == 1:
        raise ValueError
    trial.report(trial["float"], 1)
    if trial.number == 2:
        raise hp.TrialPruned
    return float(trial["float"])


def note_rows(result: hp.SearchResult) -> list[Any]:
    return [(trial.state, trial.user_attrs, trial.constraints) for trial in result.trials]
