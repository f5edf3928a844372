"""A run of W&B for each trial, as the engine of a search; and wandb in a state that the search has to itself."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb

from hpcompat.backends.base import to_storable
from hpcompat.backends.isolation import private_directory
from hpcompat.backends.wandb.shared_sweep import NOTES
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.trials.config import SearchConfig, Suggestion
from hpcompat.trials.files import ensure_writable
from hpcompat.trials.loop import Engine
from hpcompat.trials.notes import dump_notes
from hpcompat.trials.trial import FAILED, Trial

METRIC = "objective"
# environment variables that would replace a run, or are for a single run
_HIDDEN = ("NAME", "NOTES", "RESUME", "RUN_GROUP", "RUN_ID", "SWEEP_ID", "SWEEP_PARAM_PATH")


def record(run: wandb.Run, trial: Trial, names: Sequence[str]) -> None:
    """Log the outcome of a trial, and finish its run: a failed one as failed.

    Raises `SearchError` where it cannot be written.
    """
    try:
        if trial.values is not None:
            run.log(dict(zip(names, trial.values, strict=True)))
        notes = dump_notes(trial)
        error = {"error": to_storable(trial.cause)} if trial.cause else {}
        run.summary.update({"state": trial.state, **error, **({NOTES: notes} if notes else {})})
        run.finish(exit_code=int(trial.state == FAILED))
    except OSError as error:
        hint = Issue("", "what is finished is in the journal: see to it, then go on with resume=True")
        raise SearchError(f"the run {run.id!r} of W&B cannot be written: {error.strerror}", [hint]) from error


def init_run(hints: Sequence[Issue] = (), **arguments: Any) -> wandb.Run:
    """Call `wandb.init`. Raises `SearchError` for what it refuses: every trial would fail alike."""
    quick = {"x_save_requirements": False}  # listing what is installed takes longer than a small trial
    with _translate_refusals("wandb.init", hints):
        settings = wandb.Settings(**{**quick, **arguments.pop("settings", {})})
        return wandb.init(settings=settings, **arguments)  # which asks again by itself, for init_timeout


def start_service() -> None:
    """Start the process that writes all runs, for the mode that the environment names.

    Raises `SearchError` for settings that wandb refuses.
    """
    with _translate_refusals("wandb.setup"):
        wandb.setup()


@contextmanager
def _translate_refusals(call: str, hints: Sequence[Issue] = ()) -> Iterator[None]:
    try:
        yield
    except (wandb.Error, ValueError, OSError) as error:
        raise SearchError(f"{call} refuses: {error}", hints) from error


def keep_open(run: wandb.Run) -> None:
    """Ignore calls of the run's `finish`, until `allow_finish`.

    transformers' WandbCallback finishes the run that it finds in a search and starts another, and a
    function written for `wandb.agent` finishes its own.
    """
    vars(run).update(dict.fromkeys(_FINISH, _ignore_finish))


def allow_finish(run: wandb.Run) -> None:
    """Restore the run's methods that finish it."""
    for name in _FINISH:
        vars(run).pop(name, None)


_FINISH = ("finish", "_finish")  # wandb.finish() calls the private one (wandb 0.31)


def _ignore_finish(exit_code: int | None = None) -> None:
    """Do not finish."""


@contextmanager
def isolated_wandb(output_dir: str | None) -> Iterator[None]:
    """Make wandb silent, and have it write to output_dir or a temporary directory; restore it after the block.

    Raises `BackendError` if a run is open: it would end.
    """
    if wandb.run is not None:
        hint = Issue("", "call wandb.finish() before you search")
        raise BackendError(f"the run {wandb.run.id!r} of W&B is open, and each trial has one of its own", [hint])
    before = _environment()
    before.pop("WANDB_SERVICE", None)  # the address of wandb's process, which is about to end
    hooks = sys.exit, sys.excepthook
    since = time.time()
    with private_directory() as private:
        directory = ensure_writable(output_dir or private)  # else wandb would write to another, and leave it there
        os.environ.setdefault("WANDB__GRAPHQL_RETRY_MAX", "4")  # by itself it goes on for half an hour
        os.environ |= {
            "WANDB_DIR": directory,
            "WANDB_DATA_DIR": os.path.join(directory, "wandb"),  # artifacts that `wandb sync` is to send
            "WANDB_CACHE_DIR": private,
            "WANDB_SILENT": "true",
            "WANDB_CONSOLE": "off",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_REINIT": "return_previous",  # in a notebook wandb.init() would end the trial's run
        }
        for name in _HIDDEN:
            os.environ.pop(f"WANDB_{name}", None)
        wandb.teardown()  # it has read its environment once, and never would again
        try:
            yield
        finally:
            wandb.teardown()
            for name in _environment():
                del os.environ[name]
            os.environ |= before
            sys.exit, sys.excepthook = hooks
            _remove_sockets(since)


def _remove_sockets(since: float) -> None:
    """Remove the sockets that no process listens on: wandb's service for measurements is ended before it does so.

    Wandb's agent starts wandb's process again for each run, and then it has the usual temporary directory.
    """
    for path in Path(tempfile.gettempdir()).glob("wandb_symon-*.sock"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            status = path.lstat()
            client.setblocking(False)  # one that listens, and takes no connection, would never let go
            if status.st_uid == os.getuid() and stat.S_ISSOCK(status.st_mode) and status.st_mtime >= since:
                try:
                    client.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}


@dataclass(frozen=True)
class Sweep:
    """The sweep of a search, which is its `native`.

    `config`: the sweep, as W&B takes it. `id`: of the sweep; of the group of runs if it was
    embedded. `runs`: the id of each trial's run, by the trial's number. `directory`: where the runs
    lie on this machine, if they stay. `url`: where the sweep is shown, if there is a server.
    """

    config: Mapping[str, Any]
    id: str
    runs: Mapping[int, str] = field(default_factory=dict)
    directory: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class PendingRun:
    """The params to try, and the open run that shows them.

    `should_stop(reports)`: whether W&B stops the trial. `report_name`: the name that reports are logged under.
    """

    params: dict[str, Any]
    run: wandb.Run
    should_stop: Callable[[Sequence[float]], bool]
    report_name: str


class RunEngine(Engine):
    """Opens a run for each trial, and finishes it with the trial.

    `metrics`: the names of the objectives. `existing`: trials that the sweep held before, by the id of their run.
    """

    def __init__(
        self,
        config: SearchConfig,
        sweep: Mapping[str, Any],
        sweep_id: str,
        metrics: Sequence[str],
        existing: Mapping[str, Trial] | None = None,
        url: str | None = None,
    ) -> None:
        self._config = config
        self._sweep = sweep
        self._sweep_id = sweep_id
        self._metrics = metrics
        self._existing = existing or {}
        self._url = url
        self._runs = dict(enumerate(self._existing))

    @property
    def native(self) -> Sweep:
        """The sweep, with the runs so far."""
        output_dir = self._config.output_dir
        directory = os.path.join(os.path.abspath(output_dir), "wandb") if output_dir else None
        return Sweep(self._sweep, self._sweep_id, dict(self._runs), directory, self._url)

    def existing_trials(self) -> Sequence[Trial]:
        """Return the trials that the sweep held before."""
        return tuple(self._existing.values())

    @abstractmethod
    def next_run(self, number: int) -> PendingRun | None:
        """Open the run of the trial of that number; return None if the sweep has no more."""

    @abstractmethod
    def learn(self, trial: Trial) -> None:
        """Learn from a finished trial."""

    def ask(self, index: int) -> Suggestion | None:
        """Open the next run."""
        number = self._config.trial_number(len(self._existing) + index)
        pending = self.next_run(number)
        if pending is None:
            return None
        run, reports = pending.run, list[float]()

        def report(value: float, step: int) -> None:
            reports.append(value)
            run.log({pending.report_name: value, f"{METRIC}_step": step})  # no step=: user code logs to this run too

        keep_open(run)
        return Suggestion(number, pending.params, report, lambda: pending.should_stop(reports), native=run)

    def tell(self, suggestion: Suggestion, trial: Trial) -> Trial:
        """Log the outcome of the trial, and finish its run."""
        run: wandb.Run = suggestion.native
        allow_finish(run)
        self._runs[trial.number] = run.id
        record(run, trial, self._metrics)
        self.learn(trial)
        return trial

    def abandon(self, suggestion: Suggestion, error: BaseException) -> None:
        """Finish the run as failed."""
        allow_finish(suggestion.native)
        suggestion.native.finish(exit_code=1)
