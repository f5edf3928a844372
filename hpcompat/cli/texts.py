"""Data as text that a person would have laid out: Python literals, JSON, YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

WIDTH = 100


@dataclass(frozen=True)
class Block:
    """Items between brackets: on one line where they fit, unless `tall`."""

    open: str
    items: Sequence[Node]
    close: str
    tall: bool = False


Node = Union[str, "Block"]


def layout(node: Node, indent: int = 0, comma: str = ",") -> str:
    """A node as text whose first line is indented already; `comma` ends the last of several lines.

    >>> print(layout(Block("f(", ["1", Block("[", ["2"], "]")], ")", tall=True)))
    f(
        1,
        [2],
    )
    """
    if isinstance(node, str):
        return node
    line = one_line(node, WIDTH - indent if node.items else float("inf"))
    if line is not None:
        return line
    *others, last = (" " * (indent + 4) + layout(item, indent + 4, comma) for item in node.items)
    return "\n".join([node.open, *(f"{item}," for item in others), last + comma, " " * indent + node.close])


def one_line(node: Node, room: float = float("inf")) -> str | None:
    """The node on one line; None if that is longer than `room`, or the node is tall."""
    if isinstance(node, str):
        return node if len(node) <= room else None
    if node.tall and node.items:
        return None
    room -= len(node.open) + len(node.close) + 2 * max(len(node.items) - 1, 0)
    parts = []
    for item in node.items:
        part = one_line(item, room)
        if part is None:
            return None
        room -= len(part)
        parts.append(part)
    return f"{node.open}{', '.join(parts)}{node.close}" if room >= 0 else None


def prefixed(prefix: str, node: Node) -> Node:
    """The node with something in front: a key, or a name and its =."""
    if isinstance(node, str):
        return prefix + node
    return Block(prefix + node.open, node.items, node.close, node.tall)


# -- Python -----------------------------------------------------------------------------------------


def literal(value: Any) -> Node:
    """A value as a Python literal.

    >>> layout(literal({"a": [1, 2.5, None], "b": (1,)}))
    '{"a": [1, 2.5, None], "b": (1,)}'
    """
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return Block("{", [prefixed(f"{quoted(key)}: ", literal(item)) for key, item in value.items()], "}")
    if isinstance(value, list):
        return Block("[", list(map(literal, value)), "]")
    if isinstance(value, tuple) and len(value) != 1:
        return Block("(", list(map(literal, value)), ")")
    return f"({one_line(literal(value[0]))},)" if isinstance(value, tuple) else repr(value)


def quoted(text: str) -> str:
    r"""A text as Python source, in double quotes where they need no escape.

    >>> quoted("lr"), quoted('a "b"')
    ('"lr"', '\'a "b"\'')
    """
    source = repr(text)
    return f'"{source[1:-1]}"' if source[0] == "'" and '"' not in source else source


# -- JSON and YAML ----------------------------------------------------------------------------------


def json_text(data: Any, tall: int = 2) -> str:
    """JSON, its outer `tall` levels with one item a line.

    Whoever reads it as YAML 1.1 gets the same: there 1.0e-05 is a float, and 1e-05 a text.

    >>> print(json_text({"lr": {"min": 1e-05}}, tall=1), end="")
    {
        "lr": {"min": 1.0e-05}
    }
    """
    return layout(_json(data, tall), comma="") + "\n"


def _json(value: Any, tall: int) -> Node:
    if isinstance(value, str):
        return _json_string(value)
    if isinstance(value, Mapping):
        items = [prefixed(f"{_json_string(key)}: ", _json(item, tall - 1)) for key, item in value.items()]
        return Block("{", items, "}", tall > 0)
    if isinstance(value, (list, tuple)):
        return Block("[", [_json(item, tall - 1) for item in value], "]", tall > 0)
    return yaml_number(value) if type(value) is float else json.dumps(value)


def yaml_number(value: float) -> str:
    """A float as JSON and YAML 1.1 both read it.

    >>> yaml_number(1e-5), yaml_number(0.1)
    ('1.0e-05', '0.1')
    """
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")


def _json_string(text: str) -> str:
    # a YAML reader refuses some letters unless they are escaped, and takes no escaped surrogates
    return "".join(
        letter if letter.isprintable() or ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}"
        for letter in json.dumps(text, ensure_ascii=False)
    )


def yaml_text(data: Any) -> str:
    """YAML 1.1, lists of scalars on one line. Imports PyYAML; TypeError for what it has no form for."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        # 1e-5 is a text to YAML 1.1 and a number to 1.2, in quotes a text to both; and line breaks of
        # any kind survive only as escapes
        style = "'" if reads_as_number(value) else None if value.isprintable() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    def sequence(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
        scalars = not any(isinstance(item, (list, dict)) for item in value)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=scalars)

    Dumper.add_representer(str, text)
    Dumper.add_representer(list, sequence)
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "default_flow_style": False}
    try:
        return str(yaml.dump(data, Dumper=Dumper, width=WIDTH, **options))
    except yaml.representer.RepresenterError as error:
        raise TypeError(f"YAML has no form for {error.args[-1]!r}") from None


def reads_as_number(value: Any) -> bool:
    """Whether a value is a text that a careless reader takes for a number.

    >>> reads_as_number("1e-5"), reads_as_number("adamw"), reads_as_number(1e-5)
    (True, False, False)
    """
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True
