"""The state of a Trainer: where every trial starts, and what is restored after it and at the end of the search.

The callbacks, the data collator, compute_metrics and the like are shared by all trials. A trial must not inherit what
the one before has changed on them. Their scalar attributes are reset, without a copy of anything: a callback may hold
the Trainer, a collator the model, and a recorder's list is meant to fill. Other state that a trial has changed, as far
as that can be seen at no cost, is reported by name.
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

from hpcompat.objectives.trainer_internals import build_model, drop_model, restore_accelerator

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import Trainer, TrainerCallback

_METRIC_HOOKS = ("data_collator", "compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics")
_HOOKS = (*_METRIC_HOOKS, "model_init")  # what model_init counts outside of it concerns the models alone
_SCALARS = (Number, str, bytes, types.NoneType)  # bool is a Number, and so are numpy's scalars
_CONTAINERS = (Mapping, Set, Sequence)
_MAX_ARRAY_BYTES = 1 << 16  # a larger array is not compared


@dataclass
class TrainerSnapshot:
    """The state of a Trainer without its model: no two models should be alive at a time.

    `attributes`, `handler`: those of the Trainer, and of its callback handler. `callbacks`: each with its state.
    `model`: the Trainer's own, if the user still holds it. `weights`: the file with those of a trained model.
    """

    attributes: dict[str, Any]
    handler: dict[str, Any]
    callbacks: list[tuple[TrainerCallback, dict[str, object]]]
    model: weakref.ref[Module] | None
    weights: str | None

    @classmethod
    def take(cls, trainer: Trainer, root: str) -> TrainerSnapshot:
        """Record the state of the Trainer, and remove its model.

        The weights of a model that was trained are in a file under `root` until `restore`.
        """
        model, weights = None, None
        if trainer.model is not None:
            model = weakref.ref(trainer.model)
            if trainer.state.global_step > 0:
                weights = _save_weights(trainer.model, root)
        drop_model(trainer)
        trainer.accelerator.free_memory()  # which collects garbage too
        handler = trainer.callback_handler
        return cls(
            attributes=dict(vars(trainer)),
            handler={**vars(handler), "callbacks": tuple(handler.callbacks)},
            callbacks=[(callback, _callback_state(callback)) for callback in handler.callbacks],
            model=model,
            weights=weights,
        )

    def reset(self, trainer: Trainer) -> None:
        """Return the Trainer to this state, without a model."""
        handler = self.attributes["callback_handler"]
        for owner, state in ((trainer, self.attributes), (handler, self.handler)):
            vars(owner).clear()
            vars(owner).update(state)
        handler.callbacks = list(self.handler["callbacks"])
        for callback, state in self.callbacks:
            vars(callback).update(state)

    def restore(self, trainer: Trainer) -> None:
        """Return the Trainer to this state, with its model.

        That is the same model if the user still holds it; else `model_init` makes it again under the
        Trainer's seed, and its trained weights are loaded. An optimizer of earlier training is not
        restored: `train()` makes a new one in any case.
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
        except Exception as error:  # the search's result must not be lost with it
            warnings.warn(f"the Trainer is left without a model: model_init raised {error!r}", stacklevel=2)
            model = None
        finally:
            if self.weights:
                os.remove(self.weights)
        trainer.model = trainer.model_wrapped = trainer.callback_handler.model = model


def _save_weights(model: Module, root: str) -> str:
    import torch

    descriptor, path = tempfile.mkstemp(".pt", ".weights-", root)  # a new file: never one, or a link, that exists
    with open(descriptor, "wb") as file:
        torch.save(model.state_dict(), file)
    return path


def _callback_state(callback: TrainerCallback) -> dict[str, object]:
    """Return what a trial may change on a callback and the next must not inherit.

    transformers' own callbacks remember the run they are in; other callbacks may say what their state is, and
    their scalar attributes are reset in any case, see `SharedState`.
    """
    if type(callback).__module__.startswith("transformers."):
        return dict(vars(callback))
    state = getattr(callback, "state", None)
    return dict(state().get("attributes", {})) if callable(state) else {}


class SharedState:
    """The state of the shared objects at the start of a trial, for `restore` at its end."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._initial = [(name, owner, _attributes(owner)) for name, owner in _shared_objects(trainer)]
        self._initial_fingerprints = self._fingerprints()

    def restore(self) -> tuple[str, ...]:
        """Reset the scalar attributes, and return the names of other state that has changed and stays so.

        An attribute that the trial has added is removed, unless it is a container; one that was removed is put back.
        """
        for _, owner, initial in self._initial:
            current = _attributes(owner)
            for name in current.keys() - initial.keys():
                if not _is_container(current[name]):
                    _delete(owner, name)
            for name, value in initial.items():
                if name not in current or (isinstance(value, _SCALARS) and current[name] is not value):
                    _set(owner, name, value)
        before, after = self._initial_fingerprints, self._fingerprints()
        return tuple(name for name in before if name in after and after[name] != before[name])

    def _fingerprints(self) -> dict[str, object]:
        """Return a fingerprint of each piece of state that is not reset, by name."""
        fingerprints: dict[str, object] = {}
        for name, owner, initial in self._initial:
            current = _attributes(owner)
            for attribute, initial_value in initial.items():
                if not isinstance(initial_value, _SCALARS) and not _is_container(initial_value):
                    value = current.get(attribute)
                    fingerprints[f"{name}.{attribute}"] = id(value), _fingerprint(value)
            for cls in type(owner).__mro__:
                if is_user_code(cls):
                    scalars = _scalars(vars(cls))
                    fingerprints |= {f"{cls.__name__}.{attribute}": value for attribute, value in scalars.items()}
        for name in _METRIC_HOOKS:
            for part in _unwrap(getattr(self._trainer, name, None)):
                fingerprints |= {f"{name}: {variable}": value for variable, value in _outer_variables(part).items()}
        for attribute, value in vars(self._trainer).items():
            fingerprints.setdefault(f"trainer.{attribute}", _fingerprint(value))
        return fingerprints


def _shared_objects(trainer: Trainer) -> Iterator[tuple[str, object]]:
    """Yield the shared objects, each once, with the name that a message calls it."""
    named: list[tuple[str, object]] = [(name, getattr(trainer, name, None)) for name in _HOOKS]
    # all state of transformers' own callbacks is reset, see `_callback_state`
    named += [
        (type(callback).__name__, callback)
        for callback in trainer.callback_handler.callbacks
        if not type(callback).__module__.startswith("transformers.")
    ]
    seen = {id(trainer), id(trainer.args), id(trainer.callback_handler)}
    for name, value in named:
        for owner in _unwrap(value):
            if id(owner) not in seen and not isinstance(owner, (*_SCALARS, *_CONTAINERS, type, types.ModuleType)):
                seen.add(id(owner))
                yield name, owner


def _unwrap(value: object) -> Iterator[object]:
    """Yield the objects whose attributes a call of `value` may change: those behind a bound method or a partial.

    >>> [owner for owner in _unwrap(functools.partial(print, 1, sep=""))] == [print, 1, ""]
    True
    """
    if isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _unwrap(part)
    elif isinstance(value, types.MethodType):
        yield value.__self__
    else:
        yield value


def _outer_variables(function: object) -> dict[str, object]:
    """Return the scalars that a function of the user's may change outside of it: global, or of an outer function."""
    if not isinstance(function, types.FunctionType) or not is_user_code(function):
        return {}
    code = function.__code__
    variables = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            variables[name] = cell.cell_contents
    return _scalars(variables)


def _is_container(value: object) -> bool:
    return isinstance(value, _CONTAINERS) and not isinstance(value, _SCALARS)


def _scalars(attributes: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in attributes.items()
        if isinstance(value, _SCALARS) and not (name.startswith("__") and name.endswith("__"))
    }


def _attributes(owner: object) -> dict[str, object]:
    """Return the attributes of the object itself, those in slots too.

    >>> class Point:
    ...     __slots__ = ("x", "y", "__dict__")
    >>> point = Point()
    >>> point.x, point.z = 1, 3
    >>> _attributes(point)
    {'z': 3, 'x': 1}
    """
    attributes = dict(getattr(owner, "__dict__", {}))
    for name, slot in _slots(owner).items():
        with suppress(AttributeError):  # it has no value yet
            attributes[name] = slot.__get__(owner)
    return attributes


def _slots(owner: object) -> dict[str, types.MemberDescriptorType]:
    return {
        name: slot
        for cls in reversed(type(owner).__mro__)
        if "__slots__" in vars(cls)
        for name, slot in vars(cls).items()
        if isinstance(slot, types.MemberDescriptorType)
    }


# not by setattr: a frozen dataclass refuses it, and a property of that name does something else
def _set(owner: object, name: str, value: object) -> None:
    slot = _slots(owner).get(name)
    if slot is None:
        vars(owner)[name] = value
    else:
        slot.__set__(owner, value)


def _delete(owner: object, name: str) -> None:
    slot = _slots(owner).get(name)
    if slot is None:
        del vars(owner)[name]
    else:
        slot.__delete__(owner)


def _fingerprint(value: object) -> object:
    """Return a value that differs once the object was changed in place; None if that cannot be seen.

    >>> rng = random.Random(0)
    >>> before = _fingerprint(rng)
    >>> before == _fingerprint(rng), rng.random() > 0, before == _fingerprint(rng)
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
    return _scalars(_attributes(value)) if is_user_code(type(value)) else None


def is_user_code(item: type | types.FunctionType) -> bool:
    """Return whether a class or a function is of the user's code: loggers and models of a library always change.

    >>> is_user_code(random.Random), is_user_code(type("Meter", (), {"__module__": "__main__"}))
    (False, True)
    """
    package: str = item.__module__.partition(".")[0]
    if package in ("__main__", "hpcompat"):
        return package == "__main__"
    module = sys.modules.get(item.__module__)
    if module is None:  # it was unpickled by value
        return True
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not file.startswith(_library_paths())


@functools.cache
def _library_paths() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
