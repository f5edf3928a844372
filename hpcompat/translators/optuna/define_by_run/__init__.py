"""The search space inside a define-by-run function: `def suggest(trial): …; return params`.

| module | |
|---|---|
| this one | `space_of`: a function's space, put together from what was found, and checked against the function |
| `explorer` | which draws decide what else is suggested and returned |
| `replay` | the function called with chosen draws; what the runs say of conditions, and what contradicts itself |
| `tracer` | one call: the trial that the function gets, and the dict that came back |
| `instrumentation` | draws that remember what they are compared with |
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from hpcompat.errors import HpcompatError, Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Constant, Parameter
from hpcompat.space.tree import set_at_path
from hpcompat.space.values import short_repr, strict_key
from hpcompat.translators.optuna.define_by_run.explorer import Explorer, entry_name
from hpcompat.translators.optuna.define_by_run.instrumentation import (
    MESSAGE,
    InexpressibleError,
    InstrumentationError,
    describe_value,
    inexpressible_error,
    unreadable_error,
)
from hpcompat.translators.optuna.define_by_run.replay import Conditions
from hpcompat.translators.optuna.define_by_run.tracer import Choose, Path
from hpcompat.translators.optuna.forms import read_call

SEARCH_AS_IT_IS = """\
the Optuna backend searches it as it is, with an empty space: an objective that returns numbers by \
hp.search(objective, {{}}, backend="optuna"), an hp_space by a function trial -> Trainer:
    def make_trainer(trial):
        trainer = Trainer(args=args, model_init=model_init, train_dataset=train_dataset, eval_dataset=eval_dataset)
        return hp.with_params(trainer, {hp_space}(trial))
    result = hp.search(make_trainer, {{}}, backend="optuna")"""
"""The way out for a function that suggests what no space can say: `args`, `model_init`, … are the caller's own."""
N_CHECKS = 50
_ANY_VALUE: frozenset[Hashable] = frozenset((object(),))  # a subset of no set of values


def space_of(function: Callable[..., object], *, runs: int = 20_000, seed: int = 0) -> SearchSpace:
    """Return the space of an Optuna-style function that suggests and returns params; Optuna is not needed.

    The function is called some hundred times (never more than `runs`) with a trial of our own; it
    must do nothing but suggest, and the same for the same draws.

    - A parameter bears the name of the key it is returned under; nested dicts are groups. A draw
      that is returned nowhere keeps the name it was suggested under: it may steer a branch. So does
      every draw of a function that returns None. What is returned and was not suggested is a
      Constant. What is worked out from one discrete draw that is returned nowhere, and is another
      value for each of its values (2 ** trial.suggest_int(…)), is a Categorical of these.
    - Branches and loops become conditions: comparisons are traced, and draws of up to 1,000 values
      are moved through them. A condition names the nearest parents alone.
    - The space is then checked against the function on random draws of it: verified, not proven. A
      branch that hardly any draw takes, and that depends on no comparison of numbers or strings, can be
      missed.

    Raises `TranslationError` for an objective, a value worked out from a continuous draw (10**x) or from
    one that is returned too (32 // batch), a range that depends on a draw, one name with two ranges, a
    condition that is not a conjunction of value sets, a branch on a continuous draw, and for a function that
    raises or does not repeat itself. Where a search could run the function as it is, the error says how.

    >>> def suggest(trial):
    ...     params = {"layers": trial.suggest_int("n", 1, 3)}
    ...     for i in range(params["layers"]):
    ...         params[f"units_{i}"] = trial.suggest_int(f"units_{i}", 16, 64, log=True)
    ...     return params
    >>> space_of(suggest)["units_1"]
    Int(16, 64, log=True, when={'layers': [2, 3]})
    """
    if not callable(function):
        raise unreadable_error("", f"{describe_value(function)} is not a function", "give a function of a trial")
    if takes_no_trial(function):
        hint = "let it take the trial (def hp_space(trial)); as_space calls a function that takes none"
        raise unreadable_error("", "it takes no trial", hint)
    traced = Explorer(function, read_call, runs, seed, instrumented=True)
    try:
        try:
            return _space(traced, seed)
        except InstrumentationError:
            return _space(Explorer(function, read_call, runs - traced.replay.runs, seed, instrumented=False), seed)
    except InexpressibleError as error:
        name = getattr(function, "__name__", "")
        way_out = SEARCH_AS_IT_IS.format(hp_space=name if name.isidentifier() else "hp_space")
        raise TranslationError(error.message, [*error.issues, Issue("", way_out)]) from error.__cause__


def takes_no_trial(function: Callable[..., object]) -> bool:
    """Return whether a function is to be called without a trial.

    >>> takes_no_trial(lambda: {}), takes_no_trial(lambda trial: {}), takes_no_trial(lambda trial=None: {})
    (True, False, False)
    """
    try:
        signature = inspect.signature(function)
        signature.bind()
    except (TypeError, ValueError):  # it takes more, or does not say what it takes
        return False
    try:
        signature.bind(None)
    except TypeError:
        return True
    return False


def _space(found: Explorer, seed: int) -> SearchSpace:
    found.explore()
    found.replay.complete_derived_values()
    if found.replay.returns_none and not found.replay.parameters:
        raise unreadable_error("", "it suggests nothing and returns nothing", "give a function that returns the params")
    places = _assign_paths(found)
    space = _build(found, places)
    _check(found, space, places, seed)
    return space


def _assign_paths(found: Explorer) -> dict[str, Path]:
    """Return the path of each draw in the space: that of the key it is returned under, or its own name."""
    places: dict[str, Path] = {}
    sources_of = {
        path: sources for path, sources in found.replay.sources.items() if path not in found.replay.derived_values
    }
    for path, sources in sorted(sources_of.items(), key=lambda item: len(item[1])):  # the certain first
        draws = sorted(name for name in sources if isinstance(name, str))
        steady = len(draws) < len(sources)  # a constant explains it too: then so does no draw but of a single value
        free = [n for n in draws if n not in places and not (steady and found.replay.parameters[n].size > 1)]
        if free:
            places[path[-1] if path[-1] in free else free[0]] = path
        elif not steady:
            reason = f"is the same draw as {entry_name(places[draws[0]])!r}"
            hint = "return a draw under one key, and copy it where the params are used"
            raise inexpressible_error(entry_name(path), reason, hint)
    for path, derived in found.replay.derived_values.items():
        if derived.draw in places:  # it is returned too, or two values are worked out from it
            raise derived.error
        places[derived.draw] = path
    taken = {path[0] for path in found.replay.sources}
    for name in found.replay.parameters:
        if name not in places and name in taken:
            reason = "is suggested and not returned, while something else is returned under its name"
            raise inexpressible_error(name, reason, "return it too, or suggest it under another name")
        places.setdefault(name, (name,))
    return places


def _build(found: Explorer, places: Mapping[str, Path]) -> SearchSpace:
    replay, conditions = found.replay, found.model.conditions
    values_by_draw = {derived.draw: derived.values for derived in replay.derived_values.values()}
    needs = {name: conditions[place if place in replay.sources else name] for name, place in places.items()}
    leaves: dict[Path, tuple[Parameter, Conditions]] = {
        places[name]: (
            _derived_categorical(parameter, values_by_draw[name]) if name in values_by_draw else parameter,
            needs[name],
        )
        for name, parameter in replay.parameters.items()
    }
    groups = {path[:depth] for path in replay.sources for depth in range(1, len(path))}
    for path in replay.sources:
        value = replay.first[path].value(path)
        if path in groups and (path in leaves or value != {}):  # {} is a group with nothing in it
            reason = "is a value for some draws and a dict for others"
            raise inexpressible_error(entry_name(path), reason, "give one of them a key of its own")
        if path not in leaves and path not in groups:
            leaves[path] = Constant(value), conditions[path]
    entries: dict[str, Any] = {}
    for path, (parameter, own) in leaves.items():
        when = {
            entry_name(places[name]): [
                value for key, value in values_by_draw.get(name, replay.values_by_key[name]).items() if key in own[name]
            ]
            for name in replay.parameters
            if name in own and not _is_implied(name, own, needs)
        }
        set_at_path(entries, path, parameter.with_when(when) if when else parameter)
    try:
        return SearchSpace(entries)
    except HpcompatError as error:
        raise TranslationError(MESSAGE, error.issues) from None


def _derived_categorical(parameter: Parameter, values: Mapping[Hashable, object]) -> Categorical:
    """Return the values that are computed from a draw, in the order of the draws."""
    choices = [values[strict_key(value)] for value in parameter.support or ()]
    return Categorical(choices, ordered=parameter.kind != "categorical")


def _is_implied(name: str, own: Conditions, needs: Mapping[str, Conditions]) -> bool:
    """Return whether this condition is met whenever another parent is active."""
    return any(other != name and needs[other].get(name, _ANY_VALUE) <= own[name] for other in own)


def _check(found: Explorer, space: SearchSpace, places: Mapping[str, Path], seed: int) -> None:
    """Replay draws of the space through the function."""
    rng = random.Random(f"check {seed}")
    sources = found.replay.sources
    paths = {leaf.name: leaf.path for leaf in space.leaves}
    in_space = frozenset(paths.values())
    behind = {
        derived.draw: {
            strict_key(derived.values[key]): value for key, value in found.replay.values_by_key[derived.draw].items()
        }
        for derived in found.replay.derived_values.values()
    }
    kept = [name for name, place in places.items() if place not in sources]
    for _ in range(N_CHECKS):
        flat = space.flatten(space.sample(rng))
        drawn = {name: flat[entry_name(place)] for name, place in places.items() if entry_name(place) in flat}
        drawn |= {name: values[strict_key(drawn[name])] for name, values in behind.items() if name in drawn}
        run = found.replay.run(_choose_from(drawn))
        expected = {paths[name]: strict_key(value) for name, value in flat.items() if paths[name] in sources}
        returned = {path: key for path, key in (run.params() or {}).items() if path in in_space}
        if expected != returned or any((name in drawn) is not (name in run.values) for name in kept):
            if found.replay.instrumented:
                raise InstrumentationError
            reason = f"its conditions cannot be told: what was found does not hold with {short_repr(drawn, 200)}"
            raise inexpressible_error("", reason, "make them plainer, or write the SearchSpace down")


def _choose_from(drawn: Mapping[str, object]) -> Choose:
    return lambda name, parameter: drawn[name] if name in drawn else parameter.quantile(0.5)


__all__ = ["space_of"]
