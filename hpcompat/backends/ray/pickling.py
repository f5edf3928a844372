"""An objective on its way to other processes: a Trainer goes as what it takes to make it again.

A Trainer as it stands cannot be pickled once anything in the process was trained: its accelerator, and
what that has prepared, hold weak references. Its arguments, data, callbacks and own attributes can.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from hpcompat.errors import BackendError, Issue
from hpcompat.objectives import function_objective, is_trainer
from hpcompat.objectives.trainer import trainer_objective
from hpcompat.objectives.training_arguments import applied
from hpcompat.objectives.trial_context import Setting
from hpcompat.trials.config import Evaluate
from hpcompat.trials.run_dir_log import Diary
from hpcompat.trials.run_dirs import Runs

# made again where it arrives, as the constructor makes them
_LEFT = frozenset({"accelerator", "gather_function", "_memory_tracker"})
WAY_OUT = "pass a function trial -> Trainer instead, which makes what it needs where it runs"


def root(thing: Any, setting: Setting) -> str | None:
    """Where the run directories are made, as far as that is known here."""
    given = setting.output_dir or (thing.args.output_dir if is_trainer(thing) else None)
    return given and os.path.abspath(given)


def packed(thing: Any, setting: Setting) -> bytes:
    """A Trainer (without its model) or a function, and its setting, as bytes.

    Raises `BackendError`, naming what cannot be pickled.
    """
    away = replace(setting, output_dir=root(thing, setting), runs=Runs(setting.runs.search, token=setting.runs.token))
    try:
        return dumps((thing, away))
    except Exception as error:
        issues = [Issue(name, reason, WAY_OUT) for name, reason in _unfit(thing, setting)]
        message = f"the objective cannot be sent to Ray's workers: {type(error).__name__}: {error}"
        raise BackendError(message, issues) from error


def unpacked(
    shipment: Any, made: dict[str, str], diary: Diary, adapted: Callable[[Setting], Setting] = lambda setting: setting
) -> AbstractContextManager[Evaluate]:
    """The objective behind `packed`, made again in this process; run directories are noted in `made` and the diary.

    `adapted`: its setting as it is for this process. Raises `BackendError` where it cannot be made.
    """
    from ray import cloudpickle

    try:
        thing, setting = cloudpickle.loads(memoryview(shipment))
    except Exception as error:
        message = f"the objective cannot be made again in Ray's worker: {type(error).__name__}: {error}"
        raise BackendError(message, [Issue("", "what it imports must be there on every node", WAY_OUT)]) from error
    objective: Any = trainer_objective if is_trainer(thing) else function_objective
    runs = Runs(setting.runs.search, diary, made, setting.runs.token)
    return objective(thing, adapted(replace(setting, runs=runs)))  # type: ignore[no-any-return]


def dumps(thing: Any) -> bytes:
    """Cloudpickle, with Trainers taken apart wherever they are found: a model_init may hold one too."""
    from ray.cloudpickle import CloudPickler

    base: Any = CloudPickler

    class Pickler(base):  # type: ignore[misc]
        def reducer_override(self, item: Any) -> Any:
            if is_trainer(item):
                # the state comes last, when the Trainer is known: what it holds may hold the Trainer
                return _bare, (type(item),), _state(item), None, None, _set_up
            return super().reducer_override(item)

    with io.BytesIO() as file:
        pickler: Any = Pickler
        pickler(file).dump(thing)
        return file.getvalue()


def _bare(kind: type) -> Any:
    return object.__new__(kind)


def _state(trainer: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(trainer).items() if name not in _LEFT}


def _set_up(trainer: Any, state: dict[str, Any]) -> None:
    from transformers import trainer_utils

    tracker: Any = trainer_utils.TrainerMemoryTracker
    vars(trainer).update(state)
    trainer.args = applied(trainer.args, {})  # the devices are those of this machine
    trainer._memory_tracker = tracker(trainer.args.skip_memory_metrics)
    trainer.create_accelerator_and_postprocess()


def _unfit(thing: Any, setting: Setting) -> Iterator[tuple[str, str]]:
    """The names that cannot be pickled, each with the reason."""
    named = _state(thing) if is_trainer(thing) else {"trainer": thing}
    for name, value in {**named, "compute_objective": setting.compute_objective, "hp_name": setting.hp_name}.items():
        try:
            dumps(value)
        except Exception as error:
            yield name, f"{type(error).__name__}: {error}"
