"""The time that `search` adds to the engine's own loop: trials of an empty function of ten parameters."""

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
from typing import Any, NamedTuple

import hpcompat as hp
from benchmarks.spaces import mixed_space, suggest_params
from benchmarks.timing import Row, format_seconds, make_row, measure_in_turn

TITLE = "Searching"
NOTE = """
An empty function of ten parameters, so that only the loop is measured; wall time for W&B and Ray, which work in other
processes. A random trial of Optuna takes its engine a fifth of a millisecond, of which 5 % are eleven microseconds.
hpcompat also checks every value that it decodes, records the trial with its times, reports it, and compares it with the
Pareto front. It also tells a run of W&B how its trial ended: one more message. Compared with any other engine, or with
a training, that is little. The share late in a search shows that nothing in the loop goes through all earlier trials.
"""
SPACE = mixed_space(10)
EARLY, LATE, WINDOW, ROUNDS = 100, 10_000, 20, 15
MAX_RATIO = 1.05
Loop = Callable[[], object]


class Comparison(NamedTuple):
    """The loop of hpcompat and the engine's own loop."""

    title: str
    make_loops: Callable[[int, str], tuple[Loop, Loop]]
    """A function of the number of trials and a directory."""
    n_trials: int
    rounds: int
    clock: Callable[[], float]


def measure(smoke: bool) -> Iterator[Row]:
    """Compare the loops of all engines, and what a trial costs hpcompat early and late in a search."""
    yield from compare_loops(smoke, ray=not smoke)
    yield measure_own_share(*((2, 8, 2) if smoke else (EARLY, LATE, WINDOW)))


def compare_loops(smoke: bool, ray: bool) -> Iterator[Row]:
    """Compare `search` with a loop written by hand for each engine; Ray is optional, because it starts slowly."""
    for comparison in COMPARISONS:
        count, rounds = (3, 1) if smoke else (comparison.n_trials, comparison.rounds)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            loops = comparison.make_loops(count, directory)
            seconds = measure_in_turn(*loops, rounds=rounds, clock=comparison.clock)
        subject = f"`search`, {comparison.title}: a trial"
        yield make_row(subject, "the bare loop", MAX_RATIO, *seconds, per=count)
    if ray:
        count, rounds = 100, 3
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, ray_runtime():
            seconds = measure_in_turn(*make_ray_loops(count, directory), rounds=rounds, clock=time.perf_counter)
        baseline = "`Tuner.fit` with `reuse_actors=True`"
        yield make_row("`search`, Ray, random: a trial", baseline, MAX_RATIO, *seconds, per=count)


def objective(trial: Any) -> float:
    """Return a parameter, which costs almost no time."""
    return float(trial["p0"])


def hpcompat_loop(backend: str, count: int, **options: Any) -> Loop:
    """Return a call that searches with this number of trials."""
    return lambda: hp.search(objective, SPACE, backend, n_trials=count, seed=0, progress=False, **options)


def make_optuna_loops(count: int, sampler: str) -> tuple[Loop, Loop]:
    """Return a search, and a study whose objective makes the suggest calls."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler_class = optuna.samplers.RandomSampler if sampler == "random" else optuna.samplers.TPESampler

    def bare() -> None:
        study = optuna.create_study(sampler=sampler_class(seed=0))
        study.optimize(lambda trial: float(suggest_params(trial, SPACE)["p0"]), n_trials=count)

    return hpcompat_loop("optuna", count, sampler=sampler), bare


def make_sigopt_loops(count: int) -> tuple[Loop, Loop]:
    """Return a search, and a loop of suggestions and observations."""
    from hpcompat.backends.sigopt.client import lite_connection

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

    return hpcompat_loop("sigopt", count, sampler="random"), bare


def make_wandb_loops(count: int, directory: str) -> tuple[Loop, Loop]:
    """Return a search, and a loop of configurations and runs with the same settings."""
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
        hpcompat_loop("wandb", count, sampler="random", output_dir=tempfile.mkdtemp(dir=directory))()

    return search, bare


def make_ray_loops(count: int, directory: str) -> tuple[Loop, Loop]:
    """Return a search, and a `Tuner.fit`."""
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

    return hpcompat_loop("ray", count, sampler="random"), bare


@contextmanager
def ray_runtime() -> Iterator[None]:
    """Start Ray on this machine, and stop it at the end."""
    import logging

    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


COMPARISONS = (
    Comparison("Optuna, random", lambda count, _: make_optuna_loops(count, "random"), 1_000, 15, time.process_time),
    Comparison("Optuna, TPE", lambda count, _: make_optuna_loops(count, "bayes"), 300, 5, time.process_time),
    Comparison("SigOpt Lite, random", lambda count, _: make_sigopt_loops(count), 1_000, 3, time.process_time),
    Comparison("W&B, random, an offline run a trial", make_wandb_loops, 200, 5, time.perf_counter),
)
"""Measured by CPU time; W&B, which works in another process, by wall time."""


def measure_own_share(early: int, late: int, window: int) -> Row:
    """Compare the CPU time that hpcompat itself spends on a late trial with that on an early one.

    Measured with cProfile over `window` trials at a time. The garbage collector is disabled, because it goes through
    all trials.
    """
    shares: dict[int, list[float]] = {early: [], late: []}
    profile: cProfile.Profile | None = None

    def profiled(trial: Any) -> float:
        nonlocal profile
        for start, seconds in shares.items():
            number = trial.number - start
            if 0 <= number <= ROUNDS * window and number % window == 0:
                if profile is not None:
                    profile.disable()
                    gc.enable()
                    seconds.append(seconds_in_hpcompat(profile) / window)
                    profile = None
                if number < ROUNDS * window:
                    gc.disable()
                    profile = cProfile.Profile(time.process_time)
                    profile.enable()
        return objective(trial)

    hp.search(profiled, SPACE, n_trials=late + ROUNDS * window + 1, sampler="random", seed=0, progress=False)
    on_late, on_early = statistics.median(shares[late]), statistics.median(shares[early])
    subject = f"hpcompat's own share of a trial, under a profiler: trial {late:,}"
    values = format_seconds(on_late), format_seconds(on_early)
    return Row(subject, f"trial {early:,}", on_late / on_early, 1.2, *values)


def seconds_in_hpcompat(profile: cProfile.Profile) -> float:
    """Return the seconds in functions of hpcompat, and in built-in functions that they call."""
    package = str(Path(hp.__file__).parent)
    stats: Any = profile.getstats()
    own = [entry for entry in stats if not isinstance(entry.code, str) and entry.code.co_filename.startswith(package)]
    called = [call for entry in own for call in entry.calls or () if isinstance(call.code, str)]
    return float(sum(entry.inlinetime for entry in (*own, *called)))
