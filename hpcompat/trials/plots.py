"""Pictures of a search, as matplotlib Figures. What is global in matplotlib stays as it is."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from hpcompat.errors import Issue, SearchError
from hpcompat.trials.trial import COMPLETE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hpcompat.trials.result import SearchResult
    from hpcompat.trials.trial import Trial

_COLORS = {"complete": "C0", "pruned": "C1", "infeasible": "C7"}


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


def plot_history(result: SearchResult) -> Figure:
    """The value of each trial and the best so far, in the order of the trials; an axis an objective."""
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


def _points(result: SearchResult, label: str, index: int) -> list[tuple[int, float]]:
    return [
        (trial.number, trial.values[index])
        for trial in result.trials
        if trial.values is not None and _label(trial) == label
    ]


def _label(trial: Trial) -> str:
    """The state, told apart from an infeasible trial, which cannot be the best."""
    return trial.state.lower() if trial.state != COMPLETE or trial.is_feasible else "infeasible"


def _plot_with_optuna(name: str, target: Any, result: SearchResult) -> Figure:
    import warnings

    import matplotlib
    import matplotlib.pyplot
    import optuna

    plot = getattr(optuna.visualization.matplotlib, name)
    layout: dict[Any, Any] = {"figure.constrained_layout.use": True, "figure.figsize": (9, 5)}  # room for long names
    # Optuna's style sheet goes with the context
    with matplotlib.rc_context(layout), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            axes = plot(result.to_optuna(), target=target if len(result.directions) > 1 else None)
        except (ValueError, RuntimeError) as error:
            hint = Issue("", "it takes several complete trials, with parameters that vary")
            raise SearchError(f"{name} cannot be drawn: {error}", [hint]) from error
        figure: Figure = axes.figure
        matplotlib.pyplot.close(figure)  # it is the caller's to show or save
    return figure


def _first_value(trial: Any) -> float:
    value: float = trial.values[0]
    return value


KINDS: dict[str, Any] = {
    "history": plot_history,
    "parallel": partial(_plot_with_optuna, "plot_parallel_coordinate", _first_value),
    "importances": partial(_plot_with_optuna, "plot_param_importances", None),  # of every objective
}
