"""A search killed at any moment, on any backend, keeps its finished trials and can be resumed.

Each test kills HPCOMPAT_KILLS searches (`make soak`), by default two. The kill points come from `random`, which
pytest-randomly seeds: -p "randomly_seed=…" repeats them.
"""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from hpcompat.backends import BACKENDS
from hpcompat.trials.journal import JOURNAL_FILE
from tests.helpers.processes import KillPoint, ProcessOutcome, SearchProcesses
from tests.helpers.trainers import list_remaining
from tests.helpers.waiting import wait_for

KILLS = int(os.environ.get("HPCOMPAT_KILLS", "2"))
IS_SOAK = "HPCOMPAT_KILLS" in os.environ  # it also sends Ctrl-C and SIGTERM, and lets Ray's workers exit in a trial

JOURNAL_EVENTS = ("record_half_written", "record_written", "record_synced", "callback")  # in the driving process
TRIAL_EVENTS = ("trial_start", "trial_end")  # under Ray in its workers
START_EVENTS = ("start_half_written",)  # not under Ray, where the death of a worker does not end the search
RUN_DIR_EVENTS = ("before_run_dir", "after_run_dir")
# they try for a minute to report the death of their node to Ray's head node, which is dead as well
SLOW_PROCESSES = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def random_kill_point(use_trainer: bool, backend: str, signum: int) -> KillPoint:
    """Choose a moment in the first trials of a search."""
    any_event = (*JOURNAL_EVENTS, *TRIAL_EVENTS, *START_EVENTS, *(RUN_DIR_EVENTS if use_trainer else ()))
    # Ray Tune handles Ctrl-C at the end of its loop, which a paused search would never reach
    needs_running_search = backend == "ray" and signum == signal.SIGINT
    if needs_running_search or random.random() < 0.4:
        event = random.choice((*JOURNAL_EVENTS, *TRIAL_EVENTS))
        return KillPoint(event, random.randint(1, 2), random.randint(1, 5), signum)
    return KillPoint(random.choice(JOURNAL_EVENTS if backend == "ray" else any_event), random.randint(1, 2), 0, signum)


def kill_and_resume(
    search_processes: SearchProcesses, out: Path, backends: list[str], use_trainer: bool = False
) -> None:
    """Kill a search on every backend but the last, resume it there, and check the result."""
    n_trials = 3 * len(backends)
    callback_trials: dict[int, Any] = {}

    def resume(backend: str, signum: int = 0) -> ProcessOutcome:
        """Resume the search until the signal, and wait until all processes that it has started have exited."""
        kill_point = random_kill_point(use_trainer, backend, signum) if signum else None
        sampler = random.choice(["random", "bayes"])
        options = {"backend": backend, "sampler": sampler, "n_trials": n_trials, "seed": 0}
        can_exit = backend == "ray" and IS_SOAK
        outcome = search_processes.run(out, kill_point, use_trainer=use_trainer, can_exit=can_exit, **options)
        # Ctrl-C before any trial has finished raises KeyboardInterrupt
        exit_codes = (0, 1) if signum == signal.SIGINT else (-signum,)
        assert outcome.exit_code in exit_codes, f"{backend}: {kill_point}"
        for trial in outcome.callback_trials:
            assert trial["number"] not in callback_trials, f"{backend}: {kill_point}"
            callback_trials[trial["number"]] = trial
        wait_for(
            lambda: not {*outcome.running_processes()}.difference(SLOW_PROCESSES),
            f"processes still run after {backend}: {kill_point}",
        )
        return outcome

    for backend in backends[:-1]:
        resume(backend, signal.SIGKILL)
        if IS_SOAK and random.random() < 0.2:
            resume(backend, signal.SIGINT)
        if IS_SOAK and backend != "ray" and random.random() < 0.2:
            resume(backend, signal.SIGTERM)
    outcome = resume(backends[-1])

    assert not outcome.remaining_temp_dirs()
    trials = outcome.result["trials"]
    lines = [line for line in map(json.loads, (out / JOURNAL_FILE).read_text().splitlines()) if "number" in line]
    assert [trial["number"] for trial in trials] == list(range(n_trials))
    assert sorted(line["number"] for line in lines) == list(range(n_trials))
    assert len({json.dumps(trial["params"]) for trial in trials}) == n_trials  # no params twice
    for trial in trials:
        # a search killed between the journal write and the callback has a trial that no callback received
        received = callback_trials.get(trial["number"], trial)
        assert [received[key] for key in ("params", "values", "state")] == [
            trial[key] for key in ("params", "values", "state")
        ]
    values = {trial["number"]: trial["values"] for trial in callback_trials.values() if trial["state"] == "COMPLETE"}
    best = trials[outcome.result["best"]]
    assert best["values"] == min(trial["values"] for trial in trials if trial["state"] == "COMPLETE")
    assert best["values"] <= min(values.values())
    run_dirs = {name for name in list_remaining(out) if name.startswith("run-")}
    assert run_dirs == ({best["run_id"]} if use_trainer else set())


class TestKilledSearch:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_killed_search_resumes(self, search_processes, tmp_path, backend):
        kill_and_resume(search_processes, tmp_path / "out", [backend] * (KILLS + 1))

    def test_killed_search_resumes_on_another_backend(self, search_processes, tmp_path):
        kill_and_resume(search_processes, tmp_path / "out", ["optuna", "sigopt", "wandb", "ray", "optuna"])

    @pytest.mark.parametrize("backend", ["optuna", "ray"])
    def test_files_of_killed_training_are_removed_on_resume(self, search_processes, tmp_path, backend):
        kill_and_resume(search_processes, tmp_path / "out", [backend] * (KILLS + 1), use_trainer=True)
