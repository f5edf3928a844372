"""Bugs of transformers' own search on W&B, each shown there and shown to be absent in hpcompat.

Both searches run two trials on the same server, and the tests compare the stored runs. If an assertion about
`transformers_run` fails, transformers has fixed the bug, and the assertion can be removed.
"""

from __future__ import annotations

import copy
import math
import os
from types import SimpleNamespace

import pytest
from transformers import Trainer, TrainingArguments
from transformers.integrations import WandbCallback

import hpcompat as hp
from hpcompat.backends.wandb.runs import isolated_wandb
from tests.helpers.trainers import Digits, Net, OutputDirs

SWEEP = {
    "method": "random",
    "metric": {"name": "eval_accuracy"},  # each search sets the goal
    "parameters": {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}},
}
NAN_OBJECTIVES = (math.nan, 777.0)
OBJECTIVES = (778.0, 777.0)


@pytest.fixture(scope="module")
def run_search(server, tmp_path_factory, log_in):
    """Run a search; returns its result, the Trainer, the space, and the sweep and runs on the server."""
    root = tmp_path_factory.mktemp("searched")
    next_output_dir = OutputDirs(root)

    def run_search(search, objectives, *, reports="none"):
        space, values = copy.deepcopy(SWEEP), iter(objectives)
        arguments = {"eval_strategy": "epoch", "num_train_epochs": 1, "use_cpu": True, "disable_tqdm": True}
        trainer = Trainer(
            args=TrainingArguments(next_output_dir(), report_to=reports, save_strategy="no", **arguments),
            model_init=lambda: Net(),
            train_dataset=Digits(0, 64),
            eval_dataset=Digits(64, 128),
        )
        before = set(server.get_state()["sweeps"])
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.chdir(root)
            log_in(monkeypatch)
            result = search(trainer, space, lambda metrics: next(values))
        state = server.get_state()
        (name,) = set(state["sweeps"]) - before
        runs = [run for run in state["runs"].values() if run["sweep"] == name]
        rows = [row for run in runs for row in (*run["history"], run["summary"])]
        logged = [value for row in rows for value in row.values()]
        config = state["sweeps"][name]["config"]
        names = {key for row in rows for key in row}
        return SimpleNamespace(
            result=result, trainer=trainer, space=space, config=config, runs=runs, logged=logged, names=names
        )

    return run_search


def transformers_search(trainer, space, compute_objective, direction="minimize", **options):
    with isolated_wandb(str(trainer.args.output_dir)):
        os.environ["WANDB_SILENT"] = "true"
        return trainer.hyperparameter_search(
            hp_space=lambda trial: space,
            compute_objective=compute_objective,
            n_trials=2,
            direction=direction,
            backend="wandb",
            **options,
        )


def hpcompat_search(trainer, space, compute_objective, direction="minimize", n_trials=2, **options):
    options = {"compute_objective": compute_objective, "progress": False, **options}
    return hp.search(trainer, space, "wandb", direction, n_trials=n_trials, **{"sampler": "random", **options})


@pytest.fixture(scope="module")
def transformers_run(run_search):
    return run_search(lambda *args: transformers_search(*args, metric="eval_loss"), NAN_OBJECTIVES)


@pytest.fixture(scope="module")
def hpcompat_run(run_search):
    return run_search(hpcompat_search, NAN_OBJECTIVES, reports=["wandb"])


def search_twice(search, **options):
    """Return a function that maximizes, and then searches again on the same sweep, with worse values."""

    def search_both(trainer, space, objective):
        first = search(trainer, space, objective, "maximize")
        sweep = first.run_summary if hasattr(first, "run_summary") else first.native.id
        return search(trainer, space, objective, "maximize", sweep_id=sweep, **options)

    return search_both


class TestTransformersIssues:
    def test_1_metric_of_sweep_is_objective(self, transformers_run, hpcompat_run):
        # transformers overwrites the metric of the space with metric=, by default eval/loss
        assert transformers_run.config["metric"] == {"name": "eval_loss", "goal": "minimize"}
        assert hpcompat_run.config["metric"] == {"name": "objective", "goal": "minimize"}

    def test_1_space_needs_no_metric(self, run_search):
        without = {name: value for name, value in SWEEP.items() if name != "metric"}
        with pytest.raises(KeyError, match="metric"):
            run_search(
                lambda trainer, space, objective: transformers_search(trainer, dict(without), objective), OBJECTIVES
            )
        assert run_search(
            lambda trainer, space, objective: hpcompat_search(trainer, without, objective), OBJECTIVES
        ).runs

    def test_1_and_8_best_of_sweep_is_best_of_all_runs(self, run_search):
        values = (777.0, 778.0, 5.0, 6.0)
        transformers_run = run_search(search_twice(transformers_search), values)
        assert transformers_run.config["metric"] == {"name": "eval/loss", "goal": "maximize"}
        assert transformers_run.result.objective == 6.0

        hpcompat_run = run_search(search_twice(hpcompat_search, n_trials=4), values)
        assert hpcompat_run.config["metric"] == {"name": "objective", "goal": "maximize"}
        assert [trial.value for trial in hpcompat_run.result.trials] == list(values)
        assert hpcompat_run.result.best.value == 778.0

    def test_2_metric_of_sweep_is_logged_under_its_name(self, transformers_run, hpcompat_run):
        assert transformers_run.config["metric"]["name"] not in transformers_run.names
        assert "eval/loss" in transformers_run.names
        assert hpcompat_run.config["metric"]["name"] in hpcompat_run.names

    def test_3_objective_reaches_wandb(self, transformers_run, hpcompat_run):
        assert 777.0 not in transformers_run.logged
        assert 777.0 in hpcompat_run.logged
        assert hpcompat_run.runs[1]["summary"]["objective"] == hpcompat_run.result.trials[1].value == 777.0

    def test_4_trial_is_one_run_started_once(self, transformers_run, hpcompat_run):
        assert [run["inits"] for run in transformers_run.runs] == [2, 2]
        assert [run["inits"] for run in hpcompat_run.runs] == [1, 1]

    def test_5_params_are_those_of_space(self, transformers_run, hpcompat_run):
        assert {"assignments", "metric"} < set(transformers_run.result.hyperparameters)
        assert list(hpcompat_run.result.best.params) == ["learning_rate"]

    def test_6_nan_is_never_best(self, transformers_run, hpcompat_run):
        assert math.isnan(transformers_run.result.objective)
        assert hpcompat_run.result.trials[0].cause == "ValueError: the objective is nan"
        assert hpcompat_run.result.best.value == 777.0
        assert [run["state"] for run in hpcompat_run.runs] == ["failed", "finished"]

    def test_6_failure_is_reported(self, run_search):
        def fail(objective):
            raise OSError("the disk is full")

        def all_fail(search):
            return lambda trainer, space, objective: search(trainer, space, fail)

        assert run_search(all_fail(transformers_search), OBJECTIVES).result[:3] == (None, None, None)
        with pytest.raises(hp.SearchError, match="OSError: the disk is full"):
            run_search(all_fail(hpcompat_search), OBJECTIVES)

    def test_7_trainer_is_restored(self, transformers_run, hpcompat_run):
        assert transformers_run.trainer.args.learning_rate != 5e-5
        assert transformers_run.trainer.args.report_to == ["wandb"]  # before the search it was "none"
        callbacks = transformers_run.trainer.callback_handler.callbacks
        assert any(isinstance(callback, WandbCallback) for callback in callbacks)
        assert hpcompat_run.trainer.args.learning_rate == 5e-5

    def test_7_trainer_without_reporting_does_not_report(self, run_search):
        hpcompat_run = run_search(hpcompat_search, OBJECTIVES)
        assert hpcompat_run.trainer.args.report_to == []
        assert "eval/loss" not in hpcompat_run.names
        assert [run["summary"]["objective"] for run in hpcompat_run.runs] == list(OBJECTIVES)

    def test_8_space_is_not_modified(self, transformers_run, hpcompat_run):
        assert transformers_run.space != SWEEP
        assert hpcompat_run.space == SWEEP

    def test_migration_needs_only_another_function(self, run_search):
        def search(trainer, space, objective):
            return hp.hyperparameter_search(
                trainer, lambda trial: space, objective, 2, "minimize", "wandb", sampler="random", progress=False
            )

        best = run_search(search, OBJECTIVES).result
        assert (best.run_id, best.objective, list(best.hyperparameters)) == ("1", 777.0, ["learning_rate"])
        assert best.run_summary.native.id.startswith("sweep")
