"""Optuna: `study.optimize`, in memory or on any storage that Optuna has.

Options: `study` (one of yours, with its own sampler and pruner), or `storage`, `study_name` and
`load_if_exists` for `optuna.create_study`; `gc_after_trial`. A study that already holds trials is gone
on with: they count in `n_trials`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hpcompat import studies
from hpcompat.backends import Evaluate, Plan, Run, Suggestion, known, leg_seed
from hpcompat.backends.grid import configurations
from hpcompat.errors import BackendError, Fault, ParamsError
from hpcompat.space.values import identity, show
from hpcompat.translators.optuna import Suggest, to_optuna
from hpcompat.trials import COMPLETE, PRUNED, Trial

CREATE = ("storage", "study_name", "load_if_exists")
OPTIONS = ("study", "gc_after_trial", "n_jobs", *CREATE)
REFUSED = {
    "catch": "every exception in a trial is caught in any case",
    "show_progress_bar": "use progress=True",
    "directions": "pass direction=[…]",
}
_HISTORY = "hpcompat: history"
_DONE = ("COMPLETE", "PRUNED", "FAIL")


class _Failed(Exception):
    """Tells Optuna that a trial failed, without what made it fail: an exception keeps a model alive."""


def run(plan: Plan, evaluate: Evaluate) -> Run:
    """Run the plan's trials as trials of a Study."""
    import optuna

    _check(plan, optuna)
    suggest = to_optuna(plan.space, encode=True)
    grid = configurations(plan.space) if plan.sampler == "grid" else None
    begun: set[int] = set()
    own: dict[int, Trial] = {}
    interrupted = False
    with _quiet(optuna):
        study = _study(plan, optuna)
        shared = "study" in plan.options or "storage" in plan.options
        before = _begin(study, plan, suggest) if shared or plan.history else []
        offset = sum(_HISTORY in form.user_attrs for form in before)
        seen = {identity(suggest.translation.decode(form.params)) for form in before} if grid else set()
        left = plan.n_trials - (len(before) - offset)

        def queue() -> bool:
            for params in grid or ():
                if identity(params) not in seen:
                    study.enqueue_trial(suggest.translation.encode(params))
                    return True
            return grid is None

        def objective(trial: Any) -> Any:
            params = suggest(trial)
            number = trial.number - offset
            begun.add(trial.number)
            try:
                done = evaluate(Suggestion(number, params, trial.report, trial.should_prune, trial))
            except KeyboardInterrupt:
                trial.set_user_attr("error", "KeyboardInterrupt: the search was interrupted")
                raise
            own[trial.number] = done
            for name, value in studies.attributes(done).items():
                trial.set_user_attr(name, value)
            full = shared and len(_finished(study)) + 1 - offset >= plan.n_trials
            if plan.finished(done) or full or len(own) >= left or not queue():
                study.stop()
            return _told(done, optuna)

        if left > 0 and queue():
            try:
                study.optimize(
                    objective,
                    timeout=plan.timeout,
                    catch=(_Failed,),
                    gc_after_trial=plan.options.get("gc_after_trial", False),
                )
            except KeyboardInterrupt:
                if not own:
                    raise
                interrupted = True
        forms = _finished(study) if shared else []
    others = [form for form in forms if form.number not in begun and _HISTORY not in form.user_attrs]
    thawed = [studies.thawed(form, suggest.translation, form.number - offset) for form in others]
    return Run(tuple(sorted([*own.values(), *thawed], key=lambda trial: trial.number)), study, interrupted)


def _told(done: Trial, optuna: Any) -> Any:
    if done.state == COMPLETE:
        assert done.values is not None
        return done.values[0] if len(done.values) == 1 else list(done.values)
    raise optuna.TrialPruned() if done.state == PRUNED else _Failed(done.cause)


def _finished(study: Any) -> list[Any]:
    return [form for form in study.get_trials(deepcopy=False) if form.state.name in _DONE]


def _begin(study: Any, plan: Plan, suggest: Suggest) -> list[Any]:
    """The finished trials that the study holds before the first of ours, the plan's history among them."""
    if plan.history:
        if study.get_trials(deepcopy=False):
            raise BackendError("history= is for a new study, and this one already has trials of its own")
        for trial in plan.history:
            study.add_trial(studies.frozen(trial, suggest.translation, **{_HISTORY: True}))
    forms = _finished(study)
    faults = []
    for form in forms:
        try:
            suggest.translation.decode(form.params)
        except ParamsError as error:
            faults += [Fault(f"trial {form.number}", str(fault)) for fault in error.faults]
    if faults:
        raise BackendError(f"study {study.study_name!r} holds trials of another space", faults)
    return forms


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna's own line for each trial is left out: search has one."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _check(plan: Plan, optuna: Any) -> None:
    native = (
        ("sampler", plan.sampler, optuna.samplers.BaseSampler),
        ("pruner", plan.pruner, optuna.pruners.BasePruner),
    )
    for what, given, kind in native:
        if not isinstance(given, (str, type(None), kind)):
            raise BackendError(f"{show(given)} is no {what}: give a name, or an optuna.{what}s.{kind.__name__}")
    if isinstance(plan.sampler, optuna.samplers.BaseSampler) and plan.seed is not None:
        raise BackendError("seed= goes to a sampler given by name: give this one its seed yourself")
    for name in plan.options:
        if name in REFUSED:
            raise BackendError(f"{name}= is not passed to Optuna: {REFUSED[name]}")
        if name not in OPTIONS:
            raise BackendError(f"the optuna backend has no option {name!r}; {known(name, OPTIONS)}")
    if plan.options.get("n_jobs", 1) != 1:
        raise BackendError(
            "n_jobs is 1: trials in threads would share one Trainer, and reseed the sampler",
            [Fault("", "run several processes that name one storage and study_name, each with its own seed")],
        )
    if "study" in plan.options:
        both = [name for name in CREATE if name in plan.options]
        both += [name for name in ("sampler", "pruner", "seed") if getattr(plan, name) is not None]
        if both:
            raise BackendError(f"study= comes with its own {' and '.join(both)}: give one or the other")


def _study(plan: Plan, optuna: Any) -> Any:
    if "study" in plan.options:
        study = plan.options["study"]
        directions = tuple(direction.name.lower() for direction in study.directions)
        if directions != plan.directions:
            raise BackendError(f"the study has directions {directions}, and the search {plan.directions}")
        return study
    create: Mapping[str, Any] = {name: plan.options[name] for name in CREATE if name in plan.options}
    if "storage" not in create:
        # the Hyperband pruner takes its brackets from the name, which would be another one every time
        create = {"study_name": "hpcompat", **create}
    study = optuna.create_study(directions=plan.directions, pruner=_pruner(plan, optuna), **create)
    replayed = len(plan.history) or len(study.get_trials(deepcopy=False))
    study.sampler = _sampler(plan, replayed, optuna)
    return study


def _sampler(plan: Plan, replayed: int, optuna: Any) -> Any:
    if not isinstance(plan.sampler, (str, type(None))):
        return plan.sampler
    # a grid draws nothing: every configuration of it is enqueued
    kind = "TPESampler" if plan.sampler in (None, "bayes") else "RandomSampler"
    return getattr(optuna.samplers, kind)(seed=leg_seed(plan.seed, replayed))


def _pruner(plan: Plan, optuna: Any) -> Any:
    if not isinstance(plan.pruner, (str, type(None))):
        return plan.pruner
    kinds = {
        None: optuna.pruners.NopPruner,  # Optuna's own default is the median
        "median": optuna.pruners.MedianPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
        "asha": optuna.pruners.SuccessiveHalvingPruner,
    }
    return kinds[plan.pruner]()
