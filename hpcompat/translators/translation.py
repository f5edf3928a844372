"""`translate`: a space in a dialect, with the way there and back for its params."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import repeat
from typing import Any, NamedTuple

from hpcompat.errors import Issue, ParamsError, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Float, Parameter
from hpcompat.space.tree import MISSING, Leaf, assign_active
from hpcompat.space.values import copy_if_mutable, short_repr
from hpcompat.translators import limits
from hpcompat.translators.encoding import AS_IT_IS, ENCODINGS, receiver

DIALECTS = ("optuna", "ray", "sigopt", "wandb")
# ways out that name arguments: the command line has options for them
ENCODE = "translate(…, encode=True) lets it travel; its decode brings the values back"
RANDOM = "use method='random'"
STEP_OR_RANDOM = "give it a step, or use method='random'"


class Level(NamedTuple):
    """How one parameter travels: its dotted name, the level, the form used, and why it is no better."""

    name: str
    level: str
    form: str
    reason: str


class Passage(NamedTuple):
    """One parameter on its way: where it stands, what is written for it, and under which name.

    `rule`: the table's, or a worse one for the name's or a condition's sake. `raw_path`: the name that the
    system knows it by; more than one part only where groups are nested. `stand_in`: the parameter that is
    written: itself, or what `encoding` puts in its place; None if nothing is. `gated`: whether the system
    itself leaves the parameter out where it is not active.
    """

    leaf: Leaf
    rule: limits.Rule
    raw_path: tuple[str, ...]
    stand_in: Parameter | None
    gated: bool

    @property
    def level(self) -> Level:
        """How it travels."""
        return Level(self.leaf.name, self.rule.level, self.rule.form, self.rule.reason)

    @property
    def raw_name(self) -> str:
        return self.raw_path[0] if len(self.raw_path) == 1 else ".".join(self.raw_path)

    @property
    def carried(self) -> bool:
        """Whether the system stores a value for it."""
        return self.stand_in is not None and self.rule.form != "returned"

    def written(self, writers: Mapping[str, Any], stand_ins: Mapping[str, str]) -> str:
        """The name of the writer: the form's own, or the one for the stand-in of an encoding."""
        return self.rule.form if self.rule.form in writers else stand_ins[self.stand_in.kind]  # type: ignore[union-attr]

    def encode(self, value: Any) -> Any:
        return ENCODINGS.get(self.rule.form, AS_IT_IS).encode(self.leaf.parameter, value)

    def decode(self, raw: Any) -> Any:
        return ENCODINGS.get(self.rule.form, AS_IT_IS).decode(self.leaf.parameter, raw)

    def decoder(self) -> Callable[[Any], Any]:
        """`decode`, made ready for many values."""
        if self.rule.form in ENCODINGS:
            return partial(ENCODINGS[self.rule.form].decode, self.leaf.parameter)
        return receiver(self.leaf.parameter)


@dataclass(frozen=True)
class Translation:
    """A space in a dialect.

    `spec` is JSON data: suggest calls for Optuna, domain calls for Ray, `{"parameters", "conditionals"}`
    for SigOpt, the sweep for W&B. `encode` and `decode` turn params into what the system stores, and back.
    """

    space: SearchSpace
    dialect: str
    options: Mapping[str, Any]
    spec: Any
    passages: tuple[Passage, ...]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Whether each parameter is native, equivalent or encoded, and why."""
        return tuple(passage.level for passage in self.passages)

    def encode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Params as the system stores them: raw values by raw name, nested where the dialect nests.

        A name that is not active, and that the system cannot leave out, gets its parameter's median.
        Raises `ParamsError` for params outside the space.

        >>> space = SearchSpace({"batch": Categorical([16, 32])})
        >>> translate(space, "sigopt").encode({"batch": 32})
        {'batch': '32'}
        """
        self.space.validate(params)
        flat = self.space.flatten(params)
        raw: dict[str, Any] = {}
        for passage in self.passages:
            leaf = passage.leaf
            if not passage.carried or (passage.gated and leaf.name not in flat):
                continue
            value = flat[leaf.name] if leaf.name in flat else leaf.parameter.quantile(0.5)
            place = raw
            for part in passage.raw_path[:-1]:
                place = place.setdefault(part, {})
            place[passage.raw_path[-1]] = copy_if_mutable(passage.encode(value))
        return raw

    def decode(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The params that stand behind what the system stored; names it knows nothing of are ignored.

        Raises `ParamsError`, with every issue by name, for a missing or impossible value.

        >>> space = SearchSpace({"batch": Categorical([16, 32])})
        >>> translate(space, "sigopt").decode({"batch": "32"})
        {'batch': 32}
        """
        if not hasattr(raw, "keys"):
            raise ParamsError(
                "these are no params", [Issue("", f"{short_repr(raw)} is no dict", "give a dict by name")]
            )
        issues: list[Issue] = []
        by_name = {passage.leaf.name: passage for passage in self.passages}

        def value_of(leaf: Leaf) -> Any:
            passage = by_name[leaf.name]
            found = dig(raw, passage.raw_path) if passage.carried else leaf.parameter.quantile(0.5)
            try:
                if found is MISSING:
                    raise ParamsError(f"is missing from {short_repr(dict(raw), 120)}")
                return passage.decode(found)
            except ParamsError as error:
                issues.append(Issue(leaf.name, error.message))
                return MISSING

        flat = assign_active(self.space.leaves, value_of)
        if issues:
            raise ParamsError(f"these are no params of the space in its {self.dialect} form", issues)
        return self.space.nest(flat)


def dig(raw: Any, path: tuple[str, ...]) -> Any:
    """The value at a path: nested, or under the flat name that systems join it to; ABSENT if it is nowhere."""
    place = raw
    for part in path:
        if not _has(place, part):
            flat = next((name for name in (".".join(path), "/".join(path)) if _has(raw, name)), None)
            return MISSING if flat is None else raw[flat]
        place = place[part]
    return place


def _has(place: Any, name: str) -> bool:
    # wandb.config answers to keys(), but not every release of it is a Mapping
    return (isinstance(place, Mapping) or hasattr(place, "keys")) and name in place.keys()  # noqa: SIM118


def translate(space: Mapping[str, Any], dialect: str, *, encode: bool = False, **options: Any) -> Translation:
    """A space in a dialect: "optuna", "ray", "sigopt" or "wandb".

    Without `encode` every parameter has a native or an equivalent form, or `TranslationError` lists
    those that have none, with the reason and the way out. With `encode=True` everything travels, and
    `decode` brings it back; two things are still refused: a continuous or weighted parameter under an
    exhaustive method, and a space with nothing to search where the system needs something.

    Options: for Ray `searcher="optuna"` (the form goes to OptunaSearch, not to Ray's own random and grid
    search) or `searcher=True` (to any other search algorithm); for W&B `method`, `metric`, `goal` and
    any other key of a sweep.

    >>> space = SearchSpace({"lr": Float(1e-6, 1e-4, log=True), "depth": Normal(4.0, 1.0, low=1.0)})
    >>> translation = translate(space, "wandb", method="bayes", metric="loss", encode=True)
    >>> [(level.name, level.level, level.form) for level in translation.levels]
    [('lr', 'native', 'log_uniform_values'), ('depth', 'encoded', 'unit')]
    >>> translation.decode({"lr": 1e-5, "depth": 0.5})
    {'lr': 1e-05, 'depth': 4.00...}
    """
    room = room_of(dialect)
    space = space if isinstance(space, SearchSpace) else SearchSpace(space)
    options = room.check_options(options)
    passages = _passages(space, room, room.column(options))
    barred = _NO_WAY if encode else _NOT_EXACT
    if issues := [_refusal(passage) for passage in passages if passage.rule.level in barred]:
        raise TranslationError(f"this space has no exact {dialect} form", issues)
    spec = room.write(passages, options)
    return Translation(space, dialect, options, spec, passages)


def levels(space: Mapping[str, Any], dialect: str, **options: Any) -> tuple[Level, ...]:
    """How each parameter would travel, `refused` included: `translate` without writing anything."""
    room = room_of(dialect)
    space = space if isinstance(space, SearchSpace) else SearchSpace(space)
    column = room.column(room.check_options(options))
    return tuple(passage.level for passage in _passages(space, room, column))


def room_of(dialect: str) -> Any:
    """The module of a dialect. Raises `TranslationError`, saying which there are."""
    if not isinstance(dialect, str) or dialect not in DIALECTS:
        hint = f"one of {', '.join(DIALECTS)}"
        raise TranslationError("unknown dialect", [Issue("", f"{short_repr(dialect)} is no dialect", hint)])
    return import_module(f"hpcompat.translators.{dialect}")


_PASSAGE: Callable[[Iterable[Any]], Passage] = partial(tuple.__new__, Passage)  # without its fields' names: faster
_CHANGED = frozenset(["", *ENCODINGS])  # the forms of what is refused, and of what another parameter stands in for
EMPTY = "add a parameter that varies; a function that suggests as it runs needs backend='optuna'"
"""The way out for an empty space where the system needs something to search."""
_NO_WAY = frozenset(["refused"])
_NOT_EXACT = frozenset(["encoded", "refused"])


def _refusal(passage: Passage) -> Issue:
    name, level, _, reason = passage.level
    if level == "encoded":
        return Issue(name, reason, ENCODE)
    parameter = passage.leaf.parameter
    stepless = isinstance(parameter, Float) and parameter.step is None  # with a step a normal law is weighted still
    return Issue(name, f"{reason}: {short_repr(parameter, 120)}", STEP_OR_RANDOM if stepless else RANDOM)


def _passages(space: SearchSpace, room: Any, column: str) -> tuple[Passage, ...]:
    if not (leaves := space.leaves):
        return ()
    gated, parents = room.gated(space)
    paths, names, parameters, whens, _ = zip(*leaves, strict=True)
    rules = limits.choose_all(parameters, column)
    as_they_are = not parents and not any(whens) and _CHANGED.isdisjoint([rule.form for rule in rules])
    if as_they_are and max(map(len, paths)) == 1 and room.NAMES.take_all(names):  # most spaces: made in one go
        return tuple(map(_PASSAGE, zip(leaves, rules, paths, parameters, repeat(False))))
    return tuple(
        _passage(leaf, parents.get(leaf.name, rule), room, column, leaf.name in gated)
        for leaf, rule in zip(leaves, rules, strict=True)
    )


def _passage(leaf: Leaf, rule: limits.Rule, room: Any, column: str, gated: bool) -> Passage:
    """The passage of a parameter whose name, condition or rule may get in the way."""
    path, name, parameter, when, _ = leaf
    stand_in: Parameter | None = parameter
    if rule.form in ENCODINGS:
        stand_in = ENCODINGS[rule.form].stand_in(parameter)
    elif rule.level == "refused":
        stand_in = None
    if when and not gated:
        rule = _worse(rule, limits.CONDITIONS[column])
    escape = room.NAMES.escape
    raw_path = tuple(map(escape, path)) if room.NESTED else (escape(name),)
    if raw_path != path:
        renamed = raw_path != (name,)
        reason = f"{'it does not take the name, which ' * renamed}travels as {'.'.join(raw_path)!r}"
        rule = _worse(rule, limits.Rule("encoded" if renamed else "equivalent", "", reason))
    return Passage(leaf, rule, raw_path, stand_in, gated)


def _worse(rule: limits.Rule, other: limits.Rule) -> limits.Rule:
    """The rule at the lower of the two levels, for both reasons."""
    worst = max(rule.level, other.level, key=limits.LEVELS.index)
    return rule._replace(level=worst, reason="; ".join(filter(None, (rule.reason, other.reason))))
