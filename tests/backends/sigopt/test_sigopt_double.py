"""The double of the server is as strict as SigOpt's own code, and takes everything that hpcompat writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from sigopt_rules import assignment_faults, experiment_faults

import hpcompat as hp
from hpcompat.testing import params_in, spaces

METRIC = {"name": "loss", "objective": "minimize"}
LR = {"name": "lr", "type": "double", "bounds": {"min": 0.1, "max": 1.0}}
OPTIM = {"name": "optim", "values": ["adamw", "sgd"]}


def body(*parameters: Any, **others: Any) -> dict[str, Any]:
    return {"name": "x", "metrics": [METRIC], "parameters": list(parameters) or [LR], **others}


def under(*values: str) -> dict[str, Any]:
    return {**LR, "name": "-".join(values), "conditions": {"optim": list(values)}}


@pytest.mark.parametrize(
    "accepted",
    [
        body(),
        body({**LR, "name": " x / é . "}),
        body({**LR, "nonsense": 1}),
        body({**LR, "bounds": {"min": 0.0, "max": 1e-8}}),
        body({**LR, "transformation": "log"}),
        body({**LR, "prior": {"name": "normal", "mean": 0.5, "scale": 1}}),
        body({"name": "n", "type": "int", "bounds": {"min": 1.0, "max": 2}}),
        body({"name": "n", "type": "double", "grid": [3, 1.5], "transformation": "log"}),
        body({"name": "c", "type": "categorical", "categorical_values": ["a", {"name": "b"}]}),
        body(under("adamw"), under("sgd"), conditionals=[OPTIM]),
        body(LR, under("sgd"), conditionals=[OPTIM]),
        body(metrics=[METRIC, {"name": "b"}], observation_budget=3),
        body(type="random", parallel_bandwidth=4),
        body(project="known"),
    ],
)
def test_accepted(accepted):
    assert list(experiment_faults(accepted, {"known": {}})) == []


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (body({**LR, "name": ""}), "name of a parameter"),
        (body({**LR, "name": "x" * 101}), "name of a parameter"),
        (body({**LR, "name": "a\nb"}), "name of a parameter"),
        (body(LR, {**LR, "name": "lr "}), "not unique"),
        (body({**LR, "type": "float"}), "unknown type"),
        (body({**LR, "bounds": {"min": 0.0, "max": 5e-9}, "transformation": None}), "exceed"),
        (body({**LR, "bounds": {"min": 1e-9, "max": 9e-9}, "transformation": "log"}), "exceed"),
        (body({**LR, "bounds": {"min": 0.0, "max": 1.0}, "transformation": "log"}), "positive"),
        (body({**LR, "transformation": "ln"}), "unknown transformation"),
        (body({**LR, "grid": [1.0, 2.0]}), "excludes bounds"),
        (body({**LR, "prior": {"name": "normal", "mean": 2.0, "scale": 1}}), "mean lies within"),
        (body({**LR, "transformation": "log", "prior": {"name": "normal", "mean": 0.5, "scale": 1}}), "no prior"),
        (body({"name": "n", "type": "int", "bounds": {"min": 1, "max": 2}, "transformation": "none"}), "an int has no"),
        (body({"name": "n", "type": "int", "bounds": {"min": True, "max": 2}}), "no numbers of type int"),
        (body({"name": "n", "type": "int", "bounds": {"min": 1.5, "max": 2}}), "no numbers of type int"),
        (body({"name": "n", "type": "double", "grid": [1.0]}), "two or more"),
        (body({"name": "n", "type": "double", "grid": [1.0, 1]}), "two or more"),
        (body({"name": "c", "type": "categorical", "categorical_values": ["a"]}), "two or more"),
        (body({"name": "c", "type": "categorical", "categorical_values": ["a", "a "]}), "two or more"),
        (body({"name": "c", "type": "categorical", "categorical_values": ["a", 16]}), "1 to 50"),
        (body({"name": "c", "type": "categorical", "categorical_values": ["a", "b" * 51]}), "1 to 50"),
        (body({"name": "c", "type": "categorical", "categorical_values": ["a", ""]}), "1 to 50"),
        (body(under("adamw"), conditionals=[OPTIM]), "no parameter is active under {'optim': 'sgd'}"),
        (body(under("adamw")), "need each other"),
        (body(conditionals=[OPTIM]), "need each other"),
        (body(LR, under("lion"), conditionals=[OPTIM]), "has the values ['lion']"),
        (body(LR, under("sgd"), conditionals=[{"name": "optim", "values": ["sgd"]}]), "two or more"),
        (body(LR, under("sgd"), conditionals=[OPTIM, {**OPTIM, "name": "lr"}]), "not unique"),
        (body(metrics=[METRIC, {"name": "b"}]), "observation_budget"),
        (body(metrics=[METRIC, {"name": "b"}, {"name": "c"}], observation_budget=9), "one or two metrics"),
        (body(metrics=[{**METRIC, "objective": ["minimize"]}]), "unknown objective"),
        (body(metrics=[{**METRIC, "threshold": 1.0}]), "no threshold"),
        (body(observation_budget=0), "positive int"),
        (body(parallel_bandwidth=0), "positive int"),
        (body(project="huggingface"), "no project huggingface"),
        (body(budget=3), "unknown key budget"),
    ],
)
def test_refused(refused, reason):
    assert reason in "; ".join(experiment_faults(refused, {}))


@settings(max_examples=200)
@given(spaces("sigopt").flatmap(lambda space: params_in(space).map(lambda params: (space, params))))
def test_whatever_hpcompat_writes_and_encodes_is_accepted(pair):
    space, params = pair
    try:
        translation = hp.translate(space, "sigopt", encode=True)
    except hp.TranslationError:  # nothing varies
        return
    assert list(experiment_faults({"name": "x", "metrics": [METRIC], **translation.form}, {})) == []
    told = [
        {**each, "categorical_values": [{"name": name} for name in each.get("categorical_values", ())]}
        for each in translation.form["parameters"]
    ]
    try:
        raw = translation.encode(params)
    except hp.ParamsError:  # so unlikely that a unit float cannot tell
        return
    assert list(assignment_faults(raw, {**translation.form, "parameters": told})) == []
