"""A space as Python source that runs as it stands.

| function | source |
|---|---|
| `python_source` | `space = hp.SearchSpace({…})` |
| `optuna_source` | `def suggest(trial): … return params` |
| `ray_source` | `param_space = {…}` |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from hpcompat.cli.texts import Block, Node, layout, literal, one_line, prefixed, quoted
from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.conditions import when_dict
from hpcompat.space.parameters import Parameter, arguments_of
from hpcompat.space.serialization import value_from_json
from hpcompat.space.tree import Leaf
from hpcompat.translators import Level, Translation

_DEEPEST = 16
_LISTED = 20


def _checked(source: str) -> str:
    """The source, unless Python itself cannot take it: its brackets nest 200 deep at most."""
    try:
        compile(source, "<space>", "exec")
    except (SyntaxError, RecursionError, MemoryError) as error:
        issue = Issue("", f"Python cannot take it ({error.args[0]})", "--to json holds any space")
        raise TranslationError("this space is nested too deeply for Python source", [issue]) from None
    return source


# -- the canonical space ----------------------------------------------------------------------------


def python_source(space: SearchSpace) -> str:
    """Source that makes the space.

    >>> from hpcompat import Float, SearchSpace
    >>> print(python_source(SearchSpace({"lr": Float(1e-6, 1e-4, log=True)})), end="")
    import hpcompat as hp
    <BLANKLINE>
    space = hp.SearchSpace({
        "lr": hp.Float(1e-06, 0.0001, log=True),
    })
    """
    return _checked(f"import hpcompat as hp\n\n{_assignment(space)}")


def _assignment(space: SearchSpace) -> str:
    return f"space = {layout(Block('hp.SearchSpace({', _entries(space), '})', tall=True))}\n"


def _entries(space: SearchSpace) -> list[Node]:
    return [prefixed(f"{quoted(name)}: ", _entry(entry)) for name, entry in space.items()]


def _entry(entry: Parameter | SearchSpace) -> Node:
    if isinstance(entry, Parameter):
        return _kind(entry)
    if not entry.when:
        return Block("{", _entries(entry), "}", tall=True)
    when = one_line(literal(when_dict(entry.when)))
    return Block("hp.SearchSpace({", _entries(entry), f"}}, when={when})", tall=True)


def _kind(p: Parameter) -> Node:
    required = {argument.name for argument in arguments_of(type(p)) if argument.is_required}
    arguments = [
        prefixed("" if name in required else f"{name}=", literal(value)) for name, value in p.arguments().items()
    ]
    when = [prefixed("when=", literal(when_dict(p.when)))] if p.when else []
    return Block(f"hp.{type(p).__name__}(", [*arguments, *when], ")")


# -- a dialect through hpcompat, where something travels encoded --------------------------------------


def encoded(translation: Translation) -> tuple[Level, ...]:
    """The parameters that travel as something else."""
    return tuple(level for level in translation.levels if level.level == "encoded")


def _through_hpcompat(translation: Translation, lines: Sequence[str]) -> str:
    levels = encoded(translation)
    comment = [f"#   {level.name}: {level.reason}" for level in levels[:_LISTED]]
    if comment:
        comment.insert(0, "# These travel encoded, and hpcompat decodes them:")
    if len(levels) > _LISTED:
        comment.append(f"#   and {len(levels) - _LISTED} more")
    head = "\n".join(["import hpcompat as hp", "", *comment, _assignment(translation.space)])
    return _checked(head + "".join(f"{line}\n" for line in lines))


# -- Ray --------------------------------------------------------------------------------------------


def ray_source(translation: Translation) -> str:
    """Source of `param_space`, a dict of domains; and of `decode`, where what Ray reports needs it."""
    if encoded(translation):
        searcher = translation.options.get("searcher")
        options = "encode=True" + (f", searcher={searcher!r}" if searcher else "")
        lines = [
            f"param_space = hp.to_ray(space, {options})",
            f'decode = hp.translate(space, "ray", {options}).decode',
        ]
        return _through_hpcompat(translation, lines)
    spec = translation.spec
    tree = _tree((each.leaf.path, _domain(spec, each.native_path)) for each in translation.fields)
    return _checked(f"from ray import tune\n\nparam_space = {layout(_dict(tree))}\n")


def _domain(spec: Any, path: Sequence[str]) -> Node:
    for part in path:
        spec = spec[part]
    arguments = list(map(literal, value_from_json(spec["args"])))
    return arguments[0] if spec["call"] == "constant" else Block(f"tune.{spec['call']}(", arguments, ")")


Tree = dict[str, Any]


def _tree(parts: Iterable[tuple[Sequence[str], Node]]) -> Tree:
    """Nodes by name, groups as dicts."""
    tree: Tree = {}
    for path, node in parts:
        place = tree
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = node
    return tree


def _dict(tree: Tree) -> Node:
    inner = ((name, _dict(node) if isinstance(node, dict) else node) for name, node in tree.items())
    return Block("{", [prefixed(f"{quoted(name)}: ", node) for name, node in inner], "}", tall=True)


# -- Optuna -----------------------------------------------------------------------------------------


def optuna_source(translation: Translation) -> str:
    """Source of `suggest(trial)`, with the calls, the ifs and the groups that a person would write."""
    if encoded(translation):
        return _through_hpcompat(translation, ["suggest = hp.to_optuna(space, encode=True)"])
    if _asks_floats(translation.space):
        return _through_hpcompat(translation, ["suggest = hp.to_optuna(space)"])
    pairs = zip(translation.fields, translation.spec, strict=True)
    calls = [(field.leaf, _call(call)) for field, call in pairs]
    return _checked("\n".join(["def suggest(trial):", *_body(calls)]) + "\n")


def _asks_floats(space: SearchSpace) -> bool:
    # Optuna says 0.30000000000000004 where a condition asks for 0.3; hpcompat's function takes the noise off
    kinds = {leaf.name: leaf.parameter.kind for leaf in space.leaves}
    return any(kinds[parent] == "float" for leaf in space.leaves for parent, _ in leaf.when)


def _call(call: Mapping[str, Any]) -> Node:
    if call["call"] == "constant":
        return literal(value_from_json(call["kwargs"]["value"]))
    arguments = [
        prefixed("" if name in ("low", "high", "choices") else f"{name}=", literal(value))
        for name, value in call["kwargs"].items()
    ]
    return Block(f"trial.{call['call']}(", [quoted(call["name"]), *arguments], ")")


def _body(calls: Sequence[tuple[Leaf, Node]]) -> Iterator[str]:
    """The function's lines: what is always active first, then the rest inside its ifs, parents first."""
    always = _tree((leaf.path, node) for leaf, node in calls if not leaf.when)
    conditional = [(leaf, node) for leaf, node in calls if leaf.when]
    yield _line(1, prefixed("params = " if conditional else "return ", _dict(always)))
    if not conditional:
        return
    tests = _tests([leaf for leaf, _ in calls])
    opened: list[tuple[str, ...]] = []  # the tests of each if that is open
    made = [set(_groups(always))]  # the groups that surely exist: outside every if, then in each open one
    ever = set(made[0])
    for wanted, run in groupby(conditional, key=lambda call: tests[call[0].name]):
        depth = _still_open(opened, wanted)
        depth = 0 if depth == _DEEPEST else depth  # Python has an end to indentation
        del opened[depth:], made[depth + 1 :]
        if ask := wanted[sum(map(len, opened)) :]:
            yield _line(len(opened) + 1, f"if {' and '.join(ask)}:")
            opened.append(ask)
            made.append(set())
        for line in _assignments(_tree((leaf.path, node) for leaf, node in run), "params", (), made, ever):
            yield _line(len(opened) + 1, line)
    yield _line(1, "return params")


def _line(depth: int, node: Node) -> str:
    return "    " * depth + layout(node, 4 * depth)


def _tests(leaves: Iterable[Leaf]) -> dict[str, tuple[str, ...]]:
    """What has to hold for each parameter to be active, what it takes to ask that first."""
    paths: dict[str, tuple[str, ...]] = {}
    tests: dict[str, tuple[str, ...]] = {}
    for leaf in leaves:
        needed: dict[str, None] = {}
        for parent, values in leaf.when:
            needed |= dict.fromkeys((*tests[parent], _test(paths[parent], values)))
        paths[leaf.name], tests[leaf.name] = leaf.path, tuple(needed)
    return tests


def _test(path: Sequence[str], values: Sequence[Any]) -> str:
    asked = "params" + "".join(f"[{quoted(part)}]" for part in path)
    if len(values) > 1:
        return f"{asked} in {one_line(literal(tuple(values)))}"
    alone = values[0] is None or isinstance(values[0], bool)
    return f"{asked} {'is' if alone else '=='} {one_line(literal(values[0]))}"


def _still_open(opened: Sequence[tuple[str, ...]], wanted: tuple[str, ...]) -> int:
    """How many of the open ifs ask only for what is wanted, in its order."""
    met = 0
    for depth, asked in enumerate(opened):
        if wanted[met : met + len(asked)] != asked:
            return depth
        met += len(asked)
    return len(opened)


Path = tuple[str, ...]


def _groups(tree: Tree, path: Path = ()) -> Iterator[Path]:
    for name, node in tree.items():
        if isinstance(node, dict):
            yield (*path, name)
            yield from _groups(node, (*path, name))


def _assignments(tree: Tree, place: str, path: Path, made: list[set[Path]], ever: set[Path]) -> Iterator[Node]:
    """A group is made whole where nothing can have made it before, else filled in."""
    for name, node in tree.items():
        target, below = f"{place}[{quoted(name)}]", (*path, name)
        if not isinstance(node, dict):
            yield prefixed(f"{target} = ", node)
        elif below not in ever:
            found = {below, *_groups(node, below)}
            made[-1].update(found)
            ever |= found
            yield prefixed(f"{target} = ", _dict(node))
        elif any(below in groups for groups in made):
            yield from _assignments(node, target, below, made, ever)
        else:
            yield from _assignments(node, f"{place}.setdefault({quoted(name)}, {{}})", below, made, ever)
            made[-1].add(below)
