"""Whose space is it? `as_space` reads whatever any of the four readers reads."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from hpcompat.errors import Fault, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import show
from hpcompat.translators import documents
from hpcompat.translators.optuna import Suggest, from_optuna
from hpcompat.translators.ray import from_ray
from hpcompat.translators.sigopt import from_sigopt
from hpcompat.translators.wandb import from_wandb

_HINT = "give a SearchSpace, a sweep, a list of SigOpt parameters, a dict of Ray domains, or a function of a trial"
_BESIDE = frozenset({"program", "method", "metric", "metrics", "early_terminate", "observation_budget"})
_WANDB_KEYS = frozenset({"distribution", "value", "values", "min", "max", "mu", "parameters"})


def as_space(thing: Any) -> SearchSpace:
    """The canonical space of anything that describes one, whoever's it is.

    | given | read as |
    |---|---|
    | a SearchSpace, a dict of Float, Int, …, what `to_dict` wrote | itself |
    | a sweep, a dict of its parameters | W&B |
    | a list of parameters, a dict with such a list | SigOpt |
    | a dict with domains, grid_search or domain calls in it | Ray |
    | a list of suggest calls, a dict of distributions, a Study, a trial | Optuna |
    | a function of a trial that suggests | Optuna |
    | a function of a trial that returns any of these, as transformers' hp_space does | whatever it returns |
    | an empty dict, or a function that returns one | an empty space: everything is suggested as a trial runs |

    Text is read as JSON or, with PyYAML, as YAML first. Raises `TranslationError` where nothing fits, or
    what fits cannot be read.

    >>> as_space(lambda trial: [{"name": "lr", "type": "double", "bounds": {"min": 0.1, "max": 1.0}}])
    SearchSpace({'lr': Float(0.1, 1.0)})
    """
    if isinstance(thing, SearchSpace):
        return thing
    if isinstance(thing, (str, bytes)):
        return as_space(_data(thing))
    if isinstance(thing, Mapping):
        return _from_mapping(thing)
    if isinstance(thing, (list, tuple)):
        if not thing:
            raise _unknown(thing)
        calls = any(isinstance(each, Mapping) and "call" in each for each in thing)
        return from_optuna(thing) if calls else from_sigopt(thing)
    if hasattr(thing, "trials") or hasattr(thing, "distributions"):
        return from_optuna(thing)
    if callable(thing) and not isinstance(thing, type):
        returned = _untouched(thing)
        data = isinstance(returned, Suggest) or (returned is not None and not callable(returned))
        return as_space(returned) if data else from_optuna(thing)
    raise _unknown(thing)


def _data(text: str | bytes) -> Any:
    data = documents.load(text)
    if isinstance(data, (Mapping, list)):
        return data
    raise _unknown(text)


def _from_mapping(thing: Mapping[str, Any]) -> SearchSpace:
    if not thing:  # a trainer's own functions may suggest everything as the trial runs
        return SearchSpace()
    if "hpcompat" in thing and not isinstance(thing["hpcompat"], Mapping):
        return SearchSpace.from_dict(thing)
    values = list(thing.values())
    if any(isinstance(value, (Parameter, SearchSpace)) for value in values):
        return SearchSpace(thing)
    parameters = thing.get("parameters")
    if isinstance(parameters, (list, tuple)):
        return from_sigopt(thing)
    if isinstance(parameters, Mapping) and not _is_ray(thing, 0):
        return from_wandb(thing)
    if values and all(type(value).__name__.endswith("Distribution") for value in values):
        return from_optuna(thing)
    if _is_ray(thing, 0):
        return from_ray(thing)
    if values and all(isinstance(value, Mapping) and _WANDB_KEYS & value.keys() for value in values):
        return from_wandb({"parameters": thing})
    if any(isinstance(value, Mapping) for value in values) and _is_space(thing, 0):
        return SearchSpace(thing)
    raise _unknown(thing)


def _is_ray(thing: Any, depth: int) -> bool:
    if hasattr(thing, "get_sampler"):
        return True
    if not isinstance(thing, Mapping) or depth > 100:
        return False
    if "grid_search" in thing or "eval" in thing or ("call" in thing and "args" in thing):
        return True
    return any(_is_ray(value, depth + 1) for value in thing.values())


def _is_space(thing: Any, depth: int) -> bool:
    if isinstance(thing, Mapping) and depth < 100:
        return any(_is_space(value, depth + 1) for value in thing.values())
    return isinstance(thing, Parameter)


class _Touched(Exception):
    pass


class _Probe:
    """A trial that only tells whether anyone looks at it."""

    def __getattr__(self, name: str) -> Any:
        raise _Touched(name)

    def __getitem__(self, name: str) -> Any:
        raise _Touched(name)


def _untouched(function: Any) -> Any:
    """What a function of a trial returns without looking at the trial; None if it does look."""
    try:
        return function(_Probe())
    except Exception:  # whatever it is, reading the function for real will say it better
        return None


def _unknown(thing: Any) -> TranslationError:
    if isinstance(thing, (str, bytes, PathLike)):
        hint = "give the text of a file itself: Path(…).read_text()"
    elif isinstance(thing, Mapping) and _BESIDE & thing.keys():
        hint = 'a sweep has a dict, and an experiment a list, under "parameters"'
    else:
        hint = _HINT
    return TranslationError("this is no search space", [Fault("", f"{show(thing)} is none that is known", hint)])
