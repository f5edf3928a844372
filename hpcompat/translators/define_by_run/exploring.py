"""Which draws decide what else a define-by-run function suggests and returns.

An *entry* is a suggested name or a returned path. For each, draws under which it is there are kept
(its *home*), and one draw at a time is moved through its values from there: under the conjunctions
that a space can express, this gives the whole condition. Which draws are moved:

- those that the function compares with constants, once for each way the comparisons can come out;
- the *suspects*, found out by draws at random: all change at once, and where the outcome is not what
  the conditions so far foretell, halving the difference names the draw that made it.

So a thousand draws that decide nothing cost no more runs than one, and ten independent switches are
moved ten times, not set to all their combinations.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NoReturn, TypeAlias

from hpcompat.space.parameters import Categorical, Parameter
from hpcompat.space.values import short_repr, strict_equal, strict_key
from hpcompat.translators.define_by_run.conditions import Beliefs, Gates, Home, Values, are_open, told
from hpcompat.translators.define_by_run.replaying import MOST_VALUES, Replay
from hpcompat.translators.define_by_run.tracing import Entry, Read, Run
from hpcompat.translators.define_by_run.watching import (
    MOST_LOOKS,
    Look,
    UnwatchableError,
    inexpressible,
    is_watchable,
)

_FEW_VALUES = 20
Feature: TypeAlias = Entry | Look


class Exploration:
    """What is found out about a function, in `replay` and `beliefs`, once `explore` is done."""

    def __init__(self, function: Callable[[Any], Any], read: Read, runs: int, seed: int, watching: bool) -> None:
        self.replay = Replay(function, read, runs, seed, watching)
        self._known: dict[Hashable, Run] = {}
        self._evidence: list[Run] = []
        self._pending: dict[Feature, Values] = {}
        self._looks: dict[Look, None] = {}
        self._homes: dict[Entry, Home] = {}
        self._suspects: dict[str, None] = {}
        self._beliefs: Beliefs | None = None

    @property
    def beliefs(self) -> Beliefs:
        """The condition of every entry."""
        if self._beliefs is None:
            self._beliefs = Beliefs({entry: home.gates[entry] for entry, home in self._homes.items()})
        return self._beliefs

    def explore(self) -> None:
        """Find every entry and its condition. Raises `TranslationError`, and `UnwatchableError`."""
        root, plain = self._run({}), self.replay.run(self.replay.at({}))
        if root.entries != plain.entries or root.params() != plain.params():
            raise self.replay.unlike(plain, self.replay.call(self.replay.at({})))
        self._note(root, {})
        most = 256 if self.replay.watching else 1_000
        enough = max(32, min(most, 16_000 // max(1, len(root.values))))
        drawn = clean = learned_from = 0
        while True:
            if self._learn(learned_from):
                clean = 0
            elif drawn >= enough and clean >= enough // 4:
                if not self._learn(0):  # what was learned late must hold of the early runs too
                    return
                clean = 0
            learned_from = len(self._evidence)
            conditions = self.beliefs.distinct  # in turn, so that the rarest is drawn under as often as any
            run = self.replay.run(self.replay.at_random(conditions[drawn % len(conditions)]))
            self._evidence.append(run)
            self._note(run, run.values)
            drawn, clean = drawn + 1, clean + 1

    def _run(self, fixed: Values) -> Run:
        key = self.replay.unusual(fixed)
        if key not in self._known:
            self._known[key] = self.replay.run(self.replay.at(fixed), self.replay.watching)
            self._evidence.append(self._known[key])
        return self._known[key]

    # -- finding homes, and moving draws from there ---------------------------------------------------

    def _note(self, run: Run, fixed: Values) -> None:
        for feature in _features(run):
            if feature not in self._homes and feature not in self._looks:
                self._pending.setdefault(feature, fixed)

    def _settle(self) -> None:
        """Give everything seen so far a home, several at once where their draws allow it."""
        while self._pending:
            feature, fixed = next(iter(self._pending.items()))
            merged = self._merged(fixed)
            run = self._run(merged)
            if feature not in _features(run):
                merged, run = fixed, self._run(fixed)
            if feature not in _features(run):
                again = self.replay.at(fixed)
                raise self.replay.unlike(self.replay.call(again), self.replay.call(again))
            entries = [entry for entry in run.ordered() if entry not in self._homes]
            looks = [each for seen in run.looks.values() for each in seen if each not in self._looks]
            home = Home({name: value for name, value in merged.items() if name in run.values}, run, entries)
            self._homes |= dict.fromkeys(entries, home)
            self._looks |= dict.fromkeys(looks)
            self._beliefs = None
            for settled in (*entries, *looks):
                self._pending.pop(settled, None)
            compared = {look.name for look in (self._looks if entries else looks)}
            for name in run.values:
                if name in compared or (entries and name in self._suspects):
                    self._move(home, name)

    def _merged(self, fixed: Values) -> Values:
        merged = dict(fixed)
        for other in {id(each): each for each in list(self._pending.values())[:200]}.values():
            if all(name not in merged or strict_equal(merged[name], value) for name, value in other.items()):
                merged.update(other)
        return merged

    def _move(self, home: Home, name: str) -> None:
        """Set one draw to each of its values, or once for all that the function cannot tell apart."""
        if self.replay.parameters[name].size > MOST_VALUES:
            return self._probe(home, name)
        waiting = dict(self.replay.supports[name])
        classes = []
        run = home.run
        while True:
            alike = self._alike(run, name, waiting)
            classes.append((frozenset(alike), run))
            for key in alike:
                del waiting[key]
            if not waiting:
                break
            # the last value first: a loop over an int shows all its children at once
            fixed = {**home.fixed, name: next(reversed(waiting.values()))}
            run = self._run(fixed)
            self._note(run, fixed)
        home.move(name, classes)
        self._beliefs = None

    def _alike(self, run: Run, name: str, among: Mapping[Hashable, Any]) -> list[Hashable]:
        """The values with which the function would have done the same, for all that was seen of it."""
        if name not in run.values:
            raise self.replay.unlike(run, run)
        value, looks = run.values[name], run.looks.get(name, {})
        if name in self._suspects or not is_watchable(value) or len(looks) >= MOST_LOOKS:
            return [strict_key(value)]
        answers = [look.answer(value) for look in looks]
        return [
            key
            for key, other in among.items()
            if is_watchable(other) and [look.answer(other) for look in looks] == answers
        ]

    def _probe(self, home: Home, name: str) -> None:
        """Too many values to try them all: see that no comparison that was made changes anything."""
        for look in home.run.looks.get(name, ()):
            for value in _around(self.replay.parameters[name], look.other):
                run = self._run({**home.fixed, name: value})
                for entry in sorted(run.entries ^ home.run.entries, key=title):
                    self._refuse_wide(name, entry)

    # -- learning from runs that were not foretold ------------------------------------------------------

    def _learn(self, since: int) -> bool:
        """See that the conditions foretell the runs from this one on; where they do not, learn. True if so."""
        learned = bool(self._pending)
        self._settle()
        while since < len(self._evidence):
            while not self._agrees(self._evidence[since]):
                learned = True
                self._settle()
            since += 1
        return learned

    def _agrees(self, run: Run) -> bool:
        expected = self.beliefs.foretell(run.values)
        if missing := expected - run.entries:
            self._learn_from_absence(min(missing, key=title), run)
        elif extra := run.entries - expected:
            self._learn_from_presence(min(extra, key=title), run)
        return expected == run.entries

    def _learn_from_presence(self, entry: Entry, run: Run) -> None:
        closed = [name for name, keys in self.beliefs.gates[entry].items() if not are_open({name: keys}, run.values)]
        unsure = [name for name in closed if name not in self._suspects]
        if not unsure:
            self._refuse_condition(entry, self._homes[entry].run, run)
        for name in unsure:
            self._suspect(name, entry)

    def _learn_from_absence(self, entry: Entry, run: Run) -> None:
        home = self._homes[entry].run
        name, before, _ = self.replay.blame(home, run, lambda run: entry in run.entries)
        if name in self._suspects:
            self._refuse_condition(entry, home, before)
        self._suspect(name, entry)

    def _suspect(self, name: str, entry: Entry) -> None:
        if self.replay.parameters[name].size > MOST_VALUES:
            self._refuse_wide(name, entry)
        self._suspects[name] = None
        for home in {id(each): each for each in self._homes.values()}.values():
            if name in home.run.values:
                self._move(home, name)

    # -- refusing -----------------------------------------------------------------------------------------

    def _refuse_wide(self, name: str, entry: Entry) -> NoReturn:
        size = self.replay.parameters[name].size
        many = "is continuous" if size == math.inf else f"has {size} values, more than {MOST_VALUES}"
        reason = f"decides whether {title(entry)!r} is there, but {many}"
        raise inexpressible(name, reason, "let a suggest_categorical, or an int of fewer values, decide")

    def _refuse_condition(self, entry: Entry, one: Run, other: Run) -> NoReturn:
        """Both runs have the entry, and what it needs differs between them; the first is its home."""
        again = self.replay.call(self.replay.at(other.values))
        if again.entries != other.entries:
            raise self.replay.unlike(again, self.replay.call(self.replay.at(other.values)))
        needs = self._needs(entry, one)
        believed = self.beliefs.gates[entry]
        if self.replay.watching and any(needs.get(name) != keys for name, keys in believed.items()):
            raise UnwatchableError
        reason = f"is there {self._told(needs, one)}, and also {self._told(self._needs(entry, other), other)}"
        hint = "a condition is a set of values for each parent, all of which must hold; use a name for each case"
        raise inexpressible(title(entry), reason, hint)

    def _needs(self, entry: Entry, run: Run) -> Gates:
        """What an entry needs of each draw around a run, by plain draws."""
        home = Home(run.values, run, [entry])
        deciding = {*self._suspects, *(look.name for look in self._looks)}
        for name in run.values:
            size = self.replay.parameters[name].size
            if size <= (MOST_VALUES if name in deciding else _FEW_VALUES):
                classes = [
                    (frozenset((key,)), self.replay.call(self.replay.at({**run.values, name: value})))
                    for key, value in self.replay.supports[name].items()
                ]
                home.move(name, classes)
        return home.gates[entry]

    def _told(self, gates: Gates, run: Run) -> str:
        if gates:
            return f"where {told(gates, self.replay.supports)}"
        discrete = {
            name: value for name, value in run.values.items() if self.replay.parameters[name].size <= MOST_VALUES
        }
        return f"with {short_repr(discrete, 120)}"


def title(entry: Entry) -> str:
    """An entry as messages name it."""
    return entry if isinstance(entry, str) else ".".join(entry)


def _features(run: Run) -> dict[Feature, None]:
    looks = (look for looks in run.looks.values() for look in looks)
    return dict.fromkeys((*run.ordered(), *looks))


def _around(parameter: Parameter, other: Any) -> list[Any]:
    """The parameter's values at a constant and on both sides of it."""
    if isinstance(parameter, Categorical) or not isinstance(other, (int, float)):
        return [other] if parameter.contains(other) else []
    if parameter.support is not None:
        index = bisect_left(parameter.support, other)
        return [parameter.support[each] for each in (index - 1, index, index + 1) if 0 <= each < parameter.size]
    try:
        at = float(other)
    except OverflowError:
        return []
    near = (math.nextafter(at, -math.inf), at, math.nextafter(at, math.inf))
    return [each for each in near if parameter.contains(each)]
