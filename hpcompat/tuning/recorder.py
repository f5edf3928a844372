"""The recorder of a search: what is done with each finished trial, and when an error ends the search."""

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
    """Updates the journal, the checkpoints and the progress, and calls the callbacks; a `Recorder` of `run_loop`.

    `trials`: the finished ones, of this call and of earlier ones that it resumes. `outcome`: the backend's result.
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
        self._earlier: tuple[Trial, ...] = ()
        self._saved: dict[int, Trial] = {}

    def start(self) -> SearchConfig:
        """Record the trials that ended the process of an earlier call, and return the rest of the search."""
        n_trials = self._config.n_trials
        for trial in self._journal.crashed:
            self.save(trial)
            if self.finish(trial):
                n_trials = 0
        self._earlier = tuple(self.trials)
        return replace(self._config.after(self._earlier), n_trials=max(0, n_trials - len(self._earlier)))

    def begin(self, suggestion: Suggestion) -> Suggestion:
        """Write to the journal that a trial begins, and each of its steps."""
        self.raise_if_stopped()
        if not self._journal.root:
            return suggestion
        write_step = self._journal.begin(suggestion.number, suggestion.params)
        steps = count(1)

        def on_step() -> None:
            write_step(next(steps))
            suggestion.on_step()

        def report(value: float, step: int) -> None:
            write_step(step)
            suggestion.report(value, step)

        return replace(suggestion, on_step=on_step, report=report)

    def raise_if_stopped(self) -> None:
        """Raise `KeyboardInterrupt` after SIGTERM: code in a trial may have caught what its handler raised."""
        self._termination.check()

    def save(self, trial: Trial) -> None:
        """Write a finished trial to the journal."""
        self._retention.discard_unsuccessful(trial)
        self._journal.add(trial)
        self._saved[trial.number] = trial

    def finish(self, trial: Trial) -> bool:
        """Update everything else for a finished trial; return whether a callback ends the search."""
        if trial.constraints != self._saved.pop(trial.number, trial).constraints:
            self._journal.amend(trial)
        self._warn_of_shared_state(trial)
        self.trials.append(trial)
        self._retention.add(trial)
        self._show_progress(trial, self._retention.front)
        self.raise_if_stopped()  # not before: what has finished is kept
        try:
            answers = [callback(trial) for callback in self._callbacks]
        except Exception as error:
            raise SearchError(f"a callback raised {error_summary(error)}") from error
        return any(map(_requests_stop, answers)) or self._session.is_aborted

    def _warn_of_shared_state(self, trial: Trial) -> None:
        """Warn, once in a search, of state that goes from this trial to the next."""
        if trial.carried and self._config.n_trials > 1 and not any(other.carried for other in self.trials):
            names = ", ".join(trial.carried)
            warnings.warn(
                f"state goes from trial to trial: {names}. Every trial gets the same callbacks, data collator and "
                "functions; their numbers, strings, bools and None are reset before each, other objects are not. "
                "Pass a function trial -> Trainer instead, which creates new ones for each trial",
                stacklevel=2,
            )

    def interrupt(self) -> None:
        """End the search after Ctrl-C, with the trials that are finished."""
        self.outcome = BackendResult(tuple(self.trials[len(self._earlier) :]), None, interrupted=True)

    def fail(self, error: SearchError) -> None:
        """Add the finished trials to an error that ends the search."""
        error.trials = tuple(self.trials)
        if isinstance(error, AmbiguousObjectiveError):
            self._keep_unscored(error)

    def _keep_unscored(self, error: AmbiguousObjectiveError) -> None:
        """Keep the trained models: a search that is resumed with a compute_objective scores them."""
        for trial in error.unscored:
            self._journal.add(trial)
            self._retention.exempt(trial)
        error.trials = (*error.trials, *error.unscored)
        if error.unscored and self._journal.log_dir:
            hint = "what is trained is in the journal: with resume=True it is scored, and not trained again"
            error.issues = (*error.issues, Issue("", hint))

    def close(self, is_cut_off: bool) -> None:
        """Remove what is not to be kept, unless a resumed search may need the interrupted trial's checkpoint."""
        if is_cut_off or self._termination.is_requested:
            self._journal.has_unfinished_trials = self._retention.has_unfinished(self.trials)
        else:
            self._retention.close()

    def result(self) -> BackendResult:
        """Return the result of the search. Raises `SearchError` if all trials failed."""
        unsorted = (*self._earlier, *self.outcome.trials)
        trials = without_missing_paths(sorted(unsorted, key=lambda trial: trial.number))
        if not self.outcome.interrupted:
            if len(self.trials) == len(self._earlier):
                self._warn_if_full(len(trials))
            if all(trial.state == FAILED for trial in trials):
                raise _all_failed_error(trials)
        return replace(self.outcome, trials=trials)

    def _warn_if_full(self, n_existing: int) -> None:
        """Warn if no trial was run because the search has as many already.

        To call a complete search once more is not a mistake, except with a study: `study.optimize` would run more.
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
    """Open the recorder of a search, and close it whatever ends the block.

    Ctrl-C ends the block without an error if any trial is finished. Other errors leave it as `SearchError` with the
    finished trials, but for `BackendError` and `TranslationError`.
    """
    retention = Retention(run_dirs, journal.keep, config.directions)
    with progress_bar(config.n_trials, config.directions, progress, len(journal.trials)) as show, ExitStack() as stack:
        recorder = TrialRecorder(config, journal, retention, session, callbacks, show, termination)
        session.attach(recorder)
        is_cut_off = False
        stack.callback(lambda: recorder.close(is_cut_off))
        try:
            yield recorder
        except KeyboardInterrupt:
            if not recorder.trials:
                raise
            recorder.interrupt()
        except SystemExit:  # of a signal handler of the user's
            is_cut_off = True
            raise
        except SearchError as error:
            recorder.fail(error)
            raise
        except (BackendError, TranslationError):
            raise
        except Exception as error:  # of the engine, or of a sampler of the user's
            failure = _wrap_engine_error(error)
            recorder.fail(failure)
            raise failure from error


def _wrap_engine_error(error: Exception) -> SearchError:
    if isinstance(error, HpcompatError):
        return SearchError(error.message, error.issues)
    return SearchError(f"the engine raised {error_summary(error)}")


def _requests_stop(answer: Any) -> bool:
    """Return whether the answer of a callback is True, numpy's and torch's too; other truthy values do not count."""
    return answer is True or (getattr(answer, "shape", None) == () and answer.item() is True)


def _all_failed_error(trials: Sequence[Trial]) -> SearchError:
    if not trials:
        return SearchError("no trial was run: history and study leave none to run")
    hint = Issue("", "the tracebacks are in the `error` of each of this exception's `trials`")
    error = SearchError(f"all {len(trials)} trials failed", [*_group_causes(trials), hint])
    error.trials = tuple(trials)
    return error


def _group_causes(trials: Sequence[Trial]) -> Iterator[Issue]:
    """Return an issue for each different cause, with the trials that failed of it."""
    by_cause: dict[str, list[int]] = {}
    for trial in trials:
        by_cause.setdefault(trial.cause or "unknown", []).append(trial.number)
    for cause, numbers in by_cause.items():
        yield Issue(f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}", cause)
