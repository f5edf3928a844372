"""W&B: its sweeps, decided by its server if you are logged in, else by its engine in this process.

Options: `driver` ("embedded" or "server"), `project`, `entity`, `name` (of the sweep), and `settings`,
a dict for `wandb.Settings`. Embedded: `mode`, "offline" (the default where there is an output_dir: the
runs lie in `<output_dir>/wandb`, for `wandb sync` to send) or "disabled". Server: `sweep_id`, to join
a sweep of the same space; the trials it holds count in `n_trials`, and so does what other processes, that
have joined it too, are running: together they run as many as that. The sweep's own run_cap says it as well.

`pruner` is "hyperband" (from the second report on, with eta 3), or an `early_terminate` of W&B's:
`{"type": "hyperband", "min_iter": 3}`. The objective is logged as "objective", or "objective_0",
"objective_1", … if there are several. W&B's server takes the best "objective" of a run for its value,
so reports go by that name only where there is a pruner, which looks for them there.

W&B's sweeps do not learn from the constraints that a trial sets: they lie in the summary of its run, with its
attributes.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hpcompat.backends import check_options, known
from hpcompat.backends.wandb.embedded import embedded
from hpcompat.backends.wandb.engine import violations
from hpcompat.backends.wandb.runs import METRIC, Source, alone, conducted, record
from hpcompat.backends.wandb.server import goal, logged_in, on_server
from hpcompat.backends.wandb.shared_sweep import Shared
from hpcompat.errors import BackendError, Issue, SearchError
from hpcompat.space.values import short_repr
from hpcompat.trials.config import Evaluate, Plan, Run
from hpcompat.trials.exclusive import turn
from hpcompat.trials.trial import Trial

SOURCES = {"embedded": embedded, "server": on_server}
OPTIONS = ("driver", "project", "entity", "name", "settings", "mode", "sweep_id")
MODES = ("offline", "disabled")
HYPERBAND = {"type": "hyperband", "min_iter": 1}
_REASON = "wandb has one run, one environment and one service in a process"


@dataclass(frozen=True)
class Sweep:
    """What a search leaves at W&B: its `native`.

    `config`: the sweep, as W&B understands it. `id`: of the sweep; of the group of runs if it was
    embedded. `runs`: the id of each trial's run, by the trial's number. `directory`: where the runs
    lie on this machine, if they stay. `url`: where the sweep is shown, if there is a server.
    """

    config: Mapping[str, Any]
    id: str
    runs: Mapping[int, str] = field(default_factory=dict)
    directory: str | None = None
    url: str | None = None


def run(plan: Plan, evaluate: Evaluate) -> Run:
    """Run the plan's trials as runs of a sweep."""
    _check(plan)
    driver = _driver(plan)
    with turn("wandb", _REASON), alone(plan.output_dir):
        driver = driver or ("server" if logged_in() else "embedded")
        if driver == "server":
            _check_server(plan)
        with SOURCES[driver](plan, _sweep(plan)) as source:
            return _drive(plan, source, evaluate)


def stored_directions(options: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The goal of the sweep that the options name."""
    if not isinstance(options["sweep_id"], str) or options.get("driver") == "embedded" or "mode" in options:
        return None  # the search will be refused
    with turn("wandb", _REASON), alone(None):
        stated = goal(options)
    return (stated,) if stated else None


def _drive(plan: Plan, source: Source, evaluate: Evaluate) -> Run:
    end = None if plan.timeout is None else time.monotonic() + plan.timeout
    trials = list(source.before.values())
    runs = dict(enumerate(source.before))
    interrupted = False
    try:
        while len(trials) < plan.n_trials and (end is None or time.monotonic() < end):
            number = plan.number(len(trials))
            offer = source.offer(number)
            if offer is None:
                break
            trial = conducted(offer, number, evaluate)
            runs[number] = offer.run.id
            trials.append(trial)
            try:
                ended = plan.finished(trial)
            finally:
                record(offer.run, trial, source.metrics)
            source.tell(trial)
            if ended:
                break
    except KeyboardInterrupt:
        if len(trials) == len(source.before):
            raise
        interrupted = True
    if source.shared is not None and not interrupted:
        _settle(source.shared, trials, runs, len(source.before))
    directory = os.path.join(os.path.abspath(plan.output_dir), "wandb") if plan.output_dir else None
    return Run(tuple(trials), Sweep(source.sweep, source.id, runs, directory, source.url), interrupted)


def _settle(shared: Shared, trials: list[Trial], runs: dict[int, str], before: int) -> None:
    """Add what other processes have finished meanwhile; say which of the trials of this one W&B does not have."""
    own = list(runs.items())[before:]
    try:
        untold = shared.untold([run for _, run in own])
        others = {run: trial for run, trial in shared.trials().items() if run not in runs.values()}
    except SearchError as error:
        warnings.warn(f"of other processes' trials nothing is known: {error.message}", stacklevel=2)
        return
    if untold:
        numbers = ", ".join(str(number) for number, run in own if run in untold)
        warnings.warn(f"W&B was not told how these trials ended, they are in the result alone: {numbers}", stacklevel=2)
    for number, (run, trial) in enumerate(others.items(), 1 + max(runs, default=-1)):
        trials.append(replace(trial, number=number))
        runs[number] = run


def _sweep(plan: Plan) -> dict[str, Any]:
    """The sweep without its parameters: the options of `translate`."""
    sweep: dict[str, Any] = {"method": plan.sampler or "bayes"}
    if len(plan.directions) == 1:
        sweep |= {"metric": METRIC, "goal": plan.directions[0]}
    if plan.pruner is not None:
        sweep["early_terminate"] = HYPERBAND if plan.pruner == "hyperband" else dict(plan.pruner)
    if "name" in plan.options:
        sweep["name"] = plan.options["name"]
    return sweep


def _driver(plan: Plan) -> str | None:
    """The driver that is asked for; None for the server if wandb is logged in."""
    options = plan.options
    if "sweep_id" in options:
        return "server"
    offline = "mode" in options or os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled")
    return options.get("driver") or ("embedded" if offline else None)


def _check(plan: Plan) -> None:
    options = plan.options
    check_options("wandb", options, OPTIONS)
    for name, names in (("driver", tuple(SOURCES)), ("mode", MODES)):
        if name in options and options[name] not in names:
            raise BackendError(f"there is no {name} {short_repr(options[name])}; {known(options[name], names)}")
    if not isinstance(plan.sampler, (str, type(None))):
        raise BackendError(f"W&B has no samplers but its own, and {short_repr(plan.sampler)} is none: give a name")
    if len(plan.directions) > 1 and plan.sampler in (None, "bayes") and "sweep_id" not in options:
        hint = Issue("sampler", "'random' and 'grid' take several")
        raise BackendError("W&B's 'bayes', the default, has one objective", [hint])
    for name, other in (("sweep_id", "embedded"), ("mode", "server")):
        if name in options and (options.get("driver") == other or {"sweep_id", "mode"} <= options.keys()):
            raise BackendError(f"{name}= is nothing for the {other} driver")
    if options.get("mode") == "offline" and plan.output_dir is None:
        raise BackendError("offline runs have to lie somewhere: give output_dir=, or leave out mode=")
    _check_pruner(plan.pruner)


def _check_pruner(pruner: Any) -> None:
    if not isinstance(pruner, (str, Mapping, type(None))):
        hint = Issue("", "give 'hyperband', or an early_terminate: {'type': 'hyperband', 'min_iter': 3}")
        raise BackendError(f"{short_repr(pruner)} is no pruner of W&B's", [hint])
    if isinstance(pruner, Mapping):
        whole = {"method": "random", "parameters": {"x": {"value": 1}}, "early_terminate": dict(pruner)}
        if found := violations(whole):
            raise BackendError(f"{short_repr(pruner)} is no early_terminate", [Issue("pruner", each) for each in found])


def _check_server(plan: Plan) -> None:
    """What W&B's server decides cannot be told beforehand."""
    for name, reason in (
        ("seed", "W&B's server draws as it likes"),
        ("history", "W&B's server learns from the runs of the sweep alone"),
    ):
        if getattr(plan, name) not in (None, ()):
            raise BackendError(f"{name}: {reason}", [Issue("", "leave it out, or pass driver='embedded'")])
