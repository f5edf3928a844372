"""Ray Tune: a `Tuner` on this machine, or on a cluster, whose worker processes serve trial after trial.

Options: `resources_per_trial` (a dict, or a PlacementGroupFactory; by default one CPU, and for a Trainer
a GPU where there are any), `workers_per_trial` and `resources_per_worker` (two or more: each trial is
trained by that many processes together, DDP), `max_concurrent_trials` (by default as many as fit), `address`
(of a cluster; else that of RAY_ADDRESS), `storage_path` (where Ray keeps its own records, else they go when
the search ends), `search_alg` and `scheduler` (the same as a native sampler and pruner).

The sampler is Optuna's, behind Ray's `Searcher`; a native one is an Optuna sampler or a `Searcher` of
Ray's, whose metric is "objective", or "objective_0", "objective_1", …. Pruners count reports, not steps.
A scheduler ends a trial at a report, whether it asks `should_prune()` or not: it is PRUNED with what it had
noted by then, and its function is ended when it next reports. Optuna's samplers hear of constraints, a
`Searcher` of Ray's does not.

A trial whose process dies is FAILED. One whose node dies runs again, on another, with its number and params;
a pruner goes on counting what it had reported. Whatever a trial leaves in the output_dir comes back from
other machines only if they share it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hpcompat import backends
from hpcompat.backends.generators import Generators, lent_numpy
from hpcompat.backends.ray.cluster import Cluster, connected
from hpcompat.backends.ray.driver import Course
from hpcompat.backends.ray.engines import Exhausted, engine
from hpcompat.backends.ray.nodes import capacity, known, node_died, resources_of_cluster, whereabouts
from hpcompat.backends.ray.pickling import packed, root
from hpcompat.backends.ray.trainable import names, trainable
from hpcompat.backends.ray.worker_context import Errand
from hpcompat.errors import BackendError, Issue
from hpcompat.objectives import is_trainer
from hpcompat.space.values import short_repr
from hpcompat.trials.config import Evaluate, Plan, Run
from hpcompat.trials.exclusive import turn
from hpcompat.trials.run_dir_log import read_notes

OPTIONS = (
    *("resources_per_trial", "workers_per_trial", "resources_per_worker", "max_concurrent_trials"),
    *("address", "storage_path", "search_alg", "scheduler"),
)
# they pause a trial and go on with it from its checkpoint, or from another's
PAUSING = {"PopulationBasedTraining", "PopulationBasedTrainingReplay", "HyperBandScheduler"}
_NO_LIMIT = 10**9
_REASON = "ray has one connection to a cluster in a process"


def run(plan: Plan, evaluate: Evaluate) -> Run:
    """Run the plan's trials as trials of a Tuner."""
    plan = _checked(plan)
    thing, setting = plan.origin
    shipment = packed(thing, setting)
    runs, above = setting.runs, root(thing, setting)
    course = Course(plan, engine(plan), lambda path: runs.adopt(path, above), above)
    with turn("ray", _REASON), connected(plan.options.get("address")) as cluster:
        diary = runs.diary.folder if runs.diary else os.path.join(cluster.private, "diary")
        os.makedirs(diary, exist_ok=True)
        errand = Errand(setting.runs.token, len(plan.directions), diary, _workers(plan))
        try:
            tuner = _tuner(plan, course, cluster, _resources(plan, thing), errand, shipment)
            with _drawing(plan):
                native = tuner.fit()
        finally:
            for root_of, path in read_notes(errand.diary):
                runs.adopt(path, root_of)
    if course.raised and not isinstance(course.raised, KeyboardInterrupt):
        raise course.raised
    interrupted = course.raised is not None or course.interrupted
    if interrupted and not course.done:
        raise KeyboardInterrupt
    return Run(tuple(sorted(course.done, key=lambda trial: trial.number)), native, interrupted)


def _tuner(plan: Plan, course: Course, cluster: Cluster, resources: Any, errand: Errand, shipment: bytes) -> Any:
    import numpy
    from ray import tune

    # an array is read where it lies in the object store, once for all processes of a machine
    function = tune.with_parameters(trainable, errand=errand, shipment=numpy.frombuffer(shipment, numpy.uint8))
    one = len(plan.directions) == 1
    most = plan.options.get("max_concurrent_trials") or capacity(resources.bundles, cluster.own)
    searcher, callback = _listeners(course)
    return tune.Tuner(
        tune.with_resources(function, resources),
        tune_config=tune.TuneConfig(
            metric=names(1)[0] if one else None,
            mode=plan.directions[0][:3] if one else None,
            search_alg=searcher,
            scheduler=_scheduler(plan),
            num_samples=-1,  # a trial may have to run again; the course knows the end
            max_concurrent_trials=min(most, plan.n_trials),
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=f"hpcompat-{errand.token}",
            storage_path=plan.options.get("storage_path") or os.path.join(cluster.private, "storage"),
            callbacks=[callback],
            verbose=0,
        ),
    )


def _name(trial: Any) -> str:
    again = trial.config["again"]
    return f"trial-{trial.config['number']}{f'-again-{again}' if again else ''}"


def _listeners(course: Course) -> tuple[Any, Any]:
    """The course as Ray's loop knows it: a searcher that is asked, and a callback that is told."""
    from ray.tune import Callback
    from ray.tune.search import Searcher

    places: dict[str, Any] = {}

    class Asked(Searcher):
        def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
            return True

        def suggest(self, trial_id: str) -> Any:
            try:
                return course.suggest(trial_id)
            except Exhausted:
                return Searcher.FINISHED

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass  # the callback hears of it first, and with the cause

        def save(self, checkpoint_path: str) -> None:
            pass

        def __reduce__(self) -> Any:  # Ray saves what it would need to go on; going on is ours
            return Searcher, ()

    class Told(Callback):
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            places[trial.trial_id] = whereabouts(trial.temporary_state.ray_actor)

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            course.result(trial.trial_id, result)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            # get_error() looks where the file will lie when the search is over
            error = Path(trial.error_file).read_text("utf-8") if trial.error_file else ""
            place = places.get(trial.trial_id)
            course.lost(trial.trial_id, error, node_died(known(place), error), begun=place is not None)

        def __reduce__(self) -> Any:
            return Callback, ()

    return Asked(), Told()


def _workers(plan: Plan) -> int:
    return int(plan.options.get("workers_per_trial") or 1)


def _resources(plan: Plan, thing: Any) -> Any:
    from ray.tune import PlacementGroupFactory
    from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

    given = plan.options.get("resources_per_worker" if _workers(plan) > 1 else "resources_per_trial")
    if isinstance(given, PlacementGroupFactory):
        return given
    gpu = is_trainer(thing) and not thing.args.use_cpu and resources_of_cluster().get("GPU", 0) >= 1
    factory = resource_dict_to_pg_factory(given or {"cpu": 1, "gpu": int(gpu)})
    if _workers(plan) == 1:
        return factory
    # all of a trial, or nothing: no two trials ever wait for each other. What conducts it works little
    return PlacementGroupFactory([{}, *factory.bundles * _workers(plan)], strategy="PACK")


@contextmanager
def _drawing(plan: Plan) -> Iterator[None]:
    """Ray's Hyperband draws the bracket of a trial from NumPy's global generator: it gets one of the search's."""
    from numpy.random import RandomState
    from ray.tune.schedulers import async_hyperband

    generators = Generators()
    generators.numpy = RandomState(None if plan.seed is None else plan.seed % 2**32)
    vars(async_hyperband)["np"] = lent_numpy()
    with generators.at_work():
        yield


def _checked(plan: Plan) -> Plan:
    """The plan with its native sampler and pruner, which may be among the options, where they belong."""
    from optuna.samplers import BaseSampler
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

    backends.check_options("ray", plan.options, OPTIONS)
    _check_workers(plan)
    sampler = _native(
        plan, "sampler", "search_alg", (Searcher, BaseSampler), "a Searcher of Ray's, or an Optuna sampler"
    )
    pruner = _native(plan, "pruner", "scheduler", (TrialScheduler,), "a TrialScheduler of Ray's")
    if not isinstance(sampler, (str, type(None))) and plan.seed is not None:
        raise BackendError("seed= goes to a sampler given by name: give this one its seed yourself")
    if pruner is not None and len(plan.directions) > 1:
        raise BackendError("a search with several objectives cannot be pruned: leave the scheduler out")
    ancestry = {kind.__name__ for kind in type(pruner).__mro__}
    if ancestry & PAUSING or not getattr(pruner, "_hard_stop", True):
        reason = "it pauses trials and goes on from a checkpoint; a trial here is one training, from start to end"
        way_out = "use pruner='asha' or 'hyperband' (its asynchronous form), or a scheduler that stops trials"
        raise BackendError(f"{type(pruner).__name__} cannot drive this search", [Issue("", reason, way_out)])
    return replace(plan, sampler=sampler, pruner=pruner)


def _check_workers(plan: Plan) -> None:
    number, several = plan.options.get("workers_per_trial"), _workers(plan) > 1
    if number is not None and (type(number) is not int or number < 1):
        raise BackendError(f"workers_per_trial={short_repr(number)}: it is a whole number, 1 or more")
    if several and plan.options.get("resources_per_trial") is not None:
        raise BackendError("a trial with several workers has resources_per_worker, not resources_per_trial")
    if not several and plan.options.get("resources_per_worker") is not None:
        raise BackendError("resources_per_worker is for workers_per_trial=2 or more: give resources_per_trial")
    given = plan.options.get("resources_per_worker")
    if not isinstance(given, (dict, type(None))):
        raise BackendError(f"resources_per_worker={short_repr(given)}: give a dict, of what one worker needs")
    if several and find_spec("torch") is None:
        raise BackendError("several workers of a trial are ranks of a torch process group, and torch is not installed")


def _native(plan: Plan, what: str, option: str, kinds: tuple[type, ...], words: str) -> Any:
    given = getattr(plan, what)
    if option in plan.options:
        if given is not None:
            raise BackendError(f"{what}= and {option}= are one and the same: give one of them")
        given = plan.options[option]
    if not isinstance(given, (str, type(None), *kinds)):
        raise BackendError(f"{short_repr(given)} is no {what} here: give a name, or {words}")
    return given


def _scheduler(plan: Plan) -> Any:
    from ray.tune import schedulers

    if not isinstance(plan.pruner, (str, type(None))):
        return plan.pruner
    makers: dict[str | None, Callable[[], Any]] = {
        None: schedulers.FIFOScheduler,
        "median": lambda: schedulers.MedianStoppingRule("training_iteration", grace_period=1, min_samples_required=5),
        # max_t is where Ray would end a trial that does well
        "asha": lambda: schedulers.AsyncHyperBandScheduler(max_t=_NO_LIMIT),
        "hyperband": lambda: schedulers.AsyncHyperBandScheduler(max_t=_NO_LIMIT, brackets=3),
    }
    return makers[plan.pruner]()
