"""kill -9 at any moment of a search, on any backend: what was finished is there, and the search goes on.

HPCOMPAT_KILLS kills each (`make soak`), else two. The moments come from `random`, which pytest-randomly seeds:
its -p randomly -p "randomly_seed=…" repeats them.
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
SOAKS = "HPCOMPAT_KILLS" in os.environ  # Ray's workers end in the middle of a trial then, and Ctrl-C comes between

WRITING = ("half", "written", "synced", "told")  # of the journal; by the process that drives the search
TRYING = ("begun", "tried")  # by Ray's workers, under Ray
NOTING = ("noting",)  # that a trial has begun; not under Ray, where it does not end the search
MAKING = ("making", "made")
# they try for a minute to tell Ray's head that their node has died, and it is dead as well
SLOW = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def a_moment(trains: bool, backend: str, number: int) -> KillPoint:
    """Any, of the first trials of a leg."""
    there = WRITING if backend == "ray" else (*WRITING, *TRYING, *NOTING, *(MAKING if trains else ()))
    # Ray Tune notes a Ctrl-C and goes on to where its loop ends: what is held there would be held for ever
    goes_on = backend == "ray" and number == signal.SIGINT
    if goes_on or random.random() < 0.4:
        return KillPoint(random.choice((*WRITING, *TRYING)), random.randint(1, 2), random.randint(1, 5), number)
    return KillPoint(random.choice(there), random.randint(1, 2), 0, number)


def killed_and_resumed(search_processes: SearchProcesses, out: Path, backends: list[str], trains: bool = False) -> None:
    """A search that is killed on each of these backends but the last, where it comes to its end."""
    n_trials = 3 * len(backends)
    told: dict[int, Any] = {}

    def go_on(backend: str, number: int = 0) -> ProcessOutcome:
        """One leg; what it has started ends with it."""
        moment = a_moment(trains, backend, number) if number else None
        sampler = random.choice(["random", "bayes"])
        order = {"backend": backend, "sampler": sampler, "n_trials": n_trials, "seed": 0, "trains": trains}
        leg = search_processes.run(out, moment, exits=backend == "ray" and SOAKS, **order)
        # Ctrl-C before anything is finished is a KeyboardInterrupt
        assert leg.code in ((0, 1) if number == signal.SIGINT else (-number,)), f"{backend}: {moment}"
        for trial in leg.told:
            assert trial["number"] not in told, f"{backend}: {moment}"
            told[trial["number"]] = trial
        wait_for(lambda: not {*leg.processes()}.difference(SLOW), f"{backend}: {moment} has left processes")
        return leg

    for backend in backends[:-1]:
        go_on(backend, signal.SIGKILL)
        if SOAKS and random.random() < 0.2:
            go_on(backend, signal.SIGINT)
        if SOAKS and backend != "ray" and random.random() < 0.2:
            go_on(backend, signal.SIGTERM)
    leg = go_on(backends[-1])

    assert not leg.private_directories()
    trials = leg.result["trials"]
    lines = [line for line in map(json.loads, (out / JOURNAL_FILE).read_text().splitlines()) if "number" in line]
    assert [trial["number"] for trial in trials] == list(range(n_trials))
    assert sorted(line["number"] for line in lines) == list(range(n_trials))
    assert len({json.dumps(trial["params"]) for trial in trials}) == n_trials  # no draw twice
    for trial in trials:
        heard = told.get(trial["number"], trial)  # one that was killed between may be in the journal, and untold
        assert [heard[key] for key in ("params", "values", "state")] == [
            trial[key] for key in ("params", "values", "state")
        ]
    values = {trial["number"]: trial["values"] for trial in told.values() if trial["state"] == "COMPLETE"}
    best = trials[leg.result["best"]]
    assert best["values"] == min(trial["values"] for trial in trials if trial["state"] == "COMPLETE")
    assert best["values"] <= min(values.values())
    assert {name for name in list_remaining(out) if name.startswith("run-")} == ({best["run_id"]} if trains else set())


class TestKilledSearch:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_killed_search_resumes(self, search_processes, tmp_path, backend):
        killed_and_resumed(search_processes, tmp_path / "out", [backend] * (KILLS + 1))

    def test_killed_search_resumes_on_another_backend(self, search_processes, tmp_path):
        killed_and_resumed(search_processes, tmp_path / "out", ["optuna", "sigopt", "wandb", "ray", "optuna"])

    @pytest.mark.parametrize("backend", ["optuna", "ray"])
    def test_files_of_killed_training_are_removed_on_resume(self, search_processes, tmp_path, backend):
        killed_and_resumed(search_processes, tmp_path / "out", [backend] * (KILLS + 1), trains=True)
