"""`search`: pick the objective and the backend, watch the trials come in, hand back what was found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import is_dataclass, replace
from itertools import count
from typing import Any, TypeVar

from hpcompat import distributed
from hpcompat.backends import BACKENDS, find
from hpcompat.errors import (
    BackendError,
    HpcompatError,
    Issue,
    MissingBackendError,
    ParamsError,
    SearchError,
    TranslationError,
)
from hpcompat.objectives import function_objective, is_trainer
from hpcompat.objectives.metrics import LABEL, Undecided
from hpcompat.objectives.trainer import trainer_objective, trainer_with
from hpcompat.objectives.trainer_validation import deciding_metric, ineffective, params_issues, unknown_names_warn
from hpcompat.objectives.training_arguments import applied, near, takes
from hpcompat.objectives.trial_context import Setting, cause, other_values, scored
from hpcompat.space import SearchSpace
from hpcompat.space.search_space import params_as_drawn
from hpcompat.space.values import short_repr
from hpcompat.translators.detect import SpaceSource, as_space, resolve_source, settings_of
from hpcompat.translators.settings import SearchSettings
from hpcompat.trials.config import Evaluate, Plan, Run, Suggestion
from hpcompat.trials.journal import Journal, opened
from hpcompat.trials.progress import progress_bar
from hpcompat.trials.result import SearchResult, no_best
from hpcompat.trials.run_dir_log import Diary
from hpcompat.trials.run_dirs import Keeper, Runs, settled
from hpcompat.trials.signals import Termination, handle_sigterm
from hpcompat.trials.trial import FAILED, Trial
from hpcompat.tuning import validation
from hpcompat.tuning.request import REFUSAL, UNSET, Request, complete, parse_directions, parse_objective

T = TypeVar("T")


def search(
    trainer: Any,
    space: Any,
    backend: str = "optuna",
    direction: str | Sequence[str] | None = None,
    *,
    n_trials: int | None = None,
    compute_objective: Callable[[dict[str, float]], Any] | str | Sequence[str] | None = None,
    hp_name: Callable[[Any], str] | None = None,
    sampler: Any = None,
    pruner: Any = UNSET,
    seed: int | None = None,
    timeout: float | None = None,
    history: SearchResult | Iterable[Trial] | None = None,
    resume: bool = False,
    keep: str | None = None,
    output_dir: str | None = None,
    callbacks: Iterable[Callable[[Trial], Any]] = (),
    progress: bool = True,
    **options: Any,
) -> SearchResult:
    """Search a space for the params with the best objective.

    `trainer`: a transformers Trainer made with model_init; or a function of the trial that returns a
    number, a list of them, a dict of metrics, or a Trainer to train. `space`: a SearchSpace, or any of
    the four systems' own (`as_space`). What a sweep, an experiment or a study says besides (goal and
    metric, method, run_cap, budget) holds where the call leaves it open; it is an error where the call says
    otherwise, and what has no counterpart here is named in a warning. What the function, model_init and
    hp_name get is a mapping of the params that also answers to `.params`, `.number`,
    `.suggest_float(name, …)`, `.report(value, step)`, `.should_prune()`, `.set_user_attr(key, value)` and
    `.set_constraint(key, value)`.

    Params that are fields of the TrainingArguments are applied to a fresh copy of them, typed as
    declared; the others are model_init's. The objective is that of the model a Trainer ends with: its
    best evaluation where it loads the best model at the end, else its last.

    - `direction`: "minimize" (default), "maximize", or a list of them for several objectives.
    - `compute_objective`: metrics -> float, or the name of a metric; for several directions a list with one
      for each. Without it: the metric that metric_for_best_model names, else the only one beside the loss,
      else the loss; for a Trainer without compute_metrics the loss.
    - `n_trials`: how many trials the whole search has (20). `timeout`: seconds, from the first on, in which
      they may begin.
    - `sampler`: "bayes" (default), "random", "grid", or one of the backend's own. `seed`: the same
      one gives the same trials.
    - `pruner`: None, "median", "hyperband", "asha", or one of the backend's own.
    - `history`: an earlier result, or trials, of any backend, to start from; not counted in n_trials.
    - `resume`: to go on with the search that left a journal in `output_dir`, until there are n_trials in
      all, those in the journal counted; trials that were under way when it ended are run anew. On the
      same backend or another. Where there is no journal yet, a new search; a journal without `resume`
      is an error. A search in a store of its backend's (storage, sweep_id, …) keeps no journal, and
      goes on with what the store holds.
    - `keep`: whose checkpoints stay: "best" (the whole front for several objectives; the default), "all", "none".
      With `resume` the default is what the search began with. What a trial logged, and what your own code wrote
      into its run directory, stays in any case.
    - `output_dir`: where the run directories and the journal of finished trials are made; by default
      that of the Trainer. A plain function without one leaves nothing.
    - `hp_name`: trial -> the name of its run directory; by default run-<number>.
    - `callbacks`: functions of each finished Trial; one that returns True ends the search, and so does one
      that raises, with a SearchError.
    - `options`: go to the backend, see its module.

    A trial that raises `TrialPruned`, or returns after `should_prune()` said True, is PRUNED. One with a
    constraint above 0 is infeasible, and never the best.

    A trial that raises, runs out of memory, calls sys.exit or ends with NaN is FAILED, and the search goes on;
    one that kills the process is FAILED when it has done so a second time, on resuming. Ctrl-C ends it; what is
    finished comes back. SIGTERM ends it too, and then the process; what the interrupted trial has saved stays. (A
    handler of your own for SIGTERM runs instead.) Afterwards the Trainer is as it was given.

    Under torchrun, or another launcher, every process calls it: rank 0 searches, the others follow, and
    all return the same trials.

    Raises `BackendError` for what the backend cannot do, `MissingBackendError` if it is not installed,
    and `SearchError`: before the first trial for whatever else would not work, naming all of it;
    later, with the trials that are finished as its `trials`, where the search cannot go on; and at
    the end if every trial failed, with the causes.

    >>> from hpcompat import Float
    >>> result = search(lambda trial: (trial["x"] - 2) ** 2, {"x": Float(0, 4)}, seed=0, progress=False)
    >>> len(result.trials), 1.5 < result.best.params["x"] < 2.5
    (20, True)
    """
    engine = find(backend)
    run = engine.load()
    past, watching = validation.given(trainer, history, callbacks)
    output_dir = validation.as_path(output_dir)
    place = output_dir or (trainer.args.output_dir if is_trainer(trainer) else None)
    described = _described(space)
    asked = Request(
        parse_directions(direction),
        parse_objective(compute_objective),
        validation.whole(n_trials),
        engine.aliases.get(sampler, sampler) if isinstance(sampler, str) else sampler,
        pruner,
        options,
    )
    past = tuple(replace(trial, params=params_as_drawn(described.space, trial.params)) for trial in past)
    asked, issues = complete(asked, described.settings, engine)
    directions, options = asked.directions or (), dict(asked.options or {})
    plan = Plan(described.space, directions, asked.n_trials, asked.sampler, asked.pruner, seed, timeout, past, options)
    plan = replace(plan, output_dir=place, resume=resume, seed=validation.whole(seed))
    setting = Setting(plan.space, directions, asked.compute_objective, hp_name, output_dir)
    validation.check(trainer, plan, setting, engine, keep, issues)
    metric = deciding_metric(trainer) if is_trainer(trainer) else None
    plan = replace(plan, history=scored(plan.history, setting, metric))
    _require_same_objective("history", plan.history, setting, metric)
    if isinstance(history, SearchResult) and history.directions != directions:
        reason = f"it was searched with {list(history.directions)}, and this is a search with {list(directions)}"
        hint = "pass the direction that it was searched with, or history=result.trials"
        raise SearchError(REFUSAL, [Issue("history", reason, hint)])

    with handle_sigterm() as termination, distributed.joined(backend, termination) as crew:
        if crew.follows:
            with _objective(replace(plan, origin=(trainer, crew.setting(setting)))) as evaluate:
                trials, interrupted = crew.follow(evaluate)
            ran = Run(trials, None, interrupted)
        else:
            with opened(None if engine.stored(options) else place, plan.space, directions, resume, keep) as journal:
                runs = Runs(journal.search, Diary(journal.folder) if journal.folder else None)
                journal.trials = scored(journal.trials, setting, metric)
                _require_same_objective("journal", journal.trials, setting, metric)
                plan = replace(plan, origin=(trainer, crew.setting(replace(setting, runs=runs))))
                keeper = Keeper(runs, journal.keep, directions)
                ran = _led(run, plan, journal, crew, keeper, watching, progress, termination)
            crew.conclude((ran.trials, ran.interrupted))
    result = SearchResult(ran.trials, plan.space, directions, backend, ran.native, ran.interrupted)
    if not crew.follows:
        _warn_of_unread(result, trainer)
    return result


def _led(
    run: Callable[[Plan, Evaluate], Run],
    plan: Plan,
    journal: Journal,
    crew: distributed.Alone,
    keeper: Keeper,
    callbacks: Sequence[Callable[[Trial], Any]],
    progress: bool,
    termination: Termination,
) -> Run:
    """What came of the whole plan, by the process that drives it: with the trials of the journal, in order."""
    past = keeper.go_on(journal.trials, journal.root, journal.folder)
    done = list(past)
    with progress_bar(plan.n_trials, plan.directions, progress, len(done)) as show_progress:

        def finished(trial: Trial) -> bool:
            keeper.ended(trial)
            journal.add(trial)
            _warn_of_state(trial, done, plan)
            done.append(trial)
            keeper.add(trial)
            show_progress(trial, keeper.front)
            termination.check()  # not before: what has finished is kept
            try:
                return any([_is_true(callback(trial)) for callback in callbacks])
            except Exception as error:
                raise SearchError(f"a callback raised {cause(error)}") from error

        ran = Run((), None)
        is_cut_off = False
        try:
            is_over = any([finished(trial) for trial in journal.dead])
            past = list(done)
            left = replace(plan, finished=crew.reporting(finished)).going_on(past)
            if left.n_trials > 0 and not is_over:
                with _objective(left) as evaluate:
                    ran = run(left, crew.lead(_noted(evaluate, journal, termination)))
        except KeyboardInterrupt:
            if not done:
                raise
            ran = Run(tuple(done[len(past) :]), None, interrupted=True)
        except SystemExit:  # a signal handler of the user's has asked for it
            is_cut_off = True
            raise
        except SearchError as error:
            error.trials = tuple(done)
            if isinstance(error, Undecided):
                _keep_unscored(error, journal, keeper)
            raise
        except (BackendError, TranslationError):
            raise
        except Exception as error:  # the engine's own, or of a sampler that was given
            failure = _failure(error)
            failure.trials = tuple(done)
            raise failure from error
        finally:
            if termination.is_requested or is_cut_off:  # the checkpoint of the trial that was under way may be wanted
                journal.is_unfinished = keeper.has_others(done)
            else:
                keeper.close()
    trials = settled(sorted((*past, *ran.trials), key=lambda trial: trial.number))
    if len(done) == len(past) and not ran.interrupted:
        _warn_if_full(len(trials), plan)
    if not ran.interrupted and all(trial.state == FAILED for trial in trials):
        raise _fruitless(trials)
    return replace(ran, trials=trials)


def _require_same_objective(where: str, trials: Sequence[Trial], setting: Setting, metric: str | None) -> None:
    """Raise `SearchError` for a trial whose value is not what this search makes of its metrics."""
    for trial in trials:
        if (values := other_values(trial, setting, metric)) is not None:
            reason = (
                f"the value is {short_repr(trial.values)}, and this search makes {short_repr(values)} of the metrics"
            )
            hint = "pass the compute_objective that it was searched with; or give another output_dir"
            raise SearchError(REFUSAL, [Issue(f"{where}: trial {trial.number}", reason, hint)])


def _warn_if_full(held: int, plan: Plan) -> None:
    """Say why no trial was run, where there are as many already.

    To call a complete search once more is no mistake, except with a study at hand: `study.optimize` would go on.
    """
    if held > plan.n_trials or (held == plan.n_trials and "study" in plan.options):
        message = f"no trial was run: there are {held} already, and n_trials={plan.n_trials} is the total"
        warnings.warn(f"{message}; raise it to run more", stacklevel=4)


def _keep_unscored(error: Undecided, journal: Journal, keeper: Keeper) -> None:
    """What is trained already is scored once it is said what by."""
    for trial in error.unscored:
        journal.add(trial)
        keeper.spare(trial)
    error.trials = (*error.trials, *error.unscored)
    if error.unscored and journal.folder:
        hint = Issue("", "what is trained is in the journal: with resume=True it is scored, and not trained again")
        error.issues = (*error.issues, hint)


def _noted(evaluate: Evaluate, journal: Journal, termination: Termination) -> Evaluate:
    """The evaluation, and in the journal that it is under way, and at which step."""

    def checked(suggestion: Suggestion) -> Trial:
        termination.check()
        trial = evaluate(suggestion)
        termination.check()
        return trial

    def noted(suggestion: Suggestion) -> Trial:
        with journal.attempt(suggestion.number, suggestion.params) as reached:
            return checked(_stepping(suggestion, reached))

    return noted if journal.root else checked  # a loop without a journal pays nothing for it


def _stepping(suggestion: Suggestion, reached: Callable[[int], None]) -> Suggestion:
    """The suggestion of a trial that tells how far it is, by the steps of a training or those that it reports."""
    steps = count(1)

    def stepped() -> None:
        reached(next(steps))
        suggestion.stepped()

    def report(value: float, step: int) -> None:
        reached(step)
        suggestion.report(value, step)

    return replace(suggestion, stepped=stepped, report=report)


def _warn_of_state(trial: Trial, before: Sequence[Trial], plan: Plan) -> None:
    """Say, once in a search, which state goes from this trial to the next."""
    if trial.carried and plan.n_trials > 1 and not any(other.carried for other in before):
        names = ", ".join(trial.carried)
        warnings.warn(
            f"state goes from trial to trial: {names}. Every trial gets the same callbacks, data collator and "
            "functions; their numbers, texts, bools and None are reset before each, other objects are not. "
            "Pass a function trial -> Trainer instead, which makes new ones for each trial",
            stacklevel=2,
        )


def _warn_of_unread(result: SearchResult, trainer: Any) -> None:
    """Name the params that no trial has read, but for those that a warning before the first trial has named."""
    known = {issue.path for issue in ineffective(trainer, result.space)} if is_trainer(trainer) else set()
    names = [name for name in result.unread if name not in known]
    if names:
        unknown = [name for name in names if is_trainer(trainer) and not takes(trainer.args, name)]
        hints = {name: near(trainer.args, name) for name in unknown}
        shown = ", ".join(f"{name!r} ({hints[name]})" if hints.get(name) else repr(name) for name in names)
        warnings.warn(f"no trial has read {shown}: the values have changed nothing", stacklevel=3)


def _failure(error: Exception) -> SearchError:
    if isinstance(error, HpcompatError):
        return SearchError(error.message, error.issues)
    return SearchError(f"the engine raised {cause(error)}")


def _is_true(answer: Any) -> bool:
    """True, numpy's and torch's too; nothing else that counts as true: a callback may return what it likes."""
    return answer is True or (getattr(answer, "shape", None) == () and answer.item() is True)


def _objective(plan: Plan) -> AbstractContextManager[Evaluate]:
    trainer, setting = plan.origin
    return (trainer_objective if is_trainer(trainer) else function_objective)(trainer, setting)


def _fruitless(trials: Sequence[Trial]) -> SearchError:
    if not trials:
        return SearchError("no trial was run: history and study have left none to run")
    hint = Issue("", "the tracebacks are in the `error` of each of this exception's `trials`")
    error = SearchError(f"all {len(trials)} trials failed", [*_causes(trials), hint])
    error.trials = tuple(trials)
    return error


def hyperparameter_search(
    trainer: Any,
    hp_space: Any = None,
    compute_objective: Callable[[dict[str, float]], Any] | str | Sequence[str] | None = None,
    n_trials: int = 20,
    direction: str | Sequence[str] = "minimize",
    backend: str | None = None,
    hp_name: Callable[[Any], str] | None = None,
    **kwargs: Any,
) -> Any:
    """`Trainer.hyperparameter_search`, with its own signature and its BestRun.

    In `trainer.hyperparameter_search(…)` put the Trainer first: `hyperparameter_search(trainer, …)`.
    `hp_space` takes the function or space of any of the backends; without one it is transformers'
    default. As there, Optuna prunes by the median unless `pruner=None` is given, `direction` replaces the
    goal of a sweep, whose method and early_terminate count, and a name that nothing takes is warned of.
    `kwargs` go to `search`. Returns a BestRun, or a list of them for several objectives; its `run_summary`
    is the `SearchResult`. Raises `SearchError`, with the trials, where no trial is both complete and feasible.
    """
    from transformers.trainer_utils import BestRun

    name = _first_installed() if backend is None else str(getattr(backend, "value", backend))
    is_single = direction is None or isinstance(direction, str)
    if name == "optuna" and "study" not in kwargs and is_single and is_trainer(trainer):
        kwargs.setdefault("pruner", None if trainer.args.eval_strategy == "no" else "median")
    described = _described(default_space() if hp_space is None else hp_space)
    with unknown_names_warn():
        result = search(
            trainer,
            replace(described, settings=_replaced(described.settings, compute_objective)),
            name,
            direction,
            n_trials=n_trials,
            compute_objective=compute_objective,
            hp_name=hp_name,
            **kwargs,
        )
    if is_single:
        best = result.best
        return BestRun(str(best.number), (best.values or ())[0], dict(best.params), result)
    front = result.pareto_front
    if not front:
        raise no_best(result.trials)
    return [BestRun(str(best.number), list(best.values or ()), dict(best.params), result) for best in front]


def with_params(trainer_or_args: T, params: Mapping[str, Any]) -> T:
    """Set up the training that a trial with these params was.

    TrainingArguments: a fresh, validated copy with the params in it. A Trainer: the same Trainer, its
    arguments and everything derived from them replaced, and its model_init bound to the params, so
    that `train()` repeats the trial. Raises `ParamsError` for a param that nothing takes.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Arguments:
    ...     learning_rate: float = 5e-5
    >>> with_params(Arguments(), {"learning_rate": 1e-4})
    Arguments(learning_rate=0.0001)
    """
    kind = type(trainer_or_args).__name__
    if not isinstance(params, Mapping):
        hint = "give its .params" if isinstance(params, Trial) else "give a dict by name"
        raise ParamsError(
            "these are no params", [Issue("", f"{short_repr(params)} is a {type(params).__name__}", hint)]
        )
    whole = is_trainer(trainer_or_args)
    if not whole and (isinstance(trainer_or_args, type) or not is_dataclass(trainer_or_args)):
        reason = f"expected a Trainer or TrainingArguments, got {short_repr(trainer_or_args)}"
        raise ParamsError(reason, [Issue("", reason, "give what a trial trained with; the params come second")])
    if untold := [name for name in params if not isinstance(name, str)]:
        raise ParamsError(
            "these are no params", [Issue("", f"{short_repr(name)} is no name", "use texts") for name in untold]
        )
    if whole:
        issues = list(params_issues(trainer_or_args, params))
    else:
        untaken = [name for name in params if not takes(trainer_or_args, name)]
        issues = [Issue(name, f"is no field of {kind}", near(trainer_or_args, name)) for name in untaken]
    if issues:
        raise ParamsError(f"{kind} does not take these params", issues)
    if whole:
        trainer_with(trainer_or_args, params)
        return trainer_or_args
    return applied(trainer_or_args, params)


def default_space() -> SearchSpace:
    """The space that transformers searches by default."""
    from hpcompat.space.parameters import Categorical, Float, Int

    return SearchSpace(
        {
            "learning_rate": Float(1e-6, 1e-4, log=True),
            "num_train_epochs": Int(1, 5),
            "seed": Int(1, 40),
            "per_device_train_batch_size": Categorical([4, 8, 16, 32, 64]),
        }
    )


def _described(space: Any) -> SpaceSource:
    """The space of what describes one, and what that says besides."""
    if isinstance(space, SpaceSource):
        return space
    if isinstance(space, SearchSpace):
        return SpaceSource(space)
    if isinstance(space, Mapping) and not space:  # everything is suggested as the trial runs
        return SpaceSource(SearchSpace())
    document = resolve_source(space)
    found = as_space(document)
    return SpaceSource(found, settings_of(document))


def _replaced(settings: SearchSettings, compute_objective: Any) -> SearchSettings:
    """What transformers lets a sweep say: its own arguments replace the goal, the metric and the cap."""
    unused = dict(settings.unused)
    if settings.n_trials is not None:
        unused[settings.terms["n_trials"]] = settings.n_trials
    if compute_objective is None and settings.metrics not in ((), (LABEL,)):
        unused[settings.terms["compute_objective"]] = ", ".join(settings.metrics)
    return replace(settings, directions=(), metrics=(), n_trials=None, unused=unused)


def _first_installed() -> str:
    for backend in BACKENDS.values():
        try:
            backend.load()
        except MissingBackendError:
            continue
        return backend.name
    pips = " or ".join(backend.pip for backend in BACKENDS.values())
    raise MissingBackendError(f"no backend is installed: {pips}")


def _causes(trials: Sequence[Trial]) -> Iterator[Issue]:
    """An issue for each different cause, with the trials that it hit."""
    by_cause: dict[str, list[int]] = {}
    for trial in trials:
        by_cause.setdefault(trial.cause or "unknown", []).append(trial.number)
    for reason, numbers in by_cause.items():
        yield Issue(f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}", reason)
