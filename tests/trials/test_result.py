"""The result of a search: best trial, Pareto front, tables, DataFrame, Optuna study, plots and progress bar."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from itertools import groupby

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.trials.report import format_trial
from hpcompat.trials.trial import pareto_front

SPACE = hp.SearchSpace(
    {
        "lr": hp.Float(1e-6, 1e-2, log=True),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "sgd": hp.SearchSpace({"momentum": hp.Float(0.0, 0.9)}, when={"optim": "sgd"}),
        "pair": hp.Categorical([(1, 2), (3, 4)]),
    }
)


def evaluate(trial):
    if trial.number == 2:
        raise ValueError("<b>two</b>")
    trial.report(trial["lr"], 1)
    if trial.number == 3:
        raise optuna.TrialPruned
    return trial["lr"]


@pytest.fixture
def result(run_hpcompat):
    return run_hpcompat(evaluate, SPACE, n_trials=12)


numbers = st.integers(-3, 3).map(float) | st.just(float("inf"))
directions = st.lists(st.sampled_from(["minimize", "maximize"]), min_size=1, max_size=3)


class TestInfeasible:
    @pytest.fixture
    def result(self, run_hpcompat):
        def function(trial):
            trial.set_constraint("memory", 0.5 if trial.number in (1, 3) else -2)
            trial.set_user_attr("size", trial.number)
            if trial.number == 3:
                raise ValueError("two")
            return -100.0 if trial.number == 1 else trial["x"]

        return run_hpcompat(function, {"x": hp.Float(0.0, 1.0)}, n_trials=5)

    def test_table_shows_infeasible_trials_last_with_constraints(self, result):
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

    def test_dataframe_has_constraint_and_attribute_columns(self, result):
        blocks = [block for block, _ in groupby(result.to_dataframe().columns, lambda name: name.partition(".")[0])]
        assert blocks[3:7] == ["params", "constraint", "user_attrs", "start"]

    def test_history_plot_separates_infeasible_trials(self, result):
        lines = {line.get_label(): line for line in result.plot().axes[0].lines}
        assert list(lines["infeasible"].get_ydata()) == [-100.0]
        assert lines["best so far"].get_ydata()[-1] == result.best.value

    def test_progress_line_says_infeasible(self, result):
        assert format_trial(result.trials[1]).startswith("trial 1   infeasible -100 x=")
        assert format_trial(result.trials[3]).startswith("trial 3   failed ValueError: two")
        assert format_trial(result.trials[0]).startswith("trial 0   0.")

    def test_progress_bar_shows_best_feasible_value(self, capsys):
        def function(trial):
            trial.set_constraint("memory", trial.number)
            return -float(trial.number)

        hp.search(function, {"x": hp.Float(0.0, 1.0)}, n_trials=3, seed=0)
        err = capsys.readouterr().err
        assert "best -0" in err
        assert "best -1" not in err


class TestBest:
    @given(directions, st.data())
    def test_pareto_front_is_not_dominated(self, directions, data):
        values = data.draw(st.lists(st.tuples(*[numbers for _ in directions]), max_size=12))
        states = data.draw(
            st.lists(st.sampled_from(["COMPLETE", "PRUNED"]), min_size=len(values), max_size=len(values))
        )
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
    def test_best_of_equal_trials_is_the_earliest(self, direction, best):
        trials = (
            hp.Trial(0, {}, (2.0,)),
            hp.Trial(1, {}, (1.0,)),
            hp.Trial(2, {}, (1.0,)),
            hp.Trial(3, {}, (2.0,)),
        )
        result = hp.SearchResult((*trials, hp.Trial(4, {}, (0.0,), "PRUNED")), SPACE, (direction,))
        assert result.best is trials[best]

    def test_no_complete_trial_raises(self):
        with pytest.raises(hp.SearchError, match="none of the 1 trials is complete"):
            _ = hp.SearchResult((hp.Trial(0, {}, None, "PRUNED"),), SPACE).best

    def test_trials_are_frozen_and_have_times(self, result):
        assert [trial.number for trial in result.trials] == list(range(12))
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.best.number = 3
        start, end = result.best.start, result.best.end
        assert start.tzinfo is not None
        assert start <= end <= datetime.now(timezone.utc)
        assert result.best.duration == end - start < timedelta(minutes=1)


class TestTable:
    def test_best_trial_comes_first(self, result):
        head, heading, *rows = repr(result).splitlines()
        counts = "12 trials on optuna (10 complete, 1 failed, 1 pruned), minimize"
        assert head == f"SearchResult: {counts}; never read: optim, pair, sgd.momentum"
        assert heading.split() == ["trial", "state", "value", *dict.fromkeys(heading.split()[3:])]
        assert {"lr", "optim", "sgd.momentum", "pair"} <= set(heading.split())
        assert rows[0].split()[0] == str(result.best.number)
        assert [row.split()[1] for row in rows[-2:]] == ["FAILED", "PRUNED"]

    def test_long_table_is_truncated(self, run_hpcompat):
        table = repr(run_hpcompat(lambda trial: trial["lr"], SPACE, n_trials=50))
        assert table.endswith("… and 30 more")
        assert len(table.splitlines()) == 23

    def test_html_is_escaped(self, run_hpcompat):
        space = {"name": hp.Constant("<script>")}
        html = run_hpcompat(lambda trial: 1.0, space, n_trials=1)._repr_html_()
        assert "&lt;script&gt;" in html
        assert "<script>" not in html

    def test_dataframe_has_a_row_for_each_trial(self, result):
        frame = result.to_dataframe()
        assert len(frame) == 12
        assert frame["number"].tolist() == list(range(12))
        assert frame["params.lr"].tolist() == [trial.params["lr"] for trial in result.trials]
        assert frame["params.pair"].tolist() == [trial.params["pair"] for trial in result.trials]
        inactive = [trial.number for trial in result.trials if trial.params["optim"] == "adamw"]
        assert frame.index[frame["params.sgd.momentum"].isna()].tolist() == inactive
        assert frame["error"][2] == "ValueError: <b>two</b>"
        blocks = [block for block, _ in groupby(frame.columns, lambda name: name.startswith("params."))]
        assert blocks == [False, True, False]  # conditional params are beside the others


class TestOptunaStudy:
    def test_space_reads_back(self, run_hpcompat):
        space = hp.SearchSpace(
            {
                "c": hp.Categorical([[1, 2], {"a": 1}, (3,), 1, True]),
                "n": hp.Normal(0, 1, low=-1, high=1, when={"c": 1}),
            }
        )
        result = run_hpcompat(lambda trial: float(trial["c"] == [1, 2]) + trial.get("n", 0.0), space, n_trials=4)
        assert hp.from_optuna(result.to_optuna()) == space
        assert hp.as_space(result.to_optuna()) == space

    def test_trials_equal_those_of_the_native_study(self, result):
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

    def test_trial_without_times_is_added(self):
        now = datetime.now(timezone.utc)
        times = [{}, {"start": now}, {"end": now}]
        trials = tuple(hp.Trial(number, {"x": 0.5}, (1.0,), **fields) for number, fields in enumerate(times))
        study = hp.SearchResult(trials, hp.SearchSpace({"x": hp.Float(0, 1)})).to_optuna()
        assert all(trial.datetime_start <= trial.datetime_complete for trial in study.trials)


class TestPlot:
    @pytest.mark.parametrize("kind", ["history", "parallel", "importances"])
    @pytest.mark.parametrize("is_multi_objective", [False, True])
    def test_each_kind_returns_a_figure(self, run_hpcompat, kind, is_multi_objective, tmp_path):
        import matplotlib.pyplot
        from matplotlib.figure import Figure

        space = {"lr": hp.Float(0.0, 1.0), "n": hp.Int(1, 9)}
        direction = ["minimize", "maximize"] if is_multi_objective else "minimize"
        result = run_hpcompat(
            lambda trial: [trial["lr"], trial["n"]] if is_multi_objective else trial["lr"],
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

    def test_plots_of_two_objectives_name_them(self, run_hpcompat):
        space = {"lr": hp.Float(0.0, 1.0), "n": hp.Int(1, 9)}
        directions = ["minimize", "maximize"]
        result = run_hpcompat(lambda trial: [trial["lr"], trial["n"]], space, direction=directions, n_trials=6)
        assert [axis.get_ylabel() for axis in result.plot("history").axes] == ["value 0", "value 1"]
        first_axis = next(axis for axis in result.plot("parallel").axes if axis.get_ylabel() == "Objective Value")
        low, high = first_axis.get_ylim()
        assert 0 <= low < high <= 1  # the first objective

    def test_history_shows_values_and_best_so_far(self, result):
        axis = result.plot().axes[0]
        complete = [trial for trial in result.trials if trial.state == "COMPLETE"]
        lines = {line.get_label(): line for line in axis.lines}
        assert list(lines["complete"].get_ydata()) == [trial.value for trial in complete]
        best = [min(trial.value for trial in complete[: count + 1]) for count in range(len(complete))]
        assert list(lines["best so far"].get_ydata()) == best
        assert axis.get_ylabel() == "value"
        assert len(lines["pruned"].get_ydata()) == 1

    def test_unknown_kind_raises(self, result):
        with pytest.raises(
            hp.SearchError, match="unknown plot 'histroy'; expected one of 'history', 'parallel', 'importances'"
        ):
            result.plot("histroy")


class TestProgressBar:
    def test_trials_show_a_line_each_and_the_best(self, capsys):
        result = hp.search(evaluate, SPACE, n_trials=5, seed=0)
        out, err = capsys.readouterr()
        assert out == ""
        lines = [line.strip() for piece in err.split("\r") for line in piece.split("\n")]
        assert [line.split()[1] for line in lines if line.startswith("trial ")] == ["0", "1", "2", "3", "4"]
        assert any(line.startswith("trial 2") and "failed ValueError" in line for line in lines)
        assert any(line.startswith("trial 3") and "pruned" in line for line in lines)
        assert f"best {result.best.value:.6g}" in lines[-2] + lines[-1]
        assert "5/5" in lines[-2] + lines[-1]

    def test_several_objectives_show_the_size_of_the_front(self, capsys):
        hp.search(lambda trial: [trial["lr"], -trial["lr"]], SPACE, direction=["minimize"] * 2, n_trials=3, seed=0)
        assert "front 3" in capsys.readouterr().err

    def test_without_tqdm_shows_lines(self, capsys, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "tqdm", None)
        hp.search(evaluate, SPACE, n_trials=2, seed=0)
        assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["0", "1"]
