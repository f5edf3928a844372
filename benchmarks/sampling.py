"""The number of configurations drawn per second, as dicts, from spaces of 10 and of 100 parameters."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import numpy

import hpcompat as hp
from benchmarks.spaces import import_peer, mixed_space, suggest_params, to_configspace, to_syne_tune, to_vizier
from benchmarks.timing import MissingPeerError, Row, make_row, measure_in_turn

TITLE = "Sampling"
NOTE = """
Each peer draws in its fastest way that returns a dict of params for every configuration.
"""
Draw = Callable[[int], object]


def measure(smoke: bool) -> Iterator[Row]:
    """Compare `SearchSpace.sample` with the peers' own ways to draw many configurations."""
    for size in (10, 100):
        for name, make_draw in PEERS.items():
            try:
                yield compare(name, make_draw, size, smoke)
            except MissingPeerError:
                if not smoke:
                    raise


def compare(name: str, make_draw: Callable[[hp.SearchSpace], Draw], size: int, smoke: bool) -> Row:
    """Compare with one peer on a space of that size."""
    space = mixed_space(size)
    draw, rng, count = make_draw(space), random.Random(0), 2 if smoke else 20_000 // size
    seconds, baseline = measure_in_turn(
        lambda: [space.sample(rng) for _ in range(count)], lambda: draw(count), rounds=1 if smoke else 11
    )
    return make_row(f"`SearchSpace.sample`, {size} parameters", name, 1.0, seconds, baseline, per=count)


def _draw_with_configspace(space: hp.SearchSpace) -> Draw:
    configspace = to_configspace(space)
    return lambda count: [dict(configuration) for configuration in configspace.sample_configuration(count)]


def _draw_with_syne_tune(space: hp.SearchSpace) -> Draw:
    domains = to_syne_tune(space)
    return lambda count: [{name: domain.sample() for name, domain in domains.items()} for _ in range(count)]


def _draw_with_vizier(space: hp.SearchSpace) -> Draw:
    # the function behind RandomDesigner, whose own module needs JAX and chex
    sample = import_peer("vizier._src.algorithms.random.random_sample").sample_parameters
    problem, rng = to_vizier(space), numpy.random.default_rng(0)
    return lambda count: [sample(rng, problem.search_space).as_dict() for _ in range(count)]


def _draw_with_ray(space: hp.SearchSpace) -> Draw:
    generate, domains = import_peer("ray.tune.search.variant_generator").generate_variants, hp.to_ray(space)
    return lambda count: [next(generate(domains))[1] for _ in range(count)]


def _draw_with_optuna(space: hp.SearchSpace) -> Draw:
    optuna = import_peer("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def draw(count: int) -> list[dict[str, object]]:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        return [suggest_params(study.ask(), space) for _ in range(count)]

    return draw


PEERS: dict[str, Callable[[hp.SearchSpace], Draw]] = {
    "ConfigSpace, in a batch, as dicts": _draw_with_configspace,
    "Syne Tune's domains": _draw_with_syne_tune,
    "Vizier's `sample_parameters`": _draw_with_vizier,
    "Ray's `generate_variants`": _draw_with_ray,
    "Optuna's `ask`, `RandomSampler`": _draw_with_optuna,
}
