"""What the runs so far say of each entry: the draws that decide whether it is there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias

from hpcompat.space.values import short_repr, strict_key
from hpcompat.translators.define_by_run.tracer import Entry, Run

Values: TypeAlias = Mapping[str, Any]
Conditions: TypeAlias = dict[str, frozenset[Hashable]]
"""By the name of a draw: the values, by identity, under which an entry is there."""


def are_met(conditions: Conditions, values: Values) -> bool:
    """Whether these draws were made, and have such values."""
    return _are_met(conditions, {name: strict_key(values[name]) for name in conditions if name in values})


def _are_met(conditions: Conditions, identities: Mapping[str, Hashable]) -> bool:
    return all(name in identities and identities[name] in keys for name, keys in conditions.items())


def describe(conditions: Conditions, supports: Mapping[str, Mapping[Hashable, Any]]) -> str:
    """Gates as a message says them."""
    parts = []
    for name, keys in conditions.items():
        values = [value for key, value in supports[name].items() if key in keys]
        parts.append(f"{name!r} is {short_repr(values[0]) if len(values) == 1 else f'one of {short_repr(values)}'}")
    return " and ".join(parts)


class Baseline:
    """Draws to start from, `fixed` or as first drawn, and what becomes of entries when one is moved."""

    def __init__(self, fixed: Values, run: Run, entries: Sequence[Entry]) -> None:
        self.fixed, self.run = fixed, run
        self.conditions: dict[Entry, Conditions] = {entry: {} for entry in entries}

    def vary(self, name: str, classes: Sequence[tuple[frozenset[Hashable], Run]]) -> None:
        """Learn what each entry needs of one draw, from a run for each class of its values."""
        everywhere = frozenset.intersection(*(run.entries for _, run in classes))
        for entry, conditions in self.conditions.items():
            conditions.pop(name, None)
            if entry not in everywhere:
                there = (values for values, run in classes if entry in run.entries)
                conditions[name] = frozenset[Hashable]().union(*there)


class ActivationModel:
    """The conditions of all entries, as they follow from the moves made so far."""

    def __init__(self, conditions: dict[Entry, Conditions]) -> None:
        self.conditions = conditions
        self.always = frozenset(entry for entry, each in conditions.items() if not each)
        shared: dict[Hashable, tuple[Conditions, list[Entry]]] = {}
        for entry, each in conditions.items():
            shared.setdefault(frozenset(each.items()), (each, []))[1].append(entry)
        self.distinct: list[Conditions] = [each for each, _ in shared.values()] or [{}]
        # by the value of one parent: only the conditions that it meets need a look
        self._met: dict[str, dict[Hashable, list[tuple[Conditions, list[Entry]]]]] = {}
        for each, entries in shared.values():
            if each:
                innermost = next(reversed(each))
                others = {name: keys for name, keys in each.items() if name != innermost}
                met = self._met.setdefault(innermost, {})
                for key in each[innermost]:
                    met.setdefault(key, []).append((others, entries))

    def predict(self, values: Values) -> set[Entry]:
        """The entries that go with these draws."""
        found = set(self.always)
        identities = {name: strict_key(value) for name, value in values.items()}
        for name in self._met.keys() & identities.keys():
            for others, entries in self._met[name].get(identities[name], ()):
                if _are_met(others, identities):
                    found.update(entries)
        return found
