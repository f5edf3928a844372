"""What a call of `search` asks for, completed by what the object that describes its space says."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcompat.backends import Backend, known
from hpcompat.errors import Issue, SearchError
from hpcompat.objectives.metrics import LABEL, is_same_metric
from hpcompat.space.values import short_repr
from hpcompat.translators.settings import DIRECTIONS, SearchSettings, brief

REFUSAL = "this search cannot start"
N_TRIALS = 20

_WORDS = {"min": "minimize", "max": "maximize", "minimise": "minimize", "maximise": "maximize"}
_KINDS = {"RandomSampler": "random", "GridSampler": "grid", "BruteForceSampler": "grid"}


class _Unset:
    def __repr__(self) -> str:
        return "<not given>"


UNSET: Any = _Unset()
"""Stands for a pruner that the call says nothing of: None says that there is to be none."""


@dataclass(frozen=True)
class Request:
    """What a call says; what it leaves open is None, and the pruner `UNSET`.

    `directions`: one for each objective. `compute_objective`: a function of the metrics, or the names of metrics.
    """

    directions: tuple[str, ...] | None = None
    compute_objective: Callable[[dict[str, float]], Any] | tuple[str, ...] | None = None
    n_trials: Any = None
    sampler: Any = None
    pruner: Any = UNSET
    options: Mapping[str, Any] | None = None


def parse_directions(direction: Any) -> tuple[str, ...] | None:
    """The directions as a tuple; None stays None. Raises `SearchError` for what is none.

    >>> parse_directions("max"), parse_directions(["minimize", "maximize"]), parse_directions(None)
    (('maximize',), ('minimize', 'maximize'), None)
    """
    if direction is None:
        return None
    several = isinstance(direction, Sequence) and not isinstance(direction, str)  # a set has no order
    given = tuple(direction) if several else (direction,)
    listed = tuple(map(_direction, given))
    issues = [
        Issue("direction", f"there is no {each!r}", known(each, DIRECTIONS))
        for each in listed
        if each not in DIRECTIONS
    ]
    if not listed:
        issues = [Issue("direction", "is empty", "name one for each objective")]
    if issues:
        raise SearchError(REFUSAL, issues)
    return listed


def _direction(given: Any) -> Any:
    name = getattr(given, "name", given)  # Optuna's StudyDirection
    word = name.lower() if isinstance(name, str) else name
    return _WORDS.get(word, word) if isinstance(word, str) else given


def parse_objective(given: Any) -> Any:
    """The name of a metric, or a list of names, as a tuple; a function stays as it is.

    >>> parse_objective("eval_loss"), parse_objective(["eval_loss", "eval_f1"]), parse_objective(len)
    (('eval_loss',), ('eval_loss', 'eval_f1'), <built-in function len>)
    """
    names = (given,) if isinstance(given, str) else given
    return tuple(names) if isinstance(names, (list, tuple)) else given


def complete(request: Request, settings: SearchSettings, backend: Backend) -> tuple[Request, list[Issue]]:
    """The request with what the settings say where it leaves something open, and an issue for each contradiction.

    What stays open takes search's own defaults. What the settings say and no search can take is named in a warning.
    """
    issues = list(_contradictions(request, settings, backend))
    options = request.options or {}
    stated = tuple(direction or settings.default for direction in settings.directions)
    names = request.compute_objective if isinstance(request.compute_objective, tuple) else settings.metrics
    stored = None if request.directions or any(settings.directions) else backend.stored_directions(options, names)
    own, unused = settings.dialect == backend.name, dict(settings.unused)
    joins = backend.stored(options)  # what is joined has a rule and names of its own
    pruner = request.pruner
    if settings.pruner is not None and not own:
        unused[settings.terms["pruner"]] = settings.pruner
    elif pruner is UNSET and not joins:
        pruner = settings.pruner
    if own and not joins:
        options = {**settings.options, **options}
    elif not own:
        unused |= settings.options
    if unused:
        message = f"the {settings.noun} says more than this search takes from it: {', '.join(brief(unused))}"
        warnings.warn(message, stacklevel=3)
    done = replace(
        request,
        directions=request.directions or stored or stated or ("minimize",),
        compute_objective=request.compute_objective or settings.metrics or None,
        n_trials=request.n_trials if request.n_trials is not None else settings.n_trials or N_TRIALS,
        sampler=request.sampler if request.sampler is not None else settings.sampler,
        pruner=None if pruner is UNSET else pruner,
        options=options,
    )
    return done, issues


def _contradictions(request: Request, settings: SearchSettings, backend: Backend) -> Iterator[Issue]:
    def issue(name: str, ours: Any, theirs: Any) -> Issue:
        term = settings.terms.get(name, name)
        reason = f"is {short_repr(ours)}, and the {settings.noun}'s {term} {short_repr(theirs)}"
        return Issue(name, reason, "leave one of them out")

    ours, theirs = request.directions, settings.directions
    if ours and theirs:
        wrong = [each for each, other in zip(ours, theirs, strict=False) if other not in (None, each)]
        if wrong or len(ours) != len(theirs):
            yield issue("direction", _one(ours), _one(tuple(each or settings.default for each in theirs)))
    sampler = request.sampler
    kind = sampler if isinstance(sampler, (str, type(None))) else _KINDS.get(type(sampler).__name__, "bayes")
    if kind and settings.sampler and kind != settings.sampler:
        yield issue("sampler", sampler, settings.sampler)
    if request.n_trials is not None and settings.n_trials is not None and request.n_trials != settings.n_trials:
        yield issue("n_trials", request.n_trials, settings.n_trials)
    if settings.pruner and settings.dialect == backend.name and request.pruner not in (UNSET, settings.pruner):
        yield issue("pruner", request.pruner, settings.pruner)
    names: Any = request.compute_objective
    metrics = settings.metrics
    named = isinstance(names, tuple) and len(names) == len(metrics) and metrics != (LABEL,)
    if named and not all(map(is_same_metric, names, metrics)):
        yield issue("compute_objective", _one(names), _one(metrics))


def _one(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)
