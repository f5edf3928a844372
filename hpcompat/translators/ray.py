"""Ray Tune: a dict of domains, groups nested as dicts, constants as they are.

The form has each domain as the call that makes it: {"lr": {"call": "loguniform", "args": [1e-06, 0.0001]}}.

Ray's own sampling and its search algorithms draw the same domain by different laws, so `searcher` says
which of them will read the space:

| searcher | read by | written |
|---|---|---|
| left out | Ray's own random and grid search | what these draw exactly |
| "optuna" | OptunaSearch | what Optuna draws exactly |
| True | any other search algorithm | uniform floats: all of them draw these, and no more is common to all |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.domains import shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Int, Normal, Parameter
from hpcompat.space.serialization import value_from_json, value_to_json
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import SCALARS, copy_if_mutable, short_repr
from hpcompat.translators import names
from hpcompat.translators.capabilities import Rule
from hpcompat.translators.parsing import (
    build_space,
    json_data,
    make_categorical,
    make_range,
    nested_entries,
    parse_call,
    parse_entries,
    parse_number,
    reject,
    reject_depth,
)
from hpcompat.translators.predicates import ray_would_resolve, repeat_counts
from hpcompat.translators.translation import FieldMapping, translate

NAMES = names.RAY
NAME_SEARCHER = "use searcher='optuna' for OptunaSearch, or leave searcher out for Ray's own sampling"
NESTED = True
Searcher: TypeAlias = Literal["optuna"] | bool | None
"""What draws: Ray itself, its OptunaSearch, or (True) any other search algorithm."""


def parse_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    if unknown := [name for name in options if name != "searcher"]:
        raise TranslationError(
            "unknown option", [Issue("", f"Ray has no option {unknown[0]!r}", "searcher=True is one")]
        )
    _check_searcher(options.get("searcher"))
    return options


def _check_searcher(searcher: Any) -> None:
    if searcher is None or isinstance(searcher, bool) or (isinstance(searcher, str) and searcher == "optuna"):
        return
    reason = f"expected 'optuna', True or False, got {short_repr(searcher)}"
    hint = "use searcher='optuna' for OptunaSearch, searcher=True for any other search algorithm"
    raise TranslationError("unknown searcher", [Issue("searcher", reason, hint)])


def variant(options: Mapping[str, Any]) -> str:
    searcher = options.get("searcher")
    return "ray optuna" if searcher == "optuna" else "ray searcher" if searcher else "ray"


def native_conditions(space: SearchSpace) -> tuple[frozenset[str], Mapping[str, Rule]]:
    """Domains have no conditions: every parameter is always drawn."""
    return frozenset(), {}


# -- writing ----------------------------------------------------------------------------------------


def _choice_args(p: Parameter) -> list[Any]:
    return [list(p.support or ())]


def _repeated_choice_args(p: Categorical) -> list[Any]:
    return [
        [copy_if_mutable(choice) for choice, n in zip(p.choices, repeat_counts(p) or (), strict=True) for _ in range(n)]
    ]


WRITERS: dict[str, tuple[str, Callable[[Any], list[Any]]]] = {
    "uniform": ("uniform", lambda p: [p.low, p.high]),
    "loguniform": ("loguniform", lambda p: [p.low, p.high]),
    "quniform": ("quniform", lambda p: [p.low, p.high, p.step]),
    "qloguniform": ("qloguniform", lambda p: [p.low, p.high, p.step]),
    # the upper bounds of Ray's ints are exclusive, but for quantised ones
    "randint": ("randint", lambda p: [p.low, p.high + 1]),
    "lograndint": ("lograndint", lambda p: [p.low, p.high + 1]),
    "qrandint": ("qrandint", lambda p: [p.low, p.high, p.step]),
    "qlograndint": ("qlograndint", lambda p: [p.low, p.high, p.step]),
    "randn": ("randn", lambda p: [p.mean, p.std]),
    "qrandn": ("qrandn", lambda p: [p.mean, p.std, p.step]),
    "choice": ("choice", _choice_args),
    "choice_of_steps": ("choice", _choice_args),
    "weighted_choice": ("choice", _repeated_choice_args),
    "constant": ("constant", lambda p: [copy_if_mutable(p.value)]),
}
PROXY_WRITERS = {"float": "uniform", "int": "randint", "categorical": "choice"}


def write(fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for field in fields:
        if field.proxy is not None:
            place = spec
            for part in field.native_path[:-1]:
                place = place.setdefault(part, {})
            call, arguments = WRITERS[field.writer_key(WRITERS, PROXY_WRITERS)]
            args = value_to_json(arguments(field.proxy))
            place[field.native_path[-1]] = {"call": call, "args": args}
    return spec


def to_ray(space: Mapping[str, Any], *, encode: bool = False, searcher: Searcher = None) -> dict[str, Any]:
    """A dict of Ray domains for `Tuner(param_space=…)`; imports Ray.

    `searcher="optuna"` where `search_alg` is Ray's OptunaSearch, `searcher=True` where it is any other:
    these are only sure to draw uniform floats (HyperOptSearch never draws 8 of qrandint(2, 8, 2),
    BayesOptSearch drops a log scale), so all else needs `encode=True` there. A space with conditions has
    no domains: hand `to_optuna(space)` to OptunaSearch, which takes the function. With `encode=True`,
    decode what comes back with `translate(space, "ray", encode=True, searcher=…).decode`. Raises
    `TranslationError` for what has no exact form.

    >>> to_ray({"lr": Float(1e-6, 1e-4, log=True)})["lr"].sampler.__class__.__name__
    '_LogUniform'
    """
    return build_domains(translate(space, "ray", encode=encode, searcher=searcher).spec)


def build_domains(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A form as Ray's own domains; imports Ray."""
    from ray import tune

    def build(entry: Mapping[str, Any]) -> Any:
        if not _is_call(entry):
            return {name: build(inner) for name, inner in entry.items()}
        args = value_from_json(entry["args"])
        return args[0] if entry["call"] == "constant" else getattr(tune, entry["call"])(*args)

    return {name: build(entry) for name, entry in spec.items()}


# -- reading ----------------------------------------------------------------------------------------


def _ceil(bound: Any, q: Any) -> int:
    return math.ceil(_ratio("a bound", bound) / _ratio("q", q))


def _floor(bound: Any, q: Any) -> int:
    return math.floor(_ratio("a bound", bound) / _ratio("q", q))


def _ratio(name: str, value: Any) -> Fraction:
    value = parse_number(name, value)
    if not math.isfinite(value):
        reject(f"{name} is {value}, which is not finite", "give a number")
    return Fraction(*shortest_decimal_fraction(float(value))) or (
        reject("q is 0", "give a q above 0") if name == "q" else Fraction()
    )


def _check_quantized(q: Any, log: bool, searcher: Searcher) -> None:
    """Refuse a quantised domain that is drawn by no law, or by as many as there are search algorithms."""
    if searcher is True:
        reject("search algorithms draw quantised domains by different laws", NAME_SEARCHER)
    if searcher == "optuna" and log and q != 1:
        reject("OptunaSearch has no step on a logarithmic scale", "use a domain without q, or leave searcher out")


def _quantized_float(lower: Any, upper: Any, q: Any, log: bool, searcher: Searcher) -> Parameter:
    """Multiples of q between the bounds."""
    _check_quantized(None, log, searcher)
    first, last, step = _ceil(lower, q), _floor(upper, q), _ratio("q", q)
    if step < 0 or last < first:
        reject(f"there is no multiple of q={q} from {lower} to {upper}", "widen the bounds")
    return make_range(float(first * step), float(last * step), log=log, step=float(q))


def _quantized_int(lower: Any, upper: Any, q: Any, log: bool, searcher: Searcher) -> Parameter:
    lower, upper, q = (parse_number(name, x, True) for name, x in (("lower", lower), ("upper", upper), ("q", q)))
    if q < 1:
        reject(f"q is {q}", "give a q of 1 or more")
    _check_quantized(q, log, searcher)
    if searcher and log:
        return _int(lower, upper, log)
    if searcher:
        return make_range(lower, lower + (upper - lower) // q * q, step=q, whole=True)
    first, last = -(-lower // q) * q, (upper // q - (q == 1)) * q
    if last < first:
        reject(f"there is no multiple of q={q} from {lower} to {upper}", "widen the bounds")
    return make_range(first, last, log=log, step=q, whole=True)


def _normal(mean: Any = 0.0, sd: Any = 1.0, q: Any = None) -> Parameter:
    return Normal(
        parse_number("mean", mean), parse_number("sd", sd), step=None if q is None else float(parse_number("q", q))
    )


def _read_normal(domain: Any, law: Any, q: Any = None) -> Parameter:
    if math.isfinite(domain.lower) or math.isfinite(domain.upper):
        reject(f"Ray draws no normal law between bounds ({domain.lower}, {domain.upper})", "leave them out")
    return _normal(law.mean, law.sd, q)


def _int(lower: Any, upper: Any, log: bool) -> Parameter:
    lower, upper = parse_number("lower", lower, True), parse_number("upper", upper, True)
    if lower >= upper:
        reject(f"lower {lower} is not below upper {upper}, which Ray's ints leave out", "raise upper")
    if upper - lower == 1:
        return Constant(lower)
    return Int(lower, upper - 1, log=True) if log else Int(lower, upper - 1)


READERS: dict[str, Callable[..., Parameter]] = {
    "uniform": lambda searcher, lower, upper: make_range(lower, upper),
    "loguniform": lambda searcher, lower, upper, base=10: make_range(lower, upper, log=True),
    "quniform": lambda searcher, lower, upper, q: _quantized_float(lower, upper, q, False, searcher),
    "qloguniform": lambda searcher, lower, upper, q, base=10: _quantized_float(lower, upper, q, True, searcher),
    "randint": lambda searcher, lower, upper: _int(lower, upper, False),
    "lograndint": lambda searcher, lower, upper, base=10: _int(lower, upper, True),
    "qrandint": lambda searcher, lower, upper, q=1: _quantized_int(lower, upper, q, False, searcher),
    "qlograndint": lambda searcher, lower, upper, q, base=10: _quantized_int(lower, upper, q, True, searcher),
    "randn": lambda searcher, mean=0.0, sd=1.0: _normal(mean, sd),
    "qrandn": lambda searcher, mean, sd, q: _normal(mean, sd, q),
    "choice": lambda searcher, categories: make_categorical(categories),
    "grid_search": lambda searcher, values: make_categorical(values),
    "constant": lambda searcher, value: Constant(value),
}
"""By the name of the tune function: its own arguments, after which search algorithm will draw."""


def read_call(call: Any, args: Any = (), kwargs: Any = None, *, searcher: Searcher = None) -> Parameter:
    """The parameter that a `tune.<call>(*args, **kwargs)` draws.

    >>> read_call("qrandint", [1, 10, 3]), read_call("qrandint", [1, 10, 3], searcher="optuna")
    (Int(3, 9, step=3), Int(1, 10, step=3))
    """
    if call == "sample_from":
        reject("it is computed by a function (sample_from)", "compute it in the training function instead")
    if not isinstance(call, str) or call not in READERS:
        reject(f"{short_repr(call)} is no domain of Ray", f"one of {', '.join(READERS)}")
    return parse_call(READERS[call], call, args, kwargs, hint="see Ray's signature", given=(searcher,))


_DOMAINS: dict[tuple[str, str], Callable[[Any, Any], Parameter]] = {
    ("Float", "_Uniform"): lambda domain, law: make_range(domain.lower, domain.upper),
    ("Float", "_LogUniform"): lambda domain, law: make_range(domain.lower, domain.upper, log=True),
    ("Float", "_Normal"): lambda domain, law: _read_normal(domain, law),
    ("Float", "Normal"): lambda domain, law: _read_normal(domain, law),
    ("Integer", "_Uniform"): lambda domain, law: _int(domain.lower, domain.upper, False),
    ("Integer", "_LogUniform"): lambda domain, law: _int(domain.lower, domain.upper, True),
    ("Categorical", "_Uniform"): lambda domain, law: _choice(domain.categories),
}
"""How domains are read, by the names of their class and of their law's: Ray need not be imported."""
_QUANTIZED = {
    ("Float", "_Uniform"): "quniform",
    ("Float", "_LogUniform"): "qloguniform",
    ("Integer", "_Uniform"): "qrandint",
    ("Integer", "_LogUniform"): "qlograndint",
}


def _choice(categories: Any) -> Parameter:
    parameter = make_categorical(categories)
    if not parameter.issues and not SCALARS.issuperset(map(type, categories)) and ray_would_resolve(list(categories)):
        reject("a choice holds code or a grid for Ray to resolve", "give it a name of its own")
    return parameter


def _read_quantized(domain: Any, searcher: Searcher) -> Parameter:
    """A domain that is quantised, or that has no law of its own to start with."""
    kind = type(domain).__name__
    if kind == "Function":
        return read_call("sample_from")
    if kind == "Categorical":  # whatever goes through it
        return _choice(domain.categories)
    try:
        law = domain.sampler or domain.get_sampler()
    except TypeError:
        reject(f"{short_repr(domain)} has no sampler", "give it one, or use a function of ray.tune")
    quantised = type(law).__name__ == "Quantized"
    whole = law.sampler if quantised else law
    drawn = kind, type(whole).__name__
    if drawn not in _DOMAINS:
        reject(f"{short_repr(domain)} is drawn by {drawn[1].lstrip('_')}, which no tune function makes")
    if not quantised:
        return _DOMAINS[drawn](domain, law)
    if drawn[1].endswith("Normal"):
        return _read_normal(domain, whole, law.q)
    return READERS[_QUANTIZED[drawn]](searcher, domain.lower, domain.upper, law.q)


def _is_domain(thing: Any) -> bool:
    return hasattr(type(thing), "get_sampler")


def _is_call(thing: Mapping[str, Any]) -> bool:
    return isinstance(thing.get("call"), str) and thing.keys() <= {"call", "args", "kwargs"}


def _is_grid(thing: Mapping[str, Any]) -> bool:
    values = thing.get("grid_search")
    return len(thing) == 1 and hasattr(values, "__iter__") and not isinstance(values, (str, bytes, Mapping))


def accepts(source: Any) -> bool:
    """Whether a search space is Ray's: a dict in which, groups included, something is drawn.

    What Ray draws is a domain, a grid, code to evaluate, or a call as a form has it. Each stands under the
    name of a parameter: a dict with such keys on its own is none.
    """
    return isinstance(source, Mapping) and any(
        _is_domain(entry) or (isinstance(entry, Mapping) and _is_drawn(entry)) for entry in nested_entries(source)
    )


def _is_drawn(thing: Mapping[str, Any]) -> bool:
    evaluated = len(thing) == 1 and isinstance(thing.get("eval"), str)
    return evaluated or _is_grid(thing) or (_is_call(thing) and thing["call"] in (*READERS, "sample_from"))


def from_ray(space: Mapping[str, Any], *, searcher: Searcher = None) -> SearchSpace:
    """The space of a dict of Ray domains, or of a form; Ray is not imported.

    Dicts are groups, {"grid_search": […]} is a Categorical, everything else a constant; a choice listed
    n times weighs n times as much. Calls, as a form has them, stand in no dict with domains. Quantised
    domains are read as Ray draws them, or with `searcher="optuna"` as its OptunaSearch does; with
    `searcher=True`, any other search algorithm, they have no meaning that all of these share. Raises
    `TranslationError` for them, for sample_from, {"eval": …} and domains inside lists too.

    >>> from_ray({"model": {"layers": {"call": "randint", "args": [1, 5]}, "kind": "vit"}})
    SearchSpace({'model': {'layers': Int(1, 4), 'kind': Constant('vit')}})
    """
    _check_searcher(searcher)
    if not isinstance(space, Mapping):
        reject(f"{short_repr(space)} is no space of Ray", "give the dict that param_space takes")
    # beside domains a dict with a key "call" is a group like any other
    written = not any(map(_is_domain, nested_entries(space)))
    return build_space("Ray", _read_group(space, searcher, written, 0))


def _read_group(space: Mapping[str, Any], searcher: Searcher, written: bool, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        reject_depth()

    def read(thing: Any) -> Any:
        law = getattr(thing, "sampler", None)
        if known := _DOMAINS.get((type(thing).__name__, type(law).__name__)):
            return known(thing, law)
        return _read_quantized(thing, searcher) if _is_domain(thing) else _read(thing, searcher, written, depth)

    return parse_entries("Ray", read, space.items())


def _read(thing: Any, searcher: Searcher, written: bool, depth: int) -> Any:
    if isinstance(thing, Mapping):
        if thing.keys() == {"grid_search"}:
            return read_call("grid_search", [thing["grid_search"]])
        if thing.keys() == {"eval"}:
            reject("it is code for Ray to evaluate", "compute it in the training function instead")
        if written and _is_call(thing):
            return _read_spec(thing, searcher)
        return _read_group(thing, searcher, written, depth + 1) or Constant({})
    if any(map(_is_domain, _iter_nested(thing))):
        reject("a list holds domains", "give each of them a name")
    if callable(thing):
        reject("it is a function", "compute it in the training function instead")
    return Constant(thing)


def _read_spec(thing: Mapping[str, Any], searcher: Searcher) -> Parameter:
    args = json_data("its arguments are", thing.get("args", []), "a list")
    kwargs = json_data("its arguments are", thing.get("kwargs", {}), "a dict by name")
    return read_call(thing["call"], args, kwargs, searcher=searcher)


def _iter_nested(thing: Any) -> Iterator[Any]:
    """The items of a list and of the lists in it, those of each once."""
    waiting, seen = [thing], set[int]()
    while waiting:
        items = waiting.pop()
        if isinstance(items, (list, tuple)) and id(items) not in seen:
            seen.add(id(items))
            yield from items
            waiting += items
