"""What a SigOpt server takes, and what it refuses: the rules of its REST routes, as its own code has them.

Each function yields one sentence for each thing that is wrong with a request's body.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

NARROWEST = 1e-8
EXPERIMENT_KEYS = {
    "name", "type", "project", "metrics", "parameters", "conditionals", "linear_constraints",
    "observation_budget", "parallel_bandwidth", "num_solutions", "metadata", "tasks", "runs_only",
}  # fmt: skip
MOST_KEYS, LONGEST_KEY, LONGEST_TEXT = 100, 100, 500
"""Of metadata."""


def experiment_issues(body: Mapping[str, Any], projects: Mapping[str, Any]) -> Iterator[str]:
    """Of the body of an experiment to be created."""
    yield from (f"unknown key {key}" for key in body if key not in EXPERIMENT_KEYS)
    yield from _name_issues("experiment", body.get("name"))
    if body.get("type") not in (None, "offline", "random", "grid"):
        yield f"unknown type {body['type']}"
    if body.get("project") is not None and body["project"] not in projects:
        yield f"no project {body['project']}"
    for key in ("observation_budget", "parallel_bandwidth"):
        if body.get(key) is not None and not (_is_int(body[key]) and body[key] >= 1):
            yield f"{key} must be a positive int"
    yield from _metric_issues(body)
    parameters, conditionals = body.get("parameters") or [], body.get("conditionals") or []
    if not parameters:
        yield "there are no parameters"
    names = [str(each.get("name")).strip() for each in (*parameters, *conditionals)]
    if len(set(names)) < len(names):
        yield "names are not unique"
    for parameter in parameters:
        yield from _name_issues("parameter", parameter.get("name"))
        yield from KINDS.get(parameter.get("type"), _unknown_kind)(parameter)
    yield from _conditional_issues(parameters, conditionals)
    yield from _metadata_issues(body.get("metadata") or {})


def _metric_issues(body: Mapping[str, Any]) -> Iterator[str]:
    metrics = [{"name": each} if isinstance(each, str) else each for each in body.get("metrics") or [{}]]
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
            yield "a lone optimized metric has no threshold"
    if len({metric.get("name") for metric in metrics}) < len(metrics):
        yield "names of metrics are not unique"


def _name_issues(what: str, name: Any) -> Iterator[str]:
    if not isinstance(name, str) or not name.strip() or len(name) > 100 or any(ord(letter) < 32 for letter in name):
        yield f"the name of a {what} must be 1 to 100 characters, and none of them control characters: {name!r}"


def _unknown_kind(parameter: Mapping[str, Any]) -> Iterator[str]:
    yield f"unknown type {parameter.get('type')}"


def _number_issues(parameter: Mapping[str, Any]) -> Iterator[str]:
    name, whole = parameter["name"], parameter["type"] == "int"
    bounds, grid, prior = (parameter.get(key) for key in ("bounds", "grid", "prior"))
    log = parameter.get("transformation")
    if whole and (log is not None or prior is not None):
        yield f"{name}: an int has no transformation and no prior"
    if log not in (None, "none", "log"):
        yield f"{name}: unknown transformation {log}"
    if parameter.get("categorical_values"):
        yield f"{name}: only a categorical has categorical_values"
    numbers = list(grid) if grid is not None else [(bounds or {}).get(end) for end in ("min", "max")]
    if not all(_is_number(each) and (not whole or float(each).is_integer()) for each in numbers):
        yield f"{name}: {numbers} are no numbers of type {parameter['type']}"
        return
    if grid is not None:
        if bounds is not None or prior is not None:
            yield f"{name}: a grid excludes bounds and prior"
        if len(set(grid)) < max(2, len(grid)):
            yield f"{name}: a grid has two or more different values"
    if not max(numbers) - min(numbers) >= NARROWEST or (grid is None and numbers[1] < numbers[0]):
        yield f"{name}: max must exceed min by {NARROWEST}"
    if log == "log" and not min(numbers) > 0:
        yield f"{name}: a logarithmic scale is positive"
    if prior is not None:
        yield from _prior_issues(name, prior, numbers, log)


def _prior_issues(name: str, prior: Mapping[str, Any], bounds: list[float], log: Any) -> Iterator[str]:
    if log == "log":
        yield f"{name}: no prior on a logarithmic scale"
    wanted = {"normal": ("mean", "scale"), "beta": ("shape_a", "shape_b")}.get(prior.get("name"), ())
    if not wanted or not all(_is_number(prior.get(key)) for key in wanted):
        yield f"{name}: a prior is normal (mean, scale) or beta (shape_a, shape_b)"
    elif prior["name"] == "normal" and not (bounds[0] <= prior["mean"] <= bounds[1] and prior["scale"] > 0):
        yield f"{name}: the mean lies within the bounds, and the scale is positive"
    elif prior["name"] == "beta" and not min(prior[key] for key in wanted) > 0:
        yield f"{name}: the shapes are positive"


def _category_issues(parameter: Mapping[str, Any]) -> Iterator[str]:
    name = parameter["name"]
    if any(parameter.get(key) is not None for key in ("bounds", "grid", "transformation", "prior")):
        yield f"{name}: a categorical has no bounds, grid, transformation or prior"
    yield from _text_issues(name, parameter.get("categorical_values"))


def _text_issues(name: str, values: Any) -> Iterator[str]:
    texts = [each.get("name") if isinstance(each, Mapping) else each for each in values or ()]
    if not all(isinstance(text, str) and 1 <= len(text.strip()) <= 50 for text in texts):
        yield f"{name}: categories are texts of 1 to 50 characters: {texts}"
    elif len({str(text).strip() for text in texts}) < max(2, len(texts)):
        yield f"{name}: there are two or more different categories"


KINDS = {"double": _number_issues, "int": _number_issues, "categorical": _category_issues}


def _conditional_issues(parameters: list[Any], conditionals: list[Any]) -> Iterator[str]:
    values = {each.get("name"): list(each.get("values") or ()) for each in conditionals}
    for name, texts in values.items():
        yield from _name_issues("conditional", name)
        yield from _text_issues(name, texts)
    conditions = [parameter.get("conditions") or {} for parameter in parameters]
    if bool(values) != any(conditions):
        yield "conditions and conditionals need each other"
    for name, texts in (item for each in conditions for item in each.items()):
        if name not in values or not set(_listed(texts)) <= set(values[name]):
            yield f"no conditional {name} has the values {texts}"
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        if not any(_satisfied(each, chosen) for each in conditions):
            yield f"no parameter is active under {chosen}"


def _satisfied(conditions: Mapping[str, Any], assignments: Mapping[str, Any]) -> bool:
    return all(assignments.get(name) in _listed(texts) for name, texts in conditions.items())


def _listed(texts: Any) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def observation_issues(body: Mapping[str, Any], experiment: Mapping[str, Any]) -> Iterator[str]:
    """Of the body of an observation to be created."""
    yield from (f"unknown key {key}" for key in body if key not in OBSERVATION_KEYS)
    if ("suggestion" in body) == ("assignments" in body):
        yield "give either a suggestion or assignments"
    if "assignments" in body:
        yield from assignment_issues(body["assignments"], experiment)
    values, failed = body.get("values"), body.get("failed") or False
    if failed and values:
        yield "a failed observation has no values"
    if not failed:
        names = sorted(str(value.get("name")) for value in values or ())
        if names != sorted(str(metric["name"]) for metric in experiment["metrics"]):
            yield f"there must be a value for each metric, and there are {names}"
        if not all(_is_number(value.get("value")) for value in values or ()):
            yield "values are finite numbers"
    yield from _metadata_issues(body.get("metadata") or {})


def suggestion_issues(body: Mapping[str, Any], experiment: Mapping[str, Any]) -> Iterator[str]:
    """Of the body of a suggestion to be created; keys that are unknown are ignored."""
    if "assignments" in body:
        yield from assignment_issues(body["assignments"], experiment)
    yield from _metadata_issues(body.get("metadata") or {})


def _metadata_issues(metadata: Mapping[str, Any]) -> Iterator[str]:
    if len(metadata) > MOST_KEYS:
        yield f"metadata have {MOST_KEYS} keys at most"
    if not all(len(key) <= LONGEST_KEY for key in metadata):
        yield f"the length of a metadata key must be less than {LONGEST_KEY}"
    values = [value for value in metadata.values() if value is not None and not _is_number(value)]
    if not all(isinstance(value, str) and len(value) <= LONGEST_TEXT for value in values):
        yield f"metadata are texts of at most {LONGEST_TEXT} characters, numbers and nulls"


OBSERVATION_KEYS = {"suggestion", "assignments", "values", "failed", "metadata"}


def assignment_issues(assignments: Mapping[str, Any], experiment: Mapping[str, Any]) -> Iterator[str]:
    """Of assignments that no suggestion made; they may lie beyond the bounds."""
    left = dict(assignments)
    for conditional in experiment.get("conditionals") or ():
        if left.pop(conditional["name"], None) not in conditional["values"]:
            yield f"{conditional['name']} is missing, or none of its values"
    for parameter in experiment["parameters"]:
        name = parameter["name"]
        if not _satisfied(parameter.get("conditions") or {}, assignments):
            continue
        value = left.pop(name, None)
        if parameter["type"] == "categorical":
            fits = value in [each["name"] for each in parameter["categorical_values"]]
        else:
            fits = _is_number(value) and (parameter["type"] == "double" or float(value).is_integer())
            fits = fits and (not parameter.get("grid") or value in parameter["grid"])
        if not fits:
            yield f"{name} is missing, or of another type: {value!r}"
    yield from (f"{name} is no active parameter" for name in left)


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
