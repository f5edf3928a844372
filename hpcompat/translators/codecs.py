"""Codecs: how a parameter is stored in a system that has no form for it, as a proxy that every system has.

| codec | proxy | stores |
|---|---|---|
| unit | Float(0, 1) | the share of draws below the value: any distribution |
| index | Int(0, n - 1) | the index of the value on a grid |
| labels | Categorical of strings | a readable label for each choice, starting with its index |
| literals | Categorical of strings | a number, true, false or null as a string |
| absent | nothing | a value that is always the same |
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from hpcompat.errors import ParamsError
from hpcompat.space.parameters import Categorical, Float, Int, Parameter
from hpcompat.space.tree import Leaf
from hpcompat.space.values import SCALARS, copy_if_mutable, short_repr
from hpcompat.translators.capabilities import Rule

_TOLERANCE = 1e-9
_LABEL = 50


class Codec(NamedTuple):
    """The proxy for a parameter, and its values as those of the proxy and back."""

    proxy: Callable[[Any], Parameter | None]
    encode: Callable[[Any, Any], Any]
    decode: Callable[[Any, Any], Any]


def normalize(p: Parameter, raw: Any) -> Any:
    """Return the value of the parameter that an engine's value stands for: without rounding noise and numpy's types.

    Raises `ParamsError` for what the parameter cannot take.

    >>> normalize(Float(0, 1, step=0.1), 0.30000000000000004), normalize(Int(1, 8), 4.0)
    (0.3, 4)
    """
    if p.contains(raw):
        return raw
    if hasattr(raw, "item") and getattr(raw, "shape", None) == ():
        return normalize(p, raw.item())  # a numpy scalar
    if (type(raw) in (int, float) and isinstance(p, (Float, Int))) or (
        p.kind == "normal" and type(raw) in (int, float)
    ):
        try:
            value = _snap_to_domain(p, raw)
        except (OverflowError, ValueError):  # infinite, not a number, or an int that no float holds
            value = None
        if value is not None:
            return value
    raise ParamsError(f"{short_repr(raw)} is not in {short_repr(p, 200)}")


def make_normalizer(p: Parameter) -> Callable[[Any], object]:
    """Return `normalize` for many values of one parameter; most are valid as they are, which is tested first.

    >>> make_normalizer(Int(1, 8))(3), make_normalizer(Int(1, 8))(4.0)
    (3, 4)
    """
    if isinstance(p, Categorical) and SCALARS.issuperset(map(type, p.choices)):
        known = {(type(choice), choice) for choice in p.choices}
        return lambda raw: raw if type(raw) in SCALARS and (type(raw), raw) in known else normalize(p, raw)
    if isinstance(p, (Float, Int)) and p.step == (None if isinstance(p, Float) else 1):
        kind, low, high = type(p.low), p.low, p.high
        return lambda raw: raw if type(raw) is kind and low <= raw <= high else normalize(p, raw)
    return partial(normalize, p)


def _snap_to_domain(p: Any, raw: float) -> float | None:
    if p.support is None:
        low, high = p.bounds()
        value = min(max(float(raw), low), high)
        # exp(log(bound)) is further off than a sum is
        slack = 4e-13 * abs(value) if p.log else 4 * math.ulp(max(abs(low), abs(high)) if high < math.inf else value)
        near = abs(value - raw) <= slack
        return value if near else None
    steps = p.support
    index = round((raw * steps.scale - steps.origin) / steps.step)
    if not steps.first <= index <= steps.last:
        return None
    value = steps[index]
    return value if abs(value - raw) <= _TOLERANCE * steps.step / steps.scale else None


def _to_unit(p: Parameter, value: Any) -> float:
    u = p.to_unit(value)
    if p.support is None:
        scale = max(abs(value), p.quantile(0.75) - p.quantile(0.25))
        if abs(p.quantile(u) - value) > _TOLERANCE * scale:
            raise ParamsError(f"{short_repr(value)} is so unlikely under {p!r} that a unit float cannot tell it")
    return u


def _from_unit(p: Parameter, raw: object) -> object:
    return p.quantile(normalize(Float(0.0, 1.0), raw))


def _to_index(p: Any, value: object) -> int:
    return int(p.index_of(value) - p.support.first)


def _from_index(p: Any, raw: object) -> object:
    return p.support[int(normalize(_indices(p), raw) + p.support.first)]


def _indices(p: Parameter) -> Int:
    return Int(0, int(p.size) - 1)


def label(p: Categorical, index: int) -> str:
    """Return a string of at most 50 characters that starts with the index of a choice.

    >>> label(Categorical([(1, 2), None]), 0)
    '0: [1, 2]'
    """
    return f"{index}: {json.dumps(p.choices[index], ensure_ascii=True)}"[:_LABEL].rstrip()


def _from_label(p: Categorical, raw: object) -> object:
    place = raw.partition(":")[0] if isinstance(raw, str) else ""
    if place.isdecimal() and len(place) < 10 and int(place) < len(p.choices) and label(p, int(place)) == raw:
        return copy_if_mutable(p.choices[int(place)])
    raise ParamsError(f"{short_repr(raw)} is not a label of {short_repr(p, 200)}")


def _literals(p: Categorical) -> Categorical:
    return Categorical([format_literal(choice) for choice in p.choices])


def _from_literal(p: Parameter, raw: object) -> object:
    return normalize(p, parse_literal(raw)[1] if isinstance(raw, str) else raw)


CODECS = {
    "unit": Codec(lambda p: Float(0.0, 1.0), _to_unit, _from_unit),
    "index": Codec(_indices, _to_index, _from_index),
    "labels": Codec(
        lambda p: Categorical([label(p, index) for index in range(len(p.choices))]),
        lambda p, value: label(p, p.index_of(value)),
        _from_label,
    ),
    "conditional literals": Codec(_literals, lambda p, value: format_literal(value), _from_literal),
    "literals": Codec(_literals, lambda p, value: format_literal(value), _from_literal),
    "absent": Codec(lambda p: None, lambda p, value: None, lambda p, raw: p.quantile(0.5)),
}
IDENTITY = Codec(lambda p: p, lambda p, value: value, normalize)


_INT = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None}
_TEXTS = {True: "true", False: "false", None: "null"}


def parse_literal(text: str) -> tuple[bool, object]:
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
    # inf and nan are not JSON values, and -0.0 is the same choice as 0.0
    return (True, number) if repr(number) == text != "-0.0" and number - number == 0 else (False, text)


def parse_literals(strings: Sequence[str]) -> tuple[object, ...]:
    """Return the values if every string is a literal, else the strings.

    >>> parse_literals(["16", "32"]), parse_literals(["16", "auto"])
    ((16, 32), ('16', 'auto'))
    """
    parsed = [parse_literal(text) for text in strings]
    return tuple(value for _, value in parsed) if all(literal for literal, _ in parsed) else tuple(strings)


def format_literal(value: object) -> str | None:
    """Return the string that `parse_literal` reads back as this int, float, bool or None; None for other values.

    >>> format_literal(True), format_literal(1e-05), format_literal("16")
    ('true', '1e-05', None)
    """
    text = _TEXTS[value] if value is None or value is True or value is False else repr(value)
    literal, parsed = parse_literal(text) if type(value) in (int, float, bool, type(None)) else (False, None)
    return text if literal and type(parsed) is type(value) and parsed == value else None


class Level(NamedTuple):
    """How one parameter is represented: its dotted name, the level, the form, and why it is not a better one."""

    name: str
    level: str
    form: str
    reason: str


Written = TypeVar("Written")


@dataclass(frozen=True)
class Form(Generic[Written]):
    """A form of a dialect's own for parameters: a distribution of W&B, a function of Ray, a suggest call of Optuna.

    Attributes:
        read: What the form says, as arguments -> the parameter that the system draws for it.
        write: A parameter -> what the form says; None for a form that is only read.
    """

    read: Callable[..., Parameter]
    write: Callable[[Any], Written] | None = None


class FieldMapping(NamedTuple):
    """How one parameter of a space is written, and under which name.

    Attributes:
        leaf: The parameter and its place.
        rule: The capability table's, or a weaker one because of its name or a condition.
        native_path: The name that the system has for it; more than one part only where groups are nested.
        proxy: The parameter that is written: itself, or what a codec puts in its place; None if nothing is.
        has_native_condition: Whether the system itself leaves the parameter out where it is not active.
    """

    leaf: Leaf
    rule: Rule
    native_path: tuple[str, ...]
    proxy: Parameter | None
    has_native_condition: bool

    @property
    def level(self) -> Level:
        """How the parameter is represented."""
        return Level(self.leaf.name, self.rule.level, self.rule.form, self.rule.reason)

    @property
    def native_name(self) -> str:
        """The native path with dots."""
        return ".".join(self.native_path)

    @property
    def is_stored(self) -> bool:
        """Whether the system stores a value for the parameter."""
        return self.proxy is not None and self.rule.form != "returned"

    def writer_key(self, writers: Mapping[str, object], proxy_writers: Mapping[str, str]) -> str:
        """Return the name of the writer: the form's own, or that of a codec's proxy, by its kind."""
        return self.rule.form if self.rule.form in writers else proxy_writers[self.proxy.kind]  # type: ignore[union-attr]

    def write(self, forms: Mapping[str, Form[Written]], proxy_forms: Mapping[str, str]) -> tuple[str, Written]:
        """Return the name of the form in which the parameter is written, and what the form says."""
        name = self.writer_key(forms, proxy_forms)
        return name, forms[name].write(self.proxy)  # type: ignore[misc]

    def encode(self, value: object) -> Any:
        """Return what the system stores for a value."""
        return CODECS.get(self.rule.form, IDENTITY).encode(self.leaf.parameter, value)

    def decode(self, native: object) -> Any:
        """Return the value of what the system stores."""
        return CODECS.get(self.rule.form, IDENTITY).decode(self.leaf.parameter, native)

    def make_decoder(self) -> Callable[[object], object]:
        """Return `decode`, prepared for many values."""
        if self.rule.form in CODECS:
            return partial(CODECS[self.rule.form].decode, self.leaf.parameter)
        return make_normalizer(self.leaf.parameter)
