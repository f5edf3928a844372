"""The names that each system takes for a parameter, and an escape for the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ENDLESS = float("inf")


@dataclass(frozen=True)
class Names:
    """The names that a system takes, and an escape for the others under which no two become one."""

    legal: re.Pattern[str]
    reserved: frozenset[str] = frozenset()
    longest: float = _ENDLESS

    def take_all(self, names: Sequence[str]) -> bool:
        """Whether each is an identifier that the system takes, in one look at all of them.

        >>> WANDB.take_all(["lr", "depth"]), WANDB.take_all(["lr", "top/k"])
        (True, False)
        """
        return (
            all(map(str.isidentifier, names))
            and "".join(names).isascii()
            and "_x" not in " ".join(names)
            and (not self.reserved or self.reserved.isdisjoint(names))
            and (self.longest == _ENDLESS or max(map(len, names), default=0) <= self.longest)
        )

    def escape(self, name: str) -> str:
        """The name itself where the system takes it.

        >>> WANDB.escape("lr"), WANDB.escape("top/k")
        ('lr', 'top_x2f_k')
        """
        if self.legal.fullmatch(name) and not _ESCAPE.search(name) and name not in self.reserved:
            return name if len(name) <= self.longest else self._short(name)
        letters = (
            letter
            if self.legal.fullmatch(f"a{letter}a") and not (name in self.reserved or _ESCAPE.match(name, place))
            else f"_x{ord(letter):x}_"
            for place, letter in enumerate(name)
        )
        escaped = "".join(letters)
        if not self.legal.fullmatch(escaped):  # a letter that is legal, but not at an end
            escaped = "".join(f"_x{ord(letter):x}_" for letter in name)
        return escaped if len(escaped) <= self.longest else self._short(escaped)

    def _short(self, name: str) -> str:
        from hashlib import blake2s

        return f"{name[: int(self.longest) - 18].rstrip()}_x{blake2s(name.encode(), digest_size=7).hexdigest()}_"


_ESCAPE = re.compile(r"_x[0-9a-f]+_")
OPTUNA = Names(re.compile(r".*", re.DOTALL))
RAY = Names(re.compile(r"[^/]*"), reserved=frozenset({"eval", "grid_search"}))
SIGOPT = Names(re.compile(r"\S|\S.*\S"), longest=100)
WANDB = Names(re.compile(r"[A-Za-z_][\w.-]*", re.ASCII))
