"""Random search as a backend that another package could define: an engine and a BackendSpec."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from hpcompat.backends import BackendSpec
from hpcompat.backends.base import EngineBackend, iter_untried
from hpcompat.objectives.objective import Objective
from hpcompat.space.values import strict_key
from hpcompat.trials.config import SearchConfig, Suggestion
from hpcompat.trials.loop import Engine
from hpcompat.trials.trial import Trial


class RandomEngine(Engine):
    """Draws random params, or enumerates a grid; it ignores the results."""

    def __init__(self, config: SearchConfig) -> None:
        self._config = config
        self._rng = random.Random(config.engine_seed)
        tried = {strict_key(trial.params) for trial in config.history}
        self._untried = iter_untried(config.space, tried) if config.sampler == "grid" else None

    def ask(self, index: int) -> Suggestion | None:
        params = next(self._untried, None) if self._untried else self._config.space.sample(self._rng)
        return None if params is None else Suggestion(self._config.trial_number(index), params)

    def tell(self, suggestion: Suggestion, trial: Trial) -> Trial:
        return trial


class RandomBackend(EngineBackend):
    """Random search in this process."""

    @contextmanager
    def open_engine(self, config: SearchConfig, objective: Objective) -> Iterator[Engine]:
        yield RandomEngine(config)


BACKEND = RandomBackend()
SPEC = BackendSpec("toy", package="random", module=__name__, samplers=("random", "grid"))
