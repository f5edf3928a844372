"""The behaviour that all backends share, for Trainers and for functions.

Ray's worker processes import this module, so slow imports are inside the functions that need them. Searches over a
Trainer are slow, so several tests share one.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import hpcompat as hp
from hpcompat.trials.journal import JOURNAL_FILE
from tests.helpers.versions import is_since
from tests.helpers.waiting import Deadline

BACKENDS = ("optuna", "ray", "sigopt", "wandb")
X = {"x": hp.Float(0.0, 4.0), "n": hp.Int(1, 3)}
EVERY_TYPE = hp.SearchSpace(
    {
        "learning_rate": hp.Float(1e-4, 1e-1, log=True),
        "weight_decay": hp.Float(0.0, 0.3, step=0.1),
        "max_grad_norm": hp.Normal(1.0, 0.5, low=0.1, high=2.0),
        "warmup_steps": hp.Int(0, 4, step=2),
        "seed": hp.Int(1, 9),
        "per_device_train_batch_size": hp.Categorical([8, 16, 32], ordered=True),
        "dataloader_drop_last": hp.Categorical([True, False]),
        "logging_steps": hp.Constant(4),
        "num_train_epochs": hp.Constant("1"),
        "lr_scheduler_type": hp.Constant("cosine_with_restarts"),
        "lr_scheduler_kwargs": {"num_cycles": hp.Int(1, 3)},
        "optim": hp.Categorical(["adamw_torch", "sgd"], weights=[3, 2]),
        "adam_beta2": hp.Float(0.9, 0.999, when={"optim": "adamw_torch"}),
        "net": {
            "width": hp.Int(2, 16, log=True),
            "pair": hp.Categorical([(1, 2), [1, 2], {"eval": "1 + 1"}, None, True, 1, 1.0, "1"]),
            "pad": hp.Constant((0, 0)),
            "rate": hp.Float(2.0, 10.0, step=2.0, log=True),
            "units": hp.Int(2, 10, step=2, log=True),
            "shift": hp.Normal(0.0, 1.0),
            "gain": hp.Normal(0.0, 1.0, log=True),
            "heads": hp.Normal(8.0, 2.0, step=2),
            "layers": hp.Int(1, 2),
            "second": hp.SearchSpace(
                {
                    "activation": hp.Categorical(["relu", "gelu"]),
                    "slope": hp.Float(0.0, 0.5, when={"net.second.activation": "relu"}),
                },
                when={"net.layers": 2},
            ),
        },
    }
)
TYPES = {
    **{"learning_rate": float, "weight_decay": float, "max_grad_norm": float, "warmup_steps": int, "seed": int},
    **{"per_device_train_batch_size": int, "dataloader_drop_last": bool, "logging_steps": int, "optim": str},
}
NET_TYPES = {
    **{"width": int, "pad": tuple, "rate": float, "units": int, "shift": float, "gain": float, "heads": int},
    "layers": int,
}


def parabola(trial):
    return (trial["x"] - 1) ** 2 + trial["n"]


def trial_rows(trials):
    return [(trial.number, trial.params, trial.values, trial.state) for trial in trials]


def model_init(trial):
    """Return a model, after a check that the params of the trial are in the space."""
    from tests.helpers.trainers import Net

    if trial is not None:
        EVERY_TYPE.validate(trial.params)
        assert {**trial} == trial.params == trial.assignments
    return Net(trial["net"]["width"] if trial is not None else 2)


def expected_arguments(params):
    """Return the arguments that a trial has to train with, in the types that transformers declares for them."""
    unchanged = ("learning_rate", "weight_decay", "seed", "dataloader_drop_last", "lr_scheduler_kwargs")
    warmup_type = float if is_since("transformers", "5.0") else int
    numbers = {"warmup_steps": warmup_type(params["warmup_steps"]), "logging_steps": 4.0, "num_train_epochs": 1.0}
    return {name: params[name] for name in unchanged} | numbers | {"adam_beta2": params.get("adam_beta2", 0.999)}


@pytest.fixture(scope="module")
def get_results(run_search, tmp_path_factory):
    """Search over a Trainer: 12 trials by `search`, 4 by `hyperparameter_search`, and the files that each leaves."""
    from tests.helpers.trainers import ExpectedArguments, create_trainer

    @cache
    def get_results(backend):
        root = tmp_path_factory.mktemp(backend)
        first, second = (
            create_trainer(
                str(root / name),
                model_init,
                save_strategy="epoch",
                trainer={"callbacks": [ExpectedArguments(expected_arguments)]},
            )
            for name in ("one", "two")
        )
        result = run_search(hp.search, first, EVERY_TYPE, backend=backend, n_trials=12)
        np.random.seed(9)  # the global generator must not influence a search
        best = run_search(
            hp.hyperparameter_search, second, EVERY_TYPE, loss, 4, backend=backend, hp_name=run_name, keep="all"
        )
        remaining = [sorted(set(os.listdir(root / name)) - {"wandb", JOURNAL_FILE}) for name in ("one", "two")]
        return result, best, remaining

    return get_results


def loss(metrics):
    return metrics["eval_loss"]


def run_name(trial):
    return f"width-{trial.params['net']['width']}-{trial.number}"


class TestTrainer:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_trainer_with_every_parameter_type_is_searched(self, get_results, backend):
        trials = get_results(backend)[0].trials
        assert [(trial.number, trial.cause, trial.state) for trial in trials] == [
            (n, None, "COMPLETE") for n in range(12)
        ]
        for trial in trials:
            params, net = trial.params, trial.params["net"]
            EVERY_TYPE.validate(params)
            assert {name: type(params[name]) for name in TYPES} == TYPES
            assert {name: type(net[name]) for name in NET_TYPES} == NET_TYPES
            assert ("adam_beta2" in params) == (params["optim"] == "adamw_torch")
            assert ("second" in net) == (net["layers"] == 2)
        assert len({repr(trial.params) for trial in trials}) == len({trial.value for trial in trials}) == 12
        assert {trial.params["optim"] for trial in trials} == {"adamw_torch", "sgd"}
        assert {trial.params["net"]["layers"] for trial in trials} == {1, 2}

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_same_seed_gives_same_trials_though_trainer_seeds_everything(self, get_results, backend):
        result, best, _ = get_results(backend)
        assert trial_rows(best.run_summary.trials) == trial_rows(result.trials[:4])

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_hyperparameter_search_returns_best_run(self, get_results, backend):
        from transformers.trainer_utils import BestRun

        _, best, _ = get_results(backend)
        assert type(best) is BestRun
        trial = best.run_summary.best
        assert best[:3] == (str(trial.number), trial.value, trial.params)
        assert best.run_summary.backend == backend

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_keep_best_and_all_keep_their_directories(self, get_results, backend):
        result, best, (best_directories, all_directories) = get_results(backend)
        assert best_directories == [result.best.run_id]
        assert [trial for trial in result.trials if trial.directory or trial.checkpoint] == [result.best]
        assert os.path.isfile(os.path.join(result.best.checkpoint, "trainer_state.json"))
        trials = best.run_summary.trials
        assert all_directories == sorted(map(run_name, trials)) == sorted(trial.run_id for trial in trials)
        assert all(os.path.dirname(trial.checkpoint) == trial.directory for trial in trials)


def reseed_and_evaluate(trial):
    random.seed(0)
    np.random.seed(0)
    return parabola(trial)


def optuna_hp_space(trial):
    return {"x": trial.suggest_float("x", 1e-3, 1.0, log=True), "n": trial.suggest_categorical("n", [1, 2])}


def ray_hp_space(trial):
    from ray import tune

    return {"x": tune.loguniform(1e-3, 1.0), "n": tune.choice([1, 2])}


def sigopt_hp_space(trial):
    bounds = {"min": 1e-3, "max": 1.0}
    return [
        {"name": "x", "type": "double", "bounds": bounds, "transformation": "log"},
        {"name": "n", "type": "categorical", "categorical_values": ["1", "2"]},
    ]


def wandb_hp_space(trial):
    x = {"distribution": "log_uniform_values", "min": 1e-3, "max": 1.0}
    return {"method": "random", "parameters": {"x": x, "n": {"values": [1, 2]}}}


class TestFunction:
    @pytest.mark.parametrize("sampler", ["bayes", "random"])
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_same_seed_gives_same_trials_though_function_reseeds_everything(self, search, backend, sampler):
        one = search(reseed_and_evaluate, X, backend=backend, n_trials=8, sampler=sampler, seed=3)
        np.random.seed(9)
        parallel = {"max_concurrent_trials": 2} if (backend, sampler) == ("ray", "random") else {}
        other = search(parabola, X, backend=backend, n_trials=8, sampler=sampler, seed=3, **parallel)
        assert trial_rows(one.trials) == trial_rows(other.trials)
        assert len({trial.value for trial in one.trials}) == 8

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_trial_supports_idioms_of_every_backend(self, search, backend):
        def function(trial):
            x, n = trial.params["x"], trial.params["net"]["n"]
            assert trial.suggest_float("x", 0.0, 4.0, log=False) == trial["x"] == trial.assignments["x"] == x
            assert (
                trial.suggest_int("net.n", 1, 3)
                == trial["net.n"]
                == trial["net"]["n"]
                == dict(**trial)["net"]["n"]
                == n
            )
            return x + n

        result = search(function, {"x": hp.Float(0.0, 4.0), "net": {"n": hp.Int(1, 3)}}, backend=backend, n_trials=2)
        assert [trial.value for trial in result.trials] == [
            trial.params["x"] + trial.params["net"]["n"] for trial in result.trials
        ]

    @pytest.mark.parametrize(
        ("backend", "hp_space"),
        list(zip(BACKENDS, (optuna_hp_space, ray_hp_space, sigopt_hp_space, wandb_hp_space), strict=True)),
        ids=BACKENDS,
    )
    def test_hp_space_function_of_transformers_is_accepted(self, run_search, backend, hp_space):
        best = run_search(
            hp.hyperparameter_search, lambda trial: trial["x"] * trial["n"], hp_space, None, 3, backend=backend
        )
        result = best.run_summary
        assert result.space == hp.SearchSpace({"x": hp.Float(1e-3, 1.0, log=True), "n": hp.Categorical([1, 2])})
        assert best.objective == min(trial.value for trial in result.trials)
        assert all(result.space.contains(trial.params) for trial in result.trials)


def fail(error):
    raise error


class TestFailure:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_failed_trial_has_cause_and_others_finish(self, search, backend):
        issues = {
            1: lambda: fail(RuntimeError("CUDA error")),
            2: lambda: fail(MemoryError()),
            3: lambda: bytearray(2**62),
            4: lambda: math.nan,
        }
        result = search(
            lambda trial: issues[trial.number]() if trial.number in issues else parabola(trial),
            X,
            backend=backend,
            n_trials=7,
        )
        assert [trial.cause for trial in result.trials] == [
            None,
            "RuntimeError: CUDA error",
            "MemoryError",
            "MemoryError",
            "ValueError: the objective is nan",
            None,
            None,
        ]
        states = ["FAILED" if number in issues else "COMPLETE" for number in range(7)]
        assert [trial.state for trial in result.trials] == states
        assert [trial.values is None for trial in result.trials] == [state == "FAILED" for state in states]
        assert "in fail" in result.trials[1].error
        assert result.best.value == min(trial.value for trial in result.trials if trial.values)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_every_trial_failed_raises_with_causes(self, search, backend):
        def function(trial):
            raise OSError("the weights are gone" if trial.number % 2 else "the disk is full")

        with pytest.raises(hp.SearchError, match="all 3 trials failed") as failure:
            search(function, X, backend=backend, n_trials=3)
        assert list(map(str, failure.value.issues))[:-1] == [
            "trials 0, 2: OSError: the disk is full",
            "trial 1: OSError: the weights are gone",
        ]


def interrupt_search(at):
    """Return an objective that sends Ctrl-C to the process of the search in the trial with number `at`."""
    pid = os.getpid()

    def function(trial):
        if trial.number == at:
            os.kill(pid, signal.SIGINT)
            deadline = Deadline()
            for step in count():  # a worker process learns of the Ctrl-C when it reports
                trial.report(0.0, step)
                if trial.should_prune() or deadline.remaining_s < 0:
                    return None
        return trial["x"]

    return function


class TestEarlyEnd:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_ctrl_c_in_a_trial_returns_finished_trials(self, search, backend):
        result = search(interrupt_search(at=3), X, backend=backend, n_trials=9)
        assert result.interrupted
        assert [(trial.number, trial.state) for trial in result.trials] == [(n, "COMPLETE") for n in range(3)]
        assert result.best.value == min(trial.value for trial in result.trials)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_ctrl_c_with_nothing_finished_raises_keyboard_interrupt(self, search, backend):
        with pytest.raises(KeyboardInterrupt):
            search(interrupt_search(at=0), X, backend=backend, n_trials=9)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_timeout_starts_no_further_trial(self, search, backend):
        def outlast_timeout(trial):
            time.sleep(timeout)
            return trial["x"]

        timeout = 2.0  # long enough for the first trial to start
        result = search(outlast_timeout, X, backend=backend, n_trials=10_000, timeout=timeout)
        assert [trial.state for trial in result.trials] == ["COMPLETE"]
        assert not result.interrupted

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_callback_runs_in_this_process_and_can_end_search(self, search, backend):
        calls, trials = [], []

        def stop_after_third(trial):
            calls.append((os.getpid(), trial))
            return trial.number == 2

        def fail_second(trial):
            return fail(ValueError) if trial.number == 1 else trial["x"]

        result = search(fail_second, X, backend=backend, n_trials=50, callbacks=[stop_after_third, trials.append])
        assert [trial.state for trial in result.trials] == ["COMPLETE", "FAILED", "COMPLETE"]
        assert calls == [(os.getpid(), trial) for trial in result.trials]
        assert tuple(trials) == result.trials
        assert not result.interrupted


class TestSeveralObjectives:
    @pytest.mark.parametrize(
        ("backend", "sampler"),
        [("optuna", None), ("ray", None), ("sigopt", None), ("wandb", "random"), ("wandb", "grid")],
    )
    def test_several_objectives_give_pareto_front(self, search, backend, sampler):
        space = {"x": hp.Float(0.0, 4.0, step=0.25), "n": hp.Int(1, 2)}
        result = search(
            lambda trial: [trial["x"] ** 2 + trial["n"], (trial["x"] - 2) ** 2],
            space,
            direction=["minimize", "maximize"],
            backend=backend,
            sampler=sampler,
            n_trials=12,
        )

        def dominates(one, other):
            return one != other and one[0] <= other[0] and one[1] >= other[1]

        values = [trial.values for trial in result.trials]
        assert len(values) == 12
        front = [value for value in values if not any(dominates(other, value) for other in values)]
        assert [trial.values for trial in result.pareto_front] == front
        assert len(front) < 12
        with pytest.raises(hp.SearchError, match="pareto_front"):
            _ = result.best


FINITE = hp.SearchSpace(
    {
        "pair": hp.Categorical([(1, 2), [1, 2], 1, 1.0, True]),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "momentum": hp.Float(0.7, 0.9, step=0.1, when={"optim": "sgd"}),
    }
)


@pytest.fixture(scope="module")
def partial_grid(search):
    """Try 16 of the 20 configurations of FINITE, 4 on each backend; the second trial of each search fails."""

    def function(trial):
        return fail(OSError("once")) if trial.number == 1 else float(trial["optim"] == "sgd")

    trials = []
    for backend in BACKENDS:
        trials += search(function, FINITE, backend=backend, n_trials=4, sampler="grid", history=trials).trials
    return trials


class TestHistory:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_history_of_every_backend_is_continued(self, get_results, search, backend):
        history = [trial for other in BACKENDS for trial in get_results(other)[0].trials]
        result = search(lambda trial: trial["learning_rate"], EVERY_TYPE, backend=backend, n_trials=2, history=history)
        assert [(trial.number, trial.state) for trial in result.trials] == [(0, "COMPLETE"), (1, "COMPLETE")]
        assert all(EVERY_TYPE.contains(trial.params) for trial in result.trials)
        tried = {trial.params["learning_rate"] for trial in history}
        assert tried.isdisjoint(trial.params["learning_rate"] for trial in result.trials)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_grid_skips_configurations_of_history(self, partial_grid, search, backend):
        assert len({repr(trial.params) for trial in partial_grid}) == 16
        rest = search(lambda trial: 1.0, FINITE, backend=backend, n_trials=100, sampler="grid", history=partial_grid)
        assert len(rest.trials) == 4
        assert len({repr(trial.params) for trial in (*partial_grid, *rest.trials)}) == FINITE.size == 20


SEARCHES = """
import json, os, sys
import psutil
import wandb  # it creates two temporary directories that are removed with the process; Ray imports it too
from tests.helpers.trainers import Net, create_trainer
import hpcompat as hp
from hpcompat.trials.journal import JOURNAL_FILE

DIRECTORIES = ("HOME", "TMPDIR", "WORK", "OUT")

def files():
    return {os.path.join(path, name) for directory in DIRECTORIES
            for path, *names in os.walk(os.environ[directory]) for name in [*names[0], *names[1]]}

def model_init(trial):
    return Net(trial["width"] if trial is not None else 2)

if __name__ == "__main__":
    trainer = create_trainer(os.environ["OUT"], model_init, save_strategy="epoch")
    space = {"width": hp.Int(2, 9), "learning_rate": hp.Float(1e-4, 1e-1, log=True)}
    remaining = {}
    for backend in sys.argv[1:]:
        before, out = files(), os.path.join(os.environ["OUT"], backend)
        result = hp.search(
            trainer, space, backend, n_trials=3, seed=0, keep="none", progress=False, output_dir=out
        )
        assert [trial.cause for trial in result.trials] == [None] * 3, result
        wandb_dir, expected = os.path.join(out, "wandb", ""), {out, os.path.join(out, JOURNAL_FILE)}
        new = [path for path in files() - before - expected if not f"{path}{os.sep}".startswith(wandb_dir)]
        remaining[backend] = {"files": new, "processes": [child.name() for child in psutil.Process().children()]}
    print(json.dumps(remaining))
"""


@pytest.fixture(scope="module")
def remaining_files(tmp_path_factory):
    """Search on each backend in one child process; list what each search leaves, and what the process leaves."""
    root = tmp_path_factory.mktemp("remaining")
    directories = {name: root / name.lower() for name in ("HOME", "WORK", "OUT")}
    # without RAY_AUTH_MODE, which the other tests set, Ray might write a token to the home directory
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "XDG_", "WANDB_"))}
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as temporary:
        directories["TMPDIR"] = Path(temporary)
        for directory in directories.values():
            directory.mkdir(exist_ok=True)
        process = subprocess.run(
            [sys.executable, "-c", SEARCHES, *BACKENDS],
            cwd=directories["WORK"],
            env={**environment, **{name: str(directory) for name, directory in directories.items()}},
            capture_output=True,
            text=True,
        )
        assert (process.returncode, process.stderr) == (0, "")
        after_exit = {name: sorted(map(str, path.rglob("*"))) for name, path in directories.items() if name != "OUT"}
    return json.loads(process.stdout), after_exit


class TestRemainingFiles:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_search_leaves_nothing_outside_output_dir(self, remaining_files, backend):
        assert remaining_files[0][backend] == {"files": [], "processes": []}

    def test_exited_process_leaves_nothing(self, remaining_files):
        assert remaining_files[1] == {"HOME": [], "WORK": [], "TMPDIR": []}
