"""Trials as tables: for a terminal, a notebook, a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from hpcompat.space.values import short_repr
from hpcompat.trials.pareto import losses
from hpcompat.trials.trial import COMPLETE, Trial

if TYPE_CHECKING:
    from hpcompat.trials.result import SearchResult

_ROWS = 20

_LAST = ("start", "end", "run_id", "directory", "checkpoint", "error")
_ORDER = {"params": 1, "constraint": 2, "user_attrs": 3, **dict.fromkeys(_LAST, 4)}


def flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Params by dotted name.

    >>> dict(flat({"lr": 0.1, "model": {"layers": 2}}))
    {'lr': 0.1, 'model.layers': 2}
    """
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def value_names(directions: Sequence[str]) -> list[str]:
    """The heading of each objective's column."""
    return ["value"] if len(directions) == 1 else [f"value_{index}" for index in range(len(directions))]


def record(trial: Trial, directions: Sequence[str]) -> dict[str, Any]:
    """A trial as one flat row."""
    values = trial.values or (None,) * len(directions)
    return {
        "number": trial.number,
        "state": trial.state,
        **dict(zip(value_names(directions), values, strict=False)),
        **{f"params.{name}": value for name, value in flat(trial.params)},
        **{f"constraint.{name}": value for name, value in trial.constraints.items()},
        **{f"user_attrs.{name}": value for name, value in trial.user_attrs.items()},
        "start": trial.start,
        "end": trial.end,
        "run_id": trial.run_id,
        "directory": trial.directory,
        "checkpoint": trial.checkpoint,
        "error": trial.cause,
    }


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all the rows: a param that only later trials have stands beside the others."""
    names = dict.fromkeys(name for row in rows for name in row)
    return sorted(names, key=lambda name: _ORDER.get(name.partition(".")[0], 0))


def number(value: Any) -> str:
    """A value as a table shows it: floats with six significant digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else short_repr(value, 40)


def headline(result: SearchResult) -> str:
    """How many trials there are, of which state, and what was searched for."""
    states = [trial.state for trial in result.trials]
    counts = [f"{states.count(state)} {state.lower()}" for state in dict.fromkeys(states)]
    if infeasible := sum(not trial.is_feasible for trial in result.trials):
        counts.append(f"{infeasible} infeasible")
    where = f" on {result.backend}" if result.backend else ""
    interrupted = ", interrupted" if result.interrupted else ""
    count = f"{len(states)} trial{'s' * (len(states) != 1)}"
    unread = f"; never read: {', '.join(result.unread)}" if result.unread else ""
    return f"{count}{where} ({', '.join(counts) or 'none'}{interrupted}), {', '.join(result.directions)}{unread}"


def rows(result: SearchResult) -> tuple[list[str], list[list[str]]]:
    """The heading and the cells: complete trials first, the best on top and the infeasible last, then the others."""
    front = {trial.number for trial in result.pareto_front}

    def rank(trial: Trial) -> tuple[Any, ...]:
        if trial.state != COMPLETE:
            return (1, trial.number)
        order = (not trial.is_feasible, trial.number not in front, losses(trial, result.directions), trial.number)
        return (0, *order)

    trials = sorted(result.trials, key=rank)[:_ROWS]
    names = list(dict.fromkeys(name for trial in trials for name, _ in flat(trial.params)))
    limits = list(dict.fromkeys(name for trial in trials for name in trial.constraints))
    heading = ["trial", "state", *value_names(result.directions), *names, *(f"constraint.{name}" for name in limits)]
    cells = []
    for trial in trials:
        params = dict(flat(trial.params))
        values = trial.values or ("",) * len(result.directions)
        shown = [number(params[name]) if name in params else "" for name in names]
        shown += [number(trial.constraints.get(name, "")) for name in limits]
        state = trial.state if trial.is_feasible else f"{trial.state} (infeasible)"
        cells.append([str(trial.number), state, *map(number, values), *shown])
    return heading, cells


def text(result: SearchResult) -> str:
    """The table for a terminal."""
    heading, cells = rows(result)
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in ([heading, *cells] if cells else [])
    ]
    more = len(result.trials) - len(cells)
    return "\n".join([f"SearchResult: {headline(result)}", *lines, *([f"… and {more} more"] if more else [])])


def html(result: SearchResult) -> str:
    """The table for a notebook."""
    heading, cells = rows(result)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
    more = len(result.trials) - len(cells)
    rest = f"<p>… and {more} more</p>" if more else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if cells else ""
    return f"<p>{escape(headline(result))}</p>{table}{rest}"
