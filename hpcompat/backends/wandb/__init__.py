"""W&B: its sweeps, run by its server if you are logged in, else by its sweeps engine in this process.

Options: `driver` ("embedded" or "server"), `project`, `entity`, `name` (of the sweep), and `settings`, a dict for
`wandb.Settings`.

- Embedded: `mode`, "offline" or "disabled". Offline, the default with an output_dir, writes the runs to
  `<output_dir>/wandb`, from where `wandb sync` uploads them.
- Server (from wandb 0.30 on): `sweep_id`, to join a sweep of the same space. `n_trials` is then the total, including
  the trials that the sweep already holds and those of other processes that have joined it. The run_cap of the sweep
  limits it too.

`pruner` is "hyperband" (from the second report on, with eta 3), or an `early_terminate` of W&B, such as
`{"type": "hyperband", "min_iter": 3}`. The objective is logged as "objective", or as "objective_0", "objective_1", … if
there are several. Reports are logged under that name only if there is a pruner, which needs them: W&B's server would
take the best report of a run as its value.

W&B's sweeps do not learn from constraints; the summary of a run holds those of its trial, and its user attributes.
"""

from __future__ import annotations

import os
import random
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Protocol

from hpcompat.backends.base import EngineBackend, choice, iter_untried, option
from hpcompat.backends.isolation import Generators, get_numpy_proxy, get_random_proxy
from hpcompat.backends.wandb.runs import METRIC, PendingRun, RunEngine, init_run, isolated_wandb, start_service
from hpcompat.backends.wandb.server import ServerEngine, fetch_goal, is_logged_in
from hpcompat.compat.wandb import find_server_issue
from hpcompat.errors import BackendError, Issue, MissingBackendError
from hpcompat.objectives.objective import Objective
from hpcompat.space.values import short_repr, strict_key
from hpcompat.translators import Translation, get_path, translate
from hpcompat.trials.config import SearchConfig
from hpcompat.trials.loop import Engine
from hpcompat.trials.process import exclusive_use
from hpcompat.trials.trial import Trial, objective_names

DRIVERS = ("embedded", "server")
MODES = ("offline", "disabled")
HYPERBAND = {"type": "hyperband", "min_iter": 1}
_EXCLUSIVE_REASON = "wandb has one run, one environment and one service in a process"


@dataclass(frozen=True)
class WandbOptions:
    """The options of the backend, as the module describes them."""

    driver: str | None = choice(*DRIVERS)
    project: str | None = option(str, "a str")
    entity: str | None = option(str, "a str")
    name: str | None = option(str, "a str")
    settings: Mapping[str, Any] | None = option(Mapping, "a dict for wandb.Settings")
    mode: str | None = choice(*MODES)
    sweep_id: str | None = option(str, "the id of a sweep", may_be_none=False)

    @property
    def requested_driver(self) -> str | None:
        """The driver that the options require; None if it depends on whether wandb is logged in."""
        if self.sweep_id is not None:
            return "server"
        is_offline = self.mode is not None or os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled")
        return self.driver or ("embedded" if is_offline else None)


class WandbBackend(EngineBackend):
    """Searches with a sweep, on W&B's server or with its sweeps engine in this process."""

    Options = WandbOptions
    native_pruners: ClassVar[Mapping[type, str]] = {
        Mapping: "an early_terminate of W&B's: {'type': 'hyperband', 'min_iter': 3}"
    }

    def find_issues(self, config: SearchConfig, objective: Objective) -> Iterator[Issue]:
        """Yield what a sweep does not support, and options that exclude each other."""
        options: WandbOptions = self.parse_options(config)
        if len(config.directions) > 1 and config.sampler in (None, "bayes") and options.sweep_id is None:
            yield Issue("sampler", "W&B's 'bayes', the default, has one objective", "'random' and 'grid' take several")
        for name, other in (("sweep_id", "embedded"), ("mode", "server")):
            is_excluded = options.driver == other or (options.sweep_id is not None and options.mode is not None)
            if getattr(options, name) is not None and is_excluded:
                yield Issue(name, f"is not for the {other} driver", "give one or the other")
        if options.mode == "offline" and config.output_dir is None:
            yield Issue("mode", "'offline' needs a directory for the runs", "give output_dir=, or leave out mode=")
        if isinstance(config.pruner, Mapping):
            sweep = {"method": "random", "parameters": {"x": {"value": 1}}, "early_terminate": dict(config.pruner)}
            for violation in find_schema_violations(sweep):
                yield Issue("pruner", f"{short_repr(config.pruner)} is not a valid early_terminate: {violation}")
        if options.requested_driver == "server":
            yield from _find_server_issues(config)

    @contextmanager
    def open_engine(self, config: SearchConfig, objective: Objective) -> Iterator[Engine]:
        """Create the sweep, or join the one that the options name."""
        options: WandbOptions = self.parse_options(config)
        driver = options.requested_driver
        with exclusive_use("wandb", _EXCLUSIVE_REASON), isolated_wandb(config.output_dir):
            driver = driver or ("server" if is_logged_in() else "embedded")
            if driver == "embedded":
                yield EmbeddedEngine(config, _sweep_settings(config, options))
                return
            if issues := list(_find_server_issues(config)):
                raise BackendError("W&B's server cannot do this", issues)
            with ServerEngine(config, _sweep_settings(config, options), objective.single_metric) as engine:
                yield engine

    def stored_directions(self, options: Mapping[str, Any], metrics: Sequence[str]) -> tuple[str, ...] | None:
        """Return the goal of the sweep that the options name."""
        is_valid = isinstance(options["sweep_id"], str) and options.get("driver") != "embedded"
        if not is_valid or options.get("mode") is not None:
            return None
        with exclusive_use("wandb", _EXCLUSIVE_REASON), isolated_wandb(None):
            goal = fetch_goal(options)
        return (goal,) if goal else None


BACKEND = WandbBackend()


def _sweep_settings(config: SearchConfig, options: WandbOptions) -> dict[str, Any]:
    """Return the sweep configuration without its parameters, as options for `translate`."""
    sweep: dict[str, Any] = {"method": config.sampler or "bayes"}
    if len(config.directions) == 1:
        sweep |= {"metric": METRIC, "goal": config.directions[0]}
    if config.pruner is not None:
        sweep["early_terminate"] = HYPERBAND if config.pruner == "hyperband" else dict(config.pruner)
    if options.name is not None:
        sweep["name"] = options.name
    return sweep


def _find_server_issues(config: SearchConfig) -> Iterator[Issue]:
    if issue := find_server_issue():
        yield issue
    hint = "leave it out, or pass driver='embedded'"
    if config.seed is not None:
        yield Issue("seed", "W&B's server cannot be seeded", hint)
    if config.history:
        yield Issue("history", "W&B's server only learns from the runs of the sweep", hint)


Path = tuple[str, ...]
_LOAD_LOCK = threading.Lock()
_MINIMAL_SWEEP = {"method": "random", "parameters": {"x": {"distribution": "uniform", "min": 0.0, "max": 1.0}}}


class NativeRun(Protocol):
    """The part of `sweeps.SweepRun` that is used; the package has no type annotations."""

    config: Mapping[str, Mapping[str, object]]


class SweepsModule(Protocol):
    """The part of the package `sweeps` that is used."""

    def SweepRun(self, **fields: object) -> NativeRun: ...

    def next_run(self, sweep: Mapping[str, object], runs: Sequence[NativeRun]) -> NativeRun: ...

    def stop_runs(self, sweep: Mapping[str, object], runs: Sequence[NativeRun]) -> Sequence[NativeRun]: ...

    def schema_violations_from_proposed_config(self, sweep: Mapping[str, object]) -> list[str]: ...


class LocalSweep:
    """A sweep in this process: it suggests params, and learns from trials.

    The metric of a run is the final value of its trial, not the best reported one.

    >>> from hpcompat import Float, translate
    >>> sweep = translate({"x": Float(0, 4)}, "wandb", method="random", metric="objective")
    >>> engine = LocalSweep(sweep, seed=0)
    >>> first = engine.suggest()
    >>> engine.tell(Trial(0, first, (first["x"] ** 2,)))
    >>> sweep.space.contains(engine.suggest())
    True
    """

    def __init__(self, translation: Translation, seed: int | None = None) -> None:
        self._translation = translation
        self._parameters = dict(_iter_leaves(translation.spec["parameters"]))
        # flat, because the engine repeats a grid of nested parameters forever
        flat = {".".join(path): parameter for path, parameter in self._parameters.items()}
        self._sweep = {**translation.spec, "parameters": flat}
        self._runs: list[NativeRun] = []
        self._curves: list[NativeRun] = []
        self._generators = Generators(seed)

    def suggest(self) -> dict[str, Any]:
        """Return the params of the next trial."""
        with self._generators.activate(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the fit of its Gaussian process
            run = _get_sweeps_module().next_run(self._sweep, self._runs)
        return self._translation.decode({name: entry["value"] for name, entry in run.config.items()})

    def tell(self, trial: Trial) -> None:
        """Learn from a finished trial; the engine treats one without a value like the worst trial."""
        native = self._translation.encode(trial.params)
        config = {".".join(path): {"value": get_path(native, path)} for path in self._parameters}
        state = "failed" if trial.value is None else "finished"
        summary = {} if trial.value is None else self._to_metrics(trial.value)
        self._runs.append(_get_sweeps_module().SweepRun(state=state, config=config, summaryMetrics=summary))
        if reports := trial.intermediate_values:
            self._curves.append(self._to_curve([reports[step] for step in sorted(reports)], state))

    def should_stop(self, reports: Sequence[float]) -> bool:
        """Return whether early_terminate stops a trial that has reported these values."""
        running = self._to_curve(reports, "running")
        return any(run is running for run in _get_sweeps_module().stop_runs(self._sweep, [*self._curves, running]))

    def _to_curve(self, reports: Sequence[float], state: str) -> NativeRun:
        return _get_sweeps_module().SweepRun(state=state, sampledHistory=list(map(self._to_metrics, reports)))

    def _to_metrics(self, value: float) -> dict[str, float]:
        return {self._sweep["metric"]["name"]: value} if "metric" in self._sweep else {}


def find_schema_violations(sweep: Mapping[str, object]) -> list[str]:
    """Return how a sweep violates W&B's schema."""
    return _get_sweeps_module().schema_violations_from_proposed_config(dict(sweep))


def _iter_leaves(parameters: Mapping[str, Any], group: Path = ()) -> Iterator[tuple[Path, dict[str, object]]]:
    for name, parameter in parameters.items():
        if "distribution" in parameter:
            yield (*group, name), parameter
        else:
            yield from _iter_leaves(parameter["parameters"], (*group, name))


def _get_sweeps_module() -> SweepsModule:
    with _LOAD_LOCK:
        return _load_sweeps_module()


@cache
def _load_sweeps_module() -> SweepsModule:
    """Import the sweeps engine with its lazy imports, and give it isolated random generators."""
    before = random.getstate()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about deprecated names of pydantic
            import sweeps

            params, bayes = import_module("sweeps.params"), import_module("sweeps.bayes_search")
            sweeps.next_run(_MINIMAL_SWEEP, [])  # it imports rich, which draws from `random`
    except ImportError as error:
        message = f"W&B's sweeps engine is not installed ({error}): pip install 'hpcompat[wandb]'"
        raise MissingBackendError(message) from error
    finally:
        random.setstate(before)
    vars(params)["random"], vars(bayes)["np"] = get_random_proxy(), get_numpy_proxy()
    module: SweepsModule = sweeps
    return module


_INIT_OPTIONS = ("project", "entity", "settings")


class EmbeddedEngine(RunEngine):
    """The engine of the embedded driver, which creates an offline run for each trial."""

    def __init__(self, config: SearchConfig, sweep: Mapping[str, Any]) -> None:
        translation = translate(config.space, "wandb", encode=True, **sweep)
        group = uuid.uuid4().hex[:8]
        super().__init__(config, translation.spec, group, objective_names(len(config.directions)))
        self._local_sweep = LocalSweep(translation, config.engine_seed)
        for trial in config.history:
            self._local_sweep.tell(trial)
        self._params = self._iter_params(sweep["method"])
        has_kept_runs = config.output_dir and os.environ.get("WANDB_MODE") != "disabled"
        self._mode = config.options.get("mode") or ("offline" if has_kept_runs else "disabled")
        os.environ["WANDB_MODE"] = self._mode
        start_service()

    def _iter_params(self, method: str) -> Iterator[dict[str, Any]]:
        if method == "grid":
            # the grid of the sweeps engine repeats params whose conditions are not met, and is built as a whole
            tried_keys = {strict_key(trial.params) for trial in self._config.history}
            yield from iter_untried(self._config.space, tried_keys)
            return
        while True:
            yield self._local_sweep.suggest()

    def next_run(self, number: int) -> PendingRun | None:
        """Suggest params, and open an offline run for them."""
        params = next(self._params, None)
        if params is None:
            return None
        options = self._config.options
        run = init_run(
            mode=self._mode,
            id=f"{self._sweep_id}-{number}",
            name=f"run-{number}",
            group=self._sweep_id,
            config=params,
            **{name: options[name] for name in _INIT_OPTIONS if options.get(name) is not None},
        )
        return PendingRun(params, run, self._local_sweep.should_stop if self._config.pruner else _never_stop, METRIC)

    def learn(self, trial: Trial) -> None:
        """Pass the trial to the sweep."""
        self._local_sweep.tell(trial)


def _never_stop(reports: Sequence[float]) -> bool:
    return False
