"""Optuna: a function of the trial that makes the suggest calls.

The spec is a list of calls, parents first, as a person would write them:

    {"name": "lr", "call": "suggest_float", "kwargs": {"low": 1e-06, "high": 0.0001, "log": true}}
    {"name": "momentum", "call": "suggest_float", "kwargs": {…}, "when": {"optim": ["sgd"]}}

A constant is a call "constant", which asks the trial nothing. Conditions are native: the function
leaves out what is not active. Groups travel under dotted names, and the function nests them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hpcompat.errors import Issue, ParamsError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Constant, Float, Int, Parameter
from hpcompat.space.serialization import value_to_json
from hpcompat.space.values import copy_list_if_mutable, short_repr
from hpcompat.translators import names, parsing
from hpcompat.translators.capabilities import Rule, best_rule
from hpcompat.translators.parsing import (
    build_space,
    json_data,
    last_grid_value,
    make_range,
    parse_call,
    parse_condition,
    parse_entries,
    reject,
    reject_options,
)
from hpcompat.translators.settings import SearchSettings
from hpcompat.translators.translation import FieldMapping, Translation, translate

NAMES = names.OPTUNA
NESTED = False


def parse_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return reject_options("Optuna", options)


def variant(options: Mapping[str, Any]) -> str:
    return "optuna"


def native_conditions(space: SearchSpace) -> tuple[frozenset[str], Mapping[str, Rule]]:
    """The leaves whose conditions are written natively, and the parents that travel in another way than the table's."""
    conditional = [leaf for leaf in space.leaves if leaf.when]
    if not conditional:
        return frozenset(), {}
    parents = {parent for leaf in conditional for parent, _ in leaf.when}
    told = {
        leaf.name
        for leaf in space.leaves
        if leaf.name in parents and best_rule(leaf.parameter, "optuna").form != "unit"
    }
    native_conditions = (leaf.name for leaf in conditional if all(parent in told for parent, _ in leaf.when))
    return frozenset(native_conditions), {}


# -- writing ----------------------------------------------------------------------------------------


def _float(p: Float) -> dict[str, Any]:
    if p.log:
        return {"low": p.low, "high": p.high, "log": True}
    return {"low": p.low, "high": p.high} if p.step is None else {"low": p.low, "high": p.high, "step": p.step}


def _int(p: Int) -> dict[str, Any]:
    if p.log:
        return {"low": p.low, "high": p.high, "log": True}
    return {"low": p.low, "high": p.high} if p.step == 1 else {"low": p.low, "high": p.high, "step": p.step}


WRITERS: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "float": ("suggest_float", _float),
    "int": ("suggest_int", _int),
    "categorical": ("suggest_categorical", lambda p: {"choices": copy_list_if_mutable(p.choices)}),
    "constant": ("constant", lambda p: {"value": value_to_json(p.value)}),
}


def write(fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls, conditional = [], []
    for field in fields:
        leaf, _, (native_name,), proxy, native_conditions = field
        if proxy is not None:
            name, arguments = WRITERS[proxy.kind]
            call = {"name": native_name, "call": name, "kwargs": arguments(proxy)}
            calls.append(call)
            if native_conditions:
                conditional.append((call, leaf))
    by_name = {field.leaf.name: field for field in fields} if conditional else {}
    for call, leaf in conditional:
        parents = [(by_name[parent], values) for parent, values in leaf.when]
        call["when"] = {
            parent.native_name: [value_to_json(parent.encode(value)) for value in values] for parent, values in parents
        }
    return calls


@dataclass(frozen=True)
class Suggest:
    """A function of a trial that suggests every active parameter and returns the params."""

    translation: Translation

    @property
    def spec(self) -> list[dict[str, Any]]:
        """The calls that it makes."""
        return self.translation.spec  # type: ignore[no-any-return]

    @cached_property
    def _calls(self) -> list[tuple[str, str, str, dict[str, Any], Callable[[Any], Any]]]:
        """Each parameter's name, the call to make (method, name, arguments), and the decoder of what it returns."""
        return [
            (field.leaf.name, call["call"], call["name"], call["kwargs"], field.make_decoder())
            for field, call in zip(self.translation.fields, self.spec, strict=True)
        ]

    @cached_property
    def _always(self) -> bool:
        """Whether every call is made in every trial."""
        return all(field.is_stored and not field.leaf.when for field in self.translation.fields)

    def __call__(self, trial: Any) -> dict[str, Any]:
        return self.translation.space.nest((self._all if self._always else self._some)(trial))

    def _all(self, trial: Any) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        leaf = ""
        try:
            for leaf, method, name, arguments, decode in self._calls:
                flat[leaf] = decode(getattr(trial, method)(name, **arguments))
        except ParamsError as error:
            raise _out_of_space_error(leaf, error) from None
        return flat

    def _some(self, trial: Any) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for field, (_, method, name, arguments, decode) in zip(self.translation.fields, self._calls, strict=True):
            leaf = field.leaf
            active = leaf.active(flat)
            if not field.is_stored:
                flat |= {leaf.name: leaf.parameter.quantile(0.5)} if active else {}
            elif active or not field.has_native_condition:
                raw = getattr(trial, method)(name, **arguments)
                if active:
                    try:
                        flat[leaf.name] = decode(raw)
                    except ParamsError as error:
                        raise _out_of_space_error(leaf.name, error) from None
        return flat


def _out_of_space_error(name: str, error: ParamsError) -> ParamsError:
    return ParamsError("Optuna gives a value that is not in the space", [Issue(name, error.message)])


def to_optuna(space: Mapping[str, Any], *, encode: bool = False) -> Suggest:
    """A function `trial -> params` for `study.optimize`, `trial.suggest_*` calls and all.

    `encode=True` lets travel what Optuna has no form for (weights, normal laws, log with step, …).
    Raises `TranslationError` for what has no exact form.

    >>> suggest = to_optuna({"lr": Float(1e-6, 1e-4, log=True)})
    >>> suggest.spec
    [{'name': 'lr', 'call': 'suggest_float', 'kwargs': {'low': 1e-06, 'high': 0.0001, 'log': True}}]
    """
    return Suggest(translate(space, "optuna", encode=encode))


# -- reading ----------------------------------------------------------------------------------------


def _read_float(low: Any, high: Any, step: Any = None, log: Any = False, *, q: Any = None) -> Parameter:
    step = q if step is None else step
    if step is not None and log:
        reject("Optuna has no step on a logarithmic scale", "leave out step or log")
    if step is None:
        return make_range(low, high, log=bool(log))
    return make_range(low, last_grid_value(low, high, step, False), step=step)


def _read_int(low: Any, high: Any, step: Any = 1, log: Any = False) -> Parameter:
    if log and step != 1:
        reject("Optuna has no step on a logarithmic scale", "leave out step or log")
    return make_range(low, last_grid_value(low, high, step, True), log=bool(log), step=step, whole=True)


def _read_choices(choices: Any) -> Parameter:
    return parsing.make_categorical(choices)


READERS: dict[str, Callable[..., Parameter]] = {
    "suggest_float": _read_float,
    "suggest_int": _read_int,
    "suggest_categorical": _read_choices,
    "suggest_uniform": lambda low, high: _read_float(low, high),
    "suggest_loguniform": lambda low, high: _read_float(low, high, log=True),
    "suggest_discrete_uniform": lambda low, high, q: _read_float(low, high, q),
    "constant": lambda value: Constant(json_data("its value is", value, "a JSON value")),
    "FloatDistribution": lambda low, high, log=False, step=None: _read_float(low, high, step, log),
    "IntDistribution": lambda low, high, log=False, step=1: _read_int(low, high, step, log),
    "CategoricalDistribution": _read_choices,
    "UniformDistribution": lambda low, high: _read_float(low, high),
    "LogUniformDistribution": lambda low, high: _read_float(low, high, log=True),
    "DiscreteUniformDistribution": lambda low, high, q: _read_float(low, high, q),
    "IntUniformDistribution": lambda low, high, step=1: _read_int(low, high, step),
    "IntLogUniformDistribution": lambda low, high, step=1: _read_int(low, high, step, True),
}


def read_call(call: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Parameter:
    """The parameter that a suggest call draws, its name left out.

    >>> read_call("suggest_float", (1e-6, 1e-4), {"log": True})
    Float(1e-06, 0.0001, log=True)
    """
    reader = READERS.get(call) if isinstance(call, str) else None
    if reader is None:
        reject(f"{short_repr(call)} is no suggest call of Optuna", f"one of {', '.join(sorted(READERS))}")
    return parse_call(reader, call, args, kwargs, hint="see Optuna's signature")


def read(calls: Sequence[Any]) -> SearchSpace:
    """The space of a list of calls, as a spec has them; `args` may stand beside `kwargs`."""
    return build_space("Optuna", parse_entries("Optuna", _read_entry, [(_name(call), call) for call in calls]))


def _name(call: Any) -> Any:
    return call.get("name") if isinstance(call, Mapping) else call


def _read_entry(call: Any) -> Parameter:
    if not isinstance(call, Mapping):
        reject(f"{short_repr(call)} is no suggest call", 'write {"name": …, "call": "suggest_float", "kwargs": {…}}')
    parameter: Any = read_call(call.get("call", ""), call.get("args", ()), call.get("kwargs"))
    if "when" not in call:
        return parameter  # type: ignore[no-any-return]
    when = tuple(
        each._replace(values=tuple(json_data("its condition names", value, "a JSON value") for value in each.values))
        for each in parse_condition(call.get("when"))
    )
    return replace(parameter, when=when) if when else parameter  # type: ignore[no-any-return]


def read_distributions(distributions: Mapping[str, Any]) -> SearchSpace:
    """The space of a dict of Optuna distributions."""
    return build_space("Optuna", parse_entries("Optuna", _read_distribution, distributions.items()))


def _read_distribution(distribution: Any) -> Parameter:
    if not _is_distribution(distribution):
        reject(f"{short_repr(distribution)} is no distribution of Optuna")
    return read_call(type(distribution).__name__, (), distribution._asdict())


SPACE = "hpcompat: space"
"""The attribute of a study that `SearchResult.to_optuna` made: the space, as the trials hold encoded values."""


def read_study(study: Any) -> SearchSpace:
    """The space that every trial of a study was drawn from.

    Raises `TranslationError` where trials differ: what made a parameter active is not recorded.
    """
    found: dict[str, Any] = {}
    if own := getattr(study, "user_attrs", {}).get(SPACE):
        return SearchSpace.from_dict(own)
    trials = list(study.trials)
    if not all(isinstance(getattr(trial, "distributions", None), Mapping) for trial in trials):
        reject(f"expected a study of Optuna, got {short_repr(study)}", "give a study; a SearchResult has its .space")
    trials = [trial for trial in trials if trial.distributions]

    def one(name: str) -> Parameter:
        if not all(name in trial.distributions for trial in trials):
            reject(
                "is not in every trial, and a study does not say when it is",
                "read the function that suggests",
            )
        # Optuna's distributions of lists or dicts have no hash, and to them 1 and True are one choice
        parameters = [_read_distribution(trial.distributions[name]) for trial in trials]
        if invalid := next((parameter for parameter in parameters if parameter.issues), None):
            return invalid
        if len(set(parameters)) > 1:
            reject("has a different range in different trials", "read the function that suggests")
        return parameters[0]

    for trial in trials:
        found |= dict.fromkeys(trial.distributions)
    if not found:
        reject("the study has no trials to read a space from", "read the function that suggests")
    return build_space("Optuna", parse_entries("Optuna", one, [(name, name) for name in found]))


def accepts(source: Any) -> bool:
    """Whether a search space is Optuna's.

    It is a function of a trial, a list of suggest calls, a dict of distributions alone, or a study or a
    trial, which have distributions to show.
    """
    if isinstance(source, (list, tuple)):
        return any(isinstance(each, Mapping) and isinstance(each.get("call"), str) for each in source)
    if isinstance(source, Mapping):
        return bool(source) and all(map(_is_distribution, source.values()))
    if isinstance(source, type):
        return False
    has_distributions = isinstance(getattr(source, "distributions", None), Mapping)
    return has_distributions or hasattr(source, "get_trials") or callable(source)


def _is_distribution(value: Any) -> bool:
    return type(value).__name__ in READERS and hasattr(value, "_asdict")


def from_optuna(thing: Any) -> SearchSpace:
    """The space of a define-by-run function, a list of calls, a dict of distributions, a Study or a trial.

    A function is read by running it some hundred times on trials of our own: see `define_by_run.space_of`.
    A range that the step does not divide ends where Optuna ends it, at the last step inside. Raises
    `TranslationError`.

    >>> def suggest(trial):
    ...     params = {"optim": trial.suggest_categorical("optim", ["adamw", "sgd"])}
    ...     if params["optim"] == "sgd":
    ...         params["momentum"] = trial.suggest_float("momentum", 0.0, 0.9)
    ...     return params
    >>> from_optuna(suggest)["momentum"]
    Float(0.0, 0.9, when={'optim': 'sgd'})
    """
    if isinstance(thing, Suggest):
        return read(thing.spec)
    if isinstance(thing, (list, tuple)):
        return read(thing)
    if isinstance(thing, Mapping):
        return read_distributions(thing)
    if hasattr(thing, "trials"):
        return read_study(thing)
    if isinstance(getattr(thing, "distributions", None), Mapping):
        if not thing.distributions:
            reject("the trial has drawn nothing yet", "give one that is finished, or the function that suggests")
        return read_distributions(thing.distributions)
    if callable(thing):
        from hpcompat.translators.define_by_run import space_of

        return space_of(thing)
    reject(
        f"{short_repr(thing)} is no space of Optuna",
        "give a function, a list of calls, distributions, a study or a trial",
    )


_DEFAULTS = ("TPESampler", "NSGAIISampler", "MedianPruner", "NopPruner")
"""What a study has where nobody has said otherwise, and what a search without a pruner has."""


def read_settings(study: Any) -> SearchSettings:
    """What a study says besides its trials. Every study has a sampler and a pruner: the usual ones say nothing."""
    directions = tuple(direction.name.lower() for direction in study.directions)
    sampler, pruner = (type(getattr(study, name, None)).__name__ for name in ("sampler", "pruner"))
    unused = {"sampler": sampler, "pruner": pruner}
    return SearchSettings(
        dialect="optuna",
        # of a single objective it is create_study's default
        directions=() if directions == ("minimize",) else directions,
        metrics=tuple(getattr(study, "metric_names", None) or ()),
        sampler="random" if sampler == "RandomSampler" else None,
        terms={"compute_objective": "metric_names"},
        unused={name: kind for name, kind in unused.items() if kind not in (*_DEFAULTS, "RandomSampler", "NoneType")},
    )
