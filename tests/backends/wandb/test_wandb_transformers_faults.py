"""The issues of transformers' own search on W&B: shown where they still are, and each impossible here.

Both searches run against the same server, two trials each; the tests look at what they left. An assertion
about `transformers_run` that fails is good news: transformers has mended it, and the test can say so.
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
    "metric": {"name": "eval_accuracy"},  # each search says the goal
    "parameters": {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}},
}
OBJECTIVES = (math.nan, 777.0)  # of the first trial, and of the second
FIRST = (778.0, 777.0)


@pytest.fixture(scope="module")
def searched(server, tmp_path_factory, log_in):
    """What a search leaves: its result, the Trainer, the space it was given, and the sweep on the server."""
    root = tmp_path_factory.mktemp("searched")
    free = OutputDirs(root)

    def searched(search, objectives, *, reports="none"):
        given, values = copy.deepcopy(SWEEP), iter(objectives)
        arguments = {"eval_strategy": "epoch", "num_train_epochs": 1, "use_cpu": True, "disable_tqdm": True}
        trainer = Trainer(
            args=TrainingArguments(free(), report_to=reports, save_strategy="no", **arguments),
            model_init=lambda: Net(),
            train_dataset=Digits(0, 64),
            eval_dataset=Digits(64, 128),
        )
        before = set(server.known()["sweeps"])
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.chdir(root)
            log_in(monkeypatch)
            result = search(trainer, given, lambda metrics: next(values))
        known = server.known()
        (name,) = set(known["sweeps"]) - before
        runs = [run for run in known["runs"].values() if run["sweep"] == name]
        logged = [value for run in runs for each in (*run["history"], run["summary"]) for value in each.values()]
        config = known["sweeps"][name]["config"]
        names = {key for run in runs for each in (*run["history"], run["summary"]) for key in each}
        return SimpleNamespace(
            result=result, trainer=trainer, given=given, config=config, runs=runs, logged=logged, names=names
        )

    return searched


def transformers_search(trainer, given, compute_objective, direction="minimize", **options):
    with isolated_wandb(str(trainer.args.output_dir)):
        os.environ["WANDB_SILENT"] = "true"
        return trainer.hyperparameter_search(
            hp_space=lambda trial: given,
            compute_objective=compute_objective,
            n_trials=2,
            direction=direction,
            backend="wandb",
            **options,
        )


def our_search(trainer, given, compute_objective, direction="minimize", n_trials=2, **options):
    options = {"compute_objective": compute_objective, "progress": False, **options}
    return hp.search(trainer, given, "wandb", direction, n_trials=n_trials, **{"sampler": "random", **options})


@pytest.fixture(scope="module")
def transformers_run(searched):
    return searched(lambda *given: transformers_search(*given, metric="eval_loss"), OBJECTIVES)


@pytest.fixture(scope="module")
def hpcompat_run(searched):
    return searched(our_search, OBJECTIVES, reports=["wandb"])


def twice(search, **more):
    """A search for what is greater, and another one on the same sweep that finds less."""

    def both(trainer, given, objective):
        first = search(trainer, given, objective, "maximize")
        sweep = first.run_summary if hasattr(first, "run_summary") else first.native.id
        return search(trainer, given, objective, "maximize", sweep_id=sweep, **more)

    return both


class TestTransformersIssues:
    def test_1_metric_of_sweep_is_objective(self, transformers_run, hpcompat_run):
        # whatever the space names is overwritten: with metric=, else with eval/loss
        assert transformers_run.config["metric"] == {"name": "eval_loss", "goal": "minimize"}
        assert hpcompat_run.config["metric"] == {"name": "objective", "goal": "minimize"}

    def test_1_space_needs_no_metric(self, searched):
        without = {name: value for name, value in SWEEP.items() if name != "metric"}
        with pytest.raises(KeyError, match="metric"):
            searched(lambda trainer, given, objective: transformers_search(trainer, dict(without), objective), FIRST)
        assert searched(lambda trainer, given, objective: our_search(trainer, without, objective), FIRST).runs

    def test_1_and_8_best_of_sweep_is_best_of_all_runs(self, searched):
        values = (777.0, 778.0, 5.0, 6.0)
        transformers_run = searched(twice(transformers_search), values)
        assert transformers_run.config["metric"] == {
            "name": "eval/loss",
            "goal": "maximize",
        }  # which the server then does
        assert transformers_run.result.objective == 6.0

        hpcompat_run = searched(twice(our_search, n_trials=4), values)
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

    def test_6_failure_is_reported(self, searched):
        def fails(objective):
            raise OSError("the disk is full")

        def all_fail(search):
            return lambda trainer, given, objective: search(trainer, given, fails)

        assert searched(all_fail(transformers_search), FIRST).result[:3] == (None, None, None)
        with pytest.raises(hp.SearchError, match="OSError: the disk is full"):
            searched(all_fail(our_search), FIRST)

    def test_7_trainer_is_restored(self, transformers_run, hpcompat_run):
        assert transformers_run.trainer.args.learning_rate != 5e-5
        assert transformers_run.trainer.args.report_to == ["wandb"]  # it was "none"
        assert any(isinstance(each, WandbCallback) for each in transformers_run.trainer.callback_handler.callbacks)
        assert hpcompat_run.trainer.args.learning_rate == 5e-5

    def test_7_trainer_without_reporting_does_not_report(self, searched):
        hpcompat_run = searched(our_search, FIRST)
        assert hpcompat_run.trainer.args.report_to == []
        assert "eval/loss" not in hpcompat_run.names
        assert [run["summary"]["objective"] for run in hpcompat_run.runs] == list(FIRST)

    def test_8_given_space_is_unchanged(self, transformers_run, hpcompat_run):
        assert transformers_run.given != SWEEP
        assert hpcompat_run.given == SWEEP

    def test_migration_takes_one_name(self, searched):
        def migrated(trainer, given, objective):
            return hp.hyperparameter_search(
                trainer, lambda trial: given, objective, 2, "minimize", "wandb", sampler="random", progress=False
            )

        best = searched(migrated, FIRST).result
        assert (best.run_id, best.objective, list(best.hyperparameters)) == ("1", 777.0, ["learning_rate"])
        assert best.run_summary.native.id.startswith("sweep")
