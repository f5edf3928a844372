"""`as_space`: read a search space of any dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, NoReturn

from hpcompat.errors import Issue, SpaceError, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import is_scalar, short_repr
from hpcompat.translators import documents
from hpcompat.translators.dialect import BUILT_IN, DIALECTS, Dialect, SearchSettings
from hpcompat.translators.optuna.define_by_run import takes_no_trial
from hpcompat.translators.optuna.define_by_run.instrumentation import MESSAGE, describe_value
from hpcompat.translators.optuna.define_by_run.instrumentation import unreadable_error as refuse_function
from hpcompat.translators.parsing import file_hint, nested_entries

_HINT = "give a SearchSpace, a sweep, a list of SigOpt parameters, a dict of Ray domains, or a function of a trial"
_EXPERIMENT_KEYS = frozenset({"program", "method", "metric", "metrics", "early_terminate", "observation_budget"})


def as_space(thing: object) -> SearchSpace:
    """Return the canonical space of anything that describes one.

    | given | read as |
    |---|---|
    | a SearchSpace, a dict of Float, Int, …, what `to_dict` wrote | itself |
    | a sweep, a dict of its parameters | W&B |
    | a list of parameters, a dict with such a list | SigOpt |
    | a dict with domains, grid_search or domain calls in it | Ray |
    | a list of suggest calls, a dict of distributions, a Study, a trial | Optuna |
    | a function of a trial that suggests | Optuna |
    | a function of a trial that returns any of these, as transformers' hp_space does | whatever it returns |
    | a function that takes no trial | what it returns |
    | an empty dict, or a function that returns one | an empty space: everything is suggested as a trial runs |

    Text is read as JSON or, with PyYAML, as YAML first. Structure and types decide which system it belongs to, never
    a name: a sweep may have a parameter called "grid_search".

    Raises:
        TranslationError: No system fits, several do, or the one that fits cannot read it.

    >>> as_space(lambda trial: [{"name": "lr", "type": "double", "bounds": {"min": 0.1, "max": 1.0}}])
    SearchSpace({'lr': Float(0.1, 1.0)})
    """
    if isinstance(thing, SearchSpace):
        return thing
    if isinstance(thing, (str, bytes)):
        return as_space(_parse_text(thing))
    if isinstance(thing, Mapping):
        if not thing:  # a trainer's own functions may suggest everything as the trial runs
            return SearchSpace()
        if type(thing.get("hpcompat")) is int and isinstance(thing.get("space"), Mapping):
            return SearchSpace.from_dict(thing)
        if _has_parameters(thing):
            return SearchSpace(thing)
    elif callable(thing) and not isinstance(thing, type):
        returned = call_without_trial(thing)
        if returned is not None:
            return as_space(returned)
    return _read(thing)


def _read(thing: object) -> SearchSpace:
    """Read what exactly one dialect accepts; those of other packages are asked if no built-in one does."""
    dialects = _accepting(thing)
    if len(dialects) == 1:
        return dialects[0].read(thing)
    raise _ambiguous(thing, dialects) if dialects else _unknown(thing)


def _accepting(thing: object) -> list[Dialect]:
    built_in = [DIALECTS[name] for name in BUILT_IN if DIALECTS[name].accepts(thing)]
    return built_in or [DIALECTS[name] for name in DIALECTS if name not in BUILT_IN and _accepts(DIALECTS[name], thing)]


def _accepts(dialect: Dialect, thing: object) -> bool:
    try:
        return dialect.accepts(thing)
    except Exception as error:
        message = f"the dialect {dialect.name!r} failed: {type(error).__name__}: {error}"
        raise TranslationError(message, [Issue("", f"its accepts() raised for {short_repr(thing)}")]) from error


def _parse_text(text: str | bytes) -> object:
    data = documents.parse_document(text)
    if isinstance(data, (Mapping, list)):
        return data
    raise _unknown(text)


class _TrialUsed(Exception):
    pass


class _ProbeTrial:
    """A trial that raises when it is used."""

    def __getattr__(self, name: str) -> NoReturn:
        raise _TrialUsed(name)

    def __getitem__(self, name: str) -> NoReturn:
        raise _TrialUsed(name)


def call_without_trial(function: Callable[..., object]) -> object:
    """Return what a function gives without its trial; None where it looks at the trial, or gives a function."""
    if takes_no_trial(function):
        return _call_without_argument(function)
    returned = _call_with_probe(function)
    return None if callable(returned) and not _is_suggest_function(returned) else returned


def _call_with_probe(function: Callable[..., object]) -> object:
    """Return what a function of a trial returns without using the trial; None if it does use it."""
    try:
        return function(_ProbeTrial())
    except Exception:  # whatever it is, reading the function for real will say it better
        return None


def _call_without_argument(function: Callable[..., object]) -> object:
    """Return what a function without a trial returns: data, for functions that return functions may never end."""
    try:
        returned = function()
    except Exception as error:
        raise TranslationError(MESSAGE, [Issue("", f"it raised {type(error).__name__}: {error}")]) from error
    if returned is None or (callable(returned) and not _is_suggest_function(returned)):
        raise refuse_function("", f"it takes no trial and returns {describe_value(returned)}", "return the space")
    return returned


def _is_suggest_function(value: object) -> bool:
    """Return whether this is what `to_optuna` returns, which is read without calling it."""
    return hasattr(value, "spec") and hasattr(value, "translation")


def _ambiguous(thing: object, dialects: Iterable[Dialect]) -> TranslationError:
    readers = [
        f"from_{dialect.name}" if dialect.name in BUILT_IN else f"DIALECTS[{dialect.name!r}].read"
        for dialect in dialects
    ]
    names = " and ".join(readers)
    reason = f"expected a search space of one system, got {short_repr(thing)}, which {names} accept"
    return TranslationError(
        "the system of this search space is ambiguous", [Issue("", reason, "call the one you mean")]
    )


def _unknown(thing: object) -> TranslationError:
    issues: Sequence[Issue] = ()
    if isinstance(thing, (str, bytes, PathLike)):
        hint = file_hint(thing)
    elif isinstance(thing, Mapping) and _EXPERIMENT_KEYS & thing.keys():
        hint = 'a sweep has a dict, and an experiment a list, under "parameters"'
    else:
        hint = _HINT
        issues = _plain_issues(thing) if isinstance(thing, Mapping) else ()
    return TranslationError(
        "not a search space", issues or [Issue("", f"cannot interpret {short_repr(thing)} as a search space", hint)]
    )


def _plain_issues(thing: Mapping[str, object]) -> Sequence[Issue]:
    """Return what to write instead of plain lists and values, where there is nothing else."""
    plain = all(isinstance(value, (list, tuple)) or is_scalar(value) for value in thing.values())
    try:
        SearchSpace(thing if plain else {})
    except SpaceError as error:
        return error.issues
    return ()


# -- beside the space -------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpaceSource:
    """A space, and the settings that stood beside it."""

    space: SearchSpace
    settings: SearchSettings = field(default_factory=SearchSettings)


def resolve_source(source: object) -> Any:
    """Return the data or the object that describes a space: parsed text, or what a function returns.

    >>> resolve_source(lambda trial: [{"name": "x", "type": "int"}]), resolve_source('{"parameters": {}}')
    ([{'name': 'x', 'type': 'int'}], {'parameters': {}})
    """
    if isinstance(source, (str, bytes)):
        return documents.parse_document(source)
    if type(source).__module__.startswith("sigopt.") and hasattr(source, "to_json"):  # the client's Experiment
        return source.to_json()
    if callable(source) and not isinstance(source, type) and not isinstance(source, Mapping):
        returned = call_without_trial(source)
        return source if returned is None else returned
    return source


def beside(document: object, dialect: str | None = None) -> tuple[dict[str, Any], str]:
    """Return what stands beside the parameters in a dialect's own object, and the dialect's name; "" if nothing can.

    Args:
        document: A sweep, an experiment, …
        dialect: The name of its dialect, where that is known.

    >>> beside({"method": "grid", "parameters": {"x": {"values": [1, 2]}}})
    ({'method': 'grid'}, 'wandb')
    """
    if isinstance(document, SearchSpace):
        return {}, ""
    names: Iterable[str] = DIALECTS if dialect is None else [dialect] if dialect in DIALECTS else []
    for name in names:
        if (extra := DIALECTS[name].extra_settings(document)) is not None:
            return extra, name
    return {}, ""


def settings_of(document: object) -> SearchSettings:
    """Return the settings that stand beside a space in what it was read from, see `resolve_source`.

    Raises:
        TranslationError: The object's own system would not take them as they are meant.

    >>> sweep = {"method": "grid", "metric": {"name": "acc", "goal": "maximize"}, "parameters": {"x": {"values": [1]}}}
    >>> settings = settings_of(sweep)
    >>> settings.sampler, settings.directions, settings.metrics
    ('grid', ('maximize',), ('acc',))
    """
    if isinstance(document, Mapping) and _has_parameters(document):
        return SearchSettings()
    for name in BUILT_IN:
        if (settings := DIALECTS[name].read_settings(document)).dialect:
            return settings
    others = [dialect for dialect in _accepting(document) if dialect.name not in BUILT_IN]
    return others[0].read_settings(document) if others else SearchSettings()


def _has_parameters(mapping: Mapping[str, object]) -> bool:
    """Return whether this is a dict of hpcompat's parameters, groups included."""
    return any(isinstance(entry, (Parameter, SearchSpace)) for entry in nested_entries(mapping))
