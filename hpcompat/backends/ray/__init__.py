"""Ray Tune: a `Tuner` on this machine, or on a cluster, whose worker processes serve trial after trial.

Options: `resources_per_trial` (a dict, or a PlacementGroupFactory; by default one CPU, and for a Trainer
a GPU where there are any), `workers_per_trial` and `resources_per_worker` (two or more: each trial is
trained by that many processes together, DDP), `max_concurrent_trials` (by default as many as fit), `address`
(of a cluster; else that of RAY_ADDRESS), `storage_path` (where Ray keeps its own records, else they are removed when
the search ends), `search_alg` and `scheduler` (the same as a native sampler and pruner).

The sampler is Optuna's, behind Ray's `Searcher`; a native one is an Optuna sampler or a `Searcher` of
Ray's, whose metric is "objective", or "objective_0", "objective_1", …. Pruners count reports, not steps.
A scheduler ends a trial at a report, whether it calls `should_prune()` or not: it is PRUNED with the attributes and
constraints that it had set, and its function ends at its next report. Optuna's samplers learn from constraints, a
`Searcher` of Ray's does not.

A trial whose process dies is FAILED. One whose node dies runs again, on another, with its number and params;
a pruner keeps what it had reported. The files of a trial in the output_dir come back from other machines only if they
share it.
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
    capacity,
    connected,
    node_died,
    node_id_ref,
    resolve_node,
    resources_of_cluster,
)
from hpcompat.backends.ray.driver import Driver, NoTrialLeft, Result, open_engine
from hpcompat.backends.ray.pickling import WorkerContext, dump_objective, output_root
from hpcompat.backends.ray.trainable import TrialConfig, trainable
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
"""They pause a trial and continue it from its checkpoint, or from another's."""
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
    """Searches with a Tuner, whose loop asks and tells a `Driver`."""

    Options = RayOptions
    native_samplers: ClassVar[Mapping[type, str]] = {Searcher: "a Searcher of Ray's", BaseSampler: "an Optuna sampler"}
    native_pruners: ClassVar[Mapping[type, str]] = {TrialScheduler: "a TrialScheduler of Ray's"}

    def validate(self, config: SearchConfig, objective: Objective) -> list[Issue]:
        """Return everything about a call that Ray cannot do; search_alg and scheduler are sampler and pruner."""
        options: RayOptions = self.parse_options(config)
        pairs = (("sampler", "search_alg"), ("pruner", "scheduler"))
        issues = [
            Issue(name, f"{name}= and {alias}= are the same", "give one of them")
            for name, alias in pairs
            if getattr(config, name) is not None and getattr(options, alias) is not None
        ]
        if issues:
            return issues
        written = {name: alias for name, alias in pairs if getattr(options, alias) is not None}
        issues = super().validate(_with_natives(config, options), objective)
        return [issue._replace(path=written.get(issue.path, issue.path)) for issue in issues]

    def find_issues(self, config: SearchConfig, objective: Objective) -> Iterator[Issue]:
        """Return what is wrong with the scheduler, and with the resources."""
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
        # while the objective is open a Trainer has no model here, which could not be pickled, and takes no memory
        with objective.open(), open_engine(config) as engine:
            payload = dump_objective(objective)
            driver = Driver(config, engine, recorder, lambda path: run_dirs.adopt(path, root), root)
            with exclusive_use("ray", _REASON), connected(options.address) as cluster:
                log_dir = run_dirs.log.log_dir if run_dirs.log else os.path.join(cluster.private, "log")
                os.makedirs(log_dir, exist_ok=True)
                context = WorkerContext(run_dirs.token, len(config.directions), log_dir, options.workers_per_trial)
                try:
                    resources = make_resources(options, objective.uses_gpu)
                    tuner = make_tuner(config, options, driver, cluster, resources, context, payload)
                    with seeded_numpy(config.seed):
                        native = tuner.fit()
                finally:
                    for root_of, path in read_log(log_dir):
                        run_dirs.adopt(path, root_of)
        if driver.error is not None and not isinstance(driver.error, KeyboardInterrupt):
            raise driver.error
        interrupted = driver.error is not None or driver.was_interrupted
        if interrupted and not driver.finished:
            raise KeyboardInterrupt
        return BackendResult(tuple(sorted(driver.finished, key=lambda trial: trial.number)), native, interrupted)


BACKEND = RayBackend()


def _with_natives(config: SearchConfig, options: RayOptions) -> SearchConfig:
    """Return the config with the sampler and the pruner that are among the options."""
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
    """Return the Tuner whose loop the driver answers."""
    # an array is read where it lies in the object store, once for all processes of a machine
    function = tune.with_parameters(trainable, context=context, payload=numpy.frombuffer(payload, numpy.uint8))
    is_single = len(config.directions) == 1
    max_concurrent = options.max_concurrent_trials or capacity(resources.bundles, cluster.own)
    return tune.Tuner(
        tune.with_resources(function, resources),
        tune_config=tune.TuneConfig(
            metric=objective_names(1)[0] if is_single else None,
            mode=config.directions[0][:3] if is_single else None,
            search_alg=DriverSearcher(driver),
            scheduler=_make_scheduler(config.pruner),
            num_samples=-1,  # a trial may have to run again; the driver knows the end
            max_concurrent_trials=min(max_concurrent, config.n_trials),
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
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
    """Asks the driver for trials."""

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
        """Do nothing: the callback is called before, and with the cause."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a search is resumed from the journal."""

    def __reduce__(self) -> tuple[type, tuple[()]]:  # Ray saves what it would need to continue
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
        self._driver.take_result(trial.trial_id, result)

    def on_trial_error(self, iteration: int, trials: object, trial: RayTrial, **info: object) -> None:
        # get_error() looks where the file will lie when the search is over
        error = Path(trial.error_file).read_text("utf-8") if trial.error_file else ""
        node = self._nodes.get(trial.trial_id)
        is_node_dead = node_died(resolve_node(node), error)
        self._driver.take_death(trial.trial_id, error, is_node_dead, has_begun=node is not None)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Callback, ()


def make_resources(options: RayOptions, uses_gpu: bool) -> PlacementGroupFactory:
    """Return what one trial needs: by default a CPU, and a GPU where it trains on one and there are any."""
    n_workers = options.workers_per_trial
    resources = options.resources_per_worker if n_workers > 1 else options.resources_per_trial
    if isinstance(resources, PlacementGroupFactory):
        return resources
    n_gpus = int(uses_gpu and resources_of_cluster().get("GPU", 0) >= 1)
    factory: PlacementGroupFactory = resource_dict_to_pg_factory(dict(resources or {"cpu": 1, "gpu": n_gpus}))
    if n_workers == 1:
        return factory
    # one group, so that no two trials wait for each other; the bundle of the process that leads them is empty
    return PlacementGroupFactory([{}, *factory.bundles * n_workers], strategy="PACK")


@contextmanager
def seeded_numpy(seed: int | None) -> Iterator[None]:
    """Seed Ray's Hyperband, which draws the bracket of a trial from NumPy's global generator."""
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
        # max_t is where Ray would end a trial that does well
        "asha": lambda: schedulers.AsyncHyperBandScheduler(max_t=_NO_LIMIT),
        "hyperband": lambda: schedulers.AsyncHyperBandScheduler(max_t=_NO_LIMIT, brackets=3),
    }
    return makers[pruner]()
