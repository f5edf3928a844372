"""What a process does besides does not reach a search, nor a search the process: first ones, threads, nested ones."""

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

FIRST = """
import random, sys
for module in {modules!r}:
    __import__(module)
random.seed(3)
before = random.getstate()
import hpcompat as hp
space = {{"x": hp.Float(0.0, 4.0), "n": hp.Normal(0.0, 1.0, low=-1.0, high=2.0)}}
def drawn():
    options = dict(sampler={sampler!r}, seed=0, n_trials=7, progress=False)
    return [trial.params for trial in hp.search(lambda trial: trial["x"], space, {backend!r}, **options).trials]
first = drawn()
assert random.getstate() == before, "the search has drawn from random"
import numpy
numpy.random.seed(3)
states = numpy.random.get_state()
for _ in range(2):
    assert drawn() == first, "later searches have other trials"
    random.random()
    assert all(map(numpy.array_equal, numpy.random.get_state(), states)), "the search has drawn from numpy.random"
print(first)
"""


def drawn(backend, sampler, seed=0, function=lambda trial: trial["x"], **options):
    options = {"n_trials": 7, "progress": False, **options}
    return [trial.params for trial in hp.search(function, X, backend, sampler=sampler, seed=seed, **options).trials]


class TestFirstSearch:
    @pytest.mark.parametrize(("backend", "sampler"), IN_PROCESS)
    @pytest.mark.parametrize("modules", [[], ["rich.style", "numpy"]], ids=["alone", "with others"])
    def test_first_search_has_trials_of_later_ones(self, tmp_path, backend, sampler, modules):
        code = FIRST.format(modules=modules, backend=backend, sampler=sampler)
        environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(drawn(backend, sampler))


def in_threads(*calls):
    """What the calls return, or raise, made at the same time in a thread each."""
    together, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(index, call):
        together.wait()
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
    def test_two_searches_at_once_have_trials_they_have_alone(self, tmp_path, backend, sampler):
        def one(seed):
            return drawn(backend, sampler, seed, output_dir=str(tmp_path / str(seed)))

        optuna.logging.set_verbosity(optuna.logging.INFO)
        assert in_threads(lambda: one(1), lambda: one(2)) == [drawn(backend, sampler, seed) for seed in (1, 2)]
        assert optuna.logging.get_verbosity() == optuna.logging.INFO

    def test_first_two_searches_on_lite_at_once_have_trials_they_have_alone(self, tmp_path):
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
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert (ended.stdout, ended.stderr) == ("4\n", "")

    @pytest.mark.parametrize(("backend", "sampler"), IN_PROCESS[2:])
    def test_thread_that_draws_and_search_do_not_disturb_each_other(self, backend, sampler):
        alone, over = drawn(backend, sampler), threading.Event()

        def training():
            """Reseed the global generators, and draw from them, for as long as the search lasts."""
            while not over.is_set():
                random.seed(5)
                np.random.seed(5)
                yield random.random(), float(np.random.random())

        def search():
            try:
                return drawn(backend, sampler)
            finally:
                over.set()

        together, seen = in_threads(search, lambda: set(training()))
        assert together == alone
        assert seen == {(random.Random(5).random(), np.random.RandomState(5).random())}

    def test_waiting_search_on_wandb_warns(self, tmp_path):
        inside, waits = threading.Event(), threading.Event()

        def held(trial):
            inside.set()
            assert waits.wait(300)
            return trial["x"]

        def second():
            assert inside.wait(300)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                showing = warnings.showwarning
                warnings.showwarning = lambda *shown, **rest: (waits.set(), showing(*shown, **rest))
                warnings.simplefilter("always")
                trials = drawn("wandb", "random", n_trials=2)
            return trials, [str(each.message) for each in caught]

        first, (trials, said) = in_threads(lambda: drawn("wandb", "random", function=held, n_trials=2), second)
        assert first == trials
        assert any("another thread searches on wandb: this search waits for its end" in each for each in said)


class TestNestedSearch:
    @pytest.mark.parametrize("options", [{}, {"driver": "embedded"}])
    def test_nested_search_on_wandb_raises(self, options):
        def nested(trial):
            return drawn("wandb", "random", n_trials=1, **options)

        with pytest.raises(hp.SearchError) as failed:
            drawn("wandb", "random", function=nested, n_trials=2)
        assert "a search on wandb runs already: wandb has one run, one environment" in str(failed.value)
        assert len(drawn("wandb", "random", n_trials=1)) == 1  # the turn was given back

    @pytest.mark.parametrize(("outer", "inner"), [("wandb", "optuna"), ("optuna", "wandb"), ("sigopt", "sigopt")])
    def test_nested_search_has_trials_it_has_alone(self, outer, inner):
        seen = []

        def nested(trial):
            seen.append(drawn(inner, "random", n_trials=2))
            return trial["x"]

        assert drawn(outer, "random", function=nested, n_trials=2) == drawn(outer, "random", n_trials=2)
        assert seen == [drawn(inner, "random", n_trials=2)] * 2


class TestTrainerExclusion:
    """Accelerate and torch keep one state for all of a process."""

    SPACE = hp.SearchSpace({"learning_rate": hp.Float(1e-4, 1e-1, log=True)})

    def test_nested_search_over_trainer_raises(self, make_trainer, run_hpcompat):
        inner = make_trainer()
        nested = [lambda trial: run_hpcompat(inner, self.SPACE, n_trials=1)]
        with pytest.raises(hp.SearchError, match="a search on a Trainer runs already: accelerate and torch keep one"):
            run_hpcompat(make_trainer(), self.SPACE, n_trials=2, callbacks=nested)

    def test_searches_of_two_threads_have_trials_they_have_alone(self, make_trainer, run_hpcompat):
        alone = [trial.values for trial in run_hpcompat(make_trainer(), self.SPACE, n_trials=3).trials]
        trainers, found = [make_trainer(), make_trainer()], {}
        under_way = threading.Event()

        def search(number):
            result = run_hpcompat(
                trainers[number], self.SPACE, n_trials=3, callbacks=[lambda trial: under_way.set() and None]
            )
            found[number] = [trial.values for trial in result.trials]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the second says that it waits
            threads = [threading.Thread(target=search, args=(number,), daemon=True) for number in range(2)]
            threads[0].start()
            assert under_way.wait(600)
            threads[1].start()
            for thread in threads:
                thread.join(600)
        assert found == {0: alone, 1: alone}
