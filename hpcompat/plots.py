"""Pictures of a search, as matplotlib Figures.

Without pyplot, which would set up a window system and keep the figure, nor anyone's style sheet: what is global in
matplotlib stays as it is.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from hpcompat.errors import Fault, SearchError
from hpcompat.space.values import identity, show
from hpcompat.tables import flat, value_names
from hpcompat.trials import COMPLETE, PRUNED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hpcompat.trials import SearchResult

_COLORS = {COMPLETE: "C0", PRUNED: "C1"}
_MAX_NAMED_TICKS = 20


def draw(result: SearchResult, kind: str) -> Figure:
    """The picture of that kind."""
    if kind not in KINDS:
        raise SearchError(f"there is no plot {kind!r}: it is one of {', '.join(map(repr, KINDS))}")
    figure: Figure = KINDS[kind](result)
    # a notebook has a way to show a Figure only once pyplot is set up there
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _figure(width: float, height: float, rows: int) -> tuple[Figure, list[Axes]]:
    """A figure that makes room for all of its labels, with `rows` axes below each other; sizes are in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, squeeze=False)[:, 0])


def _wrapped(name: str, width: int) -> str:
    return textwrap.fill(name, width)


# -- history ----------------------------------------------------------------------------------------


def plot_history(result: SearchResult) -> Figure:
    """The value of each trial and the best so far, in the order of the trials; an axis an objective."""
    figure, axes = _figure(7, 3.5, len(result.directions))
    for index, (axis, direction) in enumerate(zip(axes, result.directions, strict=True)):
        for state, color in _COLORS.items():
            if points := _points(result, state, index):
                axis.plot(*zip(*points, strict=True), "o", color=color, alpha=0.6, label=state.lower())
        if points := _points(result, COMPLETE, index):
            numbers, values = zip(*points, strict=True)
            best = accumulate(values, min if direction == "minimize" else max)
            axis.step(numbers, list(best), where="post", color="C3", label="best so far")
        axis.set(xlabel="trial", ylabel="value" if len(axes) == 1 else f"value {index}")
        if axis.lines:
            axis.legend()
    figure.suptitle(f"{result.backend} search, {', '.join(result.directions)}".strip())
    return figure


def _points(result: SearchResult, state: str, index: int) -> list[tuple[int, float]]:
    return [
        (trial.number, trial.values[index])
        for trial in result.trials
        if trial.state == state and trial.values is not None
    ]


# -- parallel coordinates ---------------------------------------------------------------------------


def plot_parallel(result: SearchResult) -> Figure:
    """A line a complete trial, through its values and its params: each has a scale of its own, from 0 to 1 here."""
    from matplotlib.collections import LineCollection

    trials = [trial for trial in result.trials if trial.state == COMPLETE]
    params = [dict(flat(trial.params)) for trial in trials]
    names = list(dict.fromkeys(name for each in params for name in each))
    logs = {leaf.name for leaf in result.space.leaves if getattr(leaf.parameter, "log", False)}
    columns = [
        (heading, [trial.values[index] for trial in trials if trial.values is not None], False)
        for index, heading in enumerate(value_names(result.directions))
    ]
    columns += [(name, [each.get(name, _ABSENT) for each in params], name in logs) for name in names]
    scaled = [_scaled(values, log) for _, values, log in columns]

    figure, (axis,) = _figure(2.0 + 1.6 * len(columns), 4.5, 1)
    lines = [list(enumerate(heights)) for heights in zip(*(heights for heights, _ in scaled), strict=True)]
    first = columns[0][1]
    collection = LineCollection(lines, array=first, cmap="viridis")
    axis.add_collection(collection)
    for place, (_, ticks) in enumerate(scaled):
        axis.axvline(place, color="0.6", linewidth=0.8)
        for height, label in ticks:
            axis.annotate(label, (place, height), (3, 0), textcoords="offset points", va="center", fontsize="small")
    headings = [_wrapped(heading, 18) for heading, *_ in columns]
    axis.set_xticks(range(len(columns)), headings, fontsize="small")
    axis.set(xlim=(-0.1, len(columns) - 0.4), ylim=(-0.05, 1.05), yticks=[])
    axis.spines[:].set_visible(False)
    if trials:
        figure.colorbar(collection, ax=axis, label=columns[0][0])
    return figure


_ABSENT = object()
Ticks = list[tuple[float, str]]


def _scaled(values: Sequence[Any], log: bool) -> tuple[list[float], Ticks]:
    """Values as heights between 0 and 1, NaN where there is none, and what to write beside which height.

    >>> _scaled([1.0, 100.0, 10.0], True), _scaled(["a", "b", "a"], False)
    (([0.0, 1.0, 0.5], [(0.0, '1'), (1.0, '100')]), ([0.0, 1.0, 0.0], [(0.0, 'a'), (1.0, 'b')]))
    """
    there = [value for value in values if value is not _ABSENT]
    if all(type(value) in (int, float) and math.isfinite(value) for value in there) and len(set(there)) > 1:
        scale: Callable[[Any], float] = math.log if log and min(there) > 0 else float
        low, high = scale(min(there)), scale(max(there))
        heights = [math.nan if value is _ABSENT else (scale(value) - low) / (high - low) for value in values]
        return heights, [(0.0, f"{min(there):.4g}"), (1.0, f"{max(there):.4g}")]
    kinds = {identity(value): value for value in there}
    places = {kind: index / max(1, len(kinds) - 1) for index, kind in enumerate(kinds)}
    heights = [math.nan if value is _ABSENT else places[identity(value)] for value in values]
    labels = [value if isinstance(value, str) else show(value, 20) for value in kinds.values()]
    return heights, list(zip(places.values(), labels, strict=True))[:_MAX_NAMED_TICKS]


# -- importances ------------------------------------------------------------------------------------


def plot_importances(result: SearchResult) -> Figure:
    """How much each parameter matters for the objective, as Optuna finds it; an axis an objective."""
    figure, axes = _figure(7, 3.5, len(result.directions))
    for axis, heading, importances in zip(axes, value_names(result.directions), _importances(result), strict=True):
        names = list(importances)[::-1]
        bars = axis.barh(range(len(names)), [importances[name] for name in names])
        axis.set_yticks(range(len(names)), [_wrapped(name, 30) for name in names])
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.set(xlabel=f"importance for the {heading}")
        axis.margins(x=0.12)
    return figure


def _importances(result: SearchResult) -> Iterator[Mapping[str, float]]:
    import warnings

    import optuna

    study = result.to_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes")  # for low values: see _minimized
        for index, direction in enumerate(result.directions):
            # of the only objective Optuna knows the direction itself
            target = partial(_minimized, index, direction) if len(result.directions) > 1 else None
            try:
                yield optuna.importance.get_param_importances(study, target=target)
            except (ValueError, RuntimeError) as error:
                hint = Fault("", "it takes several complete trials, with parameters that vary")
                raise SearchError(f"the importances cannot be computed: {error}", [hint]) from error


def _minimized(index: int, direction: str, trial: Any) -> float:
    value: float = trial.values[index]
    return value if direction == "minimize" else -value


KINDS: dict[str, Any] = {"history": plot_history, "parallel": plot_parallel, "importances": plot_importances}
