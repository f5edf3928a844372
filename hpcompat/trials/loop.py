"""The loop of a search and its parts: what chooses params (Engine), runs trials (Executor), keeps them (Recorder)."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from hpcompat.trials.config import BackendResult, Evaluate, SearchConfig, Suggestion
from hpcompat.trials.trial import Trial


class Engine(ABC):
    """Chooses params and learns from finished trials. One instance per search.

    Attributes:
        native: The engine's own object, which is `SearchResult.native` after the search.
        is_exhausted: Whether it wants no more trials.
    """

    native: Any = None
    is_exhausted: bool = False

    @abstractmethod
    def ask(self, index: int) -> Suggestion | None:
        """Return the next suggestion, or None at the end. `index`: how many this process was given before."""

    @abstractmethod
    def tell(self, suggestion: Suggestion, trial: Trial) -> Trial:
        """Learn from a finished trial. Returns it, with the constraints that a sampler may add."""

    def abandon(self, suggestion: Suggestion, error: BaseException) -> None:  # noqa: B027  (most have nothing to do)
        """Release the suggestion of a trial that does not finish, because of the error."""

    def existing_trials(self) -> Sequence[Trial]:
        """Return the trials from before this search that count in `n_trials`; known before the first one starts."""
        return ()

    def trials_of_other_processes(self, own: Sequence[Trial]) -> Sequence[Trial]:
        """Return the other trials of the search: of other processes, and from before. `own`: those of this process."""
        return ()


class Executor(Protocol):
    """Runs suggestions, as many at a time as it has slots."""

    @property
    def has_free_slot(self) -> bool: ...

    def submit(self, suggestion: Suggestion) -> None: ...

    def wait(self) -> Trial:
        """Return the next trial that finishes."""
        ...


class Recorder(Protocol):
    """Observes a search, in the process that drives it."""

    def begin(self, suggestion: Suggestion) -> Suggestion:
        """Note that a trial begins. Returns the suggestion to run."""
        ...

    def raise_if_stopped(self) -> None:
        """Raise `KeyboardInterrupt` if the search is to end."""

    def save(self, trial: Trial) -> None:
        """Persist a finished trial, before anything else is done with it."""
        ...

    def finish(self, trial: Trial) -> bool:
        """Report a finished trial to callbacks and user; return whether the search is to end."""
        ...


class InlineExecutor:
    """Runs one suggestion at a time, in this process."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._submitted: Suggestion | None = None

    @property
    def has_free_slot(self) -> bool:
        return self._submitted is None

    def submit(self, suggestion: Suggestion) -> None:
        self._submitted = suggestion

    def wait(self) -> Trial:
        suggestion, self._submitted = self._submitted, None
        assert suggestion is not None
        return self._evaluate(suggestion)


def run_loop(engine: Engine, config: SearchConfig, executor: Executor, recorder: Recorder) -> BackendResult:
    """Run trials until there are `n_trials`, or until the timeout, a callback, Ctrl-C or the engine ends it.

    A finished trial is saved before the engine is told of it: nothing that the engine refuses is lost.

    Returns:
        All trials of the search in order, those of other processes included.

    Raises:
        KeyboardInterrupt: Ctrl-C came before any trial had finished.
    """
    existing = tuple(engine.existing_trials())
    n_remaining = config.n_trials - len(existing)
    deadline = time.monotonic() + (config.timeout or float("inf"))
    running: dict[int, Suggestion] = {}
    finished: list[Trial] = []
    n_asked = 0
    is_over = interrupted = False
    try:
        while True:
            while executor.has_free_slot and not is_over and n_asked < n_remaining and time.monotonic() < deadline:
                suggestion = engine.ask(n_asked)
                if suggestion is None:
                    is_over = True
                    break
                n_asked += 1
                running[suggestion.number] = suggestion
                executor.submit(recorder.begin(suggestion))
            if not running:
                break
            trial = executor.wait()
            recorder.raise_if_stopped()
            tell = partial(engine.tell, running.pop(trial.number))
            is_over |= process_finished_trial(trial, tell, finished, recorder) or engine.is_exhausted
    except BaseException as error:
        for suggestion in running.values():
            with suppress(Exception):  # the error says more
                engine.abandon(suggestion, error)
        if not isinstance(error, KeyboardInterrupt):
            raise
        interrupted = True
    elsewhere = engine.trials_of_other_processes(finished)
    if interrupted and not (finished or elsewhere):
        raise KeyboardInterrupt
    trials = sorted((*existing, *finished, *elsewhere), key=lambda trial: trial.number)
    return BackendResult(tuple(trials), engine.native, interrupted)


def process_finished_trial(
    trial: Trial, tell: Callable[[Trial], Trial], finished: list[Trial], recorder: Recorder
) -> bool:
    """Return whether the search is to end, after a finished trial is saved and the engine and the callbacks know it.

    If the engine refuses the trial, the callbacks get it all the same. If it cannot be saved, only the engine gets it,
    which may store it.
    """
    try:
        recorder.save(trial)
    except BaseException:
        with suppress(Exception):  # the first error says more
            tell(trial)
        raise
    try:
        trial = tell(trial)
    finally:
        finished.append(trial)
        is_over = recorder.finish(trial)
    return is_over
