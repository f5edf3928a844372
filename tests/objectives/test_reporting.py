"""Reporting integrations: each trial logs to its own run, and runs that were open before the search stay open."""

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
from tests.helpers.versions import requires

wandb = pytest.importorskip("wandb")
LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


@pytest.fixture(autouse=True)
def isolated_wandb(tmp_path, monkeypatch):
    """Let W&B write below the test's directory, and reset it afterwards."""
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


class RecordRuns(TrainerCallback):
    """Records the id and the config of the W&B run of each training."""

    def __init__(self):
        self.ids, self.configs = [], []

    def on_train_begin(self, args, state, control, **kwargs):
        self.ids.append(wandb.run and wandb.run.id)

    def on_train_end(self, args, state, control, **kwargs):
        self.configs.append(wandb.run.config.as_dict())


@pytest.fixture
def runs():
    return RecordRuns()


@pytest.fixture
def make_reporting_trainer(make_trainer, runs):
    def make(model_init=Net, **options):
        return make_trainer(model_init, report_to=["wandb"], trainer={"callbacks": [runs]}, **options)

    return make


def list_run_ids(directory):
    # wandb.init() that returns an open run creates a directory without a run
    return {Path(path).stem.removeprefix("run-") for path in glob.glob(f"{directory}/wandb/offline-run-*/run-*.wandb")}


class TestWandbRuns:
    def test_final_training_has_its_own_run(self, make_reporting_trainer, run_hpcompat, runs):
        trainer = make_reporting_trainer()
        result = run_hpcompat(trainer, LR, n_trials=2)
        assert wandb.run is None
        hp.with_params(trainer, result.best.params).train()
        assert len(set(runs.ids)) == 3

    def test_run_of_the_user_stays_open(self, make_reporting_trainer, run_hpcompat, runs, tmp_path):
        user_run = wandb.init(project="mine")
        open_runs = []
        result = run_hpcompat(
            make_reporting_trainer(), LR, n_trials=2, callbacks=[lambda trial: open_runs.append(wandb.run)]
        )
        assert open_runs == [user_run, user_run]
        assert wandb.run is user_run
        wandb.log({"best": result.best.value})
        wandb.config.update({"lr": result.best.params["learning_rate"]})
        assert user_run.summary["best"] == result.best.value
        assert wandb.init() is user_run
        user_run.finish()
        assert wandb.run is None
        assert list_run_ids(tmp_path) == {*runs.ids, user_run.id}
        assert len(set(runs.ids)) == 2

    def test_every_open_run_of_the_user_stays_open(self, make_reporting_trainer, run_hpcompat, runs):
        first = wandb.init(project="mine")
        second = wandb.init(project="mine", reinit="create_new")
        run_hpcompat(make_reporting_trainer(), LR, n_trials=1)
        assert wandb.run is first
        for run in (second, first):
            run.log({"x": 1})
            run.finish()
        assert not {first.id, second.id} & set(runs.ids)

    def test_params_of_model_init_are_in_the_config(self, make_reporting_trainer, run_hpcompat, runs):
        trainer = make_reporting_trainer(
            lambda trial: Net(trial["net"]["width"] + trial.suggest_int("more", 1, 2) if trial else 4)
        )
        space = LR | {"net": {"width": hp.Int(2, 8)}, "more": hp.Int(1, 2)}
        result = run_hpcompat(trainer, space, n_trials=2)
        for trial, config in zip(result.trials, runs.configs, strict=True):
            logged = {name: config[name] for name in trial.params}
            assert json.dumps(logged) == json.dumps(trial.params)
        first, last = (trial.params for trial in result.trials)
        hp.with_params(hp.with_params(trainer, first), last).train()
        assert {name: runs.configs[-1][name] for name in last} == last

    @pytest.mark.parametrize("is_set_up", [False, True], ids=["before setup", "after setup"])
    def test_run_id_of_the_environment_is_not_used_for_trials(
        self, make_reporting_trainer, run_hpcompat, runs, monkeypatch, is_set_up
    ):
        monkeypatch.setenv("WANDB_RUN_ID", "fixed")
        monkeypatch.setenv("WANDB_RESUME", "must")
        if is_set_up:
            wandb.setup()
        run_hpcompat(make_reporting_trainer(), LR, n_trials=2)
        assert len({*runs.ids, "fixed"}) == 3
        assert os.environ["WANDB_RUN_ID"] == wandb.setup().settings.run_id == "fixed"

    @pytest.mark.parametrize("open_before", [False, True], ids=["none open", "one open"])
    def test_failed_trial_leaves_no_run_open(self, make_reporting_trainer, run_hpcompat, runs, open_before):
        class FailingNet(Net):
            def forward(self, pixels, labels):
                if self.training:
                    raise ValueError("in the middle")
                return super().forward(pixels, labels)

        user_run = wandb.init(project="mine") if open_before else None
        with pytest.raises(hp.SearchError, match="in the middle"):
            run_hpcompat(make_reporting_trainer(lambda: FailingNet()), LR, n_trials=2)
        assert wandb.run is user_run
        assert len(set(runs.ids)) == 2

    def test_ctrl_c_leaves_no_run_open(self, make_reporting_trainer, run_hpcompat):
        class InterruptingNet(Net):
            def forward(self, pixels, labels):
                if self.training:
                    raise KeyboardInterrupt
                return super().forward(pixels, labels)

        with pytest.raises(KeyboardInterrupt):
            run_hpcompat(make_reporting_trainer(lambda: InterruptingNet()), LR, n_trials=2)
        assert wandb.run is None

    def test_trainers_of_a_function_have_their_own_runs(self, make_reporting_trainer, run_hpcompat, runs):
        user_run = wandb.init(project="mine")
        run_hpcompat(lambda trial: make_reporting_trainer(learning_rate=trial["learning_rate"]), LR, n_trials=2)
        assert wandb.run is user_run
        assert len({*runs.ids, user_run.id}) == 3

    def test_run_that_a_function_opens_ends_with_its_trial(self, make_reporting_trainer, run_hpcompat, runs):
        def create(trial):
            wandb.init(project="mine", config=dict(trial))
            return make_reporting_trainer(learning_rate=trial["learning_rate"])

        run_hpcompat(create, LR, n_trials=2)
        assert wandb.run is None
        assert len(set(runs.ids)) == 2

    def test_trainer_without_reporting_keeps_the_run_of_the_user(self, make_trainer, run_hpcompat, runs):
        user_run = wandb.init(project="mine")
        run_hpcompat(make_trainer(trainer={"callbacks": [runs]}), LR, n_trials=2)
        assert wandb.run is user_run
        assert runs.ids == [user_run.id, user_run.id]


class TestTensorBoard:
    @requires("transformers", "4.42")
    def test_writer_is_closed_after_a_training_that_raised(self, make_trainer, run_hpcompat):
        from transformers.integrations import TensorBoardCallback

        class FailInTraining(TrainerCallback):
            def on_epoch_end(self, args, state, control, **kwargs):
                raise ValueError("in the middle")

        writers = []

        class RecordWriters(TensorBoardCallback):
            def on_log(self, args, state, control, **kwargs):
                super().on_log(args, state, control, **kwargs)
                writers.append(self.tb_writer)

        # the evaluation before the training creates a writer, then the training fails
        callbacks = [RecordWriters(), FailInTraining()]
        trainer = make_trainer(eval_on_start=True, trainer={"callbacks": callbacks})
        with pytest.raises(hp.SearchError, match="in the middle"):
            run_hpcompat(trainer, LR, n_trials=1)
        assert writers
        assert all(writer.all_writers is None for writer in writers)

    def test_writer_of_a_late_evaluation_is_closed(self, make_trainer, run_hpcompat):
        trainer = make_trainer(eval_strategy="no", report_to=["tensorboard"])
        callbacks = trainer.callback_handler.callbacks
        callback = next(callback for callback in callbacks if "TensorBoard" in type(callback).__name__)
        writers, init = [], type(callback)._init_summary_writer

        def record_writer(args, *log_dir):
            init(callback, args, *log_dir)
            writers.append(callback.tb_writer)

        callback._init_summary_writer = record_writer
        run_hpcompat(trainer, LR, n_trials=1)
        assert len(writers) == 2
        assert all(writer.all_writers is None for writer in writers)
