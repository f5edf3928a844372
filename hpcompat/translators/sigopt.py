"""SigOpt: a list of parameters, and conditionals beside them in the experiment.

    {"parameters": [{"name": "lr", "type": "double", "bounds": {"min": 1e-06, "max": 0.0001}, "transformation": "log"}],
     "conditionals": []}

Categories are always strings: numbers, true, false and null are written as the string that reads back as
them, other things as labels. Groups have dotted names. A condition is native where its parents are
unconditional choices that are written as such strings; such a parent is a conditional, and not a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.tree import Leaf
from hpcompat.space.values import short_repr, strict_equal
from hpcompat.translators import literals, names
from hpcompat.translators.capabilities import (
    INDEX_LARGE,
    INDEX_LONG,
    MIN_WIDTH,
    NO_LOG_NORMAL,
    NO_ORDER,
    UNIT_LOG_STEP,
    UNIT_NARROW,
    UNIT_WEIGHTS,
    Rule,
    all_of,
    encoded,
    equivalent,
    fits_float_exactly,
    has_min_width,
    is_enumerable,
    native,
)
from hpcompat.translators.dialect import Dialect, NativeConditions, Variant
from hpcompat.translators.fields import FieldMapping
from hpcompat.translators.parsing import (
    build_space,
    is_plain,
    make_categorical,
    make_range,
    parse_condition,
    parse_entries,
    parse_number,
    reject,
)
from hpcompat.translators.settings import DIRECTIONS, Reader, SearchSettings, is_count
from hpcompat.translators.translation import EMPTY, translate

# -- what an experiment can express ---------------------------------------------------------------------


def has_wide_grid(p: Any) -> bool:
    """Return whether the first and the last value are as far apart as bounds must be."""
    ends = (p.choices[0], p.choices[-1]) if isinstance(p, Categorical) else (p.low, p.high)
    return bool(ends[1] - ends[0] >= MIN_WIDTH)


def are_strings(p: Categorical) -> bool:
    """Return whether the choices are categories: two or more strings of 1–50 characters that read as strings."""
    return (
        len(p.choices) >= 2
        and all(
            isinstance(choice, str) and 1 <= len(choice) <= 50 and choice == choice.strip() and choice.isprintable()
            for choice in p.choices
        )
        and literals.parse_literals(p.choices) == tuple(p.choices)
    )


def are_literals(p: Categorical) -> bool:
    """Return whether the choices are numbers, true, false and null whose strings say what they are."""
    written = [literals.format_literal(choice) for choice in p.choices]
    return len(written) >= 2 and all(text is not None and len(text) <= 50 for text in written)


def is_irregular_scale(p: Categorical) -> bool:
    """Return whether the choices are an ordered scale of numbers that does not read back as Int or Float."""
    types = {type(choice) for choice in p.choices}
    if not p.ordered or len(p.choices) < 3 or len(types) != 1 or not types <= {int, float}:
        return False
    is_ascending = all(a < b for a, b in zip(p.choices, p.choices[1:], strict=False))
    return is_ascending and even_step(p.choices) is None


def even_step(values: Sequence[Any]) -> Any:
    """Return the step of ascending numbers that are evenly spaced, in decimals; None if they are not."""
    low, second = (Decimal(repr(value)) for value in values[:2])
    step = type(values[0])(second - low)
    make: Any = Int if type(values[0]) is int else Float
    grid = make(values[0], values[-1], step=step)
    is_even = not grid.issues and grid.size == len(values) and all(map(grid.contains, values))
    return step if is_even else None


def has_interior_mean(p: Normal) -> bool:
    """Return whether the mean lies strictly between two bounds, as SigOpt's prior needs."""
    return p.low is not None and p.high is not None and p.low < p.mean < p.high and has_min_width(p)


def has_several_choices(p: Categorical) -> bool:
    """Return whether there is more than one choice."""
    return len(p.choices) > 1


_LABELS = encoded("labels", "its categories are two or more texts that read as nothing else", has_several_choices)
_ABSENT = encoded("absent", "it needs two values")

CAPABILITIES = {
    "float": (native("bounds", has_min_width), UNIT_NARROW),
    "float log": (native("log_bounds", has_min_width), UNIT_NARROW),
    "float step": (
        native("grid", all_of(is_enumerable, has_wide_grid)),
        encoded("index", "its bounds must lie at least 1e-8 apart", is_enumerable),
        INDEX_LONG,
    ),
    "float log step": (UNIT_LOG_STEP,),
    "int": (native("int_bounds", fits_float_exactly), INDEX_LARGE),
    "int log": (encoded("unit", "it has no logarithmic ints"),),
    "int step": (native("grid", is_enumerable), INDEX_LONG),
    "int log step": (UNIT_LOG_STEP,),
    "categorical": (
        native("categorical_values", are_strings),
        native("literals", are_literals, "stored as texts; decode reads them"),
        _LABELS,
        _ABSENT,
    ),
    "categorical ordered": (
        native("grid", all_of(is_irregular_scale, is_enumerable, has_wide_grid)),
        equivalent("categorical_values", NO_ORDER, are_strings),
        equivalent("literals", NO_ORDER, are_literals),
        _LABELS,
        _ABSENT,
    ),
    "categorical weights": (UNIT_WEIGHTS,),
    "constant": (encoded("absent", "it has no constants; decode brings them back"),),
    "normal": (
        native("normal_prior", has_interior_mean),
        encoded("unit", "its prior needs two bounds around the mean"),
    ),
    "normal log": (encoded("unit", NO_LOG_NORMAL),),
    "normal step": (encoded("unit", "it has no rounded normal distribution"),),
    "normal log step": (encoded("unit", NO_LOG_NORMAL),),
}
_NO_CONDITIONS = encoded(
    "", "its conditions need parents without any, written as texts, whose values each activate something"
)


class SigoptDialect(Dialect):
    """The parameters and conditionals of a SigOpt experiment."""

    name = "sigopt"
    title = "SigOpt"
    noun = "experiment"
    names = names.SIGOPT
    variants: ClassVar[Mapping[str, Variant]] = {
        "sigopt": Variant("sigopt", "SigOpt", CAPABILITIES, {}, _NO_CONDITIONS)
    }

    def native_conditions(self, space: SearchSpace) -> NativeConditions:
        """Return the parameters whose conditions are native, and the parents that become conditionals.

        One level of conditions, every parent a choice that is written as strings, and something active under each
        of its values.
        """
        leaves = {leaf.name: leaf for leaf in space.leaves}
        conditional = {name for name, leaf in leaves.items() if leaf.when}
        if not conditional:
            return NativeConditions()
        possible = {name for name, leaf in leaves.items() if not leaf.when and _is_string_coded(leaf.parameter)}
        parents = possible & {parent for leaf in leaves.values() for parent, _ in leaf.when}
        while True:
            children = {name for name in conditional if all(parent in parents for parent, _ in leaves[name].when)}
            remaining = {
                parent
                for parent in parents
                if _every_value_has_child(leaves[parent], [leaves[name] for name in children])
            }
            if remaining == parents:
                rules = {name: _conditional_rule(leaves[name].parameter) for name in parents}
                return NativeConditions(frozenset(children), rules)
            parents = remaining

    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> dict[str, Any]:
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
            issue = Issue("", "there is no parameter that varies", hint)
            raise TranslationError("SigOpt needs something to search", [issue])
        return spec

    def accepts(self, source: Any) -> bool:
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

    def read(self, source: Any) -> SearchSpace:
        """See `from_sigopt`."""
        return from_sigopt(source)

    def extra_settings(self, source: Any) -> dict[str, Any] | None:
        """Return the keys of an experiment other than its parameters."""
        if not isinstance(source, Mapping) or not self.accepts(source):
            return None
        own = ("parameters", "conditionals", "linear_constraints")
        return {name: value for name, value in source.items() if name not in own and value}

    def read_settings(self, source: Any) -> SearchSettings:
        """Return the settings of an experiment. Raises `TranslationError`.

        >>> metrics = [{"name": "acc", "objective": "maximize"}]
        >>> settings = SIGOPT.read_settings({"parameters": [], "metrics": metrics, "observation_budget": 30})
        >>> settings.directions, settings.n_trials
        (('maximize',), 30)
        """
        found = self.extra_settings(source)
        return SearchSettings() if found is None else _read_settings(found)


SIGOPT = SigoptDialect()


def _is_string_coded(p: Parameter) -> bool:
    return isinstance(p, Categorical) and not p.weights and (are_strings(p) or are_literals(p))


def _conditional_rule(p: Any) -> Rule:
    form = "conditional" if are_strings(p) else "conditional literals"
    return equivalent(form, NO_ORDER) if p.ordered else native(form)


def _every_value_has_child(parent: Leaf, children: list[Leaf]) -> bool:
    """Return whether each value of the parent, on its own, activates a child."""
    conditions = [dict(child.when) for child in children if {name for name, _ in child.when} == {parent.name}]
    return all(
        any(strict_equal(value, accepted) for when in conditions for accepted in when[parent.name])
        for value in parent.parameter.choices  # type: ignore[attr-defined]
    )


# -- writing ----------------------------------------------------------------------------------------


def _bounds(p: Float | Int | Normal) -> dict[str, Any]:
    return {"bounds": {"min": p.low, "max": p.high}}


def _grid(p: Parameter) -> dict[str, Any]:
    values = list(p.support or ())
    return {"type": "int" if type(values[0]) is int else "double", "grid": values}


def _prior(p: Normal) -> dict[str, Any]:
    return {"type": "double", **_bounds(p), "prior": {"name": "normal", "mean": p.mean, "scale": p.std}}


WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "bounds": lambda p: {"type": "double", **_bounds(p)},
    "log_bounds": lambda p: {"type": "double", **_bounds(p), "transformation": "log"},
    "int_bounds": lambda p: {"type": "int", **_bounds(p)},
    "grid": _grid,
    "categorical_values": lambda p: {"type": "categorical", "categorical_values": list(p.choices)},
    "normal_prior": _prior,
}
CONDITIONALS = ("conditional", "conditional literals")
PROXY_WRITERS = {"float": "bounds", "int": "int_bounds", "categorical": "categorical_values"}


def to_sigopt(space: Mapping[str, Any], *, encode: bool = False) -> list[dict[str, Any]]:
    """Return the parameters of `conn.experiments().create(parameters=…)`.

    Args:
        space: A SearchSpace, or a dict of parameters.
        encode: Whether to let what has no exact form travel encoded. Decode what comes back with
            `translate(space, "sigopt", encode=True).decode`.

    Raises:
        TranslationError: A parameter has no exact form; or there are conditions, which need the experiment's
            `conditionals` too: `translate(space, "sigopt").spec` has both.

    >>> to_sigopt({"batch": Categorical([16, 32])})
    [{'name': 'batch', 'type': 'categorical', 'categorical_values': ['16', '32']}]
    """
    spec = translate(space, "sigopt", encode=encode).spec
    if spec["conditionals"]:
        issues = [Issue(entry["name"], "is a conditional of the experiment") for entry in spec["conditionals"]]
        hint = 'translate(space, "sigopt").spec has both parameters and conditionals'
        raise TranslationError(f"a list of parameters cannot hold conditions: {hint}", issues)
    return spec["parameters"]  # type: ignore[no-any-return]


# -- reading ----------------------------------------------------------------------------------------

_KEYS = frozenset(
    [
        "name",
        "type",
        "bounds",
        "grid",
        "transformation",
        "categorical_values",
        "prior",
        "conditions",
        "default_value",
        "tunable",
        "object",
    ]
)


def _bounds_of(config: Mapping[str, Any], whole: bool) -> tuple[Any, Any]:
    bounds = config.get("bounds")
    # a server's answer adds {"object": "bounds"}
    if not isinstance(bounds, Mapping) or bounds.keys() - {"object"} != {"min", "max"}:
        reject(f"its bounds are {short_repr(bounds)}", 'write {"min": …, "max": …}')
    low, high = (parse_number(name, bounds[name], whole) for name in ("min", "max"))
    return low, high


def _parse_bounds(config: Mapping[str, Any], whole: bool) -> tuple[Any, Any]:
    low, high = _bounds_of(config, whole)
    if not whole and not high - low >= MIN_WIDTH:
        reject(f"min {low} is not at least 1e-8 below max {high}, as SigOpt needs", "widen the bounds")
    return low, high


def _is_log(config: Mapping[str, Any]) -> bool:
    transformation = config.get("transformation")
    if transformation is not None and (not isinstance(transformation, str) or transformation not in ("none", "log")):
        reject(f"its transformation is {short_repr(transformation)}", 'write "log", or leave it out')
    return transformation == "log"


def _double(config: Mapping[str, Any]) -> Parameter:
    if config.get("grid") is not None:
        return _read_grid(config, float)
    low, high = _parse_bounds(config, False)
    log, prior = _is_log(config), config.get("prior")
    if prior is None:
        return make_range(low, high, log=log)
    if not isinstance(prior, Mapping) or prior.get("name") != "normal":
        reject(f"its prior is {short_repr(prior)}", "only a normal prior has a counterpart elsewhere")
    if log:
        reject("SigOpt has no prior on a logarithmic scale", "leave out the transformation or the prior")
    mean, std = parse_number("mean", prior.get("mean")), parse_number("scale", prior.get("scale"))
    return Normal(mean, std, low=low, high=high)


def _int(config: Mapping[str, Any]) -> Parameter:
    for key in ("transformation", "prior"):
        if config.get(key) is not None:
            reject(f"an int has no {key} in SigOpt", "leave it out, or use double")
    if config.get("grid") is not None:
        return _read_grid(config, int)
    low, high = _parse_bounds(config, True)
    parameter = make_range(low, high, whole=True)
    return (
        parameter if not isinstance(parameter, Constant) else reject(f"min and max are both {low}", "widen the bounds")
    )


def _read_grid(config: Mapping[str, Any], kind: type) -> Parameter:
    grid = config["grid"]
    if not isinstance(grid, (list, tuple)) or len(grid) < 2:
        reject(f"its grid is {short_repr(grid)}", "a grid is a list of two or more numbers")
    if _is_log(config) or config.get("prior") is not None:
        reject("a grid with a transformation or a prior has no counterpart elsewhere", "leave it out")
    values = tuple(sorted(kind(parse_number("a grid value", value, kind is int)) for value in grid))
    parameter = make_categorical(values, ordered=True)
    if parameter.size != len(values):
        reject(f"its grid {short_repr(grid)} lists a value twice", "list it once")
    # a server's answer has bounds beside the grid, which are its ends; it takes none of those that are written
    if config.get("bounds") is not None and _bounds_of(config, kind is int) != (values[0], values[-1]):
        ends = f"the grid ends at {short_repr(values[0])} and {short_repr(values[-1])}"
        reject(f"its bounds are {short_repr(config['bounds'])}, and {ends}", "leave out the bounds, or the grid")
    step = even_step(values)
    return parameter if step is None else make_range(values[0], values[-1], step=step, whole=kind is int)


def _categorical(config: Mapping[str, Any]) -> Parameter:
    for key in ("bounds", "grid", "transformation", "prior"):
        if config.get(key) is not None:
            reject(f"a categorical has no {key} in SigOpt", "leave it out")
    return _categories(config.get("categorical_values"))


def _categories(values: Any) -> Parameter:
    if not isinstance(values, (list, tuple)) or len(values) < 2:
        reject(f"its values are {short_repr(values)}", "give a list of two or more texts")
    names: list[Any] = [value.get("name") if isinstance(value, Mapping) else value for value in values]
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name.strip()) <= 50:
            hint = f"write {short_repr(name)!r}" if isinstance(name, (int, float)) else ""
            reject(f"{short_repr(name)} is no category: SigOpt takes texts of 1–50 characters", hint)
    stripped = [name.strip() for name in names]
    if len(set(stripped)) < len(stripped):
        reject(f"{short_repr(stripped)} lists a category twice", "list it once")
    return make_categorical(literals.parse_literals(stripped))


READERS: dict[str, Callable[[Mapping[str, Any]], Parameter]] = {
    "double": _double,
    "int": _int,
    "categorical": _categorical,
}


def read_parameter(config: Any) -> Parameter:
    """Return the parameter that one entry of the list describes, its name and conditions left out.

    >>> read_parameter({"type": "categorical", "categorical_values": ["16", "32"]})
    Categorical([16, 32])
    """
    if not isinstance(config, Mapping):
        hint = 'write {"name": …, "type": …, "bounds": {…}}'
        reject(f"expected a parameter of SigOpt, got {short_repr(config)}", hint)
    if unknown := [key for key, value in config.items() if key not in _KEYS and value is not None]:
        reject(f"it has an unknown {', '.join(map(short_repr, unknown))}", f"its keys are {', '.join(sorted(_KEYS))}")
    if isinstance(config.get("grid"), list) and not config["grid"]:  # as SigOpt Lite answers where there is none
        config = {key: value for key, value in config.items() if key != "grid"}
    kind = config.get("type")
    if not isinstance(kind, str) or kind not in READERS:
        reject(f"its type is {short_repr(kind)}", f"one of {', '.join(READERS)}")
    return READERS[kind](config)


def _is_parameter(config: Any) -> bool:
    return isinstance(config, Mapping) and (
        isinstance(config.get("type"), str)
        or isinstance(config.get("bounds"), Mapping)
        or any(isinstance(config.get(key), (list, tuple)) for key in ("grid", "categorical_values"))
    )


def from_sigopt(thing: Any) -> SearchSpace:
    """Return the space of a list of SigOpt parameters, or of an experiment (`parameters` and `conditionals`).

    The objects of SigOpt's client (an Experiment, its parameters) are read as they are, too.
    Categories that are all numbers, true, false or null, written as here, are read as such: ["16", "32"]
    are ints, ["True", "False"] texts. An
    evenly spaced grid is a step, another one ordered choices. Beta priors and linear constraints are
    refused by name. Raises `TranslationError`.

    >>> from_sigopt([{"name": "lr", "type": "double", "bounds": {"min": 0.1, "max": 1}, "transformation": "log"}])
    SearchSpace({'lr': Float(0.1, 1.0, log=True)})
    """
    thing = _as_json(thing)
    if isinstance(thing, Mapping):
        if _is_not_empty(thing.get("linear_constraints")):
            reject(
                "linear constraints have no counterpart elsewhere",
                "sample without them, and fail what breaks them",
            )
        parameters, conditionals = thing.get("parameters"), thing.get("conditionals")
        conditionals = conditionals if _is_not_empty(conditionals) else []
    else:
        parameters, conditionals = thing, []
    if not isinstance(parameters, (list, tuple)) or not isinstance(conditionals, (list, tuple)):
        reject(f"{short_repr(thing)} is not a space of SigOpt", "give the list of parameters")
    parents = parse_entries("SigOpt", _conditional, [(_name(each), each) for each in conditionals])

    def read(each: Any) -> Parameter:
        return each if isinstance(each, Parameter) else _with_conditions(each, parents)

    children = [(_name(each), each) for each in parameters]
    return build_space("SigOpt", parse_entries("SigOpt", read, [*parents.items(), *children]))


def is_client_object(thing: Any) -> bool:
    """Return whether this is an object of SigOpt's client, such as an Experiment, without loading the client."""
    return type(thing).__module__.partition(".")[0] == "sigopt" and callable(getattr(thing, "to_json", None))


def _as_json(thing: Any) -> Any:
    if isinstance(thing, (list, tuple)):
        return [each.to_json() if is_client_object(each) else each for each in thing]
    return thing.to_json() if is_client_object(thing) else thing


def _is_not_empty(items: Any) -> bool:
    """Return whether there is something: a server writes null or an empty list where there is nothing."""
    return items is not None and not (isinstance(items, (list, tuple, Mapping)) and not items)


def _name(config: Any) -> Any:
    name = config.get("name") if isinstance(config, Mapping) else config
    return name.strip() if isinstance(name, str) else name


def _values(conditional: Any) -> Any:
    return conditional.get("values") if isinstance(conditional, Mapping) else None


def _conditional(config: Any) -> Parameter:
    return _categories(_values(config))


def _with_conditions(config: Any, parents: Mapping[str, Any]) -> Parameter:
    parameter: Any = read_parameter(config)
    when = config.get("conditions")
    if isinstance(when, (list, tuple)):  # as SigOpt Lite writes them
        when = {_name(each): _values(each) for each in when}
    conditions = []
    for parent, texts_ in parse_condition(when):
        if parent not in parents:
            reject(f"its conditions name {short_repr(parent)}, which is no conditional", "list it in conditionals")
        choices_ = parents[parent].choices
        numbers = not all(isinstance(choice, str) for choice in choices_)
        conditions.append(
            (
                parent,
                [literals.parse_literal(text)[1] if numbers and isinstance(text, str) else text for text in texts_],
            )
        )
    return replace(parameter, when=dict(conditions)) if conditions else parameter  # type: ignore[no-any-return]


# -- beside the space -------------------------------------------------------------------------------

_TERMS = {
    "direction": "objective",
    "compute_objective": "metrics",
    "sampler": "type",
    "n_trials": "observation_budget",
}
_CREATED_WITH = ("metadata", "num_solutions", "parallel_bandwidth", "project")
_SAMPLERS = {"offline": "bayes", "random": "random", "grid": "grid"}


def _read_settings(found: Mapping[str, Any]) -> SearchSettings:
    reader = Reader(found)
    kind = reader.one_of("type", tuple(_SAMPLERS))
    budget = reader.take("observation_budget", is_count, "an int of at least 1")
    metrics = reader.take("metrics", lambda value: isinstance(value, (list, tuple)), "a list of metrics") or ()
    inner = [Reader(metric if isinstance(metric, Mapping) else {"name": metric}) for metric in metrics]
    optimized = [each for each in inner if each.left.pop("strategy", None) in (None, "optimize")]
    goals = tuple(each.one_of("objective", DIRECTIONS) for each in optimized)
    names = [each.take("name", lambda value: isinstance(value, str), "a text") for each in optimized]
    for index, each in enumerate(inner):
        reader.issues += [issue._replace(path=f"metrics[{index}].{issue.path}") for issue in each.issues]
    options = {key: reader.left.pop(key) for key in ("name",) if reader.left.get(key)}
    unused = reader.finish("experiment")
    if "progress" in unused:  # an answer of a server or of Lite, which also tells whose it is, and since when
        unused = {key: value for key, value in unused.items() if key in _CREATED_WITH}
    for index, each in enumerate(inner):
        if each not in optimized:  # stored, or bound from one side
            unused[f"metrics[{index}]"] = each.left.get("name")
        elif each.left.get("threshold") is not None:
            unused[f"metrics[{index}].threshold"] = each.left["threshold"]
    return SearchSettings(
        dialect="sigopt",
        noun=SigoptDialect.noun,
        directions=goals,
        default="maximize",
        metrics=tuple(names) if all(names) else (),
        sampler=None if kind is None else _SAMPLERS[kind],
        n_trials=budget,
        options=options,
        terms=_TERMS,
        unused=unused,
    )
