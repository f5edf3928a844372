"""Pickling of objectives for Ray's workers.

A Trainer cannot be pickled after a training in the process, because its accelerator holds weak references. So its
arguments, data, callbacks and other attributes are pickled, and the accelerator is created again.
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
from hpcompat.objectives.trainer_internals import get_picklable_state, set_picklable_state
from hpcompat.trials.config import Evaluate
from hpcompat.trials.run_dirs import RunDirLog, RunDirs

Payload = NDArray[numpy.uint8]
"""The bytes of `dump_objective`, as an array that workers read from shared memory without a copy."""


@dataclass(frozen=True)
class WorkerContext:
    """The settings that all trials of a search share.

    Attributes:
        token: Identifies the search.
        n_objectives: How many objectives there are.
        log_dir: The directory of the `RunDirLog` of each process, on the driver's machine.
        n_workers: How many workers each trial has.
        cwd: The driver's working directory.
        path: The driver's import path.
    """

    token: str
    n_objectives: int
    log_dir: str
    n_workers: int = 1
    cwd: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))


def enter_context(context: WorkerContext) -> None:
    """Use the working directory and the import path of the driver in this process."""
    if os.path.isdir(context.cwd):
        os.chdir(context.cwd)
    sys.path += [entry for entry in context.path if entry not in sys.path]


_HINT = "pass a function trial -> Trainer instead, which creates what it needs where it runs"


def output_root(objective: Objective) -> str | None:
    """Return the directory of the run directories, if it is known before the trials."""
    root = objective.output_dir or objective.default_output_dir
    return root and os.path.abspath(root)


def dump_objective(objective: Objective) -> bytes:
    """Pickle an objective: a Trainer without its model, or a function.

    Raises `BackendError` with an issue for each part that cannot be pickled.
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
    """Unpickle and open an objective in this process.

    Args:
        payload: The bytes of `dump_objective`.
        created: Receives the run directories that are created in this process.
        log: Records them too.
        adapt: Adapts the objective to this rank.

    Raises:
        BackendError: The objective cannot be unpickled.
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
    """Pickles Trainers by their state, also inside other objects."""

    def reducer_override(self, value: Any) -> Any:
        if is_trainer(value):
            # the state is pickled after the Trainer is memoized, because it may refer to the Trainer
            return _create_uninitialized, (type(value),), get_picklable_state(value), None, None, set_picklable_state
        return super().reducer_override(value)  # type: ignore[no-untyped-call]


def dumps(value: object) -> bytes:
    """Pickle a value, which may contain Trainers."""
    with io.BytesIO() as file:
        _Pickler(file).dump(value)  # type: ignore[no-untyped-call]
        return file.getvalue()


def _create_uninitialized(cls: type[T]) -> T:
    return object.__new__(cls)


def _find_unpicklable(objective: Objective) -> Iterator[tuple[str, str]]:
    """Yield the name of each part of an objective that cannot be pickled, and the reason."""
    source = objective.source
    parts = get_picklable_state(source) if is_trainer(source) else {"trainer": source}
    parts |= {"compute_objective": objective.compute_objective, "hp_name": objective.hp_name}
    for name, value in parts.items():
        try:
            dumps(value)
        except Exception as error:
            yield name, f"{type(error).__name__}: {error}"
