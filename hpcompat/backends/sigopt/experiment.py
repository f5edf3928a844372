"""One experiment of SigOpt's, on a server or in this process: what is asked of it, and told to it."""

from __future__ import annotations

import json
import math
import random
import time
import uuid
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from itertools import count, takewhile
from typing import Any

from hpcompat.backends import stored_text
from hpcompat.backends.sigopt.client import listed, steadily
from hpcompat.errors import Issue
from hpcompat.space.values import strict_key
from hpcompat.translators.fields import FieldMapping
from hpcompat.translators.translation import Translation
from hpcompat.trials.notes import dump_notes, load_notes
from hpcompat.trials.processes import ended, this_process
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, Trial

_TAG, _HISTORY, _OWNER, _NOTES = "hpcompat", "hpcompat_history", "hpcompat_owner", "hpcompat_notes"
_PRUNED = "hpcompat_pruned"  # SigOpt itself knows only that it has failed
_CHANCE = random.SystemRandom()  # training code seeds the others, alike in every process
_MEETING = 0.1
"""Seconds that processes wait for, which have met at the same trial."""
_NOISE = 1e-9
_LONGEST_TEXT = 500  # of a metadata value
_LABELS = {None, "objective", "objective_1", "objective_2"}
"""Names of metrics that say no more than the order of the values."""


class NoSuggestion(Exception):
    """SigOpt Lite has no suggestion to make: a finite space is used up, or its numerics gave out."""


@dataclass(frozen=True)
class Experiment:
    """An experiment behind a connection, its parameters those of `translation`.

    `metrics`: the names of its objectives, in the order of the directions; None for one without a name.
    `replayed`: how many of its observations are of history. `told`: the tags of the observations that this search made.
    """

    connection: Any
    id: str
    translation: Translation
    metrics: tuple[str | None, ...]
    on_server: bool
    replayed: int = 0
    told: set[str] = field(default_factory=set)

    @property
    def _resource(self) -> Any:
        return self.connection.experiments(self.id)

    def _ask(self, call: Callable[[], Any], done: Callable[[], bool] = lambda: False) -> Any:
        if not self.on_server:
            return call()
        hint = Issue("", f"what is finished is kept there: go on with experiment_id={self.id!r}")
        return steadily(call, done, hints=[hint])

    def suggest(self, params: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A suggestion, and its params: those given, or SigOpt's. Raises `NoSuggestion` where SigOpt Lite has none.

        On a server it says which process it is for, so that others know whether to wait for its observation.
        """
        from sigopt.exception import SigOptException

        tag = uuid.uuid4().hex
        body: dict[str, Any] = {} if params is None else {"assignments": self.translation.encode(params)}
        if self.on_server:
            body["metadata"] = {_TAG: tag, _OWNER: json.dumps(this_process())}
        try:
            made = self._ask(partial(self._resource.suggestions().create, **body), lambda: tag in self.opened())
        except SigOptException as error:  # a server's are no more by now
            raise NoSuggestion(str(error)) from error
        made = made or self.opened()[tag]
        return made, self.params(made)

    def params(self, told: Any) -> dict[str, Any]:
        """The params behind the assignments of a suggestion or an observation."""
        return self.translation.decode(without_noise(self.translation, told.assignments))

    def drop(self, suggestion: Any) -> None:
        """Give up a suggestion that will have no observation, so that a server does not wait for one."""
        if self.on_server:
            with suppress(Exception):  # it is for tidiness alone, and often done while an error is on its way
                self._resource.suggestions(suggestion.id).delete()

    def opened(self) -> dict[str, Any]:
        """The suggestions on the server that searches are at work on, by their tag.

        Those of a process of this host that has ended are given up on the way.
        """
        found = listed(self._resource.suggestions(), state="open")
        by_tag = {_metadata(each)[_TAG]: each for each in found if _TAG in _metadata(each)}
        left = [tag for tag, each in by_tag.items() if ended(json.loads(_metadata(each)[_OWNER]))]
        for tag in left:
            self.drop(by_tag.pop(tag))
        return by_tag

    def room(self, n_trials: int) -> int | None:
        """How many trials are finished, of all processes, if there are fewer than `n_trials` begun; else None."""
        finished = self.count()
        if not self.on_server:
            return finished if finished < n_trials else None
        return finished if self._begun(n_trials) < n_trials else None

    def admits(self, suggestion: Any, n_trials: int) -> bool:
        """Whether a suggestion is one of the trials wanted, besides those of others; else it is given up.

        Of two processes that come for the last trial at the same time both may give up: each asks again
        after a while.
        """
        if not self.on_server or self._begun(n_trials, besides=_metadata(suggestion)[_TAG]) < n_trials:
            return True
        self.give_up(suggestion)
        return False

    def give_up(self, suggestion: Any) -> None:
        """Drop a suggestion of which others wait to see whether it goes, and let them have the next word."""
        tag = _metadata(suggestion)[_TAG]
        self._ask(self._resource.suggestions(suggestion.id).delete, lambda: tag not in self.opened())
        time.sleep(_CHANCE.uniform(0.0, 2 * _MEETING))

    def identities(self, besides: Any = None) -> set[Hashable]:
        """What has been tried or is being tried, on the server: the identities of its params."""
        opened = [each for each in self._ask(self.opened).values() if besides is None or each.id != besides.id]
        return {strict_key(self.params(each)) for each in (*opened, *self.observations())}

    def _begun(self, n_trials: int, besides: str | None = None) -> int:
        """How many trials are finished or being worked on; exactly so only where it is near `n_trials`."""
        opened = self._ask(self.opened).keys() - {besides}  # first: one that is closed meanwhile is not overlooked
        about = self.count() + len(opened)
        if about < n_trials:
            return about
        closed = [_metadata(each).get(_TAG) for each in self.observations()]
        return len(closed) + len(opened.difference(closed))

    def tell(self, trial: Trial, suggestion: Any = None, history: bool = False) -> None:
        """Report a trial: of a suggestion, or else with params of its own.

        What is not complete, or whose value is infinite, is reported as failed: SigOpt takes no other.
        """
        space, tag = self.translation.space, uuid.uuid4().hex
        if suggestion is not None:
            tag = _metadata(suggestion).get(_TAG, tag)
            body: dict[str, Any] = {"suggestion": suggestion.id}
        else:
            known = {name: value for name, value in trial.params.items() if name in space}
            body = {"assignments": self.translation.encode(known)}
        if trial.state == COMPLETE and all(map(math.isfinite, trial.values or ())):
            pairs = zip(self.metrics, trial.values or (), strict=True)
            body["values"] = [{"name": name, "value": value} for name, value in pairs]
        else:
            body["failed"] = True
        if self.on_server:
            body["metadata"] = {_TAG: tag, **_notes(trial), **({_HISTORY: "true"} if history else {})}
        self.told.add(tag)
        self._ask(partial(self._resource.observations().create, **body), partial(self._is_there, tag))

    def _is_there(self, tag: str) -> bool:
        return any(_metadata(each).get(_TAG) == tag for each in self._pages())

    def _pages(self) -> list[Any]:
        return listed(self._resource.observations())

    def count(self) -> int:
        """How many trials are finished, on a server those of every process."""
        total = self.fetched().progress.observation_count if self.on_server else len(self.told)
        return int(total) - self.replayed

    def observations(self) -> list[Any]:
        """Every observation on the server but those of history, the earliest first; Lite has none of others."""
        every = self._ask(self._pages) if self.on_server else []
        own = [each for each in every if _HISTORY not in _metadata(each)]
        return sorted(own, key=lambda each: (each.created or 0, len(each.id), each.id))

    def is_own(self, observation: Any) -> bool:
        """Whether this search made the observation."""
        return _metadata(observation).get(_TAG) in self.told

    def thawed(self, observation: Any, number: int) -> Trial:
        """The trial that an observation was. Raises `ParamsError` if it is not of the space."""
        values = {each.name: each.value for each in observation.values or ()}
        named = not observation.failed and not set(self.metrics) <= _LABELS
        metadata = _metadata(observation)
        ended = PRUNED if metadata.get(_PRUNED) else FAILED
        return Trial(
            number=number,
            params=self.params(observation),
            values=None if observation.failed else tuple(values[name] for name in self.metrics),
            state=ended if observation.failed else COMPLETE,
            end=datetime.fromtimestamp(observation.created, timezone.utc) if observation.created else None,
            run_id=metadata.get("run_id"),
            error=metadata.get("error"),
            metrics={name: values[name] for name in self.metrics if name} if named else {},
            **load_notes(_joined(metadata)),
        )

    def fetched(self) -> Any:
        """SigOpt's own object, as it stands."""
        return self._ask(self._resource.fetch)


def _metadata(observation: Any) -> Mapping[str, Any]:
    return observation.metadata or {}


def _notes(trial: Trial) -> dict[str, str]:
    """What of a trial is worth reading beside its observation."""
    notes = {"run_id": trial.run_id, "error": trial.cause}
    own = dump_notes(trial) or ""
    cut = [own[start : start + _LONGEST_TEXT] for start in range(0, len(own), _LONGEST_TEXT)]
    whole = {f"{_NOTES}_{index}": text for index, text in enumerate(cut)}
    pruned = {_PRUNED: "true"} if trial.state == PRUNED else {}
    return {**{name: stored_text(text, _LONGEST_TEXT) for name, text in notes.items() if text}, **whole, **pruned}


def _joined(metadata: Mapping[str, Any]) -> str | None:
    """The text of `dump_notes`, which lies in pieces."""
    pieces = takewhile(bool, (metadata.get(f"{_NOTES}_{index}", "") for index in count()))
    return "".join(pieces) or None


def without_noise(translation: Translation, assignments: Mapping[str, Any]) -> dict[str, Any]:
    """The assignments with what SigOpt's arithmetic adds to them taken off.

    A logarithmic parameter comes back as 10**log10(value), which can lie beyond a bound, and a value of
    a grid with an error in its last digits.
    """
    raw = dict(assignments)
    for mapping in translation.fields:
        if mapping.is_stored and type(raw.get(mapping.native_name)) in (int, float):
            raw[mapping.native_name] = _nearest(mapping, raw[mapping.native_name])
    return raw


def _nearest(mapping: FieldMapping, raw: Any) -> Any:
    parameter: Any = mapping.proxy
    if parameter.kind == "categorical":  # numbers in order
        near = min(parameter.choices, key=lambda choice: abs(choice - raw))
        scale = abs(near)
    elif parameter.support is None:
        near = min(max(raw, parameter.low), parameter.high)
        scale = abs(near) if mapping.rule.form == "log_bounds" else parameter.high - parameter.low
    else:
        return raw
    return near if abs(near - raw) <= _NOISE * scale else raw
