"""Optuna: `study.optimize`, in memory or on any storage that Optuna has.

Options: `study` (one of yours, with its own sampler and pruner), or `storage`, `study_name` and
`load_if_exists` for `optuna.create_study`; `gc_after_trial`. A study that already holds trials is gone
on with: they count in `n_trials`. What stops the study ends the search: a sampler of Optuna's that is
exhausted, or `trial.study.stop()`.

Several processes may search one study at a time: they name one storage and `study_name`, with
`load_if_exists=True`. `n_trials` is for all of them; the same `seed` in each is fine. A trial whose
process has ended is FAILED: whoever joins, on the same host, says so. Marks in the user_attrs of a trial
("hpcompat: …") say which process ran it, how it ended, and which of Optuna's trials are none of the search: one
that two processes have both begun as the last is not run. Constraints are Optuna's own: its samplers learn from
them, and what a sampler's constraints_func returns counts too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hpcompat.backends import check_options
from hpcompat.backends.optuna import samplers
from hpcompat.backends.optuna.shared_study import HISTORY, SURPLUS, Shared
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.space.values import short_repr, strict_key
from hpcompat.translators.optuna import Suggest, to_optuna
from hpcompat.trials import optuna_trials
from hpcompat.trials.config import Evaluate, Plan, Run, Suggestion
from hpcompat.trials.grid import configurations
from hpcompat.trials.notes import Notes
from hpcompat.trials.trial import COMPLETE, PRUNED, Trial

T = TypeVar("T")

CREATE = ("storage", "study_name", "load_if_exists")
OPTIONS = ("study", "gc_after_trial", *CREATE)
_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds before a database is tried again."""


class _Failed(Exception):
    """Tells Optuna that a trial failed, without what made it fail: an exception keeps a model alive."""


def run(plan: Plan, evaluate: Evaluate) -> Run:
    """Run the plan's trials as trials of a Study."""
    import optuna

    _check(plan, optuna)
    suggest = to_optuna(plan.space, encode=True)
    grid = configurations(plan.space) if plan.sampler == "grid" else None
    begun: set[int] = set()
    over: list[tuple[int, Trial]] = []
    own: list[Trial] = []
    ended = interrupted = False
    with optuna_trials.quiet_optuna():
        study = _study(plan, optuna)
        _tell_history(study, plan, suggest)
        hand_out = study.sampler if grid is not None else None
        shared = Shared(study, plan.n_trials, suggest.translation, hand_out) if _is_shared(plan) else None
        queue = shared or _Alone(plan, suggest, hand_out, grid)
        if shared:
            shared.check()

        def objective(trial: Any) -> Any:
            nonlocal interrupted
            begun.add(trial.number)
            try:
                if not queue.admits(trial):
                    raise _Failed("surplus")
                params = suggest(trial)
                suggestion = Suggestion(
                    number=queue.number(trial),
                    params=params,
                    report=trial.report,
                    should_prune=trial.should_prune,
                    native=trial,
                    notes=optuna_trials.notes_of(trial) if shared else Notes(),  # one that was enqueued may have some
                    set_user_attr=trial.set_user_attr,
                    set_constraint=trial.set_constraint,
                )
            except (KeyboardInterrupt, SystemExit):
                trial.set_user_attr(SURPLUS, True)  # it has not begun, and another one is to be run for it
                raise
            try:
                done = evaluate(suggestion)
            except (KeyboardInterrupt, SystemExit) as error:
                trial.set_user_attr(optuna_trials.ERROR, f"{type(error).__name__}: the search was interrupted")
                raise
            over.append((trial.number, done))
            try:
                _note(trial, done)
            except KeyboardInterrupt:
                interrupted = True  # once this one is put away
                _note(trial, done)
            return _told(done, optuna)

        def hear() -> bool:
            """Take in the trials that are over; whether the search is to end: an exhausted sampler stops the study."""
            enough: bool = study._stop_flag
            # the constraints_func of a sampler that was given has added to a trial's constraints when that was over
            is_given = "study" in plan.options or not isinstance(plan.sampler, (str, type(None)))
            frozen_trials = study.get_trials(deepcopy=False) if is_given else ()
            for number, done in over[len(own) :]:
                if is_given:
                    done = replace(done, constraints=optuna_trials.notes_of(frozen_trials[number]).constraints)
                enough = take(done) or enough
            return enough

        def take(done: Trial) -> bool:
            own.append(done)
            return plan.finished(done)

        deadline = time.monotonic() + (plan.timeout or float("inf"))
        again = {"catch": (_Failed,), "gc_after_trial": plan.options.get("gc_after_trial", False)}
        try:
            # a trial of another process that was waited for may turn out to be none
            while not (ended or interrupted) and queue.next() and time.monotonic() < deadline:
                study.optimize(objective, n_trials=1, **again)  # a callback of Optuna's would get copies of the trial
                ended = hear()  # the study holds the trial by now
        except (KeyboardInterrupt, SystemExit, Exception) as error:
            exits = isinstance(error, SystemExit)  # which a signal handler has asked for
            if not (exits or _is_ctrl_c(error)):
                for _, done in over[len(own) :]:  # the study may not have it; it has finished all the same
                    take(done)
                if failure := _failure(error):
                    raise failure from error
                raise
            _put_away(study, begun, dict(over), optuna)
            hear()
            if exits:
                raise
            interrupted = True
        others = [
            optuna_trials.from_frozen_trial(frozen_trial, suggest.translation, queue.number(frozen_trial))
            for frozen_trial in (shared.finished() if shared else ())
            if frozen_trial.number not in begun
        ]
    if interrupted and not (own or others):
        raise KeyboardInterrupt
    return Run(tuple(sorted([*own, *others], key=lambda trial: trial.number)), study, interrupted)


@dataclass
class _Alone:
    """The trials of a study in memory that nobody else sees: as `Shared` has them."""

    plan: Plan
    suggest: Suggest
    hand_out: Any
    grid: Iterator[dict[str, Any]] | None
    admitted: int = 0
    ready: bool = False

    def __post_init__(self) -> None:
        self.tried = {strict_key(dict(trial.params)) for trial in self.plan.history}

    def next(self) -> bool:
        if self.grid is not None and not self.ready:
            params = next((params for params in self.grid if strict_key(params) not in self.tried), None)
            self.ready = params is not None
            self.hand_out.chosen = self.suggest.translation.encode(params) if params is not None else {}
        return self.admitted < self.plan.n_trials and (self.grid is None or self.ready)

    def admits(self, trial: Any) -> bool:
        self.admitted += 1
        self.ready = False
        return True

    def number(self, trial: Any) -> int:
        return self.plan.number(trial.number - len(self.plan.history))


def _note(trial: Any, done: Trial) -> None:
    for name, value in optuna_trials.attributes(done).items():
        trial.set_user_attr(name, value)


def _put_away(study: Any, begun: Container[int], over: Mapping[int, Trial], optuna: Any) -> None:
    """Tell the study how this search's trials have ended that a Ctrl-C has kept it from hearing of."""
    states = optuna.trial.TrialState
    for frozen_trial in study.get_trials(deepcopy=False):
        if frozen_trial.number in begun and not frozen_trial.state.is_finished():
            done = over.get(frozen_trial.number)
            if done is None and optuna_trials.ERROR not in frozen_trial.user_attrs:
                optuna.trial.Trial(study, frozen_trial._trial_id).set_user_attr(SURPLUS, True)
            state = states[optuna_trials.STATES[done.state]] if done else states.FAIL
            with suppress(RuntimeError):  # a sampler that stops an optimize: there is none now
                study.tell(frozen_trial.number, done.values if done and done.state == COMPLETE else None, state)


def _told(done: Trial, optuna: Any) -> Any:
    if done.state == COMPLETE:
        assert done.values is not None
        return done.values[0] if len(done.values) == 1 else list(done.values)
    raise optuna.TrialPruned() if done.state == PRUNED else _Failed(done.cause)


def _is_ctrl_c(error: BaseException) -> bool:
    # one that comes while Optuna stores a trial is the context of the error over which it stumbles then
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)


def _failure(error: BaseException) -> SearchError | None:
    """What to say of an error that ended `optimize`, if the storage made it."""
    if isinstance(error, AssertionError) and isinstance(error.__context__, Exception):
        error = error.__context__  # Optuna has stumbled over its storage's
    cause = error.__cause__ or error
    if not isinstance(error, OSError) and not type(cause).__module__.startswith(("sqlalchemy.", "optuna.")):
        return None
    hint = Issue("", "what it holds is safe: see to it, then go on with resume=True")
    return SearchError(f"the storage of the study fails: {str(cause).splitlines()[0]}", [hint])


def _tell_history(study: Any, plan: Plan, suggest: Suggest) -> None:
    if plan.history and study.get_trials(deepcopy=False):
        raise BackendError("history= is for a new study, and this one already has trials of its own")
    for trial in plan.history:
        study.add_trial(optuna_trials.frozen(trial, suggest.translation, **{HISTORY: True}))


def _check(plan: Plan, optuna: Any) -> None:
    native = (
        ("sampler", plan.sampler, optuna.samplers.BaseSampler),
        ("pruner", plan.pruner, optuna.pruners.BasePruner),
    )
    for what, given, kind in native:
        if not isinstance(given, (str, type(None), kind)):
            raise BackendError(f"{short_repr(given)} is no {what}: give a name, or an optuna.{what}s.{kind.__name__}")
    if isinstance(plan.sampler, optuna.samplers.BaseSampler) and plan.seed is not None:
        raise BackendError("seed= goes to a sampler given by name: give this one its seed yourself")
    # trials in threads would share one Trainer, and reseed the sampler
    alone = {"n_jobs": 1}
    check_options("optuna", {name: value for name, value in plan.options.items() if alone.get(name) != value}, OPTIONS)
    kinds = {"storage": (str, optuna.storages.BaseStorage), "study_name": (str,), "load_if_exists": (bool,)}
    for name, (kind, *others) in kinds.items():
        given = plan.options.get(name)
        if not isinstance(given, (kind, *others, type(None))):
            expected = "the URL of a database, or a storage of Optuna's" if others else f"a {kind.__name__}"
            raise BackendError(f"{name}={short_repr(given)}: expected {expected}")
    if plan.resume and "storage" in plan.options and plan.options.get("study_name") is None:
        raise BackendError("study_name: resume=True goes on with a study of the storage: name it")
    if "study" in plan.options:
        if not isinstance(plan.options["study"], optuna.Study):
            given = short_repr(plan.options["study"])
            raise BackendError(f"study={given} is no Study: give one, or storage= and study_name={given}")
        both = [name for name in CREATE if name in plan.options]
        both += [name for name in ("sampler", "pruner", "seed") if getattr(plan, name) is not None]
        if both:
            raise BackendError(f"study= comes with its own {' and '.join(both)}: give one or the other")


def stored_directions(options: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The directions of the study that the options name, if it is there already."""
    import optuna

    study, storage, name = (options.get(option) for option in ("study", "storage", "study_name"))
    opened: Any = None
    try:
        if isinstance(storage, str) and isinstance(name, str):
            storage = opened = _steadily(lambda: optuna.storages.RDBStorage(str(storage)))
        if isinstance(storage, optuna.storages.BaseStorage) and isinstance(name, str):
            study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:  # there is no such study yet
        return None
    except Exception as error:
        raise BackendError(f"the storage cannot be opened: {error}") from error
    finally:
        if opened is not None:
            opened.engine.dispose()
    return _directions(study) if isinstance(study, optuna.Study) else None


def _directions(study: Any) -> tuple[str, ...]:
    return tuple(direction.name.lower() for direction in study.directions)


def _is_shared(plan: Plan) -> bool:
    return "study" in plan.options or "storage" in plan.options


def _study(plan: Plan, optuna: Any) -> Any:
    study = plan.options["study"] if "study" in plan.options else _created(plan, optuna)
    if (directions := _directions(study)) != plan.directions:
        raise BackendError(f"the study has directions {directions}, and the search {plan.directions}")
    if "study" not in plan.options:
        replayed = len(plan.history) or len(study.get_trials(deepcopy=False))
        study.sampler = samplers.sampler(plan, replayed, _is_shared(plan))
    return study


def _created(plan: Plan, optuna: Any) -> Any:
    create: Mapping[str, Any] = {name: plan.options[name] for name in CREATE if name in plan.options}
    # the Hyperband pruner takes its brackets from the name, which would be another one every time
    defaults = {"load_if_exists": plan.resume} if "storage" in create else {"study_name": "hpcompat"}
    create = {**defaults, **create}

    def make() -> Any:
        return optuna.create_study(directions=plan.directions, pruner=samplers.pruner(plan.pruner), **create)

    try:
        return _steadily(make)
    except optuna.exceptions.DuplicatedStudyError as error:
        hint = Issue("study_name", "is taken", "go on with it: resume=True (or load_if_exists=True)")
        raise BackendError(f"there is a study {create.get('study_name')!r} in the storage", [hint]) from error
    except Exception as error:
        if not _is_database_error(error):
            raise
        raise BackendError(f"the storage cannot be opened: {error}") from error


def _steadily(make: Callable[[], T]) -> T:
    """What `make` returns: processes that make the tables of a new database at once get into each other's way."""
    for pause in _PAUSES:
        try:
            return make()
        except Exception as error:
            if not _is_transient(error):
                raise
            time.sleep(pause)
    return make()


def _is_database_error(error: Exception) -> bool:
    return type(error).__module__.startswith("sqlalchemy.")


def _is_transient(error: Exception) -> bool:
    """Return whether the database itself has refused; an invalid URL is refused before."""
    return _is_database_error(error) and getattr(error, "orig", None) is not None
