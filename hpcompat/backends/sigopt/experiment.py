"""A SigOpt experiment, on a server or in this process: its suggestions, observations and trial count."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from itertools import count, takewhile
from typing import Any, TypeVar

from hpcompat.backends.base import to_storable
from hpcompat.backends.sigopt.client import (
    fetch_all,
    send,
)
from hpcompat.backends.sigopt.types import (
    Connection,
    ExperimentResource,
    NativeExperiment,
    NativeObservation,
    NativeSuggestion,
)
from hpcompat.errors import Issue
from hpcompat.space.parameters import Categorical
from hpcompat.space.values import strict_key
from hpcompat.translators import Translation
from hpcompat.translators.codecs import FieldMapping
from hpcompat.trials.notes import dump_notes, load_notes
from hpcompat.trials.process import SYSTEM_RNG, has_exited, identify_process
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, Trial

_TAG, _HISTORY, _OWNER, _NOTES = "hpcompat", "hpcompat_history", "hpcompat_owner", "hpcompat_notes"
_PRUNED = "hpcompat_pruned"  # SigOpt itself only marks it as failed
_BACK_OFF_S = 0.1
"""The average wait of a process that has claimed the same trial as another one."""
_MAX_ROUNDING = 1e-9
_MAX_METADATA_LENGTH = 500  # characters of a metadata value
_GENERIC_METRIC_NAMES = {None, "objective", "objective_1", "objective_2"}
"""Names that say nothing about a metric."""

T = TypeVar("T")


class NoSuggestion(Exception):
    """Raised if SigOpt Lite has no suggestion: a finite space is exhausted, or its numerics failed."""


@dataclass(frozen=True)
class Experiment:
    """A SigOpt experiment.

    Attributes:
        connection: The connection to SigOpt.
        id: The id of the experiment.
        translation: The translation of the space to its parameters.
        metrics: The names of its metrics, in the order of the directions; None for a metric without a name.
        on_server: Whether it is on a server, and not in SigOpt Lite.
        n_history: How many of its observations are trials of the history.
        reported_tags: The tags of the observations that this search has reported.
    """

    connection: Connection
    id: str
    translation: Translation
    metrics: tuple[str | None, ...]
    on_server: bool
    n_history: int = 0
    reported_tags: set[str] = field(default_factory=set)

    @property
    def _resource(self) -> ExperimentResource:
        return self.connection.experiments(self.id)

    def _send(self, call: Callable[[], T], find_result: Callable[[], T | None] = lambda: None) -> T:
        if not self.on_server:
            return call()
        hint = Issue("", f"finished trials are kept there: continue with experiment_id={self.id!r}")
        return send(call, find_result, hints=[hint])

    def suggest(self, params: Mapping[str, object] | None = None) -> tuple[NativeSuggestion, dict[str, Any]]:
        """Create a suggestion, and return it with its params.

        On a server its metadata identifies this process, so that others know whether an observation is to come.

        Args:
            params: The params to suggest; by default SigOpt chooses them.

        Raises:
            NoSuggestion: SigOpt Lite has no suggestion.
        """
        from sigopt.exception import SigOptException

        tag = uuid.uuid4().hex
        body: dict[str, object] = {} if params is None else {"assignments": self.translation.encode(params)}
        if self.on_server:
            body["metadata"] = {_TAG: tag, _OWNER: json.dumps(identify_process())}
        try:
            suggestion = self._send(
                partial(self._resource.suggestions().create, **body), lambda: self.open_suggestions().get(tag)
            )
        except SigOptException as error:  # `send` converts those of a server
            raise NoSuggestion(str(error)) from error
        return suggestion, self.params(suggestion)

    def params(self, source: NativeSuggestion) -> dict[str, Any]:
        """Decode the params of a suggestion or an observation."""
        return self.translation.decode(strip_rounding(self.translation, source.assignments))

    def delete(self, suggestion: NativeSuggestion) -> None:
        """Delete a suggestion that will not be observed, so that a server does not wait for it."""
        if self.on_server:
            with suppress(Exception):  # best effort, often while another error is raised
                self._resource.suggestions(suggestion.id).delete()

    def open_suggestions(self) -> dict[str, NativeSuggestion]:
        """Return the suggestions on the server that searches are working on, by their tag.

        Suggestions of processes on this host that have exited are deleted.
        """
        suggestions = fetch_all(self._resource.suggestions(), state="open")
        by_tag = {metadata[_TAG]: native for native in suggestions if _TAG in (metadata := _metadata(native))}
        for tag in [tag for tag, native in by_tag.items() if has_exited(json.loads(_metadata(native)[_OWNER]))]:
            self.delete(by_tag.pop(tag))
        return by_tag

    def count_finished_unless_full(self, n_trials: int) -> int | None:
        """Return how many trials have finished, in all processes; None if `n_trials` have already started."""
        n_finished = self.count_finished()
        n_started = self._count_started(n_trials) if self.on_server else n_finished
        return n_finished if n_started < n_trials else None

    def try_claim(self, suggestion: NativeSuggestion, n_trials: int) -> bool:
        """Return whether the search needs a suggestion besides those of other processes; otherwise release it.

        Two processes that claim the last trial at the same time may both release it; they retry after a random time.
        """
        if not self.on_server or self._count_started(n_trials, excluding=_metadata(suggestion)[_TAG]) < n_trials:
            return True
        self.release(suggestion)
        return False

    def release(self, suggestion: NativeSuggestion) -> None:
        """Delete a suggestion, and wait for a random time before the next one."""
        tag = _metadata(suggestion)[_TAG]
        self._send(
            lambda: bool(self._resource.suggestions(suggestion.id).delete()),
            lambda: True if tag not in self.open_suggestions() else None,
        )
        time.sleep(SYSTEM_RNG.uniform(0.0, 2 * _BACK_OFF_S))

    def used_params(self, excluding: NativeSuggestion | None = None) -> set[Hashable]:
        """Return the keys of all params on the server, of observations and of open suggestions."""
        suggestions = self._send(self.open_suggestions).values()
        others = [native for native in suggestions if excluding is None or native.id != excluding.id]
        return {strict_key(self.params(native)) for native in (*others, *self.observations())}

    def _count_started(self, n_trials: int, excluding: str | None = None) -> int:
        """Count the running and finished trials; the count is exact only if it is near `n_trials`."""
        # suggestions first, so that one that is closed meanwhile is not missed
        open_tags = self._send(self.open_suggestions).keys() - {excluding}
        n_approximate = self.count_finished() + len(open_tags)
        if n_approximate < n_trials:
            return n_approximate
        closed_tags = [_metadata(native).get(_TAG) for native in self.observations()]
        return len(closed_tags) + len(open_tags.difference(closed_tags))

    def tell(self, trial: Trial, suggestion: NativeSuggestion | None = None, history: bool = False) -> None:
        """Report a trial as an observation, of a suggestion if there is one.

        A trial that is not complete, or has an infinite value, is reported as failed.
        """
        space, tag = self.translation.space, uuid.uuid4().hex
        if suggestion is not None:
            tag = _metadata(suggestion).get(_TAG, tag)
            body: dict[str, object] = {"suggestion": suggestion.id}
        else:
            searched = {name: value for name, value in trial.params.items() if name in space}
            body = {"assignments": self.translation.encode(searched)}
        if trial.state == COMPLETE and all(map(math.isfinite, trial.values or ())):
            pairs = zip(self.metrics, trial.values or (), strict=True)
            body["values"] = [{"name": name, "value": value} for name, value in pairs]
        else:
            body["failed"] = True
        if self.on_server:
            body["metadata"] = {_TAG: tag, **_to_metadata(trial), **({_HISTORY: "true"} if history else {})}
        self.reported_tags.add(tag)
        self._send(partial(self._resource.observations().create, **body), partial(self._find_observation, tag))

    def _find_observation(self, tag: str) -> NativeObservation | None:
        return next((native for native in self._fetch_observations() if _metadata(native).get(_TAG) == tag), None)

    def _fetch_observations(self) -> list[NativeObservation]:
        return fetch_all(self._resource.observations())

    def count_finished(self) -> int:
        """Return how many trials have finished, on a server in all processes."""
        total = self.fetch().progress.observation_count if self.on_server else len(self.reported_tags)
        return int(total) - self.n_history

    def observations(self) -> list[NativeObservation]:
        """Return the observations on the server without history, the earliest first; none for Lite."""
        fetched = self._send(self._fetch_observations) if self.on_server else []
        without_history = [native for native in fetched if _HISTORY not in _metadata(native)]
        return sorted(without_history, key=lambda native: (native.created or 0, len(native.id), native.id))

    def is_own(self, observation: NativeObservation) -> bool:
        """Return whether this search has reported the observation."""
        return _metadata(observation).get(_TAG) in self.reported_tags

    def to_trial(self, observation: NativeObservation, number: int) -> Trial:
        """Convert an observation to a trial. Raises `ParamsError` if its params are not in the space."""
        values = {entry.name: entry.value for entry in observation.values or ()}
        has_metrics = not observation.failed and not set(self.metrics) <= _GENERIC_METRIC_NAMES
        metadata = _metadata(observation)
        unsuccessful_state = PRUNED if metadata.get(_PRUNED) else FAILED
        return Trial(
            number=number,
            params=self.params(observation),
            values=None if observation.failed else tuple(values[name] for name in self.metrics),
            state=unsuccessful_state if observation.failed else COMPLETE,
            end=datetime.fromtimestamp(observation.created, timezone.utc) if observation.created else None,
            run_id=metadata.get("run_id"),
            error=metadata.get("error"),
            metrics={name: values[name] for name in self.metrics if name} if has_metrics else {},
            **load_notes(_join_notes(metadata)),
        )

    def fetch(self) -> NativeExperiment:
        """Fetch the current state of SigOpt's own object."""
        return self._send(self._resource.fetch)


def _metadata(native: NativeSuggestion) -> Mapping[str, str]:
    return native.metadata or {}


def _to_metadata(trial: Trial) -> dict[str, str]:
    """Return the metadata of the observation of a trial: run id, error, attributes and constraints."""
    fields = {"run_id": trial.run_id, "error": trial.cause}
    text = dump_notes(trial) or ""
    pieces = [text[start : start + _MAX_METADATA_LENGTH] for start in range(0, len(text), _MAX_METADATA_LENGTH)]
    return {
        **{name: to_storable(value, _MAX_METADATA_LENGTH) for name, value in fields.items() if value},
        **{f"{_NOTES}_{index}": piece for index, piece in enumerate(pieces)},
        **({_PRUNED: "true"} if trial.state == PRUNED else {}),
    }


def _join_notes(metadata: Mapping[str, str]) -> str | None:
    """Return the string of `dump_notes` that is stored in several pieces."""
    pieces = takewhile(bool, (metadata.get(f"{_NOTES}_{index}", "") for index in count()))
    return "".join(pieces) or None


def strip_rounding(translation: Translation, assignments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the assignments without the rounding errors of SigOpt's arithmetic.

    A logarithmic parameter comes back as 10**log10(value), which can lie beyond a bound, and a value of
    a grid with an error in its last digits.
    """
    native = dict(assignments)
    for mapping in translation.fields:
        name = mapping.native_name
        if mapping.is_stored and type(native.get(name)) in (int, float):
            native[name] = _snap(mapping, native[name])
    return native


def _snap(mapping: FieldMapping, value: float) -> float:
    parameter = mapping.proxy
    if isinstance(parameter, Categorical):  # its choices are numbers
        nearest: float = min(parameter.choices, key=lambda choice: abs(choice - value))
        scale = abs(nearest)
    elif parameter is not None and parameter.support is None:
        low, high = parameter.bounds()
        nearest = min(max(value, low), high)
        scale = abs(nearest) if mapping.rule.form == "log_bounds" else high - low
    else:
        return value
    return nearest if abs(nearest - value) <= _MAX_ROUNDING * scale else value
