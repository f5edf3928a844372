"""Reporting integrations: each trial logs into a run of its own, and what was open before is open afterwards."""

from __future__ import annotations

import glob
import json
import os
import sys
from pathlib import Path

import pytest
from transformers import TrainerCallback

import hpcompat as hp
from tests.helpers.trainers import Net

wandb = pytest.importorskip("wandb")
LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """W&B writes below the test's directory, and is afterwards as if it had never been used."""
    for name in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    for name, value in {"MODE": "offline", "SILENT": "true", "CONSOLE": "off", "ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    hooks = sys.exit, sys.excepthook
    wandb.teardown()
    yield
    wandb.finish()
    wandb.teardown()
    sys.exit, sys.excepthook = hooks


class Runs(TrainerCallback):
    """Notes the id and the config of the run that each training logs into."""

    def __init__(self):
        self.ids, self.configs = [], []

    def on_train_begin(self, args, state, control, **kwargs):
        self.ids.append(wandb.run and wandb.run.id)

    def on_train_end(self, args, state, control, **kwargs):
        self.configs.append(wandb.run.config.as_dict())


@pytest.fixture
def runs():
    return Runs()


@pytest.fixture
def reporting(make_trainer, runs):
    def make(model_init=Net, **more):
        return make_trainer(model_init, report_to=["wandb"], trainer={"callbacks": [runs]}, **more)

    return make


def recorded_runs(directory):
    # wandb.init() that returns an open run leaves a directory without a run
    return {Path(path).stem.removeprefix("run-") for path in glob.glob(f"{directory}/wandb/offline-run-*/run-*.wandb")}


class TestWandbRuns:
    def test_final_training_has_a_run_of_its_own(self, reporting, run_hpcompat, runs):
        trainer = reporting()
        result = run_hpcompat(trainer, LR, n_trials=2)
        assert wandb.run is None
        hp.with_params(trainer, result.best.params).train()
        assert len(set(runs.ids)) == 3

    def test_run_of_the_user_stays_open(self, reporting, run_hpcompat, runs, tmp_path):
        mine = wandb.init(project="mine")
        seen = []
        result = run_hpcompat(reporting(), LR, n_trials=2, callbacks=[lambda trial: seen.append(wandb.run)])
        assert seen == [mine, mine]
        assert wandb.run is mine
        wandb.log({"best": result.best.value})
        wandb.config.update({"lr": result.best.params["learning_rate"]})
        assert mine.summary["best"] == result.best.value
        assert wandb.init() is mine
        mine.finish()
        assert wandb.run is None
        assert recorded_runs(tmp_path) == {*runs.ids, mine.id}
        assert len(set(runs.ids)) == 2

    def test_every_open_run_of_the_user_stays_open(self, reporting, run_hpcompat, runs):
        first = wandb.init(project="mine")
        second = wandb.init(project="mine", reinit="create_new")
        run_hpcompat(reporting(), LR, n_trials=1)
        assert wandb.run is first
        for run in (second, first):
            run.log({"x": 1})
            run.finish()
        assert not {first.id, second.id} & set(runs.ids)

    def test_params_of_model_init_are_in_the_config(self, reporting, run_hpcompat, runs):
        trainer = reporting(lambda trial: Net(trial["net"]["width"] + trial.suggest_int("more", 1, 2) if trial else 4))
        space = LR | {"net": {"width": hp.Int(2, 8)}, "more": hp.Int(1, 2)}
        result = run_hpcompat(trainer, space, n_trials=2)
        for trial, config in zip(result.trials, runs.configs, strict=True):
            found = {name: config[name] for name in trial.params}
            assert json.dumps(found) == json.dumps(trial.params)
        first, last = (trial.params for trial in result.trials)
        hp.with_params(hp.with_params(trainer, first), last).train()
        assert {name: runs.configs[-1][name] for name in last} == last

    @pytest.mark.parametrize("known", [False, True], ids=["from now on", "since before"])
    def test_run_id_of_the_environment_is_not_that_of_every_trial(
        self, reporting, run_hpcompat, runs, monkeypatch, known
    ):
        monkeypatch.setenv("WANDB_RUN_ID", "fixed")
        monkeypatch.setenv("WANDB_RESUME", "must")
        if known:
            wandb.setup()
        run_hpcompat(reporting(), LR, n_trials=2)
        assert len({*runs.ids, "fixed"}) == 3
        assert os.environ["WANDB_RUN_ID"] == wandb.setup().settings.run_id == "fixed"

    @pytest.mark.parametrize("open_before", [False, True], ids=["none open", "one open"])
    def test_failed_trial_leaves_no_run_open(self, reporting, run_hpcompat, runs, open_before):
        class Fails(Net):
            def forward(self, pixels, labels):
                if self.training:
                    raise ValueError("in the middle")
                return super().forward(pixels, labels)

        mine = wandb.init(project="mine") if open_before else None
        with pytest.raises(hp.SearchError, match="in the middle"):
            run_hpcompat(reporting(lambda: Fails()), LR, n_trials=2)
        assert wandb.run is mine
        assert len(set(runs.ids)) == 2

    def test_ctrl_c_leaves_no_run_open(self, reporting, run_hpcompat):
        class Interrupts(Net):
            def forward(self, pixels, labels):
                if self.training:
                    raise KeyboardInterrupt
                return super().forward(pixels, labels)

        with pytest.raises(KeyboardInterrupt):
            run_hpcompat(reporting(lambda: Interrupts()), LR, n_trials=2)
        assert wandb.run is None

    def test_trainers_of_a_function_have_runs_of_their_own(self, reporting, run_hpcompat, runs):
        mine = wandb.init(project="mine")
        run_hpcompat(lambda trial: reporting(learning_rate=trial["learning_rate"]), LR, n_trials=2)
        assert wandb.run is mine
        assert len({*runs.ids, mine.id}) == 3

    def test_run_that_a_function_opens_ends_with_its_trial(self, reporting, run_hpcompat, runs):
        def make(trial):
            wandb.init(project="mine", config=dict(trial))
            return reporting(learning_rate=trial["learning_rate"])

        run_hpcompat(make, LR, n_trials=2)
        assert wandb.run is None
        assert len(set(runs.ids)) == 2

    def test_trainer_that_does_not_report_leaves_the_run_alone(self, make_trainer, run_hpcompat, runs):
        mine = wandb.init(project="mine")
        run_hpcompat(make_trainer(trainer={"callbacks": [runs]}), LR, n_trials=2)
        assert wandb.run is mine
        assert runs.ids == [mine.id, mine.id]


class TestTensorBoard:
    def test_writer_is_closed_after_a_training_that_raised(self, make_trainer, run_hpcompat):
        from transformers.integrations import TensorBoardCallback

        class Fails(TrainerCallback):
            def on_epoch_end(self, args, state, control, **kwargs):
                raise ValueError("in the middle")

        writers = []

        class Watched(TensorBoardCallback):
            def on_log(self, args, state, control, **kwargs):
                super().on_log(args, state, control, **kwargs)
                writers.append(self.tb_writer)

        # an evaluation before the training writes; the training itself comes to no end
        callbacks = [Watched(), Fails()]
        trainer = make_trainer(eval_on_start=True, trainer={"callbacks": callbacks})
        with pytest.raises(hp.SearchError, match="in the middle"):
            run_hpcompat(trainer, LR, n_trials=1)
        assert writers
        assert all(writer.all_writers is None for writer in writers)

    def test_writer_of_a_late_evaluation_is_closed(self, make_trainer, run_hpcompat):
        trainer = make_trainer(eval_strategy="no", report_to=["tensorboard"])
        callback = next(each for each in trainer.callback_handler.callbacks if "TensorBoard" in type(each).__name__)
        opened, init = [], type(callback)._init_summary_writer

        def noting(args):
            init(callback, args)
            opened.append(callback.tb_writer)

        callback._init_summary_writer = noting
        run_hpcompat(trainer, LR, n_trials=1)
        assert len(opened) == 2
        assert all(writer.all_writers is None for writer in opened)
