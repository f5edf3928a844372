"""How trials are chosen and driven: a module for each backend, the same `run(plan, evaluate)` in each.

A backend asks its engine for params, hands them to `evaluate` as a `Suggestion`, tells the engine what
came of it, and calls `plan.finished` with the Trial, in the process that drives the search.
"""

from __future__ import annotations

import difflib
import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from hpcompat.errors import BackendError, Issue, MissingBackendError
from hpcompat.notes import Notes
from hpcompat.space import SearchSpace
from hpcompat.trials import Trial


@dataclass(frozen=True)
class Backend:
    """A row of the table: what the backend is called, needs, and can do.

    `stores`: the options that name something which keeps the trials of a search itself. `aliases`: other names of its
    samplers.
    """

    name: str
    package: str
    samplers: tuple[str, ...]
    pruners: tuple[str, ...]
    stores: tuple[str, ...] = ()
    most_objectives: float = float("inf")
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def pip(self) -> str:
        """The command that installs it."""
        return f"pip install 'hpcompat[{self.name}]'"

    def stored(self, options: Mapping[str, Any]) -> bool:
        """Whether something that outlives the search keeps its trials, and those of others that join it."""
        return any(name in options for name in self.stores)

    def load(self) -> Callable[[Plan, Evaluate], Run]:
        """The backend's `run`. Raises `MissingBackendError` if its package is not installed."""
        if not _installed(self.package):
            raise MissingBackendError(f"the {self.name} backend is not installed (no {self.package}): {self.pip}")
        run: Callable[[Plan, Evaluate], Run] = self._module().run
        return run

    def stored_directions(self, options: Mapping[str, Any], names: Sequence[str] = ()) -> tuple[str, ...] | None:
        """The directions of the study, sweep or experiment that the options name; None where it states none.

        `names`: those of the metrics, in the order of the values. Options that are wrong are not told of here. Raises
        `SearchError` where the store cannot be reached, and `BackendError` where it does not have what is named.
        """
        directions: tuple[str, ...] | None = None
        if self.stored(options):
            directions = self._module().stored_directions(options, tuple(names))
        return directions

    def _module(self) -> Any:
        return import_module(f"hpcompat.backends.{self.name}")


_SAMPLERS = ("bayes", "random", "grid")
_PRUNERS = ("median", "hyperband", "asha")
_TPE = {"tpe": "bayes"}  # which is what bayes is there
BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("optuna", "optuna", _SAMPLERS, _PRUNERS, ("study", "storage"), aliases=_TPE),
        Backend("ray", "ray.tune", _SAMPLERS, _PRUNERS, aliases=_TPE),
        Backend("sigopt", "sigopt", _SAMPLERS, (), ("experiment_id",), most_objectives=2),
        Backend("wandb", "wandb", _SAMPLERS, ("hyperband",), ("sweep_id",)),
    )
}


def _installed(package: str) -> bool:
    # looked for, not imported: SigOpt's client cannot be imported in every directory
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # its parent is not there, or someone has blocked it
        return False


def _unheard(value: float, step: int) -> None:
    """Where no pruner listens."""


def _unnoted(key: str, value: Any) -> None:
    """Where the engine hears of notes with the finished trial alone."""


def _never() -> bool:
    return False


def _nobody(*anything: Any) -> None:
    """Where there are no other ranks."""


@dataclass(frozen=True)
class Suggestion:
    """The params of one trial to come, and the way back to the engine while it runs.

    `report(value, step)` and `should_prune()` talk to the engine's pruner. `native`: the engine's own
    trial object, if there is one. `prepared()` is called when all is set up and before a training begins,
    `stepped()` after each step of it: where several ranks go through one trial they meet there.
    `notes`: what the trial has noted so far; each note goes to `set_user_attr` or `set_constraint` at once.
    `on_ddp_timeout(seconds)` is called when it is known how long they may wait for each other.
    """

    number: int
    params: dict[str, Any]
    report: Callable[[float, int], None] = _unheard
    should_prune: Callable[[], bool] = _never
    native: Any = None
    prepared: Callable[[], None] = _nobody
    stepped: Callable[[], None] = _nobody
    notes: Notes = field(default_factory=Notes)
    set_user_attr: Callable[[str, Any], None] = _unnoted
    set_constraint: Callable[[str, float], None] = _unnoted
    on_ddp_timeout: Callable[[float], None] = _nobody


Evaluate = Callable[[Suggestion], Trial]


def _no_end(trial: Trial) -> bool:
    return False


@dataclass(frozen=True)
class Plan:
    """What a search asks of a backend.

    `sampler`: "bayes", "random", "grid" or a native one; `pruner`: None, "median", "hyperband", "asha"
    or a native one. `history`: finished trials to tell the engine of before it starts; they are not
    counted in `n_trials`. `resume`: to go on with a store that is there already. `taken`: the numbers of
    the search's trials that are in the history, see `number`. `finished(trial)`: to be called once for
    each trial; True asks for an end.
    `output_dir`: where the search may leave what it writes; None where nothing is to be left. `origin`:
    the Trainer or function that `evaluate` is made of, and its Setting, to make it again in another process.
    """

    space: SearchSpace
    directions: tuple[str, ...]
    n_trials: int
    sampler: Any = None
    pruner: Any = None
    seed: int | None = None
    timeout: float | None = None
    history: tuple[Trial, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    finished: Callable[[Trial], bool] = _no_end
    output_dir: str | None = None
    origin: tuple[Any, Any] = (None, None)
    resume: bool = False
    taken: frozenset[int] = frozenset()

    def number(self, index: int) -> int:
        """The number of the trial that is to be run as the one of this index: the next that is free.

        >>> plan = Plan(SearchSpace(), ("minimize",), 3, taken=frozenset({0, 1, 3}))
        >>> [plan.number(index) for index in range(3)]
        [2, 4, 5]
        """
        return index + bisect_right(self._free_before, index)

    def going_on(self, trials: Sequence[Trial]) -> Plan:
        """What is left of the plan with these trials finished."""
        taken = frozenset(trial.number for trial in trials)
        return replace(self, history=(*self.history, *trials), n_trials=self.n_trials - len(trials), taken=taken)

    @cached_property
    def _free_before(self) -> list[int]:
        """How many numbers are free below each that is taken."""
        return [number - taken for taken, number in enumerate(sorted(self.taken))]


@dataclass(frozen=True)
class Run:
    """What a backend hands back: every finished trial of the search, and its own object."""

    trials: tuple[Trial, ...]
    native: Any
    interrupted: bool = False


def find(name: str) -> Backend:
    """The backend of that name. Raises `BackendError`, saying which there are.

    >>> find("optuna").pip
    "pip install 'hpcompat[optuna]'"
    """
    if isinstance(name, str) and name in BACKENDS:
        return BACKENDS[name]
    raise BackendError(f"there is no backend {name!r}; {known(name, BACKENDS)}")


SEARCH = (
    *("backend", "direction", "n_trials", "compute_objective", "hp_name", "sampler", "pruner", "seed", "timeout"),
    *("history", "resume", "keep", "output_dir", "callbacks", "progress"),
)
"""What `search` takes for every backend, beside the backend's own options."""


def known(name: Any, names: Mapping[str, Any] | tuple[str, ...], also: tuple[str, ...] = ()) -> str:
    """The end of a message about a name that is none of `names`; it may be meant for one of `also`.

    >>> known("medain", ("median", "asha")), known("n_trial", ("storage",), SEARCH)
    ("did you mean 'median'?", "did you mean 'n_trials'?")
    """
    close = difflib.get_close_matches(name, (*names, *also), 1) if isinstance(name, str) else []
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(map(repr, names))}"


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


def option_hint(name: str, options: Mapping[str, Any] | tuple[str, ...]) -> str:
    """What to do about something that is none of the backend's own options."""
    return COUNTERPARTS.get(name) or known(name, options, SEARCH)


def check_options(backend: str, given: Mapping[str, Any], options: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Raise `BackendError` for those that are none of the backend's own options."""
    unknown = [name for name in given if name not in options]
    issues = [Issue(name, "unknown option", option_hint(name, options)) for name in unknown]
    if issues:
        raise BackendError(f"the {backend} backend cannot do this", issues)


def stored_text(text: str, most: int | None = None) -> str:
    r"""Make a text one that every server stores, of at most that many characters.

    PostgreSQL takes no NUL, and UTF-8 has no lone surrogates: both are written out.

    >>> print(stored_text("a\0b\ud800"))
    a\x00b\ud800
    """
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")[:most]


_SEEDS = 2**32


def leg_seed(seed: int | None, replayed: int) -> int | None:
    """The seed of an engine that has `replayed` trials behind it: the plain one would draw them all again.

    One that no engine takes (numpy's generators take 32 bits) stands for another.
    """
    if seed is None or (not replayed and 0 <= seed < _SEEDS):
        return seed
    return random.Random(f"{seed}/{replayed}").getrandbits(32)
