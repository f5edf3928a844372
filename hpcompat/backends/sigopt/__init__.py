"""SigOpt: its optimiser SigOpt Lite inside this process, or a SigOpt server.

The server is the one that SIGOPT_API_URL names, with the token of SIGOPT_API_TOKEN; where there is none,
or with `driver="lite"`, it is Lite. (The hosted service of api.sigopt.com is no more.) Options:

- `connection`: a `sigopt.Connection` to use; `driver`: "lite" or "server", to have it one way or fail.
- `name`: of the experiment. `metrics`: the names of the objectives at SigOpt, one for each direction, in that order;
  "objective", or "objective_1" and "objective_2", if they are left out. On a server also: `project`, an id, which is
  made if there is none; `parallel_bandwidth`; and `experiment_id`, to go on with an experiment that has the same space.
  Its trials then count in `n_trials`, and are in the result.

Whose value is whose, in an experiment that was made elsewhere: a single objective is its one metric, whatever its
name; of two, the one to minimize is the minimized metric and the other the maximized one. Where both go the same way
the order has to be told: `metrics=["loss", "latency"]` says that the first value is the loss. A trial of such an
experiment has its values by name in `trial.metrics`, too.

Several processes may name one `experiment_id`: `n_trials` is for all of them, and an open suggestion that
one of them works on counts. That of a process of this host that has ended is given up, for another trial
to take its place.

Samplers: "bayes" is SigOpt's own optimiser, "random" its experiments of type random. "grid" goes through
every configuration once, chosen here. A space of which Lite has tried as many points as there are goes
on with those left over, if any, and then repeats some at random. Lite's suggestions take a second or more
each after a hundred trials. Constraints that a trial sets are not known to SigOpt beforehand, and it does
not learn from them; on a server they lie in the metadata of the observation, with the trial's attributes.
"""

from __future__ import annotations

import os
import random
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

from hpcompat.backends import BACKENDS, known, option_hint
from hpcompat.backends.sigopt import joining
from hpcompat.backends.sigopt.client import URL, server_connection
from hpcompat.backends.sigopt.experiment import Experiment, NoSuggestion
from hpcompat.backends.sigopt.lite import INSTALL, client, lite_connection, lite_driver
from hpcompat.errors import BackendError, Issue, MissingBackendError, ParamsError, SearchError
from hpcompat.space.values import short_repr, strict_key
from hpcompat.translators import translate
from hpcompat.trials.config import Evaluate, Plan, Run, Suggestion, leg_seed
from hpcompat.trials.grid import configurations
from hpcompat.trials.trial import Trial

DRIVERS = ("lite", "server")
ON_SERVERS = ("project", "parallel_bandwidth", "experiment_id")
OPTIONS = ("connection", "driver", "name", "metrics", *ON_SERVERS)
_LONGEST_NAME = 100
_PROJECT = re.compile(r"[a-z0-9_.-]{1,32}")
_MOST_LISTED = 10_000
_CHANCE = random.SystemRandom()  # training code seeds the others, alike in every process

Params = dict[str, Any]


def run(plan: Plan, evaluate: Evaluate) -> Run:
    """Run the plan's trials as observations of an experiment."""
    connection, on_server = _connection(plan)
    translation = translate(plan.space, "sigopt", encode=True)
    grid = configurations(plan.space) if plan.sampler == "grid" else None
    if "experiment_id" in plan.options:
        experiment = joining.joined(connection, plan, translation)
        earlier = _thawed(experiment, experiment.observations(), count())
    else:
        experiment, earlier = joining.created(connection, plan, translation, on_server), []
    seen = {strict_key(dict(trial.params)) for trial in (*plan.history, *earlier)}
    if grid is None:
        chosen = _suggested(experiment, plan, seen)
    else:
        chosen = _claimed(experiment, seen) if on_server else _left(grid, seen)
    deadline = time.monotonic() + (plan.timeout or float("inf"))
    own: list[Trial] = []
    pending = None
    index = -1
    interrupted = False
    try:
        while (finished := experiment.room(plan.n_trials)) is not None and time.monotonic() < deadline:
            pending, params = next(chosen, (None, None))
            if params is None:
                break
            if pending is not None and not experiment.admits(pending, plan.n_trials):
                pending = None
                continue
            index = max(finished, index + 1)
            own.append(evaluate(Suggestion(plan.number(index), params, native=pending)))
            end = plan.finished(own[-1])
            _tell(experiment, own[-1], pending)
            pending = None
            if end:
                break
    except KeyboardInterrupt:
        if not own:
            raise
        interrupted = True
    finally:
        if pending is not None:
            experiment.drop(pending)
    return Run(_with_others(own, experiment), experiment.fetched(), interrupted)


def _suggested(experiment: Experiment, plan: Plan, seen: set[Any]) -> Iterator[tuple[Any, Params]]:
    """SigOpt's suggestions, each with its params; where it has none, params without a suggestion."""
    rng = random.Random(leg_seed(plan.seed, len(plan.history)))
    used_up = False
    while True:
        suggestion = None
        if not used_up:
            try:
                suggestion, params = experiment.suggest()
            except NoSuggestion as error:
                # Lite counts observations, repeated ones too, and can be one off
                used_up = len(experiment.told) + 1 >= plan.space.size
                if not used_up:
                    warnings.warn(f"SigOpt Lite failed ({error}): a random trial instead", stacklevel=2)
        if suggestion is None:
            params = _left_over(plan, seen, rng)
        seen.add(strict_key(params))
        yield suggestion, params


def _left_over(plan: Plan, seen: set[Any], rng: random.Random) -> Params:
    """Params that have not been tried, if the space is finite and has any, else random ones."""
    try:
        every = list(islice(configurations(plan.space), _MOST_LISTED))
    except BackendError:  # continuous, or weighted
        every = []
    untried = [params for params in every if strict_key(params) not in seen]
    return rng.choice(untried) if untried else plan.space.sample(rng)


def _left(grid: Iterator[Params], seen: set[Any]) -> Iterator[tuple[None, Params]]:
    return ((None, params) for params in grid if strict_key(params) not in seen)


def _claimed(experiment: Experiment, seen: set[Any]) -> Iterator[tuple[Any, Params]]:
    """Configurations that no other process has, each as a suggestion that shows it to the others.

    Whoever sees that another has claimed the same one gives it up, so that at most one of them keeps it.
    """
    meetings = 0
    while True:
        taken = seen | experiment.identities()
        every = configurations(experiment.translation.space)
        untaken = list(islice((params for params in every if strict_key(params) not in taken), 1 + meetings))
        if not untaken:
            return
        suggestion, params = experiment.suggest(_CHANCE.choice(untaken))
        if strict_key(params) in experiment.identities(besides=suggestion):
            experiment.give_up(suggestion)
            meetings += 1
        else:
            yield suggestion, params
            meetings = 0


def _tell(experiment: Experiment, trial: Trial, suggestion: Any) -> None:
    try:
        experiment.tell(trial, suggestion)
    except SearchError as error:
        came = f"gave {short_repr(trial.values)}" if trial.values else f"is {trial.state}: {trial.cause}"
        lost = Issue(f"trial {trial.number}", f"{came} with {short_repr(trial.params, 500)}", "the server was not told")
        raise SearchError(error.message, [*error.issues, lost]) from error.__cause__


def _with_others(own: Sequence[Trial], experiment: Experiment) -> tuple[Trial, ...]:
    """The trials of this search, and those that others have put on the server, before or meanwhile."""
    used = {trial.number for trial in own}
    free = (number for number in count() if number not in used)
    others = [each for each in experiment.observations() if not experiment.is_own(each)]
    return tuple(sorted([*own, *_thawed(experiment, others, free)], key=lambda trial: trial.number))


def _thawed(experiment: Experiment, observations: Sequence[Any], numbers: Iterator[int]) -> list[Trial]:
    trials, issues = [], []
    for number, observation in zip(numbers, observations, strict=False):
        try:
            trials.append(experiment.thawed(observation, number))
        except ParamsError as error:
            issues += [Issue(f"observation {observation.id}", str(issue)) for issue in error.issues]
    if issues:
        raise BackendError(f"experiment {experiment.id} holds observations of another space", issues)
    return trials


# -- which connection, and what it cannot do ----------------------------------------------------------


def _connection(plan: Plan) -> tuple[Any, bool]:
    """The connection to search over, and whether a server is behind it."""
    given = plan.options.get("connection")
    lite = _lite_driver(given) if given is not None else None
    on_server = lite is None and (given is not None or _driver(plan.options) == "server")
    if issues := [*_option_issues(plan), *_place_issues(plan, on_server)]:
        raise BackendError("the sigopt backend cannot do this", issues)
    if not on_server:
        return lite_connection(leg_seed(plan.seed, len(plan.history)), lite), False
    return given or server_connection(), True


def stored_directions(options: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The objectives of the experiment that the options name, in the order of the values."""
    given = options.get("connection")
    is_lite = _driver(options) == "lite" if given is None else _lite_driver(given) is not None
    if is_lite or not _is_id(options["experiment_id"]) or not _are_names(options.get("metrics", ())):
        return None  # the search will be refused
    return joining.stored_directions(given or server_connection(), options, names)


def _driver(options: Mapping[str, Any]) -> Any:
    """The driver that is asked for; a server, where the environment names one."""
    return options.get("driver") or ("server" if os.environ.get(URL) else "lite")


def _lite_driver(given: Any) -> Any:
    try:
        kind = client().Connection
    except ImportError as error:
        raise MissingBackendError(f"SigOpt's client is not installed ({error}): {INSTALL}") from error
    if not isinstance(given, kind):
        raise BackendError(f"connection={short_repr(given)} is no sigopt.Connection")
    return lite_driver(given)


def _option_issues(plan: Plan) -> Iterator[Issue]:
    for name in plan.options:
        if name not in OPTIONS:
            yield Issue(name, "unknown option", option_hint(name, OPTIONS))
    if plan.options.get("driver", "lite") not in DRIVERS:
        yield Issue("driver", f"there is no {plan.options['driver']!r}", known(plan.options["driver"], DRIVERS))
    if "connection" in plan.options and "driver" in plan.options:
        yield Issue("driver", "connection= has one of its own", "give one or the other")
    if not isinstance(plan.sampler, (str, type(None))):
        yield Issue("sampler", f"{short_repr(plan.sampler)} is no name, and SigOpt takes no sampler of another's")
    if not _is_name(name := plan.options.get("name", "hpcompat")):
        shown = f"{len(name)} characters" if isinstance(name, str) and len(name) > _LONGEST_NAME else short_repr(name)
        yield Issue("name", f"expected {_NAME}, got {shown}")
    metrics = plan.options.get("metrics")
    if metrics is not None and not (_are_names(metrics) and len(metrics) == len(plan.directions)):
        what = f"expected {len(plan.directions)} different names, of 1 to {_LONGEST_NAME} characters"
        yield Issue("metrics", f"{what}, got {short_repr(metrics)}", "give one for each direction, in that order")
    if plan.pruner is not None:
        others = [backend.name for backend in BACKENDS.values() if backend.pruners]
        yield Issue("pruner", "SigOpt has none", f"leave it out, or search with {' or '.join(others)}")


_NAME = f"a text of 1 to {_LONGEST_NAME} characters, none of them a control character"


def _is_name(name: Any) -> bool:
    """Whether SigOpt takes it for a name."""
    return isinstance(name, str) and bool(name.strip()) and len(name) <= _LONGEST_NAME and min(name) >= " "


def _are_names(names: Any) -> bool:
    return isinstance(names, (list, tuple)) and all(map(_is_name, names)) and len({*names}) == len(names)


def _is_id(experiment_id: Any) -> bool:
    return type(experiment_id) in (int, str) and bool(re.fullmatch(r"\w+", str(experiment_id)))


def _place_issues(plan: Plan, on_server: bool) -> Iterator[Issue]:
    options = plan.options
    if not on_server:
        for name in ON_SERVERS:
            if name in options:
                yield Issue(name, "is for a server", f"SigOpt Lite has no such thing: leave it out, or set {URL}")
        return
    if plan.seed is not None and plan.sampler != "grid":
        yield Issue("seed", "a server draws as it likes", "leave it out, or give driver='lite'")
    bandwidth = options.get("parallel_bandwidth", 1)
    if type(bandwidth) is not int or bandwidth < 1:
        yield Issue("parallel_bandwidth", f"expected an int of at least 1, got {short_repr(bandwidth)}")
    project = options.get("project", "default")
    if not isinstance(project, str) or not _PROJECT.fullmatch(project):
        expected = "an id of 1 to 32 of the characters a-z, 0-9, '-', '_' and '.'"
        yield Issue("project", f"expected {expected}, got {short_repr(project)}")
    if "experiment_id" in options:
        experiment_id = options["experiment_id"]
        if not _is_id(experiment_id):
            yield Issue("experiment_id", f"expected the id of an experiment, got {short_repr(experiment_id)}")
        for name in ("name", "project", "parallel_bandwidth"):
            if name in options:
                yield Issue(name, "the experiment that experiment_id names has its own", "give one or the other")
        if plan.history:
            yield Issue("history", "is for a new experiment, and this one is there already")
