"""SIGTERM: all is put in order, what the interrupted trial has saved stays, and the process ends as it would have."""

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
# they try for a minute to tell Ray's head that their node has died, and it is dead as well
SLOW = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def written(out):
    return [json.loads(line) for line in (out / JOURNAL_FILE).read_text().splitlines()]


class TestTraining:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_sigterm_in_training_keeps_checkpoint_and_ends_process(self, search_processes, tmp_path, backend):
        out = tmp_path / "out"
        more = {"max_concurrent_trials": 1} if backend == "ray" else {}
        order = {"backend": backend, "sampler": "random", "seed": 0, "n_trials": 3, "trains": True, **more}
        leg = search_processes.run(out, KillPoint("tried", 2, 0, signal.SIGTERM), **order)
        assert (leg.code, leg.result) == (-signal.SIGTERM, None)
        assert not leg.private_directories()
        wait_for(lambda: not {*leg.processes()}.difference(SLOW), "processes are left")
        assert [line["number"] for line in written(out) if "number" in line] == [0]
        assert os.path.isdir(leg.told[0]["checkpoint"])
        assert (out / "run-1" / "checkpoint-4" / "trainer_state.json").exists()

        leg = search_processes.run(out, None, **order)
        assert [trial["number"] for trial in leg.result["trials"]] == [0, 1, 2]
        best = leg.result["trials"][leg.result["best"]]
        assert [name for name in list_remaining(out) if name.startswith("run-")] == [best["run_id"]]
        assert not [name for name in os.listdir(out) if name.startswith(".hpcompat")]

    def test_sigterm_in_first_training_keeps_checkpoint(self, search_processes, tmp_path):
        out = tmp_path / "out"
        order = {"backend": "optuna", "sampler": "random", "seed": 0, "n_trials": 2, "trains": True}
        leg = search_processes.run(out, KillPoint("tried", 1, 0, signal.SIGTERM), **order)
        assert (leg.code, leg.told) == (-signal.SIGTERM, [])
        assert (out / "run-0" / "checkpoint-4" / "trainer_state.json").exists()
        assert len(search_processes.run(out, None, **order).result["trials"]) == 2
        assert len(list_remaining(out)) == 1


class TestAnyMoment:
    @pytest.mark.parametrize(
        ("backend", "kind"),
        [
            *(("optuna", kind) for kind in ("begun", "half", "synced", "told")),
            *((backend, "told") for backend in BACKENDS if backend != "optuna"),
        ],
    )
    def test_sigterm_at_any_moment_loses_nothing(self, search_processes, tmp_path, backend, kind):
        out = tmp_path / "out"
        order = {"backend": backend, "sampler": "random", "seed": 0, "n_trials": 4}
        # Ray Tune ends its loop where it likes: what is held there would be held for ever
        leg = search_processes.run(out, KillPoint(kind, 2, 1 if backend == "ray" else 0, signal.SIGTERM), **order)
        assert leg.code == -signal.SIGTERM
        assert not leg.private_directories()
        told = {trial["number"]: trial["values"] for trial in leg.told}
        trials = search_processes.run(out, None, **order).result["trials"]
        assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
        assert told.items() <= {trial["number"]: trial["values"] for trial in trials}.items()
        assert "ProcessDied" not in str(trials)
        assert not [name for name in os.listdir(out) if name.startswith(".hpcompat")]


CODE = """
import os, sys, signal, threading, hpcompat as hp
out, kind = sys.argv[1:]
def swallows(trial):
    if trial.number == 1:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            pass
    return trial["x"]
def turns(trial):
    if trial.number == 1:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise ValueError from error
    return trial["x"]
def nested(trial):
    inner = hp.search(swallows, {"x": hp.Float(0, 4)}, n_trials=3, seed=0, progress=False)
    return inner.best.value
def again(trial):
    if trial.number == 1:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
    return trial["x"]
function = {"swallows": swallows, "turns": turns, "nested": nested, "again": again}[kind]
hp.search(function, {"x": hp.Float(0, 4)}, n_trials=4, seed=0, output_dir=out, progress=False)
print("it went on")
"""


class TestSwallowed:
    """By code in a trial: the search ends all the same, and the trial does not count."""

    @pytest.mark.parametrize(("kind", "finished"), [("swallows", [0]), ("turns", [0]), ("again", [0]), ("nested", [])])
    def test_swallowed_sigterm_ends_search(self, tmp_path, kind, finished):
        out = tmp_path / "out"
        ended = subprocess.run([sys.executable, "-c", CODE, out, kind], capture_output=True, text=True, timeout=600)
        assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "")
        lines = written(out) if finished else []
        assert [line["number"] for line in lines if "number" in line] == finished
        assert (out / JOURNAL_FILE).exists() == bool(finished)


class TestHandlers:
    @pytest.fixture(autouse=True)
    def default(self):
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        yield
        signal.signal(signal.SIGTERM, before)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_handler_is_restored_after_search(self, run_hpcompat, backend):
        run_hpcompat(lambda trial: trial["x"], SPACE, backend=backend, n_trials=1)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    @pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "ray"])
    def test_handler_of_user_runs_instead(self, run_hpcompat, backend):
        heard = []
        signal.signal(signal.SIGTERM, lambda *_: heard.append(1))

        def hit(trial):
            if trial.number == 1:
                signal.raise_signal(signal.SIGTERM)
            return trial["x"]

        assert len(run_hpcompat(hit, SPACE, backend=backend, n_trials=3).trials) == 3
        assert heard == [1]

    def test_handler_of_user_that_exits_leaves_checkpoint(self, run_hpcompat, tmp_path):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))

        class Hit(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                signal.raise_signal(signal.SIGTERM)

        trainer = create_trainer(str(tmp_path / "out"), save_strategy="epoch", trainer={"callbacks": [Hit()]})
        with pytest.raises(SystemExit):
            run_hpcompat(trainer, {"learning_rate": hp.Float(1e-4, 1e-1)}, n_trials=2)
        assert (tmp_path / "out" / "run-0" / "checkpoint-4" / "trainer_state.json").exists()

    def test_handler_of_user_runs_instead_under_ray(self, run_hpcompat):
        heard = []
        signal.signal(signal.SIGTERM, lambda *_: heard.append(1))

        def hit(trial):
            signal.raise_signal(signal.SIGTERM)

        result = run_hpcompat(lambda trial: trial["x"], SPACE, backend="ray", n_trials=3, callbacks=[hit])
        assert (len(result.trials), heard) == (3, [1, 1, 1])

    def test_search_in_thread_leaves_handler_alone(self, run_hpcompat):
        seen = []

        def run() -> None:
            run_hpcompat(lambda trial: seen.append(signal.getsignal(signal.SIGTERM)) or trial["x"], SPACE, n_trials=1)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert seen == [signal.SIG_DFL]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork")
    def test_forked_child_ends_at_once(self, run_hpcompat, tmp_path):
        out = tmp_path / "out"
        codes = []

        def forks(trial):
            pid = os.fork()
            if pid == 0:
                try:
                    signal.raise_signal(signal.SIGTERM)
                finally:
                    os._exit(5)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            return trial["x"]

        assert len(run_hpcompat(forks, SPACE, n_trials=2, output_dir=str(out)).trials) == 2
        assert codes == [-signal.SIGTERM] * 2
        assert not any("interrupted" in line for line in written(out))


class TestTrainerError:
    def test_error_of_trainer_does_not_end_search(self, run_hpcompat, tmp_path):
        """The handler is there while a Trainer trains, and its own exceptions mean what they meant."""
        seen = []

        def loss(metrics):
            seen.append(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
            raise ValueError("mine")

        with pytest.raises(hp.SearchError, match="all 1 trials failed"):
            run_hpcompat(
                create_trainer(str(tmp_path / "out")),
                {"learning_rate": hp.Float(1e-4, 1e-1)},
                n_trials=1,
                compute_objective=loss,
            )
        assert seen == [False]
