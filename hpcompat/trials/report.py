"""The output of a search: a line for each trial while it runs, and tables and plots of the result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from html import escape
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from hpcompat.errors import Issue, SearchError
from hpcompat.space.values import pluralize, short_repr
from hpcompat.trials.trial import COMPLETE, Trial, is_eligible, minimized_values, objective_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.study import Study
    from optuna.trial import FrozenTrial


_COLORS = {"complete": "C0", "pruned": "C1", "infeasible": "C7"}
ProgressCallback = Callable[[Trial, Sequence[Trial]], None]
MAX_ROWS = 20
_TRAILING_COLUMNS = ("start", "end", "run_id", "directory", "checkpoint", "error")
_COLUMN_ORDER = {"params": 1, "constraint": 2, "user_attrs": 3, **dict.fromkeys(_TRAILING_COLUMNS, 4)}


def flatten_params(params: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the params by dotted name.

    >>> dict(flatten_params({"lr": 0.1, "model": {"layers": 2}}))
    {'lr': 0.1, 'model.layers': 2}
    """
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from flatten_params(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def trial_row(trial: Trial, directions: Sequence[str]) -> dict[str, object]:
    """Return a trial as a flat row of a table."""
    values = trial.values or (None,) * len(directions)
    return {
        "number": trial.number,
        "state": trial.state,
        **dict(zip(objective_names(len(directions), "value"), values, strict=False)),
        **{f"params.{name}": value for name, value in flatten_params(trial.params)},
        **{f"constraint.{name}": value for name, value in trial.constraints.items()},
        **{f"user_attrs.{name}": value for name, value in trial.user_attrs.items()},
        "start": trial.start,
        "end": trial.end,
        "run_id": trial.run_id,
        "directory": trial.directory,
        "checkpoint": trial.checkpoint,
        "error": trial.cause,
    }


def row_columns(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the columns of all rows, with the params of all trials side by side."""
    names = dict.fromkeys(name for row in rows for name in row)
    return sorted(names, key=lambda name: _COLUMN_ORDER.get(name.partition(".")[0], 0))


def format_value(value: object) -> str:
    """Format a value for a table: floats with six significant digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else short_repr(value, 40)


class Result(Protocol):
    """The part of a `SearchResult` that reports use; result.py imports this module, not the reverse."""

    @property
    def trials(self) -> tuple[Trial, ...]: ...
    @property
    def directions(self) -> tuple[str, ...]: ...
    @property
    def backend(self) -> str: ...
    @property
    def interrupted(self) -> bool: ...
    @property
    def pareto_front(self) -> tuple[Trial, ...]: ...
    @property
    def unread(self) -> tuple[str, ...]: ...
    def to_optuna(self) -> Study: ...


def summary_line(result: Result) -> str:
    """Summarize the result in a line: trials by state, backend, directions, and unread params."""
    states = [trial.state for trial in result.trials]
    counts = [f"{states.count(state)} {state.lower()}" for state in dict.fromkeys(states)]
    if infeasible := sum(not trial.is_feasible for trial in result.trials):
        counts.append(f"{infeasible} infeasible")
    where = f" on {result.backend}" if result.backend else ""
    interrupted = ", interrupted" if result.interrupted else ""
    count = pluralize(len(states), "trial")
    unread = f"; never read: {', '.join(result.unread)}" if result.unread else ""
    return f"{count}{where} ({', '.join(counts) or 'none'}{interrupted}), {', '.join(result.directions)}{unread}"


def table_rows(result: Result) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the cells: complete trials first, with the best on top, then the others."""
    front = {trial.number for trial in result.pareto_front}

    def rank(trial: Trial) -> tuple[object, ...]:
        if trial.state != COMPLETE:
            return (1, trial.number)
        order = (
            not trial.is_feasible,
            trial.number not in front,
            minimized_values(trial, result.directions),
            trial.number,
        )
        return (0, *order)

    trials = sorted(result.trials, key=rank)[:MAX_ROWS]
    names = list(dict.fromkeys(name for trial in trials for name, _ in flatten_params(trial.params)))
    limits = list(dict.fromkeys(name for trial in trials for name in trial.constraints))
    heading = [
        "trial",
        "state",
        *objective_names(len(result.directions), "value"),
        *names,
        *(f"constraint.{name}" for name in limits),
    ]
    cells = []
    for trial in trials:
        params = dict(flatten_params(trial.params))
        values = trial.values or ("",) * len(result.directions)
        row = [format_value(params[name]) if name in params else "" for name in names]
        row += [format_value(trial.constraints.get(name, "")) for name in limits]
        state = trial.state if trial.is_feasible else f"{trial.state} (infeasible)"
        cells.append([str(trial.number), state, *map(format_value, values), *row])
    return heading, cells


def render_text(result: Result) -> str:
    """Render the table for a terminal."""
    heading, cells = table_rows(result)
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in ([heading, *cells] if cells else [])
    ]
    n_hidden = len(result.trials) - len(cells)
    return "\n".join(
        [f"SearchResult: {summary_line(result)}", *lines, *([f"… and {n_hidden} more"] if n_hidden else [])]
    )


def render_html(result: Result) -> str:
    """Render the table for a notebook."""
    heading, cells = table_rows(result)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
    n_hidden = len(result.trials) - len(cells)
    footer = f"<p>… and {n_hidden} more</p>" if n_hidden else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if cells else ""
    return f"<p>{escape(summary_line(result))}</p>{table}{footer}"


@contextmanager
def progress_bar(
    n_trials: int, directions: Sequence[str], is_shown: bool, initial: int = 0
) -> Iterator[ProgressCallback]:
    """Show a progress bar; yield a function to call with each finished trial and the Pareto front so far.

    Args:
        n_trials: How many trials the search has.
        directions: The direction of each objective.
        is_shown: Whether to show anything.
        initial: How many of the trials are already finished.

    Without tqdm only a line for each trial is printed.
    """
    if not is_shown:
        yield lambda trial, front: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda trial, front: print(format_trial(trial), file=sys.stderr)
        return
    with tqdm(total=n_trials, initial=initial, unit="trial", file=sys.stderr) as bar:

        def show(trial: Trial, front: Sequence[Trial]) -> None:
            bar.write(format_trial(trial), file=sys.stderr)
            if len(directions) > 1:
                bar.set_postfix_str(f"front {len(front)}", refresh=False)
            elif front:
                bar.set_postfix_str(f"best {format_value(front[0].value)}", refresh=False)
            bar.update()

        yield show


def format_trial(trial: Trial) -> str:
    """Format a trial as one line.

    >>> format_trial(Trial(3, {"learning_rate": 1e-5}, (0.25,)))
    'trial 3   0.25       learning_rate=1e-05'
    """
    values = ", ".join(map(format_value, trial.values or ()))
    outcome = values
    if not is_eligible(trial):
        state = "infeasible" if trial.state == COMPLETE else trial.state.lower()
        outcome = f"{state} {values or trial.cause or ''}".strip()
    params = " ".join(f"{name}={format_value(value)}" for name, value in flatten_params(trial.params))
    return f"trial {trial.number:<3} {outcome:<10} {params}".rstrip()


def plot(result: Result, kind: str) -> Figure:
    """Return a plot of one of the kinds in `PLOTS`. Raises `SearchError` for an unknown kind."""
    if kind not in PLOTS:
        raise SearchError(f"unknown plot {kind!r}; expected one of {', '.join(map(repr, PLOTS))}")
    figure: Figure = PLOTS[kind](result)
    # a notebook shows a Figure only if pyplot is set up there
    figure._repr_png_ = partial(_render_png, figure)  # type: ignore[attr-defined]
    return figure


def _render_png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def plot_history(result: Result) -> Figure:
    """Plot the value of each trial and the best value so far, with an axis for each objective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5 * len(result.directions)), layout="constrained")
    axes = figure.subplots(len(result.directions), squeeze=False)[:, 0]
    for index, (axis, direction) in enumerate(zip(axes, result.directions, strict=True)):
        for label, color in _COLORS.items():
            if points := _points(result, label, index):
                axis.plot(*zip(*points, strict=True), "o", color=color, alpha=0.6, label=label)
        if points := _points(result, "complete", index):
            numbers, values = zip(*points, strict=True)
            best = accumulate(values, min if direction == "minimize" else max)
            axis.step(numbers, list(best), where="post", color="C3", label="best so far")
        axis.set(xlabel="trial", ylabel="value" if len(axes) == 1 else f"value {index}")
        axis.legend()
    figure.suptitle(f"{result.backend} search, {', '.join(result.directions)}".strip())
    return figure


def _points(result: Result, label: str, index: int) -> list[tuple[int, float]]:
    return [
        (trial.number, trial.values[index])
        for trial in result.trials
        if trial.values is not None and _label(trial) == label
    ]


def _label(trial: Trial) -> str:
    """Return the state in lower case, or "infeasible" for a complete trial that is not feasible."""
    return trial.state.lower() if trial.state != COMPLETE or trial.is_feasible else "infeasible"


def _plot_with_optuna(name: str, target: Callable[[FrozenTrial], float] | None, result: Result) -> Figure:
    import warnings

    import matplotlib
    import matplotlib.pyplot
    import optuna

    plot_function = getattr(optuna.visualization.matplotlib, name)
    layout: dict[Any, Any] = {"figure.constrained_layout.use": True, "figure.figsize": (9, 5)}  # space for long names
    # Optuna sets a style sheet, which the context restores
    with matplotlib.rc_context(layout), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            axes = plot_function(result.to_optuna(), target=target if len(result.directions) > 1 else None)
        except (ValueError, RuntimeError) as error:
            hint = Issue("", "it needs several complete trials with different params")
            raise SearchError(f"{name} cannot be plotted: {error}", [hint]) from error
        figure: Figure = axes.figure
        matplotlib.pyplot.close(figure)  # the caller shows or saves it
    return figure


def _first_value(trial: FrozenTrial) -> float:
    return float(trial.values[0])


PLOTS: dict[str, Callable[[Result], Figure]] = {
    "history": plot_history,
    "parallel": partial(_plot_with_optuna, "plot_parallel_coordinate", _first_value),
    "importances": partial(_plot_with_optuna, "plot_param_importances", None),  # of every objective
}
