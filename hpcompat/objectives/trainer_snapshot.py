"""The state of a Trainer, which is reset after each trial and restored after the search.

All trials share the callbacks, the data collator, compute_metrics and similar objects. A trial must not see what the
previous one has changed on them. So their scalar attributes are reset. Other objects are not copied: a callback may
refer to the Trainer, a collator to the model, and a list may be meant to collect values of all trials. If such state
has changed, and that is cheap to detect, it is reported by name.
"""

from __future__ import annotations

import functools
import os
import pickle
import random
import sys
import sysconfig
import tempfile
import types
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from numbers import Number
from typing import TYPE_CHECKING, Any

from hpcompat.compat.transformers import initial_environment, reset_environment
from hpcompat.objectives.trainer_internals import build_model, drop_model, restore_accelerator

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import Trainer, TrainerCallback

_METRIC_HOOKS = ("data_collator", "compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics")
_HOOKS = (
    *_METRIC_HOOKS,
    "model_init",
)  # outer variables of model_init are not checked, because they only affect the models
_SCALARS = (Number, str, bytes, types.NoneType)  # includes bool and NumPy scalars
_CONTAINERS = (Mapping, Set, Sequence)
_MAX_ARRAY_BYTES = 1 << 16  # a larger array is not compared


@dataclass
class TrainerSnapshot:
    """The state of a Trainer without its model, so that only one model is in memory at a time.

    Attributes:
        attributes: The attributes of the Trainer.
        handler: The attributes of its callback handler.
        callbacks: The callbacks, each with its state.
        model: The model of the Trainer, if the user refers to it elsewhere.
        weights: The file with the weights of a trained model.
        environment: accelerate's variables of the environment, see `initial_environment`.
    """

    attributes: dict[str, Any]
    handler: dict[str, Any]
    callbacks: list[tuple[TrainerCallback, dict[str, object]]]
    model: weakref.ref[Module] | None
    weights: str | None
    environment: dict[str, str]

    @classmethod
    def take(cls, trainer: Trainer, root: str) -> TrainerSnapshot:
        """Take a snapshot of a Trainer, and remove its model.

        If the model was trained, its weights are kept in a file under `root` until `restore`.
        """
        model, weights = None, None
        if trainer.model is not None:
            model = weakref.ref(trainer.model)
            if trainer.state.global_step > 0:
                weights = _save_weights(trainer.model, root)
        drop_model(trainer)
        trainer.accelerator.free_memory()  # this also collects garbage
        environment = initial_environment(trainer.args)
        reset_environment(environment)
        handler = trainer.callback_handler
        return cls(
            attributes=dict(vars(trainer)),
            handler={**vars(handler), "callbacks": tuple(handler.callbacks)},
            callbacks=[(callback, _get_callback_state(callback)) for callback in handler.callbacks],
            model=model,
            weights=weights,
            environment=environment,
        )

    def reset(self, trainer: Trainer) -> None:
        """Reset the Trainer to this state, without a model."""
        handler = self.attributes["callback_handler"]
        for owner, state in ((trainer, self.attributes), (handler, self.handler)):
            vars(owner).clear()
            vars(owner).update(state)
        handler.callbacks = list(self.handler["callbacks"])
        reset_environment(self.environment)
        for callback, state in self.callbacks:
            vars(callback).update(state)

    def restore(self, trainer: Trainer) -> None:
        """Restore the Trainer with its model.

        If the user does not refer to the model elsewhere, `model_init` creates it again under the seed of the Trainer,
        and the trained weights are loaded. An optimizer is not restored, because `train()` always creates a new one.
        """
        self.reset(trainer)
        restore_accelerator(trainer)
        model: Any = self.model() if self.model else None
        try:
            if model is None:
                model = build_model(trainer)
                if self.weights:
                    import torch

                    model.load_state_dict(torch.load(self.weights, map_location="cpu", weights_only=True))
        except Exception as error:  # must not hide the result of the search
            warnings.warn(f"the Trainer is left without a model: model_init raised {error!r}", stacklevel=2)
            model = None
        finally:
            if self.weights:
                os.remove(self.weights)
        trainer.model = trainer.model_wrapped = trainer.callback_handler.model = model


def _save_weights(model: Module, root: str) -> str:
    import torch

    descriptor, path = tempfile.mkstemp(".pt", ".weights-", root)  # a new file, never an existing file or symlink
    with open(descriptor, "wb") as file:
        torch.save(model.state_dict(), file)
    return path


def _get_callback_state(callback: TrainerCallback) -> dict[str, object]:
    """Return the state of a callback that is reset after each trial.

    For transformers' own callbacks this is the whole state; others may define `state()`. Their scalar attributes are
    reset in any case, see `SharedState`.
    """
    if type(callback).__module__.startswith("transformers."):
        return dict(vars(callback))
    state = getattr(callback, "state", None)
    return dict(state().get("attributes", {})) if callable(state) else {}


class SharedState:
    """The state at the start of a trial of the objects that all trials share."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._initial = [(name, owner, _get_attributes(owner)) for name, owner in _iter_shared_objects(trainer)]
        self._initial_fingerprints = self._compute_fingerprints()

    def restore(self) -> tuple[str, ...]:
        """Reset the scalar attributes, and return the names of other state that has changed.

        Attributes that the trial has added are removed, except containers; removed attributes are restored.
        """
        for _, owner, initial in self._initial:
            current = _get_attributes(owner)
            for name in current.keys() - initial.keys():
                if not _is_container(current[name]):
                    _delete_attribute(owner, name)
            for name, value in initial.items():
                if name not in current or (isinstance(value, _SCALARS) and current[name] is not value):
                    _set_attribute(owner, name, value)
        before, after = self._initial_fingerprints, self._compute_fingerprints()
        return tuple(name for name in before if name in after and after[name] != before[name])

    def _compute_fingerprints(self) -> dict[str, object]:
        """Return a fingerprint, by name, of all state that is not reset."""
        fingerprints: dict[str, object] = {}
        for name, owner, initial in self._initial:
            current = _get_attributes(owner)
            for attribute, initial_value in initial.items():
                if not isinstance(initial_value, _SCALARS) and not _is_container(initial_value):
                    value = current.get(attribute)
                    fingerprints[f"{name}.{attribute}"] = id(value), _compute_fingerprint(value)
            for cls in type(owner).__mro__:
                if is_user_code(cls):
                    scalars = _select_scalars(vars(cls))
                    fingerprints |= {f"{cls.__name__}.{attribute}": value for attribute, value in scalars.items()}
        for name in _METRIC_HOOKS:
            for part in _iter_owners(getattr(self._trainer, name, None)):
                fingerprints |= {f"{name}: {variable}": value for variable, value in _get_outer_scalars(part).items()}
        for attribute, value in vars(self._trainer).items():
            fingerprints.setdefault(f"trainer.{attribute}", _compute_fingerprint(value))
        return fingerprints


def _iter_shared_objects(trainer: Trainer) -> Iterator[tuple[str, object]]:
    """Yield each shared object once, with its name for messages."""
    candidates: list[tuple[str, object]] = [(name, getattr(trainer, name, None)) for name in _HOOKS]
    # all state of transformers' own callbacks is reset, see `_get_callback_state`
    candidates += [
        (type(callback).__name__, callback)
        for callback in trainer.callback_handler.callbacks
        if not type(callback).__module__.startswith("transformers.")
    ]
    seen_ids = {id(trainer), id(trainer.args), id(trainer.callback_handler)}
    for name, value in candidates:
        for owner in _iter_owners(value):
            if id(owner) not in seen_ids and not isinstance(owner, (*_SCALARS, *_CONTAINERS, type, types.ModuleType)):
                seen_ids.add(id(owner))
                yield name, owner


def _iter_owners(value: object) -> Iterator[object]:
    """Yield the objects whose attributes a call of `value` may change, through bound methods and partials.

    >>> [owner for owner in _iter_owners(functools.partial(print, 1, sep=""))] == [print, 1, ""]
    True
    """
    if isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _iter_owners(part)
    elif isinstance(value, types.MethodType):
        yield value.__self__
    else:
        yield value


def _get_outer_scalars(function: object) -> dict[str, object]:
    """Return the scalar global and nonlocal variables that a function of the user may change."""
    if not isinstance(function, types.FunctionType) or not is_user_code(function):
        return {}
    code = function.__code__
    variables = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the variable has no value yet
            variables[name] = cell.cell_contents
    return _select_scalars(variables)


def _is_container(value: object) -> bool:
    return isinstance(value, _CONTAINERS) and not isinstance(value, _SCALARS)


def _select_scalars(attributes: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in attributes.items()
        if isinstance(value, _SCALARS) and not (name.startswith("__") and name.endswith("__"))
    }


def _get_attributes(owner: object) -> dict[str, object]:
    """Return the attributes of an instance, including slots.

    >>> class Point:
    ...     __slots__ = ("x", "y", "__dict__")
    >>> point = Point()
    >>> point.x, point.z = 1, 3
    >>> _get_attributes(point)
    {'z': 3, 'x': 1}
    """
    attributes = dict(getattr(owner, "__dict__", {}))
    for name, slot in _get_slots(owner).items():
        with suppress(AttributeError):  # the slot has no value yet
            attributes[name] = slot.__get__(owner)
    return attributes


def _get_slots(owner: object) -> dict[str, types.MemberDescriptorType]:
    return {
        name: slot
        for cls in reversed(type(owner).__mro__)
        if "__slots__" in vars(cls)
        for name, slot in vars(cls).items()
        if isinstance(slot, types.MemberDescriptorType)
    }


# without setattr, which fails for a frozen dataclass and calls properties
def _set_attribute(owner: object, name: str, value: object) -> None:
    slot = _get_slots(owner).get(name)
    if slot is None:
        vars(owner)[name] = value
    else:
        slot.__set__(owner, value)


def _delete_attribute(owner: object, name: str) -> None:
    slot = _get_slots(owner).get(name)
    if slot is None:
        del vars(owner)[name]
    else:
        slot.__delete__(owner)


def _compute_fingerprint(value: object) -> object:
    """Return a value that differs after the object was changed in place; None if changes cannot be detected.

    >>> rng = random.Random(0)
    >>> before = _compute_fingerprint(rng)
    >>> before == _compute_fingerprint(rng), rng.random() > 0, before == _compute_fingerprint(rng)
    (True, True, False)
    """
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if isinstance(value, random.Random):
        return pickle.dumps(value)
    if numpy is not None:
        if isinstance(value, (numpy.random.Generator, numpy.random.RandomState)):
            return pickle.dumps(value)
        if isinstance(value, numpy.ndarray) and value.nbytes <= _MAX_ARRAY_BYTES:
            return value.tobytes()
    if torch is not None:
        if isinstance(value, torch.Generator):
            return value.get_state().numpy().tobytes()
        if isinstance(value, torch.Tensor):
            return None if value.is_inference() else value._version  # private API of torch: a counter of changes
    return _select_scalars(_get_attributes(value)) if is_user_code(type(value)) else None


def is_user_code(item: type | types.FunctionType) -> bool:
    """Return whether a class or a function is user code; objects of libraries, such as loggers, change all the time.

    >>> is_user_code(random.Random), is_user_code(type("Meter", (), {"__module__": "__main__"}))
    (False, True)
    """
    package: str = item.__module__.partition(".")[0]
    if package in ("__main__", "hpcompat"):
        return package == "__main__"
    module = sys.modules.get(item.__module__)
    if module is None:  # unpickled by value
        return True
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not file.startswith(_get_library_paths())


@functools.cache
def _get_library_paths() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
