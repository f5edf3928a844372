"""Handwritten native specs of every variant, and the parameters that hpcompat reads from them.

A spec is listed with the distribution of its engine if that differs from the distribution of the parameter read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpcompat import from_optuna, from_ray, from_sigopt, from_wandb
from hpcompat.space.parameters import Parameter
from tests.helpers.engine_distributions import (
    HALF_END_BINS,
    PARTIAL_END_BINS,
    ROUNDED_DOWN,
    BinProbabilities,
    EngineDistribution,
    floored_log_uniform,
    rounded_uniform,
)

NativeSpec = Mapping[str, Any]


def _call(call: str, *args: Any) -> NativeSpec:
    return {"call": call, "args": list(args)}


def _suggest(call: str, **kwargs: Any) -> NativeSpec:
    return {"call": call, "kwargs": kwargs}


def _wandb(distribution: str, **keys: Any) -> NativeSpec:
    return {"distribution": distribution, **keys}


def _double(**keys: Any) -> NativeSpec:
    return {"type": "double", **keys}


def _half_end_bins(low: float, high: float, log: bool = False) -> EngineDistribution:
    return EngineDistribution(HALF_END_BINS, rounded_uniform(low, high, log))


def _partial_end_bins(low: float, high: float, log: bool = False) -> EngineDistribution:
    return EngineDistribution(PARTIAL_END_BINS, rounded_uniform(low, high, log))


_ROUNDED_DOWN = EngineDistribution(ROUNDED_DOWN, floored_log_uniform)

NATIVE_SPECS: dict[str, dict[str, tuple[NativeSpec, EngineDistribution | None]]] = {
    "optuna": {
        "float": (_suggest("suggest_float", low=-1.0, high=2.0), None),
        "float_log": (_suggest("suggest_float", low=1e-4, high=1.0, log=True), None),
        "float_uneven": (_suggest("suggest_float", low=0.0, high=10.0, step=3.0), None),
        "int": (_suggest("suggest_int", low=1, high=5), None),
        "int_log": (_suggest("suggest_int", low=1, high=9, log=True), None),
        "int_uneven": (_suggest("suggest_int", low=1, high=10, step=4), None),
        "categorical": (_suggest("suggest_categorical", choices=[1, "a", None]), None),
    },
    "ray": {
        "uniform": (_call("uniform", -1.0, 2.0), None),
        "loguniform": (_call("loguniform", 1e-4, 1.0), None),
        "quniform": (_call("quniform", 0.0, 10.0, 2.0), _half_end_bins(0.0, 10.0)),
        "quniform_noise": (_call("quniform", 0.1, 0.6, 0.1), _half_end_bins(0.1, 0.6)),
        "qloguniform": (_call("qloguniform", 1.0, 4.0, 0.5), _half_end_bins(1.0, 4.0, log=True)),
        "randint": (_call("randint", 1, 6), None),
        "lograndint": (_call("lograndint", 1, 17), _ROUNDED_DOWN),
        "qrandint": (_call("qrandint", 2, 8, 2), None),
        "qrandint_between": (_call("qrandint", 1, 10, 3), None),
        "qrandint_by_one": (_call("qrandint", 1, 6, 1), None),
        "qlograndint": (_call("qlograndint", 2, 20, 4), _ROUNDED_DOWN),
        "qlograndint_by_one": (_call("qlograndint", 1, 9, 1), _ROUNDED_DOWN),
        "randn": (_call("randn", 2.0, 3.0), None),
        "qrandn": (_call("qrandn", 1.0, 0.5, 0.25), None),
        "choice": (_call("choice", ["a", "a", "b", None]), None),
    },
    "ray optuna": {
        "uniform": (_call("uniform", -1.0, 2.0), None),
        "quniform": (_call("quniform", 0.0, 10.0, 2.5), None),
        "quniform_noise": (_call("quniform", 0.1, 0.6, 0.1), None),
        "qlograndint_by_one": (_call("qlograndint", 1, 9, 1), None),
        "lograndint": (_call("lograndint", 1, 17), None),
        "qrandint": (_call("qrandint", 1, 10, 3), None),
        "qrandint_uneven": (_call("qrandint", 1, 10, 4), None),
        "qrandint_by_one": (_call("qrandint", 1, 5, 1), None),
    },
    "sigopt": {
        "double": (_double(bounds={"min": -1.0, "max": 2.0}), None),
        "log": (_double(bounds={"min": 1e-4, "max": 1.0}, transformation="log"), None),
        "int": ({"type": "int", "bounds": {"min": 1, "max": 5}}, None),
        "grid": (_double(grid=[0.1, 0.2, 0.5, 1.0]), None),
        "grid_even": ({"type": "int", "grid": [2, 4, 6]}, None),
        "prior": (
            _double(bounds={"min": 0.0, "max": 3.0}, prior={"name": "normal", "mean": 1.0, "scale": 0.7}),
            None,
        ),
        "strings": ({"type": "categorical", "categorical_values": ["adamw", "sgd", "lion"]}, None),
    },
    "wandb random": {
        "inferred_int": ({"min": 1, "max": 5}, None),
        "inferred_float": ({"min": 0.5, "max": 5.0}, None),
        "uniform": (_wandb("uniform", min=-1.0, max=2.0), None),
        "q_uniform": (_wandb("q_uniform", min=0, max=6, q=3), _half_end_bins(0, 6)),
        "q_uniform_below": (_wandb("q_uniform", min=1, max=10, q=3), _partial_end_bins(1, 10)),
        "q_uniform_above": (_wandb("q_uniform", min=0, max=5, q=3), _partial_end_bins(0, 5)),
        "q_uniform_fractions": (_wandb("q_uniform", min=0.0, max=1.0, q=0.1), _half_end_bins(0.0, 1.0)),
        "q_uniform_by_one": (_wandb("q_uniform", min=0.0, max=5.0), _half_end_bins(0.0, 5.0)),
        "q_log_uniform_values": (_wandb("q_log_uniform_values", min=1, max=16, q=1), _half_end_bins(1, 16, log=True)),
        "q_log_uniform_values_between": (
            _wandb("q_log_uniform_values", min=1.5, max=8.0, q=1),
            _partial_end_bins(1.5, 8.0, log=True),
        ),
        "q_log_uniform_values_by_four": (_wandb("q_log_uniform_values", min=2, max=22, q=4), None),
        "q_log_uniform": (
            _wandb("q_log_uniform", min=0.0, max=3.0, q=1),
            _partial_end_bins(1.0, math.exp(3.0), log=True),
        ),
        "log_uniform": (_wandb("log_uniform", min=-9.0, max=-2.0), None),
        "log_uniform_values": (_wandb("log_uniform_values", min=1e-4, max=1.0), None),
        "inv_log_uniform": (_wandb("inv_log_uniform", min=1.0, max=3.0), None),
        "inv_log_uniform_values": (_wandb("inv_log_uniform_values", min=1e-4, max=1.0), None),
        "normal": (_wandb("normal", mu=2.0, sigma=3.0), None),
        "log_normal": (_wandb("log_normal", mu=-2.0, sigma=0.5), None),
        "q_normal": (_wandb("q_normal", mu=3.0, sigma=2.0, q=1), None),
        "q_log_normal": (_wandb("q_log_normal", mu=1.0, sigma=0.5, q=0.5), None),
        "categorical": ({"values": ["a", "a", "b", 0]}, None),
        "probabilities": ({"values": ["a", "b"], "probabilities": [0.8, 0.2]}, None),
    },
}


def read_parameters(variant: str) -> Mapping[str, Parameter]:
    """Return the parameters that hpcompat reads from the native specs of a variant."""
    specs = {name: dict(spec) for name, (spec, _) in NATIVE_SPECS[variant].items()}
    if variant == "optuna":
        space = from_optuna([{"name": name, **spec} for name, spec in specs.items()])
    elif variant == "sigopt":
        space = from_sigopt([{"name": name, **spec} for name, spec in specs.items()])
    elif variant.startswith("wandb"):
        space = from_wandb({"method": variant.split()[1], "parameters": specs})
    else:
        space = from_ray(specs, searcher="optuna" if variant == "ray optuna" else None)
    return {leaf.name: leaf.parameter for leaf in space.leaves}


def engine_distribution_of(variant: str, name: str) -> BinProbabilities | None:
    distribution = NATIVE_SPECS[variant][name][1]
    return distribution.probabilities if distribution else None
