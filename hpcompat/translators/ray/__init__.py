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

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from hpcompat.errors import Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Constant
from hpcompat.space.serialization import value_from_json, value_to_json
from hpcompat.space.tree import MAX_DEPTH, set_at_path
from hpcompat.space.values import short_repr
from hpcompat.translators import translate
from hpcompat.translators.codecs import FieldMapping
from hpcompat.translators.dialect import Dialect, NamePolicy, Variant
from hpcompat.translators.parsing import build_space, json_data, nested_entries, parse_entries, reject, reject_depth
from hpcompat.translators.ray.forms import (
    ANY_SEARCHER,
    FORMS,
    NO_CONDITIONS,
    NO_SEARCHER_CONDITIONS,
    OPTUNA_SEARCH,
    PROXY_FORMS,
    TUNE,
    Searcher,
    is_domain,
    read_call,
    read_domain,
)


class RayDialect(Dialect):
    """The domains of Ray Tune."""

    name = "ray"
    title = "Ray"
    names = NamePolicy(re.compile(r"[^/]*"), reserved=frozenset({"eval", "grid_search"}))
    is_nested = True
    variants: ClassVar[Mapping[str, Variant]] = {
        variant.name: variant
        for variant in (
            Variant("ray", "Ray Tune", TUNE, {}, NO_CONDITIONS),
            Variant("ray optuna", "Ray Tune under OptunaSearch", OPTUNA_SEARCH, {"searcher": "optuna"}, NO_CONDITIONS),
            Variant(
                "ray searcher",
                "Ray Tune under any other search algorithm",
                ANY_SEARCHER,
                {"searcher": True},
                NO_SEARCHER_CONDITIONS,
            ),
        )
    }

    def parse_options(self, options: Mapping[str, object]) -> Mapping[str, object]:
        """Return the options: `searcher` is the only one."""
        if unknown := [name for name in options if name != "searcher"]:
            issue = Issue("", f"Ray has no option {unknown[0]!r}", "searcher=True is one")
            raise TranslationError("unknown option", [issue])
        _validate_searcher(options.get("searcher"))
        return options

    def variant(self, options: Mapping[str, object]) -> Variant:
        """Return the variant of the searcher."""
        searcher = options.get("searcher")
        return self.variants["ray optuna" if searcher == "optuna" else "ray searcher" if searcher else "ray"]

    def write(self, fields: Sequence[FieldMapping], options: Mapping[str, object]) -> dict[str, Any]:
        """Return the calls that make the domains, nested by group."""
        spec: dict[str, Any] = {}
        for field in fields:
            if field.proxy is not None:
                call, args = field.write(FORMS, PROXY_FORMS)
                set_at_path(spec, field.native_path, {"call": call, "args": value_to_json(args)})
        return spec

    def accepts(self, source: object) -> bool:
        """Return whether this is a dict in which, groups included, something is drawn.

        What Ray draws is a domain, a grid, code to evaluate, or a call as a spec has it. Each stands under the
        name of a parameter: a dict with such keys on its own is not a space.
        """
        return isinstance(source, Mapping) and any(
            is_domain(entry) or (isinstance(entry, Mapping) and _is_drawn(entry)) for entry in nested_entries(source)
        )

    def read(self, source: object) -> SearchSpace:
        """See `from_ray`."""
        return from_ray(source)  # type: ignore[arg-type]  # which rejects what is not a dict


RAY = RayDialect()


def _validate_searcher(searcher: object) -> None:
    if searcher is None or isinstance(searcher, bool) or (isinstance(searcher, str) and searcher == "optuna"):
        return
    message = f"expected 'optuna', True or False, got {short_repr(searcher)}"
    hint = "use searcher='optuna' for OptunaSearch, searcher=True for any other search algorithm"
    raise TranslationError("unknown searcher", [Issue("searcher", message, hint)])


def to_ray(space: Mapping[str, object], *, encode: bool = False, searcher: Searcher = None) -> dict[str, Any]:
    """Return a dict of Ray domains for `Tuner(param_space=…)`; imports Ray.

    A space with conditions has no domains: hand `to_optuna(space)` to OptunaSearch, which takes the function.

    Args:
        space: A SearchSpace, or a dict of parameters.
        encode: Whether to encode what has no exact form. Decode what comes back with
            `translate(space, "ray", encode=True, searcher=…).decode`.
        searcher: "optuna" where `search_alg` is Ray's OptunaSearch, True where it is any other: these are only sure
            to draw uniform floats (HyperOptSearch never draws 8 of qrandint(2, 8, 2), BayesOptSearch drops a log
            scale), so all else needs `encode=True` there.

    Raises:
        TranslationError: A parameter has no exact form.

    >>> import hpcompat as hp
    >>> hp.to_ray({"lr": hp.Float(1e-6, 1e-4, log=True)})["lr"].sampler.__class__.__name__
    '_LogUniform'
    """
    return build_domains(translate(space, "ray", encode=encode, searcher=searcher).spec)


def build_domains(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec as Ray's own domains; imports Ray."""
    from ray import tune

    def build(entry: Mapping[str, Any]) -> object:
        if not _is_call(entry):
            return {name: build(inner) for name, inner in entry.items()}
        args = value_from_json(entry["args"])
        return args[0] if entry["call"] == "constant" else getattr(tune, entry["call"])(*args)

    return {name: build(entry) for name, entry in spec.items()}


def from_ray(space: Mapping[str, object], *, searcher: Searcher = None) -> SearchSpace:
    """Return the space of a dict of Ray domains, or of a spec; Ray is not imported.

    A dict is a group, {"grid_search": […]} is a Categorical, everything else a Constant; a choice that is listed n
    times weighs n times as much. Calls, as a spec has them, stand in no dict with domains.

    Args:
        space: What `param_space` takes, or the spec of a `Translation`.
        searcher: What draws from quantized domains: Ray itself if left out, "optuna" for its OptunaSearch. With True,
            any other search algorithm, they are refused: these draw them from different distributions.

    Raises:
        TranslationError: It cannot be read, such as sample_from, {"eval": …} and a domain inside a list; with the
            reason for each parameter.

    >>> from_ray({"model": {"layers": {"call": "randint", "args": [1, 5]}, "kind": "vit"}})
    SearchSpace({'model': {'layers': Int(1, 4), 'kind': Constant('vit')}})
    """
    _validate_searcher(searcher)
    if not isinstance(space, Mapping):
        reject(f"{short_repr(space)} is not a space of Ray", "give the dict that param_space takes")
    # beside domains a dict with a key "call" is a group like any other
    is_spec = not any(map(is_domain, nested_entries(space)))
    return build_space("Ray", _read_group(space, searcher, is_spec, 0))


def _read_group(group: Mapping[str, object], searcher: Searcher, is_spec: bool, depth: int) -> dict[str, object]:
    if depth > MAX_DEPTH:
        reject_depth()

    def read(entry: object) -> object:
        return read_domain(entry, searcher) if is_domain(entry) else _read_entry(entry, searcher, is_spec, depth)

    return parse_entries("Ray", read, group.items())


def _read_entry(entry: object, searcher: Searcher, is_spec: bool, depth: int) -> object:
    """Return the parameter, or the entries of the group, that is not a domain."""
    if isinstance(entry, Mapping):
        if entry.keys() == {"grid_search"}:
            return read_call("grid_search", [entry["grid_search"]])
        if entry.keys() == {"eval"}:
            reject("it is code for Ray to evaluate", "compute it in the training function instead")
        if is_spec and _is_call(entry):
            args = json_data("its arguments are", entry.get("args", []), "a list")
            kwargs = json_data("its arguments are", entry.get("kwargs", {}), "a dict by name")
            return read_call(entry["call"], args, kwargs, searcher=searcher)
        return _read_group(entry, searcher, is_spec, depth + 1) or Constant({})
    if any(map(is_domain, _nested_items(entry))):
        reject("a list holds domains", "give each of them a name")
    if callable(entry):
        reject("it is a function", "compute it in the training function instead")
    return Constant(entry)


def _is_drawn(entry: Mapping[str, Any]) -> bool:
    """Return whether Ray draws, evaluates or varies what a dict says."""
    if len(entry) == 1 and isinstance(entry.get("eval"), str):
        return True
    values = entry.get("grid_search")
    is_grid = len(entry) == 1 and hasattr(values, "__iter__") and not isinstance(values, (str, bytes, Mapping))
    return is_grid or (_is_call(entry) and entry["call"] in (*FORMS, "sample_from"))


def _is_call(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("call"), str) and entry.keys() <= {"call", "args", "kwargs"}


def _nested_items(value: object) -> Iterator[object]:
    """Yield the items of a list and of the lists in it, those of each list once."""
    waiting, seen = [value], set[int]()
    while waiting:
        items = waiting.pop()
        if isinstance(items, (list, tuple)) and id(items) not in seen:
            seen.add(id(items))
            yield from items
            waiting += items
