"""The cost of translating a mixed space of 1,000 parameters to and from every system, without encoding."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import hpcompat as hp
from benchmarks.spaces import import_peer, mixed_space, to_configspace
from benchmarks.timing import Call, MissingPeerError, Row, make_row, measure_in_turn

TITLE = "Translating"
NOTE = """
A space of 1,000 parameters: floats and ints on both scales, choices of strings and of numbers. A new space is built
for every call that writes one, outside the measurement. Ray's conversion builds one Optuna distribution for each
domain, and checks neither names nor bounds that Optuna does not; `from_ray` builds and checks a parameter for each, and
a space of all; `to_optuna` looks up each parameter in the capability table and records how it is represented.

Growth is measured with Python's garbage collector disabled, and compared with that of a plain list of dicts, which
grows as anything does that needs new memory: it is the limit for hpcompat. If anything were done for every pair of
parameters, one of 100,000 would cost a hundred times what one of 1,000 does. (With the collector enabled two to four
times: it goes through a heap that grows.)
"""
T = TypeVar("T")
DIALECTS = ("optuna", "ray", "sigopt", "wandb")


def measure(smoke: bool) -> Iterator[Row]:
    """Compare with the conversions of Ray, W&B and ConfigSpace, and measure how the cost grows."""
    size, rounds = (20, 1) if smoke else (1_000, 51)
    yield from compare_with_ray(size, rounds)
    try:
        yield from compare_with_wandb(size, rounds)
        yield from compare_with_configspace(size, rounds)
    except MissingPeerError:
        if not smoke:
            raise
    yield from measure_growth(*((20, 40) if smoke else (1_000, 100_000)), rounds=1 if smoke else 3)


def space_factory(size: int, log_ints: bool = True) -> Callable[[], hp.SearchSpace]:
    """Return a function that builds a new space from data, which shares no cached values with another one."""
    data = mixed_space(size, log_ints).to_dict()
    return lambda: hp.SearchSpace.from_dict(data)


def use_once(make: Callable[[], T], use: Callable[[T], object], rounds: int) -> Call:
    """Return a call of `use` that takes a new object every time; making the objects is not measured."""
    unused = [make() for _ in range(rounds + 1)]
    return lambda: use(unused.pop())


def compare_with_ray(size: int, rounds: int) -> Iterator[Row]:
    """Compare with Ray's conversion of its domains to Optuna's distributions, which both reads and writes."""
    convert = import_peer("ray.tune.search.optuna").OptunaSearch.convert_search_space
    make = space_factory(size)
    domains = hp.to_ray(make())
    to_optuna, from_ray, baseline = measure_in_turn(
        use_once(make, lambda space: hp.to_optuna(space).spec, rounds),
        lambda: hp.from_ray(domains),
        lambda: convert(domains),
        rounds=rounds,
    )
    yield make_row("`to_optuna`", "Ray's `OptunaSearch.convert_search_space`", 2.0, to_optuna, baseline)
    yield make_row("`from_ray`", "Ray's `OptunaSearch.convert_search_space`", 3.0, from_ray, baseline)


def compare_with_wandb(size: int, rounds: int) -> Iterator[Row]:
    """Compare with W&B's conversion of a sweep to Optuna's distributions."""
    convert = import_peer("wandb.sdk.sweeps.scheduler.optuna").search_space_from_sweep_config
    sweep = hp.to_wandb(mixed_space(size, log_ints=False), method="bayes", metric="loss")
    seconds, baseline = measure_in_turn(
        lambda: hp.from_wandb(sweep), lambda: convert(sweep["parameters"]), rounds=rounds
    )
    yield make_row("`from_wandb`", "W&B's `search_space_from_sweep_config`", None, seconds, baseline)


def compare_with_configspace(size: int, rounds: int) -> Iterator[Row]:
    """Compare with how ConfigSpace serializes a space to a dict, and reads it."""
    make = space_factory(size)
    configspace = to_configspace(make())
    serialized, space_type = configspace.to_serialized_dict(), type(configspace)
    data = make().to_dict()
    yield make_row(
        "`SearchSpace.to_dict`",
        "ConfigSpace's `to_serialized_dict`",
        1.0,
        *measure_in_turn(
            use_once(make, lambda space: space.to_dict(), rounds), configspace.to_serialized_dict, rounds=rounds
        ),
    )
    rounds = max(1, rounds // 5)
    # from_serialized_dict modifies its argument
    from_copy = use_once(lambda: copy.deepcopy(serialized), space_type.from_serialized_dict, rounds)
    yield make_row(
        "`SearchSpace.from_dict`",
        "ConfigSpace's `from_serialized_dict`",
        1.0,
        *measure_in_turn(lambda: hp.SearchSpace.from_dict(data), from_copy, rounds=rounds),
    )


def measure_growth(small: int, large: int, rounds: int) -> Iterator[Row]:
    """Compare the cost per parameter in a large space with that in a small one."""

    def compare(subject: str, max_ratio: float | None, on_few: Call, on_many: Call) -> Row:
        calls = _without_gc(on_many), _without_gc(_repeat(on_few, large // small))
        seconds, baseline = measure_in_turn(*calls, rounds=rounds)
        return make_row(f"{subject}: one of {large:,}", f"one of {small:,}", max_ratio, seconds, baseline, per=large)

    dicts = compare("a dict `{name: {…}}`", None, lambda: _make_dicts(small), lambda: _make_dicts(large))
    yield dicts
    for dialect in DIALECTS:
        few, many = space_factory(small, dialect != "sigopt")(), space_factory(large, dialect != "sigopt")()
        for verb, on_few, on_many in (("to", *_writers(few, many, dialect)), ("from", *_readers(few, many, dialect))):
            yield compare(f"a parameter by `{verb}_{dialect}`", round(dicts.ratio, 2), on_few, on_many)


def _make_dicts(number: int) -> list[Any]:
    return [{name: {"low": 0.0, "high": 1.0}} for name in range(number)]


def _writers(few: hp.SearchSpace, many: hp.SearchSpace, dialect: str) -> tuple[Call, Call]:
    return lambda: hp.translate(few, dialect).spec, lambda: hp.translate(many, dialect).spec


def _readers(few: hp.SearchSpace, many: hp.SearchSpace, dialect: str) -> tuple[Call, Call]:
    read = getattr(hp, f"from_{dialect}")
    one, other = hp.translate(few, dialect).spec, hp.translate(many, dialect).spec
    return lambda: read(one), lambda: read(other)


def _repeat(call: Call, times: int) -> Call:
    def run() -> None:
        for _ in range(times):
            call()

    return run


def _without_gc(call: Call) -> Call:
    def run() -> None:
        gc.disable()
        try:
            call()
        finally:
            gc.enable()

    return run
