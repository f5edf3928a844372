"""What is wrong with a search before it starts: everything found, nothing begun."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

from hpcompat.backends import BACKENDS, Backend, known
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.objectives import is_trainer
from hpcompat.objectives.trainer_validation import trainer_issues
from hpcompat.objectives.trial_context import Setting
from hpcompat.space.values import pluralize, short_repr
from hpcompat.trials.config import Plan
from hpcompat.trials.result import SearchResult
from hpcompat.trials.run_dirs import KEEP
from hpcompat.trials.trial import COMPLETE, STATES, Trial
from hpcompat.tuning.request import REFUSAL


def given(
    trainer: Any, history: SearchResult | Iterable[Trial] | None, callbacks: Iterable[Callable[[Trial], Any]]
) -> tuple[tuple[Trial, ...], tuple[Callable[[Trial], Any], ...]]:
    """The trials of the history, and the callbacks. Raises `SearchError` for what is none.

    >>> given(len, None, [len])
    ((), (<built-in function len>,))
    """
    issues = []
    if isinstance(trainer, Mapping):
        hint = "the space comes second: search(trainer, space)"
        issues.append(Issue("trainer", f"is {type(trainer).__name__}", hint))
    past = history.trials if isinstance(history, SearchResult) else _several(history)
    if odd := [each for each in past if not isinstance(each, Trial)]:
        issues.append(
            Issue("history", f"{short_repr(odd[0])} is no Trial", "give a SearchResult, or some of its trials")
        )
    listed = _several(callbacks)
    if not all(map(callable, listed)) or callable(callbacks):
        issues.append(Issue("callbacks", f"is {short_repr(callbacks)}", "give a list of functions of a Trial"))
    elif odd := [callback for callback in listed if not _takes_one(callback)]:
        hint = "give functions of one argument, the finished Trial; Optuna's take (study, trial)"
        issues.append(Issue("callbacks", f"{short_repr(odd[0])} cannot be called with one argument", hint))
    if issues:
        raise SearchError(REFUSAL, issues)
    return past, listed


def _takes_one(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with one argument; yes where Python cannot say.

    >>> _takes_one(print), _takes_one(lambda trial, log=None: None), _takes_one(lambda study, trial: None)
    (True, True, False)
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some built-in functions
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def as_path(output_dir: Any) -> str | None:
    """A path as text, with ~ written out. Raises `SearchError` for what names no directory.

    >>> as_path(None), as_path("runs")
    (None, 'runs')
    """
    if output_dir is None:
        return None
    path = os.fspath(output_dir) if isinstance(output_dir, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path:
        hint = "give the path of a directory"
        raise SearchError(REFUSAL, [Issue("output_dir", f"is {short_repr(output_dir)}", hint)])
    return os.path.expanduser(path)


def whole(number: Any) -> Any:
    """An int where it is one of numpy's; else as it is, for `check` to see.

    >>> whole(3), whole(2.5), whole(True)
    (3, 2.5, True)
    """
    return number.__index__() if hasattr(number, "__index__") and not isinstance(number, bool) else number


def _several(thing: Any) -> tuple[Any, ...]:
    return () if thing is None else tuple(thing) if isinstance(thing, Iterable) else (thing,)


def check(
    trainer: Any, plan: Plan, setting: Setting, engine: Backend, keep: str | None, found: Iterable[Issue] = ()
) -> None:
    """Raise `BackendError` for what the backend cannot do, `SearchError` for everything else, and what was `found`."""
    if issues := list(_backend_issues(plan, engine)):
        raise BackendError(f"the {engine.name} backend cannot do this", issues)
    issues = [*found, *_request_issues(plan, setting, engine, keep), *_history_issues(plan)]
    if is_trainer(trainer):
        issues += trainer_issues(trainer, plan, setting)
    elif not callable(trainer):
        kind = type(trainer).__name__
        issues.append(Issue("trainer", f"is {kind}", "give a transformers Trainer, or a function of a trial"))
    if issues:
        raise SearchError(REFUSAL, issues)


def _backend_issues(plan: Plan, engine: Backend) -> Iterator[Issue]:
    named = (("sampler", plan.sampler, engine.samplers), ("pruner", plan.pruner, engine.pruners))
    for what, given, names in named:
        if isinstance(given, str) and given not in names:
            able = [other.name for other in BACKENDS.values() if given in (*getattr(other, f"{what}s"), *other.aliases)]
            elsewhere = f"; {' and '.join(able)} can" if able else ""
            hint = known(given, names) if names else "leave it out"
            yield Issue(what, f"there is no {given!r}", hint + elsewhere)
    if len(plan.directions) > engine.most_objectives:
        able = [other.name for other in BACKENDS.values() if len(plan.directions) <= other.most_objectives]
        reason = f"it has at most {engine.most_objectives} objectives"
        yield Issue("direction", reason, f"{' and '.join(able)} take more")
    if len(plan.directions) > 1 and plan.pruner is not None:
        yield Issue("pruner", "a search with several objectives cannot be pruned", "leave pruner out")


def _request_issues(plan: Plan, setting: Setting, engine: Backend, keep: str | None) -> Iterator[Issue]:
    if type(plan.n_trials) is not int or plan.n_trials < 1:
        yield Issue("n_trials", f"is {plan.n_trials!r}", "give an int of at least 1")
    if plan.seed is not None and (isinstance(plan.seed, bool) or not hasattr(plan.seed, "__index__")):
        yield Issue("seed", f"is {plan.seed!r}", "give an int, or None")
    is_time = isinstance(plan.timeout, Real) and not isinstance(plan.timeout, bool) and plan.timeout > 0
    if plan.timeout is not None and not is_time:
        yield Issue("timeout", f"is {plan.timeout!r}", "give a number of seconds above 0, or None")
    if keep not in (None, *KEEP):
        yield Issue("keep", f"is {keep!r}", known(keep, KEEP))
    if plan.resume and plan.output_dir is None and not engine.stored(plan.options):
        stores = "".join(f", or {name}=" for name in engine.stores)
        yield Issue("resume", "there is no journal to go on from", f"give output_dir={stores}")
    if setting.hp_name is not None and not callable(setting.hp_name):
        yield Issue("hp_name", f"is {type(setting.hp_name).__name__}", "give a function")
    names = setting.compute_objective
    if isinstance(names, tuple) and not all(isinstance(name, str) for name in names):
        yield Issue("compute_objective", f"is {short_repr(list(names))}", "give a function, or names of metrics")
    elif isinstance(names, tuple) and len(names) != len(plan.directions):
        reason = f"names {pluralize(len(names), 'metric')} for {pluralize(len(plan.directions), 'direction')}"
        yield Issue("compute_objective", reason, "name one for each direction")
    elif names is not None and not isinstance(names, tuple) and not callable(names):
        yield Issue("compute_objective", f"is {type(names).__name__}", "give a function, or the name of a metric")


def _history_issues(plan: Plan) -> Iterator[Issue]:
    """What is wrong with the history, each thing once, with the trials that it is wrong with."""
    numbers: dict[str, list[int]] = {}
    for trial in plan.history:
        found = list(map(str, plan.space.find_issues(trial.params)))
        numbers_given = isinstance(trial.values, (tuple, list)) and all(
            isinstance(value, Real) and not math.isnan(value) for value in trial.values
        )
        if trial.state not in STATES:
            found.append(f"has the state {trial.state!r}, which is not one of {', '.join(STATES)}")
        elif not numbers_given and (trial.values is not None or trial.state == COMPLETE):
            found.append(f"has the values {trial.values!r}, which are not a tuple of numbers")
        elif trial.values is not None and len(trial.values) != len(plan.directions):
            directions = pluralize(len(plan.directions), "direction")
            found.append(f"has {pluralize(len(trial.values), 'value')} for {directions}")
        for issue in found:
            numbers.setdefault(issue, []).append(trial.number)
    for issue, hit in numbers.items():
        yield Issue(f"history: trial{'s' * (len(hit) > 1)} {', '.join(map(str, hit))}", issue)
