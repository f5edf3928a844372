"""One of several processes on one study:  python together.py '{"storage": …, "log": …, …}'

It says "ready", waits for a line, searches, and prints the numbers of the trials in its result. Every
evaluation leaves a line in `log`: pid, number, params.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import optuna

import hpcompat as hp

LINE = hp.SearchSpace({"x": hp.Float(0.0, 4.0)})
GRID = hp.SearchSpace({"n": hp.Int(1, 5), "m": hp.Int(1, 5), "k": hp.Int(0, 1, when={"n": 3})})  # 30 configurations
SPACES = {"line": LINE, "grid": GRID}


def main(storage: str, log: str, space: str = "line", dies_at: int | None = None, **options: Any) -> None:
    """Search, from the moment that a line comes in."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def function(trial: Any) -> float:
        text = json.dumps([os.getpid(), trial.number, trial.params])
        os.write(file, f"{text}\n".encode())
        if trial.number == dies_at:
            os.kill(os.getpid(), 9)
        return float(trial.number)

    print("ready", flush=True)
    sys.stdin.readline()
    opened: Any = storage
    if storage.endswith(".log"):
        opened = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))
    given = {"study_name": "together", "load_if_exists": True, "seed": 0, "progress": False}
    result = hp.search(function, SPACES[space], storage=opened, **given, **options)
    print(json.dumps([trial.number for trial in result.trials]), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
