"""A define-by-run function called with chosen draws, and what its runs say of conditions or contradict."""

from __future__ import annotations

import marshal
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from hpcompat.errors import TranslationError
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import short_repr, strict_equal, strict_key
from hpcompat.translators.optuna.define_by_run import tracer
from hpcompat.translators.optuna.define_by_run.instrumentation import (
    InstrumentationError,
    inexpressible_error,
    unreadable_error,
)
from hpcompat.translators.optuna.define_by_run.tracer import (
    Choose,
    DrawRef,
    Entry,
    Path,
    Read,
    Run,
    conflicting_ranges_error,
)

Values: TypeAlias = Mapping[str, object]
Conditions: TypeAlias = dict[str, frozenset[Hashable]]
"""By the name of a draw: the values, by identity, under which an entry is there."""


def are_met(conditions: Conditions, values: Values) -> bool:
    """Whether these draws were made, and have such values."""
    return _are_met(conditions, {name: strict_key(values[name]) for name in conditions if name in values})


def _are_met(conditions: Conditions, identities: Mapping[str, Hashable]) -> bool:
    return all(name in identities and identities[name] in keys for name, keys in conditions.items())


def describe(conditions: Conditions, supports: Mapping[str, Mapping[Hashable, object]]) -> str:
    """Return conditions as a message says them."""
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
        self.always = frozenset(entry for entry, needed in conditions.items() if not needed)
        shared: dict[Hashable, tuple[Conditions, list[Entry]]] = {}
        for entry, needed in conditions.items():
            shared.setdefault(frozenset(needed.items()), (needed, []))[1].append(entry)
        self.distinct: list[Conditions] = [needed for needed, _ in shared.values()] or [{}]
        # by the value of one parent: only the conditions that it meets need a look
        self._met: dict[str, dict[Hashable, list[tuple[Conditions, list[Entry]]]]] = {}
        for needed, entries in shared.values():
            if needed:
                innermost = next(reversed(needed))
                others = {name: keys for name, keys in needed.items() if name != innermost}
                met = self._met.setdefault(innermost, {})
                for key in needed[innermost]:
                    met.setdefault(key, []).append((others, entries))

    def predict(self, values: Values) -> set[Entry]:
        """Return the entries that go with these draws."""
        found = set(self.always)
        identities = {name: strict_key(value) for name, value in values.items()}
        for name in self._met.keys() & identities.keys():
            for others, entries in self._met[name].get(identities[name], ()):
                if _are_met(others, identities):
                    found.update(entries)
        return found


MAX_VALUES = 1_000
MAX_DRAWS = 5_000_000


@dataclass
class DerivedValue:
    """A returned value that is worked out from one discrete draw: 2 ** trial.suggest_int(…).

    `values`: what is returned, by the identity of the drawn value; `error`: raised where more than that
    draw decides.
    """

    draw: str
    error: TranslationError
    values: dict[Hashable, object] = field(default_factory=dict)

    def add(self, run: Run, path: Path) -> None:
        """Take in what a run returned."""
        if self.draw not in run.values:
            raise self.error
        value = run.value(path)
        if not strict_equal(self.values.setdefault(strict_key(run.values[self.draw]), value), value):
            raise self.error


class Replay:
    """A function to call, within a budget of runs, and what its runs have in common.

    `parameters` by suggested name; `sources`: what each returned path has been in every run, draws by
    name or a constant, and nothing where it is worked out: see `derived_values`; `first`: a run in which each entry
    is there; `returns_none`: it returns None; `runs`: how many so far.
    """

    def __init__(self, function: Callable[..., object], read: Read, budget: int, seed: int, instrumented: bool) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.sources: dict[Path, frozenset[Hashable]] = {}
        self.derived_values: dict[Path, DerivedValue] = {}
        self.first: dict[Entry, Run] = {}
        self.returns_none = False
        self.instrumented = instrumented
        self.values_by_key = _ValuesByKey(self.parameters)
        self._function, self._read, self._budget = function, _cache_by_arguments(read), budget
        self.runs = 0
        self._draws = 0
        self._rng = random.Random(seed)
        self._usual: dict[str, object] = {}
        self._decks: dict[str, list[object]] = {}

    def run(self, choose: Choose, instrumented: bool = False) -> Run:
        """Call the function, and see that what it does goes with what it did before."""
        run = self.call(choose, instrumented)
        if self.runs == 1:
            self.returns_none = run.returned is None
        if (run.returned is None) is not self.returns_none:
            reason = "it returns params for some draws and nothing for others"
            raise unreadable_error("", reason, "return the params every time")
        for entry in run.entries:
            self.first.setdefault(entry, run)
        for name, parameter in run.parameters.items():
            if self.parameters[name] is not parameter and self.parameters[name] != parameter:
                self._refuse_ranges(name, run)
        for path in run.returned or ():
            before = self.sources.get(path)
            if path in self.derived_values:
                self.derived_values[path].add(run, path)
            elif before is None:
                self.sources[path] = _sources(path, run)
            elif not (len(before) == 1 and _is_draw(next(iter(before)), path, run)):
                self.sources[path] = before & _sources(path, run)
                if not self.sources[path]:
                    self._derive(path, before, run)
        return run

    def complete_derived_values(self) -> None:
        """See what is worked out from each value of a draw, twice: beside different other draws."""
        for path, derived in self.derived_values.items():
            baseline = self.first[path].values
            for key, value in self.values_by_key[derived.draw].items():
                self.run(self.fixed({**baseline, derived.draw: value}))
                self.run(self.random({derived.draw: frozenset((key,))}))
            values = {strict_key(value) for value in derived.values.values()}
            if not len(values) == len(derived.values) == len(self.values_by_key[derived.draw]):
                raise derived.error  # two draws come to one value, or it is not there for each of them

    def call(self, choose: Choose, instrumented: bool = False) -> Run:
        """Call the function. Raises `TranslationError` when the budget is spent."""
        if self.runs >= self._budget or self._draws >= MAX_DRAWS:
            reason = f"{self.runs} runs with {self._draws} draws do not settle its conditions"
            raise inexpressible_error("", reason, "make fewer of them, allow more runs, or write the SearchSpace down")
        self.runs += 1

        def choose_known(name: str, parameter: Parameter) -> object:
            known = self.parameters.setdefault(name, parameter)
            if known is parameter or known == parameter:
                return choose(name, parameter)
            return parameter.quantile(0.5)  # another range than before: `run` says so

        run = tracer.trace_call(self._function, self.runs, choose_known, self._read, instrumented=instrumented)
        self._draws += len(run.values)
        return run

    def fixed(self, fixed: Values) -> Choose:
        """Return what chooses these draws, and all others as they were first drawn."""

        def choose(name: str, parameter: Parameter) -> object:
            if name in fixed:
                return fixed[name]
            if name not in self._usual:
                self._usual[name] = parameter.quantile(self._rng.random())
            return self._usual[name]

        return choose

    def run_key(self, fixed: Values) -> Hashable:
        """Equal for draws that lead to the same run."""
        return frozenset(
            (name, strict_key(value))
            for name, value in fixed.items()
            if name not in self._usual or not strict_equal(value, self._usual[name])
        )

    def random(self, conditions: Conditions) -> Choose:
        """Return what chooses draws that meet the conditions; of other draws each value before one comes again."""

        def choose(name: str, parameter: Parameter) -> object:
            if name in conditions:
                return self._rng.choice(
                    [value for key, value in self.values_by_key[name].items() if key in conditions[name]]
                )
            if parameter.size > MAX_VALUES:
                return parameter.quantile(self._rng.random())
            if not self._decks.get(name):
                self._decks[name] = list(self.values_by_key[name].values())
                self._rng.shuffle(self._decks[name])
            return self._decks[name].pop()

        return choose

    def bisect(self, start: Run, end: Run, sign: Callable[[Run], bool]) -> tuple[str, Run, Run]:
        """Return the draw whose step from its value in `start` to that in `end` changes the sign.

        With it come the runs before and after that step. The draws are moved one after the other;
        the step is found by halving.
        """
        names = [
            name
            for name, value in end.values.items()
            if (name not in start.values or not strict_equal(start.values[name], value))
            and self.parameters[name].contains(value)
        ]

        def between(count: int) -> Run:
            return self.call(self.fixed({**start.values, **{name: end.values[name] for name in names[:count]}}))

        low, high = 0, len(names)
        before, after = between(low), between(high)
        if not names or sign(before) is not sign(start) or sign(after) is not sign(end) or sign(start) is sign(end):
            raise self.nondeterminism_error(before, between(low))
        while high - low > 1:
            middle = (low + high) // 2
            run = between(middle)
            if sign(run) is sign(start):
                low, before = middle, run
            else:
                high, after = middle, run
        return names[low], before, after

    def nondeterminism_error(self, one: Run, other: Run) -> Exception:
        """Return the error of a function that did something else in two runs with the same draws."""
        if self.instrumented and one.entries == other.entries and one.params() == other.params():
            return InstrumentationError()
        reason = "it does not do the same for the same draws"
        hint = "let the draws alone decide: no random numbers, no trial.number, nothing kept from call to call"
        return inexpressible_error("", reason, hint)

    def _refuse_ranges(self, name: str, run: Run) -> NoReturn:
        known, other = self.parameters[name], run.parameters[name]
        cause, before, after = self.bisect(self.first[name], run, lambda run: run.parameters.get(name, known) == known)
        at = f" where {cause!r} is "
        first = at + short_repr(before.values[cause]) if cause in before.values else ""
        raise conflicting_ranges_error(name, known, other, (first, at + short_repr(after.values.get(cause))))

    def _derive(self, path: Path, before: frozenset[Hashable], run: Run) -> None:
        """Add the derived value of a path that is neither a draw nor a constant. Raises where it cannot be one."""

        def explained(run: Run) -> bool:
            return path not in (run.returned or ()) or bool(before & _sources(path, run))

        cause, *runs = self.bisect(self.first[path], run, explained)
        found = [(run.value(path), run) for run in runs if path in (run.returned or ()) and cause in run.values]
        at = [f"{short_repr(value)} where {cause!r} is {short_repr(run.values[cause])}" for value, run in found]
        draws = {name for value, run in found for name in run.draws_of(value)}
        if draws and not draws & {cause}:
            reason = f"is now the draw {min(draws)!r}, now something else: {', '.join(at)}"
            hint = "a key is one draw or one constant; give the other a key of its own, or leave it out there"
        else:
            reason = f"is worked out from draws: it is {', '.join(at)}"
            hint = "return the draw itself, and work this out where the params are used"
        derived = DerivedValue(cause, inexpressible_error(".".join(path), reason, hint))
        parameter = self.parameters[cause]
        if parameter.size > MAX_VALUES or getattr(parameter, "log", False):
            raise derived.error
        for known_run in (self.first[path], run):
            derived.add(known_run, path)
        self.derived_values[path] = derived


class _ValuesByKey(dict[str, dict[Hashable, Any]]):
    """The values of discrete draws, by name, by their identity."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters

    def __missing__(self, name: str) -> dict[Hashable, Any]:
        self[name] = {strict_key(value): value for value in self._parameters[name].support or ()}
        return self[name]


def _sources(path: Path, run: Run) -> frozenset[Hashable]:
    """Return what a returned value can be: draws of that value, by name, or a constant, by identity in a tuple."""
    value = (run.returned or {})[path]
    return frozenset((value.name,)) if isinstance(value, DrawRef) else run.draws_of(value) | {(strict_key(value),)}


def _is_draw(source: Hashable, path: Path, run: Run) -> bool:
    if source not in run.values:
        return False
    value = (run.returned or {})[path]
    return value.name == source if isinstance(value, DrawRef) else strict_equal(value, run.values[source])


def _cache_by_arguments(read: Read) -> Read:
    """Return the reader with a cache: reading a call takes longer than the call."""
    known: dict[bytes, Parameter] = {}

    def cached(call: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Parameter:
        try:
            arguments: Any = call, args, kwargs
            key = marshal.dumps(arguments, 2)  # the quickest way to tell 1, 1.0 and True apart
        except ValueError:
            return read(call, args, kwargs)
        if key not in known:
            known[key] = read(call, args, kwargs)
        return known[key]

    return cached
