"""The recorder of a search: it saves each finished trial, and completes the errors that end the search."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from hpcompat.distributed import Session
from hpcompat.errors import BackendError, HpcompatError, Issue, SearchError, TranslationError, error_summary
from hpcompat.objectives.objective import AmbiguousObjectiveError
from hpcompat.trials.config import BackendResult, SearchConfig, Suggestion
from hpcompat.trials.journal import Journal
from hpcompat.trials.process import Termination
from hpcompat.trials.report import ProgressCallback, progress_bar
from hpcompat.trials.run_dirs import Retention, RunDirs, without_missing_paths
from hpcompat.trials.trial import FAILED, Trial


class TrialRecorder:
    """Updates the journal, the checkpoints and the progress bar, and calls the callbacks.

    `trials`: the finished trials, including those of the search that is resumed. `outcome`: the backend's result.
    """

    def __init__(
        self,
        config: SearchConfig,
        journal: Journal,
        retention: Retention,
        session: Session,
        callbacks: Sequence[Callable[[Trial], object]],
        show_progress: ProgressCallback,
        termination: Termination,
    ) -> None:
        self._config = config
        self._journal = journal
        self._retention = retention
        self._session = session
        self._callbacks = callbacks
        self._show_progress = show_progress
        self._termination = termination
        self.trials = list(retention.resume(journal.trials, journal.root, journal.log_dir))
        self.outcome = BackendResult((), None)
        self._resumed: tuple[Trial, ...] = ()
        self._saved: dict[int, Trial] = {}

    def start(self) -> SearchConfig:
        """Record the trials that have crashed the process, and return the configuration of the remaining search."""
        n_trials = self._config.n_trials
        for trial in self._journal.crashed:
            self.save(trial)
            if self.finish(trial):
                n_trials = 0
        self._resumed = tuple(self.trials)
        return replace(self._config.remaining_after(self._resumed), n_trials=max(0, n_trials - len(self._resumed)))

    def begin(self, suggestion: Suggestion) -> Suggestion:
        """Write to the journal that a trial starts, and its current step while it runs."""
        self.raise_if_stopped()
        if not self._journal.root:
            return suggestion
        write_step = self._journal.start_trial(suggestion.number, suggestion.params)
        steps = count(1)

        def on_step() -> None:
            write_step(next(steps))
            suggestion.on_step()

        def report(value: float, step: int) -> None:
            write_step(step)
            suggestion.report(value, step)

        return replace(suggestion, on_step=on_step, report=report)

    def raise_if_stopped(self) -> None:
        """Raise `KeyboardInterrupt` after SIGTERM: a trial may have caught the one that the handler raised."""
        self._termination.check()

    def save(self, trial: Trial) -> None:
        """Write a finished trial to the journal."""
        self._retention.discard_unsuccessful(trial)
        self._journal.add(trial)
        self._saved[trial.number] = trial

    def finish(self, trial: Trial) -> bool:
        """Update the checkpoints and the progress bar, and call the callbacks; return whether the search should end."""
        if trial.constraints != self._saved.pop(trial.number, trial).constraints:
            self._journal.update_constraints(trial)
        self._warn_of_shared_state(trial)
        self.trials.append(trial)
        self._retention.add(trial)
        self._show_progress(trial, self._retention.front)
        self.raise_if_stopped()  # after the trial has been recorded
        try:
            return_values = [callback(trial) for callback in self._callbacks]
        except Exception as error:
            raise SearchError(f"a callback raised {error_summary(error)}") from error
        return any(map(_requests_stop, return_values)) or self._session.is_aborted

    def _warn_of_shared_state(self, trial: Trial) -> None:
        """Warn, once in a search, that a trial has changed state which the next trial sees."""
        if trial.carried and self._config.n_trials > 1 and not any(other.carried for other in self.trials):
            names = ", ".join(trial.carried)
            warnings.warn(
                f"trials see state that earlier trials have changed: {names}. All trials share the callbacks, the data "
                "collator and functions; their numbers, strings, bools and None are reset before each trial, other "
                "objects are not. Pass a function trial -> Trainer instead, which creates new ones for each trial",
                stacklevel=2,
            )

    def interrupt(self) -> None:
        """End the search after Ctrl-C, with the trials that are finished."""
        self.outcome = BackendResult(tuple(self.trials[len(self._resumed) :]), None, interrupted=True)

    def attach_trials(self, error: SearchError) -> None:
        """Attach the finished trials to an error that ends the search."""
        error.trials = tuple(self.trials)
        if isinstance(error, AmbiguousObjectiveError):
            self._keep_unscored(error)

    def _keep_unscored(self, error: AmbiguousObjectiveError) -> None:
        """Keep trained models that have no score: a search that is resumed with a compute_objective scores them."""
        for trial in error.unscored:
            self._journal.add(trial)
            self._retention.exempt(trial)
        error.trials = (*error.trials, *error.unscored)
        if error.unscored and self._journal.log_dir:
            hint = "the trained trials are in the journal: resume=True scores them without training them again"
            error.issues = (*error.issues, Issue("", hint))

    def close(self, is_exiting: bool) -> None:
        """Remove the checkpoints that are not kept, unless a resumed search may need that of an interrupted trial."""
        if is_exiting or self._termination.is_requested:
            self._journal.has_unfinished_trials = self._retention.has_unfinished(self.trials)
        else:
            self._retention.close()

    def result(self) -> BackendResult:
        """Return the result of the whole search. Raises `SearchError` if all trials failed."""
        unsorted = (*self._resumed, *self.outcome.trials)
        trials = without_missing_paths(sorted(unsorted, key=lambda trial: trial.number))
        if not self.outcome.interrupted:
            if len(self.trials) == len(self._resumed):
                self._warn_if_full(len(trials))
            if all(trial.state == FAILED for trial in trials):
                raise _all_failed_error(trials)
        return replace(self.outcome, trials=trials)

    def _warn_if_full(self, n_existing: int) -> None:
        """Warn if no trial was run because the search already has enough trials.

        Calling a complete search again is not a mistake, except with a study, of which `study.optimize` would run more.
        """
        n_trials = self._config.n_trials
        if n_existing > n_trials or (n_existing == n_trials and "study" in self._config.options):
            message = f"no trial was run: there are {n_existing} already, and n_trials={n_trials} is the total"
            warnings.warn(f"{message}; raise it to run more", stacklevel=4)


@contextmanager
def record_trials(
    config: SearchConfig,
    journal: Journal,
    run_dirs: RunDirs,
    session: Session,
    callbacks: Sequence[Callable[[Trial], object]],
    progress: bool,
    termination: Termination,
) -> Iterator[TrialRecorder]:
    """Open the recorder of a search within the block.

    Ctrl-C ends the block without an error if a trial has finished. `BackendError` and `TranslationError` are passed on;
    other errors become a `SearchError` with the finished trials.
    """
    retention = Retention(run_dirs, journal.keep, config.directions)
    with progress_bar(config.n_trials, config.directions, progress, len(journal.trials)) as show, ExitStack() as stack:
        recorder = TrialRecorder(config, journal, retention, session, callbacks, show, termination)
        session.attach(recorder)
        is_exiting = False
        stack.callback(lambda: recorder.close(is_exiting))
        try:
            yield recorder
        except KeyboardInterrupt:
            if not recorder.trials:
                raise
            recorder.interrupt()
        except SystemExit:  # raised by a signal handler of the user
            is_exiting = True
            raise
        except SearchError as error:
            recorder.attach_trials(error)
            raise
        except (BackendError, TranslationError):
            raise
        except Exception as error:  # raised by the engine, or by a sampler of the user
            failure = _wrap_engine_error(error)
            recorder.attach_trials(failure)
            raise failure from error


def _wrap_engine_error(error: Exception) -> SearchError:
    if isinstance(error, HpcompatError):
        return SearchError(error.message, error.issues)
    return SearchError(f"the engine raised {error_summary(error)}")


def _requests_stop(answer: Any) -> bool:
    """Return whether a callback returned True, also of NumPy or torch; other truthy values do not count."""
    return answer is True or (getattr(answer, "shape", None) == () and answer.item() is True)


def _all_failed_error(trials: Sequence[Trial]) -> SearchError:
    if not trials:
        return SearchError("no trial was run: history and study leave none to run")
    hint = Issue("", "the tracebacks are in the `error` of each of this exception's `trials`")
    error = SearchError(f"all {len(trials)} trials failed", [*_group_causes(trials), hint])
    error.trials = tuple(trials)
    return error


def _group_causes(trials: Sequence[Trial]) -> Iterator[Issue]:
    """Yield an issue for each cause of failure, with the numbers of its trials."""
    by_cause: dict[str, list[int]] = {}
    for trial in trials:
        by_cause.setdefault(trial.cause or "unknown", []).append(trial.number)
    for cause, numbers in by_cause.items():
        yield Issue(f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}", cause)
