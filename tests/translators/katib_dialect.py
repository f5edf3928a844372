"""A dialect as another package would define it, in one file: the list of parameters of Katib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hpcompat.space import SearchSpace
from hpcompat.translators.capabilities import (
    SHAPES,
    encoded,
    equivalent,
    fits_float_exactly,
    has_finite_width,
    is_enumerable,
    native,
)
from hpcompat.translators.codecs import FieldMapping
from hpcompat.translators.dialect import Dialect, Variant
from hpcompat.translators.parsing import build_space, make_categorical, make_range, parse_entries, reject

_LIST = (equivalent("discrete", "a list of the values", is_enumerable), encoded("index", "it has too many values"))
_STRINGS = encoded("labels", "its categories are strings")
CAPABILITIES = {
    **dict.fromkeys(SHAPES, (encoded("unit", "it has uniform parameters alone"),)),
    "float": (native("double", has_finite_width), encoded("unit", "the range is wider than a float")),
    "float step": _LIST,
    "int": (native("int", fits_float_exactly), encoded("index", "it draws ints as floats")),
    "int step": _LIST,
    "categorical": (
        native("categorical", lambda p: all(isinstance(choice, str) for choice in p.choices)),
        _STRINGS,
    ),
    "categorical ordered": (_STRINGS,),
    "constant": (encoded("absent", "it has no constants"),),
}


class KatibDialect(Dialect):
    """The parameters of a Katib experiment."""

    name = "katib"
    title = "Katib"
    variants: ClassVar[Mapping[str, Variant]] = {"katib": Variant("katib", "Katib", CAPABILITIES)}

    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the parameters."""
        return [
            {"name": field.native_name, **_write(field.writer_key(_TYPES, _PROXY_TYPES), field.proxy)}
            for field in fields
            if field.proxy is not None
        ]

    def accepts(self, source: Any) -> bool:
        """Return whether this is a list of dicts that all have a parameterType."""
        return isinstance(source, list) and all(
            isinstance(entry, dict) and "parameterType" in entry for entry in source
        )

    def read(self, source: Any) -> SearchSpace:
        """Return the space of a list of parameters."""
        return build_space("Katib", parse_entries("Katib", _read, [(entry.get("name"), entry) for entry in source]))


_TYPES = {"double": "double", "int": "int", "discrete": "discrete", "categorical": "categorical"}
_PROXY_TYPES = {"float": "double", "int": "int", "categorical": "categorical"}


def _write(parameter_type: str, p: Any) -> dict[str, Any]:
    if parameter_type in ("discrete", "categorical"):
        return {"parameterType": parameter_type, "feasibleSpace": {"list": list(p.support)}}
    return {"parameterType": parameter_type, "feasibleSpace": {"min": p.low, "max": p.high}}


def _read(entry: dict[str, Any]) -> Any:
    parameter_type, values = entry["parameterType"], entry.get("feasibleSpace", {})
    if parameter_type not in _TYPES:
        reject(f"unknown parameterType {parameter_type!r}", f"one of {', '.join(_TYPES)}")
    if "list" in values:
        return make_categorical(values["list"])
    return make_range(values.get("min"), values.get("max"), whole=parameter_type == "int")


KATIB = KatibDialect()
