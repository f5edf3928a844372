"""SIGTERM: the search cleans up, keeps the checkpoints of the interrupted trial, and the process ends by SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from transformers import TrainerCallback

import hpcompat as hp
from hpcompat.backends import BACKENDS
from hpcompat.trials.journal import JOURNAL_FILE
from tests.helpers.processes import KillPoint, wait_for
from tests.helpers.trainers import create_trainer, list_remaining

SPACE = hp.SearchSpace({"x": hp.Float(0, 4)})
# they try for a minute to report the death of their node to Ray's head node, which is dead as well
SLOW_PROCESSES = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def read_records(out):
    return [json.loads(line) for line in (out / JOURNAL_FILE).read_text().splitlines()]


class TestTraining:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_sigterm_in_training_keeps_checkpoint_and_ends_process(self, search_processes, tmp_path, backend):
        out = tmp_path / "out"
        concurrency = {"max_concurrent_trials": 1} if backend == "ray" else {}
        options = {
            "backend": backend,
            "sampler": "random",
            "seed": 0,
            "n_trials": 3,
            "use_trainer": True,
            **concurrency,
        }
        outcome = search_processes.run(out, KillPoint("trial_end", 2, 0, signal.SIGTERM), **options)
        assert (outcome.exit_code, outcome.result) == (-signal.SIGTERM, None)
        assert not outcome.remaining_temp_dirs()
        wait_for(lambda: not {*outcome.running_processes()}.difference(SLOW_PROCESSES), "processes still run")
        assert [line["number"] for line in read_records(out) if "number" in line] == [0]
        assert os.path.isdir(outcome.callback_trials[0]["checkpoint"])
        assert (out / "run-1" / "checkpoint-4" / "trainer_state.json").exists()

        outcome = search_processes.run(out, None, **options)
        assert [trial["number"] for trial in outcome.result["trials"]] == [0, 1, 2]
        best = outcome.result["trials"][outcome.result["best"]]
        assert [name for name in list_remaining(out) if name.startswith("run-")] == [best["run_id"]]
        assert not [name for name in os.listdir(out) if name.startswith(".hpcompat")]

    def test_sigterm_in_first_training_keeps_checkpoint(self, search_processes, tmp_path):
        out = tmp_path / "out"
        options = {"backend": "optuna", "sampler": "random", "seed": 0, "n_trials": 2, "use_trainer": True}
        outcome = search_processes.run(out, KillPoint("trial_end", 1, 0, signal.SIGTERM), **options)
        assert (outcome.exit_code, outcome.callback_trials) == (-signal.SIGTERM, [])
        assert (out / "run-0" / "checkpoint-4" / "trainer_state.json").exists()
        assert len(search_processes.run(out, None, **options).result["trials"]) == 2
        assert len(list_remaining(out)) == 1


class TestFunction:
    @pytest.mark.parametrize(
        ("backend", "event"),
        [
            *(("optuna", event) for event in ("trial_start", "record_half_written", "record_synced", "callback")),
            *((backend, "callback") for backend in BACKENDS if backend != "optuna"),
        ],
    )
    def test_sigterm_at_any_moment_loses_nothing(self, search_processes, tmp_path, backend, event):
        out = tmp_path / "out"
        options = {"backend": backend, "sampler": "random", "seed": 0, "n_trials": 4}
        # Ray Tune handles SIGTERM at the end of its loop, which a paused search would never reach
        outcome = search_processes.run(
            out, KillPoint(event, 2, 1 if backend == "ray" else 0, signal.SIGTERM), **options
        )
        assert outcome.exit_code == -signal.SIGTERM
        assert not outcome.remaining_temp_dirs()
        callback_values = {trial["number"]: trial["values"] for trial in outcome.callback_trials}
        trials = search_processes.run(out, None, **options).result["trials"]
        assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
        assert callback_values.items() <= {trial["number"]: trial["values"] for trial in trials}.items()
        assert "ProcessDied" not in str(trials)
        assert not [name for name in os.listdir(out) if name.startswith(".hpcompat")]


CODE = """
import os, sys, signal, threading, hpcompat as hp
out, name = sys.argv[1:]
def swallow(trial):
    if trial.number == 1:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            pass
    return trial["x"]
def convert(trial):
    if trial.number == 1:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise ValueError from error
    return trial["x"]
def nested(trial):
    inner = hp.search(swallow, {"x": hp.Float(0, 4)}, n_trials=3, seed=0, progress=False)
    return inner.best.value
def signal_twice(trial):
    if trial.number == 1:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
    return trial["x"]
function = {"swallow": swallow, "convert": convert, "nested": nested, "signal_twice": signal_twice}[name]
hp.search(function, {"x": hp.Float(0, 4)}, n_trials=4, seed=0, output_dir=out, progress=False)
print("the search was not ended")
"""


class TestSwallowedSigterm:
    @pytest.mark.parametrize(
        ("name", "finished"), [("swallow", [0]), ("convert", [0]), ("signal_twice", [0]), ("nested", [])]
    )
    def test_sigterm_swallowed_by_trial_ends_search_and_discards_trial(self, tmp_path, name, finished):
        out = tmp_path / "out"
        process = subprocess.run([sys.executable, "-c", CODE, out, name], capture_output=True, text=True, timeout=600)
        assert (process.returncode, process.stdout) == (-signal.SIGTERM, "")
        lines = read_records(out) if finished else []
        assert [line["number"] for line in lines if "number" in line] == finished
        assert (out / JOURNAL_FILE).exists() == bool(finished)


class TestHandlers:
    @pytest.fixture(autouse=True)
    def default_handler(self):
        original = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        yield
        signal.signal(signal.SIGTERM, original)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_handler_is_restored_after_search(self, run_hpcompat, backend):
        run_hpcompat(lambda trial: trial["x"], SPACE, backend=backend, n_trials=1)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    @pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "ray"])
    def test_handler_of_user_runs_instead(self, run_hpcompat, backend):
        calls = []
        signal.signal(signal.SIGTERM, lambda *_: calls.append(1))

        def raise_signal(trial):
            if trial.number == 1:
                signal.raise_signal(signal.SIGTERM)
            return trial["x"]

        assert len(run_hpcompat(raise_signal, SPACE, backend=backend, n_trials=3).trials) == 3
        assert calls == [1]

    def test_handler_of_user_that_exits_leaves_checkpoint(self, run_hpcompat, tmp_path):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))

        class RaiseSignal(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                signal.raise_signal(signal.SIGTERM)

        trainer = create_trainer(str(tmp_path / "out"), save_strategy="epoch", trainer={"callbacks": [RaiseSignal()]})
        with pytest.raises(SystemExit):
            run_hpcompat(trainer, {"learning_rate": hp.Float(1e-4, 1e-1)}, n_trials=2)
        assert (tmp_path / "out" / "run-0" / "checkpoint-4" / "trainer_state.json").exists()

    def test_handler_of_user_runs_instead_under_ray(self, run_hpcompat):
        calls = []
        signal.signal(signal.SIGTERM, lambda *_: calls.append(1))

        def raise_signal(trial):
            signal.raise_signal(signal.SIGTERM)

        result = run_hpcompat(lambda trial: trial["x"], SPACE, backend="ray", n_trials=3, callbacks=[raise_signal])
        assert (len(result.trials), calls) == (3, [1, 1, 1])

    def test_search_in_thread_does_not_change_handler(self, run_hpcompat):
        handlers = []

        def evaluate(trial):
            handlers.append(signal.getsignal(signal.SIGTERM))
            return trial["x"]

        def run() -> None:
            run_hpcompat(evaluate, SPACE, n_trials=1)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert handlers == [signal.SIG_DFL]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_forked_child_ends_at_once(self, run_hpcompat, tmp_path):
        out = tmp_path / "out"
        codes = []

        def fork_and_raise_signal(trial):
            pid = os.fork()
            if pid == 0:
                try:
                    signal.raise_signal(signal.SIGTERM)
                finally:
                    os._exit(5)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            return trial["x"]

        assert len(run_hpcompat(fork_and_raise_signal, SPACE, n_trials=2, output_dir=str(out)).trials) == 2
        assert codes == [-signal.SIGTERM] * 2
        assert not any("interrupted" in line for line in read_records(out))


class TestTrainerError:
    def test_error_of_trainer_does_not_end_search(self, run_hpcompat, tmp_path):
        """The search's handler is installed during a training, but an exception of the training is not a signal."""
        is_default_handler = []

        def loss(metrics):
            is_default_handler.append(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
            raise ValueError("mine")

        with pytest.raises(hp.SearchError, match="all 1 trials failed"):
            run_hpcompat(
                create_trainer(str(tmp_path / "out")),
                {"learning_rate": hp.Float(1e-4, 1e-1)},
                n_trials=1,
                compute_objective=loss,
            )
        assert is_default_handler == [False]
