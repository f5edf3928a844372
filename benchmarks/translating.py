"""What translating costs: a mixed space of 1,000 parameters to and from each system, strictly."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from typing import Any

import hpcompat as hp
from benchmarks.spaces import configspace, mixed, peer
from benchmarks.timing import Call, MissingPeer, Row, in_turn, row

TITLE = "Translating"
NOTE = """
A space of 1,000 parameters: floats and ints on both scales, choices of texts and of numbers. Each space is made anew
before it is written, outside the measurement. Ray's conversion makes one Optuna distribution for each domain and
checks neither names nor bounds that Optuna does not; `from_ray` makes a parameter of it, checks it, and makes a space
of all, and `to_optuna` looks each up in the capability table and records how it travels.

How it grows is measured with Python's garbage collector at rest, and beside a plain list of dicts, which grows as
anything does that needs new memory: it is the most that is asked of ours. Were anything done for each pair of
parameters, one of 100,000 would cost a hundred times what one of 1,000 does. (With the collector on two to four times:
it goes through a heap that grows.)
"""
DIALECTS = ("optuna", "ray", "sigopt", "wandb")


def rows(smoke: bool) -> Iterator[Row]:
    """Against what Ray, W&B and ConfigSpace do of the kind; and how it grows."""
    size, rounds = (20, 1) if smoke else (1_000, 51)
    yield from against_ray(size, rounds)
    try:
        yield from against_wandb(size, rounds)
        yield from against_configspace(size, rounds)
    except MissingPeer:
        if not smoke:
            raise
    yield from growth(*((20, 40) if smoke else (1_000, 100_000)), rounds=1 if smoke else 3)


def new(size: int, log_ints: bool = True) -> Callable[[], hp.SearchSpace]:
    """Makes the space anew from its data: nothing that was found out about another one is known of it."""
    data = mixed(size, log_ints).to_dict()
    return lambda: hp.SearchSpace.from_dict(data)


def fresh(make: Callable[[], Any], use: Callable[[Any], Any], rounds: int) -> Call:
    """A call of `use` on something that nobody has used before; making it is not measured."""
    stock = [make() for _ in range(rounds + 1)]
    return lambda: use(stock.pop())


def against_ray(size: int, rounds: int) -> Iterator[Row]:
    """Ray's own conversion of its space to Optuna's distributions, which is the way in and out in one."""
    convert = peer("ray.tune.search.optuna").OptunaSearch.convert_search_space
    make = new(size)
    domains = hp.to_ray(make())
    out, into, theirs = in_turn(
        fresh(make, lambda space: hp.to_optuna(space).spec, rounds),
        lambda: hp.from_ray(domains),
        lambda: convert(domains),
        rounds=rounds,
    )
    yield row("`to_optuna`", "Ray's `OptunaSearch.convert_search_space`", 1.0, out, theirs)
    yield row("`from_ray`", "Ray's `OptunaSearch.convert_search_space`", 1.0, into, theirs)


def against_wandb(size: int, rounds: int) -> Iterator[Row]:
    """W&B's own conversion of a sweep to Optuna's distributions."""
    convert = peer("wandb.sdk.sweeps.scheduler.optuna").search_space_from_sweep_config
    sweep = hp.to_wandb(mixed(size, log_ints=False), method="bayes", metric="loss")
    ours, theirs = in_turn(lambda: hp.from_wandb(sweep), lambda: convert(sweep["parameters"]), rounds=rounds)
    yield row("`from_wandb`", "W&B's `search_space_from_sweep_config`", None, ours, theirs)


def against_configspace(size: int, rounds: int) -> Iterator[Row]:
    """ConfigSpace's form as a dictionary for JSON, and back."""
    make = new(size)
    theirs = configspace(make())
    written, kind = theirs.to_serialized_dict(), type(theirs)
    data = make().to_dict()
    yield row(
        "`SearchSpace.to_dict`",
        "ConfigSpace's `to_serialized_dict`",
        1.0,
        *in_turn(fresh(make, lambda space: space.to_dict(), rounds), theirs.to_serialized_dict, rounds=rounds),
    )
    rounds = max(1, rounds // 5)
    copies = fresh(lambda: copy.deepcopy(written), kind.from_serialized_dict, rounds)  # which changes what it reads
    yield row(
        "`SearchSpace.from_dict`",
        "ConfigSpace's `from_serialized_dict`",
        1.0,
        *in_turn(lambda: hp.SearchSpace.from_dict(data), copies, rounds=rounds),
    )


def growth(small: int, large: int, rounds: int) -> Iterator[Row]:
    """What a parameter costs in a large space, against what it costs in a small one."""

    def grown(what: str, most: float | None, on_few: Call, on_many: Call) -> Row:
        ours, theirs = in_turn(_at_rest(on_many), _at_rest(_repeated(on_few, large // small)), rounds=rounds)
        return row(f"{what}: one of {large:,}", f"one of {small:,}", most, ours, theirs, per=large)

    dicts = grown("a dict `{name: {…}}`", None, lambda: _dicts(small), lambda: _dicts(large))
    yield dicts
    for dialect in DIALECTS:
        few, many = new(small, dialect != "sigopt")(), new(large, dialect != "sigopt")()
        for verb, on_few, on_many in (("to", *_writes(few, many, dialect)), ("from", *_reads(few, many, dialect))):
            yield grown(f"a parameter by `{verb}_{dialect}`", round(dicts.ratio, 2), on_few, on_many)


def _dicts(number: int) -> list[Any]:
    return [{name: {"low": 0.0, "high": 1.0}} for name in range(number)]


def _writes(few: hp.SearchSpace, many: hp.SearchSpace, dialect: str) -> tuple[Call, Call]:
    return lambda: hp.translate(few, dialect).spec, lambda: hp.translate(many, dialect).spec


def _reads(few: hp.SearchSpace, many: hp.SearchSpace, dialect: str) -> tuple[Call, Call]:
    read = getattr(hp, f"from_{dialect}")
    one, other = hp.translate(few, dialect).spec, hp.translate(many, dialect).spec
    return lambda: read(one), lambda: read(other)


def _repeated(call: Call, times: int) -> Call:
    def run() -> None:
        for _ in range(times):
            call()

    return run


def _at_rest(call: Call) -> Call:
    def run() -> None:
        gc.disable()
        try:
            call()
        finally:
            gc.enable()

    return run
