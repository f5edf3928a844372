"""An objective as bytes for other processes, a Trainer in it as the state that creates it again.

A Trainer itself cannot be pickled once anything in the process was trained: its accelerator, and
what that has prepared, hold weak references. Its arguments, data, callbacks and attributes can.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray
from ray import cloudpickle
from ray.cloudpickle import CloudPickler

from hpcompat.errors import BackendError, Issue
from hpcompat.objectives.objective import Objective, is_trainer
from hpcompat.objectives.trainer_internals import picklable_state, set_state
from hpcompat.trials.config import Evaluate
from hpcompat.trials.run_dirs import RunDirLog, RunDirs

Payload = NDArray[numpy.uint8]
"""The bytes of `dump_objective`: a worker reads an array where it lies in the object store."""


@dataclass(frozen=True)
class WorkerContext:
    """The settings that all trials of one search have in common.

    `objectives`: how many there are. `log_dir`: a directory on the driver's machine in which each process records the
    run directories that it creates. `workers`: how many each trial has. `cwd`, `path`: the driver's working directory
    and import path.
    """

    token: str
    objectives: int
    log_dir: str
    workers: int = 1
    cwd: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))


def enter_context(context: WorkerContext) -> None:
    """Give this process the working directory and the import path of the driver."""
    if os.path.isdir(context.cwd):
        os.chdir(context.cwd)
    sys.path += [entry for entry in context.path if entry not in sys.path]


_HINT = "pass a function trial -> Trainer instead, which creates what it needs where it runs"


def output_root(objective: Objective) -> str | None:
    """Return the directory above the run directories, as far as that is known here."""
    root = objective.output_dir or objective.default_output_dir
    return root and os.path.abspath(root)


def dump_objective(objective: Objective) -> bytes:
    """Pickle an objective: a Trainer without its model, or a function.

    Raises `BackendError`, naming what cannot be pickled.
    """
    run_dirs = RunDirs(objective.run_dirs.search_id, token=objective.run_dirs.token)
    try:
        return dumps(replace(objective, output_dir=output_root(objective), run_dirs=run_dirs))
    except Exception as error:
        issues = [Issue(name, reason, _HINT) for name, reason in _find_unpicklable(objective)]
        message = f"the objective cannot be sent to Ray's workers: {type(error).__name__}: {error}"
        raise BackendError(message, issues) from error


def load_objective(
    payload: Payload,
    created: dict[str, str],
    log: RunDirLog,
    adapt: Callable[[Objective], Objective] = lambda objective: objective,
) -> AbstractContextManager[Evaluate]:
    """Open the objective of `dump_objective` in this process.

    Args:
        payload: The bytes of `dump_objective`.
        created: Gets the run directories that are created here, which go to the log, too.
        log: Of run directories.
        adapt: Returns the objective of this process for that of the search.

    Raises:
        BackendError: It cannot be loaded here.
    """
    try:
        objective: Objective = cloudpickle.loads(payload.data)
    except Exception as error:
        message = f"the objective cannot be loaded in Ray's worker: {type(error).__name__}: {error}"
        raise BackendError(message, [Issue("", "install what it imports on every node", _HINT)]) from error
    run_dirs = RunDirs(objective.run_dirs.search_id, log, created, objective.run_dirs.token)
    return adapt(replace(objective, run_dirs=run_dirs)).open()


T = TypeVar("T")


class _Pickler(CloudPickler):
    """Pickles the state of Trainers wherever they are: a model_init may hold one too."""

    def reducer_override(self, value: Any) -> Any:
        if is_trainer(value):
            # the state comes last, when the Trainer is known: what it holds may hold the Trainer
            return _new, (type(value),), picklable_state(value), None, None, set_state
        return super().reducer_override(value)  # type: ignore[no-untyped-call]


def dumps(value: object) -> bytes:
    """Pickle a value, Trainers in it too."""
    with io.BytesIO() as file:
        _Pickler(file).dump(value)  # type: ignore[no-untyped-call]
        return file.getvalue()


def _new(cls: type[T]) -> T:
    return object.__new__(cls)


def _find_unpicklable(objective: Objective) -> Iterator[tuple[str, str]]:
    """Return the names of what cannot be pickled, each with the reason."""
    source = objective.source
    named = picklable_state(source) if is_trainer(source) else {"trainer": source}
    named |= {"compute_objective": objective.compute_objective, "hp_name": objective.hp_name}
    for name, value in named.items():
        try:
            dumps(value)
        except Exception as error:
            yield name, f"{type(error).__name__}: {error}"
