"""`hpcompat show`: a space, and how each of its parameters travels to each dialect."""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any

from hpcompat.cli.given import Given, read
from hpcompat.cli.texts import reads_as_number, yaml_number
from hpcompat.errors import SpaceError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Constant, Int, Parameter
from hpcompat.space.tree import Leaf
from hpcompat.space.values import short_repr as shown
from hpcompat.translators.dialect import DIALECTS
from hpcompat.translators.fields import Level
from hpcompat.translators.translation import levels

_SHORT = {"equivalent": "equiv."}
_NAMED = 4
_BOUNDS = ("min", "max", "mu", "sigma", "q")


def run(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """The page that was asked for, as wide as the terminal."""
    given = read(arguments.file, arguments.source)
    return overview(given, shutil.get_terminal_size((100, 24)).columns, arguments.to), []


def overview(given: Given, width: int, dialect: str | None = None) -> str:
    """The whole page, at most `width` columns wide where names allow it."""
    space = given.space
    found = {
        variant.name: levels(space, name, **variant.options)
        for name in DIALECTS
        if dialect in (None, name)
        for variant in DIALECTS[name].variants.values()
    }
    parts = [_heading(space), _parameters(space, width), _matrix(found, width), _reasons(found, width)]
    said = (line for hint in hints(given) for line in _paragraph(hint, width))
    return "\n\n".join(filter(None, map("\n".join, (*parts, said)))) + "\n"


def _heading(space: SearchSpace) -> Iterator[str]:
    count = len(space.leaves)
    yield f"{count} parameter{'s' * (count != 1)}, {_size(space)}"


def _size(space: SearchSpace) -> str:
    try:
        size = space.size
    except SpaceError as error:
        return error.message
    if size == math.inf:
        return "infinitely many configurations"
    if size >= 10**15:
        return f"about 10^{round(math.log10(size))} configurations"
    return f"{size:,} configuration{'s' * (size != 1)}"


def _parameters(space: SearchSpace, width: int) -> Iterator[str]:
    room = min(max((len(leaf.name) for leaf in space.leaves), default=0), width // 3)
    for leaf in space.leaves:
        kind = shown(replace(leaf.parameter, when=None), max(width - room - 2, 40))  # type: ignore[type-var]
        line, when = f"{leaf.name:{room}}  {kind}", _when(leaf)
        if not when or len(line) + 2 + len(when) <= width:
            yield f"{line}  {when}".rstrip()
        else:
            margin = " " * (room + 4)
            yield from [line, *wrap(when, width, initial_indent=margin, subsequent_indent=margin)]


def _when(leaf: Leaf) -> str:
    tests = [f"{parent} is {' or '.join(_some(values))}" for parent, values in leaf.when]
    return f"when {' and '.join(tests)}" if tests else ""


def _some(values: Sequence[Any]) -> list[str]:
    return [shown(value, 20) for value in values[:_NAMED]] + ["…"] * (len(values) > _NAMED)


def _matrix(found: Mapping[str, Sequence[Level]], width: int) -> Iterator[str]:
    """A line for each parameter, a column for each way to drive a system."""
    names = [level.name for level in next(iter(found.values()))]
    heads = [column.partition(" ")[::2] for column in found]  # in two lines: ray, searcher
    columns = [[*head, *(each.level for each in those)] for head, those in zip(heads, found.values(), strict=True)]
    longest = max(map(len, names), default=0)
    if longest + _wide(columns) > width:
        columns = [[_SHORT.get(cell, cell) for cell in column] for column in columns]
    room = max(min(longest, width - _wide(columns)), 0)
    widths = [max(map(len, column)) for column in columns]
    for name, *row in zip(["", "", *names], *columns, strict=True):
        cells = "".join(f"  {cell:{wide}}" for cell, wide in zip(row, widths, strict=True)).rstrip()
        if len(name) > room:  # a long name has a line of its own
            yield from [name, " " * room + cells]
        elif cells:
            yield f"{name:{room}}{cells}"


def _wide(cells: Sequence[Sequence[str]]) -> int:
    return sum(2 + max(map(len, column)) for column in cells)


def _reasons(found: Mapping[str, Sequence[Level]], width: int) -> Iterator[str]:
    """Why something is not native, once for all parameters and columns that share the reason."""
    shared: dict[tuple[str, str], dict[str, list[str]]] = {}
    for column, each in found.items():
        for name, level, _, reason in each:
            if reason:
                shared.setdefault((level, reason), {}).setdefault(column, []).append(name)
    for (level, reason), by_column in shared.items():
        for names in dict.fromkeys(map(tuple, by_column.values())):
            columns = [column for column, those in by_column.items() if tuple(those) == names]
            yield from _paragraph(f"{level} in {', '.join(columns)}: {reason}: {_listed(names)}", width)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _paragraph(text: str, width: int) -> list[str]:
    return wrap(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


# -- hints ------------------------------------------------------------------------------------------


def hints(given: Given) -> Iterator[str]:
    """What is allowed, and probably not meant."""
    for leaf in given.space.leaves:
        if texts := [value for value in _choices(leaf.parameter) if reads_as_number(value)]:
            listed, number = ", ".join(_some(texts)), _as_number(texts[0], given)
            yield f"hint: {leaf.name} takes texts that look like numbers: {listed}{number}"
    parameters = {leaf.name: leaf.parameter for leaf in given.space.leaves}
    for name, config in _configs(given.document["parameters"], ()) if given.sweep else ():
        if texts := [config[key] for key in _BOUNDS if isinstance(config.get(key), str)]:
            yield f"hint: {name} has a text for a bound, {texts[0]!r}, which W&B refuses{_as_number(texts[0], given)}"
        yield from _misread(name, config, parameters[name])
    if all(isinstance(leaf.parameter, Constant) for leaf in given.space.leaves):
        yield "hint: nothing varies, and SigOpt and W&B's bayes need something to search"


def _as_number(text: str, given: Given) -> str:
    # unquoted, the likely case: YAML 1.1 wants a dot and a signed exponent
    written = reads_as_number(text) and given.text and "e" in text.lower()
    return f" (YAML 1.1 wants {yaml_number(float(text))} for a number)" if written else ""


def _choices(p: Parameter) -> Sequence[Any]:
    return p.choices if isinstance(p, Categorical) else [p.value] if isinstance(p, Constant) else ()


def _configs(parameters: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parameters of a sweep, those of its groups by dotted name."""
    for name, config in parameters.items():
        if isinstance(config.get("parameters"), Mapping):
            yield from _configs(config["parameters"], (*path, name))
        else:
            yield ".".join((*path, name)), config


def _misread(name: str, config: Mapping[str, Any], parameter: Parameter) -> Iterator[str]:
    """Bounds that are, in all likelihood, not what whoever wrote them takes them for."""
    if parameter == Int(0, 1) and "distribution" not in config:
        yield f"hint: {name} is 0 or 1, for both its bounds are ints (max: 1.0 has all between them too)"
    if config.get("distribution") == "log_uniform":
        low, high = parameter.quantile(0.0), parameter.quantile(1.0)
        if 1 < low < high < math.e:  # a learning rate, say, given as itself
            hint = "log_uniform_values takes the ends themselves"
            yield f"hint: {name} draws {low:.6g} … {high:.6g}, for its bounds are exponents of e ({hint})"
