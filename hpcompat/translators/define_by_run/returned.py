"""The dict that a define-by-run function returned: draws and constants, by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hpcompat.errors import TranslationError
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import copy_if_mutable, is_scalar, json_issue, strict_equal
from hpcompat.translators.define_by_run.watching import brief, draws_in, inexpressible, is_watched, refuse

_MOST = 20_000
Path = tuple[str, ...]

OBJECTIVE = (
    "this is an objective",
    "search(objective, {}, backend='optuna') runs it as it is; to have its space read, return the params or nothing",
)


@dataclass(frozen=True)
class Draw:
    """In place of a returned value: it is the draw of this name itself."""

    name: str


def flat(result: Any, handed: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """What is returned, by path: a `Draw` or a plain value; an empty group stands for itself.

    `handed` are the draws as the function got them, `values` the same unwatched. Raises
    `TranslationError` for what is no dict of params.
    """
    if not isinstance(result, Mapping):
        raise _no_params(result)
    dicts = {id(value): name for name, value in handed.items() if type(value) is dict}
    waiting: list[tuple[Path, Any]] = [((), result)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        count += 1
        if count > _MOST or len(path) > MAX_DEPTH:
            many = f"more than {_MOST} values" if count > _MOST else f"dicts nested more than {MAX_DEPTH} deep"
            raise refuse("", f"it returns {many}", "return the params alone")
        name = value.draw if is_watched(value) else dicts.get(id(value))
        if name is not None and (type(value) is not dict or strict_equal(value, values[name])):
            yield path, Draw(name)
        elif isinstance(value, Mapping) and (value or not path):
            items = list(value.items())
            for key, _ in items:
                if not isinstance(key, str):
                    raise refuse(".".join(path), f"it returns the key {brief(key)}", "keys are names: use texts")
            waiting += [((*path, str(key)), inner) for key, inner in reversed(items)]
        else:
            yield path, _constant(path, value)


def _constant(path: Path, value: Any) -> Any:
    if not is_scalar(value) and (draws := list(islice(draws_in(value), 3))):
        reason = f"is a {type(value).__name__} made of draws: {', '.join(map(repr, sorted(draws)))}"
        hint = "return each draw under a key of its own, and make it of them later"
        raise inexpressible(".".join(path), reason, hint)
    if (why := json_issue(value)) is not None:
        raise refuse(".".join(path), *why)
    return copy_if_mutable(value)


def _no_params(result: Any) -> TranslationError:
    if hasattr(result, "close") and hasattr(result, "cr_frame"):
        result.close()  # a coroutine that nobody awaits would warn later
    items = result if isinstance(result, (list, tuple)) else [result]
    if items and all(hasattr(item, "__float__") for item in items):
        return refuse("", f"it returns {brief(result)}: {OBJECTIVE[0]}", OBJECTIVE[1])
    return refuse("", f"it returns {brief(result)}", "return a dict of the params")
