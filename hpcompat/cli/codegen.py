"""Python source for a space that runs as it stands: of a SearchSpace, a function of Optuna, domains of Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Union

from hpcompat.cli.formatting import Block, Node, inline_literal, python_literal, quote, render, with_prefix
from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.base import Parameter, arguments_of, when_dict
from hpcompat.space.serialization import value_from_json
from hpcompat.space.tree import Leaf
from hpcompat.translators import Level, Translation

MAX_IF_DEPTH = 16
"""The deepest nesting of ifs: Python takes 100 levels of indentation at most."""
MAX_LISTED_LEVELS = 20

GroupPath = tuple[str, ...]
Tree = dict[str, Union[Node, "Tree"]]
"""Nodes by parameter name, groups as dicts."""


def _join_source(*lines: str) -> str:
    """Join lines. Raises `TranslationError` if Python cannot parse them: its brackets nest 200 deep at most."""
    source = "".join(f"{line}\n" for line in lines)
    try:
        compile(source, "<space>", "exec")
    except (SyntaxError, RecursionError, MemoryError) as error:
        issue = Issue("", f"Python cannot parse it ({error.args[0]})", "--to json holds any space")
        raise TranslationError("this space is nested too deeply for Python source", [issue]) from None
    return source


def python_source(space: SearchSpace) -> str:
    """Return source that builds the space.

    >>> from hpcompat import Float, SearchSpace
    >>> print(python_source(SearchSpace({"lr": Float(1e-6, 1e-4, log=True)})), end="")
    import hpcompat as hp
    <BLANKLINE>
    space = hp.SearchSpace({
        "lr": hp.Float(1e-06, 0.0001, log=True),
    })
    """
    return _join_source("import hpcompat as hp", "", _space_assignment(space))


def _space_assignment(space: SearchSpace) -> str:
    return f"space = {render(Block('hp.SearchSpace({', _entry_nodes(space), '})', multiline=True))}"


def _entry_nodes(space: SearchSpace) -> list[Node]:
    return [with_prefix(f"{quote(name)}: ", _entry_node(entry)) for name, entry in space.items()]


def _entry_node(entry: Parameter | SearchSpace) -> Node:
    if isinstance(entry, Parameter):
        return _parameter_node(entry)
    if not entry.when:
        return Block("{", _entry_nodes(entry), "}", multiline=True)
    close = f"}}, when={inline_literal(when_dict(entry.when))})"
    return Block("hp.SearchSpace({", _entry_nodes(entry), close, multiline=True)


def _parameter_node(p: Parameter) -> Node:
    positional = {argument.name for argument in arguments_of(type(p)) if argument.is_required}
    arguments = _argument_nodes(p.arguments(), positional)
    if p.when:
        arguments.append(with_prefix("when=", python_literal(when_dict(p.when))))
    return Block(f"hp.{type(p).__name__}(", arguments, ")")


def _argument_nodes(arguments: Mapping[str, object], positional: Iterable[str]) -> list[Node]:
    return [
        with_prefix("" if name in positional else f"{name}=", python_literal(value))
        for name, value in arguments.items()
    ]


def encoded_levels(translation: Translation) -> list[Level]:
    """Return the levels of the parameters that are encoded."""
    return [level for level in translation.levels if level.level == "encoded"]


def _source_with_hpcompat(translation: Translation, *lines: str) -> str:
    """Return source that builds the space and then runs `lines`."""
    levels = encoded_levels(translation)
    comments = [f"#   {level.name}: {level.reason}" for level in levels[:MAX_LISTED_LEVELS]]
    if comments:
        comments.insert(0, "# These parameters are encoded, and hpcompat decodes them:")
    if len(levels) > MAX_LISTED_LEVELS:
        comments.append(f"#   and {len(levels) - MAX_LISTED_LEVELS} more")
    return _join_source("import hpcompat as hp", "", *comments, _space_assignment(translation.space), *lines)


def ray_source(translation: Translation) -> str:
    """Return source of `param_space`, a dict of domains, and of `decode` where a parameter is encoded."""
    if encoded_levels(translation):
        searcher = translation.options.get("searcher")
        arguments = f"encode=True, searcher={searcher!r}" if searcher else "encode=True"
        write, decode = f"hp.to_ray(space, {arguments})", f'hp.translate(space, "ray", {arguments}).decode'
        return _source_with_hpcompat(translation, f"param_space = {write}", f"decode = {decode}")
    spec = translation.spec
    tree = _build_tree((field.leaf.path, _domain_node(spec, field.native_path)) for field in translation.fields)
    return _join_source("from ray import tune", "", f"param_space = {render(_dict_node(tree))}")


def _domain_node(spec: Mapping[str, Any], path: Sequence[str]) -> Node:
    for part in path:
        spec = spec[part]
    arguments = list(map(python_literal, value_from_json(spec["args"])))
    return arguments[0] if spec["call"] == "constant" else Block(f"tune.{spec['call']}(", arguments, ")")


def _build_tree(entries: Iterable[tuple[Sequence[str], Node]]) -> Tree:
    tree: Tree = {}
    for path, node in entries:
        group = tree
        for part in path[:-1]:
            child = group.setdefault(part, {})
            assert isinstance(child, dict)  # a path that leads to a parameter does not go on below it
            group = child
        group[path[-1]] = node
    return tree


def _dict_node(tree: Tree) -> Node:
    items = [
        with_prefix(f"{quote(name)}: ", _dict_node(node) if isinstance(node, dict) else node)
        for name, node in tree.items()
    ]
    return Block("{", items, "}", multiline=True)


def optuna_source(translation: Translation) -> str:
    """Return source of `def suggest(trial): … return params`."""
    if encoded_levels(translation):
        return _source_with_hpcompat(translation, "suggest = hp.to_optuna(space, encode=True)")
    is_float = {leaf.name: leaf.parameter.kind == "float" for leaf in translation.space.leaves}
    if any(is_float[parent] for leaf in translation.space.leaves for parent, _ in leaf.when):
        # Optuna suggests 0.30000000000000004 where a condition compares with 0.3; hp.to_optuna removes the noise
        return _source_with_hpcompat(translation, "suggest = hp.to_optuna(space)")
    fields = zip(translation.fields, translation.spec, strict=True)
    calls = [(field.leaf, _suggest_node(call)) for field, call in fields]
    return _join_source("def suggest(trial):", *_function_body(calls))


def _suggest_node(call: Mapping[str, Any]) -> Node:
    if call["call"] == "constant":
        return python_literal(value_from_json(call["kwargs"]["value"]))
    arguments = _argument_nodes(call["kwargs"], positional=("low", "high", "choices"))
    return Block(f"trial.{call['call']}(", [quote(call["name"]), *arguments], ")")


@dataclass
class _CreatedGroups:
    """The groups of `params` that surely exist at a line (one set for each if around it), and that may exist."""

    certain: list[set[GroupPath]]
    possible: set[GroupPath]


def _function_body(calls: Sequence[tuple[Leaf, Node]]) -> Iterator[str]:
    """Yield the lines of the function: unconditional parameters first, then the others in their ifs."""
    unconditional = _build_tree((leaf.path, node) for leaf, node in calls if not leaf.when)
    conditional = [(leaf, node) for leaf, node in calls if leaf.when]
    yield _indent(1, with_prefix("params = " if conditional else "return ", _dict_node(unconditional)))
    if not conditional:
        return
    tests = _activation_tests(leaf for leaf, _ in calls)
    open_ifs: list[tuple[str, ...]] = []  # for each if around the current line, all that has been tested so far
    groups = _CreatedGroups([set(_iter_groups(unconditional))], set(_iter_groups(unconditional)))
    for required, same_tests in groupby(conditional, key=lambda call: tests[call[0].name]):
        open_ifs = [tested for tested in open_ifs if required[: len(tested)] == tested]
        if len(open_ifs) == MAX_IF_DEPTH:
            open_ifs = []
        del groups.certain[len(open_ifs) + 1 :]
        if remaining := required[len(open_ifs[-1]) if open_ifs else 0 :]:
            yield _indent(len(open_ifs) + 1, f"if {' and '.join(remaining)}:")
            open_ifs.append(required)
            groups.certain.append(set())
        tree = _build_tree((leaf.path, node) for leaf, node in same_tests)
        for line in _assignments(tree, "params", (), groups):
            yield _indent(len(open_ifs) + 1, line)
    yield _indent(1, "return params")


def _indent(depth: int, node: Node) -> str:
    return "    " * depth + render(node, 4 * depth)


def _activation_tests(leaves: Iterable[Leaf]) -> dict[str, tuple[str, ...]]:
    """Return the tests that have to hold for each parameter to be active, those of its parents first."""
    paths: dict[str, GroupPath] = {}
    tests: dict[str, tuple[str, ...]] = {}
    for leaf in leaves:
        required: dict[str, None] = {}  # a dict as an ordered set
        for parent, values in leaf.when:
            required |= dict.fromkeys((*tests[parent], _value_test(paths[parent], values)))
        paths[leaf.name], tests[leaf.name] = leaf.path, tuple(required)
    return tests


def _value_test(path: GroupPath, values: Sequence[object]) -> str:
    value = "params" + "".join(f"[{quote(part)}]" for part in path)
    if len(values) > 1:
        return f"{value} in {inline_literal(tuple(values))}"
    is_singleton = values[0] is None or isinstance(values[0], bool)
    return f"{value} {'is' if is_singleton else '=='} {inline_literal(values[0])}"


def _iter_groups(tree: Tree, path: GroupPath = ()) -> Iterator[GroupPath]:
    for name, node in tree.items():
        if isinstance(node, dict):
            yield (*path, name)
            yield from _iter_groups(node, (*path, name))


def _assignments(tree: Tree, parent: str, path: GroupPath, groups: _CreatedGroups) -> Iterator[Node]:
    """Yield the assignments of a tree: a group that cannot exist yet is created as a whole, any other is filled."""
    for name, node in tree.items():
        target, group = f"{parent}[{quote(name)}]", (*path, name)
        if not isinstance(node, dict):
            yield with_prefix(f"{target} = ", node)
        elif group not in groups.possible:
            created = {group, *_iter_groups(node, group)}
            groups.certain[-1] |= created
            groups.possible |= created
            yield with_prefix(f"{target} = ", _dict_node(node))
        elif any(group in certain for certain in groups.certain):
            yield from _assignments(node, target, group, groups)
        else:
            yield from _assignments(node, f"{parent}.setdefault({quote(name)}, {{}})", group, groups)
            groups.certain[-1].add(group)
