"""Trials that kill their process, and SystemExit: in a trial it fails the trial, in a handler it ends the search."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hpcompat as hp
from hpcompat.backends import BACKENDS
from hpcompat.trials.journal import JOURNAL_FILE, open_journal

SPACE = hp.SearchSpace({"x": hp.Float(0, 4)})
IN_PROCESS = [backend for backend in BACKENDS if backend != "ray"]  # a dead Ray worker does not end the search

SEARCH = """
import os, sys, signal, hpcompat as hp
out, backend, steps, end = sys.argv[1:]
steps = int(steps)
def function(trial):
    if trial.number == 1:
        for step in range(1, steps + 1):
            trial.report(1.0, step)
        exec(compile(end, "end", "exec"))
    return trial["x"]
options = {"output_dir": out, "n_trials": 3, "seed": 0, "resume": True, "progress": False}
result = hp.search(function, {"x": hp.Float(0, 4)}, backend, **options)
print(*(trial.state for trial in result.trials), bool(result.interrupted))
"""
EXIT = "os._exit(7)"


@pytest.fixture
def run_process(tmp_path):
    """Start or resume a search of three trials in a child process; its second trial executes the code `end`."""

    def run(backend: str = "optuna", steps: int = 0, end: str = EXIT) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", SEARCH, str(tmp_path / "out"), backend, str(steps), end]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)

    return run


def read_trials(tmp_path: Path) -> list[tuple[int, str]]:
    with open_journal(str(tmp_path / "out"), SPACE, ["minimize"], resume=True) as journal:
        return [(trial.number, trial.state) for trial in journal.trials]


class TestProcessExits:
    @pytest.mark.parametrize("backend", IN_PROCESS)
    def test_trial_that_exits_twice_is_failed_on_resume(self, run_process, tmp_path, backend):
        assert [run_process(backend).returncode, run_process(backend).returncode] == [7, 7]
        assert run_process(backend).stdout == "COMPLETE FAILED COMPLETE False\n"
        assert read_trials(tmp_path) == [(0, "COMPLETE"), (1, "FAILED"), (2, "COMPLETE")]

    @pytest.mark.parametrize(
        "end", ["os.abort()", "os.kill(os.getpid(), signal.SIGKILL)", "import ctypes; ctypes.string_at(0)"]
    )
    def test_abort_kill_and_crash_count_as_exits(self, run_process, end):
        assert run_process(end=end).returncode < 0
        assert run_process(end=end).returncode < 0
        assert run_process(end=end).stdout == "COMPLETE FAILED COMPLETE False\n"

    def test_failed_trial_has_cause_and_reaches_callbacks(self, run_process, run_hpcompat, tmp_path):
        for steps in (4, 4):
            run_process(steps=steps)
        callback_trials = []
        options = {"output_dir": str(tmp_path / "out"), "resume": True, "callbacks": [callback_trials.append]}
        result = run_hpcompat(lambda trial: trial["x"], SPACE, n_trials=2, **options)
        assert result.trials[1].cause == (
            "ProcessDied: the process of the search has ended in this trial 2 times, the last time at step 4"
        )
        assert callback_trials == [result.trials[1]]
        assert SPACE.contains(result.trials[1].params)
        assert run_hpcompat(lambda trial: trial["x"], SPACE, n_trials=2, **options).trials == result.trials

    def test_trial_with_progress_is_resumed_again(self, run_process):
        for steps in (2, 5, 9):
            assert run_process(steps=steps).returncode == 7
        assert run_process(steps=9).returncode == 7
        assert run_process(steps=9).stdout == "COMPLETE FAILED COMPLETE False\n"

    def test_one_exit_is_resumed(self, run_process):
        assert run_process().returncode == 7
        assert run_process(end="").stdout == "COMPLETE COMPLETE COMPLETE False\n"

    @pytest.mark.parametrize("end", ["raise KeyboardInterrupt", "os.kill(os.getpid(), signal.SIGTERM)"])
    def test_ctrl_c_and_sigterm_do_not_count(self, run_process, end):
        for _ in range(3):
            assert run_process(end=end).returncode in (0, -signal.SIGTERM)
        assert run_process().returncode == 7
        assert run_process(end=end).returncode in (0, -signal.SIGTERM)
        assert run_process(end="").stdout == "COMPLETE COMPLETE COMPLETE False\n"

    def test_exits_count_on_every_backend(self, run_process):
        assert [run_process("optuna").returncode, run_process("wandb").returncode] == [7, 7]
        assert run_process("ray").stdout == "COMPLETE FAILED COMPLETE False\n"

    def test_first_trial_that_exits_is_failed(self, tmp_path):
        code = SEARCH.replace("trial.number == 1", "trial.number == 0")
        command = [sys.executable, "-c", code, str(tmp_path / "out"), "optuna", "0", EXIT]
        processes = [subprocess.run(command, capture_output=True, text=True, timeout=600) for _ in range(3)]
        assert [process.returncode for process in processes] == [7, 7, 0]
        assert processes[-1].stdout == "FAILED COMPLETE COMPLETE False\n"

    def test_training_records_steps_as_progress(self, run_hpcompat, make_trainer):
        from transformers import TrainerCallback

        class ReadStep(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                journal = Path(trainer.args.output_dir).parent.joinpath(JOURNAL_FILE).read_text()
                steps.append(journal.splitlines()[-1].split('"step": ')[1][:14])

        steps: list[str] = []
        trainer = make_trainer(trainer={"callbacks": [ReadStep()]})
        run_hpcompat(trainer, {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}, n_trials=1)
        assert [int(step.strip('"')) for step in steps] == [1, 2, 3, 4]


class TestSysExit:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_sys_exit_in_trial_fails_it(self, run_hpcompat, backend):
        def exit_in_second(trial):
            if trial.number == 1:
                sys.exit(3)
            return trial["x"]

        result = run_hpcompat(exit_in_second, SPACE, backend=backend, n_trials=3)
        assert [trial.state for trial in result.trials] == ["COMPLETE", "FAILED", "COMPLETE"]
        assert result.trials[1].cause == "SystemExit: 3"

    def test_sys_exit_in_training_fails_it(self, run_hpcompat, make_trainer):
        def exit_after_evaluation(metrics):
            sys.exit("no more")

        with pytest.raises(hp.SearchError, match=r"all 2 trials failed\n.*SystemExit: no more"):
            run_hpcompat(
                make_trainer(),
                {"learning_rate": hp.Float(1e-4, 1e-1)},
                n_trials=2,
                compute_objective=exit_after_evaluation,
            )

    def test_sys_exit_of_handler_called_by_trial_fails_trial(self, run_hpcompat, set_handler):
        def stop(*_):
            sys.exit(3)

        set_handler(stop)
        with pytest.raises(hp.SearchError, match=r"all 1 trials failed\n.*SystemExit: 3"):
            run_hpcompat(lambda trial: stop(), SPACE, n_trials=1)

    @pytest.fixture
    def set_handler(self):
        original = signal.getsignal(signal.SIGUSR1)
        yield lambda handler: signal.signal(signal.SIGUSR1, handler)
        signal.signal(signal.SIGUSR1, original)

    @pytest.mark.parametrize("backend", IN_PROCESS)
    @pytest.mark.parametrize("handler", ["plain", "star", "method", "removes itself"])
    def test_sys_exit_of_handler_ends_search(self, run_hpcompat, set_handler, tmp_path, backend, handler):
        class Handler:
            def stop(self, signum, frame):
                sys.exit(9)

        def plain(signum, frame):
            sys.exit(9)

        def remove_and_exit(signum, frame):
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            sys.exit(9)

        set_handler(
            {
                "plain": plain,
                "star": lambda *_: sys.exit(9),
                "method": Handler().stop,
                "removes itself": remove_and_exit,
            }[handler]
        )

        def raise_signal(trial):
            if trial.number == 2:
                signal.raise_signal(signal.SIGUSR1)
            return trial["x"]

        options = {"backend": backend, "output_dir": str(tmp_path / "out"), "n_trials": 4}
        with pytest.raises(SystemExit) as exit_info:
            run_hpcompat(raise_signal, SPACE, **options)
        assert exit_info.value.code == 9
        assert read_trials(tmp_path) == [(0, "COMPLETE"), (1, "COMPLETE")]
        result = run_hpcompat(lambda trial: trial["x"], SPACE, **options, resume=True)
        assert [trial.state for trial in result.trials] == ["COMPLETE"] * 4

    def test_sys_exit_of_handler_closes_stored_trial(self, run_hpcompat, set_handler, tmp_path):
        set_handler(lambda *_: sys.exit(9))

        def raise_signal(trial):
            if trial.number == 1:
                signal.raise_signal(signal.SIGUSR1)
            return trial["x"]

        store = {"storage": f"sqlite:///{tmp_path}/s.db", "study_name": "s", "load_if_exists": True}
        with pytest.raises(SystemExit):
            run_hpcompat(raise_signal, SPACE, n_trials=3, **store)
        import optuna

        study = optuna.load_study(study_name="s", storage=store["storage"])
        assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]
        assert study.trials[1].user_attrs["hpcompat: error"] == "SystemExit: the search was interrupted"
