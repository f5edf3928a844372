"""Which draws decide what else a define-by-run function suggests and returns.

An *entry* is a suggested name or a returned path. For each, draws under which it is there are kept
(its *baseline*), and one draw at a time is moved through its values from there: under the conjunctions
that a space can express, this gives the whole condition. Which draws are moved:

- those that the function compares with constants, once for each way the comparisons can come out;
- the *suspects*, found out by draws at random: all change at once, and where the outcome is not what
  the conditions so far predict, halving the difference names the draw that made it.

So a thousand draws that decide nothing cost no more runs than one, and ten independent switches are
moved ten times, not set to all their combinations.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping
from typing import NoReturn, TypeAlias

from hpcompat.space.parameters import Categorical, Parameter
from hpcompat.space.values import short_repr, strict_equal, strict_key
from hpcompat.translators.optuna.define_by_run.instrumentation import (
    MAX_COMPARISONS,
    Comparison,
    InstrumentationError,
    can_instrument,
    inexpressible_error,
)
from hpcompat.translators.optuna.define_by_run.replay import (
    MAX_VALUES,
    ActivationModel,
    Baseline,
    Conditions,
    Replay,
    Values,
    are_met,
    describe,
)
from hpcompat.translators.optuna.define_by_run.tracer import Entry, Read, Run

_FEW_VALUES = 20
Feature: TypeAlias = Entry | Comparison


class Explorer:
    """What is found out about a function, in `replay` and `model`, once `explore` is done."""

    def __init__(self, function: Callable[..., object], read: Read, runs: int, seed: int, instrumented: bool) -> None:
        self.replay = Replay(function, read, runs, seed, instrumented)
        self._known: dict[Hashable, Run] = {}
        self._evidence: list[Run] = []
        self._pending: dict[Feature, Values] = {}
        self._comparisons: dict[Comparison, None] = {}
        self._baselines: dict[Entry, Baseline] = {}
        self._suspects: dict[str, None] = {}
        self._model: ActivationModel | None = None

    @property
    def model(self) -> ActivationModel:
        """The condition of every entry."""
        if self._model is None:
            self._model = ActivationModel(
                {entry: baseline.conditions[entry] for entry, baseline in self._baselines.items()}
            )
        return self._model

    def explore(self) -> None:
        """Find every entry and its condition. Raises `TranslationError`, and `InstrumentationError`."""
        root, plain = self._run({}), self.replay.run(self.replay.fixed({}))
        if root.entries != plain.entries or root.params() != plain.params():
            raise self.replay.nondeterminism_error(plain, self.replay.call(self.replay.fixed({})))
        self._enqueue(root, {})
        most = 256 if self.replay.instrumented else 1_000
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
            conditions = self.model.distinct  # in turn, so that the rarest is drawn under as often as any
            run = self.replay.run(self.replay.random(conditions[drawn % len(conditions)]))
            self._evidence.append(run)
            self._enqueue(run, run.values)
            drawn, clean = drawn + 1, clean + 1

    def _run(self, fixed: Values) -> Run:
        key = self.replay.run_key(fixed)
        if key not in self._known:
            self._known[key] = self.replay.run(self.replay.fixed(fixed), self.replay.instrumented)
            self._evidence.append(self._known[key])
        return self._known[key]

    # -- finding baselines, and moving draws from there ---------------------------------------------------

    def _enqueue(self, run: Run, fixed: Values) -> None:
        for feature in _features(run):
            if feature not in self._baselines and feature not in self._comparisons:
                self._pending.setdefault(feature, fixed)

    def _assign_baselines(self) -> None:
        """Give everything seen so far a baseline, several entries at once where their draws allow it."""
        while self._pending:
            feature, fixed = next(iter(self._pending.items()))
            merged = self._merged(fixed)
            run = self._run(merged)
            if feature not in _features(run):
                merged, run = fixed, self._run(fixed)
            if feature not in _features(run):
                again = self.replay.fixed(fixed)
                raise self.replay.nondeterminism_error(self.replay.call(again), self.replay.call(again))
            entries = [entry for entry in run.ordered() if entry not in self._baselines]
            comparisons = [
                comparison
                for seen in run.comparisons.values()
                for comparison in seen
                if comparison not in self._comparisons
            ]
            baseline = Baseline({name: value for name, value in merged.items() if name in run.values}, run, entries)
            self._baselines |= dict.fromkeys(entries, baseline)
            self._comparisons |= dict.fromkeys(comparisons)
            self._model = None
            for settled in (*entries, *comparisons):
                self._pending.pop(settled, None)
            compared = {comparison.name for comparison in (self._comparisons if entries else comparisons)}
            for name in run.values:
                if name in compared or (entries and name in self._suspects):
                    self._vary(baseline, name)

    def _merged(self, fixed: Values) -> Values:
        merged = dict(fixed)
        for other in {id(pending): pending for pending in list(self._pending.values())[:200]}.values():
            if all(name not in merged or strict_equal(merged[name], value) for name, value in other.items()):
                merged.update(other)
        return merged

    def _vary(self, baseline: Baseline, name: str) -> None:
        """Set one draw to each of its values, or once for all that the function cannot tell apart."""
        if self.replay.parameters[name].size > MAX_VALUES:
            return self._probe(baseline, name)
        waiting = dict(self.replay.values_by_key[name])
        classes = []
        run = baseline.run
        while True:
            alike = self._indistinguishable(run, name, waiting)
            classes.append((frozenset(alike), run))
            for key in alike:
                del waiting[key]
            if not waiting:
                break
            # the last value first: a loop over an int shows all its children at once
            fixed = {**baseline.fixed, name: next(reversed(waiting.values()))}
            run = self._run(fixed)
            self._enqueue(run, fixed)
        baseline.vary(name, classes)
        self._model = None

    def _indistinguishable(self, run: Run, name: str, among: Mapping[Hashable, object]) -> list[Hashable]:
        """Return the values with which the function would have done the same, for all that was seen of it."""
        if name not in run.values:
            raise self.replay.nondeterminism_error(run, run)
        value, comparisons = run.values[name], run.comparisons.get(name, {})
        if name in self._suspects or not can_instrument(value) or len(comparisons) >= MAX_COMPARISONS:
            return [strict_key(value)]
        answers = [comparison.answer(value) for comparison in comparisons]
        return [
            key
            for key, other in among.items()
            if can_instrument(other) and [comparison.answer(other) for comparison in comparisons] == answers
        ]

    def _probe(self, baseline: Baseline, name: str) -> None:
        """Too many values to try them all: see that no comparison that was made changes anything."""
        for comparison in baseline.run.comparisons.get(name, ()):
            for value in _neighbours(self.replay.parameters[name], comparison.other):
                run = self._run({**baseline.fixed, name: value})
                for entry in sorted(run.entries ^ baseline.run.entries, key=entry_name):
                    self._refuse_wide(name, entry)

    # -- learning from runs that were not predicted ------------------------------------------------------

    def _learn(self, since: int) -> bool:
        """Learn from the runs from this one on that the conditions do not predict. Return whether there was any."""
        learned = bool(self._pending)
        self._assign_baselines()
        while since < len(self._evidence):
            while not self._agrees(self._evidence[since]):
                learned = True
                self._assign_baselines()
            since += 1
        return learned

    def _agrees(self, run: Run) -> bool:
        expected = self.model.predict(run.values)
        if missing := expected - run.entries:
            self._learn_from_absence(min(missing, key=entry_name), run)
        elif extra := run.entries - expected:
            self._learn_from_presence(min(extra, key=entry_name), run)
        return expected == run.entries

    def _learn_from_presence(self, entry: Entry, run: Run) -> None:
        closed = [name for name, keys in self.model.conditions[entry].items() if not are_met({name: keys}, run.values)]
        unsure = [name for name in closed if name not in self._suspects]
        if not unsure:
            self._refuse_condition(entry, self._baselines[entry].run, run)
        for name in unsure:
            self._suspect(name, entry)

    def _learn_from_absence(self, entry: Entry, run: Run) -> None:
        baseline = self._baselines[entry].run
        name, before, _ = self.replay.bisect(baseline, run, lambda run: entry in run.entries)
        if name in self._suspects:
            self._refuse_condition(entry, baseline, before)
        self._suspect(name, entry)

    def _suspect(self, name: str, entry: Entry) -> None:
        if self.replay.parameters[name].size > MAX_VALUES:
            self._refuse_wide(name, entry)
        self._suspects[name] = None
        for baseline in {id(baseline): baseline for baseline in self._baselines.values()}.values():
            if name in baseline.run.values:
                self._vary(baseline, name)

    # -- refusing -----------------------------------------------------------------------------------------

    def _refuse_wide(self, name: str, entry: Entry) -> NoReturn:
        size = self.replay.parameters[name].size
        many = "is continuous" if size == math.inf else f"has {size} values, more than {MAX_VALUES}"
        reason = f"decides whether {entry_name(entry)!r} is there, but {many}"
        raise inexpressible_error(name, reason, "let a suggest_categorical, or an int of fewer values, decide")

    def _refuse_condition(self, entry: Entry, one: Run, other: Run) -> NoReturn:
        """Both runs have the entry, and what it needs differs between them; the first is its baseline."""
        again = self.replay.call(self.replay.fixed(other.values))
        if again.entries != other.entries:
            raise self.replay.nondeterminism_error(again, self.replay.call(self.replay.fixed(other.values)))
        needs = self._conditions_around(entry, one)
        believed = self.model.conditions[entry]
        if self.replay.instrumented and any(needs.get(name) != keys for name, keys in believed.items()):
            raise InstrumentationError
        others = self._conditions_around(entry, other)
        reason = f"is there {self._describe(needs, one)}, and also {self._describe(others, other)}"
        hint = "a condition is a set of values for each parent, all of which must hold; use a name for each case"
        raise inexpressible_error(entry_name(entry), reason, hint)

    def _conditions_around(self, entry: Entry, run: Run) -> Conditions:
        """Return what an entry needs of each draw around a run, by plain draws."""
        baseline = Baseline(run.values, run, [entry])
        deciding = {*self._suspects, *(comparison.name for comparison in self._comparisons)}
        for name in run.values:
            size = self.replay.parameters[name].size
            if size <= (MAX_VALUES if name in deciding else _FEW_VALUES):
                classes = [
                    (frozenset((key,)), self.replay.call(self.replay.fixed({**run.values, name: value})))
                    for key, value in self.replay.values_by_key[name].items()
                ]
                baseline.vary(name, classes)
        return baseline.conditions[entry]

    def _describe(self, conditions: Conditions, run: Run) -> str:
        if conditions:
            return f"where {describe(conditions, self.replay.values_by_key)}"
        discrete = {
            name: value for name, value in run.values.items() if self.replay.parameters[name].size <= MAX_VALUES
        }
        return f"with {short_repr(discrete, 120)}"


def entry_name(entry: Entry) -> str:
    """Return the name of an entry for messages."""
    return entry if isinstance(entry, str) else ".".join(entry)


def _features(run: Run) -> dict[Feature, None]:
    comparisons = (comparison for comparisons in run.comparisons.values() for comparison in comparisons)
    return dict.fromkeys((*run.ordered(), *comparisons))


def _neighbours(parameter: Parameter, other: object) -> list[object]:
    """Return the parameter's values at a constant and on both sides of it."""
    if isinstance(parameter, Categorical) or not isinstance(other, (int, float)):
        return [other] if parameter.contains(other) else []
    if parameter.support is not None:
        index = bisect_left(parameter.support, other)
        return [parameter.support[near] for near in (index - 1, index, index + 1) if 0 <= near < parameter.size]
    try:
        at = float(other)
    except OverflowError:
        return []
    near = (math.nextafter(at, -math.inf), at, math.nextafter(at, math.inf))
    return [value for value in near if parameter.contains(value)]
