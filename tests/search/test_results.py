"""What a search returns: the best, the front, tables, DataFrames, Studies, pictures, a bar."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from itertools import groupby

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.trials import progress
from hpcompat.trials.pareto import pareto_front

SPACE = hp.SearchSpace(
    {
        "lr": hp.Float(1e-6, 1e-2, log=True),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "sgd": hp.SearchSpace({"momentum": hp.Float(0.0, 0.9)}, when={"optim": "sgd"}),
        "pair": hp.Categorical([(1, 2), (3, 4)]),
    }
)


def example(trial):
    if trial.number == 2:
        raise ValueError("<b>two</b>")
    trial.report(trial["lr"], 1)
    if trial.number == 3:
        raise optuna.TrialPruned
    return trial["lr"]


@pytest.fixture
def result(ours):
    return ours(example, SPACE, n_trials=12)


numbers = st.integers(-3, 3).map(float) | st.just(float("inf"))
directions = st.lists(st.sampled_from(["minimize", "maximize"]), min_size=1, max_size=3)


@given(directions, st.data())
def test_the_front_is_what_nothing_dominates(directions, data):
    values = data.draw(st.lists(st.tuples(*[numbers for _ in directions]), max_size=12))
    states = data.draw(st.lists(st.sampled_from(["COMPLETE", "PRUNED"]), min_size=len(values), max_size=len(values)))
    trials = [hp.Trial(n, {}, v, state) for n, (v, state) in enumerate(zip(values, states, strict=True))]

    def dominates(one, other):
        signed = [
            (a, b) if direction == "minimize" else (-a, -b)
            for a, b, direction in zip(one, other, directions, strict=True)
        ]
        return all(a <= b for a, b in signed) and any(a < b for a, b in signed)

    complete = [trial for trial in trials if trial.state == "COMPLETE"]
    expected = [t.number for t in complete if not any(dominates(other.values, t.values) for other in complete)]
    assert [trial.number for trial in pareto_front(trials, directions)] == expected


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1), ("maximize", 0)])
def test_the_best_is_the_earliest_of_the_best(direction, best):
    trials = (
        hp.Trial(0, {}, (2.0,)),
        hp.Trial(1, {}, (1.0,)),
        hp.Trial(2, {}, (1.0,)),
        hp.Trial(3, {}, (2.0,)),
    )
    result = hp.SearchResult((*trials, hp.Trial(4, {}, (0.0,), "PRUNED")), SPACE, (direction,))
    assert result.best is trials[best]


def test_no_complete_trial_has_no_best():
    with pytest.raises(hp.SearchError, match="none of the 1 trials is complete"):
        _ = hp.SearchResult((hp.Trial(0, {}, None, "PRUNED"),), SPACE).best


def test_results_are_plain_frozen_data(result):
    assert [trial.number for trial in result.trials] == list(range(12))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.best.number = 3
    start, end = result.best.start, result.best.end
    assert start.tzinfo is not None
    assert start <= end <= datetime.now(timezone.utc)
    assert result.best.duration == end - start < timedelta(minutes=1)


def test_the_table_shows_the_best_first_and_every_state(result):
    head, heading, *rows = repr(result).splitlines()
    counts = "12 trials on optuna (10 complete, 1 failed, 1 pruned), minimize"
    assert head == f"SearchResult: {counts}; never read: optim, pair, sgd.momentum"
    assert heading.split() == ["trial", "state", "value", *dict.fromkeys(heading.split()[3:])]
    assert {"lr", "optim", "sgd.momentum", "pair"} <= set(heading.split())
    assert rows[0].split()[0] == str(result.best.number)
    assert [row.split()[1] for row in rows[-2:]] == ["FAILED", "PRUNED"]


def test_a_long_table_is_cut(ours):
    text = repr(ours(lambda trial: trial["lr"], SPACE, n_trials=50))
    assert text.endswith("… and 30 more")
    assert len(text.splitlines()) == 23


def test_the_notebook_table_is_escaped(ours):
    space = {"name": hp.Constant("<script>")}
    html = ours(lambda trial: 1.0, space, n_trials=1)._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_a_dataframe_has_a_row_for_each_trial(result):
    frame = result.to_dataframe()
    assert len(frame) == 12
    assert frame["number"].tolist() == list(range(12))
    assert frame["params.lr"].tolist() == [trial.params["lr"] for trial in result.trials]
    assert frame["params.pair"].tolist() == [trial.params["pair"] for trial in result.trials]
    without = [trial.number for trial in result.trials if trial.params["optim"] == "adamw"]
    assert frame.index[frame["params.sgd.momentum"].isna()].tolist() == without
    assert frame["error"][2] == "ValueError: <b>two</b>"
    blocks = [block for block, _ in groupby(frame.columns, lambda name: name.startswith("params."))]
    assert blocks == [False, True, False]  # params that only later trials have stand beside the others


def test_space_reads_back_from_the_study_of_a_result(ours):
    space = hp.SearchSpace(
        {"c": hp.Categorical([[1, 2], {"a": 1}, (3,), 1, True]), "n": hp.Normal(0, 1, low=-1, high=1, when={"c": 1})}
    )
    result = ours(lambda trial: float(trial["c"] == [1, 2]) + trial.get("n", 0.0), space, n_trials=4)
    assert hp.from_optuna(result.to_optuna()) == space
    assert hp.as_space(result.to_optuna()) == space


def test_to_optuna_is_a_study_with_the_same_trials(result):
    study = result.to_optuna()
    assert [trial.state for trial in study.trials] == [trial.state for trial in result.native.trials]
    assert [trial.params for trial in study.trials] == [trial.params for trial in result.native.trials]
    assert [trial.distributions for trial in study.trials] == [t.distributions for t in result.native.trials]
    assert [trial.values for trial in study.trials] == [trial.values for trial in result.native.trials]
    assert [t.intermediate_values for t in study.trials] == [t.intermediate_values for t in result.native.trials]
    assert study.best_trial.user_attrs["params"] == result.best.params
    assert study.best_value == result.best.value
    gap = abs(study.trials[0].datetime_start - result.native.trials[0].datetime_start)
    assert gap < timedelta(seconds=5)


@pytest.mark.parametrize("kind", ["history", "parallel", "importances"])
@pytest.mark.parametrize("several", [False, True])
def test_pictures(ours, kind, several, tmp_path):
    import matplotlib.pyplot
    from matplotlib.figure import Figure

    space = {"lr": hp.Float(0.0, 1.0), "n": hp.Int(1, 9)}
    direction = ["minimize", "maximize"] if several else "minimize"
    result = ours(
        lambda trial: [trial["lr"], trial["n"]] if several else trial["lr"],
        space,
        direction=direction,
        n_trials=6,
    )
    open_before = matplotlib.pyplot.get_fignums()
    figure = result.plot(kind)
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert matplotlib.pyplot.get_fignums() == open_before


def test_the_history_shows_the_values_and_the_best_so_far(result):
    axis = result.plot().axes[0]
    complete = [trial for trial in result.trials if trial.state == "COMPLETE"]
    lines = {line.get_label(): line for line in axis.lines}
    assert list(lines["complete"].get_ydata()) == [trial.value for trial in complete]
    best = [min(trial.value for trial in complete[: count + 1]) for count in range(len(complete))]
    assert list(lines["best so far"].get_ydata()) == best
    assert len(lines["pruned"].get_ydata()) == 1


def test_an_unknown_picture(result):
    with pytest.raises(hp.SearchError, match="it is one of 'history', 'parallel', 'importances'"):
        result.plot("histroy")


def test_the_bar_shows_a_line_a_trial_and_the_best_so_far(capsys):
    result = hp.search(example, SPACE, n_trials=5, seed=0)
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line.strip() for piece in err.split("\r") for line in piece.split("\n")]
    assert [line.split()[1] for line in lines if line.startswith("trial ")] == ["0", "1", "2", "3", "4"]
    assert any(line.startswith("trial 2") and "failed ValueError" in line for line in lines)
    assert any(line.startswith("trial 3") and "pruned" in line for line in lines)
    assert f"best {result.best.value:.6g}" in lines[-2] + lines[-1]
    assert "5/5" in lines[-2] + lines[-1]


def test_the_bar_counts_the_front_of_several_objectives(capsys):
    hp.search(lambda trial: [trial["lr"], -trial["lr"]], SPACE, direction=["minimize"] * 2, n_trials=3, seed=0)
    assert "front 3" in capsys.readouterr().err


def test_without_tqdm_there_are_the_lines(capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tqdm", None)
    hp.search(example, SPACE, n_trials=2, seed=0)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["0", "1"]


def test_a_trial_without_its_times_is_in_a_study_too():
    now = datetime.now(timezone.utc)
    times = [{}, {"start": now}, {"end": now}]
    trials = tuple(hp.Trial(number, {"x": 0.5}, (1.0,), **each) for number, each in enumerate(times))
    study = hp.SearchResult(trials, hp.SearchSpace({"x": hp.Float(0, 1)})).to_optuna()
    assert all(trial.datetime_start <= trial.datetime_complete for trial in study.trials)


class TestInfeasible:
    @pytest.fixture
    def result(self, ours):
        def function(trial):
            trial.set_constraint("memory", 0.5 if trial.number in (1, 3) else -2)
            trial.set_user_attr("size", trial.number)
            if trial.number == 3:
                raise ValueError("two")
            return -100.0 if trial.number == 1 else trial["x"]

        return ours(function, {"x": hp.Float(0.0, 1.0)}, n_trials=5)

    def test_the_table_shows_them_last_and_why(self, result):
        head, heading, *rows = repr(result).splitlines()
        assert head == "SearchResult: 5 trials on optuna (4 complete, 1 failed, 2 infeasible), minimize"
        assert heading.split() == ["trial", "state", "value", "x", "constraint.memory"]
        assert rows[0].split()[0] == str(result.best.number)
        assert [rows[3].split()[index] for index in (0, 1, 2, 3, -1)] == [
            "1",
            "COMPLETE",
            "(infeasible)",
            "-100",
            "0.5",
        ]
        assert rows[4].split()[:3] == ["3", "FAILED", "(infeasible)"]
        assert "(infeasible)" in result._repr_html_()

    def test_the_frame_has_blocks_of_them(self, result):
        blocks = [block for block, _ in groupby(result.to_dataframe().columns, lambda name: name.partition(".")[0])]
        assert blocks[3:7] == ["params", "constraint", "user_attrs", "start"]

    def test_the_picture_tells_them_apart_and_the_best_is_feasible(self, result):
        lines = {line.get_label(): line for line in result.plot().axes[0].lines}
        assert list(lines["infeasible"].get_ydata()) == [-100.0]
        assert lines["best so far"].get_ydata()[-1] == result.best.value

    def test_the_line_of_one_says_so(self, result):
        assert progress.line(result.trials[1]).startswith("trial 1   infeasible -100 x=")
        assert progress.line(result.trials[3]).startswith("trial 3   failed ValueError: two")
        assert progress.line(result.trials[0]).startswith("trial 0   0.")

    def test_the_bar_shows_the_best_feasible_value(self, capsys):
        def function(trial):
            trial.set_constraint("memory", trial.number)
            return -float(trial.number)

        hp.search(function, {"x": hp.Float(0.0, 1.0)}, n_trials=3, seed=0)
        err = capsys.readouterr().err
        assert "best -0" in err
        assert "best -1" not in err
