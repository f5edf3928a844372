"""`search`: complete and validate the request, open the journal, and run the backend."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hpcompat import distributed
from hpcompat.backends import get_backend
from hpcompat.errors import Issue, SearchError
from hpcompat.objectives import create_objective
from hpcompat.objectives.objective import Objective
from hpcompat.objectives.trial_context import describe_conflict, score_trials
from hpcompat.space.search_space import params_as_drawn
from hpcompat.translators.dialect import DIRECTIONS
from hpcompat.trials.config import SearchConfig
from hpcompat.trials.journal import open_journal
from hpcompat.trials.process import handle_sigterm
from hpcompat.trials.result import SearchResult
from hpcompat.trials.run_dirs import RunDirLog, RunDirs
from hpcompat.trials.trial import Trial
from hpcompat.tuning.recorder import record_trials
from hpcompat.tuning.request import (
    MESSAGE,
    UNSET,
    Request,
    as_int,
    complete_request,
    normalize_inputs,
    parse_objective,
    resolve_space,
    validate_search,
)


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

    Params that are fields of the TrainingArguments are applied to a fresh copy of them, converted to the declared type
    of the field; model_init uses the others. The function, model_init and hp_name receive the trial: a mapping of the
    params that also has `.params`, `.number`, `.suggest_float(name, …)`, `.report(value, step)`, `.should_prune()`,
    `.set_user_attr(key, value)` and `.set_constraint(key, value)`.

    A trial that raises, runs out of memory, calls sys.exit or ends with NaN is FAILED, and the search continues. A
    trial that crashes the process is FAILED once it has done so twice. A trial that raises `TrialPruned`, or returns
    after `should_prune()` returned True, is PRUNED. A trial with a constraint above 0 is infeasible, and is never the
    best one.

    Ctrl-C ends the search, which returns the finished trials. SIGTERM ends the search and then the process, unless you
    have installed a handler; the checkpoints of the interrupted trial stay. After the search the Trainer is restored.

    Under torchrun, or another launcher, every process calls `search`: rank 0 drives the search, the other ranks follow,
    and all return the same trials.

    Args:
        trainer: A transformers Trainer made with model_init; or a function of the trial that returns a number, a list
            of numbers, a dict of metrics, or a Trainer to train.
        space: A SearchSpace, or any object that `as_space` reads. A sweep, experiment or study may also hold settings
            (goal and metric, method, run_cap, budget), which are used unless the call sets them. A contradiction is an
            error; settings without a counterpart are named in a warning.
        backend: "optuna", "ray", "sigopt" or "wandb", or a backend that another package registers.
        direction: "minimize" (the default), "maximize", or a list of them for several objectives.
        n_trials: The number of trials of the whole search; by default 20.
        compute_objective: A function of the metrics that returns a float, or the name of a metric; for several
            directions a list with one for each. By default the metric that metric_for_best_model names, else the only
            metric besides the loss, else the loss; for a Trainer without compute_metrics the loss. The metrics are
            those of the final model: of the best evaluation if the Trainer loads the best model at the end, else of the
            last one.
        hp_name: A function of the trial that returns the name of its run directory; by default run-<number>.
        sampler: "bayes" (the default), "random", "grid", or a native sampler of the backend.
        pruner: None, "median", "hyperband", "asha", or a native pruner of the backend.
        seed: The same seed gives the same trials.
        timeout: The seconds from the start of the first trial, after which no further trial starts.
        history: A result or trials of an earlier search, on any backend, to learn from; not counted in n_trials.
        resume: Whether to continue the search whose journal is in `output_dir`, on the same backend or another, until
            there are n_trials including those in the journal; trials that were running when it ended are run again.
            Without a journal a new search starts; a journal without `resume` is an error. A search in a store of its
            backend (storage, sweep_id, …) has no journal, and continues with the trials of the store.
        keep: Whose checkpoints stay: "best" (of the whole Pareto front for several objectives; the default), "all" or
            "none". With `resume` the default is the earlier choice. Logs, and files that your own code has written
            into a run directory, always stay.
        output_dir: The directory of the run directories and the journal; by default that of the Trainer. For a function
            without output_dir nothing is written.
        callbacks: Functions of a finished Trial. A callback that returns True ends the search; one that raises ends it
            with a SearchError.
        progress: Whether to show a progress bar.
        **options: The options of the backend, see its module.

    Returns:
        The result, with every finished trial.

    Raises:
        BackendError: The backend does not support what the call requests.
        MissingBackendError: The backend is not installed.
        SearchError: The call is invalid in other ways, all of which are named; or the search cannot continue, or every
            trial failed: then the finished trials are in its `trials`.

    >>> from hpcompat import Float
    >>> result = search(lambda trial: (trial["x"] - 2) ** 2, {"x": Float(0, 4)}, seed=0, progress=False)
    >>> len(result.trials), 1.5 < result.best.params["x"] < 2.5
    (20, True)
    """
    spec = get_backend(backend)
    engine_backend = spec.load()
    inputs, issues = normalize_inputs(trainer, history, callbacks, output_dir, direction)
    source = resolve_space(space)
    request = Request(
        inputs.directions,
        parse_objective(compute_objective),
        as_int(n_trials),
        spec.aliases.get(sampler, sampler) if isinstance(sampler, str) else sampler,
        pruner,
        options,
    )
    request, contradictions = complete_request(request, source.settings, spec)
    objective = create_objective(
        trainer,
        space=source.space,
        directions=request.directions,
        compute_objective=request.compute_objective,
        hp_name=hp_name,
        output_dir=inputs.output_dir,
    )
    config = SearchConfig(
        source.space,
        objective.directions,
        request.n_trials,
        sampler=request.sampler,
        pruner=request.pruner,
        seed=as_int(seed),
        timeout=timeout,
        history=tuple(replace(trial, params=params_as_drawn(source.space, trial.params)) for trial in inputs.history),
        options=dict(request.options or {}),
        output_dir=inputs.output_dir or objective.default_output_dir,
        resume=resume,
    )
    issues += contradictions
    if isinstance(history, SearchResult):
        issues += _compare_directions(history, config)
    validate_search(config, objective, spec, keep, issues)
    config = replace(config, history=score_trials(config.history, objective))
    journal_dir = None if spec.is_persistent(config.options) else config.output_dir

    with handle_sigterm() as termination, distributed.open_session(spec.name, termination) as session:
        if session.is_follower:
            with session.adapt(objective).open() as evaluate:
                trials, interrupted = session.follow(evaluate)
            return SearchResult(trials, config.space, config.directions, spec.name, None, interrupted)
        with open_journal(journal_dir, config.space, config.directions, resume, keep) as journal:
            run_dirs = RunDirs(journal.search_id, RunDirLog(journal.log_dir) if journal.log_dir else None)
            objective = session.adapt(replace(objective, run_dirs=run_dirs))
            journal.trials = score_trials(journal.trials, objective)
            _require_same_objective(journal.trials, objective)
            with record_trials(config, journal, run_dirs, session, inputs.callbacks, progress, termination) as recorder:
                remaining = recorder.start()
                if remaining.n_trials > 0:
                    recorder.outcome = engine_backend.run(remaining, objective, recorder)
            outcome = recorder.result()
        session.finish((outcome.trials, outcome.interrupted))
    result = SearchResult(
        outcome.trials, config.space, config.directions, spec.name, outcome.native, outcome.interrupted
    )
    if unread := objective.describe_unread(result.unread):
        warnings.warn(f"no trial has read {', '.join(unread)}: their values had no effect", stacklevel=2)
    return result


def _compare_directions(result: SearchResult, config: SearchConfig) -> Iterator[Issue]:
    if result.directions != config.directions and set(config.directions) <= set(DIRECTIONS):
        message = f"expected a search with {list(config.directions)}, got one with {list(result.directions)}"
        yield Issue("history", message, "pass the direction that it was searched with, or history=result.trials")


def _require_same_objective(trials: Iterable[Trial], objective: Objective) -> None:
    """Raise `SearchError` if this objective computes other values from the metrics of trials in the journal."""
    conflicts = {trial.number: describe_conflict(trial, objective) for trial in trials}
    issues = [
        Issue(f"journal: trial {number}", text, "or give another output_dir")
        for number, text in conflicts.items()
        if text
    ]
    if issues:
        raise SearchError(MESSAGE, issues)
