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
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from hpcompat.errors import ParamsError
from hpcompat.space.parameters import Categorical, Float, Int, Parameter
from hpcompat.space.values import SCALARS, short_repr
from hpcompat.translators import literals

_TOLERANCE = 1e-9
_LABEL = 50


class Codec(NamedTuple):
    """The proxy for a parameter, and its values as those of the proxy and back."""

    proxy: Callable[[Any], Parameter | None]
    encode: Callable[[Any, Any], Any]
    decode: Callable[[Any, Any], Any]


def normalize(p: Parameter, raw: Any) -> Any:
    """Return the value behind what an engine hands back: without rounding noise and foreign number types, no more.

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


def make_normalizer(p: Any) -> Callable[[Any], Any]:
    """Return `normalize` for many values of one parameter; most are valid as they are, which is tested first.

    >>> make_normalizer(Int(1, 8))(3), make_normalizer(Int(1, 8))(4.0)
    (3, 4)
    """
    if p.kind == "categorical" and SCALARS.issuperset(map(type, p.choices)):
        known = {(type(choice), choice) for choice in p.choices}
        return lambda raw: raw if type(raw) in SCALARS and (type(raw), raw) in known else normalize(p, raw)
    if p.kind in ("float", "int") and p.step == (None if p.kind == "float" else 1):
        kind, low, high = type(p.low), p.low, p.high
        return lambda raw: raw if type(raw) is kind and low <= raw <= high else normalize(p, raw)
    return partial(normalize, p)


def _snap_to_domain(p: Any, raw: float) -> Any:
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


def _from_unit(p: Parameter, raw: Any) -> Any:
    return p.quantile(normalize(Float(0.0, 1.0), raw))


def _to_index(p: Any, value: Any) -> int:
    return int(p.index_of(value) - p.support.first)


def _from_index(p: Any, raw: Any) -> Any:
    return p.support[int(normalize(_indices(p), raw) + p.support.first)]


def _indices(p: Parameter) -> Int:
    return Int(0, int(p.size) - 1)


def label(p: Any, index: int) -> str:
    """Return a string of at most 50 characters that starts with the index of a choice.

    >>> label(Categorical([(1, 2), None]), 0)
    '0: [1, 2]'
    """
    return f"{index}: {json.dumps(p.choices[index], ensure_ascii=True)}"[:_LABEL].rstrip()


def _from_label(p: Any, raw: Any) -> Any:
    place = raw.partition(":")[0] if isinstance(raw, str) else ""
    if place.isdecimal() and len(place) < 10 and int(place) < len(p.choices) and label(p, int(place)) == raw:
        return p.support[int(place)]
    raise ParamsError(f"{short_repr(raw)} is no label of {short_repr(p, 200)}")


def _literals(p: Any) -> Categorical:
    return Categorical([literals.format_literal(choice) for choice in p.choices])


def _from_literal(p: Parameter, raw: Any) -> Any:
    return normalize(p, literals.parse_literal(raw)[1] if isinstance(raw, str) else raw)


CODECS = {
    "unit": Codec(lambda p: Float(0.0, 1.0), _to_unit, _from_unit),
    "index": Codec(_indices, _to_index, _from_index),
    "labels": Codec(
        lambda p: Categorical([label(p, index) for index in range(len(p.choices))]),
        lambda p, value: label(p, p.index_of(value)),
        _from_label,
    ),
    "conditional literals": Codec(_literals, lambda p, value: literals.format_literal(value), _from_literal),
    "literals": Codec(_literals, lambda p, value: literals.format_literal(value), _from_literal),
    "absent": Codec(lambda p: None, lambda p, value: None, lambda p, raw: p.quantile(0.5)),
}
IDENTITY = Codec(lambda p: p, lambda p, value: value, normalize)
