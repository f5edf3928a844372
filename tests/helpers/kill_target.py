"""A server process that runs each search in a forked child process, which a test may kill at any moment.

    python -m tests.helpers.kill_target FILE_DESCRIPTOR

It reads the options of a search from standard input, one JSON object per line, and forks a process for it, so that
the slow imports run only once. It writes the pid and later the exit code of the process to the file descriptor,
both with the id of the search. A search reports events as lines of a named pipe, which Ray's workers can write to
as well, and writes its result to a file.
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

from transformers import TrainerCallback

import hpcompat as hp
from hpcompat.backends.sigopt.client import lite_connection
from tests.helpers import small_disk, trainers
from tests.helpers.storages import open_storage

X_SPACE = hp.SearchSpace({"x": hp.Float(0, 4)})
LR_SPACE = hp.SearchSpace({"learning_rate": hp.Float(1e-4, 1e-1, log=True)})
SEARCH_ID_VARIABLE = "HPCOMPAT_TEST_SEARCH"  # in the environment of a search and of every process that it starts
_write, _fsync, _rename = os.write, os.fsync, os.rename


@dataclass
class EventPipe:
    """Write events to a named pipe; after the nth event named `pause_event`, wait to be killed."""

    pipe: str
    pause_event: str | None = None
    nth: int = 0

    def __call__(self, event: str, data: Any = None) -> None:
        file = os.open(self.pipe, os.O_WRONLY)
        _write(file, (json.dumps([event, data]) + "\n").encode())
        os.close(file)
        if event == self.pause_event:
            self.nth -= 1
            while self.nth == 0:
                time.sleep(0.1)  # signal.pause() would miss a signal that arrives just before the call


def report_file_events(report: EventPipe) -> None:
    """Report events before, within and after journal writes and the creation of run directories."""
    is_trial_record = False

    def write(file: int, data: bytes) -> int:
        nonlocal is_trial_record
        is_trial_record = data.startswith(b'{"number"')
        if not is_trial_record and not data.startswith(b'{"begun"'):
            return _write(file, data)
        n_written = _write(file, data[: len(data) // 2])
        report("record_half_written" if is_trial_record else "start_half_written")
        return n_written + _write(file, data[n_written:])

    def fsync(file: int) -> None:
        if is_trial_record:
            report("record_written")
        _fsync(file)
        if is_trial_record:
            report("record_synced")

    def rename(source: Any, path: Any, **options: Any) -> None:
        is_run_dir = os.path.basename(path).startswith("run-")
        if is_run_dir:
            report("before_run_dir")
        _rename(source, path, **options)
        if is_run_dir:
            report("after_run_dir")

    os.write, os.fsync, os.rename = write, fsync, rename


def create_objective(report: EventPipe, can_exit: bool) -> Any:
    """Return a parabola that fails for some x: it raises, returns NaN, runs out of memory or exits the process."""

    def parabola(trial: Any) -> float:
        report("trial_start")
        x: float = trial["x"]
        remainder = int(x * 1e6) % 16
        if remainder == 0:
            raise ValueError("this x fails")
        if remainder == 1:
            raise MemoryError
        if remainder == 2 and can_exit:
            os._exit(3)
        report("trial_end")
        return float("nan") if remainder == 3 else (x - 2) ** 2

    return parabola


class ReportTraining(TrainerCallback):
    """Report the first step and the checkpoint of a training."""

    def __init__(self, report: EventPipe) -> None:
        self.report = report

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            self.report("trial_start")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.report("trial_end")


def trial_to_json(trial: hp.Trial) -> dict[str, Any]:
    """Convert a trial to JSON."""
    return {
        **{"number": trial.number, "params": dict(trial.params), "values": trial.values, "state": trial.state},
        **{"run_id": trial.run_id, "checkpoint": trial.checkpoint, "error": trial.cause},
    }


def search(
    pipe: str,
    out: str,
    result: str,
    use_trainer: bool = False,
    can_exit: bool = False,
    pause_at: tuple[str, int] | None = None,
    fill_disk: tuple[int, int] | None = None,
    disk_action: str | None = None,
    **options: Any,
) -> None:
    """Run or resume a search over a function or a Trainer; its callback reports every finished trial.

    Optional faults: `can_exit` lets some trials exit their process; `pause_at` is the event to pause at, and which of
    its occurrences; `fill_disk` is the number of trials after which to fill the disk, and the number of bytes to leave
    free; `disk_action` is a function of `small_disk` to call before the search.
    """
    if disk_action:
        getattr(small_disk, disk_action)(os.path.dirname(out))
    report = EventPipe(pipe, *(pause_at or ()))
    report_file_events(report)
    objective: Any
    if use_trainer:
        callback = ReportTraining(report)
        objective = trainers.create_trainer(out, save_strategy="epoch", trainer={"callbacks": [callback]})
    else:
        objective = create_objective(report, can_exit)

    def on_trial(trial: hp.Trial) -> None:
        report("callback", trial_to_json(trial))
        if fill_disk and trial.number + 1 == fill_disk[0]:
            small_disk.fill(os.path.dirname(out), fill_disk[1])

    if "storage" in options:
        options["storage"] = open_storage(options["storage"])
    options = {"output_dir": out, "callbacks": [on_trial], "resume": True, "progress": False, **options}
    try:
        outcome: Any = hp.search(objective, LR_SPACE if use_trainer else X_SPACE, **options)
        summary = {"interrupted": outcome.interrupted, "error": None}
        summary["best"] = outcome.best.number if any(trial.value is not None for trial in outcome.trials) else None
    except hp.SearchError as error:
        outcome, summary = error, {"error": str(error)}
    with open(result, "w") as file:
        json.dump({**summary, "trials": list(map(trial_to_json, outcome.trials))}, file)


def main() -> None:
    """Serve requests. The optional second argument is a directory to mount a small disk on."""
    small_disk.mount(*sys.argv[2:])
    replies = os.fdopen(int(sys.argv[1]), "w", buffering=1)  # not standard output: libraries print to it
    for name in ("ray.tune", "sweeps", "wandb"):
        import_module(name)
    lite_connection()
    print(json.dumps(["", 0]), file=replies)  # ready
    for line in sys.stdin:
        request = json.loads(line)
        search_id = request.pop("search_id")
        pid = os.fork()
        if pid == 0:
            exit_code = 1
            try:
                os.environ[SEARCH_ID_VARIABLE] = search_id
                search(**request)
                exit_code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(exit_code)
        print(json.dumps([search_id, pid]), file=replies)
        print(json.dumps([search_id, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]), file=replies)
    os._exit(0)  # skip the slow exit handlers of the imported libraries


if __name__ == "__main__":
    main()
