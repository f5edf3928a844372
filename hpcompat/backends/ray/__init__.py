"""Ray Tune: a `Tuner` on this machine or on a cluster, whose worker processes run one trial after the other.

Options:

- `resources_per_trial`: a dict or a PlacementGroupFactory; by default one CPU, and for a Trainer also a GPU if there
  is one.
- `workers_per_trial` and `resources_per_worker`: with two or more workers, that many processes train each trial
  together (DDP).
- `max_concurrent_trials`: by default as many as fit.
- `address`: the address of a cluster; by default RAY_ADDRESS.
- `storage_path`: where Ray stores its own records; by default they are removed after the search.
- `search_alg` and `scheduler`: the same as a native sampler and pruner.

By default the sampler is one of Optuna's. A native sampler is an Optuna sampler, or a Ray `Searcher` for the metric
"objective", or "objective_0", "objective_1", …. Optuna's samplers learn from constraints, a `Searcher` does not.

Pruners count reports, not steps. A scheduler stops a trial at a report, whether or not the trial calls
`should_prune()`. Then the trial is PRUNED, with the attributes and constraints that it has set so far, and its function
ends at its next report.

A trial whose process dies is FAILED. A trial whose node dies is restarted on another node with its number and params;
pruners keep its earlier reports. The run directories of other machines are only available if they share the output_dir.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy
from numpy.random import RandomState
from optuna.samplers import BaseSampler
from ray import ObjectRef, tune
from ray.tune import Callback, PlacementGroupFactory, schedulers
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory  # private API of ray 2.60
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import TrialScheduler, async_hyperband
from ray.tune.search import Searcher

from hpcompat.backends.base import Backend, option
from hpcompat.backends.isolation import Generators, get_numpy_proxy
from hpcompat.backends.ray.cluster import (
    Cluster,
    connect_cluster,
    count_concurrent_trials,
    get_cluster_resources,
    has_node_died,
    node_id_ref,
    resolve_node,
)
from hpcompat.backends.ray.driver import Driver, NoTrialLeft, Result, open_engine
from hpcompat.backends.ray.pickling import WorkerContext, dump_objective, output_root
from hpcompat.backends.ray.trainable import TrialConfig, trainable
from hpcompat.compat.ray import RunConfig
from hpcompat.errors import Issue
from hpcompat.objectives.objective import Objective
from hpcompat.translators.dialect import is_count
from hpcompat.trials.config import BackendResult, SearchConfig
from hpcompat.trials.loop import Engine as Engine
from hpcompat.trials.loop import Recorder
from hpcompat.trials.process import exclusive_use
from hpcompat.trials.run_dirs import read_log
from hpcompat.trials.trial import objective_names

UNSUPPORTED_SCHEDULERS = {"PopulationBasedTraining", "PopulationBasedTrainingReplay", "HyperBandScheduler"}
"""Schedulers that pause a trial and continue it from a checkpoint."""
_REASON = "ray has one connection to a cluster in a process"


@dataclass(frozen=True)
class RayOptions:
    """The options of the backend, as the module describes them."""

    resources_per_trial: Mapping[str, float] | PlacementGroupFactory | None = option(
        (Mapping, PlacementGroupFactory), "a dict, or a PlacementGroupFactory"
    )
    workers_per_trial: int = option(is_count, "an int of at least 1", default=1)
    resources_per_worker: Mapping[str, float] | None = option(Mapping, "a dict, of what one worker needs")
    max_concurrent_trials: int | None = option(is_count, "an int of at least 1")
    address: str | None = option(str, "the address of a cluster")
    storage_path: str | os.PathLike[str] | None = option((str, os.PathLike), "a path")
    search_alg: Searcher | BaseSampler | str | None = option(
        (Searcher, BaseSampler, str), "a Searcher of Ray's, or an Optuna sampler"
    )
    scheduler: TrialScheduler | str | None = option((TrialScheduler, str), "a TrialScheduler of Ray's")


class RayBackend(Backend):
    """Searches with a Tuner, whose loop a `Driver` connects with the engine."""

    Options = RayOptions
    native_samplers: ClassVar[Mapping[type, str]] = {Searcher: "a Searcher of Ray's", BaseSampler: "an Optuna sampler"}
    native_pruners: ClassVar[Mapping[type, str]] = {TrialScheduler: "a TrialScheduler of Ray's"}

    def validate(self, config: SearchConfig, objective: Objective) -> list[Issue]:
        """Return all issues of a call that concern Ray, with search_alg as the sampler and scheduler as the pruner."""
        options: RayOptions = self.parse_options(config)
        pairs = (("sampler", "search_alg"), ("pruner", "scheduler"))
        issues = [
            Issue(name, f"{name}= and {alias}= are the same", "give one of them")
            for name, alias in pairs
            if getattr(config, name) is not None and getattr(options, alias) is not None
        ]
        if issues:
            return issues
        aliases = {name: alias for name, alias in pairs if getattr(options, alias) is not None}
        issues = super().validate(_with_natives(config, options), objective)
        return [issue._replace(path=aliases.get(issue.path, issue.path)) for issue in issues]

    def find_issues(self, config: SearchConfig, objective: Objective) -> Iterator[Issue]:
        """Yield the issues of the scheduler and the resources."""
        options: RayOptions = self.parse_options(config)
        if options.scheduler is not None and len(config.directions) > 1:
            yield Issue("scheduler", "a search with several objectives cannot be pruned", "leave scheduler out")
        ancestors = {ancestor.__name__ for ancestor in type(config.pruner).__mro__}
        if ancestors & UNSUPPORTED_SCHEDULERS or not getattr(config.pruner, "_hard_stop", True):  # ray 2.60
            name = type(config.pruner).__name__
            message = (
                f"{name} pauses trials and continues from a checkpoint; a trial here is one training, start to end"
            )
            hint = "use pruner='asha' or 'hyperband' (its asynchronous form), or a scheduler that stops trials"
            yield Issue("pruner", message, hint)
        yield from _find_resource_issues(options)

    def run(self, config: SearchConfig, objective: Objective, recorder: Recorder) -> BackendResult:
        """Run the trials as trials of a Tuner."""
        options: RayOptions = self.parse_options(config)
        config = _with_natives(config, options)
        run_dirs, root = objective.run_dirs, output_root(objective)
        # an open objective removes the model of a Trainer, which cannot be pickled and takes memory
        with objective.open(), open_engine(config) as engine:
            payload = dump_objective(objective)
            driver = Driver(config, engine, recorder, lambda path: run_dirs.adopt(path, root), root)
            with exclusive_use("ray", _REASON), connect_cluster(options.address) as cluster:
                log_dir = run_dirs.log.log_dir if run_dirs.log else os.path.join(cluster.private, "log")
                os.makedirs(log_dir, exist_ok=True)
                context = WorkerContext(run_dirs.token, len(config.directions), log_dir, options.workers_per_trial)
                try:
                    resources = make_resources(options, objective.uses_gpu)
                    tuner = make_tuner(config, options, driver, cluster, resources, context, payload)
                    with seed_numpy(config.seed):
                        native = tuner.fit()
                finally:
                    for logged_root, path in read_log(log_dir):
                        run_dirs.adopt(path, logged_root)
        if driver.error is not None and not isinstance(driver.error, KeyboardInterrupt):
            raise driver.error
        interrupted = driver.error is not None or driver.was_interrupted
        if interrupted and not driver.finished:
            raise KeyboardInterrupt
        return BackendResult(tuple(sorted(driver.finished, key=lambda trial: trial.number)), native, interrupted)


BACKEND = RayBackend()


def _with_natives(config: SearchConfig, options: RayOptions) -> SearchConfig:
    """Return the config with search_alg and scheduler of the options as its sampler and pruner."""
    sampler = config.sampler if options.search_alg is None else options.search_alg
    pruner = config.pruner if options.scheduler is None else options.scheduler
    return replace(config, sampler=sampler, pruner=pruner)


def _find_resource_issues(options: RayOptions) -> Iterator[Issue]:
    if options.workers_per_trial > 1:
        if options.resources_per_trial is not None:
            yield Issue("resources_per_trial", "a trial with several workers has resources_per_worker", "give that")
        if find_spec("torch") is None:
            message = "several workers of a trial are ranks of a torch process group, and torch is not installed"
            yield Issue("workers_per_trial", message, "pip install torch")
    elif options.resources_per_worker is not None:
        hint = "give resources_per_trial, or more workers"
        yield Issue("resources_per_worker", "is for workers_per_trial=2 or more", hint)


_NO_LIMIT = 10**9


def make_tuner(
    config: SearchConfig,
    options: RayOptions,
    driver: Driver,
    cluster: Cluster,
    resources: PlacementGroupFactory,
    context: WorkerContext,
    payload: bytes,
) -> tune.Tuner:
    """Return a Tuner that gets its trials from the driver."""
    # as an array, because the processes of a machine read it from shared memory without a copy
    function = tune.with_parameters(trainable, context=context, payload=numpy.frombuffer(payload, numpy.uint8))
    is_single = len(config.directions) == 1
    max_concurrent = options.max_concurrent_trials or count_concurrent_trials(resources.bundles, cluster.is_own)
    return tune.Tuner(
        tune.with_resources(function, resources),
        tune_config=tune.TuneConfig(
            metric=objective_names(1)[0] if is_single else None,
            mode=config.directions[0][:3] if is_single else None,
            search_alg=DriverSearcher(driver),
            scheduler=_make_scheduler(config.pruner),
            num_samples=-1,  # trials may be restarted; the driver ends the search
            max_concurrent_trials=min(max_concurrent, config.n_trials),
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=RunConfig(
            name=f"hpcompat-{context.token}",
            storage_path=os.fspath(options.storage_path or os.path.join(cluster.private, "storage")),
            callbacks=[DriverCallback(driver)],
            verbose=0,
        ),
    )


def _trial_name(trial: RayTrial) -> str:
    restarts = trial.config["again"]
    return f"trial-{trial.config['number']}{f'-again-{restarts}' if restarts else ''}"


class DriverSearcher(Searcher):
    """Passes Tune's requests for trials on to the driver."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def set_search_properties(self, *args: object, **kwargs: object) -> bool:
        return True

    def suggest(self, trial_id: str) -> TrialConfig | str | None:  # type: ignore[override]  # of ray 2.60: FINISHED is a str
        try:
            return self._driver.suggest(trial_id)
        except NoTrialLeft:
            finished: str = Searcher.FINISHED
            return finished

    def on_trial_complete(self, trial_id: str, result: object = None, error: bool = False) -> None:
        """Do nothing: `DriverCallback` has handled the event before, with its cause."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a search is resumed from the journal."""

    def __reduce__(self) -> tuple[type, tuple[()]]:  # Ray pickles it to resume the Tuner
        return Searcher, ()


class DriverCallback(Callback):
    """Passes the events of trials on to the driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._nodes: dict[str, ObjectRef[str]] = {}

    def on_trial_start(self, iteration: int, trials: object, trial: RayTrial, **info: object) -> None:
        actor = trial.temporary_state.ray_actor  # private API of ray 2.60
        assert actor is not None
        self._nodes[trial.trial_id] = node_id_ref(actor)

    def on_trial_result(self, iteration: int, trials: object, trial: RayTrial, result: Result, **info: object) -> None:
        self._driver.on_result(trial.trial_id, result)

    def on_trial_error(self, iteration: int, trials: object, trial: RayTrial, **info: object) -> None:
        # get_error() would look in the directory to which the file is moved at the end
        error = Path(trial.error_file).read_text("utf-8") if trial.error_file else ""
        node = self._nodes.get(trial.trial_id)
        is_node_dead = has_node_died(resolve_node(node), error)
        self._driver.on_death(trial.trial_id, error, is_node_dead, has_begun=node is not None)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Callback, ()


def make_resources(options: RayOptions, uses_gpu: bool) -> PlacementGroupFactory:
    """Return the resources of a trial: by default a CPU, and a GPU if the trial uses one and the cluster has any."""
    n_workers = options.workers_per_trial
    resources = options.resources_per_worker if n_workers > 1 else options.resources_per_trial
    if isinstance(resources, PlacementGroupFactory):
        return resources
    n_gpus = int(uses_gpu and get_cluster_resources().get("GPU", 0) >= 1)
    factory: PlacementGroupFactory = resource_dict_to_pg_factory(dict(resources or {"cpu": 1, "gpu": n_gpus}))
    if n_workers == 1:
        return factory
    # one group for all workers, so that trials cannot deadlock; the trial process itself needs no resources
    return PlacementGroupFactory([{}, *factory.bundles * n_workers], strategy="PACK")


@contextmanager
def seed_numpy(seed: int | None) -> Iterator[None]:
    """Seed Ray's Hyperband within the block; it draws the brackets from NumPy's global generator."""
    generators = Generators()
    generators.numpy = RandomState(None if seed is None else seed % 2**32)
    vars(async_hyperband)["np"] = get_numpy_proxy()
    with generators.activate():
        yield


def _make_scheduler(pruner: schedulers.TrialScheduler | str | None) -> schedulers.TrialScheduler:
    if isinstance(pruner, schedulers.TrialScheduler):
        return pruner
    makers: dict[str | None, Callable[[], schedulers.TrialScheduler]] = {
        None: schedulers.FIFOScheduler,
        "median": lambda: schedulers.MedianStoppingRule("training_iteration", grace_period=1, min_samples_required=5),
        # Ray stops every trial at max_t
        "asha": lambda: schedulers.AsyncHyperBandScheduler(max_t=_NO_LIMIT),
        "hyperband": lambda: schedulers.AsyncHyperBandScheduler(max_t=_NO_LIMIT, brackets=3),
    }
    return makers[pruner]()
