"""Data laid out for human readers: as Python literals, JSON and YAML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard, Union

WIDTH = 100


@dataclass(frozen=True)
class Block:
    """Items between brackets: on one line where they fit, unless `multiline`."""

    open: str
    items: Sequence[Node]
    close: str
    multiline: bool = False


Node = Union[str, "Block"]


def render(node: Node, indent: int = 0, *, trailing_comma: bool = True, width: float = WIDTH) -> str:
    """Return a node as text, with a block on one line where `width` allows it. The caller indents the first line.

    >>> print(render(Block("f(", ["1", Block("[", ["2"], "]")], ")", multiline=True)))
    f(
        1,
        [2],
    )
    """
    if isinstance(node, str):
        return node
    line = _render_inline(node, width - indent if node.items else math.inf)
    if line is not None:
        return line
    margin, inner = " " * (indent + 4), indent + 4
    items = [margin + render(item, inner, trailing_comma=trailing_comma, width=width) for item in node.items]
    return "\n".join([node.open, ",\n".join(items) + "," * trailing_comma, " " * indent + node.close])


def _render_inline(node: Node, width: float) -> str | None:
    """Return the node on one line; None if that is longer than `width`, or a block in it is multiline."""
    if isinstance(node, str):
        return node if len(node) <= width else None
    if node.multiline and node.items:
        return None
    remaining = width - len(node.open) - len(node.close) - 2 * max(len(node.items) - 1, 0)
    parts = []
    for item in node.items:
        part = _render_inline(item, remaining)
        if part is None:
            return None
        remaining -= len(part)
        parts.append(part)
    return f"{node.open}{', '.join(parts)}{node.close}" if remaining >= 0 else None


def with_prefix(prefix: str, node: Node) -> Node:
    """Return the node with something in front, such as a key, or a name and its `=`."""
    if isinstance(node, str):
        return prefix + node
    return Block(prefix + node.open, node.items, node.close, node.multiline)


def python_literal(value: object) -> Node:
    """Return a value as a Python literal.

    >>> render(python_literal({"a": [1, 2.5, None], "b": (1,)}))
    '{"a": [1, 2.5, None], "b": (1,)}'
    """
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, dict):
        return Block("{", [with_prefix(f"{quote(key)}: ", python_literal(item)) for key, item in value.items()], "}")
    if isinstance(value, list):
        return Block("[", list(map(python_literal, value)), "]")
    if isinstance(value, tuple):
        if len(value) == 1:
            return f"({inline_literal(value[0])},)"
        return Block("(", list(map(python_literal, value)), ")")
    return repr(value)


def inline_literal(value: object) -> str:
    """Return it on one line, however long."""
    return render(python_literal(value), width=math.inf)


def quote(string: str) -> str:
    r"""Return a string as a Python literal, in double quotes where they need no escape.

    >>> quote("lr"), quote('a "b"')
    ('"lr"', '\'a "b"\'')
    """
    source = repr(string)
    return f'"{source[1:-1]}"' if source[0] == "'" and '"' not in source else source


def format_json(data: object, multiline_levels: int = 2) -> str:
    """Return JSON whose outer levels have one item a line.

    A YAML 1.1 reader gets the same data from it: there 1.0e-05 is a float, and 1e-05 a string.

    >>> print(format_json({"lr": {"min": 1e-05}}, multiline_levels=1), end="")
    {
        "lr": {"min": 1.0e-05}
    }
    """
    return render(_json_node(data, multiline_levels), trailing_comma=False) + "\n"


def _json_node(value: object, multiline_levels: int) -> Node:
    is_multiline, inner = multiline_levels > 0, multiline_levels - 1
    if isinstance(value, str):
        return _json_string(value)
    if isinstance(value, Mapping):
        items = [with_prefix(f"{_json_string(key)}: ", _json_node(item, inner)) for key, item in value.items()]
        return Block("{", items, "}", is_multiline)
    if isinstance(value, (list, tuple)):
        return Block("[", [_json_node(item, inner) for item in value], "]", is_multiline)
    return format_yaml_float(value) if type(value) is float else json.dumps(value)


def _json_string(string: str) -> str:
    # YAML readers reject some characters unless they are escaped, and do not accept escaped surrogates
    return "".join(
        char if char.isprintable() or ord(char) > 0xFFFF else f"\\u{ord(char):04x}"
        for char in json.dumps(string, ensure_ascii=False)
    )


def format_yaml(data: object) -> str:
    """Return data as YAML 1.1, lists of scalars on one line.

    Raises:
        TypeError: The data holds something other than dicts, lists and scalars.
        ImportError: PyYAML is not installed.

    >>> print(format_yaml({"method": "grid", "values": [1e-5, "1e-5"]}), end="")
    method: grid
    values: [1.0e-05, '1e-5']
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    def represent_string(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        # 1e-5 is a string in YAML 1.1 and a number in 1.2, unless it is quoted; line breaks survive only as escapes
        style = "'" if is_numeric_string(value) else None if value.isprintable() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    def represent_list(dumper: yaml.SafeDumper, value: list[object]) -> yaml.Node:
        has_only_scalars = not any(isinstance(item, (list, dict)) for item in value)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=has_only_scalars)

    Dumper.add_representer(str, represent_string)
    Dumper.add_representer(list, represent_list)
    try:
        return yaml.dump(data, Dumper=Dumper, width=WIDTH, sort_keys=False, allow_unicode=True)
    except yaml.representer.RepresenterError as error:
        raise TypeError(f"YAML cannot represent {error.args[-1]!r}") from None


def format_yaml_float(value: float) -> str:
    """Return a float as both JSON and YAML 1.1 read it.

    >>> format_yaml_float(1e-5), format_yaml_float(0.1)
    ('1.0e-05', '0.1')
    """
    digits = repr(value)
    return digits if "." in digits else digits.replace("e", ".0e")


def is_numeric_string(value: object) -> TypeGuard[str]:
    """Return whether a value is a string that Python reads as a number.

    >>> is_numeric_string("1e-5"), is_numeric_string("adamw"), is_numeric_string(1e-5)
    (True, False, False)
    """
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True
