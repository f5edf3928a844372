"""A sweep of a W&B server that several processes may search: which of its runs are trials, and how many there may be.

A run counts from when it is begun. Whoever has begun one looks how many others there are: where there are
as many as wanted already, it is marked as surplus, and no trial.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hpcompat.backends.wandb.joining import SURPLUS, has_ended, trials_of
from hpcompat.errors import Issue, ParamsError, SearchError
from hpcompat.translators import Translation
from hpcompat.trials.trial import Trial

T = TypeVar("T")

_CHANCE = random.SystemRandom()  # training code seeds the others, alike in every process
_MEETING = 0.5
"""Seconds that processes wait for, which have met at the last trial."""
PAUSES = (1.0, 4.0)
"""Seconds before W&B is asked again."""
_LAG = (1.0, 4.0)
"""Seconds until a run that has ended is looked for again."""


@dataclass(frozen=True)
class Shared:
    """The sweep at a path (entity/project/id), of the plan's `n_trials`."""

    path: str
    translation: Translation
    names: tuple[str, ...]
    n_trials: int

    def runs(self) -> list[Any]:
        """All its runs. Raises `SearchError` where W&B does not answer."""
        return list(self.found().runs)

    def found(self) -> Any:
        """The sweep, as W&B has it now, with its runs."""
        import wandb

        def found() -> Any:
            sweep = wandb.Api().sweep(self.path)  # type: ignore[no-untyped-call]
            list(sweep.runs)  # they are read by the page, and kept
            return sweep

        return asked(found, [self.way_on])

    def is_paused(self) -> bool:
        """Whether it was paused at W&B, and may well go on."""
        return bool(self.found().state == "PAUSED")

    @property
    def way_on(self) -> Issue:
        """How to go on with it."""
        return Issue("", f"what is finished is kept there: go on with sweep_id={self.path!r}")

    def trials(self) -> dict[str, Trial]:
        """The trials that have ended, by the id of their run."""
        return trials_of(self.runs(), self.translation, self.names)

    def begun(self, besides: str | None = None) -> list[Any]:
        """The runs that count."""
        return [run for run in self.runs() if run.id != besides and self._counts(run)]

    def _counts(self, run: Any) -> bool:
        if not has_ended(run):
            return bool(run.state == "running")
        if run.summary_metrics.get("state") == SURPLUS:
            return False
        return run.state == "finished" or self.params(run) is not None

    def params(self, run: Any) -> dict[str, Any] | None:
        """Of a run; None if it has none yet."""
        try:
            return self.translation.decode(dict(run.config))
        except ParamsError:
            return None

    def wants(self, besides: str | None = None) -> bool:
        """Whether there is a trial to be run, that no other process has begun."""
        return len(self.begun(besides)) < self.n_trials

    def lift_cap(self) -> bool:
        """Let the server hand out as many runs as are still wanted; whether it would not have.

        A search that is gone on with wants more than it began with; and of the runs that were handed
        out, some may never have been begun.
        """
        import wandb
        from wandb.apis.public.sweeps import _upsert_sweep  # what `wandb sweep --update` calls

        entity, project, _ = self.path.split("/")
        found = self.found()
        needed = len(found.runs) + self.n_trials - sum(map(self._counts, found.runs))
        if found.config.get("run_cap", needed) >= needed:
            return False
        try:
            changed = {**found.config, "run_cap": needed}
            _upsert_sweep(wandb.Api(), changed, obj_id=found._attrs["id"], project=project, entity=entity)
        except (wandb.Error, ValueError) as error:
            hint = Issue("", "raise it in W&B, and search again")
            raise SearchError(f"the sweep's run_cap stays: {error}", [hint, self.way_on]) from error
        return True

    def untold(self, own: Sequence[str]) -> set[str]:
        """Which of the runs, that have ended here, W&B has not heard of; it may take a moment."""
        for pause in (*_LAG, None):
            left = set(own) - self.trials().keys()
            if not left or pause is None:
                return left
            time.sleep(pause)
        raise AssertionError  # the last pause is None


def asked(call: Callable[[], T], hints: Sequence[Issue] = ()) -> T:
    """What W&B answers; its client asks again by itself, but not where an answer breaks off.

    Raises `SearchError`, with `hints`, for the last failure.
    """
    for pause in (*PAUSES, None):
        try:
            return call()
        except Exception as error:
            if not type(error).__module__.startswith("wandb."):  # it raises errors of many kinds
                raise
            if pause is None:
                raise SearchError(f"W&B does not answer: {error}", hints) from error
            time.sleep(pause)
    raise AssertionError  # the last pause is None


def meet() -> None:
    """Wait a while: another process is at the same trial, and one of the two is to have the next word."""
    time.sleep(_CHANCE.uniform(0.0, _MEETING))
