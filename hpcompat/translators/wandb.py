"""Weights & Biases: a sweep, whose parameters each name their distribution.

    {"method": "bayes", "metric": {"name": "eval_loss", "goal": "minimize"},
     "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-06, "max": 0.0001}}}

Groups are nested under "parameters". What a distribution draws depends on the method: a grid goes
through values and takes no continuous or weighted kind. The q_ kinds round to multiples of q, half to
even, and so leave their bounds by up to q/2; to draw low, low + q, …, high alike, their bounds are
written half a step wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from os import PathLike
from typing import Any

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.domains import shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import copy_if_mutable, json_issue, short_repr
from hpcompat.translators import documents, names
from hpcompat.translators.capabilities import Rule
from hpcompat.translators.parsing import (
    build_space,
    file_hint,
    is_data,
    is_list,
    is_plain,
    make_categorical,
    make_range,
    parse_entries,
    parse_number,
    reject,
    reject_depth,
)
from hpcompat.translators.settings import DIRECTIONS, Reader, SearchSettings, is_count
from hpcompat.translators.translation import EMPTY, FieldMapping, translate

NAMES = names.WANDB
NESTED = True
METHODS = ("random", "bayes", "grid")
METRIC = "metric='eval_loss', say"
VARY_OR_RANDOM = "add a parameter that varies, or use method='random'"
SWEEP_KEYS = frozenset(
    [
        "name",
        "description",
        "program",
        "command",
        "project",
        "entity",
        "controller",
        "early_terminate",
        "run_cap",
        "job",
        "image_uri",
    ]
)


def parse_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """method, metric and goal, and the other keys of a sweep; the defaults filled in."""
    options = {"method": "random", **options}
    issues = [
        Issue(
            "",
            f"a sweep has no key {name!r}",
            f"its keys are method, metric, goal, {', '.join(sorted(SWEEP_KEYS))}",
        )
        for name in options
        if name not in SWEEP_KEYS | {"method", "metric", "goal"}
    ]
    issues += [
        Issue(name, *why)
        for name, value in options.items()
        if name in SWEEP_KEYS and (why := json_issue(value)) is not None
    ]
    method = options["method"] if isinstance(options["method"], str) else None
    if method not in METHODS:
        issues.append(Issue("method", f"is {short_repr(options['method'])}", f"one of {', '.join(METHODS)}"))
    metric = options.get("metric")
    named = metric.get("name") if isinstance(metric, Mapping) else metric
    goal = options.get("goal", "minimize")
    goal = metric.get("goal", goal) if isinstance(metric, Mapping) else goal
    if metric is not None and not (isinstance(named, str) and named):
        issues.append(Issue("metric", f"is {short_repr(metric)}", "give the name of a logged metric"))
    if metric is None and method == "bayes":
        issues.append(Issue("metric", "is missing, and method='bayes' needs one", METRIC))
    # the engine silently takes any other text for minimize
    if not isinstance(goal, str) or goal not in ("minimize", "maximize"):
        issues.append(Issue("goal", f"is {short_repr(goal)}", "minimize or maximize"))
    if issues:
        raise TranslationError("these options make no sweep", issues)
    return options


def variant(options: Mapping[str, Any]) -> str:
    return f"wandb {options['method']}"


def native_conditions(space: SearchSpace) -> tuple[frozenset[str], Mapping[str, Rule]]:
    """A sweep has no conditions: every parameter is always drawn."""
    return frozenset(), {}


# -- writing ----------------------------------------------------------------------------------------


def _distribution(name: str, **keys: Any) -> dict[str, Any]:
    # always by name: what W&B infers from the types of the bounds differs between its parts
    return {"distribution": name, **keys}


def _with_half_step_margin(p: Float | Int) -> dict[str, Any]:
    steps: Any = p.support
    first, last = (2 * (steps.origin + index * steps.step) for index in (int(steps.first), int(steps.last)))
    low, high = ((end + side) / (2 * steps.scale) for end, side in ((first, -steps.step), (last, steps.step)))
    return _distribution("q_log_uniform_values", min=low, max=high, q=p.step)


WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "uniform": lambda p: _distribution("uniform", min=p.low, max=p.high),
    "log_uniform_values": lambda p: _distribution("log_uniform_values", min=p.low, max=p.high),
    "int_uniform": lambda p: _distribution("int_uniform", min=p.low, max=p.high),
    "q_log_uniform_values": _with_half_step_margin,
    "values": lambda p: _distribution("categorical", values=list(p.support)),
    "probabilities": lambda p: _distribution(
        "categorical_w_probabilities", values=list(p.support), probabilities=list(p.weights)
    ),
    "value": lambda p: _distribution("constant", value=copy_if_mutable(p.value)),
    "normal": lambda p: _distribution("normal", mu=p.mean, sigma=p.std),
    "log_normal": lambda p: _distribution("log_normal", mu=p.mean, sigma=p.std),
    "q_normal": lambda p: _distribution("q_normal", mu=p.mean, sigma=p.std, q=p.step),
    "q_log_normal": lambda p: _distribution("q_log_normal", mu=p.mean, sigma=p.std, q=p.step),
}
PROXY_WRITERS = {"float": "uniform", "int": "int_uniform", "categorical": "values"}


def write(fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for field in fields:
        if field.proxy is not None:
            place = parameters
            for part in field.native_path[:-1]:
                place = place.setdefault(part, {"parameters": {}})["parameters"]
            place[field.native_path[-1]] = WRITERS[field.writer_key(WRITERS, PROXY_WRITERS)](field.proxy)
    if not parameters or (options["method"] == "bayes" and _constant(parameters)):
        issue = Issue("", "there is no parameter that varies", VARY_OR_RANDOM if fields else EMPTY)
        raise TranslationError("W&B needs something to search", [issue])
    sweep = {"method": options["method"], "parameters": parameters}
    metric = options.get("metric")
    if metric is not None:
        named = {"name": metric} if isinstance(metric, str) else dict(metric)
        sweep["metric"] = {"goal": options.get("goal", "minimize"), **named}
    return sweep | {key: copy_if_mutable(value) for key, value in options.items() if key in SWEEP_KEYS}


def _constant(parameters: Mapping[str, Any]) -> bool:
    return all(
        _constant(each["parameters"]) if "parameters" in each else each["distribution"] == "constant"
        for each in parameters.values()
    )


def to_wandb(space: Mapping[str, Any], *, encode: bool = False, **options: Any) -> dict[str, Any]:
    """A sweep for `wandb.sweep`: `method` ("random", "bayes", "grid"), `metric`, `goal` ("minimize", "maximize").

    Any other key of a sweep is carried along. With `encode=True`, decode what comes back with
    `translate(space, "wandb", encode=True, **options).decode(wandb.config)`. Raises `TranslationError`
    for what has no exact form.

    >>> to_wandb({"lr": Float(1e-6, 1e-4, log=True)}, method="bayes", metric="eval_loss")["metric"]
    {'goal': 'minimize', 'name': 'eval_loss'}
    """
    return translate(space, "wandb", encode=encode, **options).spec  # type: ignore[no-any-return]


# -- reading ----------------------------------------------------------------------------------------


def _is_integer_step(q: Any) -> bool:
    """The engine draws ints where q is an int."""
    return type(q) is int


def _step(q: Any) -> Any:
    q = parse_number("q", q, _is_integer_step(q))
    if not 0 < q < math.inf:
        reject(f"q is {short_repr(q)}", "give a q above 0")
    return q


def _read_quantized(low: Any, high: Any, q: Any, log: bool = False) -> Parameter:
    """The multiples of q that draws between low and high round to.

    A bound halfway between two of them is never drawn itself: those inside round to the inner one.
    """
    low, high, q = parse_number("min", low), parse_number("max", high), _step(q)
    if not (math.isfinite(low) and math.isfinite(high)):
        reject(f"min {low} and max {high} are not finite", "give numbers")
    if low > high:
        reject(f"min {low} is above max {high}", "swap them")
    lowest, highest, step = (Fraction(*shortest_decimal_fraction(float(x))) for x in (low, high, q))
    near = Fraction(1, 2) + Fraction(1, 10**9)  # a half that was rounded to a float
    first, last = math.floor(lowest / step + near), math.ceil(highest / step - near)
    if last < first:  # both bounds round to one multiple, from its two sides
        last = first
    if _is_integer_step(q):
        return make_range(first * q, last * q, log=log, step=q, whole=True)
    return make_range(float(first * step), float(last * step), log=log, step=q)


def _read_grid_range(low: Any, high: Any, q: Any) -> Parameter:
    """Under a grid q_uniform is numpy's arange: anchored at min, max left out."""
    low, high, q = parse_number("min", low), parse_number("max", high), _step(q)
    whole = all(type(x) is int for x in (low, high, q))
    count = math.ceil((high - low) / q) if math.isfinite((high - low) / q) else 0
    if count < 1:
        reject(f"there is nothing between min {low} and max {high}", "raise max")
    if whole:
        return make_range(low, low + (count - 1) * q, step=q, whole=True)
    return make_range(low, low + (count - 1) * q if count > 1 else low, step=q)


def _read_grid_values(values: Any) -> Parameter:
    """A grid tries a value that is listed twice once (sweeps 0.2: by the hash of its YAML): it has no weight."""
    parameter: Any = make_categorical(values)
    return Categorical(parameter.choices) if parameter.weights else parameter


def _exp_bound(name: str, value: Any) -> float:
    value = parse_number(name, value)
    if not -700 <= value <= 700:
        reject(
            f"{name} is {value}, and log_uniform takes the natural logarithm of a bound",
            "use log_uniform_values",
        )
    return math.exp(value)


def _read_normal(mu: Any, sigma: Any, q: Any = None, log: bool = False) -> Parameter:
    step = None if q is None else _step(q)
    return Normal(parse_number("mu", mu), parse_number("sigma", sigma), log=log, step=step)


def _make_range(low: Any, high: Any, **kind: Any) -> Parameter:
    parameter = make_range(low, high, **kind)
    if isinstance(parameter, Constant):
        reject(f"min and max are both {low}, which W&B refuses", "use value")
    return parameter


Keys = Mapping[str, Any]
READERS: dict[str, tuple[dict[str, Any], Callable[..., Parameter]]] = {
    # distribution: (its keys with their defaults, `...` where there is none; what it draws)
    "constant": ({"value": ...}, lambda value: Constant(value)),
    "categorical": ({"values": ...}, lambda values: make_categorical(values)),
    "categorical_w_probabilities": (
        {"values": ..., "probabilities": ...},
        lambda values, probabilities: make_categorical(values, probabilities),
    ),
    "int_uniform": ({"min": ..., "max": ...}, lambda min, max: _make_range(min, max, whole=True)),
    "uniform": ({"min": ..., "max": ...}, lambda min, max: _make_range(min, max)),
    "q_uniform": ({"min": ..., "max": ..., "q": 1.0}, lambda min, max, q: _read_quantized(min, max, q)),
    "log_uniform_values": ({"min": ..., "max": ...}, lambda min, max: _make_range(min, max, log=True)),
    "inv_log_uniform_values": ({"min": ..., "max": ...}, lambda min, max: _make_range(min, max, log=True)),
    "q_log_uniform_values": (
        {"min": ..., "max": ..., "q": 1.0},
        lambda min, max, q: _read_quantized(min, max, q, True),
    ),
    "log_uniform": (
        {"min": 0.0, "max": 1.0},
        lambda min, max: _make_range(_exp_bound("min", min), _exp_bound("max", max), log=True),
    ),
    "inv_log_uniform": (  # the inverse of what log_uniform draws
        {"min": 0.0, "max": 1.0},
        lambda min, max: _make_range(1 / _exp_bound("max", max), 1 / _exp_bound("min", min), log=True),
    ),
    "q_log_uniform": (
        {"min": 0.0, "max": 1.0, "q": 1.0},
        lambda min, max, q: _read_quantized(_exp_bound("min", min), _exp_bound("max", max), q, True),
    ),
    "normal": ({"mu": 0.0, "sigma": 1.0}, lambda mu, sigma: _read_normal(mu, sigma)),
    "log_normal": ({"mu": 0.0, "sigma": 1.0}, lambda mu, sigma: _read_normal(mu, sigma, log=True)),
    "q_normal": ({"mu": 0.0, "sigma": 1.0, "q": 1.0}, lambda mu, sigma, q: _read_normal(mu, sigma, q)),
    "q_log_normal": ({"mu": 0.0, "sigma": 1.0, "q": 1.0}, lambda mu, sigma, q: _read_normal(mu, sigma, q, log=True)),
}

GRID_READERS: dict[str, Callable[..., Parameter]] = {
    "categorical": _read_grid_values,
    "q_uniform": lambda min, max, q: _read_grid_range(min, max, q),
}
"""What a grid goes through otherwise than the other methods draw."""


def read_parameter(config: Any, method: str = "random") -> Parameter:
    """The parameter that one entry of a sweep draws.

    >>> read_parameter({"min": 1, "max": 10}), read_parameter({"min": 1, "max": 9, "distribution": "q_uniform", "q": 3})
    (Int(1, 10), Int(0, 9, step=3))
    """
    if not isinstance(config, Mapping):
        reject(
            f"{short_repr(config)} is no parameter of a sweep",
            'write {"value": …}, {"values": […]} or {"min": …, "max": …}',
        )
    distribution = config.get("distribution")
    if distribution is None or (isinstance(distribution, str) and not distribution):
        distribution = _infer_distribution(config)
    if isinstance(distribution, str) and distribution in ("beta", "q_beta"):
        reject("a beta distribution has no counterpart elsewhere", "use normal or uniform")
    if not isinstance(distribution, str) or distribution not in READERS:
        reject(f"{short_repr(distribution)} is no distribution of W&B", f"one of {', '.join(READERS)}")
    keys, reader = READERS[distribution]
    if method == "grid":
        reader = GRID_READERS.get(distribution, reader)
    if unknown := [key for key in config if key not in keys and key != "distribution"]:
        reject(f"{distribution} has no {', '.join(map(repr, unknown))}", f"its keys are {', '.join(keys)}")
    if missing := [key for key, default in keys.items() if default is ... and key not in config]:
        reject(f"{distribution} lacks {', '.join(map(repr, missing))}", f"its keys are {', '.join(keys)}")
    return reader(**{key: config.get(key, default) for key, default in keys.items()})


def _infer_distribution(config: Keys) -> str:
    """The distribution of an entry that names none, as W&B infers it from the keys and types."""
    if "value" in config:
        return "constant"
    if "values" in config:
        return "categorical_w_probabilities" if "probabilities" in config else "categorical"
    if {"min", "max"} <= config.keys():
        return "int_uniform" if type(config["min"]) is type(config["max"]) is int else "uniform"
    if {"mu", "sigma"} & config.keys():
        return "normal"
    return reject(f"{short_repr(dict(config))} says nothing of its values", "give value, values, or min and max")


def accepts(source: Any) -> bool:
    """Whether a search space is W&B's: a sweep, or a dict of its parameters alone."""
    return is_sweep(source) or _is_parameters(source)


def is_sweep(source: Any) -> bool:
    """Whether it is a dict that has parameters of W&B's under "parameters", and nothing but data beside them."""
    parameters = source.get("parameters") if isinstance(source, Mapping) else None
    return (
        isinstance(parameters, Mapping)
        and all(map(is_plain, (*source.values(), *parameters.values())))
        and (not parameters or any(_is_parameter(config) for config in parameters.values()))
    )


def _is_parameters(source: Any) -> bool:
    return isinstance(source, Mapping) and bool(source) and all(map(_is_parameter, source.values()))


def _is_parameter(config: Any, depth: int = 0) -> bool:
    """Whether a dict states what is drawn: a group, a distribution, values, or bounds, each of the type it has."""
    if not isinstance(config, Mapping) or not all(map(is_plain, config.values())):
        return False
    if isinstance(config.get("parameters"), Mapping) and config.keys() <= {"parameters", "distribution"}:
        inner = config["parameters"].values()
        return depth > MAX_DEPTH or any(_is_parameter(each, depth + 1) for each in inner)  # the reader says too deep
    if "value" in config:
        return config.keys() <= {"value", "distribution"} and is_data(config["value"])
    numbers = (config.get(key) for key in ("min", "max", "mu", "sigma"))
    return (
        isinstance(config.get("distribution"), str)
        or is_list(config.get("values"))
        or any(isinstance(bound, str) or hasattr(bound, "__float__") for bound in numbers)
    )


def from_wandb(sweep: Any) -> SearchSpace:
    """The space of a sweep: its dict, its parameters alone, or the text of its YAML or JSON file (needs PyYAML).

    Reads every distribution that W&B draws but beta, inferred ones too. Bounds that YAML 1.1 made texts
    ("1e-5") are read as numbers. The method decides what q_uniform draws; metric, early_terminate and
    the like are no part of the space. Raises `TranslationError`.

    >>> from_wandb({"parameters": {"lr": {"distribution": "log_uniform_values", "min": "1e-5", "max": 0.1}}})
    SearchSpace({'lr': Float(1e-05, 0.1, log=True)})
    """
    sweep = parse(sweep)
    if not is_sweep(sweep) and _is_parameters(sweep):
        sweep = {"parameters": sweep}
    parameters = sweep["parameters"] if isinstance(sweep.get("parameters"), Mapping) else None
    if parameters is None:
        reject("it has no parameters", 'give the sweep: {"method": …, "parameters": {…}}')
    method = sweep.get("method", "random")
    return build_space("W&B", _read_group(parameters, method if isinstance(method, str) else "random", 0))


def parse(sweep: Any) -> Mapping[str, Any]:
    """A sweep as a dict, from YAML or JSON text too."""
    if isinstance(sweep, (str, bytes)):
        sweep = documents.parse_document(sweep)
    if isinstance(sweep, (str, PathLike)):
        reject(f"{short_repr(sweep)} is no sweep", file_hint(sweep))
    if not isinstance(sweep, Mapping):
        reject(f"{short_repr(sweep)} is no sweep", 'give {"method": …, "parameters": {…}}')
    return sweep


def _read_group(parameters: Mapping[str, Any], method: str, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        reject_depth()

    def read(config: Any) -> Any:
        if isinstance(config, Mapping) and isinstance(config.get("parameters"), Mapping):
            if unknown := [key for key in config if key not in ("parameters", "distribution")]:
                reject(f"a group has no {', '.join(map(repr, unknown))}", "it holds parameters alone")
            return _read_group(config["parameters"], method, depth + 1)
        return read_parameter(config, method)

    return parse_entries("W&B", read, parameters.items())


# -- beside the space -------------------------------------------------------------------------------

_TERMS = {
    "direction": "metric.goal",
    "compute_objective": "metric",
    "sampler": "method",
    "n_trials": "run_cap",
    "pruner": "early_terminate",
}


def read_settings(found: Mapping[str, Any]) -> SearchSettings:
    """What a sweep says besides its parameters. Raises `TranslationError` for what W&B itself would not take as meant.

    >>> read_settings({"method": "grid", "metric": {"name": "acc", "goal": "maximize"}, "program": "train.py"}).unused
    {'program': 'train.py'}
    """
    reader = Reader(found)
    # a sweep of method "custom" is decided by a program of the user's own
    method = None if found.get("method") == "custom" else reader.one_of("method", METHODS)
    run_cap = reader.take("run_cap", is_count, "an int of at least 1")
    early_terminate = reader.take("early_terminate", lambda value: isinstance(value, Mapping), "a dict with a type")
    metric = reader.take("metric", lambda value: isinstance(value, (str, Mapping)), "a dict with name and goal")
    inner = Reader({"name": metric} if isinstance(metric, str) else metric or {})
    name = inner.take("name", lambda value: isinstance(value, str) and value != "", "the name of a logged metric")
    # the engine takes any other text for minimize, "MAXIMIZE" too
    goal = inner.one_of("goal", DIRECTIONS)
    reader.issues += [issue._replace(path=f"metric.{issue.path}") for issue in inner.issues]
    options = {key: reader.left.pop(key) for key in ("name", "project", "entity") if reader.left.get(key)}
    unused = reader.finish("sweep") | {f"metric.{key}": value for key, value in inner.left.items()}
    return SearchSettings(
        dialect="wandb",
        directions=(goal,) if metric else (),
        metrics=(name,) if name else (),
        sampler=method,
        n_trials=run_cap,
        pruner=early_terminate and dict(early_terminate),
        options=options,
        terms=_TERMS,
        unused=unused,
    )
