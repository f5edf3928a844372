"""Weights & Biases: a sweep, whose parameters each name their distribution.

    {"method": "bayes", "metric": {"name": "eval_loss", "goal": "minimize"},
     "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-06, "max": 0.0001}}}

Groups are nested under "parameters". What a distribution draws depends on the method: a grid goes
through values and takes nothing continuous or weighted. The q_ distributions round to multiples of q, half to
even, and so leave their bounds by up to q/2; to draw low, low + q, …, high with the right probabilities, their
bounds are written half a step wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from typing import Any, ClassVar

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.domains import shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import copy_if_mutable, json_issue, short_repr
from hpcompat.translators import documents, names
from hpcompat.translators.capabilities import (
    AMBIGUOUS_CHOICES,
    FLOAT_NOISE,
    INDEX_LARGE,
    INDEX_LONG,
    LABELS,
    NO_ORDER,
    UNIT_LARGE,
    UNIT_NOISE,
    UNIT_NOT_MULTIPLES,
    UNIT_TRUNCATED,
    UNIT_WEIGHTS,
    UNIT_WIDE,
    all_of,
    encoded,
    equivalent,
    fits_float_exactly,
    has_exact_step,
    has_finite_width,
    is_enumerable,
    is_int_multiple_of_step,
    is_json,
    is_multiple_of_step,
    is_unordered,
    is_untruncated,
    native,
    survives_json,
    unsupported,
)
from hpcompat.translators.dialect import Dialect, Variant
from hpcompat.translators.fields import FieldMapping
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
from hpcompat.translators.translation import EMPTY, translate

METHODS = ("random", "bayes", "grid")
METRIC = "metric='eval_loss', say"
VARY_OR_RANDOM = "add a parameter that varies, or use method='random'"
SWEEP_KEYS = frozenset(
    (
        *("name", "description", "program", "command", "project", "entity", "controller"),
        *("early_terminate", "run_cap", "job", "image_uri"),
    )
)
"""The keys of a sweep besides method, metric and parameters."""

# -- what a sweep can express -------------------------------------------------------------------------

_LIST = (equivalent("categorical", "a list of the values", is_enumerable), INDEX_LONG)
_LIST_WITHOUT_SCALE = (encoded("categorical", "a list of the values, which has no scale", is_enumerable), INDEX_LONG)
_NOT_IN_A_GRID = (unsupported("a grid needs values to go through"),)
_NOT_WEIGHTED = (unsupported("a grid goes through every value alike, and cannot weight them"),)

RANDOM = {
    "float": (native("uniform", has_finite_width), UNIT_WIDE),
    "float log": (native("log_uniform_values"),),
    "float step": _LIST,
    "float log step": (
        native("q_log_uniform_values", all_of(has_exact_step, is_multiple_of_step)),
        UNIT_NOISE,
        UNIT_NOT_MULTIPLES,
    ),
    "int": (native("int_uniform", fits_float_exactly), INDEX_LARGE),
    "int log": (native("q_log_uniform_values", fits_float_exactly), UNIT_LARGE),
    "int step": _LIST,
    "int log step": (native("q_log_uniform_values", is_int_multiple_of_step), UNIT_NOT_MULTIPLES),
    "categorical": (native("categorical", survives_json), LABELS),
    "categorical ordered": (equivalent("categorical", NO_ORDER, survives_json), LABELS),
    "categorical weights": (
        native("categorical_w_probabilities", all_of(survives_json, is_unordered)),
        equivalent("categorical_w_probabilities", NO_ORDER, survives_json),
        encoded("unit", AMBIGUOUS_CHOICES),
    ),
    "constant": (native("constant", is_json), encoded("absent", "JSON turns a tuple into a list")),
    "normal": (native("normal", is_untruncated), UNIT_TRUNCATED),
    "normal log": (native("log_normal", is_untruncated), UNIT_TRUNCATED),
    "normal step": (
        native("q_normal", all_of(is_untruncated, has_exact_step)),
        encoded("unit", FLOAT_NOISE, is_untruncated),
        UNIT_TRUNCATED,
    ),
    "normal log step": (
        native("q_log_normal", all_of(is_untruncated, has_exact_step)),
        encoded("unit", FLOAT_NOISE, is_untruncated),
        UNIT_TRUNCATED,
    ),
}
BAYES = {**RANDOM, "categorical weights": (UNIT_WEIGHTS,)}
GRID = {
    **RANDOM,
    "float": _NOT_IN_A_GRID,
    "float log": _NOT_IN_A_GRID,
    "float log step": _LIST_WITHOUT_SCALE,
    "int log": _LIST_WITHOUT_SCALE,
    "int log step": _LIST_WITHOUT_SCALE,
    "categorical weights": _NOT_WEIGHTED,
    "normal": _NOT_IN_A_GRID,
    "normal log": _NOT_IN_A_GRID,
    "normal step": _NOT_WEIGHTED,
    "normal log step": _NOT_WEIGHTED,
}
_NO_CONDITIONS = encoded("", "a sweep has no conditions")


class WandbDialect(Dialect):
    """A sweep of Weights & Biases."""

    name = "wandb"
    title = "W&B"
    noun = "sweep"
    names = names.WANDB
    is_nested = True
    variants: ClassVar[Mapping[str, Variant]] = {
        f"wandb {method}": Variant(
            f"wandb {method}", f"W&B, method {method}", capabilities, {"method": method, **more}, _NO_CONDITIONS
        )
        for method, capabilities, more in (
            ("random", RANDOM, {}),
            ("bayes", BAYES, {"metric": "objective"}),
            ("grid", GRID, {}),
        )
    }

    def parse_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return method, metric, goal and the other keys of a sweep, the method filled in."""
        options = {"method": "random", **options}
        issues = list(_option_issues(options))
        if issues:
            raise TranslationError("these options do not make a sweep", issues)
        return options

    def variant(self, options: Mapping[str, Any]) -> Variant:
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
            issue = Issue("", "there is no parameter that varies", VARY_OR_RANDOM if fields else EMPTY)
            raise TranslationError("W&B needs something to search", [issue])
        sweep = {"method": options["method"], "parameters": parameters}
        metric = options.get("metric")
        if metric is not None:
            named = {"name": metric} if isinstance(metric, str) else dict(metric)
            sweep["metric"] = {"goal": options.get("goal", "minimize"), **named}
        return sweep | {key: copy_if_mutable(value) for key, value in options.items() if key in SWEEP_KEYS}

    def accepts(self, source: Any) -> bool:
        """Return whether this is a sweep, or a dict of its parameters alone."""
        return is_sweep(source) or _is_parameters(source)

    def read(self, source: Any) -> SearchSpace:
        """See `from_wandb`."""
        sweep = _parse_sweep(source)
        if not is_sweep(sweep) and _is_parameters(sweep):
            sweep = {"parameters": sweep}
        parameters = sweep["parameters"] if isinstance(sweep.get("parameters"), Mapping) else None
        if parameters is None:
            reject("it has no parameters", 'give the sweep: {"method": …, "parameters": {…}}')
        method = sweep.get("method", "random")
        return build_space("W&B", _read_group(parameters, method if isinstance(method, str) else "random", 0))

    def extra_settings(self, source: Any) -> dict[str, Any] | None:
        """Return the keys of a sweep other than its parameters."""
        return {key: value for key, value in source.items() if key != "parameters"} if is_sweep(source) else None

    def read_settings(self, source: Any) -> SearchSettings:
        """Return the settings of a sweep. Raises `TranslationError` for what W&B itself would not take as meant.

        >>> sweep = {"method": "grid", "metric": {"name": "acc", "goal": "maximize"}, "program": "train.py"}
        >>> WANDB.read_settings({**sweep, "parameters": {"x": {"value": 1}}}).unused
        {'program': 'train.py'}
        """
        found = self.extra_settings(source)
        return SearchSettings() if found is None else _read_settings(found)


WANDB = WandbDialect()


def to_wandb(space: Mapping[str, Any], *, encode: bool = False, **options: Any) -> dict[str, Any]:
    """Return a sweep for `wandb.sweep`.

    Args:
        space: A SearchSpace, or a dict of parameters.
        encode: Whether to let what has no exact form travel encoded. Decode what comes back with
            `translate(space, "wandb", encode=True, **options).decode(wandb.config)`.
        options: `method` ("random", "bayes", "grid"), `metric`, `goal` ("minimize", "maximize"), and any
            other key of a sweep.

    Raises:
        TranslationError: A parameter has no exact form, or an option is invalid.

    >>> to_wandb({"lr": Float(1e-6, 1e-4, log=True)}, method="bayes", metric="eval_loss")["metric"]
    {'goal': 'minimize', 'name': 'eval_loss'}
    """
    return translate(space, "wandb", encode=encode, **options).spec  # type: ignore[no-any-return]


def from_wandb(sweep: Any) -> SearchSpace:
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


def _option_issues(options: Mapping[str, Any]) -> list[Issue]:
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
    return issues


# -- the distributions: each row writes and reads one --------------------------------------------------


@dataclass(frozen=True)
class Form:
    """A distribution of W&B.

    Attributes:
        keys: Its keys with their defaults, `...` where there is none.
        read: The values of the keys -> the parameter that it draws.
        write: A parameter -> the values of the keys; None for what is only read.
        read_grid: The same as `read`, where a grid goes through other values than the other methods draw.
    """

    keys: Mapping[str, Any]
    read: Callable[..., Parameter]
    write: Callable[[Any], dict[str, Any]] | None = None
    read_grid: Callable[..., Parameter] | None = None


_BOUNDS: Mapping[str, Any] = {"min": ..., "max": ...}
_MOMENTS: Mapping[str, Any] = {"mu": 0.0, "sigma": 1.0}
_EXPONENTS: Mapping[str, Any] = {"min": 0.0, "max": 1.0}
_Q: Mapping[str, Any] = {"q": 1.0}


def _write_bounds(p: Any) -> dict[str, Any]:
    return {"min": p.low, "max": p.high}


def _write_moments(p: Any) -> dict[str, Any]:
    return {"mu": p.mean, "sigma": p.std}


def _write_quantized_moments(p: Any) -> dict[str, Any]:
    return {"mu": p.mean, "sigma": p.std, "q": p.step}


FORMS: dict[str, Form] = {
    "constant": Form(
        {"value": ...},
        read=lambda value: Constant(value),
        write=lambda p: {"value": copy_if_mutable(p.value)},
    ),
    "categorical": Form(
        {"values": ...},
        read=lambda values: make_categorical(values),
        write=lambda p: {"values": list(p.support)},
        read_grid=lambda values: _read_grid_values(values),
    ),
    "categorical_w_probabilities": Form(
        {"values": ..., "probabilities": ...},
        read=lambda values, probabilities: make_categorical(values, probabilities),
        write=lambda p: {"values": list(p.support), "probabilities": list(p.weights)},
    ),
    "int_uniform": Form(
        _BOUNDS,
        read=lambda min, max: _make_range(min, max, whole=True),
        write=_write_bounds,
    ),
    "uniform": Form(
        _BOUNDS,
        read=lambda min, max: _make_range(min, max),
        write=_write_bounds,
    ),
    "log_uniform_values": Form(
        _BOUNDS,
        read=lambda min, max: _make_range(min, max, log=True),
        write=_write_bounds,
    ),
    "q_log_uniform_values": Form(
        {**_BOUNDS, **_Q},
        read=lambda min, max, q: _read_quantized(min, max, q, log=True),
        write=lambda p: _with_half_step_margin(p),
    ),
    "normal": Form(
        _MOMENTS,
        read=lambda mu, sigma: _read_normal(mu, sigma),
        write=_write_moments,
    ),
    "log_normal": Form(
        _MOMENTS,
        read=lambda mu, sigma: _read_normal(mu, sigma, log=True),
        write=_write_moments,
    ),
    "q_normal": Form(
        {**_MOMENTS, **_Q},
        read=lambda mu, sigma, q: _read_normal(mu, sigma, q),
        write=_write_quantized_moments,
    ),
    "q_log_normal": Form(
        {**_MOMENTS, **_Q},
        read=lambda mu, sigma, q: _read_normal(mu, sigma, q, log=True),
        write=_write_quantized_moments,
    ),
    # read, and never written
    "q_uniform": Form(
        {**_BOUNDS, **_Q},
        read=lambda min, max, q: _read_quantized(min, max, q),
        read_grid=lambda min, max, q: _read_grid_range(min, max, q),
    ),
    "inv_log_uniform_values": Form(_BOUNDS, read=lambda min, max: _make_range(min, max, log=True)),
    "log_uniform": Form(
        _EXPONENTS,
        read=lambda min, max: _make_range(_exp_bound("min", min), _exp_bound("max", max), log=True),
    ),
    "inv_log_uniform": Form(  # the inverse of what log_uniform draws
        _EXPONENTS,
        read=lambda min, max: _make_range(1 / _exp_bound("max", max), 1 / _exp_bound("min", min), log=True),
    ),
    "q_log_uniform": Form(
        {**_EXPONENTS, **_Q},
        read=lambda min, max, q: _read_quantized(_exp_bound("min", min), _exp_bound("max", max), q, log=True),
    ),
}
PROXY_FORMS = {"float": "uniform", "int": "int_uniform", "categorical": "categorical"}


def _write_parameter(field: FieldMapping) -> dict[str, Any]:
    name = field.writer_key(FORMS, PROXY_FORMS)
    write: Any = FORMS[name].write
    # always by name: what W&B infers from the types of the bounds differs between its parts
    return {"distribution": name, **write(field.proxy)}


def _with_half_step_margin(p: Float | Int) -> dict[str, Any]:
    grid: Any = p.support
    first, last = (2 * (grid.origin + index * grid.step) for index in (int(grid.first), int(grid.last)))
    low, high = ((end + side) / (2 * grid.scale) for end, side in ((first, -grid.step), (last, grid.step)))
    return {"min": low, "max": high, "q": p.step}


def _are_constant(parameters: Mapping[str, Any]) -> bool:
    return all(
        _are_constant(entry["parameters"]) if "parameters" in entry else entry["distribution"] == "constant"
        for entry in parameters.values()
    )


# -- reading ----------------------------------------------------------------------------------------


def _is_integer_step(q: Any) -> bool:
    """Return whether the engine draws ints, as it does where q is an int."""
    return type(q) is int


def _step(q: Any) -> Any:
    q = parse_number("q", q, _is_integer_step(q))
    if not 0 < q < math.inf:
        reject(f"q is {short_repr(q)}", "give a q above 0")
    return q


def _read_quantized(low: Any, high: Any, q: Any, log: bool = False) -> Parameter:
    """Return the multiples of q that draws between low and high round to.

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
    """Return what q_uniform is in a grid: numpy's arange, from min, max left out."""
    low, high, q = parse_number("min", low), parse_number("max", high), _step(q)
    whole = all(type(x) is int for x in (low, high, q))
    count = math.ceil((high - low) / q) if math.isfinite((high - low) / q) else 0
    if count < 1:
        reject(f"there is nothing between min {low} and max {high}", "raise max")
    if whole:
        return make_range(low, low + (count - 1) * q, step=q, whole=True)
    return make_range(low, low + (count - 1) * q if count > 1 else low, step=q)


def _read_grid_values(values: Any) -> Parameter:
    """Return the values of a grid, without weights: sweeps 0.2 tries a value that is listed twice once."""
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


def read_parameter(config: Any, method: str = "random") -> Parameter:
    """Return the parameter that one entry of a sweep draws.

    >>> read_parameter({"min": 1, "max": 10}), read_parameter({"min": 1, "max": 9, "distribution": "q_uniform", "q": 3})
    (Int(1, 10), Int(0, 9, step=3))
    """
    if not isinstance(config, Mapping):
        reject(
            f"expected a parameter of a sweep, got {short_repr(config)}",
            'write {"value": …}, {"values": […]} or {"min": …, "max": …}',
        )
    distribution = config.get("distribution")
    if distribution is None or (isinstance(distribution, str) and not distribution):
        distribution = _infer_distribution(config)
    if isinstance(distribution, str) and distribution in ("beta", "q_beta"):
        reject("a beta distribution has no counterpart elsewhere", "use normal or uniform")
    if not isinstance(distribution, str) or distribution not in FORMS:
        reject(f"unknown distribution {short_repr(distribution)}", f"one of {', '.join(FORMS)}")
    form = FORMS[distribution]
    if unknown := [key for key in config if key not in form.keys and key != "distribution"]:
        reject(f"{distribution} has no {', '.join(map(repr, unknown))}", f"its keys are {', '.join(form.keys)}")
    if missing := [key for key, default in form.keys.items() if default is ... and key not in config]:
        reject(f"{distribution} lacks {', '.join(map(repr, missing))}", f"its keys are {', '.join(form.keys)}")
    read = form.read_grid if method == "grid" and form.read_grid else form.read
    return read(**{key: config.get(key, default) for key, default in form.keys.items()})


def _infer_distribution(config: Mapping[str, Any]) -> str:
    """Return the distribution of an entry that names none, as W&B infers it from the keys and types."""
    if "value" in config:
        return "constant"
    if "values" in config:
        return "categorical_w_probabilities" if "probabilities" in config else "categorical"
    if {"min", "max"} <= config.keys():
        return "int_uniform" if type(config["min"]) is type(config["max"]) is int else "uniform"
    if {"mu", "sigma"} & config.keys():
        return "normal"
    reject(f"{short_repr(dict(config))} says nothing of its values", "give value, values, or min and max")


def is_sweep(source: Any) -> bool:
    """Return whether this is a dict with parameters of W&B under "parameters", and nothing but data beside them."""
    parameters = source.get("parameters") if isinstance(source, Mapping) else None
    return (
        isinstance(parameters, Mapping)
        and all(map(is_plain, (*source.values(), *parameters.values())))
        and (not parameters or any(_is_parameter(config) for config in parameters.values()))
    )


def _is_parameters(source: Any) -> bool:
    return isinstance(source, Mapping) and bool(source) and all(map(_is_parameter, source.values()))


def _is_parameter(config: Any, depth: int = 0) -> bool:
    """Return whether a dict states what is drawn: a group, a distribution, values, or bounds, of the right types."""
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


def _parse_sweep(sweep: Any) -> Mapping[str, Any]:
    """Return a sweep as a dict, from YAML or JSON text too."""
    if isinstance(sweep, (str, bytes)):
        sweep = documents.parse_document(sweep)
    if isinstance(sweep, (str, PathLike)):
        reject(f"{short_repr(sweep)} is not a sweep", file_hint(sweep))
    if not isinstance(sweep, Mapping):
        reject(f"{short_repr(sweep)} is not a sweep", 'give {"method": …, "parameters": {…}}')
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


def _read_settings(found: Mapping[str, Any]) -> SearchSettings:
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
        noun=WandbDialect.noun,
        directions=(goal,) if metric else (),
        metrics=(name,) if name else (),
        sampler=method,
        n_trials=run_cap,
        pruner=early_terminate and dict(early_terminate),
        options=options,
        terms=_TERMS,
        unused=unused,
    )
