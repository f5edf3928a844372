"""The issues of transformers' own search on W&B: shown where they still are, and each impossible here.

Both searches run against the same server, two trials each; the tests look at what they left. An assertion
about `theirs` that fails is good news: transformers has mended it, and the test can say so.
"""

from __future__ import annotations

import copy
import math
import os
from types import SimpleNamespace

import pytest
from tiny import Digits, Net, Places
from transformers import Trainer, TrainingArguments
from transformers.integrations import WandbCallback

import hpcompat as hp
from hpcompat.backends.wandb.runs import alone

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
    free = Places(root)

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
    with alone(str(trainer.args.output_dir)):
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
def theirs(searched):
    return searched(lambda *given: transformers_search(*given, metric="eval_loss"), OBJECTIVES)


@pytest.fixture(scope="module")
def ours(searched):
    return searched(our_search, OBJECTIVES, reports=["wandb"])


def test_1_the_metric_of_the_sweep_is_the_objective(theirs, ours):
    # whatever the space names is overwritten: with metric=, else with eval/loss
    assert theirs.config["metric"] == {"name": "eval_loss", "goal": "minimize"}
    assert ours.config["metric"] == {"name": "objective", "goal": "minimize"}


def test_1_a_space_needs_no_metric(searched):
    without = {name: value for name, value in SWEEP.items() if name != "metric"}
    with pytest.raises(KeyError, match="metric"):
        searched(lambda trainer, given, objective: transformers_search(trainer, dict(without), objective), FIRST)
    assert searched(lambda trainer, given, objective: our_search(trainer, without, objective), FIRST).runs


def twice(search, **more):
    """A search for what is greater, and another one on the same sweep that finds less."""

    def both(trainer, given, objective):
        first = search(trainer, given, objective, "maximize")
        sweep = first.run_summary if hasattr(first, "run_summary") else first.native.id
        return search(trainer, given, objective, "maximize", sweep_id=sweep, **more)

    return both


def test_1_and_8_the_best_of_a_sweep_is_that_of_all_its_runs_by_the_objective(searched):
    values = (777.0, 778.0, 5.0, 6.0)
    theirs = searched(twice(transformers_search), values)
    assert theirs.config["metric"] == {"name": "eval/loss", "goal": "maximize"}  # which the server then does
    assert theirs.result.objective == 6.0

    ours = searched(twice(our_search, n_trials=4), values)
    assert ours.config["metric"] == {"name": "objective", "goal": "maximize"}
    assert [trial.value for trial in ours.result.trials] == list(values)
    assert ours.result.best.value == 778.0


def test_2_the_metric_of_the_sweep_is_logged_under_its_name(theirs, ours):
    assert theirs.config["metric"]["name"] not in theirs.names
    assert "eval/loss" in theirs.names
    assert ours.config["metric"]["name"] in ours.names


def test_3_the_objective_reaches_wandb(theirs, ours):
    assert 777.0 not in theirs.logged
    assert 777.0 in ours.logged
    assert ours.runs[1]["summary"]["objective"] == ours.result.trials[1].value == 777.0


def test_4_a_trial_is_one_run_begun_once(theirs, ours):
    assert [run["inits"] for run in theirs.runs] == [2, 2]
    assert [run["inits"] for run in ours.runs] == [1, 1]


def test_5_the_params_are_those_of_the_space(theirs, ours):
    assert {"assignments", "metric"} < set(theirs.result.hyperparameters)
    assert list(ours.result.best.params) == ["learning_rate"]


def test_6_a_nan_is_no_best_objective(theirs, ours):
    assert math.isnan(theirs.result.objective)
    assert ours.result.trials[0].cause == "ValueError: the objective is nan"
    assert ours.result.best.value == 777.0
    assert [run["state"] for run in ours.runs] == ["failed", "finished"]


def test_6_a_failure_is_not_swallowed(searched):
    def fails(objective):
        raise OSError("the disk is full")

    def all_fail(search):
        return lambda trainer, given, objective: search(trainer, given, fails)

    assert searched(all_fail(transformers_search), FIRST).result[:3] == (None, None, None)
    with pytest.raises(hp.SearchError, match="OSError: the disk is full"):
        searched(all_fail(our_search), FIRST)


def test_7_the_trainer_is_as_it_was(theirs, ours):
    assert theirs.trainer.args.learning_rate != 5e-5
    assert theirs.trainer.args.report_to == ["wandb"]  # it was "none"
    assert any(isinstance(each, WandbCallback) for each in theirs.trainer.callback_handler.callbacks)
    assert ours.trainer.args.learning_rate == 5e-5


def test_7_a_trainer_that_does_not_report_is_not_made_to(searched):
    ours = searched(our_search, FIRST)
    assert ours.trainer.args.report_to == []
    assert "eval/loss" not in ours.names
    assert [run["summary"]["objective"] for run in ours.runs] == list(FIRST)


def test_8_the_space_that_was_given_is_not_changed(theirs, ours):
    assert theirs.given != SWEEP
    assert ours.given == SWEEP


def test_migrating_takes_one_name(searched):
    def migrated(trainer, given, objective):
        return hp.hyperparameter_search(
            trainer, lambda trial: given, objective, 2, "minimize", "wandb", sampler="random", progress=False
        )

    best = searched(migrated, FIRST).result
    assert (best.run_id, best.objective, list(best.hyperparameters)) == ("1", 777.0, ["learning_rate"])
    assert best.run_summary.native.id.startswith("sweep")
