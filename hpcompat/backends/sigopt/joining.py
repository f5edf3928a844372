"""Create the experiment of a search, or join one that exists and has the same space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hpcompat.backends.sigopt.client import (
    STARTUP_DELAYS_S,
    TOKEN_HINT,
    URL,
    is_not_found,
    send,
)
from hpcompat.backends.sigopt.experiment import Experiment
from hpcompat.backends.sigopt.types import Connection, NativeExperiment
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.objectives.objective import PLACEHOLDER_METRIC, is_same_metric
from hpcompat.space.values import short_repr
from hpcompat.translators import Translation
from hpcompat.trials.config import SearchConfig
from hpcompat.trials.trial import objective_names

EXPERIMENT_TYPES = {None: "offline", "bayes": "offline", "random": "random", "grid": "offline"}
"""The SigOpt experiment type of each sampler; hpcompat itself suggests the params of a grid."""

Names = tuple[str | None, ...]


def create_experiment(
    connection: Connection, config: SearchConfig, translation: Translation, on_server: bool
) -> Experiment:
    """Create an experiment, and report the history to it."""
    names = config.options.get("metrics") or default_metric_names(len(config.directions))
    pairs = zip(names, config.directions, strict=True)
    body: dict[str, object] = {
        "name": config.options.get("name", "hpcompat"),
        "type": EXPERIMENT_TYPES[config.sampler],
        "metrics": [{"name": name, "objective": objective, "strategy": "optimize"} for name, objective in pairs],
        "observation_budget": config.n_trials + len(config.history),
        **{key: entries for key, entries in translation.spec.items() if entries},
        **{key: config.options[key] for key in ("project", "parallel_bandwidth") if key in config.options},
    }
    if "project" in config.options:
        _ensure_project(connection, config.options["project"])
    create = partial(connection.experiments().create, **body)
    native = send(create, delays=STARTUP_DELAYS_S) if on_server else create()
    experiment = Experiment(connection, native.id, translation, tuple(names), on_server, len(config.history))
    for trial in config.history:
        experiment.tell(trial, history=True)
    return experiment


def _ensure_project(connection: Connection, project: str) -> None:
    """Create the project with that id if it does not exist."""
    owner = send(connection.tokens("self").fetch, delays=STARTUP_DELAYS_S).client
    if owner is None:
        raise SearchError(
            "expected the token of a client (team), which projects belong to, got that of a user", [TOKEN_HINT]
        )
    projects = connection.clients(owner).projects
    try:
        send(projects(project).fetch, delays=STARTUP_DELAYS_S)
    except SearchError as error:
        if not is_not_found(error):
            raise
        send(lambda: projects().create(id=project, name=project), delays=STARTUP_DELAYS_S)


def join_experiment(
    connection: Connection, config: SearchConfig, translation: Translation, metric_names: tuple[str, ...]
) -> Experiment:
    """Return the experiment that the options name.

    Args:
        connection: The connection to its server.
        config: The configuration of the search.
        translation: The translation of the space.
        metric_names: The names of metrics in compute_objective.

    Raises:
        BackendError: The experiment has another space or other directions.
    """
    experiment_id = str(config.options["experiment_id"])
    native = _fetch(connection, experiment_id)
    document = native.to_json()
    metrics, objective_metrics = _parse_metrics(document), _without_placeholder(metric_names)
    names = _order_names(metrics, config.options.get("metrics"), objective_metrics, config.directions)
    issues = [
        *_find_closed_issues(document),
        *_find_metric_issues(metrics, names, objective_metrics, config),
        *_find_space_issues(document, translation.spec),
    ]
    experiment_type = document.get("type", "offline")
    if config.sampler in ("bayes", "random") and experiment_type != EXPERIMENT_TYPES[config.sampler]:
        issues.append(Issue("sampler", f"is {config.sampler!r}, and the experiment's type {experiment_type!r}"))
    if issues:
        raise BackendError(f"experiment {experiment_id} does not fit this search", issues)
    experiment = Experiment(connection, str(native.id), translation, names or (), on_server=True)
    return replace(experiment, n_history=experiment.count_finished() - len(experiment.observations()))


def fetch_directions(
    connection: Connection, options: Mapping[str, Any], metric_names: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Return the directions of an experiment, in the order of the values; None if the order is unknown."""
    metrics = _parse_metrics(_fetch(connection, str(options["experiment_id"])).to_json())
    directions = {metric.name: metric.direction for metric in metrics}
    if len(set(directions.values())) == 1:
        return tuple(directions.values())  # in any order
    names = _order_names(metrics, options.get("metrics"), _without_placeholder(metric_names), ()) or ()
    return tuple(directions[name] for name in names) if names and set(names) <= directions.keys() else None


def default_metric_names(n_objectives: int) -> tuple[str, ...]:
    """Return the default names of the metrics of an experiment that hpcompat creates."""
    return objective_names(n_objectives, first=1)


def _fetch(connection: Connection, experiment_id: str) -> NativeExperiment:
    try:
        return send(connection.experiments(experiment_id).fetch, delays=STARTUP_DELAYS_S)
    except SearchError as error:
        if not is_not_found(error):
            raise
        hint = Issue("", f"give the id of one of its experiments, or set {URL} to the server that has it")
        raise BackendError(f"experiment {experiment_id!r} does not exist on the SigOpt server", [hint]) from error


def _find_closed_issues(document: Mapping[str, Any]) -> Iterator[Issue]:
    """Yield the reasons why the server would refuse every observation."""
    if document.get("state") == "deleted":
        yield Issue("experiment_id", "it is deleted", "restore it, or leave out experiment_id")
    if document.get("runs_only"):
        yield Issue("experiment_id", "it only accepts runs, like an AIExperiment", "leave it out")
    if document.get("tasks"):
        yield Issue("tasks", "have no counterpart in a search", "leave out experiment_id")


@dataclass(frozen=True)
class Metric:
    """A metric of an experiment; a single metric may lack a name, and a metric that is only stored is not optimized."""

    name: str | None
    direction: str
    is_optimized: bool


def _parse_metrics(document: Mapping[str, Any]) -> list[Metric]:
    return [
        Metric(
            metric.get("name"),
            metric.get("objective") or "maximize",
            metric.get("strategy") in (None, "optimize"),
        )
        for metric in document.get("metrics") or ()
    ]


def _order_names(
    metrics: Sequence[Metric],
    option_names: Sequence[str] | None,
    objective_metrics: tuple[str, ...],
    directions: Sequence[str],
) -> Names | None:
    """Return the names of the metrics in the order of the values; None if the order is unknown.

    A server always lists the metrics sorted by name.

    Args:
        metrics: The metrics of the experiment.
        option_names: The option `metrics`, which is returned even if the experiment has other names.
        objective_metrics: The names of metrics in compute_objective.
        directions: The directions of the search.
    """
    names = tuple(metric.name for metric in metrics)
    if option_names is not None:
        return tuple(option_names)
    has_default_names = set(names) == set(default_metric_names(len(names)))  # which stand for any metric
    if objective_metrics and not has_default_names and names != (None,):
        return tuple(
            next((name for name in names if name and is_same_metric(name, other)), other) for other in objective_metrics
        )
    if len(names) == 1:
        return names
    if has_default_names:
        return default_metric_names(len(names))
    by_direction = {metric.direction: metric.name for metric in metrics}
    if len(by_direction) < len(metrics):  # both have the same direction
        return None
    return tuple(by_direction.get(direction) for direction in directions)


def _without_placeholder(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, or none if they are the placeholder for any metric."""
    return () if names == (PLACEHOLDER_METRIC,) else names


def _find_metric_issues(
    metrics: Sequence[Metric], names: Names | None, objective_metrics: tuple[str, ...], config: SearchConfig
) -> Iterator[Issue]:
    if others := [str(metric.name) for metric in metrics if not metric.is_optimized]:
        yield Issue("metrics", f"{', '.join(others)} would be left without a value")
    directions = {metric.name: metric.direction for metric in metrics if metric.is_optimized}
    option_names = config.options.get("metrics")
    if option_names is not None and objective_metrics and not all(map(is_same_metric, objective_metrics, option_names)):
        message = f"is {short_repr(list(option_names))}, and compute_objective {short_repr(list(objective_metrics))}"
        yield Issue("metrics", message, "leave one of them out")
    if sorted(directions.values()) != sorted(config.directions):
        message = f"is {short_repr(tuple(directions.values()))} there, and {short_repr(config.directions)} here"
        yield Issue("direction", message)
    elif names is None:
        orders = f"metrics={short_repr(list(directions))} or {short_repr(list(directions)[::-1])}"
        message = f"expected the order of {_quote(directions)}: each is {next(iter(directions.values()))}d"
        yield Issue("metrics", message, f"pass {orders}, in the order of the values")
    elif set(names) != set(directions):
        message = f"expected {_quote(directions)}, got {_quote(names)}"
        yield Issue("metrics", message, "name those of the experiment")
    else:
        for name, direction in zip(names, config.directions, strict=True):
            if directions[name] != direction:
                yield Issue("direction", f"{name!r} is {directions[name]}d there, and {direction}d here")


def _quote(names: Iterable[str | None]) -> str:
    return " and ".join(map(repr, names))


def _find_space_issues(document: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Issue]:
    """Yield the parameters and conditions in which an experiment differs from the space."""
    for key, normalize in (("parameters", _normalize_parameter), ("conditionals", _normalize_conditional)):
        stored = {entry["name"]: normalize(entry) for entry in document.get(key) or ()}
        requested = {entry["name"]: normalize(entry) for entry in spec[key]}
        for name in sorted(stored.keys() | requested.keys()):
            if stored.get(name) != requested.get(name):
                yield Issue(name, f"is {_describe(stored, name)} there, and {_describe(requested, name)} here")
    if document.get("linear_constraints"):
        yield Issue("linear_constraints", "have no counterpart in the space")


def _describe(entries: Mapping[str, object], name: str) -> str:
    return short_repr(entries[name], 120) if name in entries else "absent"


def _normalize_parameter(entry: Mapping[str, Any]) -> dict[str, object]:
    """Return the properties of a parameter in a fixed order, without those that the server adds."""
    bounds, prior, conditions = (entry.get(key) or {} for key in ("bounds", "prior", "conditions"))
    if entry.get("grid"):
        bounds = {}  # the server adds the ends of the grid
    fields = {
        "type": entry["type"],
        "bounds": [bounds[end] for end in ("min", "max") if end in bounds],
        "transformation": "log" if entry.get("transformation") == "log" else None,
        "grid": sorted(entry.get("grid") or ()),
        "categorical_values": _sort_names(entry.get("categorical_values")),
        "prior": {key: prior[key] for key in ("name", "mean", "scale") if key in prior},
        "conditions": {name: _sort_names(values) for name, values in conditions.items()},
    }
    return {key: value for key, value in fields.items() if value}


def _normalize_conditional(entry: Mapping[str, Any]) -> list[str]:
    return _sort_names(entry.get("values"))


def _sort_names(values: Iterable[str | Mapping[str, str]] | None) -> list[str]:
    return sorted(value["name"] if isinstance(value, Mapping) else value for value in values or ())
