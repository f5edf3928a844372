"""What a backend is: its options, what it refuses, its engine; and what several share, grids and retries."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from itertools import count, islice
from typing import Any, ClassVar, TypeVar

from hpcompat.errors import BackendError, Issue, expected_one_of
from hpcompat.objectives.objective import Objective
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical
from hpcompat.space.tree import Leaf
from hpcompat.space.values import short_repr, strict_key
from hpcompat.trials.config import BackendResult, SearchConfig
from hpcompat.trials.loop import Engine, InlineExecutor, Recorder, run_loop
from hpcompat.trials.process import SYSTEM_RNG

T = TypeVar("T")


def iter_configurations(space: SearchSpace) -> Iterator[dict[str, object]]:
    """Iterate lazily over the params of each configuration, the last parameter changing fastest.

    Returns:
        The params, nested as the space is.

    Raises:
        BackendError: A parameter is continuous, unbounded or weighted; each such one is named.

    >>> from hpcompat import Int
    >>> space = SearchSpace({"optim": Categorical(["adamw", "sgd"]), "k": Int(0, 1, when={"optim": "sgd"})})
    >>> list(iter_configurations(space))
    [{'optim': 'adamw'}, {'optim': 'sgd', 'k': 0}, {'optim': 'sgd', 'k': 1}]
    """
    issues = [issue for leaf in space.leaves if (issue := _infinite_or_weighted(leaf))]
    if issues:
        raise BackendError("a grid needs a finite space, without weights", issues)
    return _iter_valid(space)


def iter_untried(space: SearchSpace, seen: Container[Hashable]) -> Iterator[dict[str, object]]:
    """Iterate over the configurations whose `strict_key` is not in `seen`, which may grow meanwhile.

    Returns:
        The params of these configurations.

    Raises:
        BackendError: A parameter is continuous, unbounded or weighted.

    >>> from hpcompat import Int
    >>> list(iter_untried(SearchSpace({"k": Int(0, 2)}), {strict_key({"k": 1})}))
    [{'k': 0}, {'k': 2}]
    """
    return (params for params in iter_configurations(space) if strict_key(params) not in seen)


def claim_configuration(
    space: SearchSpace,
    list_used: Callable[[T | None], Container[Hashable]],
    place: Callable[[dict[str, object]], T],
    release: Callable[[T], object],
) -> T | None:
    """Claim a configuration of a grid that several processes share.

    A process that sees that another has claimed the same configuration gives it up, so that at most one keeps it.

    Args:
        space: Whose configurations these are.
        list_used: Returns the keys of what is tried or claimed, but for the claim that it gets.
        place: Claims params where the others see it.
        release: Gives a claim up.

    Returns:
        The claim; None if no configuration is left.
    """
    for n_collisions in count():
        # after n collisions one of the first n + 1, so that processes that meet do not meet again
        untried = list(islice(iter_untried(space, list_used(None)), 1 + n_collisions))
        if not untried:
            return None
        params = SYSTEM_RNG.choice(untried)
        claim = place(params)
        if strict_key(params) not in list_used(claim):
            return claim
        release(claim)
    raise AssertionError("unreachable: the count has no end")


def _infinite_or_weighted(leaf: Leaf) -> Issue | None:
    parameter = leaf.parameter
    shown = short_repr(parameter, 120)
    if parameter.size == float("inf"):
        hint = "use 'random'" if parameter.kind == "normal" else "give it a step, or use 'random'"
        return Issue(leaf.name, f"{shown} has infinitely many values", hint)
    if parameter.kind == "normal" or (isinstance(parameter, Categorical) and parameter.weights):
        return Issue(leaf.name, f"{shown} is weighted, and a grid is not", "use 'random'")
    return None


def _iter_valid(space: SearchSpace) -> Iterator[dict[str, object]]:
    leaves = space.leaves
    # an iterator for each leaf decided on, and no recursion: there may be thousands of leaves
    levels: list[Iterator[dict[str, object]]] = [iter([{}])]
    while levels:
        flat = next(levels[-1], None)
        if flat is None:
            levels.pop()
        elif len(levels) > len(leaves):
            yield space.nest(flat)
        else:
            levels.append(_assign_leaf(leaves[len(levels) - 1], flat))


def _assign_leaf(leaf: Leaf, flat: dict[str, object]) -> Iterator[dict[str, object]]:
    if leaf.when and not leaf.active(flat):
        yield flat
    else:
        for value in leaf.parameter.support or ():
            yield {**flat, leaf.name: value}


SEARCH_OPTIONS = (
    *("backend", "direction", "n_trials", "compute_objective", "hp_name", "sampler", "pruner", "seed", "timeout"),
    *("history", "resume", "keep", "output_dir", "callbacks", "progress"),
)
"""What `search` takes for every backend, beside the backend's own options."""

COUNTERPARTS = {
    # of Optuna
    "catch": "every exception in a trial is caught in any case",
    "directions": "use direction=[…]",
    "load_if_exists": "use resume=True",
    "n_jobs": "threads would share one Trainer: run several processes on one storage= and study_name= of Optuna's",
    "show_progress_bar": "use progress=",
    # of Ray Tune
    "fail_fast": "a trial that fails does not end the search; a callback that returns True does",
    "keep_checkpoints_num": "use keep=, and save_total_limit of the TrainingArguments",
    "local_dir": "use output_dir=, and on the ray backend storage_path= for Ray's own records",
    "max_failures": "a trial that fails is FAILED, and the search goes on",
    "mode": "use direction=",
    "num_samples": "use n_trials=",
    "progress_reporter": "use progress=",
    "raise_on_failed_trial": "a trial that fails is FAILED, and the search goes on",
    "time_budget_s": "use timeout=",
    "verbose": "use progress=",
    # of W&B and SigOpt
    "early_terminate": "use pruner=",
    "goal": "use direction=",
    "method": "use sampler=",
    "metric": "use compute_objective=",
    "observation_budget": "use n_trials=",
    "run_cap": "use n_trials=",
}
"""What other libraries call their options, by name, and what does the same in `search`."""


def option(
    valid: type | tuple[type, ...] | Callable[[object], bool],
    expected: str,
    default: object = None,
    hint: str = "",
    is_listed: bool = True,
    may_be_none: bool = True,
) -> Any:
    """Declare an option as a field of a dataclass; None as its value means that it is left out.

    Args:
        valid: The types that it may have, or a function that says whether a value is valid.
        expected: What to say that it is.
        default: Its value where it is left out.
        hint: What else to do where a value is not valid.
        is_listed: Whether a message names it among the options: one whose only value changes nothing need not be known.
        may_be_none: Whether None leaves it out; where it names a store, None is a mistake.

    Returns:
        A field of a dataclass.
    """
    is_valid = valid if not isinstance(valid, (type, tuple)) else _has_type(valid)
    metadata = {"is_valid": is_valid, "expected": expected, "hint": hint}
    return field(default=default, metadata={**metadata, "is_listed": is_listed, "may_be_none": may_be_none})


def choice(*names: str) -> Any:
    """Declare an option that is one of these names."""
    return option(names.__contains__, " or ".join(map(repr, names)))


def _has_type(types: type | tuple[type, ...]) -> Callable[[object], bool]:
    accepted = types if isinstance(types, tuple) else (types,)
    # isinstance takes a bool for an int
    return lambda value: isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool))


def drop_unset(options: Mapping[str, T]) -> dict[str, T]:
    """Return the options without those that are None, which means that they are left out."""
    return {name: value for name, value in options.items() if value is not None}


def find_option_issues(options_type: type, options: Mapping[str, object]) -> Iterator[Issue]:
    """Return an issue for each option that is unknown, or has a value that is not valid."""
    known = {option.name: option.metadata for option in fields(options_type)}
    for name, value in options.items():
        if name not in known:
            listed = [option for option, metadata in known.items() if metadata["is_listed"]]
            hint = COUNTERPARTS.get(name) or expected_one_of(name, listed, also=SEARCH_OPTIONS)
            yield Issue(name, "unknown option", hint)
        elif not (known[name]["may_be_none"] if value is None else known[name]["is_valid"](value)):
            yield Issue(name, f"expected {known[name]['expected']}, got {short_repr(value)}", known[name]["hint"])


def parse_options(options_type: type[T], options: Mapping[str, object]) -> T:
    """Return the options as their dataclass; those with an issue are left out."""
    invalid = {issue.path for issue in find_option_issues(options_type, options)}
    return options_type(**{name: value for name, value in drop_unset(options).items() if name not in invalid})


def retry(call: Callable[[], T], delays: Sequence[float], is_transient: Callable[[Exception], bool]) -> T:
    """Return what a call returns, as soon as it succeeds; after the last repetition raise its error.

    Args:
        call: What to call.
        delays: Seconds before each repetition.
        is_transient: Whether an error may not come again; others are raised at once.

    >>> answers = iter([OSError("busy"), "ready"])
    >>> def ask():
    ...     answer = next(answers)
    ...     if isinstance(answer, OSError):
    ...         raise answer
    ...     return answer
    >>> retry(ask, [0.0], lambda error: isinstance(error, OSError))
    'ready'
    """
    for delay in delays:
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(delay)
    return call()


def to_storable(text: str, max_length: int | None = None) -> str:
    r"""Return a str that every server stores, of at most that many characters.

    NUL, which PostgreSQL does not store, and lone surrogates, which UTF-8 does not have, are written as escapes.

    >>> print(to_storable("a\0b\ud800"))
    a\x00b\ud800
    """
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")[:max_length]


@dataclass(frozen=True)
class NoOptions:
    """The options of a backend without any."""


class Backend(ABC):
    """A system that searches: what a call may request, and the run of its trials.

    Attributes:
        Options: A dataclass of its own options, see `option`.
        native_samplers: The types that stand for a sampler besides names, each with what to call it.
        native_pruners: The same for pruners.
    """

    Options: ClassVar[type] = NoOptions
    native_samplers: ClassVar[Mapping[type, str]] = {}
    native_pruners: ClassVar[Mapping[type, str]] = {}

    @abstractmethod
    def run(self, config: SearchConfig, objective: Objective, recorder: Recorder) -> BackendResult:
        """Run the trials of a search."""

    def parse_options(self, config: SearchConfig) -> Any:
        """Return the options of a call as `Options`."""
        return parse_options(self.Options, config.options)

    def validate(self, config: SearchConfig, objective: Objective) -> list[Issue]:
        """Return everything about a call that the backend cannot do."""
        issues = [*find_option_issues(self.Options, config.options), *self._find_native_issues(config)]
        return [*issues, *self.find_issues(config, objective)]

    def find_issues(self, config: SearchConfig, objective: Objective) -> Iterator[Issue]:
        """Return what else is wrong with a call, besides unknown options and options that are not valid."""
        return iter(())

    def _find_native_issues(self, config: SearchConfig) -> Iterator[Issue]:
        natives = (
            ("sampler", config.sampler, self.native_samplers),
            ("pruner", config.pruner, self.native_pruners),
        )
        for argument, value, types in natives:
            if not isinstance(value, (str, type(None), *types)):
                expected = " or ".join(["a name", *types.values()])
                yield Issue(argument, f"expected {expected}, got {short_repr(value)}")
        if self.native_samplers and isinstance(config.sampler, tuple(self.native_samplers)) and config.seed is not None:
            yield Issue("seed", "seeds a sampler that is given by name", "give this sampler its seed yourself")

    def stored_directions(self, options: Mapping[str, Any], metrics: Sequence[str]) -> tuple[str, ...] | None:
        """Return the directions of the study, sweep or experiment that the options name; None if they are not known.

        Args:
            options: Of the call; `validate` checks them.
            metrics: Their names, in the order of the values.

        Raises:
            SearchError: The store cannot be reached.
            BackendError: The store does not have what the options name.
        """
        return None


class EngineBackend(Backend):
    """A backend whose trials run in this process, one after the other."""

    @abstractmethod
    def open_engine(self, config: SearchConfig, objective: Objective) -> AbstractContextManager[Engine]:
        """Open the engine of a search, for the time of the block."""

    def run(self, config: SearchConfig, objective: Objective, recorder: Recorder) -> BackendResult:
        """Ask the engine, run the trial and tell the engine, until the search is over."""
        with objective.open() as evaluate, self.open_engine(config, objective) as engine:
            return run_loop(engine, config, InlineExecutor(evaluate), recorder)
