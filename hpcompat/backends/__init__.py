"""How trials are chosen and driven: a module for each backend, the same `run(plan, evaluate)` in each.

A backend asks its engine for params, hands them to `evaluate` as a `Suggestion`, tells the engine what
came of it, and calls `plan.finished` with the Trial, in the process that drives the search.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from hpcompat.errors import BackendError, Issue, MissingBackendError
from hpcompat.trials.config import Evaluate, Plan, Run


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
