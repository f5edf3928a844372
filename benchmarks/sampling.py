"""How many configurations are drawn a second: spaces of 10 and of 100 parameters, params as a dict."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy

import hpcompat as hp
from benchmarks.spaces import configspace, mixed, peer, suggest, syne_tune, vizier
from benchmarks.timing import MissingPeer, Row, in_turn, row

TITLE = "Sampling"
NOTE = """
Each peer draws in the way that it is fastest in while it still gives a dict of params for each configuration.
"""
Draw = Callable[[int], object]


def rows(smoke: bool) -> Iterator[Row]:
    """`SearchSpace.sample` beside each peer's own way to draw many."""
    for size in (10, 100):
        for name, make in PEERS.items():
            try:
                yield compared(name, make, size, smoke)
            except MissingPeer:
                if not smoke:
                    raise


def compared(name: str, make: Callable[[hp.SearchSpace], Draw], size: int, smoke: bool) -> Row:
    """One peer on a space of that size."""
    space = mixed(size)
    theirs, rng, count = make(space), random.Random(0), 2 if smoke else 20_000 // size
    taken = in_turn(lambda: [space.sample(rng) for _ in range(count)], lambda: theirs(count), rounds=1 if smoke else 11)
    return row(f"`SearchSpace.sample`, {size} parameters", name, 1.0, *taken, per=count)


def _configspace(space: hp.SearchSpace) -> Draw:
    made = configspace(space)
    return lambda count: [dict(each) for each in made.sample_configuration(count)]


def _syne_tune(space: hp.SearchSpace) -> Draw:
    domains = syne_tune(space)
    return lambda count: [{name: domain.sample() for name, domain in domains.items()} for _ in range(count)]


def _vizier(space: hp.SearchSpace) -> Draw:
    # what its RandomDesigner draws with, which itself cannot be imported without JAX and chex
    sample = peer("vizier._src.algorithms.random.random_sample").sample_parameters
    problem, rng = vizier(space), numpy.random.default_rng(0)
    return lambda count: [sample(rng, problem.search_space).as_dict() for _ in range(count)]


def _ray(space: hp.SearchSpace) -> Draw:
    generate, domains = peer("ray.tune.search.variant_generator").generate_variants, hp.to_ray(space)
    return lambda count: [next(generate(domains))[1] for _ in range(count)]


def _optuna(space: hp.SearchSpace) -> Draw:
    optuna = peer("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def draw(count: int) -> list[dict[str, object]]:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        return [suggest(study.ask(), space) for _ in range(count)]

    return draw


PEERS: dict[str, Callable[[hp.SearchSpace], Draw]] = {
    "ConfigSpace, in a batch, `dict()` of each": _configspace,
    "Syne Tune's domains": _syne_tune,
    "Vizier's `sample_parameters`": _vizier,
    "Ray's `generate_variants`": _ray,
    "Optuna's `ask`, `RandomSampler`": _optuna,
}
