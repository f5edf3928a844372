"""The loop of a search, and its parts: an Engine suggests params, an Executor runs them, a Recorder saves trials."""

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
        native: The engine's own object, which becomes `SearchResult.native`.
        is_exhausted: Whether the engine has no more suggestions.
    """

    native: Any = None
    is_exhausted: bool = False

    @abstractmethod
    def ask(self, index: int) -> Suggestion | None:
        """Return the next suggestion, or None at the end. `index`: how many suggestions this process has received."""

    @abstractmethod
    def tell(self, suggestion: Suggestion, trial: Trial) -> Trial:
        """Learn from a finished trial; return it, with any constraints that the sampler adds."""

    def abandon(self, suggestion: Suggestion, error: BaseException) -> None:  # noqa: B027  (most have nothing to do)
        """Release the suggestion of a trial that an error keeps from finishing."""

    def existing_trials(self) -> Sequence[Trial]:
        """Return the trials that the store held before the first trial of this search; they count in `n_trials`."""
        return ()

    def trials_of_other_processes(self, own: Sequence[Trial]) -> Sequence[Trial]:
        """Return the trials of the search that this process did not run. `own`: the trials that it did run."""
        return ()


class Executor(Protocol):
    """Runs as many suggestions at a time as it has slots."""

    @property
    def has_free_slot(self) -> bool: ...

    def submit(self, suggestion: Suggestion) -> None: ...

    def wait(self) -> Trial:
        """Wait for the next trial that finishes, and return it."""
        ...


class Recorder(Protocol):
    """Observes a search from the process that drives it."""

    def begin(self, suggestion: Suggestion) -> Suggestion:
        """Record that a trial starts; return the suggestion to run."""
        ...

    def raise_if_stopped(self) -> None:
        """Raise `KeyboardInterrupt` if the search was told to stop."""

    def save(self, trial: Trial) -> None:
        """Save a finished trial; this comes before the engine and the callbacks receive it."""
        ...

    def finish(self, trial: Trial) -> bool:
        """Pass a finished trial to the callbacks and the progress bar; return whether the search should end."""
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

    A finished trial is saved before the engine receives it, so that it is not lost if the engine raises.

    Returns:
        All trials of the search, ordered by number, including those of other processes.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed before any trial had finished.
    """
    existing_trials = tuple(engine.existing_trials())
    n_remaining = config.n_trials - len(existing_trials)
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
            with suppress(Exception):  # the first error says more
                engine.abandon(suggestion, error)
        if not isinstance(error, KeyboardInterrupt):
            raise
        interrupted = True
    other_trials = engine.trials_of_other_processes(finished)
    if interrupted and not (finished or other_trials):
        raise KeyboardInterrupt
    trials = sorted((*existing_trials, *finished, *other_trials), key=lambda trial: trial.number)
    return BackendResult(tuple(trials), engine.native, interrupted)


def process_finished_trial(
    trial: Trial, tell: Callable[[Trial], Trial], finished: list[Trial], recorder: Recorder
) -> bool:
    """Save a finished trial, and pass it to the engine and the callbacks.

    If the engine raises, the callbacks still receive the trial. If saving raises, only the engine receives it: its own
    store may keep it.

    Returns:
        Whether the search should end.
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
