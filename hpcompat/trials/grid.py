"""Every configuration of a finite space, one after the other: what "grid" means on every backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hpcompat.errors import BackendError, Issue
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical
from hpcompat.space.tree import Leaf
from hpcompat.space.values import short_repr

Flat = dict[str, Any]


def configurations(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Params of each configuration once, the last parameter changing fastest; made as they are asked for.

    Raises `BackendError`, naming every parameter that is continuous, unbounded or weighted.

    >>> from hpcompat import Int
    >>> space = SearchSpace({"optim": Categorical(["adamw", "sgd"]), "k": Int(0, 1, when={"optim": "sgd"})})
    >>> list(configurations(space))
    [{'optim': 'adamw'}, {'optim': 'sgd', 'k': 0}, {'optim': 'sgd', 'k': 1}]
    """
    issues = [issue for leaf in space.leaves if (issue := _issue(leaf))]
    if issues:
        raise BackendError("a grid needs a finite space, without weights", issues)
    return _walk(space)


def _issue(leaf: Leaf) -> Issue | None:
    parameter = leaf.parameter
    shown = short_repr(parameter, 120)
    if parameter.size == float("inf"):
        hint = "use 'random'" if parameter.kind == "normal" else "give it a step, or use 'random'"
        return Issue(leaf.name, f"{shown} has no end of values", hint)
    if parameter.kind == "normal" or (isinstance(parameter, Categorical) and parameter.weights):
        return Issue(leaf.name, f"{shown} is weighted, and a grid is not", "use 'random'")
    return None


def _walk(space: SearchSpace) -> Iterator[dict[str, Any]]:
    leaves = space.leaves
    # an iterator for each leaf decided on, and no recursion: there may be thousands of leaves
    levels: list[Iterator[Flat]] = [iter([{}])]
    while levels:
        flat = next(levels[-1], None)
        if flat is None:
            levels.pop()
        elif len(levels) > len(leaves):
            yield space.nest(flat)
        else:
            levels.append(_branches(leaves[len(levels) - 1], flat))


def _branches(leaf: Leaf, flat: Flat) -> Iterator[Flat]:
    if leaf.when and not leaf.active(flat):
        yield flat
    else:
        for value in leaf.parameter.support or ():
            yield {**flat, leaf.name: value}
