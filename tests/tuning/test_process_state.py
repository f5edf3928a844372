"""Searches and the rest of their process do not influence each other: global state, threads, nested searches."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest

import hpcompat as hp

ROOT = Path(hp.__file__).parent.parent
X = {"x": hp.Float(0.0, 4.0), "n": hp.Normal(0.0, 1.0, low=-1.0, high=2.0)}
IN_PROCESS = [(backend, sampler) for backend in ("optuna", "sigopt", "wandb") for sampler in ("random", "bayes")]

FIRST_SEARCH = """
import random, sys
for module in {modules!r}:
    __import__(module)
random.seed(3)
before = random.getstate()
import hpcompat as hp
space = {{"x": hp.Float(0.0, 4.0), "n": hp.Normal(0.0, 1.0, low=-1.0, high=2.0)}}
def draw():
    options = dict(sampler={sampler!r}, seed=0, n_trials=7, progress=False)
    return [trial.params for trial in hp.search(lambda trial: trial["x"], space, {backend!r}, **options).trials]
first = draw()
assert random.getstate() == before, "the search draws from random"
import numpy
numpy.random.seed(3)
states = numpy.random.get_state()
for _ in range(2):
    assert draw() == first, "later searches have other trials"
    random.random()
    assert all(map(numpy.array_equal, numpy.random.get_state(), states)), "the search draws from numpy.random"
print(first)
"""


def draw_params(backend, sampler, seed=0, function=lambda trial: trial["x"], **options):
    options = {"n_trials": 7, "progress": False, **options}
    return [trial.params for trial in hp.search(function, X, backend, sampler=sampler, seed=seed, **options).trials]


class TestFirstSearch:
    @pytest.mark.parametrize(("backend", "sampler"), IN_PROCESS)
    @pytest.mark.parametrize("modules", [[], ["rich.style", "numpy"]], ids=["alone", "with others"])
    def test_first_search_has_trials_of_later_ones(self, tmp_path, backend, sampler, modules):
        code = FIRST_SEARCH.format(modules=modules, backend=backend, sampler=sampler)
        environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        assert process.stdout.strip() == str(draw_params(backend, sampler))


def run_in_threads(*calls):
    """Run each call in its own thread at the same time; returns their results and exceptions."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(index, call):
        barrier.wait()
        try:
            results[index] = call()
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.filterwarnings("ignore:another thread searches:UserWarning")
class TestThreads:
    @pytest.mark.parametrize(("backend", "sampler"), IN_PROCESS)
    def test_two_concurrent_searches_have_the_trials_of_single_ones(self, tmp_path, backend, sampler):
        def search(seed):
            return draw_params(backend, sampler, seed, output_dir=str(tmp_path / str(seed)))

        optuna.logging.set_verbosity(optuna.logging.INFO)
        assert run_in_threads(lambda: search(1), lambda: search(2)) == [
            draw_params(backend, sampler, seed) for seed in (1, 2)
        ]
        assert optuna.logging.get_verbosity() == optuna.logging.INFO

    def test_concurrent_first_searches_on_sigopt_lite_finish(self, tmp_path):
        code = "\n".join(
            [
                "import threading, hpcompat as hp",
                "def run(seed):",
                "    options = dict(seed=seed, n_trials=3, progress=False)",
                "    done.append(hp.search(lambda trial: trial['x'], {'x': hp.Float(0, 1)}, 'sigopt', **options))",
                "done = []",
                "threads = [threading.Thread(target=run, args=[seed]) for seed in range(4)]",
                "[thread.start() for thread in threads], [thread.join() for thread in threads]",
                "print(len(done))",
            ]
        )
        environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert (process.stdout, process.stderr) == ("4\n", "")

    @pytest.mark.parametrize(("backend", "sampler"), IN_PROCESS[2:])
    def test_search_and_thread_that_draws_do_not_influence_each_other(self, backend, sampler):
        expected, search_ended = draw_params(backend, sampler), threading.Event()

        def reseed_and_draw():
            """Reseed the global generators and draw from them until the search ends."""
            while not search_ended.is_set():
                random.seed(5)
                np.random.seed(5)
                yield random.random(), float(np.random.random())

        def search():
            try:
                return draw_params(backend, sampler)
            finally:
                search_ended.set()

        params, draws = run_in_threads(search, lambda: set(reseed_and_draw()))
        assert params == expected
        assert draws == {(random.Random(5).random(), np.random.RandomState(5).random())}

    def test_waiting_search_on_wandb_warns(self, tmp_path):
        first_runs, second_waits = threading.Event(), threading.Event()

        def wait_for_second(trial):
            first_runs.set()
            assert second_waits.wait(300)
            return trial["x"]

        def search_second():
            assert first_runs.wait(300)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                show = warnings.showwarning
                warnings.showwarning = lambda *args, **kwargs: (second_waits.set(), show(*args, **kwargs))
                warnings.simplefilter("always")
                trials = draw_params("wandb", "random", n_trials=2)
            return trials, [str(warning.message) for warning in caught]

        first, (second, messages) = run_in_threads(
            lambda: draw_params("wandb", "random", function=wait_for_second, n_trials=2), search_second
        )
        assert first == second
        expected = "another thread searches on wandb: this search waits for its end"
        assert any(expected in message for message in messages)


class TestNestedSearch:
    @pytest.mark.parametrize("options", [{}, {"driver": "embedded"}])
    def test_nested_search_on_wandb_raises(self, options):
        def nested(trial):
            return draw_params("wandb", "random", n_trials=1, **options)

        with pytest.raises(hp.SearchError) as error:
            draw_params("wandb", "random", function=nested, n_trials=2)
        assert "a search on wandb runs already: wandb has one run, one environment" in str(error.value)
        assert len(draw_params("wandb", "random", n_trials=1)) == 1  # the lock was released

    @pytest.mark.parametrize(("outer", "inner"), [("wandb", "optuna"), ("optuna", "wandb"), ("sigopt", "sigopt")])
    def test_nested_search_has_the_trials_of_a_single_one(self, outer, inner):
        inner_params = []

        def nested(trial):
            inner_params.append(draw_params(inner, "random", n_trials=2))
            return trial["x"]

        assert draw_params(outer, "random", function=nested, n_trials=2) == draw_params(outer, "random", n_trials=2)
        assert inner_params == [draw_params(inner, "random", n_trials=2)] * 2


class TestTrainerExclusion:
    """Accelerate and torch have one global state per process, so only one search over a Trainer can run."""

    SPACE = hp.SearchSpace({"learning_rate": hp.Float(1e-4, 1e-1, log=True)})

    def test_nested_search_over_trainer_raises(self, make_trainer, run_hpcompat):
        inner = make_trainer()
        nested = [lambda trial: run_hpcompat(inner, self.SPACE, n_trials=1)]
        with pytest.raises(hp.SearchError, match="a search on a Trainer runs already: accelerate and torch keep one"):
            run_hpcompat(make_trainer(), self.SPACE, n_trials=2, callbacks=nested)

    def test_searches_of_two_threads_have_the_trials_of_single_ones(self, make_trainer, run_hpcompat):
        expected = [trial.values for trial in run_hpcompat(make_trainer(), self.SPACE, n_trials=3).trials]
        trainers, values = [make_trainer(), make_trainer()], {}
        first_runs = threading.Event()

        def search(number):
            result = run_hpcompat(
                trainers[number], self.SPACE, n_trials=3, callbacks=[lambda trial: first_runs.set() and None]
            )
            values[number] = [trial.values for trial in result.trials]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the second search warns that it waits
            threads = [threading.Thread(target=search, args=(number,), daemon=True) for number in range(2)]
            threads[0].start()
            assert first_runs.wait(600)
            threads[1].start()
            for thread in threads:
                thread.join(600)
        assert values == {0: expected, 1: expected}
