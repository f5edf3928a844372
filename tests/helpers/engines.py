"""Configurations drawn by the real engines from the specs that hpcompat writes for them.

A draw function takes the engine's native spec, the number of configurations and a seed. It restores the state of
the global random generators that the engine draws from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from hpcompat import Translation, to_optuna, translate
from hpcompat.translators.ray import build_domains

NativeParams = Mapping[str, Any]
Draws = Callable[[str, str], list[dict[str, Any]]]


def draw_optuna(function: Callable[[Any], Any], n: int, seed: int) -> list[Any]:
    """Return the results of a define-by-run function under `study.optimize` with Optuna's RandomSampler."""
    import optuna

    returned = []

    def objective(trial: Any) -> float:
        returned.append(function(trial))
        return 0.0

    with _quiet_optuna(optuna):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        study.optimize(objective, n_trials=n)
    return returned


def draw_ray(space: NativeParams, n: int, seed: int) -> list[NativeParams]:
    """Draw from a dict of domains with Ray's own sampling."""
    import numpy as np
    from ray.tune.search.variant_generator import generate_variants

    generator = np.random.default_rng(seed)  # an int would give every parameter the same draw
    return [
        spec["config"] for _ in range(n) for _, spec in generate_variants({"config": space}, random_state=generator)
    ]


def draw_ray_searcher(space: Any, n: int, seed: int) -> list[NativeParams]:
    """Draw from a dict of domains or a define-by-run function with Ray's OptunaSearch and Optuna's RandomSampler."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    sampler = optuna.samplers.RandomSampler(seed=seed)
    with _quiet_optuna(optuna):
        if callable(space):
            search = OptunaSearch(space=space, metric="loss", mode="min", sampler=sampler)
            return [search.suggest(str(number)) for number in range(n)]
        return suggest_configs(OptunaSearch(sampler=sampler), space, n)


def draw_ray_bayesopt(space: NativeParams, n: int, seed: int) -> list[NativeParams]:
    """Draw the random points of Ray's BayesOptSearch, which treats every domain as a uniform float."""
    from ray.tune.search.bayesopt import BayesOptSearch

    # the default precision equates points closer than 1e-5, and BayesOptSearch suggests no point twice
    search = BayesOptSearch(random_search_steps=n + 1, random_state=seed, repeat_float_precision=15)
    return suggest_configs(search, space, n)


def draw_ray_hyperopt(space: NativeParams, n: int, seed: int) -> list[NativeParams]:
    """Draw the random points of Ray's HyperOptSearch."""
    from ray.tune.search.hyperopt import HyperOptSearch

    return suggest_configs(HyperOptSearch(n_initial_points=n + 1, random_state_seed=seed), space, n)


def suggest_configs(search: Any, space: NativeParams, n: int) -> list[NativeParams]:
    """Return the suggestions of a Ray search algorithm, merged into the rest of the config as Tune merges them."""
    from ray.tune.utils import merge_dicts

    assert search.set_search_properties("loss", "min", dict(space))
    return [merge_dicts(dict(space), search.suggest(str(number))) for number in range(n)]


def draw_sigopt(spec: NativeParams, n: int, seed: int) -> list[NativeParams]:
    """Draw the suggestions of SigOpt Lite for an experiment of type random."""
    from hpcompat.backends.sigopt.client import lite_connection

    connection = lite_connection(seed)
    metrics = [{"name": "loss", "objective": "minimize"}]
    created = connection.experiments().create(name="draws", type="random", metrics=metrics, **spec)
    experiment = connection.experiments(created.id)
    suggestions: list[NativeParams] = []
    for _ in range(n):
        suggestion = experiment.suggestions().create()
        suggestions.append(dict(suggestion.assignments))
        experiment.observations().create(suggestion=suggestion.id, failed=True)
    return suggestions


def draw_wandb_random(sweep: NativeParams, n: int, seed: int) -> list[NativeParams]:
    """Draw with the sweeps engine and method random."""
    import sweeps

    with _seeded_globals(seed):
        return list(map(_values_of, sweeps.next_runs(dict(sweep), [], n=n)))


def draw_wandb_bayes(sweep: NativeParams, n: int, seed: int) -> list[NativeParams]:
    """Draw with the sweeps engine and method bayes, before the first result."""
    import sweeps

    with _seeded_globals(seed):
        return [_values_of(sweeps.next_run(dict(sweep), [])) for _ in range(n)]


def enumerate_wandb_grid(sweep: NativeParams) -> list[NativeParams]:
    """List every configuration of the sweeps engine with method grid, in its order."""
    import sweeps

    flat_sweep = flatten_sweep(sweep)  # sweeps 0.2 does not detect the end of a nested grid
    runs = sweeps.next_runs(flat_sweep, [], n=1_000_000)
    assert runs.pop() is None
    return list(map(_values_of, runs))


def flatten_sweep(sweep: NativeParams) -> dict[str, Any]:
    """Return the sweep with its nested parameters under dotted names."""

    def iter_leaves(parameters: NativeParams, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, entry in parameters.items():
            if "parameters" in entry:
                yield from iter_leaves(entry["parameters"], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", entry

    return {**sweep, "parameters": dict(iter_leaves(sweep["parameters"], ""))}


def _values_of(run: Any) -> NativeParams:
    return {name: entry["value"] for name, entry in run.config.items()}


@contextmanager
def _quiet_optuna(optuna: Any) -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


@contextmanager
def _seeded_globals(seed: int) -> Iterator[None]:
    """Seed the generators of `random` and `numpy.random`, which the sweeps engine draws from, and restore them."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


class Engine(NamedTuple):
    """The engine of one variant of the capability table: its dialect, options and draw function."""

    dialect: str
    options: Mapping[str, Any]
    draw: Callable[[Any, int, int], list[Any]]
    n_draws: int
    """The number of configurations drawn from the space of all parameter cases."""
    n_conditional_draws: int
    """The number drawn from each conditional space: SigOpt Lite needs 20 ms for one, the others less than 10 ms."""

    def translate(self, space: Mapping[str, Any]) -> Translation:
        return translate(space, self.dialect, encode=True, **self.options)

    def draw_params(self, space: Mapping[str, Any], n: int, seed: int) -> list[dict[str, Any]]:
        """Draw from a space and decode, as a user would."""
        if self.dialect == "optuna":
            return self.draw(to_optuna(space, encode=True), n, seed)
        translation = self.translate(space)
        return list(map(translation.decode, self.draw_native(translation, n, seed)))

    def draw_native(self, translation: Translation, n: int, seed: int) -> list[NativeParams]:
        """Draw from a translation, without decoding."""
        spec = build_domains(translation.spec) if self.dialect == "ray" else translation.spec
        return self.draw(spec, n, seed)


BAYES = {"method": "bayes", "metric": "loss"}
ENGINES: dict[str, Engine] = {
    "optuna": Engine("optuna", {}, draw_optuna, 2_500, 1_000),
    "ray": Engine("ray", {}, draw_ray, 3_000, 1_000),
    "ray optuna": Engine("ray", {"searcher": "optuna"}, draw_ray_searcher, 2_500, 1_000),
    "ray searcher": Engine("ray", {"searcher": True}, draw_ray_bayesopt, 2_500, 1_000),
    "sigopt": Engine("sigopt", {}, draw_sigopt, 1_500, 200),
    "wandb random": Engine("wandb", {"method": "random"}, draw_wandb_random, 2_000, 1_000),
    "wandb bayes": Engine("wandb", BAYES, draw_wandb_bayes, 400, 300),
}
"""By variant, without "wandb grid", which enumerates the values instead of drawing them."""
