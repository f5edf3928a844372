"""The objects that every trial of a Trainer shares: callbacks, data collator, compute_metrics and the like.

A trial must not inherit what the one before has left on them. Their scalar attributes are reset, without a copy of
anything: a callback may hold the Trainer, a collator the model, and a recorder's list is meant to fill. What else a
trial has changed, as far as that can be seen at no cost, is named.
"""

from __future__ import annotations

import functools
import pickle
import random
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from numbers import Number
from typing import Any

_HOOKS = ("data_collator", "compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics", "model_init")
_MEASURING = _HOOKS[:-1]  # what model_init counts is a matter of the models alone
_SCALARS = (Number, str, bytes, types.NoneType)  # bool is a Number, and so are numpy's scalars
_CONTAINERS = (Mapping, Set, Sequence)
_MAX_ARRAY_BYTES = 1 << 16  # compared as a whole


class SharedState:
    """The state of the shared objects at the start of a trial, for `restore` at its end."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._attributes = [(name, holder, _attributes(holder)) for name, holder in _holders(trainer)]
        self._rest = self._fingerprints()

    def restore(self) -> tuple[str, ...]:
        """Reset the scalar attributes. Returns the names of other state that has changed and stays so.

        An attribute that the trial has added is removed, unless it is a container; one that was removed is put back.
        """
        for _, holder, given in self._attributes:
            now = _attributes(holder)
            for name in now.keys() - given.keys():
                if not _is_container(now[name]):
                    _delete(holder, name)
            for name, value in given.items():
                if name not in now or (isinstance(value, _SCALARS) and now[name] is not value):
                    _set(holder, name, value)
        now = self._fingerprints()
        return tuple(name for name, seen in self._rest.items() if now.get(name, seen) != seen)

    def _fingerprints(self) -> dict[str, Any]:
        """What can be seen of the state that is not reset, by name."""
        seen: dict[str, Any] = {}
        for name, holder, given in self._attributes:
            now = _attributes(holder)
            for attribute in given:
                value = now.get(attribute)
                if not isinstance(given[attribute], _SCALARS) and not _is_container(given[attribute]):
                    seen[f"{name}.{attribute}"] = id(value), _fingerprint(value)
            for kind in type(holder).__mro__:
                if is_users(kind):
                    scalars = _scalars(vars(kind))
                    seen |= {f"{kind.__name__}.{attribute}": value for attribute, value in scalars.items()}
        for name in _MEASURING:
            for part in _behind(getattr(self._trainer, name, None)):
                seen |= {f"{name}: {variable}": value for variable, value in _variables(part).items()}
        for attribute, value in vars(self._trainer).items():
            seen.setdefault(f"trainer.{attribute}", _fingerprint(value))
        return seen


def _holders(trainer: Any) -> Iterator[tuple[str, Any]]:
    """The shared objects, each once, with the name that a message calls it."""
    named = [(name, getattr(trainer, name, None)) for name in _HOOKS]
    # transformers' own callbacks are reset as a whole, see `given`
    named += [
        (type(callback).__name__, callback)
        for callback in trainer.callback_handler.callbacks
        if not type(callback).__module__.startswith("transformers.")
    ]
    seen = {id(trainer), id(trainer.args), id(trainer.callback_handler)}
    for name, value in named:
        for holder in _behind(value):
            if id(holder) not in seen and not isinstance(holder, (*_SCALARS, *_CONTAINERS, type, types.ModuleType)):
                seen.add(id(holder))
                yield name, holder


def _behind(value: Any) -> Iterator[Any]:
    """The objects whose attributes a call of `value` may change: behind a bound method or a partial are others.

    >>> [holder for holder in _behind(functools.partial(print, 1, sep=""))] == [print, 1, ""]
    True
    """
    if isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _behind(part)
    elif isinstance(value, types.MethodType):
        yield value.__self__
    else:
        yield value


def _variables(function: Any) -> dict[str, Any]:
    """The scalars that a function of the user's may change outside of it: global, or of a function around it."""
    if not isinstance(function, types.FunctionType) or not is_users(function):
        return {}
    code = function.__code__
    found = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # nothing was put there yet
            found[name] = cell.cell_contents
    return _scalars(found)


def _is_container(value: Any) -> bool:
    return isinstance(value, _CONTAINERS) and not isinstance(value, _SCALARS)


def _scalars(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in attributes.items()
        if isinstance(value, _SCALARS) and not (name.startswith("__") and name.endswith("__"))
    }


def _attributes(holder: Any) -> dict[str, Any]:
    """The attributes that belong to the object itself, those in slots too.

    >>> class Point:
    ...     __slots__ = ("x", "y", "__dict__")
    >>> point = Point()
    >>> point.x, point.z = 1, 3
    >>> _attributes(point)
    {'z': 3, 'x': 1}
    """
    attributes = dict(getattr(holder, "__dict__", {}))
    for name, slot in _slots(holder).items():
        with suppress(AttributeError):  # nothing was put there yet
            attributes[name] = slot.__get__(holder)
    return attributes


def _slots(holder: Any) -> dict[str, Any]:
    return {
        name: slot
        for kind in reversed(type(holder).__mro__)
        if "__slots__" in vars(kind)
        for name, slot in vars(kind).items()
        if isinstance(slot, types.MemberDescriptorType)
    }


# not by setattr: a frozen dataclass refuses it, and a property of that name does something else
def _set(holder: Any, name: str, value: Any) -> None:
    slot = _slots(holder).get(name)
    if slot is None:
        vars(holder)[name] = value
    else:
        slot.__set__(holder, value)


def _delete(holder: Any, name: str) -> None:
    slot = _slots(holder).get(name)
    if slot is None:
        del vars(holder)[name]
    else:
        slot.__delete__(holder)


def _fingerprint(value: Any) -> Any:
    """What tells whether an object was changed in place; None for what that is not seen of.

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
    return _scalars(_attributes(value)) if is_users(type(value)) else None


def is_users(kind: Any) -> bool:
    """Whether a class or a function is of the user's own code: loggers, writers and models of a library always change.

    >>> is_users(random.Random), is_users(type("Meter", (), {"__module__": "__main__"}))
    (False, True)
    """
    package: str = kind.__module__.partition(".")[0]
    if package in ("__main__", "hpcompat"):
        return package == "__main__"
    module = sys.modules.get(kind.__module__)
    if module is None:  # a class that came pickled, by value
        return True
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not file.startswith(_library_paths())


@functools.cache
def _library_paths() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
