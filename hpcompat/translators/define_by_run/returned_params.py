"""The dict that a define-by-run function returned: draws and constants, by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hpcompat.errors import TranslationError
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import copy_if_mutable, is_scalar, json_issue, strict_equal
from hpcompat.translators.define_by_run.instrumentation import (
    describe_value,
    find_draws,
    inexpressible_error,
    is_instrumented,
    unreadable_error,
)

MAX_VALUES = 20_000
Path = tuple[str, ...]

OBJECTIVE = (
    "this is an objective",
    "search(objective, {}, backend='optuna') runs it as it is; to have its space read, return the params or nothing",
)


@dataclass(frozen=True)
class DrawRef:
    """In place of a returned value: it is the draw of this name itself."""

    name: str


def flatten_result(result: Any, given: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """What is returned, by path: a `Draw` or a plain value; an empty group stands for itself.

    `handed` are the draws as the function got them, `values` the same unwatched. Raises
    `TranslationError` for what is no dict of params.
    """
    if not isinstance(result, Mapping):
        raise _not_params_error(result)
    dicts = {id(value): name for name, value in given.items() if type(value) is dict}
    waiting: list[tuple[Path, Any]] = [((), result)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        count += 1
        if count > MAX_VALUES or len(path) > MAX_DEPTH:
            many = (
                f"more than {MAX_VALUES} values" if count > MAX_VALUES else f"dicts nested more than {MAX_DEPTH} deep"
            )
            raise unreadable_error("", f"it returns {many}", "return the params alone")
        name = value.draw if is_instrumented(value) else dicts.get(id(value))
        if name is not None and (type(value) is not dict or strict_equal(value, values[name])):
            yield path, DrawRef(name)
        elif isinstance(value, Mapping) and (value or not path):
            items = list(value.items())
            for key, _ in items:
                if not isinstance(key, str):
                    raise unreadable_error(
                        ".".join(path), f"it returns the key {describe_value(key)}", "keys are names: use texts"
                    )
            waiting += [((*path, str(key)), inner) for key, inner in reversed(items)]
        else:
            yield path, _constant_value(path, value)


def _constant_value(path: Path, value: Any) -> Any:
    if not is_scalar(value) and (draws := list(islice(find_draws(value), 3))):
        reason = f"is a {type(value).__name__} made of draws: {', '.join(map(repr, sorted(draws)))}"
        hint = "return each draw under a key of its own, and make it of them later"
        raise inexpressible_error(".".join(path), reason, hint)
    if (why := json_issue(value)) is not None:
        raise unreadable_error(".".join(path), *why)
    return copy_if_mutable(value)


def _not_params_error(result: Any) -> TranslationError:
    if hasattr(result, "close") and hasattr(result, "cr_frame"):
        result.close()  # a coroutine that is never awaited would warn later
    items = result if isinstance(result, (list, tuple)) else [result]
    if items and all(hasattr(item, "__float__") for item in items):
        return unreadable_error("", f"it returns {describe_value(result)}: {OBJECTIVE[0]}", OBJECTIVE[1])
    return unreadable_error("", f"it returns {describe_value(result)}", "return a dict of the params")
