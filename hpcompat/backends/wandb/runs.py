"""One run of W&B for each trial; and wandb as the search's own for as long as it lasts."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcompat.backends import stored_text
from hpcompat.backends.temp_dirs import private_directory
from hpcompat.backends.wandb.joining import NOTES
from hpcompat.backends.wandb.shared_sweep import Shared
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.notes import dump_notes
from hpcompat.trials.run_dirs import writable
from hpcompat.trials.trial import FAILED, Trial

METRIC = "objective"
# what would make a run another one, or belongs to a single run
_HIDDEN = ("NAME", "NOTES", "RESUME", "RUN_GROUP", "RUN_ID", "SWEEP_ID", "SWEEP_PARAM_PATH")


def metrics(objectives: int) -> tuple[str, ...]:
    """The names under which W&B knows the objectives.

    >>> metrics(1), metrics(2)
    (('objective',), ('objective_0', 'objective_1'))
    """
    return (METRIC,) if objectives == 1 else tuple(f"{METRIC}_{index}" for index in range(objectives))


@dataclass(frozen=True)
class Offer:
    """A configuration to try, and the open run that shows it.

    `stops(reports)`: whether W&B would rather have the trial end here. `reported`: the name that
    reports are logged under.
    """

    params: dict[str, Any]
    run: Any
    stops: Callable[[Sequence[float]], bool]
    reported: str


@dataclass(frozen=True)
class Source:
    """Where configurations come from.

    `offer(number)` opens the next one, or gives None if there is none left. `before`: trials that the
    sweep already holds, by the id of their run. `shared`: the sweep on a server. `sweep`, `id` and `url` describe it.
    """

    offer: Callable[[int], Offer | None]
    tell: Callable[[Trial], None]
    metrics: tuple[str, ...]
    sweep: dict[str, Any]
    id: str
    url: str | None = None
    before: Mapping[str, Trial] = field(default_factory=dict)
    shared: Shared | None = None


def conducted(offer: Offer, number: int, evaluate: Evaluate) -> Trial:
    """The trial of an offer, shown by its run, which stays open until the trial is recorded."""
    run, reports = offer.run, list[float]()

    def report(value: float, step: int) -> None:
        reports.append(value)
        run.log({offer.reported: value, f"{METRIC}_step": step})  # no step=: others log to this run as well

    try:
        with _kept_open(run):
            return evaluate(Suggestion(number, offer.params, report, lambda: offer.stops(reports), run))
    except BaseException:
        run.finish(exit_code=1)
        raise


def record(run: Any, trial: Trial, names: Sequence[str]) -> None:
    """Log what came of a trial, and finish its run: a failed one as failed.

    Raises `SearchError` where it cannot be written.
    """
    try:
        if trial.values is not None:
            run.log(dict(zip(names, trial.values, strict=True)))
        notes = dump_notes(trial)
        error = {"error": stored_text(trial.cause)} if trial.cause else {}
        run.summary.update({"state": trial.state, **error, **({NOTES: notes} if notes else {})})
        run.finish(exit_code=int(trial.state == FAILED))
    except OSError as error:
        hint = Issue("", "what is finished is in the journal: see to it, then go on with resume=True")
        raise SearchError(f"the run {run.id!r} of W&B cannot be written: {error.strerror}", [hint]) from error


def opened(hints: Sequence[Issue] = (), **arguments: Any) -> Any:
    """`wandb.init`. Raises `SearchError` for what it refuses: every trial would fail alike."""
    import wandb

    quick = {"x_save_requirements": False}  # listing what is installed takes longer than a small trial
    with _refusals("wandb.init", hints):
        settings = wandb.Settings(**{**quick, **arguments.pop("settings", {})})
        return wandb.init(settings=settings, **arguments)  # which asks again by itself, for init_timeout


def served() -> None:
    """Start the process that writes all runs, for the mode that the environment names.

    Raises `SearchError` for settings that wandb refuses.
    """
    import wandb

    with _refusals("wandb.setup"):
        wandb.setup()


@contextmanager
def _refusals(call: str, hints: Sequence[Issue] = ()) -> Iterator[None]:
    import wandb

    try:
        yield
    except (wandb.Error, ValueError, OSError) as error:
        raise SearchError(f"{call} refuses: {error}", hints) from error


@contextmanager
def _kept_open(run: Any) -> Iterator[None]:
    """The run outlives what is done in the trial.

    transformers' WandbCallback ends the run it finds and begins another when a search is on, and a
    function written for `wandb.agent` ends its own.
    """
    vars(run).update(dict.fromkeys(("finish", "_finish"), _stay))
    try:
        yield
    finally:
        for name in ("finish", "_finish"):
            del vars(run)[name]


def _stay(exit_code: int | None = None) -> None:
    """A finish that does not end."""


@contextmanager
def alone(output_dir: str | None) -> Iterator[None]:
    """Wandb prints nothing, writes to output_dir or nowhere that stays, and is afterwards as it was.

    Raises `BackendError` if a run is open: it would end.
    """
    import wandb

    if wandb.run is not None:
        hint = Issue("", "call wandb.finish() before you search")
        raise BackendError(f"the run {wandb.run.id!r} of W&B is open, and each trial has one of its own", [hint])
    before = _environment()
    before.pop("WANDB_SERVICE", None)  # the address of wandb's process, which is about to end
    hooks = sys.exit, sys.excepthook
    since = time.time()
    with private_directory() as private:
        directory = writable(output_dir or private)  # else wandb would take another, and leave things there
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
    """Remove the sockets on which nobody listens any more: wandb's measuring service is ended before it does so itself.

    Wandb's agent starts wandb's process anew for each run, and then it has the usual temporary directory.
    """
    for path in Path(tempfile.gettempdir()).glob("wandb_symon-*.sock"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            found = path.lstat()
            client.setblocking(False)  # one that listens, and takes no connection, would never let go
            if found.st_uid == os.getuid() and stat.S_ISSOCK(found.st_mode) and found.st_mtime >= since:
                try:
                    client.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
