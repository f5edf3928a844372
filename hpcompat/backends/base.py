"""The base classes of backends, and functions that several backends share: options, grids and retries."""

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
        BackendError: Some parameters are continuous, unbounded or weighted; all of them are named.

    >>> from hpcompat import Int
    >>> space = SearchSpace({"optim": Categorical(["adamw", "sgd"]), "k": Int(0, 1, when={"optim": "sgd"})})
    >>> list(iter_configurations(space))
    [{'optim': 'adamw'}, {'optim': 'sgd', 'k': 0}, {'optim': 'sgd', 'k': 1}]
    """
    issues = [issue for leaf in space.leaves if (issue := _infinite_or_weighted(leaf))]
    if issues:
        raise BackendError("a grid needs a finite space, without weights", issues)
    return _iter_valid(space)


def iter_untried(space: SearchSpace, used_keys: Container[Hashable]) -> Iterator[dict[str, object]]:
    """Iterate over the configurations whose `strict_key` is not in `used_keys`, which may grow meanwhile.

    Returns:
        The params of these configurations.

    Raises:
        BackendError: A parameter is continuous, unbounded or weighted.

    >>> from hpcompat import Int
    >>> list(iter_untried(SearchSpace({"k": Int(0, 2)}), {strict_key({"k": 1})}))
    [{'k': 0}, {'k': 2}]
    """
    return (params for params in iter_configurations(space) if strict_key(params) not in used_keys)


def claim_configuration(
    space: SearchSpace,
    get_used_keys: Callable[[T | None], Container[Hashable]],
    publish: Callable[[dict[str, object]], T],
    withdraw: Callable[[T], object],
) -> T | None:
    """Claim a configuration of a grid that several processes share.

    A process publishes a claim, and withdraws it if it then sees another claim of the same configuration. So at most
    one process keeps the claim.

    Args:
        space: The space of the grid.
        get_used_keys: Returns the keys of the configurations that are tried or claimed, except by the claim it gets.
        publish: Publishes a claim of params where other processes see it.
        withdraw: Withdraws a claim.

    Returns:
        The claim; None if no configuration is left.
    """
    for n_collisions in count():
        # after n collisions choose among n + 1 configurations, so that the next collision is less likely
        untried = list(islice(iter_untried(space, get_used_keys(None)), 1 + n_collisions))
        if not untried:
            return None
        params = SYSTEM_RNG.choice(untried)
        claim = publish(params)
        if strict_key(params) not in get_used_keys(claim):
            return claim
        withdraw(claim)
    raise AssertionError("unreachable: the count has no end")


def _infinite_or_weighted(leaf: Leaf) -> Issue | None:
    parameter = leaf.parameter
    parameter_repr = short_repr(parameter, 120)
    if parameter.size == float("inf"):
        hint = "use 'random'" if parameter.kind == "normal" else "give it a step, or use 'random'"
        return Issue(leaf.name, f"{parameter_repr} has infinitely many values", hint)
    if parameter.kind == "normal" or (isinstance(parameter, Categorical) and parameter.weights):
        return Issue(leaf.name, f"{parameter_repr} is weighted, and a grid is not", "use 'random'")
    return None


def _iter_valid(space: SearchSpace) -> Iterator[dict[str, object]]:
    leaves = space.leaves
    # an iterator for each assigned leaf instead of recursion: there may be thousands of leaves
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
"""The arguments of `search` that every backend has."""

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
    "max_failures": "a trial that fails is FAILED, and the search continues",
    "mode": "use direction=",
    "num_samples": "use n_trials=",
    "progress_reporter": "use progress=",
    "raise_on_failed_trial": "a trial that fails is FAILED, and the search continues",
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
"""The options of other libraries, each with its counterpart in `search`."""


def option(
    valid: type | tuple[type, ...] | Callable[[object], bool],
    expected: str,
    default: object = None,
    hint: str = "",
    is_listed: bool = True,
    may_be_none: bool = True,
) -> Any:
    """Declare an option as a field of a dataclass; the value None means that it is not given.

    Args:
        valid: The accepted types, or a function that returns whether a value is valid.
        expected: A description of valid values, for error messages.
        default: The value if the option is not given.
        hint: Advice for an invalid value.
        is_listed: Whether error messages list the option.
        may_be_none: Whether None is accepted; for an option that names a store, None is a mistake.

    Returns:
        A field of a dataclass.
    """
    is_valid = valid if not isinstance(valid, (type, tuple)) else _make_type_check(valid)
    metadata = {"is_valid": is_valid, "expected": expected, "hint": hint}
    return field(default=default, metadata={**metadata, "is_listed": is_listed, "may_be_none": may_be_none})


def choice(*names: str) -> Any:
    """Declare an option whose value is one of these names."""
    return option(names.__contains__, " or ".join(map(repr, names)))


def _make_type_check(types: type | tuple[type, ...]) -> Callable[[object], bool]:
    accepted_types = types if isinstance(types, tuple) else (types,)
    # a bool is an instance of int
    return lambda value: isinstance(value, accepted_types) and (bool in accepted_types or not isinstance(value, bool))


def drop_unset(options: Mapping[str, T]) -> dict[str, T]:
    """Return the options without those that are None, which means not given."""
    return {name: value for name, value in options.items() if value is not None}


def find_option_issues(options_type: type, options: Mapping[str, object]) -> Iterator[Issue]:
    """Yield an issue for each unknown option and each invalid value."""
    metadata_by_name = {option.name: option.metadata for option in fields(options_type)}
    for name, value in options.items():
        if name not in metadata_by_name:
            listed_names = [option.name for option in fields(options_type) if option.metadata["is_listed"]]
            hint = COUNTERPARTS.get(name) or expected_one_of(name, listed_names, also=SEARCH_OPTIONS)
            yield Issue(name, "unknown option", hint)
            continue
        metadata = metadata_by_name[name]
        if not (metadata["may_be_none"] if value is None else metadata["is_valid"](value)):
            yield Issue(name, f"expected {metadata['expected']}, got {short_repr(value)}", metadata["hint"])


def parse_options(options_type: type[T], options: Mapping[str, object]) -> T:
    """Return the options as their dataclass, with defaults in place of invalid values."""
    invalid = {issue.path for issue in find_option_issues(options_type, options)}
    return options_type(**{name: value for name, value in drop_unset(options).items() if name not in invalid})


def retry(call: Callable[[], T], delays: Sequence[float], is_transient: Callable[[Exception], bool]) -> T:
    """Return the result of a call, which is repeated until it succeeds; raise the error of the last attempt.

    Args:
        call: The function to call.
        delays: The seconds before each further attempt.
        is_transient: Returns whether an error may be temporary; other errors are raised at once.

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
    r"""Return a str that every server can store, truncated to a maximum length.

    NUL, which PostgreSQL cannot store, and lone surrogates, which UTF-8 cannot encode, are escaped.

    >>> print(to_storable("a\0b\ud800"))
    a\x00b\ud800
    """
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")[:max_length]


@dataclass(frozen=True)
class NoOptions:
    """The options of a backend that has none."""


class Backend(ABC):
    """A system that can run a search.

    Attributes:
        Options: The dataclass of the backend's own options, see `option`.
        native_samplers: The types of native samplers, each with a description for error messages.
        native_pruners: The types of native pruners, each with a description for error messages.
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
        """Return all issues of a call that concern this backend."""
        issues = [*find_option_issues(self.Options, config.options), *self._find_native_issues(config)]
        return [*issues, *self.find_issues(config, objective)]

    def find_issues(self, config: SearchConfig, objective: Objective) -> Iterator[Issue]:
        """Yield the issues of a call besides unknown and invalid options."""
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
            yield Issue("seed", "only seeds a sampler that is given by name", "pass the seed to the sampler itself")

    def stored_directions(self, options: Mapping[str, Any], metrics: Sequence[str]) -> tuple[str, ...] | None:
        """Return the directions of the study, sweep or experiment that the options name; None if they are unknown.

        Args:
            options: The options of the call, which may be invalid.
            metrics: The names of the metrics, in the order of the values.

        Raises:
            SearchError: The store cannot be reached.
            BackendError: The store does not contain what the options name.
        """
        return None


class EngineBackend(Backend):
    """A backend whose trials run one after the other in this process."""

    @abstractmethod
    def open_engine(self, config: SearchConfig, objective: Objective) -> AbstractContextManager[Engine]:
        """Open the engine of a search within the block."""

    def run(self, config: SearchConfig, objective: Objective, recorder: Recorder) -> BackendResult:
        """Run the trials of a search by `run_loop`."""
        with objective.open() as evaluate, self.open_engine(config, objective) as engine:
            return run_loop(engine, config, InlineExecutor(evaluate), recorder)
