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
from hpcompat.translators import capabilities
from hpcompat.translators.codecs import CODECS, IDENTITY, make_normalizer

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


class FieldMapping(NamedTuple):
    """One parameter on its way: where it stands, what is written for it, and under which name.

    `rule`: the table's, or a worse one for the name's or a condition's sake. `raw_path`: the name that the
    system knows it by; more than one part only where groups are nested. `stand_in`: the parameter that is
    written: itself, or what `encoding` puts in its place; None if nothing is. `gated`: whether the system
    itself leaves the parameter out where it is not active.
    """

    leaf: Leaf
    rule: capabilities.Rule
    native_path: tuple[str, ...]
    proxy: Parameter | None
    has_native_condition: bool

    @property
    def level(self) -> Level:
        """How it travels."""
        return Level(self.leaf.name, self.rule.level, self.rule.form, self.rule.reason)

    @property
    def native_name(self) -> str:
        return self.native_path[0] if len(self.native_path) == 1 else ".".join(self.native_path)

    @property
    def is_stored(self) -> bool:
        """Whether the system stores a value for it."""
        return self.proxy is not None and self.rule.form != "returned"

    def writer_key(self, writers: Mapping[str, Any], stand_ins: Mapping[str, str]) -> str:
        """The name of the writer: the form's own, or the one for the stand-in of an encoding."""
        return self.rule.form if self.rule.form in writers else stand_ins[self.proxy.kind]  # type: ignore[union-attr]

    def encode(self, value: Any) -> Any:
        return CODECS.get(self.rule.form, IDENTITY).encode(self.leaf.parameter, value)

    def decode(self, raw: Any) -> Any:
        return CODECS.get(self.rule.form, IDENTITY).decode(self.leaf.parameter, raw)

    def make_decoder(self) -> Callable[[Any], Any]:
        """`decode`, made ready for many values."""
        if self.rule.form in CODECS:
            return partial(CODECS[self.rule.form].decode, self.leaf.parameter)
        return make_normalizer(self.leaf.parameter)


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
    fields: tuple[FieldMapping, ...]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Whether each parameter is native, equivalent or encoded, and why."""
        return tuple(field.level for field in self.fields)

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
        for field in self.fields:
            leaf = field.leaf
            if not field.is_stored or (field.has_native_condition and leaf.name not in flat):
                continue
            value = flat[leaf.name] if leaf.name in flat else leaf.parameter.quantile(0.5)
            place = raw
            for part in field.native_path[:-1]:
                place = place.setdefault(part, {})
            place[field.native_path[-1]] = copy_if_mutable(field.encode(value))
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
        by_name = {field.leaf.name: field for field in self.fields}

        def value_of(leaf: Leaf) -> Any:
            field = by_name[leaf.name]
            found = get_path(raw, field.native_path) if field.is_stored else leaf.parameter.quantile(0.5)
            try:
                if found is MISSING:
                    raise ParamsError(f"is missing from {short_repr(dict(raw), 120)}")
                return field.decode(found)
            except ParamsError as error:
                issues.append(Issue(leaf.name, error.message))
                return MISSING

        flat = assign_active(self.space.leaves, value_of)
        if issues:
            raise ParamsError(f"these are no params of the space in its {self.dialect} form", issues)
        return self.space.nest(flat)


def get_path(raw: Any, path: tuple[str, ...]) -> Any:
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
    room = get_dialect(dialect)
    space = space if isinstance(space, SearchSpace) else SearchSpace(space)
    options = room.parse_options(options)
    fields = _map_fields(space, room, room.variant(options))
    barred = _UNSUPPORTED if encode else _INEXACT
    if issues := [_unsupported_issue(field) for field in fields if field.rule.level in barred]:
        raise TranslationError(f"this space has no exact {dialect} form", issues)
    spec = room.write(fields, options)
    return Translation(space, dialect, options, spec, fields)


def levels(space: Mapping[str, Any], dialect: str, **options: Any) -> tuple[Level, ...]:
    """How each parameter would travel, `refused` included: `translate` without writing anything."""
    room = get_dialect(dialect)
    space = space if isinstance(space, SearchSpace) else SearchSpace(space)
    column = room.variant(room.parse_options(options))
    return tuple(field.level for field in _map_fields(space, room, column))


def get_dialect(dialect: str) -> Any:
    """The module of a dialect. Raises `TranslationError`, saying which there are."""
    if not isinstance(dialect, str) or dialect not in DIALECTS:
        hint = f"one of {', '.join(DIALECTS)}"
        raise TranslationError("unknown dialect", [Issue("", f"{short_repr(dialect)} is no dialect", hint)])
    return import_module(f"hpcompat.translators.{dialect}")


_FIELD: Callable[[Iterable[Any]], FieldMapping] = partial(
    tuple.__new__, FieldMapping
)  # without its fields' names: faster
_CHANGED = frozenset(["", *CODECS])  # the forms of what is refused, and of what another parameter stands in for
EMPTY = "add a parameter that varies; a function that suggests as it runs needs backend='optuna'"
"""The way out for an empty space where the system needs something to search."""
_UNSUPPORTED = frozenset(["refused"])
_INEXACT = frozenset(["encoded", "refused"])


def _unsupported_issue(field: FieldMapping) -> Issue:
    name, level, _, reason = field.level
    if level == "encoded":
        return Issue(name, reason, ENCODE)
    parameter = field.leaf.parameter
    stepless = isinstance(parameter, Float) and parameter.step is None  # with a step a normal law is weighted still
    return Issue(name, f"{reason}: {short_repr(parameter, 120)}", STEP_OR_RANDOM if stepless else RANDOM)


def _map_fields(space: SearchSpace, room: Any, column: str) -> tuple[FieldMapping, ...]:
    if not (leaves := space.leaves):
        return ()
    is_conditional, parents = room.native_conditions(space)
    paths, names, parameters, whens, _ = zip(*leaves, strict=True)
    rules = capabilities.best_rules(parameters, column)
    as_they_are = not parents and not any(whens) and _CHANGED.isdisjoint([rule.form for rule in rules])
    if as_they_are and max(map(len, paths)) == 1 and room.NAMES.accepts_all(names):  # most spaces: made in one go
        return tuple(map(_FIELD, zip(leaves, rules, paths, parameters, repeat(False))))
    return tuple(
        _map_field(leaf, parents.get(leaf.name, rule), room, column, leaf.name in is_conditional)
        for leaf, rule in zip(leaves, rules, strict=True)
    )


def _map_field(leaf: Leaf, rule: capabilities.Rule, room: Any, column: str, is_conditional: bool) -> FieldMapping:
    """The passage of a parameter whose name, condition or rule may get in the way."""
    path, name, parameter, when, _ = leaf
    proxy: Parameter | None = parameter
    if rule.form in CODECS:
        proxy = CODECS[rule.form].proxy(parameter)
    elif rule.level == "refused":
        proxy = None
    if when and not is_conditional:
        rule = _weaker_rule(rule, capabilities.CONDITIONS[column])
    escape = room.NAMES.escape
    native_path = tuple(map(escape, path)) if room.NESTED else (escape(name),)
    if native_path != path:
        renamed = native_path != (name,)
        reason = f"{'it does not take the name, which ' * renamed}travels as {'.'.join(native_path)!r}"
        rule = _weaker_rule(rule, capabilities.Rule("encoded" if renamed else "equivalent", "", reason))
    return FieldMapping(leaf, rule, native_path, proxy, is_conditional)


def _weaker_rule(rule: capabilities.Rule, other: capabilities.Rule) -> capabilities.Rule:
    """The rule at the lower of the two levels, for both reasons."""
    worst = max(rule.level, other.level, key=capabilities.LEVELS.index)
    return rule._replace(level=worst, reason="; ".join(filter(None, (rule.reason, other.reason))))
