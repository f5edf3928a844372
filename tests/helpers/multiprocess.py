"""Several processes in one search: `together` starts them, and each is this file.

    python -m tests.helpers.multiprocess '{"log": …, "processes": …, "backend": …}'

says "ready", waits for a line, searches, and prints the numbers of the trials in its result
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
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
    """Start processes at one moment; returns the pid, number and params of every evaluation, and each one's result.

    None goes past its first trial before all have begun one. `dies_at`: the number of a trial that kills its process.
    """
    log = directory / "evaluated"
    log.touch()
    (directory / "started").mkdir()
    told = json.dumps({"directory": str(directory), "processes": processes, **options})
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-m", __name__, told], **pipes) for _ in range(processes)]
    try:
        assert [each.stdout.readline() for each in started] == ["ready\n"] * processes
        for each in started:
            each.stdin.write("go\n")
            each.stdin.flush()
        said = [wait_for_output(each) for each in started]
    finally:
        for each in started:
            each.kill()
    killed = ["dies_at" in options and index == 0 for index in range(processes)]
    assert sorted(each.returncode for each in started) == [-signal.SIGKILL if each else 0 for each in killed]
    return [json.loads(line) for line in log.read_text().splitlines()], [json.loads(text or "[]") for text in said]


def main(
    directory: str,
    processes: int,
    backend: str = "optuna",
    space: str = "line",
    dies_at: int | None = None,
    **options: Any,
) -> None:
    """Search, from the moment that a line comes in."""
    log = os.open(os.path.join(directory, "evaluated"), os.O_WRONLY | os.O_APPEND)
    begun = Path(directory, "started")

    def function(trial: Any) -> float:
        text = json.dumps([os.getpid(), trial.number, trial.params])
        os.write(log, f"{text}\n".encode())
        if trial.number == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        (begun / str(os.getpid())).touch()
        wait_for(lambda: len(os.listdir(begun)) >= processes, "not all processes begin a trial")
        return float(trial.number)

    print("ready", flush=True)
    sys.stdin.readline()
    result = hp.search(function, SPACES[space], backend, progress=False, **PREPARE_OPTIONS[backend](options))
    print(json.dumps([trial.number for trial in result.trials]), flush=True)


def _optuna(options: dict[str, Any]) -> dict[str, Any]:
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    url: str = options["storage"]
    storage = JournalStorage(JournalFileBackend(url)) if url.endswith(".log") else url
    return {"study_name": "together", "load_if_exists": True, "seed": 0, **options, "storage": storage}


def _wandb(options: dict[str, Any]) -> dict[str, Any]:
    from wandb.agents.pyagent import Agent

    Agent.HEARTBEAT_SLEEP_SECONDS = 0.1  # it is impatient
    return options


PREPARE_OPTIONS = {"optuna": _optuna, "sigopt": dict, "wandb": _wandb}

if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
