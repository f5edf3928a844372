"""What suggests params under Ray: an Optuna study, or a search algorithm of Ray's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hpcompat.backends.ray.trainable import names
from hpcompat.errors import BackendError
from hpcompat.space.values import strict_key
from hpcompat.translators import Translation, translate
from hpcompat.translators.optuna import Suggest, to_optuna
from hpcompat.translators.ray import build_domains
from hpcompat.translators.translation import get_path
from hpcompat.trials import optuna_trials
from hpcompat.trials.config import Plan, leg_seed
from hpcompat.trials.grid import configurations
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED, Trial

Result = Mapping[str, Any]


class Exhausted(Exception):
    """There is nothing left to suggest."""


@dataclass(frozen=True)
class Engine:
    """Something that suggests.

    `ask(key)`: params for the trial of that key; None: not now. Raises `Exhausted`. `report(key, value,
    step, result)` and `tell(key, trial, result)` say how it goes, `result` as Ray has it; `tell` returns the
    trial, to which a sampler may have added constraints.
    """

    ask: Callable[[str], dict[str, Any] | None]
    report: Callable[[str, float, int, Result], None]
    tell: Callable[[str, Trial, Result | None], Trial]


def engine(plan: Plan) -> Engine:
    """The engine of a plan: its Searcher if it has one, else a study with its sampler."""
    from ray.tune.search import Searcher

    make = _native_engine if isinstance(plan.sampler, Searcher) else _study_engine
    with optuna_trials.quiet_optuna():  # a study says that it was created
        return make(plan)


@dataclass
class _Queue:
    """The configurations of a grid that no trial has had."""

    left: Iterator[dict[str, Any]]
    seen: set[Any] = field(default_factory=set)

    def next(self) -> dict[str, Any]:
        for params in self.left:
            if strict_key(params) not in self.seen:
                return params
        raise Exhausted


def _study_engine(plan: Plan) -> Engine:
    import optuna

    suggest: Suggest = to_optuna(plan.space, encode=True)
    queue = _Queue(configurations(plan.space)) if plan.sampler == "grid" else None
    study = optuna.create_study(study_name="hpcompat", directions=plan.directions, sampler=_sampler(plan, optuna))  # type: ignore[arg-type]
    for trial in plan.history:
        study.add_trial(optuna_trials.frozen(trial, suggest.translation))
        if queue:
            queue.seen.add(strict_key(dict(trial.params)))
    asked: dict[str, Any] = {}

    def ask(key: str) -> dict[str, Any]:
        if queue:
            study.enqueue_trial(suggest.translation.encode(queue.next()))
        asked[key] = study.ask()
        return suggest(asked[key])

    def report(key: str, value: float, step: int, result: Result) -> None:
        asked[key].report(value, step)

    def tell(key: str, trial: Trial, result: Result | None) -> Trial:
        state = optuna.trial.TrialState[optuna_trials.STATES[trial.state]]
        values = list(trial.values or ()) if trial.state == COMPLETE else None
        live = asked.pop(key)
        for name, attr in trial.user_attrs.items():
            live.set_user_attr(name, attr)
        for name, violation in trial.constraints.items():
            live.set_constraint(name, violation)
        return replace(trial, constraints=optuna_trials.notes_of(study.tell(live, values, state)).constraints)

    return Engine(ask, report, tell)


def _sampler(plan: Plan, optuna: Any) -> Any:
    seed = leg_seed(plan.seed, len(plan.history))
    if plan.sampler in (None, "bayes"):
        # trials under way count as bad ones: else those that are asked for together would be alike
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    if isinstance(plan.sampler, str):  # a grid draws nothing: every configuration of it is enqueued
        return optuna.samplers.RandomSampler(seed=seed)
    return plan.sampler


def searcher_option(search_alg: Any) -> Literal["optuna", True]:
    """Which domains this Searcher draws exactly: see `to_ray`."""
    from ray.tune.search import ConcurrencyLimiter, Repeater
    from ray.tune.search.optuna import OptunaSearch

    while isinstance(search_alg, (ConcurrencyLimiter, Repeater)):  # they hand on the space, and what is drawn
        search_alg = search_alg.searcher
    return "optuna" if isinstance(search_alg, OptunaSearch) else True


def _point(translation: Translation, params: Mapping[str, Any]) -> dict[str, Any]:
    """Params as `add_evaluated_point` takes them: the names of groups joined by "/", and no constants."""
    raw = translation.encode(params)
    drawn = (each for each in translation.fields if each.proxy is not None and each.rule.form != "constant")
    return {"/".join(each.native_path): get_path(raw, each.native_path) for each in drawn}


def _native_engine(plan: Plan) -> Engine:
    from ray.tune.search import Searcher
    from ray.tune.utils import merge_dicts

    search_alg = plan.sampler

    translation = translate(plan.space, "ray", encode=True, searcher=searcher_option(search_alg))
    one = len(plan.directions) == 1
    mode = plan.directions[0][:3] if one else None
    kind = type(search_alg).__name__
    space = build_domains(translation.spec)
    if not search_alg.set_search_properties(names(1)[0] if one else None, mode, space):
        raise BackendError(f"{kind} has a space already: give it none, it gets that of the search")
    if plan.history and not one:  # add_evaluated_point of ray 2.60 hands Optuna a single value
        raise BackendError(f"{kind} takes no history of several objectives: leave it out, or use sampler='bayes'")
    for trial in plan.history:
        if trial.state == FAILED or not trial.values:
            continue
        try:
            pruned = trial.state == PRUNED
            search_alg.add_evaluated_point(_point(translation, trial.params), trial.values[0], pruned=pruned)
        except NotImplementedError as error:
            raise BackendError(f"{kind} takes no history: leave it out, or use sampler='bayes'") from error

    def ask(key: str) -> dict[str, Any] | None:
        raw = search_alg.suggest(key)
        if raw == Searcher.FINISHED:
            raise Exhausted
        # a search algorithm leaves constants to Ray, which puts them in like this
        return None if raw is None else translation.decode(merge_dicts(space, raw))

    def report(key: str, value: float, step: int, result: Result) -> None:
        search_alg.on_trial_result(key, dict(result))

    def tell(key: str, trial: Trial, result: Result | None) -> Trial:
        failed = trial.state == FAILED
        search_alg.on_trial_complete(key, None if failed or result is None else dict(result), error=failed)
        return trial

    return Engine(ask, report, tell)
