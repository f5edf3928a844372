"""The validation rules of a SigOpt server's REST routes, after its source code.

Each function yields one message for every error in a request's body.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

MIN_WIDTH = 1e-8
EXPERIMENT_KEYS = {
    "name", "type", "project", "metrics", "parameters", "conditionals", "linear_constraints",
    "observation_budget", "parallel_bandwidth", "num_solutions", "metadata", "tasks", "runs_only",
}  # fmt: skip
MAX_METADATA_KEYS, MAX_METADATA_KEY_LENGTH, MAX_METADATA_STRING_LENGTH = 100, 100, 500


def experiment_issues(body: Mapping[str, Any], projects: Mapping[str, Any]) -> Iterator[str]:
    """Validate the body of a request that creates an experiment."""
    yield from (f"unknown key {key}" for key in body if key not in EXPERIMENT_KEYS)
    yield from _name_issues("experiment", body.get("name"))
    if body.get("type") not in (None, "offline", "random", "grid"):
        yield f"unknown type {body['type']}"
    if body.get("project") is not None and body["project"] not in projects:
        yield f"unknown project {body['project']}"
    for key in ("observation_budget", "parallel_bandwidth"):
        if body.get(key) is not None and not (_is_int(body[key]) and body[key] >= 1):
            yield f"{key} must be a positive int"
    yield from _metric_issues(body)
    parameters, conditionals = body.get("parameters") or [], body.get("conditionals") or []
    if not parameters:
        yield "expected at least one parameter"
    names = [str(entry.get("name")).strip() for entry in (*parameters, *conditionals)]
    if len(set(names)) < len(names):
        yield "names are not unique"
    for parameter in parameters:
        yield from _name_issues("parameter", parameter.get("name"))
        yield from RULES_BY_TYPE.get(parameter.get("type"), _unknown_type_issue)(parameter)
    yield from _conditional_issues(parameters, conditionals)
    yield from _metadata_issues(body.get("metadata") or {})


def _metric_issues(body: Mapping[str, Any]) -> Iterator[str]:
    metrics = [{"name": metric} if isinstance(metric, str) else metric for metric in body.get("metrics") or [{}]]
    if body.get("metrics") == []:
        yield "the list of metrics must contain a metric"
    optimized = [metric for metric in metrics if metric.get("strategy") in (None, "optimize")]
    if not 1 <= len(optimized) <= 2:
        yield "one or two metrics can be optimized"
    if len(optimized) == 2 and body.get("observation_budget") is None:
        yield "two optimized metrics need an observation_budget"
    if len(metrics) > 1 and any(metric.get("name") is None for metric in metrics):
        yield "multimetric experiments do not support unnamed metrics"
    for metric in metrics:
        if metric.get("name") is not None:
            yield from _name_issues("metric", metric["name"])
        if metric.get("objective") not in (None, "maximize", "minimize"):
            yield f"unknown objective {metric['objective']}"
        if metric.get("threshold") is not None and len(optimized) == 1:
            yield "a threshold needs two optimized metrics"
    if len({metric.get("name") for metric in metrics}) < len(metrics):
        yield "names of metrics are not unique"


def _name_issues(what: str, name: Any) -> Iterator[str]:
    if not isinstance(name, str) or not name.strip() or len(name) > 100 or any(ord(letter) < 32 for letter in name):
        yield f"the name of a {what} must have 1 to 100 characters without control characters, got {name!r}"


def _unknown_type_issue(parameter: Mapping[str, Any]) -> Iterator[str]:
    yield f"unknown type {parameter.get('type')}"


def _number_issues(parameter: Mapping[str, Any]) -> Iterator[str]:
    name, is_int = parameter["name"], parameter["type"] == "int"
    bounds, grid, prior = (parameter.get(key) for key in ("bounds", "grid", "prior"))
    log = parameter.get("transformation")
    if is_int and (log is not None or prior is not None):
        yield f"{name}: an int cannot have a transformation or a prior"
    if log not in (None, "none", "log"):
        yield f"{name}: unknown transformation {log}"
    if parameter.get("categorical_values"):
        yield f"{name}: only a categorical can have categorical_values"
    numbers = list(grid) if grid is not None else [(bounds or {}).get(end) for end in ("min", "max")]
    if not all(_is_number(number) and (not is_int or float(number).is_integer()) for number in numbers):
        yield f"{name}: expected numbers of type {parameter['type']}, got {numbers}"
        return
    if grid is not None:
        if bounds is not None or prior is not None:
            yield f"{name}: a grid excludes bounds and prior"
        if len(set(grid)) < max(2, len(grid)):
            yield f"{name}: a grid must have two or more different values"
    if not max(numbers) - min(numbers) >= MIN_WIDTH or (grid is None and numbers[1] < numbers[0]):
        yield f"{name}: max must exceed min by {MIN_WIDTH}"
    if log == "log" and not min(numbers) > 0:
        yield f"{name}: a logarithmic scale must be positive"
    if prior is not None:
        yield from _prior_issues(name, prior, numbers, log)


def _prior_issues(name: str, prior: Mapping[str, Any], bounds: list[float], log: Any) -> Iterator[str]:
    if log == "log":
        yield f"{name}: a logarithmic scale cannot have a prior"
    required = {"normal": ("mean", "scale"), "beta": ("shape_a", "shape_b")}.get(prior.get("name"), ())
    if not required or not all(_is_number(prior.get(key)) for key in required):
        yield f"{name}: a prior must be normal (mean, scale) or beta (shape_a, shape_b)"
    elif prior["name"] == "normal" and not (bounds[0] <= prior["mean"] <= bounds[1] and prior["scale"] > 0):
        yield f"{name}: the mean must lie within the bounds, and the scale must be positive"
    elif prior["name"] == "beta" and not min(prior[key] for key in required) > 0:
        yield f"{name}: the shapes must be positive"


def _category_issues(parameter: Mapping[str, Any]) -> Iterator[str]:
    name = parameter["name"]
    if any(parameter.get(key) is not None for key in ("bounds", "grid", "transformation", "prior")):
        yield f"{name}: a categorical cannot have bounds, grid, transformation or prior"
    yield from _value_issues(name, parameter.get("categorical_values"))


def _value_issues(name: str, values: Any) -> Iterator[str]:
    strings = [value.get("name") if isinstance(value, Mapping) else value for value in values or ()]
    if not all(isinstance(string, str) and 1 <= len(string.strip()) <= 50 for string in strings):
        yield f"{name}: expected strings of 1 to 50 characters, got {strings}"
    elif len({str(string).strip() for string in strings}) < max(2, len(strings)):
        yield f"{name}: expected two or more different strings, got {strings}"


RULES_BY_TYPE = {"double": _number_issues, "int": _number_issues, "categorical": _category_issues}


def _conditional_issues(parameters: list[Any], conditionals: list[Any]) -> Iterator[str]:
    values = {entry.get("name"): list(entry.get("values") or ()) for entry in conditionals}
    for name, strings in values.items():
        yield from _name_issues("conditional", name)
        yield from _value_issues(name, strings)
    conditions = [parameter.get("conditions") or {} for parameter in parameters]
    if bool(values) != any(conditions):
        yield "conditions need conditionals, and conditionals need conditions"
    for name, strings in (item for condition in conditions for item in condition.items()):
        if name not in values or not set(_as_list(strings)) <= set(values[name]):
            yield f"no conditional {name} has the values {strings}"
    for combination in itertools.product(*values.values()):
        assignments = dict(zip(values, combination, strict=True))
        if not any(_are_met(condition, assignments) for condition in conditions):
            yield f"no parameter is active under {assignments}"


def _are_met(conditions: Mapping[str, Any], assignments: Mapping[str, Any]) -> bool:
    return all(assignments.get(name) in _as_list(strings) for name, strings in conditions.items())


def _as_list(strings: Any) -> list[str]:
    return [strings] if isinstance(strings, str) else list(strings)


def observation_issues(body: Mapping[str, Any], experiment: Mapping[str, Any]) -> Iterator[str]:
    """Validate the body of a request that creates an observation."""
    yield from (f"unknown key {key}" for key in body if key not in OBSERVATION_KEYS)
    if ("suggestion" in body) == ("assignments" in body):
        yield "expected either a suggestion or assignments"
    if "assignments" in body:
        yield from assignment_issues(body["assignments"], experiment)
    values, failed = body.get("values"), body.get("failed") or False
    if failed and values:
        yield "a failed observation cannot have values"
    if not failed:
        names = sorted(str(value.get("name")) for value in values or ())
        if names != sorted(str(metric["name"]) for metric in experiment["metrics"]):
            yield f"expected one value per metric, got {names}"
        if not all(_is_number(value.get("value")) for value in values or ()):
            yield "values must be finite numbers"
    yield from _metadata_issues(body.get("metadata") or {})


def suggestion_issues(body: Mapping[str, Any], experiment: Mapping[str, Any]) -> Iterator[str]:
    """Validate the body of a request that creates a suggestion; the server ignores unknown keys."""
    if "assignments" in body:
        yield from assignment_issues(body["assignments"], experiment)
    yield from _metadata_issues(body.get("metadata") or {})


def _metadata_issues(metadata: Mapping[str, Any]) -> Iterator[str]:
    if len(metadata) > MAX_METADATA_KEYS:
        yield f"metadata must have at most {MAX_METADATA_KEYS} keys"
    if not all(len(key) <= MAX_METADATA_KEY_LENGTH for key in metadata):
        yield f"a metadata key must have at most {MAX_METADATA_KEY_LENGTH} characters"
    values = [value for value in metadata.values() if value is not None and not _is_number(value)]
    if not all(isinstance(value, str) and len(value) <= MAX_METADATA_STRING_LENGTH for value in values):
        yield f"metadata values must be strings of at most {MAX_METADATA_STRING_LENGTH} characters, numbers or null"


OBSERVATION_KEYS = {"suggestion", "assignments", "values", "failed", "metadata"}


def assignment_issues(assignments: Mapping[str, Any], experiment: Mapping[str, Any]) -> Iterator[str]:
    """Validate assignments that come from the client, not from a suggestion; they may lie outside the bounds."""
    unused = dict(assignments)
    for conditional in experiment.get("conditionals") or ():
        if unused.pop(conditional["name"], None) not in conditional["values"]:
            yield f"{conditional['name']} is missing, or not one of its values"
    for parameter in experiment["parameters"]:
        name = parameter["name"]
        if not _are_met(parameter.get("conditions") or {}, assignments):
            continue
        value = unused.pop(name, None)
        if parameter["type"] == "categorical":
            is_valid = value in [category["name"] for category in parameter["categorical_values"]]
        else:
            is_valid = _is_number(value) and (parameter["type"] == "double" or float(value).is_integer())
            is_valid = is_valid and (not parameter.get("grid") or value in parameter["grid"])
        if not is_valid:
            yield f"{name} is missing, or of another type: {value!r}"
    yield from (f"unexpected parameter {name}; it is unknown or inactive" for name in unused)


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
