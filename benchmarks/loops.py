"""What `search` adds to the engine's own loop: random trials of an empty function of ten parameters."""

from __future__ import annotations

import cProfile
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hpcompat as hp
from benchmarks.spaces import mixed, suggest
from benchmarks.timing import Row, in_turn, row, shown

TITLE = "Searching"
NOTE = """
An empty function of ten parameters, so that nothing but the loop is measured; W&B and Ray by the clock on the wall, for
they work in other processes. A random trial of Optuna takes its engine a fifth of a millisecond, of which 5 % are
eleven microseconds. In ours each value is also checked on its way back, and the trial is made a record with its times,
told of, and compared with the front. A run of W&B is also told how its trial ended: a message more. Beside any other
engine, or a training, that is little. The share late in a search shows that nothing in the loop goes through the trials
before.
"""
SPACE = mixed(10)
EARLY, LATE, WINDOW, ROUNDS = 100, 10_000, 20, 15
MOST = 1.05
Loop = Callable[[], Any]


def rows(smoke: bool) -> Iterator[Row]:
    """A loop for each engine, and what a trial costs us early and late in a search."""
    yield from loops(smoke, ray=not smoke)
    yield own_share(*((2, 8, 2) if smoke else (EARLY, LATE, WINDOW)))


def loops(smoke: bool, ray: bool) -> Iterator[Row]:
    """Each engine's loop written by hand, and ours; Ray takes its time to start."""
    for what, make, count, rounds, clock in ENGINES:
        count, rounds = (3, 1) if smoke else (count, rounds)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            taken = in_turn(*make(count, directory), rounds=rounds, clock=clock)
        yield row(f"`search`, {what}: a trial", "the bare loop", MOST, *taken, per=count)
    if ray:
        count, rounds = 100, 3
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, started():
            taken = in_turn(*ray_loops(count, directory), rounds=rounds, clock=time.perf_counter)
        yield row("`search`, Ray, random: a trial", "`Tuner.fit` with `reuse_actors=True`", MOST, *taken, per=count)


def objective(trial: Any) -> float:
    """As good as nothing."""
    return float(trial["p0"])


def ours(backend: str, count: int, **options: Any) -> Loop:
    """A search of so many trials."""
    return lambda: hp.search(objective, SPACE, backend, n_trials=count, seed=0, progress=False, **options)


def optuna_loops(count: int, sampler: str) -> tuple[Loop, Loop]:
    """Ours, and a study whose objective makes the suggest calls."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kind = optuna.samplers.RandomSampler if sampler == "random" else optuna.samplers.TPESampler

    def bare() -> None:
        study = optuna.create_study(sampler=kind(seed=0))
        study.optimize(lambda trial: float(suggest(trial, SPACE)["p0"]), n_trials=count)

    return ours("optuna", count, sampler=sampler), bare


def sigopt_loops(count: int) -> tuple[Loop, Loop]:
    """Ours, and a loop of suggestions and observations."""
    from hpcompat.backends.sigopt.lite import lite_connection

    def bare() -> None:
        connection = lite_connection(seed=0)
        experiment = connection.experiments().create(
            name="bare",
            type="random",
            parameters=hp.translate(SPACE, "sigopt", encode=True).spec["parameters"],
            metrics=[{"name": "objective", "objective": "minimize"}],
            observation_budget=count,
        )
        resource = connection.experiments(experiment.id)
        for _ in range(count):
            suggestion = resource.suggestions().create()
            value = float(suggestion.assignments["p0"])
            resource.observations().create(suggestion=suggestion.id, values=[{"name": "objective", "value": value}])

    return ours("sigopt", count, sampler="random"), bare


def wandb_loops(count: int, directory: str) -> tuple[Loop, Loop]:
    """Ours, and a loop of configurations and runs, with the same settings."""
    import sweeps
    import wandb

    sweep = hp.to_wandb(SPACE, method="random", metric="objective")

    def bare() -> None:
        runs: list[Any] = []
        for _ in range(count):
            chosen = sweeps.next_run(sweep, runs)
            params = {name: entry["value"] for name, entry in chosen.config.items()}
            settings = wandb.Settings(silent=True, console="off", x_save_requirements=False)
            run = wandb.init(mode="offline", dir=directory, config=params, settings=settings)
            run.log({"objective": params["p0"]})
            run.finish()
            runs.append(
                sweeps.SweepRun(state="finished", config=chosen.config, summaryMetrics={"objective": params["p0"]})
            )
        wandb.teardown()

    def search() -> None:
        ours("wandb", count, sampler="random", output_dir=tempfile.mkdtemp(dir=directory))()

    return search, bare


def ray_loops(count: int, directory: str) -> tuple[Loop, Loop]:
    """Ours, and a Tuner."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        tune.report({"objective": config["p0"]})

    def bare() -> None:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=hp.to_ray(SPACE),
            tune_config=tune.TuneConfig(metric="objective", mode="min", num_samples=count, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=directory, verbose=0),
        ).fit()

    return ours("ray", count, sampler="random"), bare


@contextmanager
def started() -> Iterator[None]:
    """Ray on this machine, for both loops."""
    import logging

    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


ENGINES: tuple[tuple[str, Callable[[int, str], tuple[Loop, Loop]], int, int, Callable[[], float]], ...] = (
    ("Optuna, random", lambda count, _: optuna_loops(count, "random"), 1_000, 15, time.process_time),
    ("Optuna, TPE", lambda count, _: optuna_loops(count, "bayes"), 300, 5, time.process_time),
    ("SigOpt Lite, random", lambda count, _: sigopt_loops(count), 1_000, 3, time.process_time),
    ("W&B, random, an offline run a trial", wandb_loops, 200, 5, time.perf_counter),
)
"""What it is called, its two loops, how many trials and rounds, and the clock: W&B works in another process."""


def own_share(early: int, late: int, window: int) -> Row:
    """What of a trial's CPU time is spent in hpcompat itself, late against early; the engine's part is left out.

    By cProfile over some trials at a time, the garbage collector at rest: it looks at what all trials keep.
    """
    shares: dict[int, list[float]] = {early: [], late: []}
    profile: cProfile.Profile | None = None

    def watched(trial: Any) -> float:
        nonlocal profile
        for start, taken in shares.items():
            number = trial.number - start
            if 0 <= number <= ROUNDS * window and number % window == 0:
                if profile is not None:
                    profile.disable()
                    gc.enable()
                    taken.append(in_hpcompat(profile) / window)
                    profile = None
                if number < ROUNDS * window:
                    gc.disable()
                    profile = cProfile.Profile(time.process_time)
                    profile.enable()
        return objective(trial)

    hp.search(watched, SPACE, n_trials=late + ROUNDS * window + 1, sampler="random", seed=0, progress=False)
    one, other = statistics.median(shares[late]), statistics.median(shares[early])
    what = f"hpcompat's own share of a trial, under a profiler: trial {late:,}"
    return Row(what, f"trial {early:,}", one / other, 1.2, shown(one), shown(other))


def in_hpcompat(profile: cProfile.Profile) -> float:
    """The seconds that were spent in functions of hpcompat, and in built-in ones that these called."""
    home = str(Path(hp.__file__).parent)
    stats: Any = profile.getstats()
    own = [entry for entry in stats if not isinstance(entry.code, str) and entry.code.co_filename.startswith(home)]
    called = [call for entry in own for call in entry.calls or () if isinstance(call.code, str)]
    return float(sum(each.inlinetime for each in (*own, *called)))
