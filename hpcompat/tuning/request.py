"""The arguments of a call of `search`: normalized, completed by the settings of a sweep or study, and validated."""

from __future__ import annotations

import inspect
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeVar

from hpcompat.backends import BACKENDS, BackendSpec
from hpcompat.errors import BackendError, Issue, SearchError, did_you_mean, expected_one_of
from hpcompat.objectives.objective import PLACEHOLDER_METRIC, ComputeObjective, Objective, is_same_metric
from hpcompat.objectives.trial_context import describe_conflict
from hpcompat.space import SearchSpace
from hpcompat.space.values import pluralize, short_repr
from hpcompat.translators.detect import SpaceSource, as_space, resolve_source, settings_of
from hpcompat.translators.dialect import DIRECTIONS, SearchSettings, brief
from hpcompat.trials.config import SearchConfig
from hpcompat.trials.result import SearchResult
from hpcompat.trials.run_dirs import KEEP_CHOICES
from hpcompat.trials.trial import COMPLETE, STATES, Trial

MESSAGE = "this search cannot start"
DEFAULT_N_TRIALS = 20

_DIRECTION_ALIASES = {"min": "minimize", "max": "maximize", "minimise": "minimize", "maximise": "maximize"}
_SAMPLER_NAMES = {"RandomSampler": "random", "GridSampler": "grid", "BruteForceSampler": "grid"}

T = TypeVar("T")


class _Unset:
    def __repr__(self) -> str:
        return "<not given>"


UNSET: Any = _Unset()
"""The default of the argument `pruner`: None means that trials are not pruned."""


@dataclass(frozen=True)
class Request:
    """The arguments of a call that a sweep or study may complete; None, or `UNSET` for the pruner, if not given.

    `directions`: one for each objective. `compute_objective`: a function of the metrics, or the names of metrics.
    """

    directions: tuple[str, ...] | None = None
    compute_objective: ComputeObjective = None
    n_trials: Any = None
    sampler: object = None
    pruner: object = UNSET
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """Normalized arguments of a call, which may be given in several forms."""

    history: tuple[Trial, ...]
    callbacks: tuple[Callable[[Trial], object], ...]
    output_dir: str | None
    directions: tuple[str, ...] | None


def normalize_inputs(
    trainer: object, history: object, callbacks: object, output_dir: object, direction: object
) -> tuple[Inputs, list[Issue]]:
    """Return the normalized arguments, and an issue for each invalid one.

    Raises:
        SearchError: The trainer is a mapping: trainer and space were probably swapped.
    """
    issues: list[Issue] = []
    inputs = Inputs(
        _parse_history(history, issues),
        _parse_callbacks(callbacks, issues),
        _parse_path(output_dir, issues),
        _parse_directions(direction, issues),
    )
    if isinstance(trainer, Mapping):
        message = f"expected a Trainer or a callable, got {type(trainer).__name__}"
        hint = "the space is the second argument: search(trainer, space)"
        raise SearchError(MESSAGE, [Issue("trainer", message, hint), *issues])
    return inputs, issues


def _parse_history(history: object, issues: list[Issue]) -> tuple[Trial, ...]:
    trials = _to_tuple(history.trials if isinstance(history, SearchResult) else history)
    if invalid := [trial for trial in trials if not isinstance(trial, Trial)]:
        message = f"expected a SearchResult, or some of its trials, got {short_repr(invalid[0])}"
        issues.append(Issue("history", message))
        return ()
    return trials


def _parse_callbacks(callbacks: object, issues: list[Issue]) -> tuple[Callable[[Trial], object], ...]:
    functions = _to_tuple(callbacks)
    if not all(map(callable, functions)) or callable(callbacks):
        message = f"must be a list of functions of a Trial, got {short_repr(callbacks)}"
        issues.append(Issue("callbacks", message))
    elif invalid := [function for function in functions if not _takes_one_argument(function)]:
        hint = "give functions of one argument, the finished Trial; Optuna's take (study, trial)"
        issues.append(Issue("callbacks", f"{short_repr(invalid[0])} cannot be called with one argument", hint))
    return functions


def _takes_one_argument(function: Callable[..., object]) -> bool:
    """Return whether a function can be called with one argument; True if its signature is unknown."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def _to_tuple(value: object) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, Iterable) else (value,)


def _parse_path(output_dir: object, issues: list[Issue]) -> str | None:
    if output_dir is None:
        return None
    path = os.fspath(output_dir) if isinstance(output_dir, (str, os.PathLike)) else None
    if isinstance(path, str) and path:
        return os.path.expanduser(path)
    issues.append(Issue("output_dir", f"expected the path of a directory, got {short_repr(output_dir)}"))
    return os.curdir  # so that the rest can be validated: nothing is written to it


def as_int(number: Any) -> Any:
    """Convert a NumPy integer to an int; return other values unchanged, for `validate_search` to check."""
    return number.__index__() if hasattr(number, "__index__") and not isinstance(number, bool) else number


def _parse_directions(direction: object, issues: list[Issue]) -> tuple[str, ...] | None:
    if direction is None:
        return None
    # a set has no order
    values = direction if isinstance(direction, Sequence) and not isinstance(direction, str) else (direction,)
    directions = tuple(map(_parse_direction, values))
    for value in directions:
        if value not in DIRECTIONS:
            hint = did_you_mean(value, DIRECTIONS)
            issues.append(Issue("direction", f"must be 'minimize' or 'maximize', got {value!r}", hint))
    if not directions:
        issues.append(Issue("direction", "is empty", "name one for each objective"))
    return directions or None


def _parse_direction(direction: object) -> Any:
    name = getattr(direction, "name", direction)  # Optuna's StudyDirection
    return _DIRECTION_ALIASES.get(name.lower(), name.lower()) if isinstance(name, str) else direction


def parse_objective(compute_objective: Any) -> Any:
    """Return the name of a metric, or a list of names, as a tuple; return a function unchanged."""
    if isinstance(compute_objective, str):
        return (compute_objective,)
    return tuple(compute_objective) if isinstance(compute_objective, (list, tuple)) else compute_objective


def resolve_space(space: object) -> SpaceSource:
    """Return the space of any object that describes one, with the search settings that the object holds."""
    if isinstance(space, SpaceSource):
        return space
    if isinstance(space, SearchSpace):
        return SpaceSource(space)
    if isinstance(space, Mapping) and not space:  # the running trial suggests all params
        return SpaceSource(SearchSpace())
    document = resolve_source(space)
    return SpaceSource(as_space(document), settings_of(document))


def complete_request(request: Request, settings: SearchSettings, backend: BackendSpec) -> tuple[Request, list[Issue]]:
    """Return the request completed by the settings and the defaults, and an issue for each contradiction.

    Settings without a counterpart in `search` are named in a warning.
    """
    issues = list(_find_contradictions(request, settings, backend))
    options = request.options
    settings_directions = tuple(direction or settings.default for direction in settings.directions)
    names = request.compute_objective if isinstance(request.compute_objective, tuple) else settings.metrics
    store_directions = (
        None if request.directions or any(settings.directions) else backend.stored_directions(options, names)
    )
    is_same_dialect, unused_settings = settings.dialect == backend.name, dict(settings.unused)
    has_store = backend.is_persistent(options)  # which already has a sampler and names
    pruner = request.pruner
    if settings.pruner is not None and not is_same_dialect:
        unused_settings[settings.terms["pruner"]] = settings.pruner
    elif pruner is UNSET and not has_store:
        pruner = settings.pruner
    if is_same_dialect and not has_store:
        options = {**settings.options, **options}
    elif not is_same_dialect:
        unused_settings |= settings.options
    if unused_settings:
        message = f"the {settings.noun} has settings that this search does not use: {', '.join(brief(unused_settings))}"
        warnings.warn(message, stacklevel=3)
    completed_request = Request(
        directions=request.directions or store_directions or settings_directions or ("minimize",),
        compute_objective=request.compute_objective or settings.metrics or None,
        n_trials=request.n_trials if request.n_trials is not None else settings.n_trials or DEFAULT_N_TRIALS,
        sampler=request.sampler if request.sampler is not None else settings.sampler,
        pruner=None if pruner is UNSET else pruner,
        options=options,
    )
    return completed_request, issues


def _find_contradictions(request: Request, settings: SearchSettings, backend: BackendSpec) -> Iterator[Issue]:
    def contradiction(name: str, argument: object, setting: object) -> Issue:
        term = settings.terms.get(name, name)
        message = f"is {short_repr(argument)}, and the {settings.noun}'s {term} {short_repr(setting)}"
        return Issue(name, message, "leave one of them out")

    if request.directions and settings.directions:
        settings_directions = tuple(direction or settings.default for direction in settings.directions)
        pairs = zip(request.directions, settings.directions, strict=False)
        differs = any(other not in (None, direction) and direction in DIRECTIONS for direction, other in pairs)
        if differs or len(request.directions) != len(settings_directions):
            yield contradiction("direction", _unpack_single(request.directions), _unpack_single(settings_directions))
    sampler = request.sampler
    name = sampler if isinstance(sampler, (str, type(None))) else _SAMPLER_NAMES.get(type(sampler).__name__, "bayes")
    if name and settings.sampler and name != settings.sampler:
        yield contradiction("sampler", sampler, settings.sampler)
    if request.n_trials is not None and settings.n_trials is not None and request.n_trials != settings.n_trials:
        yield contradiction("n_trials", request.n_trials, settings.n_trials)
    if settings.pruner and settings.dialect == backend.name and request.pruner not in (UNSET, settings.pruner):
        yield contradiction("pruner", request.pruner, settings.pruner)
    names, metrics = request.compute_objective, settings.metrics
    is_comparable = isinstance(names, tuple) and len(names) == len(metrics) and metrics != (PLACEHOLDER_METRIC,)
    if isinstance(names, tuple) and is_comparable and not all(map(is_same_metric, names, metrics)):
        yield contradiction("compute_objective", _unpack_single(names), _unpack_single(metrics))


def _unpack_single(values: tuple[T, ...]) -> T | list[T]:
    return values[0] if len(values) == 1 else list(values)


def validate_search(
    config: SearchConfig, objective: Objective, spec: BackendSpec, keep: str | None, issues: Iterable[Issue] = ()
) -> None:
    """Raise `SearchError` with all issues, or `BackendError` if all of them are limits of the backend."""
    backend_issues = list(_validate_backend(config, spec))
    paths = {issue.path for issue in backend_issues}
    backend_issues += [issue for issue in spec.load().validate(config, objective) if issue.path not in paths]
    issues = [*issues, *_validate_request(config, objective, spec, keep), *_validate_history(config, objective)]
    issues += objective.find_issues(config)
    if config.pruner is not None and not objective.evaluates_while_training:
        hint = "set eval_strategy to 'epoch' or 'steps', or leave pruner out"
        issues.append(Issue("pruner", "needs evaluations during training, got eval_strategy='no'", hint))
    if issues:
        raise SearchError(MESSAGE, [*backend_issues, *issues])
    if backend_issues:
        raise BackendError(f"the {spec.name} backend cannot do this", backend_issues)


def _validate_backend(config: SearchConfig, spec: BackendSpec) -> Iterator[Issue]:
    for argument, value, names in (("sampler", config.sampler, spec.samplers), ("pruner", config.pruner, spec.pruners)):
        if value is None or (names and (not isinstance(value, str) or value in names)):
            continue
        # only here, because it loads the backends of other packages
        supported = {other.name: getattr(other, f"{argument}s") for other in BACKENDS.values()}
        if not names:
            others = " or ".join(name for name in supported if supported[name])
            yield Issue(argument, f"is not supported by {spec.name}", f"leave it out, or search with {others}")
            continue
        others = ", ".join(name for name in supported if value in (*supported[name], *BACKENDS[name].aliases))
        if others:
            yield Issue(argument, f"{value!r} is not supported by {spec.name}", f"supported by {others}")
        else:
            yield Issue(argument, f"unknown {argument} {value!r}", expected_one_of(value, names))
    if len(config.directions) > spec.max_objectives:
        others = " and ".join(name for name in BACKENDS if len(config.directions) <= BACKENDS[name].max_objectives)
        message = f"expected at most {spec.max_objectives} objectives, got {len(config.directions)}"
        yield Issue("direction", message, f"{others} take more")
    if len(config.directions) > 1 and config.pruner is not None:
        yield Issue("pruner", "a search with several objectives cannot be pruned", "leave pruner out")


def _validate_request(
    config: SearchConfig, objective: Objective, spec: BackendSpec, keep: str | None
) -> Iterator[Issue]:
    if type(config.n_trials) is not int or config.n_trials < 1:
        yield Issue("n_trials", f"expected an int of at least 1, got {config.n_trials!r}")
    if config.seed is not None and (isinstance(config.seed, bool) or not hasattr(config.seed, "__index__")):
        yield Issue("seed", f"expected an int or None, got {config.seed!r}")
    is_number = isinstance(config.timeout, Real) and not isinstance(config.timeout, bool)
    if config.timeout is not None and not (is_number and config.timeout > 0):
        yield Issue("timeout", f"expected a number of seconds above 0, or None, got {config.timeout!r}")
    if keep not in (None, *KEEP_CHOICES):
        yield Issue("keep", f"unknown value {keep!r}", expected_one_of(keep, KEEP_CHOICES))
    if config.resume and config.output_dir is None and not spec.is_persistent(config.options):
        stores = "".join(f", or {name}=" for name in spec.store_options)
        yield Issue("resume", "no journal to continue is named", f"give output_dir={stores}")
    if objective.hp_name is not None and not callable(objective.hp_name):
        yield Issue("hp_name", f"expected a function, got {type(objective.hp_name).__name__}")
    yield from _validate_compute_objective(objective)


def _validate_compute_objective(objective: Objective) -> Iterator[Issue]:
    expected = "expected a function, or names of metrics"
    names = objective.compute_objective
    n_directions = len(objective.directions)
    if isinstance(names, tuple):
        if not all(isinstance(name, str) for name in names):
            yield Issue("compute_objective", f"{expected}, got {short_repr(list(names))}")
        elif len(names) != n_directions:
            message = f"names {pluralize(len(names), 'metric')} for {pluralize(n_directions, 'direction')}"
            yield Issue("compute_objective", message, "name one for each direction")
    elif names is not None and not callable(names):
        yield Issue("compute_objective", f"{expected}, got {type(names).__name__}")


def _validate_history(config: SearchConfig, objective: Objective) -> Iterator[Issue]:
    """Yield an issue for each problem of the history, with the numbers of its trials."""
    numbers: dict[str, list[int]] = {}
    for trial in config.history:
        for message in _find_trial_issues(trial, config, objective):
            numbers.setdefault(message, []).append(trial.number)
    for message, trials in numbers.items():
        yield Issue(f"history: trial{'s' * (len(trials) > 1)} {', '.join(map(str, trials))}", message)


def _find_trial_issues(trial: Trial, config: SearchConfig, objective: Objective) -> Iterator[str]:
    yield from map(str, config.space.find_issues(trial.params))
    values = trial.values if isinstance(trial.values, (tuple, list)) else (math.nan,)
    are_numbers = all(isinstance(value, Real) and not math.isnan(value) for value in values)
    if trial.state not in STATES:
        yield f"expected one of the states {', '.join(STATES)}, got {trial.state!r}"
    elif not are_numbers and (trial.values is not None or trial.state == COMPLETE):
        yield f"expected a tuple of numbers as values, got {trial.values!r}"
    elif trial.values is not None and len(trial.values) != len(config.directions):
        directions = pluralize(len(config.directions), "direction")
        yield f"has {pluralize(len(trial.values), 'value')} for {directions}"
    elif conflict := describe_conflict(trial, objective):
        yield conflict
