"""Ray Tune: a dict of domains, groups nested as dicts, constants as they are.

The spec has each domain as the call that makes it: {"lr": {"call": "loguniform", "args": [1e-06, 0.0001]}}.

Ray's own sampling and its search algorithms draw the same domain from different distributions, so `searcher` says
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
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal, TypeAlias

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.domains import shortest_decimal_fraction
from hpcompat.space.parameters import Categorical, Constant, Int, Normal, Parameter
from hpcompat.space.serialization import value_from_json, value_to_json
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import SCALARS, copy_if_mutable, short_repr
from hpcompat.translators import names
from hpcompat.translators.capabilities import (
    FLOAT_NOISE,
    INDEX_LARGE,
    INDEX_LONG,
    LABELS,
    NO_LOG_NORMAL,
    NO_ORDER,
    SHAPES,
    UNIT_LARGE,
    UNIT_LOG_STEP,
    UNIT_NARROW,
    UNIT_NOISE,
    UNIT_NORMAL,
    UNIT_NOT_MULTIPLES,
    UNIT_TRUNCATED,
    UNIT_WEIGHTS,
    UNIT_WIDE,
    all_of,
    encoded,
    equivalent,
    fits_float_exactly,
    has_exact_step,
    has_finite_width,
    has_min_width,
    is_enumerable,
    is_int_multiple_of_step,
    is_multiple_of_step,
    is_unordered,
    is_untruncated,
    native,
    survives_json,
)
from hpcompat.translators.dialect import Dialect, Variant
from hpcompat.translators.fields import FieldMapping
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
from hpcompat.translators.translation import translate

NAME_SEARCHER = "use searcher='optuna' for OptunaSearch, or leave searcher out for Ray's own sampling"
Searcher: TypeAlias = Literal["optuna"] | bool | None
"""What draws: Ray itself, its OptunaSearch, or (True) any other search algorithm."""

# -- what domains can express ---------------------------------------------------------------------------


def is_inert(p: Categorical | Constant) -> bool:
    """Return whether Ray would resolve nothing in the values."""
    values = p.choices if isinstance(p, Categorical) else (p.value,)
    return not any(map(would_resolve, values))


def would_resolve(value: Any) -> bool:
    """Return whether Ray takes a dict in the value for part of the space: it evaluates {"eval": …}, splits at "/"."""
    if type(value) in SCALARS:
        return False
    if isinstance(value, dict):
        return (
            bool({"eval", "grid_search"} & value.keys())
            or any("/" in key for key in value)
            or any(map(would_resolve, value.values()))
        )
    return (
        isinstance(value, (list, tuple)) and not SCALARS.issuperset(map(type, value)) and any(map(would_resolve, value))
    )


def is_not_a_dict(p: Constant) -> bool:
    """Return whether the value does not read back as a group, as a dict in a Ray config does."""
    return not (isinstance(p.value, dict) and p.value)


def is_scalar_constant(p: Constant) -> bool:
    """Return whether the value is a number, a bool or a string."""
    return p.value is not None and type(p.value) in SCALARS


def has_float_step(p: Normal) -> bool:
    """Return whether draws are rounded to floats."""
    return type(p.step) is float


def is_repeatable(p: Categorical) -> bool:
    """Return whether the ratios of the weights are small whole numbers: listing a choice repeatedly gives them."""
    return is_inert(p) and repeat_counts(p) is not None


def repeat_counts(p: Categorical) -> tuple[int, ...] | None:
    """Return how often to list each choice for exactly its weight; None if more than 1,000 in all."""
    if p.weights is None:
        return (1,) * len(p.choices)
    smallest = min(p.weights)
    for base in range(1, 101):
        counts = tuple(round(weight / smallest * base) for weight in p.weights)
        total = sum(counts)
        if total > 1000:
            return None
        if all(count / total == weight for count, weight in zip(counts, p.weights, strict=True)):
            return counts
    return None


_LIST = (equivalent("choice", "a list of the values", is_enumerable), INDEX_LONG)
_WOULD_RESOLVE = "a dict with a key eval, grid_search or one with / would be resolved"
_LABELS = encoded("labels", _WOULD_RESOLVE)
_CONSTANT = (
    native("constant", all_of(is_inert, is_not_a_dict)),
    equivalent("constant", "a dict reads as a group", is_inert),
    encoded("absent", _WOULD_RESOLVE),
)
_LOG_NORMAL = (encoded("unit", NO_LOG_NORMAL),)
_NORMAL = (UNIT_NORMAL,)

TUNE = {
    "float": (native("uniform", has_finite_width), UNIT_WIDE),
    "float log": (native("loguniform"),),
    "float step": _LIST,
    "float log step": (
        native("qloguniform", all_of(has_exact_step, is_multiple_of_step)),
        UNIT_NOISE,
        UNIT_NOT_MULTIPLES,
    ),
    "int": (native("randint", fits_float_exactly), INDEX_LARGE),
    "int log": (native("lograndint", fits_float_exactly), UNIT_LARGE),
    "int step": (native("qrandint", is_int_multiple_of_step), *_LIST),
    "int log step": (native("qlograndint", is_int_multiple_of_step), UNIT_NOT_MULTIPLES),
    "categorical": (native("choice", is_inert), _LABELS),
    "categorical ordered": (equivalent("choice", NO_ORDER, is_inert), _LABELS),
    "categorical weights": (
        native("choice", all_of(is_repeatable, is_unordered), "choices repeated"),
        equivalent("choice", NO_ORDER, is_repeatable),
        encoded("unit", "it has no weights, and these are no ratios of small whole numbers"),
    ),
    "constant": _CONSTANT,
    "normal": (native("randn", is_untruncated), UNIT_TRUNCATED),
    "normal log": _LOG_NORMAL,
    "normal step": (
        native("qrandn", all_of(is_untruncated, has_float_step, has_exact_step)),
        encoded("unit", FLOAT_NOISE, all_of(is_untruncated, has_float_step)),
        encoded("unit", "it rounds untruncated distributions to floats alone"),
    ),
    "normal log step": _LOG_NORMAL,
}
OPTUNA_SEARCH = {
    **TUNE,
    "float step": (native("quniform", all_of(has_finite_width, has_exact_step, is_multiple_of_step)), *_LIST),
    "float log step": (encoded("unit", "it drops the step of a logarithmic scale"),),
    "int log step": (UNIT_LOG_STEP,),
    "categorical": (native("choice", all_of(is_inert, survives_json)), LABELS),
    "categorical ordered": (equivalent("choice", NO_ORDER, all_of(is_inert, survives_json)), LABELS),
    "categorical weights": (UNIT_WEIGHTS,),
    "normal": _NORMAL,
    "normal log": _NORMAL,
    "normal step": _NORMAL,
    "normal log step": _NORMAL,
}
_UNIFORM_ALONE = (
    # HyperOptSearch draws the ends of an int half as often, BayesOptSearch drops log, Nevergrad and ZOOpt the step:
    # https://github.com/ray-project/ray/issues/30350, https://github.com/ray-project/ray/issues/13537
    encoded("unit", "not every search algorithm draws more than uniform floats (OptunaSearch does: searcher='optuna')"),
)
ANY_SEARCHER = {
    **dict.fromkeys(SHAPES, _UNIFORM_ALONE),
    "float": (native("uniform", has_min_width), UNIT_NARROW),
    "constant": (
        native("constant", is_scalar_constant),
        encoded("absent", "a search algorithm can refuse None, and turn lists and tuples into each other"),
    ),
}
_NO_CONDITIONS = encoded("", "domains have no conditions; OptunaSearch takes the function of to_optuna")


class RayDialect(Dialect):
    """The domains of Ray Tune."""

    name = "ray"
    title = "Ray"
    names = names.RAY
    is_nested = True
    variants: ClassVar[Mapping[str, Variant]] = {
        variant.name: variant
        for variant in (
            Variant("ray", "Ray Tune", TUNE, {}, _NO_CONDITIONS),
            Variant("ray optuna", "Ray Tune under OptunaSearch", OPTUNA_SEARCH, {"searcher": "optuna"}, _NO_CONDITIONS),
            Variant(
                "ray searcher",
                "Ray Tune under any other search algorithm",
                ANY_SEARCHER,
                {"searcher": True},
                encoded("", "domains have no conditions"),
            ),
        )
    }

    def parse_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options: `searcher` is the only one."""
        if unknown := [name for name in options if name != "searcher"]:
            issue = Issue("", f"Ray has no option {unknown[0]!r}", "searcher=True is one")
            raise TranslationError("unknown option", [issue])
        _validate_searcher(options.get("searcher"))
        return options

    def variant(self, options: Mapping[str, Any]) -> Variant:
        """Return the variant of the searcher."""
        searcher = options.get("searcher")
        return self.variants["ray optuna" if searcher == "optuna" else "ray searcher" if searcher else "ray"]

    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the calls that make the domains, nested by group."""
        spec: dict[str, Any] = {}
        for field in fields:
            if field.proxy is not None:
                group = spec
                for part in field.native_path[:-1]:
                    group = group.setdefault(part, {})
                call = field.writer_key(FORMS, PROXY_FORMS)
                write: Any = FORMS[call].write
                group[field.native_path[-1]] = {"call": call, "args": value_to_json(write(field.proxy))}
        return spec

    def accepts(self, source: Any) -> bool:
        """Return whether this is a dict in which, groups included, something is drawn.

        What Ray draws is a domain, a grid, code to evaluate, or a call as a spec has it. Each stands under the
        name of a parameter: a dict with such keys on its own is not a space.
        """
        return isinstance(source, Mapping) and any(
            _is_domain(entry) or (isinstance(entry, Mapping) and _is_drawn(entry)) for entry in nested_entries(source)
        )

    def read(self, source: Any) -> SearchSpace:
        """See `from_ray`."""
        return from_ray(source)


RAY = RayDialect()


def _validate_searcher(searcher: Any) -> None:
    if searcher is None or isinstance(searcher, bool) or (isinstance(searcher, str) and searcher == "optuna"):
        return
    message = f"expected 'optuna', True or False, got {short_repr(searcher)}"
    hint = "use searcher='optuna' for OptunaSearch, searcher=True for any other search algorithm"
    raise TranslationError("unknown searcher", [Issue("searcher", message, hint)])


def to_ray(space: Mapping[str, Any], *, encode: bool = False, searcher: Searcher = None) -> dict[str, Any]:
    """Return a dict of Ray domains for `Tuner(param_space=…)`; imports Ray.

    A space with conditions has no domains: hand `to_optuna(space)` to OptunaSearch, which takes the function.

    Args:
        space: A SearchSpace, or a dict of parameters.
        encode: Whether to let what has no exact form travel encoded. Decode what comes back with
            `translate(space, "ray", encode=True, searcher=…).decode`.
        searcher: "optuna" where `search_alg` is Ray's OptunaSearch, True where it is any other: these are only sure
            to draw uniform floats (HyperOptSearch never draws 8 of qrandint(2, 8, 2), BayesOptSearch drops a log
            scale), so all else needs `encode=True` there.

    Raises:
        TranslationError: A parameter has no exact form.

    >>> to_ray({"lr": Float(1e-6, 1e-4, log=True)})["lr"].sampler.__class__.__name__
    '_LogUniform'
    """
    return build_domains(translate(space, "ray", encode=encode, searcher=searcher).spec)


def build_domains(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec as Ray's own domains; imports Ray."""
    from ray import tune

    def build(entry: Mapping[str, Any]) -> Any:
        if not _is_call(entry):
            return {name: build(inner) for name, inner in entry.items()}
        args = value_from_json(entry["args"])
        return args[0] if entry["call"] == "constant" else getattr(tune, entry["call"])(*args)

    return {name: build(entry) for name, entry in spec.items()}


# -- the domains: each row writes and reads one ---------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """A function of `ray.tune`.

    Attributes:
        read: What will draw (the searcher), and the function's own arguments -> the parameter that it draws.
        write: A parameter -> the arguments; None for what is only read.
    """

    read: Callable[..., Parameter]
    write: Callable[[Any], list[Any]] | None = None


FORMS: dict[str, Form] = {
    "uniform": Form(
        lambda searcher, lower, upper: make_range(lower, upper),
        lambda p: [p.low, p.high],
    ),
    "loguniform": Form(
        lambda searcher, lower, upper, base=10: make_range(lower, upper, log=True),
        lambda p: [p.low, p.high],
    ),
    "quniform": Form(
        lambda searcher, lower, upper, q: _quantized_float(lower, upper, q, False, searcher),
        lambda p: [p.low, p.high, p.step],
    ),
    "qloguniform": Form(
        lambda searcher, lower, upper, q, base=10: _quantized_float(lower, upper, q, True, searcher),
        lambda p: [p.low, p.high, p.step],
    ),
    # the upper bounds of Ray's ints are exclusive, but for quantized ones
    "randint": Form(
        lambda searcher, lower, upper: _int(lower, upper, False),
        lambda p: [p.low, p.high + 1],
    ),
    "lograndint": Form(
        lambda searcher, lower, upper, base=10: _int(lower, upper, True),
        lambda p: [p.low, p.high + 1],
    ),
    "qrandint": Form(
        lambda searcher, lower, upper, q=1: _quantized_int(lower, upper, q, False, searcher),
        lambda p: [p.low, p.high, p.step],
    ),
    "qlograndint": Form(
        lambda searcher, lower, upper, q, base=10: _quantized_int(lower, upper, q, True, searcher),
        lambda p: [p.low, p.high, p.step],
    ),
    "randn": Form(
        lambda searcher, mean=0.0, sd=1.0: _normal(mean, sd),
        lambda p: [p.mean, p.std],
    ),
    "qrandn": Form(
        lambda searcher, mean, sd, q: _normal(mean, sd, q),
        lambda p: [p.mean, p.std, p.step],
    ),
    "choice": Form(
        lambda searcher, categories: make_categorical(categories),
        lambda p: [_repeated_choices(p)],
    ),
    "grid_search": Form(lambda searcher, values: make_categorical(values)),
    "constant": Form(
        lambda searcher, value: Constant(value),
        lambda p: [copy_if_mutable(p.value)],
    ),
}
"""By the name of the function."""
PROXY_FORMS = {"float": "uniform", "int": "randint", "categorical": "choice"}


def _repeated_choices(p: Any) -> list[Any]:
    if not isinstance(p, Categorical) or p.weights is None:
        return list(p.support or ())
    counts = repeat_counts(p) or ()
    return [copy_if_mutable(choice) for choice, n in zip(p.choices, counts, strict=True) for _ in range(n)]


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
    """Reject a quantized domain that search algorithms draw from different distributions, or do not draw."""
    if searcher is True:
        reject("search algorithms draw quantised domains by different laws", NAME_SEARCHER)
    if searcher == "optuna" and log and q != 1:
        reject("OptunaSearch has no step on a logarithmic scale", "use a domain without q, or leave searcher out")


def _quantized_float(lower: Any, upper: Any, q: Any, log: bool, searcher: Searcher) -> Parameter:
    """Return the multiples of q between the bounds."""
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
        reject(f"Ray draws no normal distribution between bounds ({domain.lower}, {domain.upper})", "leave them out")
    return _normal(law.mean, law.sd, q)


def _int(lower: Any, upper: Any, log: bool) -> Parameter:
    lower, upper = parse_number("lower", lower, True), parse_number("upper", upper, True)
    if lower >= upper:
        reject(f"lower {lower} is not below upper {upper}, which Ray's ints leave out", "raise upper")
    if upper - lower == 1:
        return Constant(lower)
    return Int(lower, upper - 1, log=True) if log else Int(lower, upper - 1)


def read_call(call: Any, args: Any = (), kwargs: Any = None, *, searcher: Searcher = None) -> Parameter:
    """Return the parameter that a `tune.<call>(*args, **kwargs)` draws.

    >>> read_call("qrandint", [1, 10, 3]), read_call("qrandint", [1, 10, 3], searcher="optuna")
    (Int(3, 9, step=3), Int(1, 10, step=3))
    """
    if call == "sample_from":
        reject("it is computed by a function (sample_from)", "compute it in the training function instead")
    if not isinstance(call, str) or call not in FORMS:
        reject(f"{short_repr(call)} is not a domain of Ray", f"one of {', '.join(FORMS)}")
    return parse_call(FORMS[call].read, call, args, kwargs, hint="see Ray's signature", given=(searcher,))


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
    if not parameter.issues and not SCALARS.issuperset(map(type, categories)) and would_resolve(list(categories)):
        reject("a choice holds code or a grid for Ray to resolve", "give it a name of its own")
    return parameter


def _read_quantized(domain: Any, searcher: Searcher) -> Parameter:
    """Read a domain that is quantized, or that has no sampler of its own."""
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
    return FORMS[_QUANTIZED[drawn]].read(searcher, domain.lower, domain.upper, law.q)


def _is_domain(thing: Any) -> bool:
    return hasattr(type(thing), "get_sampler")


def _is_call(thing: Mapping[str, Any]) -> bool:
    return isinstance(thing.get("call"), str) and thing.keys() <= {"call", "args", "kwargs"}


def _is_grid(thing: Mapping[str, Any]) -> bool:
    values = thing.get("grid_search")
    return len(thing) == 1 and hasattr(values, "__iter__") and not isinstance(values, (str, bytes, Mapping))


def _is_drawn(thing: Mapping[str, Any]) -> bool:
    evaluated = len(thing) == 1 and isinstance(thing.get("eval"), str)
    return evaluated or _is_grid(thing) or (_is_call(thing) and thing["call"] in (*FORMS, "sample_from"))


def from_ray(space: Mapping[str, Any], *, searcher: Searcher = None) -> SearchSpace:
    """Return the space of a dict of Ray domains, or of a spec; Ray is not imported.

    Dicts are groups, {"grid_search": […]} is a Categorical, everything else a constant; a choice listed
    n times weighs n times as much. Calls, as a spec has them, stand in no dict with domains. Quantized
    domains are read as Ray draws them, or with `searcher="optuna"` as its OptunaSearch does; with
    `searcher=True`, any other search algorithm, they have no meaning that all of these share. Raises
    `TranslationError` for them, for sample_from, {"eval": …} and domains inside lists too.

    >>> from_ray({"model": {"layers": {"call": "randint", "args": [1, 5]}, "kind": "vit"}})
    SearchSpace({'model': {'layers': Int(1, 4), 'kind': Constant('vit')}})
    """
    _validate_searcher(searcher)
    if not isinstance(space, Mapping):
        reject(f"{short_repr(space)} is not a space of Ray", "give the dict that param_space takes")
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
    """Yield the items of a list and of the lists in it, those of each list once."""
    waiting, seen = [thing], set[int]()
    while waiting:
        items = waiting.pop()
        if isinstance(items, (list, tuple)) and id(items) not in seen:
            seen.add(id(items))
            yield from items
            waiting += items
