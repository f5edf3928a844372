"""W&B runs: the base class of the engines, which create a run for each trial, and the isolation of wandb's state."""

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
from hpcompat.compat.wandb import allow_finish, keep_open, without_new_config_dir
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.trials.config import SearchConfig, Suggestion
from hpcompat.trials.files import ensure_writable
from hpcompat.trials.loop import Engine
from hpcompat.trials.notes import dump_notes
from hpcompat.trials.trial import FAILED, Trial

METRIC = "objective"
# WANDB_… variables that apply to a single run, and would be shared by all trials
_REMOVED_VARIABLES = ("NAME", "NOTES", "RESUME", "RUN_GROUP", "RUN_ID", "SWEEP_ID", "SWEEP_PARAM_PATH")


def finish_run(run: wandb.Run, trial: Trial, names: Sequence[str]) -> None:
    """Log the values and the state of a trial, and finish its run.

    Raises `SearchError` if the run cannot be written.
    """
    try:
        if trial.values is not None:
            run.log(dict(zip(names, trial.values, strict=True)))
        notes = dump_notes(trial)
        error = {"error": to_storable(trial.cause)} if trial.cause else {}
        run.summary.update({"state": trial.state, **error, **({NOTES: notes} if notes else {})})
        run.finish(exit_code=int(trial.state == FAILED))
    except OSError as error:
        hint = Issue("", "finished trials are in the journal: fix the cause, then continue with resume=True")
        raise SearchError(f"the run {run.id!r} of W&B cannot be written: {error.strerror}", [hint]) from error


def init_run(hints: Sequence[Issue] = (), **arguments: Any) -> wandb.Run:
    """Call `wandb.init`. Raises `SearchError` if it raises, because every trial would fail in the same way."""
    defaults = {"x_save_requirements": False}  # listing the installed packages takes longer than a small trial
    with _translate_refusals("wandb.init", hints):
        settings = wandb.Settings(**{**defaults, **arguments.pop("settings", {})})
        return wandb.init(settings=settings, **arguments)  # it retries by itself until init_timeout


def start_service() -> None:
    """Start wandb's service process, with the settings of the environment. Raises `SearchError` if they are invalid."""
    with _translate_refusals("wandb.setup"):
        wandb.setup()


@contextmanager
def _translate_refusals(call: str, hints: Sequence[Issue] = ()) -> Iterator[None]:
    try:
        yield
    except (wandb.Error, ValueError, OSError) as error:
        raise SearchError(f"{call} refuses: {error}", hints) from error


@contextmanager
def isolated_wandb(output_dir: str | None) -> Iterator[None]:
    """Silence wandb, and let it write to output_dir or a temporary directory, within the block.

    Raises `BackendError` if a run is open, because it would be finished.
    """
    if wandb.run is not None:
        hint = Issue("", "call wandb.finish() before you search")
        raise BackendError(f"the run {wandb.run.id!r} of W&B is open, and each trial has one of its own", [hint])
    before = _environment()
    before.pop("WANDB_SERVICE", None)  # the address of wandb's service process, which is ended below
    hooks = sys.exit, sys.excepthook
    since = time.time()
    with private_directory() as private, without_new_config_dir():
        directory = ensure_writable(output_dir or private)  # wandb silently uses another directory if it cannot write
        os.environ.setdefault("WANDB__GRAPHQL_RETRY_MAX", "4")  # by default it retries for half an hour
        os.environ |= {
            "WANDB_DIR": directory,
            "WANDB_DATA_DIR": os.path.join(directory, "wandb"),  # artifacts for `wandb sync`
            "WANDB_CACHE_DIR": private,
            "WANDB_SILENT": "true",
            "WANDB_CONSOLE": "off",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_REINIT": "return_previous",  # in a notebook wandb.init() would finish the run of the trial
        }
        for name in _REMOVED_VARIABLES:
            os.environ.pop(f"WANDB_{name}", None)
        wandb.teardown()  # so that it reads its environment again
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
    """Remove the sockets of wandb's system monitor, which is ended before it removes them itself.

    wandb's agent restarts the service for each run, with the default temporary directory.
    """
    for path in Path(tempfile.gettempdir()).glob("wandb_symon-*.sock"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            status = path.lstat()
            client.setblocking(False)  # a blocking connect could wait forever
            if status.st_uid == os.getuid() and stat.S_ISSOCK(status.st_mode) and status.st_mtime >= since:
                try:
                    client.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}


@dataclass(frozen=True)
class Sweep:
    """The sweep of a search: the `native` of its result.

    Attributes:
        config: The configuration of the sweep.
        id: The id of the sweep, or of the group of runs with the embedded driver.
        runs: The id of each run, by the number of its trial.
        directory: The local directory of the runs, if it is kept.
        url: The web page of the sweep, if it is on a server.
    """

    config: Mapping[str, Any]
    id: str
    runs: Mapping[int, str] = field(default_factory=dict)
    directory: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class PendingRun:
    """The params of the next trial, and its open run.

    Attributes:
        params: The params.
        run: The run, in whose config the params are.
        should_stop: Returns whether W&B stops the trial, given its reports.
        report_name: The name under which reports are logged.
    """

    params: dict[str, Any]
    run: wandb.Run
    should_stop: Callable[[Sequence[float]], bool]
    report_name: str


class RunEngine(Engine):
    """The base class of the engines, which opens and finishes a run for each trial.

    Args:
        config: The configuration of the search.
        sweep: The configuration of the sweep.
        sweep_id: The id of the sweep.
        metrics: The names under which the objectives are logged.
        existing: The trials that the sweep already holds, by the id of their run.
        url: The web page of the sweep.
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
        """The sweep with its runs so far."""
        output_dir = self._config.output_dir
        directory = os.path.join(os.path.abspath(output_dir), "wandb") if output_dir else None
        return Sweep(self._sweep, self._sweep_id, dict(self._runs), directory, self._url)

    def existing_trials(self) -> Sequence[Trial]:
        """Return the trials that the sweep already held."""
        return tuple(self._existing.values())

    @abstractmethod
    def next_run(self, number: int) -> PendingRun | None:
        """Open the run of the trial with this number; return None if the sweep has no more runs."""

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
            run.log(
                {pending.report_name: value, f"{METRIC}_step": step}
            )  # without step=, because user code logs to this run too

        keep_open(run)
        return Suggestion(number, pending.params, report, lambda: pending.should_stop(reports), native=run)

    def tell(self, suggestion: Suggestion, trial: Trial) -> Trial:
        """Log the values of the trial, and finish its run."""
        run: wandb.Run = suggestion.native
        allow_finish(run)
        self._runs[trial.number] = run.id
        finish_run(run, trial, self._metrics)
        self.learn(trial)
        return trial

    def abandon(self, suggestion: Suggestion, error: BaseException) -> None:
        """Finish the run as failed."""
        allow_finish(suggestion.native)
        suggestion.native.finish(exit_code=1)
