"""Translators between the canonical space and the dialects of other systems: `translate` writes a space in any.

`dialect` says what a dialect is, and which there are. Each has a folder (`optuna`, `ray`, `sigopt`, `wandb`): the
dialect itself, with the settings beside a space, and its `forms`, with the table of what they can express.
`detect.as_space` reads any dialect, `codecs` says how values are stored that a system has no form for, and
`optuna.define_by_run` finds the space inside a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

from hpcompat.errors import Issue, ParamsError, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Float, Parameter
from hpcompat.space.tree import MISSING, Leaf, assign_active, set_at_path
from hpcompat.space.values import copy_if_mutable, short_repr
from hpcompat.translators.capabilities import LEVELS, Rule, best_rules
from hpcompat.translators.codecs import CODECS, FieldMapping, Level
from hpcompat.translators.dialect import Dialect, Variant, get_dialect

# hints that name arguments: the command line has options for them
ENCODE = "translate(…, encode=True) encodes it; its decode converts the values back"
RANDOM = "use method='random'"
STEP_OR_RANDOM = "give it a step, or use method='random'"
EMPTY = "add a parameter that varies; a function that suggests as it runs needs backend='optuna'"
"""The hint for an empty space where the system needs something to search."""


@dataclass(frozen=True)
class Translation:
    """A space in a dialect.

    Attributes:
        space: The space.
        dialect: The name of the dialect.
        options: The options of `translate`, defaults filled in.
        spec: JSON data: suggest calls for Optuna, domain calls for Ray, `{"parameters", "conditionals"}` for SigOpt,
            the sweep for W&B.
        fields: How each parameter is written.
    """

    space: SearchSpace
    dialect: str
    options: Mapping[str, object]
    spec: Any
    fields: tuple[FieldMapping, ...]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Whether each parameter is native, equivalent or encoded, and why."""
        return tuple(field.level for field in self.fields)

    def encode(self, params: Mapping[str, object]) -> dict[str, Any]:
        """Return params as the system stores them: by its own names, nested where the dialect nests.

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
            set_at_path(raw, field.native_path, copy_if_mutable(field.encode(value)))
        return raw

    def decode(self, raw: Mapping[str, object]) -> dict[str, Any]:
        """Return the params that stand behind what the system stored; unknown names are ignored.

        Raises `ParamsError`, with every issue by name, for a missing or impossible value.

        >>> space = SearchSpace({"batch": Categorical([16, 32])})
        >>> translate(space, "sigopt").decode({"batch": "32"})
        {'batch': 32}
        """
        if not hasattr(raw, "keys"):
            raise ParamsError(
                "invalid params", [Issue("", f"expected a dict, got {short_repr(raw)}", "give a dict by name")]
            )
        issues: list[Issue] = []
        by_name = {field.leaf.name: field for field in self.fields}

        def value_of(leaf: Leaf) -> object:
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
            raise ParamsError(f"these params are not in the space, as {self.dialect} stores it", issues)
        return self.space.nest(flat)


def get_path(raw: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path: nested, or under the flat name that systems join it to; else `MISSING`."""
    place = raw
    for part in path:
        if not _has(place, part):
            flat = next((name for name in (".".join(path), "/".join(path)) if _has(raw, name)), None)
            return MISSING if flat is None else raw[flat]
        place = place[part]
    return place


def _has(place: object, name: str) -> bool:
    # wandb.config answers to keys(), but not every release of it is a Mapping
    return (isinstance(place, Mapping) or hasattr(place, "keys")) and name in place.keys()  # noqa: SIM118


def translate(space: Mapping[str, object], dialect: str, *, encode: bool = False, **options: object) -> Translation:
    """Return a space in a dialect: "optuna", "ray", "sigopt", "wandb", or one that a package has registered.

    Args:
        space: A SearchSpace, or a dict of parameters.
        dialect: The name of the dialect.
        encode: Whether to encode what has no native or equivalent form; `decode` converts the values back. Two
            things are still refused: a continuous or weighted parameter under an exhaustive method, and a space with
            nothing to search where the system needs something.
        **options: For Ray `searcher="optuna"` (the spec goes to OptunaSearch, not to Ray's own random and grid search)
            or `searcher=True` (to any other search algorithm); for W&B `method`, `metric`, `goal` and any other key of
            a sweep.

    Raises:
        TranslationError: A parameter has no exact form, or an option is invalid; with the reason for each and what to
            do about it.

    >>> space = SearchSpace({"lr": Float(1e-6, 1e-4, log=True), "depth": Normal(4.0, 1.0, low=1.0)})
    >>> translation = translate(space, "wandb", method="bayes", metric="loss", encode=True)
    >>> [(level.name, level.level, level.form) for level in translation.levels]
    [('lr', 'native', 'log_uniform_values'), ('depth', 'encoded', 'unit')]
    >>> translation.decode({"lr": 1e-5, "depth": 0.5})
    {'lr': 1e-05, 'depth': 4.00...}
    """
    found = get_dialect(dialect)
    space = space if isinstance(space, SearchSpace) else SearchSpace(space)
    parsed = found.parse_options(options)
    fields = _map_fields(space, found, found.variant(parsed))
    rejected = _UNSUPPORTED if encode else _INEXACT
    if issues := [_unsupported_issue(field) for field in fields if field.rule.level in rejected]:
        raise TranslationError(f"this space cannot be represented exactly in {found.title}", issues)
    spec = found.write(fields, parsed)
    return Translation(space, dialect, parsed, spec, fields)


def levels(space: Mapping[str, object], dialect: str, **options: object) -> tuple[Level, ...]:
    """Return how each parameter would be represented, "refused" included: `translate` without writing anything."""
    found = get_dialect(dialect)
    space = space if isinstance(space, SearchSpace) else SearchSpace(space)
    variant = found.variant(found.parse_options(options))
    return tuple(field.level for field in _map_fields(space, found, variant))


_FIELD: Callable[[Iterable[object]], FieldMapping] = partial(tuple.__new__, FieldMapping)  # without field names: faster
_CHANGED = frozenset(["", *CODECS])  # the forms of what cannot be represented, and of what a proxy stands for
_UNSUPPORTED = frozenset(["refused"])
_INEXACT = frozenset(["encoded", "refused"])


def _unsupported_issue(field: FieldMapping) -> Issue:
    name, level, _, reason = field.level
    if level == "encoded":
        return Issue(name, reason, ENCODE)
    parameter = field.leaf.parameter
    # with a step a normal distribution is still weighted
    is_stepless = isinstance(parameter, Float) and parameter.step is None
    return Issue(name, f"{reason}: {short_repr(parameter, 120)}", STEP_OR_RANDOM if is_stepless else RANDOM)


def _map_fields(space: SearchSpace, dialect: Dialect, variant: Variant) -> tuple[FieldMapping, ...]:
    leaves = space.leaves
    if not leaves:
        return ()
    conditions = dialect.native_conditions(space)
    paths, names, parameters, whens, _ = zip(*leaves, strict=True)
    rules = best_rules(parameters, variant.capabilities)
    are_plain = not conditions.parents and not any(whens) and _CHANGED.isdisjoint([rule.form for rule in rules])
    if are_plain and max(map(len, paths)) == 1 and dialect.names.accepts_all(names):
        # most spaces; to_optuna takes half the time
        return tuple(map(_FIELD, zip(leaves, rules, paths, parameters, repeat(False))))
    return tuple(
        _map_field(leaf, conditions.parents.get(leaf.name, rule), dialect, variant, leaf.name in conditions.children)
        for leaf, rule in zip(leaves, rules, strict=True)
    )


def _map_field(leaf: Leaf, rule: Rule, dialect: Dialect, variant: Variant, has_native_condition: bool) -> FieldMapping:
    proxy: Parameter | None = leaf.parameter
    if rule.form in CODECS:
        proxy = CODECS[rule.form].proxy(leaf.parameter)
    elif rule.level == "refused":
        proxy = None
    if leaf.when and not has_native_condition:
        rule = _weaker_rule(rule, variant.conditions)
    escape = dialect.names.escape
    native_path = tuple(map(escape, leaf.path)) if dialect.is_nested else (escape(leaf.name),)
    if native_path != leaf.path:
        is_renamed = native_path != (leaf.name,)
        prefix = "it does not take the name, which " if is_renamed else ""
        reason = f"{prefix}is written as {'.'.join(native_path)!r}"
        rule = _weaker_rule(rule, Rule("encoded" if is_renamed else "equivalent", "", reason))
    return FieldMapping(leaf, rule, native_path, proxy, has_native_condition)


def _weaker_rule(rule: Rule, other: Rule) -> Rule:
    """Return the rule at the lower of the two levels, for both reasons."""
    level = max(rule.level, other.level, key=LEVELS.index)
    return rule._replace(level=level, reason="; ".join(filter(None, (rule.reason, other.reason))))


__all__ = ["Level", "Translation", "translate"]
