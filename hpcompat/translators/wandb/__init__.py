"""Weights & Biases: a sweep, whose parameters each name their distribution.

    {"method": "bayes", "metric": {"name": "eval_loss", "goal": "minimize"},
     "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-06, "max": 0.0001}}}

Groups are nested under "parameters". What a distribution draws depends on the method: a grid goes through values and
takes nothing continuous or weighted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, TypeGuard

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import copy_if_mutable, json_issue, short_repr
from hpcompat.translators import EMPTY, documents, translate
from hpcompat.translators.codecs import FieldMapping
from hpcompat.translators.dialect import DIRECTIONS, Dialect, NamePolicy, Reader, SearchSettings, Variant, is_count
from hpcompat.translators.parsing import (
    build_space,
    file_hint,
    is_data,
    is_list,
    is_plain,
    parse_entries,
    reject,
    reject_depth,
)
from hpcompat.translators.wandb.forms import BAYES, FORMS, GRID, NO_CONDITIONS, PROXY_FORMS, RANDOM, read_parameter

METHODS = ("random", "bayes", "grid")
# hints that name arguments: the command line has options for them
METRIC = "metric='eval_loss', say"
VARY_OR_RANDOM = "add a parameter that varies, or use method='random'"
SWEEP_KEYS = frozenset(
    (
        *("name", "description", "program", "command", "project", "entity", "controller"),
        *("early_terminate", "run_cap", "job", "image_uri"),
    )
)
"""The keys of a sweep besides method, metric and parameters."""


def find_option_issues(options: Mapping[str, object]) -> list[Issue]:
    """Return what is wrong with the options of `to_wandb`, the method filled in."""
    known = SWEEP_KEYS | {"method", "metric", "goal"}
    hint = f"its keys are method, metric, goal, {', '.join(sorted(SWEEP_KEYS))}"
    issues = [Issue("", f"a sweep has no key {name!r}", hint) for name in options if name not in known]
    issues += [
        Issue(name, *issue)
        for name, value in options.items()
        if name in SWEEP_KEYS and (issue := json_issue(value)) is not None
    ]
    method = options["method"] if isinstance(options["method"], str) else None
    if method not in METHODS:
        issues.append(Issue("method", f"is {short_repr(options['method'])}", f"one of {', '.join(METHODS)}"))
    metric = options.get("metric")
    metric_name = metric.get("name") if isinstance(metric, Mapping) else metric
    goal = options.get("goal", "minimize")
    goal = metric.get("goal", goal) if isinstance(metric, Mapping) else goal
    if metric is not None and not (isinstance(metric_name, str) and metric_name):
        issues.append(Issue("metric", f"is {short_repr(metric)}", "give the name of a logged metric"))
    if metric is None and method == "bayes":
        issues.append(Issue("metric", "is missing, and method='bayes' needs one", METRIC))
    # the engine silently takes any other string for minimize
    if not isinstance(goal, str) or goal not in DIRECTIONS:
        issues.append(Issue("goal", f"is {short_repr(goal)}", "minimize or maximize"))
    if "goal" in options and metric is None:
        issues.append(Issue("goal", "a sweep without a metric has no goal", "give metric too, or leave goal out"))
    elif options.get("goal", goal) != goal:
        message = f"is {short_repr(options['goal'])}, and the metric's goal {short_repr(goal)}"
        issues.append(Issue("goal", message, "leave one of them out"))
    return issues


_TERMS = {
    "direction": "metric.goal",
    "compute_objective": "metric",
    "sampler": "method",
    "n_trials": "run_cap",
    "pruner": "early_terminate",
}


def read_settings(found: Mapping[str, object]) -> SearchSettings:
    """Return the settings of a sweep, its parameters left out. Raises `TranslationError`."""
    reader = Reader(found)
    # a sweep of method "custom" is decided by a program of the user's own
    method = None if found.get("method") == "custom" else reader.one_of("method", METHODS)
    run_cap = reader.take("run_cap", is_count, "an int of at least 1")
    early_terminate = reader.take("early_terminate", lambda value: isinstance(value, Mapping), "a dict with a type")
    metric = reader.take("metric", lambda value: isinstance(value, (str, Mapping)), "a dict with name and goal")
    inner = Reader({"name": metric} if isinstance(metric, str) else metric or {})
    name = inner.take("name", lambda value: isinstance(value, str) and value != "", "the name of a logged metric")
    # the engine takes any other string for minimize, "MAXIMIZE" too
    goal = inner.one_of("goal", DIRECTIONS)
    reader.issues += [issue._replace(path=f"metric.{issue.path}") for issue in inner.issues]
    options = {key: reader.left.pop(key) for key in ("name", "project", "entity") if reader.left.get(key)}
    unused = reader.finish("sweep") | {f"metric.{key}": value for key, value in inner.left.items()}
    return SearchSettings(
        dialect="wandb",
        noun="sweep",
        directions=(goal,) if metric else (),
        metrics=(name,) if name else (),
        sampler=method,
        n_trials=run_cap,
        pruner=early_terminate and dict(early_terminate),
        options=options,
        terms=_TERMS,
        unused=unused,
    )


class WandbDialect(Dialect):
    """A sweep of Weights & Biases."""

    name = "wandb"
    title = "W&B"
    noun = "sweep"
    names = NamePolicy(re.compile(r"[A-Za-z_][\w.-]*", re.ASCII))
    is_nested = True
    variants: ClassVar[Mapping[str, Variant]] = {
        f"wandb {method}": Variant(
            f"wandb {method}", f"W&B, method {method}", capabilities, {"method": method, **more}, NO_CONDITIONS
        )
        for method, capabilities, more in (
            ("random", RANDOM, {}),
            ("bayes", BAYES, {"metric": "objective"}),
            ("grid", GRID, {}),
        )
    }

    def parse_options(self, options: Mapping[str, object]) -> Mapping[str, object]:
        """Return method, metric, goal and the other keys of a sweep, the method filled in."""
        options = {"method": "random", **options}
        issues = find_option_issues(options)
        if issues:
            raise TranslationError("these options do not make a sweep", issues)
        return options

    def variant(self, options: Mapping[str, object]) -> Variant:
        """Return the variant of the method."""
        return self.variants[f"wandb {options['method']}"]

    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sweep."""
        parameters: dict[str, Any] = {}
        for field in fields:
            if field.proxy is not None:
                group = parameters
                for part in field.native_path[:-1]:
                    group = group.setdefault(part, {"parameters": {}})["parameters"]
                group[field.native_path[-1]] = _write_parameter(field)
        if not parameters or (options["method"] == "bayes" and _are_constant(parameters)):
            issue = Issue("", "expected a parameter that varies", VARY_OR_RANDOM if fields else EMPTY)
            raise TranslationError("W&B needs something to search", [issue])
        sweep = {"method": options["method"], "parameters": parameters}
        metric = options.get("metric")
        if metric is not None:
            named = {"name": metric} if isinstance(metric, str) else dict(metric)
            sweep["metric"] = {"goal": options.get("goal", "minimize"), **named}
        return sweep | {key: copy_if_mutable(value) for key, value in options.items() if key in SWEEP_KEYS}

    def accepts(self, source: object) -> bool:
        """Return whether this is a sweep, or a dict of its parameters alone."""
        return is_sweep(source) or _is_parameters(source)

    def read(self, source: object) -> SearchSpace:
        """See `from_wandb`."""
        sweep = _parse_sweep(source)
        if not is_sweep(sweep) and _is_parameters(sweep):
            sweep = {"parameters": sweep}
        parameters = sweep.get("parameters")
        if not isinstance(parameters, Mapping):
            reject("it has no parameters", 'give the sweep: {"method": …, "parameters": {…}}')
        method = sweep.get("method", "random")
        return build_space("W&B", _read_group(parameters, method if isinstance(method, str) else "random", 0))

    def extra_settings(self, source: object) -> dict[str, Any] | None:
        """Return the keys of a sweep other than its parameters."""
        return {key: value for key, value in source.items() if key != "parameters"} if is_sweep(source) else None

    def read_settings(self, source: object) -> SearchSettings:
        """Return the settings of a sweep. Raises `TranslationError` for what W&B itself would not take as meant.

        >>> sweep = {"method": "grid", "metric": {"name": "acc", "goal": "maximize"}, "program": "train.py"}
        >>> WANDB.read_settings({**sweep, "parameters": {"x": {"value": 1}}}).unused
        {'program': 'train.py'}
        """
        found = self.extra_settings(source)
        return SearchSettings() if found is None else read_settings(found)


WANDB = WandbDialect()


def to_wandb(space: Mapping[str, object], *, encode: bool = False, **options: object) -> dict[str, Any]:
    """Return a sweep for `wandb.sweep`.

    Args:
        space: A SearchSpace, or a dict of parameters.
        encode: Whether to encode what has no exact form. Decode what comes back with
            `translate(space, "wandb", encode=True, **options).decode(wandb.config)`.
        **options: `method` ("random", "bayes", "grid"), `metric`, `goal` ("minimize", "maximize"), and any
            other key of a sweep.

    Raises:
        TranslationError: A parameter has no exact form, or an option is invalid.

    >>> import hpcompat as hp
    >>> hp.to_wandb({"lr": hp.Float(1e-6, 1e-4, log=True)}, method="bayes", metric="eval_loss")["metric"]
    {'goal': 'minimize', 'name': 'eval_loss'}
    """
    return translate(space, "wandb", encode=encode, **options).spec  # type: ignore[no-any-return]


def from_wandb(sweep: object) -> SearchSpace:
    """Return the space of a sweep.

    Every distribution that W&B draws but beta is read, inferred ones too. Bounds that YAML 1.1 made strings
    ("1e-5") are read as numbers. The method decides what q_uniform draws; metric, early_terminate and the like are
    not part of the space.

    Args:
        sweep: Its dict, its parameters alone, or the text of its YAML or JSON file (needs PyYAML).

    Raises:
        TranslationError: It cannot be read; with the reason for each parameter.

    >>> from_wandb({"parameters": {"lr": {"distribution": "log_uniform_values", "min": "1e-5", "max": 0.1}}})
    SearchSpace({'lr': Float(1e-05, 0.1, log=True)})
    """
    return WANDB.read(sweep)


def _write_parameter(field: FieldMapping) -> dict[str, object]:
    name, keys = field.write(FORMS, PROXY_FORMS)
    # always by name: what W&B infers from the types of the bounds differs between its parts
    return {"distribution": name, **keys}


def _are_constant(parameters: Mapping[str, Any]) -> bool:
    return all(
        _are_constant(entry["parameters"]) if "parameters" in entry else entry["distribution"] == "constant"
        for entry in parameters.values()
    )


def is_sweep(source: object) -> TypeGuard[Mapping[str, object]]:
    """Return whether this is a dict with parameters of W&B under "parameters", and nothing but data beside them."""
    if not isinstance(source, Mapping):
        return False
    parameters = source.get("parameters")
    return (
        isinstance(parameters, Mapping)
        and all(map(is_plain, (*source.values(), *parameters.values())))
        and (not parameters or any(_is_parameter(config) for config in parameters.values()))
    )


def _is_parameters(source: object) -> bool:
    return isinstance(source, Mapping) and bool(source) and all(map(_is_parameter, source.values()))


def _is_parameter(config: object, depth: int = 0) -> bool:
    """Return whether a dict states what is drawn: a group, a distribution, values, or bounds, of the right types."""
    if not isinstance(config, Mapping) or not all(map(is_plain, config.values())):
        return False
    parameters = config.get("parameters")
    if isinstance(parameters, Mapping) and config.keys() <= {"parameters", "distribution"}:
        entries = parameters.values()
        return depth > MAX_DEPTH or any(
            _is_parameter(entry, depth + 1) for entry in entries
        )  # the reader says too deep
    if "value" in config:
        return config.keys() <= {"value", "distribution"} and is_data(config["value"])
    numbers = (config.get(key) for key in ("min", "max", "mu", "sigma"))
    return (
        isinstance(config.get("distribution"), str)
        or is_list(config.get("values"))
        or any(isinstance(bound, str) or hasattr(bound, "__float__") for bound in numbers)
    )


def _parse_sweep(sweep: object) -> Mapping[str, object]:
    """Return a sweep as a dict, from YAML or JSON text too."""
    if isinstance(sweep, (str, bytes)):
        sweep = documents.parse_document(sweep)
    if isinstance(sweep, (str, PathLike)):
        reject(f"{short_repr(sweep)} is not a sweep", file_hint(sweep))
    if not isinstance(sweep, Mapping):
        reject(f"{short_repr(sweep)} is not a sweep", 'give {"method": …, "parameters": {…}}')
    return sweep


def _read_group(parameters: Mapping[str, object], method: str, depth: int) -> dict[str, object]:
    if depth > MAX_DEPTH:
        reject_depth()

    def read(config: object) -> object:
        if isinstance(config, Mapping) and isinstance(config.get("parameters"), Mapping):
            if unknown := [key for key in config if key not in ("parameters", "distribution")]:
                reject(f"a group has no {', '.join(map(repr, unknown))}", "it holds parameters alone")
            return _read_group(config["parameters"], method, depth + 1)
        return read_parameter(config, method)

    return parse_entries("W&B", read, parameters.items())
