"""The engine of a sweep on a W&B server, whose runs `wandb.agent` fetches in a thread.

The trials run in the thread that has called `search`, so that Ctrl-C works. If W&B stops a run, the agent itself would
raise an exception anywhere in it; here the trial sees it at its next `should_prune()`. The agent fetches the next run
while a stopped trial still ends. If the search ends then, a run that was never started remains at W&B.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from threading import Thread
from types import TracebackType
from typing import Any

import wandb
from wandb.apis.public import Sweep

from hpcompat.backends.wandb.runs import PendingRun, RunEngine, finish_run, init_run, start_service
from hpcompat.backends.wandb.shared_sweep import (
    SURPLUS,
    SharedSweep,
    back_off,
    call_with_retry,
    encoded_names,
    fetch_sweep,
    get_sweep,
    join_sweep,
)
from hpcompat.compat.wandb import find_server_issue, known_settings, login
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.space.values import strict_key
from hpcompat.translators import Translation, translate
from hpcompat.trials.config import SearchConfig, Suggestion
from hpcompat.trials.trial import Trial, objective_names

_TICK_S = 0.05
PROBE_AFTER_S = 60.0
"""How long to wait for a run before checking whether the sweep is paused; the agent itself waits forever."""
MAX_PROBES = 10
"""How many such checks may find a sweep that is not paused."""


@dataclass
class FetchedRun:
    """A run that the agent has fetched for the search."""

    is_stopped: bool = False
    is_finished: bool = False

    def should_stop(self, reports: Sequence[float]) -> bool:
        """Return whether W&B has stopped the run; it reads the reports from the run itself."""
        return self.is_stopped


class _StopAgent(BaseException):
    """Raised in the thread of an agent to end it; a KeyboardInterrupt would only stop its current run."""


class AgentThread:
    """A thread that runs `wandb.agent` from the first `fetch` until `close`.

    Args:
        path: The path of the sweep: entity/project/id.
        is_paused: Returns whether the sweep is paused at W&B; raises if W&B does not answer.
    """

    def __init__(self, path: str, is_paused: Callable[[], bool]) -> None:
        self._path = path
        self._is_paused = is_paused
        self._thread = Thread(target=self._serve, name="hpcompat-agent", daemon=True)
        self._is_started = self._is_closed = False
        self._offered: FetchedRun | None = None
        self._current: FetchedRun | None = None
        self._error: Exception | None = None

    def fetch(self, deadline: float | None = None) -> FetchedRun | None:
        """Finish the current run, and return the next one; None if the sweep has no more, or after the deadline.

        The agent fetches a run only after this call, because the search may not need another run before.
        """
        if not self._is_started:
            self._is_started = True
            self._thread.start()
        if self._current is not None:
            self._current.is_finished = True
        probed_at, n_probes = time.monotonic(), MAX_PROBES
        while self._offered is self._current:
            if time.monotonic() - probed_at > PROBE_AFTER_S:
                n_probes = MAX_PROBES if self._is_paused() else n_probes - 1
                probed_at = time.monotonic()
                if not n_probes:
                    raise SearchError("expected a run or the end of the sweep from W&B, got neither")
            if not self._thread.is_alive() or (deadline is not None and time.monotonic() > deadline):
                break
            self._thread.join(_TICK_S)
        if self._error is not None:
            raise SearchError(f"W&B's agent ended: {self._error}") from self._error
        before, self._current = self._current, self._offered
        return None if self._current is before else self._current

    def close(self) -> None:
        """End the agent, after the request that it may be making."""
        if self._is_started and self._thread.is_alive():
            assert self._thread.ident is not None
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(_StopAgent))
            self._is_closed = True
            self._thread.join()

    def _serve(self) -> None:
        try:
            wandb.agent(self._path, function=self._offer_run)
        except Exception as error:
            self._error = error
        except _StopAgent:
            pass

    def _offer_run(self) -> None:
        """Offer a run to `fetch`, and wait until it is finished; the agent calls this as the training function."""
        fetched_run = FetchedRun()
        while not (fetched_run.is_finished or self._is_closed):
            try:
                self._offered = fetched_run
                while not (fetched_run.is_finished or self._is_closed):
                    time.sleep(_TICK_S)
            except Exception:  # the agent stops a run by an exception in this thread
                fetched_run.is_stopped = True


_FINISH_TIMEOUT_S = 300.0
"""How long `Run.finish` may take to upload a run."""
_SURPLUS_TRIAL = Trial(0, {}, state=SURPLUS)
_EMBEDDED_HINT = Issue("", "or search without a server: driver='embedded'")


class ServerEngine(RunEngine):
    """The engine of a sweep on W&B's server, which other processes may search at the same time."""

    def __init__(self, config: SearchConfig, sweep: Mapping[str, Any], single_metric: str | None) -> None:
        _connect()
        is_joined = config.options.get("sweep_id") is not None
        if is_joined:
            native, self._translation = join_sweep(config, single_metric)
        else:
            self._translation = translate(config.space, "wandb", encode=True, **sweep)
            native = _create_sweep(config, self._translation)
        spec = self._translation.spec
        names = (spec["metric"]["name"],) if "metric" in spec else objective_names(len(config.directions))
        path = f"{native.entity}/{native.project}/{native.id}"
        self._shared = SharedSweep(path, self._translation, names, config.n_trials)
        super().__init__(config, spec, native.id, names, self._shared.trials(), native.url)
        if is_joined and self._shared.has_capacity():
            self._shared.raise_run_cap()
        self._tried = {strict_key(trial.params): trial for trial in self._existing.values()}
        self._deadline = time.monotonic() + (config.timeout or float("inf"))
        self._is_grid = spec["method"] == "grid"
        self._report_name = names[0] if "early_terminate" in spec else "reported"
        self._agent = AgentThread(path, self._shared.is_paused)
        self._is_interrupted = False

    def __enter__(self) -> ServerEngine:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._agent.close()

    def next_run(self, number: int) -> PendingRun | None:
        """Fetch runs until one of them is a trial that the search needs."""
        shared = self._shared
        while not (self._is_grid and len(self._tried) >= self._config.space.size) and shared.has_capacity():
            fetched_run = self._fetch()
            if fetched_run is None:
                is_late = time.monotonic() > self._deadline
                if is_late or not (shared.has_capacity() and shared.raise_run_cap()):
                    return None
                self._agent = AgentThread(shared.path, shared.is_paused)
            elif pending := self._open_run(fetched_run):
                return pending
        return None

    def _fetch(self) -> FetchedRun | None:
        try:
            return self._agent.fetch(None if self._config.timeout is None else self._deadline)
        except SearchError as error:
            raise SearchError(error.message, {*error.issues, self._shared.resume_hint}) from error

    def _open_run(self, fetched_run: FetchedRun) -> PendingRun | None:
        """Open a fetched run; mark it as surplus and return None if the search does not need it."""
        shared = self._shared
        defaults = known_settings({"finish_timeout": _FINISH_TIMEOUT_S})
        settings = {**defaults, **(self._config.options.get("settings") or {})}
        run = init_run([shared.resume_hint], settings=settings)
        params = _decode_params(run, self._translation)
        key = strict_key(params)
        others = shared.started_runs(excluding=run.id)
        if self._is_grid and (key in self._tried or key in {strict_key(shared.params(other)) for other in others}):
            # W&B's grid repeats params with other values of inactive parameters
            finish_run(run, replace(self._tried.get(key, _SURPLUS_TRIAL), state=SURPLUS), self._metrics)
        elif len(others) >= self._config.n_trials:
            finish_run(run, _SURPLUS_TRIAL, self._metrics)
            back_off()
        else:
            return PendingRun(params, run, fetched_run.should_stop, self._report_name)
        return None

    def learn(self, trial: Trial) -> None:
        """Remember the params as tried."""
        self._tried[strict_key(trial.params)] = trial

    def abandon(self, suggestion: Suggestion, error: BaseException) -> None:
        """Finish the run as failed."""
        self._is_interrupted = isinstance(error, KeyboardInterrupt)
        super().abandon(suggestion, error)

    def trials_of_other_processes(self, own: Sequence[Trial]) -> list[Trial]:
        """Return the trials of other processes; warn of trials of this process whose end has not reached W&B."""
        if self._is_interrupted:
            return []
        own_runs = list(self._runs.items())[len(self._existing) :]
        try:
            unreported = self._shared.find_unreported([run for _, run in own_runs])
            others = {run: trial for run, trial in self._shared.trials().items() if run not in self._runs.values()}
        except SearchError as error:
            warnings.warn(f"the trials of other processes are not known: {error.message}", stacklevel=2)
            return []
        if unreported:
            numbers = ", ".join(str(number) for number, run in own_runs if run in unreported)
            warnings.warn(
                f"W&B has not received the end of these trials, which are only in the result: {numbers}", stacklevel=2
            )
        first = 1 + max(self._runs, default=-1)
        self._runs.update(enumerate(others, first))
        return [replace(trial, number=number) for number, trial in enumerate(others.values(), first)]


def is_logged_in() -> bool:
    """Return whether wandb finds an API key; the key is not verified."""
    try:
        return login(verify=False)
    except wandb.Error as error:
        raise SearchError(f"the login at W&B failed: {error}", [_EMBEDDED_HINT]) from error
    finally:
        wandb.teardown()  # so that it reads its environment again, which may change


def fetch_goal(options: Mapping[str, Any]) -> str | None:
    """Return the goal of the sweep that the options name; None if it has no metric."""
    _connect()
    _, sweep = fetch_sweep(options)
    metric = sweep.config.get("metric")
    return str(metric.get("goal", "minimize")) if metric else None


def _connect() -> None:
    if issue := find_server_issue():
        raise BackendError("the sweep cannot be reached", [issue])
    os.environ.pop("WANDB_MODE", None)
    start_service()
    try:
        if login(verify=True):
            return
    except wandb.Error as error:
        raise SearchError(f"W&B cannot be reached, or refuses the key: {error}", [_EMBEDDED_HINT]) from error
    raise SearchError("W&B needs a key", [Issue("", "call wandb.login(), or set WANDB_API_KEY"), _EMBEDDED_HINT])


def _create_sweep(config: SearchConfig, translation: Translation) -> Sweep:
    sweep = dict(translation.spec)
    if sweep["method"] != "grid" or not any(leaf.when for leaf in config.space.leaves):
        # it limits all agents; a grid with conditions needs more runs, because it repeats some configurations
        sweep["run_cap"] = config.n_trials
    if encoded_names(translation):
        # a process that joins has to know how values are encoded
        sweep["description"] = json.dumps(translation.space.to_dict())
    target = {name: config.options.get(name) for name in ("project", "entity")}
    try:
        with open(os.devnull, "w") as devnull, redirect_stdout(devnull):
            name = wandb.sweep(sweep, **target)
    except (wandb.Error, ValueError) as error:
        raise SearchError(f"W&B refuses to create the sweep: {error}", [_EMBEDDED_HINT]) from error
    return call_with_retry(lambda: get_sweep(name), [_EMBEDDED_HINT])


def _decode_params(run: wandb.Run, translation: Translation) -> dict[str, Any]:
    params = translation.decode(dict(run.config))
    if encoded_names(translation):
        run.config.update({"params": params})  # type: ignore[no-untyped-call]
    return params
