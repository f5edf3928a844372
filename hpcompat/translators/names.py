"""The names that each system takes for a parameter, and an escape for the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ENDLESS = float("inf")


@dataclass(frozen=True)
class NamePolicy:
    """The names that a system takes for a parameter, and an escape for others under which names stay distinct."""

    pattern: re.Pattern[str]
    reserved: frozenset[str] = frozenset()
    max_length: float = _ENDLESS

    def accepts_all(self, names: Sequence[str]) -> bool:
        """Return whether all names are identifiers that the system takes.

        >>> WANDB.accepts_all(["lr", "depth"]), WANDB.accepts_all(["lr", "top/k"])
        (True, False)
        """
        return (
            all(map(str.isidentifier, names))
            and "".join(names).isascii()
            and "_x" not in " ".join(names)
            and (not self.reserved or self.reserved.isdisjoint(names))
            and (self.max_length == _ENDLESS or max(map(len, names), default=0) <= self.max_length)
        )

    def escape(self, name: str) -> str:
        """Return the name where the system takes it, else an escaped one.

        >>> WANDB.escape("lr"), WANDB.escape("top/k")
        ('lr', 'top_x2f_k')
        """
        if self.pattern.fullmatch(name) and not _ESCAPE.search(name) and name not in self.reserved:
            return name if len(name) <= self.max_length else self._hash_suffix(name)
        letters = (
            letter
            if self.pattern.fullmatch(f"a{letter}a") and not (name in self.reserved or _ESCAPE.match(name, place))
            else f"_x{ord(letter):x}_"
            for place, letter in enumerate(name)
        )
        escaped = "".join(letters)
        if not self.pattern.fullmatch(escaped):  # a letter that is legal, but not at an end
            escaped = "".join(f"_x{ord(letter):x}_" for letter in name)
        return escaped if len(escaped) <= self.max_length else self._hash_suffix(escaped)

    def _hash_suffix(self, name: str) -> str:
        from hashlib import blake2s

        return f"{name[: int(self.max_length) - 18].rstrip()}_x{blake2s(name.encode(), digest_size=7).hexdigest()}_"


_ESCAPE = re.compile(r"_x[0-9a-f]+_")
ANY_NAME = NamePolicy(re.compile(r".*", re.DOTALL))
RAY = NamePolicy(re.compile(r"[^/]*"), reserved=frozenset({"eval", "grid_search"}))
SIGOPT = NamePolicy(re.compile(r"\S|\S.*\S"), max_length=100)
WANDB = NamePolicy(re.compile(r"[A-Za-z_][\w.-]*", re.ASCII))
