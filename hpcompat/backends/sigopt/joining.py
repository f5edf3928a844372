"""How a search comes by its experiment: a new one, or one that is there already and has the same space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hpcompat.backends import Plan
from hpcompat.backends.sigopt.experiments import Experiment
from hpcompat.backends.sigopt.server import HASTY, PAUSES, ensure_project, steadily
from hpcompat.errors import BackendError, Fault
from hpcompat.space.values import show
from hpcompat.translators.translation import Translation

TYPES = {None: "offline", "bayes": "offline", "random": "random", "grid": "offline"}
"""The type of experiment for each sampler; a grid chooses for itself."""


def created(connection: Any, plan: Plan, translation: Translation, on_server: bool) -> Experiment:
    """A new experiment, that knows the plan's history."""
    several = len(plan.directions) > 1
    names = [f"objective_{number}" for number, _ in enumerate(plan.directions, 1)] if several else ["objective"]
    pairs = zip(names, plan.directions, strict=True)
    body: dict[str, Any] = {
        "name": plan.options.get("name", "hpcompat"),
        "type": TYPES[plan.sampler],
        "metrics": [{"name": name, "objective": objective, "strategy": "optimize"} for name, objective in pairs],
        "observation_budget": plan.n_trials + len(plan.history),
        **{key: entries for key, entries in translation.form.items() if entries},
        **{key: plan.options[key] for key in ("project", "parallel_bandwidth") if key in plan.options},
    }
    if "project" in body:
        ensure_project(connection, body["project"])
    if on_server:
        new = steadily(lambda: connection.experiments().create(**body), pauses=PAUSES[:HASTY])
    else:
        new = connection.experiments().create(**body)
    experiment = Experiment(connection, new.id, translation, tuple(names), on_server, len(plan.history))
    for trial in plan.history:
        experiment.tell(trial, history=True)
    return experiment


def joined(connection: Any, plan: Plan, translation: Translation) -> Experiment:
    """The experiment of that id. Raises `BackendError` if it is not one of this space and these directions."""
    name = str(plan.options["experiment_id"])
    found = steadily(connection.experiments(name).fetch, pauses=PAUSES[:HASTY])
    there = found.to_json()
    faults = [*_metric_faults(there, plan), *_form_faults(there, translation.form)]
    if plan.sampler in ("bayes", "random") and there.get("type", "offline") != TYPES[plan.sampler]:
        faults.append(Fault("sampler", f"is {plan.sampler!r}, and the experiment's type {there.get('type')!r}"))
    if faults:
        raise BackendError(f"experiment {name} is one of another search", faults)
    metrics = tuple(metric["name"] for metric in there["metrics"])
    experiment = Experiment(connection, str(found.id), translation, metrics, on_server=True)
    return replace(experiment, replayed=experiment.count() - len(experiment.observations()))


def _metric_faults(there: Mapping[str, Any], plan: Plan) -> Iterator[Fault]:
    metrics = there.get("metrics") or ()
    others = [metric["name"] for metric in metrics if metric.get("strategy") not in (None, "optimize")]
    if others:
        yield Fault("metrics", f"{', '.join(others)} would be left without a value")
    directions = tuple(metric.get("objective") or "maximize" for metric in metrics)
    if directions != plan.directions:
        yield Fault("direction", f"is {show(directions)} there, and {show(plan.directions)} here")


def _form_faults(there: Mapping[str, Any], form: Mapping[str, Any]) -> Iterator[Fault]:
    for key, canonical in (("parameters", _parameter), ("conditionals", _conditional)):
        theirs = {entry["name"]: canonical(entry) for entry in there.get(key) or ()}
        ours = {entry["name"]: canonical(entry) for entry in form[key]}
        for name in sorted(theirs.keys() | ours.keys()):
            if theirs.get(name) != ours.get(name):
                yield Fault(name, f"is {_shown(theirs, name)} there, and {_shown(ours, name)} here")
    if there.get("linear_constraints"):
        yield Fault("linear_constraints", "have no counterpart in the space")


def _shown(entries: Mapping[str, Any], name: str) -> str:
    return show(entries[name], 120) if name in entries else "absent"


def _parameter(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What of a parameter makes it what it is, whatever else the server adds to it, and in whichever order."""
    bounds, prior, conditions = (entry.get(key) or {} for key in ("bounds", "prior", "conditions"))
    log = entry.get("transformation") == "log"
    said = {
        "type": entry["type"],
        "bounds": [bounds[end] for end in ("min", "max") if end in bounds],
        "transformation": "log" if log else None,
        "grid": sorted(entry.get("grid") or ()),
        "categorical_values": _names(entry.get("categorical_values")),
        "prior": {key: prior[key] for key in ("name", "mean", "scale") if key in prior},
        "conditions": {name: _names(values) for name, values in conditions.items()},
    }
    return {key: value for key, value in said.items() if value}


def _conditional(entry: Mapping[str, Any]) -> list[str]:
    return _names(entry.get("values"))


def _names(values: Any) -> list[str]:
    return sorted(value["name"] if isinstance(value, Mapping) else value for value in values or ())
