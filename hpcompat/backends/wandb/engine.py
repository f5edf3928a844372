"""W&B's sweeps engine in this process: which configuration is next, and which run is to end early.

It draws from the generators of `random` and `numpy.random`: each engine here has generators of its own.
"""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hpcompat.backends.generators import Generators, lent_numpy, lent_random
from hpcompat.errors import MissingBackendError
from hpcompat.translators import Translation
from hpcompat.translators.translation import get_path
from hpcompat.trials.trial import Trial

if TYPE_CHECKING:
    from sweeps import SweepRun

Names = tuple[str, ...]
_FIRST = threading.Lock()
_TOY = {"method": "random", "parameters": {"x": {"distribution": "uniform", "min": 0.0, "max": 1.0}}}


class SweepEngine:
    """The engine over one sweep: asked for params, told of trials.

    The sweep names its metric: the value of a trial counts for it, not the best of what it reported.

    >>> from hpcompat import Float, translate
    >>> sweep = translate({"x": Float(0, 4)}, "wandb", method="random", metric="objective")
    >>> engine = SweepEngine(sweep, seed=0)
    >>> first = engine.choose()
    >>> engine.tell(Trial(0, first, (first["x"] ** 2,)))
    >>> sweep.space.contains(engine.choose())
    True
    """

    def __init__(self, translation: Translation, seed: int | None = None) -> None:
        self._translation = translation
        self._parameters = dict(_leaves(translation.spec["parameters"]))
        # the engine goes through nested parameters wrongly: an exhausted grid of them begins again
        flat = {".".join(path): parameter for path, parameter in self._parameters.items()}
        self._sweep = {**translation.spec, "parameters": flat}
        self._runs: list[SweepRun] = []
        self._curves: list[SweepRun] = []
        self._generators = Generators(seed)

    def choose(self) -> dict[str, Any]:
        """The params of the next trial."""
        with self._generators.at_work(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how well its Gaussian process fits
            run = _engine().next_run(self._sweep, self._runs)
        return self._translation.decode({name: entry["value"] for name, entry in run.config.items()})

    def tell(self, trial: Trial) -> None:
        """Take in a finished trial: one that has no value counts as bad as the worst that has."""
        raw = self._translation.encode(trial.params)
        config = {".".join(path): {"value": get_path(raw, path)} for path in self._parameters}
        state = "failed" if trial.value is None else "finished"
        summary = {} if trial.value is None else self._logged(trial.value)
        self._runs.append(_engine().SweepRun(state=state, config=config, summaryMetrics=summary))
        if reports := trial.intermediate_values:
            self._curves.append(self._curve([reports[step] for step in sorted(reports)], state))

    def stops(self, reports: Sequence[float]) -> bool:
        """Whether the trial that has reported these values is to end here."""
        running = self._curve(reports, "running")
        return any(run is running for run in _engine().stop_runs(self._sweep, [*self._curves, running]))

    def _curve(self, reports: Sequence[float], state: str) -> SweepRun:
        return _engine().SweepRun(state=state, sampledHistory=list(map(self._logged, reports)))

    def _logged(self, value: float) -> dict[str, float]:
        return {self._sweep["metric"]["name"]: value} if "metric" in self._sweep else {}


def violations(sweep: Mapping[str, Any]) -> list[str]:
    """What W&B's own schema has against a sweep."""
    found: list[str] = _engine().schema_violations_from_proposed_config(dict(sweep))
    return found


def _leaves(parameters: Mapping[str, Any], group: Names = ()) -> Iterator[tuple[Names, dict[str, Any]]]:
    for name, parameter in parameters.items():
        if "distribution" in parameter:
            yield (*group, name), parameter
        else:
            yield from _leaves(parameter["parameters"], (*group, name))


def _engine() -> Any:
    with _FIRST:
        return _loaded()


@cache
def _loaded() -> Any:
    """Return the engine, with all that its first call would import, and with stand-ins to draw from."""
    before = random.getstate()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is written for an older pydantic
            import sweeps

            params, bayes = import_module("sweeps.params"), import_module("sweeps.bayes_search")
            sweeps.next_run(_TOY, [])  # imports rich, which draws from `random` on its way
    except ImportError as error:
        message = f"W&B's sweeps engine is not installed ({error}): pip install 'hpcompat[wandb]'"
        raise MissingBackendError(message) from error
    finally:
        random.setstate(before)
    vars(params)["random"], vars(bayes)["np"] = lent_random(), lent_numpy()
    return sweeps
