"""Several processes that share one search: `search_in_processes` starts them, and each one runs this file.

    python -m tests.helpers.multiprocess '{"directory": …, "processes": …, "backend": …}'

A process prints "ready", waits for a line on standard input, searches, and prints the trial numbers of its result.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hpcompat as hp
from tests.helpers.waiting import wait_for, wait_for_output

LINE_SPACE = hp.SearchSpace({"x": hp.Float(0.0, 4.0)})
GRID_SPACE = hp.SearchSpace(
    {"n": hp.Int(1, 5), "m": hp.Int(1, 5), "k": hp.Int(0, 1, when={"n": 3})}
)  # 30 configurations
SPACES = {"line": LINE_SPACE, "grid": GRID_SPACE}

Evaluations = list[tuple[int, int, dict[str, Any]]]


def search_in_processes(processes: int, directory: Path, **options: Any) -> tuple[Evaluations, list[list[int]]]:
    """Search in several processes that start at the same time.

    Every process waits in its first trial until all processes have started one. The option `dies_at` is the number
    of a trial that kills its process.

    Returns:
        The pid, trial number and params of every evaluation, and the trial numbers in the result of each process.
    """
    log = directory / "evaluations"
    log.touch()
    (directory / "started").mkdir()
    arguments = json.dumps({"directory": str(directory), "processes": processes, **options})
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([sys.executable, "-m", __name__, arguments], **pipes) for _ in range(processes)]
    try:
        assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * processes
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        outputs = [wait_for_output(worker) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    n_killed = 1 if "dies_at" in options else 0
    exit_codes = [-signal.SIGKILL] * n_killed + [0] * (processes - n_killed)
    assert sorted(worker.returncode for worker in workers) == exit_codes
    evaluations = [json.loads(line) for line in log.read_text().splitlines()]
    return evaluations, [json.loads(output or "[]") for output in outputs]


def main(
    directory: str,
    processes: int,
    backend: str = "optuna",
    space: str = "line",
    dies_at: int | None = None,
    **options: Any,
) -> None:
    """Wait for a line on standard input, then search."""
    log = os.open(os.path.join(directory, "evaluations"), os.O_WRONLY | os.O_APPEND)
    started = Path(directory, "started")

    def function(trial: Any) -> float:
        evaluation = json.dumps([os.getpid(), trial.number, trial.params])
        os.write(log, f"{evaluation}\n".encode())
        if trial.number == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        (started / str(os.getpid())).touch()
        wait_for(lambda: len(os.listdir(started)) >= processes, "some processes have not started a trial")
        return float(trial.number)

    print("ready", flush=True)
    sys.stdin.readline()
    result = hp.search(function, SPACES[space], backend, progress=False, **PREPARE_OPTIONS[backend](options))
    print(json.dumps([trial.number for trial in result.trials]), flush=True)


def _optuna(options: dict[str, Any]) -> dict[str, Any]:
    from tests.helpers.storages import open_storage

    return {
        "study_name": "shared",
        "load_if_exists": True,
        "seed": 0,
        **options,
        "storage": open_storage(options["storage"]),
    }


def _wandb(options: dict[str, Any]) -> dict[str, Any]:
    shorten_heartbeat(setattr)
    return options


def shorten_heartbeat(set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Let W&B's agent ask for commands every 0.1 s instead of every 5 s."""
    from wandb.agents import pyagent

    if hasattr(pyagent.Agent, "HEARTBEAT_SLEEP_SECONDS"):
        set_attribute(pyagent.Agent, "HEARTBEAT_SLEEP_SECONDS", 0.1)
    else:  # before wandb 0.29
        clock = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(seconds / 50))
        set_attribute(pyagent, "time", clock)


PREPARE_OPTIONS = {"optuna": _optuna, "sigopt": dict, "wandb": _wandb}

if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
