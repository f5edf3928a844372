"""SigOpt: a list of parameters, and conditionals beside them in the experiment.

    {"parameters": [{"name": "lr", "type": "double", "bounds": {"min": 1e-06, "max": 0.0001}, "transformation": "log"}],
     "conditionals": []}

Categories are always texts: numbers, true, false and null are written as the text that reads back as
them, other things as labels. Groups travel under dotted names. A condition is native where its parents
are unconditional choices that are written as such texts; such a parent is a conditional and no parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.space.tree import Leaf
from hpcompat.space.values import short_repr, strict_equal
from hpcompat.translators import literals, names
from hpcompat.translators.capabilities import NO_ORDER, Rule, equivalent, native
from hpcompat.translators.parsing import (
    build_space,
    is_plain,
    make_categorical,
    make_range,
    parse_condition,
    parse_entries,
    parse_number,
    reject,
    reject_options,
)
from hpcompat.translators.predicates import are_sigopt_literals, are_sigopt_strings, even_step
from hpcompat.translators.settings import DIRECTIONS, Reader, SearchSettings, is_count
from hpcompat.translators.translation import EMPTY, FieldMapping, translate

NAMES = names.SIGOPT
NESTED = False


def parse_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return reject_options("SigOpt", options)


def variant(options: Mapping[str, Any]) -> str:
    return "sigopt"


def native_conditions(space: SearchSpace) -> tuple[frozenset[str], Mapping[str, Rule]]:
    """The leaves whose conditions are written natively, and the parents that become conditionals.

    One level of conditions, every parent a choice that is written as texts, and something active under each
    of its values.
    """
    conditional = {leaf.name for leaf in space.leaves if leaf.when}
    if not conditional:
        return frozenset(), {}
    leaves = {leaf.name: leaf for leaf in space.leaves}
    able = {name for name, leaf in leaves.items() if not leaf.when and _is_string_coded(leaf.parameter)}
    asked = {parent for leaf in leaves.values() for parent, _ in leaf.when}
    parents = asked & able
    while True:
        children = {name for name in conditional if all(parent in parents for parent, _ in leaves[name].when)}
        inhabited = {
            parent for parent in parents if _every_value_has_child(leaves[parent], [leaves[name] for name in children])
        }
        if inhabited == parents:
            return frozenset(children), {name: _conditional_rule(leaves[name].parameter) for name in parents}
        parents = inhabited


def _is_string_coded(p: Parameter) -> bool:
    return isinstance(p, Categorical) and not p.weights and (are_sigopt_strings(p) or are_sigopt_literals(p))


def _conditional_rule(p: Any) -> Rule:
    form = "conditional" if are_sigopt_strings(p) else "conditional literals"
    return equivalent(form, NO_ORDER) if p.ordered else native(form)


def _every_value_has_child(parent: Leaf, children: list[Leaf]) -> bool:
    """Whether each value of the parent, on its own, activates a child."""
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


def write(fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> dict[str, Any]:
    by_name = {field.leaf.name: field for field in fields}
    form: dict[str, Any] = {"parameters": [], "conditionals": []}
    for field in fields:
        if field.rule.form in CONDITIONALS:
            values = list(field.proxy.choices)  # type: ignore[union-attr]
            form["conditionals"].append({"name": field.native_name, "values": values})
        elif field.proxy is not None:
            body = WRITERS[field.writer_key(WRITERS, PROXY_WRITERS)](field.proxy)
            entry = {"name": field.native_name, **body}
            if field.has_native_condition:
                parents = [(by_name[parent], values) for parent, values in field.leaf.when]
                entry["conditions"] = {
                    parent.native_name: list(map(parent.encode, values)) for parent, values in parents
                }
            form["parameters"].append(entry)
    if not form["parameters"]:
        hint = "add a parameter that varies" if fields else EMPTY
        raise TranslationError(
            "SigOpt needs something to search", [Issue("", "there is no parameter that varies", hint)]
        )
    return form


def to_sigopt(space: Mapping[str, Any], *, encode: bool = False) -> list[dict[str, Any]]:
    """The parameters of `conn.experiments().create(parameters=…)`.

    With `encode=True`, decode what comes back with `translate(space, "sigopt", encode=True).decode`.
    Conditions need the experiment's `conditionals` too: `translate(space, "sigopt").spec` has both.
    Raises `TranslationError` for what has no exact form.

    >>> to_sigopt({"batch": Categorical([16, 32])})
    [{'name': 'batch', 'type': 'categorical', 'categorical_values': ['16', '32']}]
    """
    form = translate(space, "sigopt", encode=encode).spec
    if form["conditionals"]:
        names = [Issue(each["name"], "is a conditional of the experiment") for each in form["conditionals"]]
        hint = 'translate(space, "sigopt").spec has both parameters and conditionals'
        raise TranslationError(f"a list of parameters cannot hold conditions: {hint}", names)
    return form["parameters"]  # type: ignore[no-any-return]


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
    if not whole and not high - low >= 1e-8:
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
    return make_categorical(literals.parse_all_or_none(stripped))


READERS: dict[str, Callable[[Mapping[str, Any]], Parameter]] = {
    "double": _double,
    "int": _int,
    "categorical": _categorical,
}


def read_parameter(config: Any) -> Parameter:
    """The parameter that one entry of the list describes, its name and conditions left out.

    >>> read_parameter({"type": "categorical", "categorical_values": ["16", "32"]})
    Categorical([16, 32])
    """
    if not isinstance(config, Mapping):
        reject(f"{short_repr(config)} is no parameter of SigOpt", 'write {"name": …, "type": …, "bounds": {…}}')
    if unknown := [key for key, value in config.items() if key not in _KEYS and value is not None]:
        reject(f"it has an unknown {', '.join(map(short_repr, unknown))}", f"its keys are {', '.join(sorted(_KEYS))}")
    if isinstance(config.get("grid"), list) and not config["grid"]:  # as SigOpt Lite answers where there is none
        config = {key: value for key, value in config.items() if key != "grid"}
    kind = config.get("type")
    if not isinstance(kind, str) or kind not in READERS:
        reject(f"its type is {short_repr(kind)}", f"one of {', '.join(READERS)}")
    return READERS[kind](config)


def accepts(source: Any) -> bool:
    """Whether a search space is SigOpt's: a list of its parameters, or an experiment that has one.

    A parameter is a dict that states its type, or the values that it draws from. The objects of SigOpt's client
    are what they are as JSON.
    """
    source = _as_json(source)
    if isinstance(source, Mapping):
        parameters = source.get("parameters")
        listed = isinstance(parameters, (list, tuple)) and (not parameters or accepts(parameters))
        return listed and all(map(is_plain, source.values()))
    return isinstance(source, (list, tuple)) and any(map(_is_parameter, source))


def _is_parameter(config: Any) -> bool:
    return isinstance(config, Mapping) and (
        isinstance(config.get("type"), str)
        or isinstance(config.get("bounds"), Mapping)
        or any(isinstance(config.get(key), (list, tuple)) for key in ("grid", "categorical_values"))
    )


def from_sigopt(thing: Any) -> SearchSpace:
    """Read a list of SigOpt parameters, or an experiment: a dict with `parameters` and `conditionals`.

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
        reject(f"{short_repr(thing)} is no space of SigOpt", "give the list of parameters")
    parents = parse_entries("SigOpt", _conditional, [(_name(each), each) for each in conditionals])

    def read(each: Any) -> Parameter:
        return each if isinstance(each, Parameter) else _with_conditions(each, parents)

    children = [(_name(each), each) for each in parameters]
    return build_space("SigOpt", parse_entries("SigOpt", read, [*parents.items(), *children]))


def is_client_object(thing: Any) -> bool:
    """Whether this is an object of SigOpt's client, such as an Experiment; asked without loading the client."""
    return type(thing).__module__.partition(".")[0] == "sigopt" and callable(getattr(thing, "to_json", None))


def _as_json(thing: Any) -> Any:
    if isinstance(thing, (list, tuple)):
        return [each.to_json() if is_client_object(each) else each for each in thing]
    return thing.to_json() if is_client_object(thing) else thing


def _is_not_empty(items: Any) -> bool:
    """Whether there is something: a server writes null or an empty list where there is nothing."""
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


def read_settings(found: Mapping[str, Any]) -> SearchSettings:
    """What an experiment says besides its parameters. Raises `TranslationError`.

    >>> settings = read_settings({"metrics": [{"name": "acc", "objective": "maximize"}], "observation_budget": 30})
    >>> settings.directions, settings.n_trials
    (('maximize',), 30)
    """
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
        directions=goals,
        default="maximize",
        metrics=tuple(names) if all(names) else (),
        sampler=None if kind is None else _SAMPLERS[kind],
        n_trials=budget,
        options=options,
        terms=_TERMS,
        unused=unused,
    )
