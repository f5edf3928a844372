"""Optuna: a function of the trial that makes the suggest calls.

The spec is a list of calls, parents first, as a person would write them:

    {"name": "lr", "call": "suggest_float", "kwargs": {"low": 1e-06, "high": 0.0001, "log": true}}
    {"name": "momentum", "call": "suggest_float", "kwargs": {…}, "when": {"optim": ["sgd"]}}

A constant is a call "constant", which asks the trial nothing. Conditions are native: the function
leaves out what is not active. Groups have dotted names, and the function nests them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeGuard

from hpcompat.errors import Issue, ParamsError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Parameter
from hpcompat.space.serialization import value_to_json
from hpcompat.space.values import short_repr
from hpcompat.translators import Translation, translate
from hpcompat.translators.capabilities import best_rule
from hpcompat.translators.codecs import FieldMapping
from hpcompat.translators.dialect import Dialect, NativeConditions, SearchSettings, Variant
from hpcompat.translators.optuna.forms import CAPABILITIES, FORMS, PROXY_FORMS, UNIT_PARENT, read_call
from hpcompat.translators.parsing import build_space, json_data, parse_condition, parse_entries, reject

_DEFAULTS = ("TPESampler", "NSGAIISampler", "MedianPruner", "NopPruner")
"""What a study has by default, and what a search without a pruner has."""


def read_settings(study: Any) -> SearchSettings:
    """Return the settings of a study. Every study has a sampler and a pruner: the default ones say nothing."""
    directions = tuple(direction.name.lower() for direction in study.directions)
    sampler, pruner = (type(getattr(study, name, None)).__name__ for name in ("sampler", "pruner"))
    unused = {"sampler": sampler, "pruner": pruner}
    return SearchSettings(
        dialect="optuna",
        noun="study",
        # of a single objective it is create_study's default
        directions=() if directions == ("minimize",) else directions,
        metrics=tuple(getattr(study, "metric_names", None) or ()),
        sampler="random" if sampler == "RandomSampler" else None,
        terms={"compute_objective": "metric_names"},
        unused={name: kind for name, kind in unused.items() if kind not in (*_DEFAULTS, "RandomSampler", "NoneType")},
    )


class OptunaDialect(Dialect):
    """The suggest calls of Optuna."""

    name = "optuna"
    title = "Optuna"
    noun = "study"
    variants: ClassVar[Mapping[str, Variant]] = {"optuna": Variant("optuna", "Optuna", CAPABILITIES, {}, UNIT_PARENT)}

    def native_conditions(self, space: SearchSpace) -> NativeConditions:
        """Return the parameters whose parents are all written as values that a condition can name."""
        conditional = [leaf for leaf in space.leaves if leaf.when]
        if not conditional:
            return NativeConditions()
        named = {leaf.name for leaf in space.leaves if best_rule(leaf.parameter, CAPABILITIES).form != "unit"}
        return NativeConditions(
            frozenset(leaf.name for leaf in conditional if all(parent in named for parent, _ in leaf.when))
        )

    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, object]) -> list[dict[str, Any]]:
        """Return the suggest calls, parents first."""
        by_name = {field.leaf.name: field for field in fields}
        calls: list[dict[str, Any]] = []
        for field in fields:
            if field.proxy is not None:
                name, arguments = field.write(FORMS, PROXY_FORMS)
                call = {"name": field.native_name, "call": name, "kwargs": arguments}
                if field.has_native_condition:
                    parents = [(by_name[parent], values) for parent, values in field.leaf.when]
                    call["when"] = {
                        parent.native_name: [value_to_json(parent.encode(value)) for value in values]
                        for parent, values in parents
                    }
                calls.append(call)
        return calls

    def accepts(self, source: object) -> bool:
        """Return whether this is Optuna's.

        That is a function of a trial, a list of suggest calls, a dict of distributions alone, or a study or a
        trial, which have distributions to show.
        """
        if isinstance(source, (list, tuple)):
            return any(isinstance(call, Mapping) and isinstance(call.get("call"), str) for call in source)
        if isinstance(source, Mapping):
            return bool(source) and all(map(_is_distribution, source.values()))
        if isinstance(source, type):
            return False
        has_distributions = isinstance(getattr(source, "distributions", None), Mapping)
        return has_distributions or hasattr(source, "get_trials") or callable(source)

    def read(self, source: object) -> SearchSpace:
        """See `from_optuna`."""
        return from_optuna(source)

    def read_settings(self, source: object) -> SearchSettings:
        """Return the settings of a study."""
        is_study = hasattr(source, "trials") and hasattr(source, "directions")
        return read_settings(source) if is_study else SearchSettings()


OPTUNA = OptunaDialect()


@dataclass(frozen=True)
class Suggest:
    """A function of a trial that suggests every active parameter and returns the params."""

    translation: Translation

    @property
    def spec(self) -> list[dict[str, Any]]:
        """The suggest calls that the function makes."""
        return self.translation.spec  # type: ignore[no-any-return]

    @cached_property
    def _calls(self) -> list[tuple[str, str, str, dict[str, Any], Callable[[object], object]]]:
        """For each parameter its name, the call (method, name, arguments), and the decoder of what that returns."""
        return [
            (field.leaf.name, call["call"], call["name"], call["kwargs"], field.make_decoder())
            for field, call in zip(self.translation.fields, self.spec, strict=True)
        ]

    @cached_property
    def _always(self) -> bool:
        """Whether every call is made in every trial."""
        return all(field.is_stored and not field.leaf.when for field in self.translation.fields)

    def __call__(self, trial: object) -> dict[str, Any]:
        return self.translation.space.nest((self._all if self._always else self._some)(trial))

    def _all(self, trial: object) -> dict[str, object]:
        flat: dict[str, object] = {}
        leaf = ""
        try:
            for leaf, method, name, arguments, decode in self._calls:
                flat[leaf] = decode(getattr(trial, method)(name, **arguments))
        except ParamsError as error:
            raise _out_of_space_error(leaf, error) from None
        return flat

    def _some(self, trial: object) -> dict[str, object]:
        flat: dict[str, object] = {}
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


def to_optuna(space: Mapping[str, object], *, encode: bool = False) -> Suggest:
    """Return a function `trial -> params` for `study.optimize`, `trial.suggest_*` calls and all.

    Args:
        space: A SearchSpace, or a dict of parameters.
        encode: Whether to encode what Optuna has no form for (weights, normal distributions, log with step, …); the
            function decodes it.

    Raises:
        TranslationError: A parameter has no exact form.

    >>> suggest = to_optuna({"lr": Float(1e-6, 1e-4, log=True)})
    >>> suggest.spec
    [{'name': 'lr', 'call': 'suggest_float', 'kwargs': {'low': 1e-06, 'high': 0.0001, 'log': True}}]
    """
    return Suggest(translate(space, "optuna", encode=encode))


# -- reading ----------------------------------------------------------------------------------------


def read(calls: Sequence[object]) -> SearchSpace:
    """Return the space of a list of calls, as a spec has them; `args` may stand beside `kwargs`."""
    return build_space("Optuna", parse_entries("Optuna", _read_entry, [(_name(call), call) for call in calls]))


def _name(call: object) -> object:
    return call.get("name") if isinstance(call, Mapping) else call


def _read_entry(call: object) -> Parameter:
    if not isinstance(call, Mapping):
        reject(f"{short_repr(call)} is not a suggest call", 'write {"name": …, "call": "suggest_float", "kwargs": {…}}')
    parameter = read_call(call.get("call", ""), call.get("args", ()), call.get("kwargs"))
    if "when" not in call:
        return parameter
    when = tuple(
        condition._replace(
            values=tuple(json_data("its condition names", value, "a JSON value") for value in condition.values)
        )
        for condition in parse_condition(call.get("when"))
    )
    return parameter.with_when(when) if when else parameter


def read_distributions(distributions: Mapping[str, object]) -> SearchSpace:
    """Return the space of a dict of Optuna distributions."""
    return build_space("Optuna", parse_entries("Optuna", _read_distribution, distributions.items()))


def _read_distribution(distribution: object) -> Parameter:
    if not _is_distribution(distribution):
        reject(f"{short_repr(distribution)} is not a distribution of Optuna")
    return read_call(type(distribution).__name__, (), distribution._asdict())


class Distribution(Protocol):
    """A distribution of Optuna."""

    def _asdict(self) -> dict[str, object]: ...


SPACE = "hpcompat: space"
"""The attribute of a study that `SearchResult.to_optuna` made: the space, as the trials hold encoded values."""


def read_study(study: Any) -> SearchSpace:
    """Return the space that every trial of a study was drawn from.

    Raises `TranslationError` where trials differ: what made a parameter active is not recorded.
    """
    found: dict[str, None] = {}
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


def _is_distribution(value: object) -> TypeGuard[Distribution]:
    return type(value).__name__ in FORMS and hasattr(value, "_asdict")


def from_optuna(source: Any) -> SearchSpace:
    """Return the space of a define-by-run function, a list of calls, a dict of distributions, a Study or a trial.

    A range that the step does not divide ends where Optuna ends it, at the last step inside.

    Args:
        source: One of these; a function is run some hundred times on trials of our own, see `define_by_run.space_of`.

    Raises:
        TranslationError: It cannot be read; with the reason for each parameter.

    >>> def suggest(trial):
    ...     params = {"optim": trial.suggest_categorical("optim", ["adamw", "sgd"])}
    ...     if params["optim"] == "sgd":
    ...         params["momentum"] = trial.suggest_float("momentum", 0.0, 0.9)
    ...     return params
    >>> from_optuna(suggest)["momentum"]
    Float(0.0, 0.9, when={'optim': 'sgd'})
    """
    if isinstance(source, Suggest):
        return read(source.spec)
    if isinstance(source, (list, tuple)):
        return read(source)
    if isinstance(source, Mapping):
        return read_distributions(source)
    if hasattr(source, "trials"):
        return read_study(source)
    if isinstance(getattr(source, "distributions", None), Mapping):
        if not source.distributions:
            reject("the trial has drawn nothing yet", "give one that is finished, or the function that suggests")
        return read_distributions(source.distributions)
    if callable(source):
        from hpcompat.translators.optuna.define_by_run import (
            space_of,  # half of the time that importing this module takes
        )

        return space_of(source)
    reject(
        f"{short_repr(source)} is not a space of Optuna",
        "give a function, a list of calls, distributions, a study or a trial",
    )
