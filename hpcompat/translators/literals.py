"""Strings that stand for numbers, true, false and null: SigOpt's categories are always strings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_INT = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None}
_TEXTS = {True: "true", False: "false", None: "null"}


def parse_literal(text: str) -> tuple[bool, Any]:
    """Return whether a string is the canonical form of its value, and the value; no two strings have one value.

    >>> parse_literal("16"), parse_literal("1e-05"), parse_literal("null")
    ((True, 16), (True, 1e-05), (True, None))
    >>> parse_literal("016"), parse_literal("1e-5"), parse_literal("adamw")
    ((False, '016'), (False, '1e-5'), (False, 'adamw'))
    >>> parse_literal("true"), parse_literal("True")
    ((True, True), (False, 'True'))
    """
    if text in _WORDS:
        return True, _WORDS[text]
    if _INT.fullmatch(text) and text != "-0":
        return True, int(text)
    try:
        number = float(text)
    except ValueError:
        return False, text
    # inf and nan are no JSON values, and -0.0 is the same choice as 0.0
    return (True, number) if repr(number) == text != "-0.0" and number - number == 0 else (False, text)


def parse_literals(texts: Sequence[str]) -> tuple[Any, ...]:
    """Return the values if every string is a literal, else the strings.

    >>> parse_literals(["16", "32"]), parse_literals(["16", "auto"])
    ((16, 32), ('16', 'auto'))
    """
    parsed = [parse_literal(text) for text in texts]
    return tuple(value for _, value in parsed) if all(literal for literal, _ in parsed) else tuple(texts)


def format_literal(value: Any) -> str | None:
    """Return the string that `parse_literal` reads back as this int, float, bool or None; None for other values.

    >>> format_literal(True), format_literal(1e-05), format_literal("16")
    ('true', '1e-05', None)
    """
    text = _TEXTS[value] if value is None or value is True or value is False else repr(value)
    literal, parsed = parse_literal(text) if type(value) in (int, float, bool, type(None)) else (False, None)
    return text if literal and type(parsed) is type(value) and parsed == value else None
