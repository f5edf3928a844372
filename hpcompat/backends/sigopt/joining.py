"""The experiment of a search: a new one, or one that exists already and has the same space."""

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

TYPES = {None: "offline", "bayes": "offline", "random": "random", "grid": "offline"}
"""The type of experiment for each sampler; a grid chooses for itself."""

Names = tuple[str | None, ...]


def create_experiment(
    connection: Connection, config: SearchConfig, translation: Translation, on_server: bool
) -> Experiment:
    """Create an experiment, and report the history to it."""
    names = config.options.get("metrics") or own_names(len(config.directions))
    pairs = zip(names, config.directions, strict=True)
    body: dict[str, object] = {
        "name": config.options.get("name", "hpcompat"),
        "type": TYPES[config.sampler],
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
    """Create the project of that id, if the server does not have it."""
    owner = send(connection.tokens("self").fetch, delays=STARTUP_DELAYS_S).client
    if owner is None:
        raise SearchError("the token is a user's, and a project is of a client", [TOKEN_HINT])
    projects = connection.clients(owner).projects
    try:
        send(projects(project).fetch, delays=STARTUP_DELAYS_S)
    except SearchError as error:
        if not is_not_found(error):
            raise
        send(lambda: projects().create(id=project, name=project), delays=STARTUP_DELAYS_S)


def join_experiment(
    connection: Connection, config: SearchConfig, translation: Translation, stated_names: tuple[str, ...]
) -> Experiment:
    """Return the experiment that the options name.

    Args:
        connection: To the server that has it.
        config: Of the search.
        translation: Of its space.
        stated_names: The names of metrics that compute_objective names.

    Raises:
        BackendError: It does not have this space and these directions.
    """
    experiment_id = str(config.options["experiment_id"])
    native = _fetch(connection, experiment_id)
    document = native.to_json()
    metrics, stated = _parse_metrics(document), _without_placeholder(stated_names)
    names = _order_names(metrics, config.options.get("metrics"), stated, config.directions)
    issues = [
        *_find_closed_issues(document),
        *_find_metric_issues(metrics, names, stated, config),
        *_find_space_issues(document, translation.spec),
    ]
    experiment_type = document.get("type", "offline")
    if config.sampler in ("bayes", "random") and experiment_type != TYPES[config.sampler]:
        issues.append(Issue("sampler", f"is {config.sampler!r}, and the experiment's type {experiment_type!r}"))
    if issues:
        raise BackendError(f"experiment {experiment_id} is one of another search", issues)
    experiment = Experiment(connection, str(native.id), translation, names or (), on_server=True)
    return replace(experiment, replayed=experiment.count() - len(experiment.observations()))


def fetch_directions(
    connection: Connection, options: Mapping[str, Any], stated_names: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Return the objectives of an experiment's metrics, in the order of the values; None where that is not known."""
    metrics = _parse_metrics(_fetch(connection, str(options["experiment_id"])).to_json())
    directions = {metric.name: metric.direction for metric in metrics}
    if len(set(directions.values())) == 1:
        return tuple(directions.values())  # in any order
    names = _order_names(metrics, options.get("metrics"), _without_placeholder(stated_names), ()) or ()
    return tuple(directions[name] for name in names) if names and set(names) <= directions.keys() else None


def own_names(n_objectives: int) -> tuple[str, ...]:
    """Return the names of the metrics of an experiment that hpcompat creates, in the order of the directions."""
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
    """Return why the server would refuse every observation."""
    if document.get("state") == "deleted":
        yield Issue("experiment_id", "it is deleted", "restore it, or leave out experiment_id")
    if document.get("runs_only"):
        yield Issue("experiment_id", "it takes runs alone, as an AIExperiment does", "leave it out")
    if document.get("tasks"):
        yield Issue("tasks", "have no counterpart in a search", "leave out experiment_id")


@dataclass(frozen=True)
class Metric:
    """A metric of an experiment: the only one may have no name, and one that is not optimized is not an objective."""

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
    requested: Sequence[str] | None,
    stated: tuple[str, ...],
    directions: Sequence[str],
) -> Names | None:
    """Return the names of the experiment's metrics in the order of the values; None where that is not known.

    A server lists its metrics sorted by name, whatever the order they were given in.

    Args:
        metrics: Of the experiment.
        requested: The option `metrics`: these names count, be they those of the experiment or not.
        stated: The names that compute_objective has.
        directions: Of the search.
    """
    names = tuple(metric.name for metric in metrics)
    if requested is not None:
        return tuple(requested)
    is_own = set(names) == set(own_names(len(names)))  # which stand for any metric
    if stated and not is_own and names != (None,):
        return tuple(next((name for name in names if name and is_same_metric(name, other)), other) for other in stated)
    if len(names) == 1:
        return names
    if is_own:
        return own_names(len(names))
    by_direction = {metric.direction: metric.name for metric in metrics}
    if len(by_direction) < len(metrics):  # two that are both minimized, say
        return None
    return tuple(by_direction.get(direction) for direction in directions)


def _without_placeholder(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, unless it is the one that stands for any metric."""
    return () if names == (PLACEHOLDER_METRIC,) else names


def _find_metric_issues(
    metrics: Sequence[Metric], names: Names | None, stated: tuple[str, ...], config: SearchConfig
) -> Iterator[Issue]:
    if others := [str(metric.name) for metric in metrics if not metric.is_optimized]:
        yield Issue("metrics", f"{', '.join(others)} would be left without a value")
    directions = {metric.name: metric.direction for metric in metrics if metric.is_optimized}
    requested = config.options.get("metrics")
    if requested is not None and stated and not all(map(is_same_metric, stated, requested)):
        message = f"is {short_repr(list(requested))}, and compute_objective {short_repr(list(stated))}"
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
    """Return the parameters and conditions in which an experiment differs from the space of the search."""
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
    """Return what defines a parameter, whatever else the server adds to it, and in whichever order."""
    bounds, prior, conditions = (entry.get(key) or {} for key in ("bounds", "prior", "conditions"))
    if entry.get("grid"):
        bounds = {}  # a server adds them: the ends of the grid
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
