"""SigOpt: a list of parameters, and conditionals beside them in the experiment.

    {"parameters": [{"name": "lr", "type": "double", "bounds": {"min": 1e-06, "max": 0.0001}, "transformation": "log"}],
     "conditionals": []}

Categories are always strings: numbers, true, false and null are written as the string that reads back as
them, other things as labels. Groups have dotted names. A condition is native where its parents are
unconditional choices that are written as such strings; such a parent is a conditional, and not a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeGuard

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Parameter
from hpcompat.space.tree import Leaf
from hpcompat.space.values import short_repr, strict_equal
from hpcompat.translators import EMPTY, translate
from hpcompat.translators.capabilities import NO_ORDER, Rule, equivalent, native
from hpcompat.translators.codecs import FieldMapping, parse_literal
from hpcompat.translators.dialect import (
    DIRECTIONS,
    Dialect,
    NamePolicy,
    NativeConditions,
    Reader,
    SearchSettings,
    Variant,
    is_count,
)
from hpcompat.translators.parsing import build_space, is_plain, parse_condition, parse_entries, reject
from hpcompat.translators.sigopt.forms import (
    CAPABILITIES,
    NO_CONDITIONS,
    PROXY_WRITERS,
    WRITERS,
    are_literals,
    are_strings,
    read_categories,
    read_parameter,
)

_TERMS = {
    "direction": "objective",
    "compute_objective": "metrics",
    "sampler": "type",
    "n_trials": "observation_budget",
}
_CREATED_WITH = ("metadata", "num_solutions", "parallel_bandwidth", "project")
_SAMPLERS = {"offline": "bayes", "random": "random", "grid": "grid"}


def read_settings(found: Mapping[str, object]) -> SearchSettings:
    """Return the settings of an experiment, its parameters left out. Raises `TranslationError`."""
    reader = Reader(found)
    kind = reader.one_of("type", tuple(_SAMPLERS))
    budget = reader.take("observation_budget", is_count, "an int of at least 1")
    metrics = reader.take("metrics", lambda value: isinstance(value, (list, tuple)), "a list of metrics") or ()
    metric_readers = [Reader(metric if isinstance(metric, Mapping) else {"name": metric}) for metric in metrics]
    optimized = [
        metric_reader
        for metric_reader in metric_readers
        if metric_reader.left.pop("strategy", None) in (None, "optimize")
    ]
    goals = tuple(metric_reader.one_of("objective", DIRECTIONS) for metric_reader in optimized)
    names = [
        metric_reader.take("name", lambda value: isinstance(value, str), "a string") for metric_reader in optimized
    ]
    for index, metric_reader in enumerate(metric_readers):
        reader.issues += [issue._replace(path=f"metrics[{index}].{issue.path}") for issue in metric_reader.issues]
    options = {key: reader.left.pop(key) for key in ("name",) if reader.left.get(key)}
    unused = reader.finish("experiment")
    if "progress" in unused:  # an answer of a server or of Lite, which also tells whose it is, and since when
        unused = {key: value for key, value in unused.items() if key in _CREATED_WITH}
    for index, metric_reader in enumerate(metric_readers):
        if metric_reader not in optimized:  # stored, or bound from one side
            unused[f"metrics[{index}]"] = metric_reader.left.get("name")
        elif metric_reader.left.get("threshold") is not None:
            unused[f"metrics[{index}].threshold"] = metric_reader.left["threshold"]
    return SearchSettings(
        dialect="sigopt",
        noun="experiment",
        directions=goals,
        default="maximize",
        metrics=tuple(names) if all(names) else (),
        sampler=None if kind is None else _SAMPLERS[kind],
        n_trials=budget,
        options=options,
        terms=_TERMS,
        unused=unused,
    )


CONDITIONALS = ("conditional", "conditional literals")
"""The forms of parents that are conditionals."""


class SigoptDialect(Dialect):
    """The parameters and conditionals of a SigOpt experiment."""

    name = "sigopt"
    title = "SigOpt"
    noun = "experiment"
    names = NamePolicy(re.compile(r"\S|\S.*\S"), max_length=100)
    variants: ClassVar[Mapping[str, Variant]] = {"sigopt": Variant("sigopt", "SigOpt", CAPABILITIES, {}, NO_CONDITIONS)}

    def native_conditions(self, space: SearchSpace) -> NativeConditions:
        """Return the parameters whose conditions are native, and the parents that become conditionals.

        One level of conditions, every parent a choice that is written as strings, and something active under each
        of its values.
        """
        leaves = {leaf.name: leaf for leaf in space.leaves}
        conditional = {name for name, leaf in leaves.items() if leaf.when}
        if not conditional:
            return NativeConditions()
        possible = {
            name: leaf.parameter for name, leaf in leaves.items() if not leaf.when and _is_string_coded(leaf.parameter)
        }
        parents = possible.keys() & {parent for leaf in leaves.values() for parent, _ in leaf.when}
        while True:
            children = {name for name in conditional if all(parent in parents for parent, _ in leaves[name].when)}
            remaining = {
                parent
                for parent in parents
                if _every_value_has_child(parent, possible[parent].choices, [leaves[name] for name in children])
            }
            if remaining == parents:
                rules = {name: _conditional_rule(possible[name]) for name in parents}
                return NativeConditions(frozenset(children), rules)
            parents = remaining

    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, object]) -> dict[str, Any]:
        """Return the parameters and conditionals of an experiment."""
        by_name = {field.leaf.name: field for field in fields}
        spec: dict[str, Any] = {"parameters": [], "conditionals": []}
        for field in fields:
            if field.rule.form in CONDITIONALS:
                values = list(field.proxy.choices)  # type: ignore[union-attr]
                spec["conditionals"].append({"name": field.native_name, "values": values})
            elif field.proxy is not None:
                entry = {"name": field.native_name, **WRITERS[field.writer_key(WRITERS, PROXY_WRITERS)](field.proxy)}
                if field.has_native_condition:
                    parents = [(by_name[parent], values) for parent, values in field.leaf.when]
                    entry["conditions"] = {
                        parent.native_name: list(map(parent.encode, values)) for parent, values in parents
                    }
                spec["parameters"].append(entry)
        if not spec["parameters"]:
            hint = "add a parameter that varies" if fields else EMPTY
            issue = Issue("", "expected a parameter that varies", hint)
            raise TranslationError("SigOpt needs something to search", [issue])
        return spec

    def accepts(self, source: object) -> bool:
        """Return whether this is a list of parameters, or an experiment that has one.

        A parameter is a dict that states its type, or the values that it draws from. The objects of SigOpt's client
        are what they are as JSON.
        """
        source = _as_json(source)
        if isinstance(source, Mapping):
            parameters = source.get("parameters")
            is_listed = isinstance(parameters, (list, tuple)) and (not parameters or self.accepts(parameters))
            return is_listed and all(map(is_plain, source.values()))
        return isinstance(source, (list, tuple)) and any(map(_is_parameter, source))

    def read(self, source: object) -> SearchSpace:
        """See `from_sigopt`."""
        return from_sigopt(source)

    def extra_settings(self, source: object) -> dict[str, Any] | None:
        """Return the keys of an experiment other than its parameters."""
        if not isinstance(source, Mapping) or not self.accepts(source):
            return None
        own = ("parameters", "conditionals", "linear_constraints")
        return {name: value for name, value in source.items() if name not in own and value}

    def read_settings(self, source: object) -> SearchSettings:
        """Return the settings of an experiment. Raises `TranslationError`.

        >>> metrics = [{"name": "acc", "objective": "maximize"}]
        >>> settings = SIGOPT.read_settings({"parameters": [], "metrics": metrics, "observation_budget": 30})
        >>> settings.directions, settings.n_trials
        (('maximize',), 30)
        """
        found = self.extra_settings(source)
        return SearchSettings() if found is None else read_settings(found)


SIGOPT = SigoptDialect()


def _is_string_coded(p: Parameter) -> TypeGuard[Categorical]:
    return isinstance(p, Categorical) and not p.weights and (are_strings(p) or are_literals(p))


def _conditional_rule(p: Categorical) -> Rule:
    form = "conditional" if are_strings(p) else "conditional literals"
    return equivalent(form, NO_ORDER) if p.ordered else native(form)


def _every_value_has_child(parent: str, values: Sequence[object], children: list[Leaf]) -> bool:
    """Return whether each value of the parent, on its own, activates a child."""
    conditions = [dict(child.when) for child in children if {name for name, _ in child.when} == {parent}]
    return all(
        any(strict_equal(value, accepted) for when in conditions for accepted in when[parent]) for value in values
    )


def to_sigopt(space: Mapping[str, object], *, encode: bool = False) -> list[dict[str, Any]]:
    """Return the parameters of `conn.experiments().create(parameters=…)`.

    Args:
        space: A SearchSpace, or a dict of parameters.
        encode: Whether to encode what has no exact form. Decode what comes back with
            `translate(space, "sigopt", encode=True).decode`.

    Raises:
        TranslationError: A parameter has no exact form; or there are conditions, which need the experiment's
            `conditionals` too: `translate(space, "sigopt").spec` has both.

    >>> import hpcompat as hp
    >>> hp.to_sigopt({"batch": hp.Categorical([16, 32])})
    [{'name': 'batch', 'type': 'categorical', 'categorical_values': ['16', '32']}]
    """
    spec = translate(space, "sigopt", encode=encode).spec
    if spec["conditionals"]:
        issues = [Issue(entry["name"], "is a conditional of the experiment") for entry in spec["conditionals"]]
        hint = 'translate(space, "sigopt").spec has both parameters and conditionals'
        raise TranslationError(f"a list of parameters cannot hold conditions: {hint}", issues)
    return spec["parameters"]  # type: ignore[no-any-return]


def from_sigopt(source: object) -> SearchSpace:
    """Return the space of a list of SigOpt parameters, or of an experiment.

    Categories that are all numbers, true, false or null, written as here, are read as such: ["16", "32"] are ints,
    ["True", "False"] strings. An evenly spaced grid is a step, another one ordered choices.

    Args:
        source: The list of parameters, a dict with `parameters` and `conditionals`, or an object of SigOpt's client
            (an Experiment, its parameters).

    Raises:
        TranslationError: It cannot be read, such as a beta prior and linear constraints; with the reason for each
            parameter.

    >>> from_sigopt([{"name": "lr", "type": "double", "bounds": {"min": 0.1, "max": 1}, "transformation": "log"}])
    SearchSpace({'lr': Float(0.1, 1.0, log=True)})
    """
    source = _as_json(source)
    if isinstance(source, Mapping):
        if _is_not_empty(source.get("linear_constraints")):
            hint = "sample without them, and fail what breaks them"
            reject("linear constraints have no counterpart elsewhere", hint)
        parameters, conditionals = source.get("parameters"), source.get("conditionals")
        conditionals = conditionals if _is_not_empty(conditionals) else []
    else:
        parameters, conditionals = source, []
    if not isinstance(parameters, (list, tuple)) or not isinstance(conditionals, (list, tuple)):
        reject(f"{short_repr(source)} is not a space of SigOpt", "give the list of parameters")
    parents = parse_entries("SigOpt", _read_conditional, [(_name(config), config) for config in conditionals])

    def read(config: object) -> Parameter:
        return config if isinstance(config, Parameter) else _read_conditional_parameter(config, parents)

    children = [(_name(config), config) for config in parameters]
    return build_space("SigOpt", parse_entries("SigOpt", read, [*parents.items(), *children]))


def _read_conditional(config: object) -> Categorical:
    return read_categories(_values(config))


def _read_conditional_parameter(config: Any, parents: Mapping[str, Categorical]) -> Parameter:
    """Return a parameter with its conditions, which name the strings of their parents."""
    parameter = read_parameter(config)
    when = config.get("conditions")
    if isinstance(when, (list, tuple)):  # as SigOpt Lite writes them
        pairs = [(_name(condition), _values(condition)) for condition in when]
        when = dict(pairs) if all(isinstance(name, str) for name, _ in pairs) else when
    conditions = {}
    for parent, values in parse_condition(when):
        if parent not in parents:
            reject(f"its conditions name {short_repr(parent)}, which is not a conditional", "list it in conditionals")
        is_literal = not all(isinstance(choice, str) for choice in parents[parent].choices)
        conditions[parent] = [
            parse_literal(value)[1] if is_literal and isinstance(value, str) else value for value in values
        ]
    return parameter.with_when(conditions) if conditions else parameter


def _is_parameter(config: object) -> bool:
    return isinstance(config, Mapping) and (
        isinstance(config.get("type"), str)
        or isinstance(config.get("bounds"), Mapping)
        or any(isinstance(config.get(key), (list, tuple)) for key in ("grid", "categorical_values"))
    )


def is_client_object(source: object) -> bool:
    """Return whether this is an object of SigOpt's client, such as an Experiment, without loading the client."""
    return type(source).__module__.partition(".")[0] == "sigopt" and callable(getattr(source, "to_json", None))


def _as_json(source: Any) -> Any:
    if isinstance(source, (list, tuple)):
        return [item.to_json() if is_client_object(item) else item for item in source]
    return source.to_json() if is_client_object(source) else source


def _is_not_empty(items: object) -> bool:
    """Return whether there is something: a server writes null or an empty list where there is nothing."""
    return items is not None and not (isinstance(items, (list, tuple, Mapping)) and not items)


def _name(config: object) -> object:
    name = config.get("name") if isinstance(config, Mapping) else config
    return name.strip() if isinstance(name, str) else name


def _values(conditional: object) -> object:
    return conditional.get("values") if isinstance(conditional, Mapping) else None
