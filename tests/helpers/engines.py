"""Raw configurations from the real engines, each reading the form that hpcompat writes for it.

A draw function takes what its column's users hand to the engine, how many configurations to draw, and a
seed. Whatever global generators an engine draws from are left as they were found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from hpcompat import Translation, to_optuna, translate
from hpcompat.translators.ray import build_domains

Raw = Mapping[str, Any]
Draws = Callable[[str, str], list[dict[str, Any]]]


def optuna(function: Callable[[Any], Any], n: int, seed: int) -> list[Any]:
    """What a define-by-run function returns under `study.optimize` with Optuna's RandomSampler."""
    import optuna

    returned = []

    def objective(trial: Any) -> float:
        returned.append(function(trial))
        return 0.0

    with _quiet(optuna):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        study.optimize(objective, n_trials=n)
    return returned


def ray(space: Raw, n: int, seed: int) -> list[Raw]:
    """Ray's own sampling of a dict of domains."""
    import numpy as np
    from ray.tune.search.variant_generator import generate_variants

    generator = np.random.default_rng(seed)  # an int would give every parameter the same draw
    return [
        spec["config"] for _ in range(n) for _, spec in generate_variants({"config": space}, random_state=generator)
    ]


def ray_searcher(space: Any, n: int, seed: int) -> list[Raw]:
    """Ray's OptunaSearch, with Optuna's RandomSampler, given a dict of domains or a define-by-run function."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    sampler = optuna.samplers.RandomSampler(seed=seed)
    with _quiet(optuna):
        if callable(space):
            search = OptunaSearch(space=space, metric="loss", mode="min", sampler=sampler)
            return [search.suggest(str(number)) for number in range(n)]
        return suggested(OptunaSearch(sampler=sampler), space, n)


def ray_bayesopt(space: Raw, n: int, seed: int) -> list[Raw]:
    """The random points of Ray's BayesOptSearch, which takes every domain for a uniform float."""
    from ray.tune.search.bayesopt import BayesOptSearch

    # at its own precision two points within 1e-5 are one, and it suggests that no second time
    search = BayesOptSearch(random_search_steps=n + 1, random_state=seed, repeat_float_precision=15)
    return suggested(search, space, n)


def ray_hyperopt(space: Raw, n: int, seed: int) -> list[Raw]:
    """The random points of Ray's HyperOptSearch."""
    from ray.tune.search.hyperopt import HyperOptSearch

    return suggested(HyperOptSearch(n_initial_points=n + 1, random_state_seed=seed), space, n)


def suggested(search: Any, space: Raw, n: int) -> list[Raw]:
    """What a search algorithm of Ray's suggests, merged into the rest of the config as Tune does it."""
    from ray.tune.utils import merge_dicts

    assert search.set_search_properties("loss", "min", dict(space))
    return [merge_dicts(dict(space), search.suggest(str(number))) for number in range(n)]


def sigopt(form: Raw, n: int, seed: int) -> list[Raw]:
    """SigOpt Lite's suggestions for an experiment of type random."""
    from hpcompat.backends.sigopt.client import lite_connection

    connection = lite_connection(seed)
    metrics = [{"name": "loss", "objective": "minimize"}]
    created = connection.experiments().create(name="draws", type="random", metrics=metrics, **form)
    experiment = connection.experiments(created.id)
    drawn: list[Raw] = []
    for _ in range(n):
        suggestion = experiment.suggestions().create()
        drawn.append(dict(suggestion.assignments))
        experiment.observations().create(suggestion=suggestion.id, failed=True)
    return drawn


def wandb_random(sweep: Raw, n: int, seed: int) -> list[Raw]:
    """The sweeps engine under method random."""
    import sweeps

    with _globals(seed):
        return list(map(_config, sweeps.next_runs(dict(sweep), [], n=n)))


def wandb_bayes(sweep: Raw, n: int, seed: int) -> list[Raw]:
    """The sweeps engine under method bayes, before the first result."""
    import sweeps

    with _globals(seed):
        return [_config(sweeps.next_run(dict(sweep), [])) for _ in range(n)]


def wandb_grid(sweep: Raw) -> list[Raw]:
    """Every configuration of the sweeps engine under method grid, in its order, until it has no more."""
    import sweeps

    names = flat(sweep)  # the engine of 0.2 does not see where a nested grid ends
    runs = sweeps.next_runs(names, [], n=1_000_000)
    assert runs.pop() is None
    return list(map(_config, runs))


def flat(sweep: Raw) -> dict[str, Any]:
    """The sweep with its nested parameters under dotted names."""

    def leaves(parameters: Raw, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, entry in parameters.items():
            if "parameters" in entry:
                yield from leaves(entry["parameters"], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", entry

    return {**sweep, "parameters": dict(leaves(sweep["parameters"], ""))}


def _config(run: Any) -> Raw:
    return {name: entry["value"] for name, entry in run.config.items()}


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


@contextmanager
def _globals(seed: int) -> Iterator[None]:
    """The generators that the sweeps engine draws from: random's own, and numpy's."""
    import numpy as np

    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


class Column(NamedTuple):
    """A column of the capability table: its dialect and options, and how to draw from its engine."""

    dialect: str
    options: Mapping[str, Any]
    draw: Callable[[Any, int, int], list[Any]]
    draws: int
    """How many configurations the tests draw of all kinds, one by one …"""
    few: int
    """… and of each space with conditions, where SigOpt Lite takes 20 ms and the others less than 10."""

    def translate(self, space: Mapping[str, Any]) -> Translation:
        return translate(space, self.dialect, encode=True, **self.options)

    def params(self, space: Mapping[str, Any], n: int, seed: int) -> list[dict[str, Any]]:
        """Params drawn by the engine from a space, as a user gets them."""
        if self.dialect == "optuna":
            return self.draw(to_optuna(space, encode=True), n, seed)
        translation = self.translate(space)
        return list(map(translation.decode, self.raws(translation, n, seed)))

    def raws(self, translation: Translation, n: int, seed: int) -> list[Raw]:
        """What the engine draws from a translation, before it is decoded."""
        form = build_domains(translation.spec) if self.dialect == "ray" else translation.spec
        return self.draw(form, n, seed)


BAYES = {"method": "bayes", "metric": "loss"}
COLUMNS: dict[str, Column] = {
    "optuna": Column("optuna", {}, optuna, 2_500, 1_000),
    "ray": Column("ray", {}, ray, 3_000, 1_000),
    "ray optuna": Column("ray", {"searcher": "optuna"}, ray_searcher, 2_500, 1_000),
    "ray searcher": Column("ray", {"searcher": True}, ray_bayesopt, 2_500, 1_000),
    "sigopt": Column("sigopt", {}, sigopt, 1_500, 200),
    "wandb random": Column("wandb", {"method": "random"}, wandb_random, 2_000, 1_000),
    "wandb bayes": Column("wandb", BAYES, wandb_bayes, 400, 300),
}
"""All columns but "wandb grid", which goes through the values instead of drawing them."""
