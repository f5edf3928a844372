"""Pictures of a search, as matplotlib Figures."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

from hpcompat.errors import SearchError
from hpcompat.trials import COMPLETE, PRUNED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hpcompat.trials import SearchResult

_MARKS = {COMPLETE: "C0", PRUNED: "C1"}


def draw(result: SearchResult, kind: str) -> Figure:
    """The picture of that kind."""
    if kind not in KINDS:
        raise SearchError(f"there is no plot {kind!r}: it is one of {', '.join(map(repr, KINDS))}")
    figure: Figure = KINDS[kind](result)
    return figure


def history(result: SearchResult) -> Figure:
    """The value of each trial and the best so far, in the order of the trials; an axis an objective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5 * len(result.directions)), layout="constrained")
    axes = figure.subplots(len(result.directions), squeeze=False)[:, 0]
    for index, (axis, direction) in enumerate(zip(axes, result.directions, strict=True)):
        for state, colour in _MARKS.items():
            if points := _points(result, state, index):
                axis.plot(*zip(*points, strict=True), "o", color=colour, alpha=0.6, label=state.lower())
        if points := _points(result, COMPLETE, index):
            numbers, values = zip(*points, strict=True)
            best = accumulate(values, min if direction == "minimize" else max)
            axis.step(numbers, list(best), where="post", color="C3", label="best so far")
        axis.set(xlabel="trial", ylabel="value" if len(axes) == 1 else f"value {index}")
        axis.legend()
    figure.suptitle(f"{result.backend} search, {', '.join(result.directions)}".strip())
    return figure


def _points(result: SearchResult, state: str, index: int) -> list[tuple[int, float]]:
    return [
        (trial.number, trial.values[index])
        for trial in result.trials
        if trial.state == state and trial.values is not None
    ]


def _through_optuna(name: str) -> Any:
    def plot(result: SearchResult) -> Figure:
        import warnings

        import matplotlib.pyplot
        import optuna

        study = result.to_optuna()
        target: Any = (lambda trial: trial.values[0]) if len(result.directions) > 1 else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            axes = getattr(optuna.visualization.matplotlib, name)(study, target=target, target_name="value")
        figure: Figure = axes.figure
        matplotlib.pyplot.close(figure)  # it is the caller's to show or save
        return figure

    return plot


KINDS: dict[str, Any] = {
    "history": history,
    "parallel": _through_optuna("plot_parallel_coordinate"),
    "importances": _through_optuna("plot_param_importances"),
}
