"""How a search comes by its experiment: a new one, or one that is there already and has the same space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpcompat.backends.sigopt.client import HASTY, PAUSES, URL, ensure_project, steadily
from hpcompat.backends.sigopt.experiment import Experiment
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.objectives.metrics import LABEL, is_same_metric
from hpcompat.space.values import short_repr
from hpcompat.translators.translation import Translation
from hpcompat.trials.config import Plan

TYPES = {None: "offline", "bayes": "offline", "random": "random", "grid": "offline"}
"""The type of experiment for each sampler; a grid chooses for itself."""

Metric = Mapping[str, Any]


def created(connection: Any, plan: Plan, translation: Translation, on_server: bool) -> Experiment:
    """A new experiment, that knows the plan's history."""
    names = plan.options.get("metrics") or own_names(len(plan.directions))
    pairs = zip(names, plan.directions, strict=True)
    body: dict[str, Any] = {
        "name": plan.options.get("name", "hpcompat"),
        "type": TYPES[plan.sampler],
        "metrics": [{"name": name, "objective": objective, "strategy": "optimize"} for name, objective in pairs],
        "observation_budget": plan.n_trials + len(plan.history),
        **{key: entries for key, entries in translation.spec.items() if entries},
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
    found = _fetched(connection, name)
    there = found.to_json()
    metrics = there.get("metrics") or ()
    names = _paired(metrics, plan.options, _stated(plan), plan.directions)
    issues = [
        *_closed_issues(there),
        *_metric_issues(metrics, names, plan),
        *_spec_issues(there, translation.spec),
    ]
    if plan.sampler in ("bayes", "random") and there.get("type", "offline") != TYPES[plan.sampler]:
        issues.append(Issue("sampler", f"is {plan.sampler!r}, and the experiment's type {there.get('type')!r}"))
    if issues:
        raise BackendError(f"experiment {name} is one of another search", issues)
    experiment = Experiment(connection, str(found.id), translation, names or (), on_server=True)
    return replace(experiment, replayed=experiment.count() - len(experiment.observations()))


def stored_directions(connection: Any, options: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The objectives of the experiment's metrics, in the order of the values; None where that is not known."""
    metrics = _fetched(connection, str(options["experiment_id"])).to_json().get("metrics") or ()
    there = {metric.get("name"): _direction(metric) for metric in metrics}
    if len(set(there.values())) == 1:
        return tuple(there.values())  # in any order
    paired = _paired(metrics, options, _unlabelled(names), ()) or ()
    return tuple(there[name] for name in paired) if paired and all(name in there for name in paired) else None


def own_names(objectives: int) -> tuple[str, ...]:
    """The names of the metrics of an experiment that hpcompat makes, in the order of the directions.

    >>> own_names(1), own_names(2)
    (('objective',), ('objective_1', 'objective_2'))
    """
    return ("objective",) if objectives == 1 else tuple(f"objective_{number}" for number in range(1, objectives + 1))


def _fetched(connection: Any, name: str) -> Any:
    try:
        return steadily(connection.experiments(name).fetch, pauses=PAUSES[:HASTY])
    except SearchError as error:
        if getattr(error.__cause__, "status_code", None) != 404:
            raise
        hint = Issue("", f"give the id of one of its experiments, or set {URL} to the server that has it")
        raise BackendError(f"there is no experiment {name!r} on the SigOpt server", [hint]) from error


def _closed_issues(there: Mapping[str, Any]) -> Iterator[Issue]:
    """Why the server would refuse every observation."""
    if there.get("state") == "deleted":
        yield Issue("experiment_id", "it is deleted", "restore it, or leave out experiment_id")
    if there.get("runs_only"):
        yield Issue("experiment_id", "it takes runs alone, as an AIExperiment does", "leave it out")
    if there.get("tasks"):
        yield Issue("tasks", "have no counterpart in a search", "leave out experiment_id")


def _paired(
    metrics: Sequence[Metric], options: Mapping[str, Any], stated: tuple[str, ...], directions: Sequence[str]
) -> tuple[Any, ...] | None:
    """The names of the experiment's metrics in the order of the values; None where that is not known.

    A server tells of its metrics sorted by name, whatever the order they were given in. The names that the call
    gives count, be they those of the experiment or not. `stated`: those that compute_objective names.
    """
    names = tuple(metric.get("name") for metric in metrics)
    if "metrics" in options:
        return tuple(options["metrics"])
    is_own = set(names) == set(own_names(len(names)))  # which stand for any metric
    if stated and not is_own and names != (None,):
        return tuple(next((name for name in names if name and is_same_metric(name, each)), each) for each in stated)
    if len(names) == 1:
        return names
    if is_own:
        return own_names(len(names))
    by_direction = {_direction(metric): metric.get("name") for metric in metrics}
    if len(by_direction) < len(metrics):  # two that are both minimized, say
        return None
    return tuple(by_direction.get(direction) for direction in directions)


def _stated(plan: Plan) -> tuple[str, ...]:
    """The names of the metrics that compute_objective names."""
    _, setting = plan.origin
    named = setting.compute_objective if setting is not None else None
    return _unlabelled(named) if isinstance(named, tuple) else ()


def _unlabelled(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, unless it is the one that stands for any metric."""
    return () if names == (LABEL,) else names


def _direction(metric: Metric) -> str:
    return metric.get("objective") or "maximize"


def _metric_issues(metrics: Sequence[Metric], names: Sequence[Any] | None, plan: Plan) -> Iterator[Issue]:
    others = [metric["name"] for metric in metrics if metric.get("strategy") not in (None, "optimize")]
    if others:
        yield Issue("metrics", f"{', '.join(others)} would be left without a value")
    metrics = [metric for metric in metrics if metric.get("name") not in others]
    there = {metric.get("name"): _direction(metric) for metric in metrics}
    stated = _stated(plan)
    if "metrics" in plan.options and stated and not all(map(is_same_metric, stated, plan.options["metrics"])):
        named = short_repr(list(plan.options["metrics"]))
        yield Issue("metrics", f"is {named}, and compute_objective {short_repr(list(stated))}", "leave one of them out")
    if sorted(there.values()) != sorted(plan.directions):
        yield Issue(
            "direction", f"is {short_repr(tuple(there.values()))} there, and {short_repr(plan.directions)} here"
        )
    elif names is None:
        orders = f"metrics={short_repr(list(there))} or {short_repr(list(there)[::-1])}"
        expected = f"expected the order of {_listed(there)}: each is {next(iter(there.values()))}d"
        yield Issue("metrics", expected, f"pass {orders}, in the order of the values")
    elif set(names) != set(there):
        yield Issue("metrics", f"expected {_listed(there)}, got {_listed(names)}", "name those of the experiment")
    else:
        for name, direction in zip(names, plan.directions, strict=True):
            if there[name] != direction:
                yield Issue("direction", f"{name!r} is {there[name]}d there, and {direction}d here")


def _listed(names: Iterable[Any]) -> str:
    return " and ".join(map(repr, names))


def _spec_issues(there: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Issue]:
    for key, canonical in (("parameters", _parameter), ("conditionals", _conditional)):
        theirs = {entry["name"]: canonical(entry) for entry in there.get(key) or ()}
        ours = {entry["name"]: canonical(entry) for entry in spec[key]}
        for name in sorted(theirs.keys() | ours.keys()):
            if theirs.get(name) != ours.get(name):
                yield Issue(name, f"is {_shown(theirs, name)} there, and {_shown(ours, name)} here")
    if there.get("linear_constraints"):
        yield Issue("linear_constraints", "have no counterpart in the space")


def _shown(entries: Mapping[str, Any], name: str) -> str:
    return short_repr(entries[name], 120) if name in entries else "absent"


def _parameter(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What of a parameter makes it what it is, whatever else the server adds to it, and in whichever order."""
    bounds, prior, conditions = (entry.get(key) or {} for key in ("bounds", "prior", "conditions"))
    log = entry.get("transformation") == "log"
    if entry.get("grid"):
        bounds = {}  # a server adds them: the ends of the grid
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
