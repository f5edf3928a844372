"""How one parameter of a space is represented in a dialect: what `translate` makes, and a dialect writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from hpcompat.space.parameters import Parameter
from hpcompat.space.tree import Leaf
from hpcompat.translators.capabilities import Rule
from hpcompat.translators.codecs import CODECS, IDENTITY, make_normalizer


class Level(NamedTuple):
    """How one parameter is represented: its dotted name, the level, the form, and why it is not a better one."""

    name: str
    level: str
    form: str
    reason: str


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
        return self.native_path[0] if len(self.native_path) == 1 else ".".join(self.native_path)

    @property
    def is_stored(self) -> bool:
        """Whether the system stores a value for the parameter."""
        return self.proxy is not None and self.rule.form != "returned"

    def writer_key(self, writers: Mapping[str, Any], proxy_writers: Mapping[str, str]) -> str:
        """Return the name of the writer: the form's own, or that of a codec's proxy, by its kind."""
        return self.rule.form if self.rule.form in writers else proxy_writers[self.proxy.kind]  # type: ignore[union-attr]

    def encode(self, value: Any) -> Any:
        """Return what the system stores for a value."""
        return CODECS.get(self.rule.form, IDENTITY).encode(self.leaf.parameter, value)

    def decode(self, native: Any) -> Any:
        """Return the value of what the system stores."""
        return CODECS.get(self.rule.form, IDENTITY).decode(self.leaf.parameter, native)

    def make_decoder(self) -> Callable[[Any], Any]:
        """Return `decode`, prepared for many values."""
        if self.rule.form in CODECS:
            return partial(CODECS[self.rule.form].decode, self.leaf.parameter)
        return make_normalizer(self.leaf.parameter)
