"""Searches, each in a process of its own that may be killed at any moment.

    python -m tests.helpers.kill_target FILE_DESCRIPTOR

It reads orders, a JSON object a line. For each it forks a process, which spares that the imports; writes to
the file its pid, and when it is over how it has ended, both with the mark of the order. A search tells what
it does by lines in a named pipe, which Ray's workers can write to as well, and puts its result into a file.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import optuna
from transformers import TrainerCallback

import hpcompat as hp
from hpcompat.backends.sigopt.client import lite_connection
from tests.helpers import small_disk, trainers

X_SPACE = hp.SearchSpace({"x": hp.Float(0, 4)})
LR_SPACE = hp.SearchSpace({"learning_rate": hp.Float(1e-4, 1e-1, log=True)})
MARK_VARIABLE = "HPCOMPAT_TEST_LEG"  # in the environment of a search and of every process that it starts
_write, _fsync, _rename = os.write, os.fsync, os.rename


@dataclass
class EventPipe:
    """Says what happens; and stays where it is, until it is killed, when it has said `kind` for the nth time."""

    pipe: str
    kind: str | None = None
    nth: int = 0

    def __call__(self, kind: str, said: Any = None) -> None:
        file = os.open(self.pipe, os.O_WRONLY)
        _write(file, (json.dumps([kind, said]) + "\n").encode())
        os.close(file)
        if kind == self.kind:
            self.nth -= 1
            while self.nth == 0:
                time.sleep(0.1)  # signal.pause() would miss a signal that comes just before it, and wait for ever


def report_file_events(tell: EventPipe) -> None:
    """Have the journal's writing and the making of run directories told, in the middle too."""
    record = False

    def write(file: int, data: bytes) -> int:
        nonlocal record
        record = data.startswith(b'{"number"')
        if not record and not data.startswith(b'{"begun"'):
            return _write(file, data)
        half = _write(file, data[: len(data) // 2])
        tell("half" if record else "noting")
        return half + _write(file, data[half:])

    def fsync(file: int) -> None:
        if record:
            tell("written")
        _fsync(file)
        if record:
            tell("synced")

    def rename(source: Any, path: Any, **options: Any) -> None:
        run = os.path.basename(path).startswith("run-")
        if run:
            tell("making")
        _rename(source, path, **options)
        if run:
            tell("made")

    os.write, os.fsync, os.rename = write, fsync, rename


def create_objective(tell: EventPipe, exits: bool) -> Any:
    """A parabola with holes: some of its x raise, are no number, take too much memory, or end the process."""

    def parabola(trial: Any) -> float:
        tell("begun")
        x: float = trial["x"]
        hole = int(x * 1e6) % 16
        if hole == 0:
            raise ValueError("a hole")
        if hole == 1:
            raise MemoryError
        if hole == 2 and exits:
            os._exit(3)
        tell("tried")
        return float("nan") if hole == 3 else (x - 2) ** 2

    return parabola


class ReportTraining(TrainerCallback):
    """Tells of a training: its first step, and its checkpoint."""

    def __init__(self, tell: EventPipe) -> None:
        self.tell = tell

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            self.tell("begun")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tell("tried")


def trial_to_json(trial: hp.Trial) -> dict[str, Any]:
    """A trial as JSON."""
    return {
        **{"number": trial.number, "params": dict(trial.params), "values": trial.values, "state": trial.state},
        **{"run_id": trial.run_id, "checkpoint": trial.checkpoint, "error": trial.cause},
    }


def search(
    pipe: str,
    out: str,
    result: str,
    trains: bool = False,
    exits: bool = False,
    hold: tuple[str, int] | None = None,
    room: tuple[int, int] | None = None,
    before: str | None = None,
    **options: Any,
) -> None:
    """One leg of a search. Its callback tells of each finished trial; after so many it leaves so little room.

    `before`: what is to be done with the disk.
    """
    if before:
        getattr(small_disk, before)(os.path.dirname(out))
    tell = EventPipe(pipe, *(hold or ()))
    report_file_events(tell)
    if trains:
        given: Any = trainers.create_trainer(out, save_strategy="epoch", trainer={"callbacks": [ReportTraining(tell)]})
    else:
        given = create_objective(tell, exits)

    def told(trial: hp.Trial) -> None:
        tell("told", trial_to_json(trial))
        if room and trial.number + 1 == room[0]:
            small_disk.fill(os.path.dirname(out), room[1])

    if options.get("storage", "").endswith(".log"):
        backend = optuna.storages.journal.JournalFileBackend(options["storage"])
        options["storage"] = optuna.storages.JournalStorage(backend)
    options = {"output_dir": out, "callbacks": [told], "resume": True, "progress": False, **options}
    try:
        found: Any = hp.search(given, LR_SPACE if trains else X_SPACE, **options)
        said = {"interrupted": found.interrupted, "error": None}
        said["best"] = found.best.number if any(trial.value is not None for trial in found.trials) else None
    except hp.SearchError as error:
        found, said = error, {"error": str(error)}
    with open(result, "w") as file:
        json.dump({**said, "trials": list(map(trial_to_json, found.trials))}, file)


def main() -> None:
    """Take orders. A second argument: a directory to mount a small disk on."""
    small_disk.mount(*sys.argv[2:])
    replies = os.fdopen(int(sys.argv[1]), "w", buffering=1)  # standard output is anybody's
    for name in ("ray.tune", "sweeps", "wandb"):
        import_module(name)
    lite_connection()
    print(json.dumps(["", 0]), file=replies)  # ready
    for line in sys.stdin:
        order = json.loads(line)
        mark = order.pop("mark")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.environ[MARK_VARIABLE] = mark
                search(**order)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(json.dumps([mark, pid]), file=replies)
        print(json.dumps([mark, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]), file=replies)
    os._exit(0)  # what is imported has much to tidy up


if __name__ == "__main__":
    main()
