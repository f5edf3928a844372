"""Unambiguous arguments are accepted; for ambiguous ones the message says what to write instead."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import optuna
import pytest

import hpcompat as hp

X = {"x": hp.Float(0.0, 4.0)}


def evaluate(trial):
    return trial["x"]


def fail_if_called(trial):
    raise AssertionError("a trial was started")


class TestDirection:
    @pytest.mark.parametrize("word", ["max", "maximise", "MAXIMIZE", optuna.study.StudyDirection.MAXIMIZE])
    def test_other_words_for_maximize_are_accepted(self, run_hpcompat, word):
        assert run_hpcompat(evaluate, X, direction=word, n_trials=1).directions == ("maximize",)

    def test_other_words_in_a_list_are_accepted(self, run_hpcompat):
        result = run_hpcompat(lambda trial: [1.0, 2.0], X, direction=["min", "max"], n_trials=1)
        assert result.directions == ("minimize", "maximize")


class TestSampler:
    def test_tpe_is_bayes_on_optuna(self, run_hpcompat):
        tpe, bayes = (run_hpcompat(evaluate, X, sampler=sampler, n_trials=12) for sampler in ("tpe", "bayes"))
        assert [trial.params for trial in tpe.trials] == [trial.params for trial in bayes.trials]

    def test_tpe_on_wandb_raises_with_backends_that_support_it(self):
        with pytest.raises(
            hp.BackendError, match=r"sampler: 'tpe' is not supported by wandb \(supported by optuna, ray\)"
        ):
            hp.search(fail_if_called, X, "wandb", sampler="tpe")


class TestNumbers:
    @pytest.mark.parametrize("choices", [np.array([1, 2]), np.array([1.5, 2.5]), np.array(["a", "b"])])
    def test_array_of_choices_is_a_list(self, choices):
        assert hp.Categorical(choices) == hp.Categorical(choices.tolist())
        assert hp.as_space({"parameters": {"x": {"values": choices}}})["x"] == hp.Categorical(choices.tolist())

    def test_array_of_weights_is_a_list(self):
        assert hp.Categorical([1, 2], weights=np.array([1, 3])) == hp.Categorical([1, 2], weights=[1, 3])

    def test_array_of_rows_raises(self):
        assert "tolist()" in hp.Categorical(np.zeros((2, 2))).issues[0].hint

    def test_int_for_a_float_is_accepted_in_params(self, run_hpcompat):
        space = hp.SearchSpace({**X, "group": {"y": hp.Float(0.0, 1.0, step=0.5)}})
        assert space.fix({"x": 1, "group.y": 1}) == space.fix({"x": 1.0, "group.y": 1.0})
        history = [hp.Trial(0, {"x": 1, "group": {"y": np.float32(0.5)}}, (1.0,))]
        result = run_hpcompat(evaluate, space, history=history, n_trials=1)
        assert result.native.trials[0].user_attrs.keys() >= {"hpcompat: history"}
        assert result.native.trials[0].params == {"x": 1.0, "group.y": 0.5}
        with pytest.raises(hp.SearchError, match="history: trial 0: x: 9 is not in"):
            run_hpcompat(fail_if_called, X, history=[hp.Trial(0, {"x": 9}, (1.0,))])
        with pytest.raises(hp.ParamsError, match="x: True is not in"):
            space.fix(x=True)


class TestSpace:
    def test_plain_lists_and_values_raise_with_parameter_to_write(self):
        with pytest.raises(hp.TranslationError) as refusal:
            hp.as_space({"x": [1, 2, 3], "y": 4})
        assert [str(issue) for issue in refusal.value.issues] == [
            "x: expected a parameter, got [1, 2, 3] (use Categorical([1, 2, 3]), or Constant([1, 2, 3]))",
            "y: expected a parameter, got 4 (use Constant(4))",
        ]

    @pytest.mark.parametrize("read", [hp.as_space, hp.from_wandb])
    @pytest.mark.parametrize("path_type", [str, Path])
    def test_path_of_a_file_raises_with_read_text_hint(self, tmp_path, read, path_type):
        (tmp_path / "sweep.yaml").write_text("parameters: {x: {min: 0.0, max: 1.0}}")
        path = path_type(tmp_path / "sweep.yaml")
        with pytest.raises(hp.TranslationError) as refusal:
            read(path)
        hint = refusal.value.issues[0].hint
        assert hint == f"give the text of the file: Path({str(path)!r}).read_text()"
        assert read(Path(path).read_text()) == hp.SearchSpace({"x": hp.Float(0.0, 1.0)})


class TestOptions:
    def test_n_jobs_raises_and_is_not_listed_as_option(self, run_hpcompat):
        with pytest.raises(hp.BackendError, match=r"n_jobs: expected 1, got 2 \(several processes"):
            run_hpcompat(fail_if_called, X, n_jobs=2)
        with pytest.raises(hp.BackendError) as refusal:
            run_hpcompat(fail_if_called, X, no_such_thing=2)
        assert "n_jobs" not in str(refusal.value)
        assert len(run_hpcompat(evaluate, X, n_jobs=1, n_trials=1).trials) == 1

    @pytest.mark.parametrize("backend", ["optuna", "wandb", "sigopt"])
    def test_options_of_other_libraries_raise_with_counterparts(self, backend):
        transformers_options = {
            "catch": (),
            "local_dir": "out",
            "keep_checkpoints_num": 1,
            "num_samples": 5,
            "metric": "loss",
        }
        with pytest.raises(hp.BackendError) as refusal:
            hp.search(fail_if_called, X, backend, **transformers_options)
        hints = {issue.path: issue.hint for issue in refusal.value.issues}
        assert "output_dir=" in hints["local_dir"]
        assert "keep=" in hints["keep_checkpoints_num"]
        assert "caught in any case" in hints["catch"]
        assert "n_trials=" in hints["num_samples"]
        assert "compute_objective=" in hints["metric"]

    def test_option_of_hyperparameter_search_raises_with_counterpart(self, make_trainer):
        with pytest.raises(hp.BackendError, match=r"local_dir: .*output_dir="):
            hp.hyperparameter_search(make_trainer(), backend="optuna", local_dir="out")


class TestCallbacks:
    @pytest.mark.parametrize("callback", [lambda study, trial: None, optuna.study.MaxTrialsCallback(3)])
    def test_callback_of_optuna_raises_before_first_trial(self, run_hpcompat, callback):
        with pytest.raises(hp.SearchError, match=r"callbacks: .* functions of one argument, the finished Trial"):
            run_hpcompat(fail_if_called, X, callbacks=[callback])

    @pytest.mark.parametrize("callback", [print, [].append, lambda trial, log=None: None, lambda *trials: None])
    def test_callable_with_one_argument_is_accepted(self, run_hpcompat, callback):
        assert len(run_hpcompat(evaluate, X, n_trials=1, callbacks=[callback]).trials) == 1


class TestFullSearch:
    def test_full_study_warns_with_number_of_trials(self):
        study = optuna.create_study()
        hp.search(evaluate, X, study=study, n_trials=3, progress=False)
        with pytest.warns(UserWarning, match=r"no trial was run: there are 3 already, and n_trials=2 is the total"):
            result = hp.search(fail_if_called, X, study=study, n_trials=2, progress=False)
        assert len(result.trials) == 3
        with pytest.warns(UserWarning, match="there are 3 already, and n_trials=3 is the total"):
            hp.search(fail_if_called, X, study=study, n_trials=3, progress=False)

    def test_resume_of_full_journal_warns_unless_exactly_full(self, run_hpcompat, tmp_path):
        out = {"output_dir": str(tmp_path / "out")}
        run_hpcompat(evaluate, X, n_trials=3, **out)
        assert len(run_hpcompat(fail_if_called, X, n_trials=3, resume=True, **out).trials) == 3
        with pytest.warns(UserWarning, match="there are 3 already, and n_trials=2 is the total"):
            run_hpcompat(fail_if_called, X, n_trials=2, resume=True, **out)


PLOTS = ("history", "parallel", "importances")
LONG_NAME = "a_parameter_with_quite_a_long_name_that_a_picture_has_to_have_room_for"


class TestPlots:
    @pytest.fixture
    def result(self, run_hpcompat):
        space = {
            LONG_NAME: hp.Float(0.0, 1.0),
            "optim": hp.Categorical(["adamw_torch_fused", "sgd"]),
            "n": hp.Int(1, 9),
        }
        return run_hpcompat(lambda trial: trial[LONG_NAME] * trial["n"] + 1e-7, space, n_trials=8)

    @pytest.mark.parametrize("kind", PLOTS)
    def test_notebook_shows_plot(self, result, kind):
        figure = result.plot(kind)
        assert figure._repr_png_().startswith(b"\x89PNG")

    @pytest.mark.parametrize("kind", PLOTS)
    def test_style_of_user_plots_is_unchanged(self, result, kind):
        import matplotlib

        before = dict(matplotlib.rcParams)
        with matplotlib.rc_context({"font.size": 7.5}):
            style = dict(matplotlib.rcParams)
            result.plot(kind)._repr_png_()
            assert dict(matplotlib.rcParams) == style
        assert dict(matplotlib.rcParams) == before

    @pytest.mark.parametrize("kind", PLOTS)
    def test_plot_fits_into_figure(self, result, kind):
        figure = result.plot(kind)
        figure.savefig(BytesIO())
        figure_box, content_box = figure.bbox_inches, figure.get_tightbbox()
        assert content_box.x0 >= -0.01
        assert content_box.y0 >= -0.01
        assert content_box.x1 <= figure_box.x1 + 0.01
        assert content_box.y1 <= figure_box.y1 + 0.01

    def test_first_plot_leaves_no_global_state(self):
        code = """
import hpcompat as hp, matplotlib
before = dict.copy(matplotlib.rcParams)
result = hp.search(lambda trial: trial["x"], {"x": hp.Float(0, 1), "y": hp.Float(0, 1)}, n_trials=4, progress=False)
for kind in ("history", "parallel", "importances"):
    assert result.plot(kind)._repr_png_()
assert dict.copy(matplotlib.rcParams) == before
import matplotlib.pyplot
assert matplotlib.pyplot.get_fignums() == []
"""
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert process.returncode == 0, process.stderr


class TestAmbiguousArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"direction": {"minimize", "maximize"}}, "direction"),
            ({"timeout": True}, "timeout: expected a number of seconds above 0, or None, got True"),
            ({"output_dir": 3}, "output_dir: expected the path of a directory, got 3"),
            ({"output_dir": b"x"}, "output_dir: expected the path of a directory, got b'x'"),
            ({"output_dir": ""}, "output_dir: expected the path of a directory, got ''"),
            (
                {"history": [hp.Trial(0, {"x": 0.5}, (float("nan"),))]},
                r"history: trial 0: expected a tuple of numbers as values, got \(nan,\)",
            ),
            (
                {"history": [hp.Trial(0, {"x": 0.5})]},
                "history: trial 0: expected a tuple of numbers as values, got None",
            ),
            (
                {"history": [hp.Trial(0, {"x": 0.5}, 0.5)]},
                r"history: trial 0: expected a tuple of numbers as values, got 0\.5",
            ),
            (
                {"history": [hp.Trial(0, {"x": 0.5}, (1.0,), "DONE")]},
                "history: trial 0: expected one of the states COMPLETE, .*, got 'DONE'",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_ambiguous_argument_raises(self, options, message):
        with pytest.raises(hp.SearchError, match=message):
            hp.search(
                lambda trial: pytest.fail("a trial was started"), {"x": hp.Float(0, 1)}, progress=False, **options
            )

    @pytest.mark.parametrize(
        "suggest",
        [
            lambda trial: trial.suggest_float("x", 5.0, 6.0),
            lambda trial: trial.suggest_float("x", low=-1.0, high=-0.5),
            lambda trial: trial.suggest_categorical("c", ["b", "d"]),
            lambda trial: trial.suggest_int("n", 1, 3),
        ],
    )
    def test_suggest_outside_of_space_fails_trial(self, suggest):
        space = {"x": hp.Float(0, 1), "c": hp.Categorical(["a", "c"]), "n": hp.Int(7, 9)}
        with pytest.raises(hp.SearchError, match="which lies outside"):
            hp.search(suggest, space, n_trials=1, progress=False)

    @pytest.mark.parametrize("backend", ["optuna", "sigopt", "wandb"])
    def test_seed_of_numpy_is_accepted(self, backend):
        seeds = (3, np.int64(3))
        results = [
            hp.search(lambda trial: trial["x"], {"x": hp.Float(0, 1)}, backend, n_trials=2, seed=seed, progress=False)
            for seed in seeds
        ]
        assert results[0].trials[0].params == results[1].trials[0].params
