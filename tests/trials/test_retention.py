"""Run directories: every trial has its own, and `keep` decides which directories and checkpoints remain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback

import hpcompat as hp
from hpcompat.trials.run_dirs import MARKER
from tests.helpers.trainers import create_bert, list_remaining

LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


@pytest.fixture
def make_saving_trainer(make_trainer):
    return lambda **arguments: make_trainer(save_strategy="epoch", **arguments)


class WriteFiles(TrainerCallback):
    """A user's callback that writes a file to each run directory and saves the model there."""

    trainer: Trainer

    def on_train_end(self, args, state, control, **kwargs):
        with open(os.path.join(args.output_dir, "notes.txt"), "w") as file:
            file.write("mine")
        self.trainer.save_model()
        self.trainer.save_model(os.path.join(args.output_dir, "final"))
        self.trainer.save_state()


class TestRemovedCheckpoints:
    @pytest.mark.parametrize("keep", ["best", "none"])
    def test_logs_and_user_files_stay(self, make_saving_trainer, run_hpcompat, keep):
        callback = WriteFiles()
        trainer = make_saving_trainer(
            report_to=["tensorboard"], logging_strategy="epoch", trainer={"callbacks": [callback]}
        )
        callback.trainer = trainer
        result = run_hpcompat(trainer, LR, n_trials=3, keep=keep)

        assert list_remaining(trainer.args.output_dir) == ["run-0", "run-1", "run-2"]
        for trial in result.trials:
            assert trial.directory == os.path.join(trainer.args.output_dir, trial.run_id)
            paths = [path for path in Path(trial.directory).rglob("*") if path.is_file() and path.name != MARKER]
            names = {path.name.partition(".tfevents")[0] for path in paths}
            if keep == "best" and trial is result.best:
                assert names > {"events.out", "notes.txt", "training_args.bin", "model.safetensors"}
                assert os.path.isdir(trial.checkpoint)
            else:
                assert names == {"events.out", "notes.txt"}
                assert os.listdir(trial.directory).count("final") == 0
                assert trial.checkpoint is None

    def test_failed_trial_keeps_its_logs(self, make_saving_trainer, run_hpcompat):
        class FailOnSave(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                raise ValueError("after the checkpoint")

        trainer = make_saving_trainer(report_to=["tensorboard"], trainer={"callbacks": [FailOnSave()]})
        with pytest.raises(hp.SearchError, match="after the checkpoint") as failure:
            run_hpcompat(trainer, LR, n_trials=1)
        (trial,) = failure.value.trials
        names = [path.name for path in Path(trial.directory).rglob("*") if path.is_file() and path.name != MARKER]
        assert len(names) == 1
        assert names[0].startswith("events.out.tfevents")

    def test_symlinks_are_not_followed(self, make_saving_trainer, run_hpcompat, tmp_path):
        (tmp_path / "data" / "checkpoint-1").mkdir(parents=True)

        class CreateLinks(TrainerCallback):
            def on_train_end(self, args, state, control, **kwargs):
                os.symlink(tmp_path / "data", os.path.join(args.output_dir, "data"))
                os.symlink(tmp_path / "data", os.path.join(args.output_dir, "checkpoint-99"))

        run_hpcompat(make_saving_trainer(trainer={"callbacks": [CreateLinks()]}), LR, n_trials=2, keep="none")
        assert (tmp_path / "data" / "checkpoint-1").is_dir()


class TestKeep:
    def test_best_keeps_one_directory_at_any_time(self, make_saving_trainer, run_hpcompat):
        directories_by_trial = []
        trainer = make_saving_trainer(num_train_epochs=2)
        out = trainer.args.output_dir
        result = run_hpcompat(
            trainer, LR, n_trials=5, callbacks=[lambda trial: directories_by_trial.append(list_remaining(out))]
        )

        best = result.best
        assert list_remaining(out) == [best.run_id]
        assert best.directory == os.path.join(out, best.run_id)
        assert best.checkpoint == os.path.join(best.directory, "checkpoint-8")
        assert all(len(directories) == 1 for directories in directories_by_trial)
        assert [(t.directory, t.checkpoint) for t in result.trials if t is not best] == [(None, None)] * 4
        assert {trial.run_id for trial in result.trials} == {f"run-{number}" for number in range(5)}

    def test_all_and_none_keep_every_directory_or_none(self, make_saving_trainer, run_hpcompat):
        result = run_hpcompat(make_saving_trainer(), LR, n_trials=3, keep="all")
        assert [os.path.basename(trial.directory) for trial in result.trials] == ["run-0", "run-1", "run-2"]
        assert all(os.path.isfile(os.path.join(t.checkpoint, "trainer_state.json")) for t in result.trials)

        result = run_hpcompat(
            make_saving_trainer(output_dir=result.trials[0].directory + "-other"), LR, n_trials=3, keep="none"
        )
        assert [(trial.directory, trial.checkpoint) for trial in result.trials] == [(None, None)] * 3

    def test_best_of_two_objectives_keeps_the_front(self, make_saving_trainer, run_hpcompat):
        result = run_hpcompat(
            make_saving_trainer(),
            LR | {"weight_decay": hp.Float(0.0, 0.3)},
            n_trials=6,
            direction=["minimize", "minimize"],
            compute_objective=lambda metrics: [metrics["eval_loss"], -metrics["eval_loss"] // 0.1],
        )
        front = result.pareto_front
        assert 1 < len(front) < 6
        assert {trial.number for trial in result.trials if trial.directory} == {trial.number for trial in front}
        assert set(list_remaining(os.path.dirname(front[0].directory))) == {trial.run_id for trial in front}

    def test_directory_of_failed_trial_is_removed(self, make_trainer, run_hpcompat):
        calls = []

        def fail_in_fourth_call(metrics):
            calls.append(1)
            if len(calls) == 4:
                raise ValueError("after the first checkpoint")
            return metrics["eval_loss"]

        trainer = make_trainer(save_strategy="epoch", num_train_epochs=2)
        result = run_hpcompat(trainer, LR, n_trials=3, compute_objective=fail_in_fourth_call)
        assert [trial.state for trial in result.trials] == ["COMPLETE", "FAILED", "COMPLETE"]
        assert list_remaining(trainer.args.output_dir) == [result.best.run_id]

    def test_empty_directory_is_removed(self, make_trainer, run_hpcompat):
        trainer = make_trainer()
        result = run_hpcompat(trainer, LR, n_trials=2, keep="all")
        assert list_remaining(trainer.args.output_dir) == []
        assert result.best.directory is result.best.checkpoint is None

    def test_kept_checkpoint_is_the_best_model(self, make_trainer, run_hpcompat):
        def create(**options):
            return make_trainer(create_bert, tokens=True, save_strategy="epoch", eval_strategy="epoch", **options)

        best = run_hpcompat(create(), LR | {"num_train_epochs": hp.Int(1, 2)}, n_trials=3).best
        model = AutoModelForSequenceClassification.from_pretrained(best.checkpoint)
        loaded = create(trainer={"model_init": None, "model": model})
        assert loaded.evaluate()["eval_loss"] == best.value

    def test_earlier_files_stay(self, make_saving_trainer, run_hpcompat, tmp_path):
        out = tmp_path / "out"
        (out / "run-0" / "checkpoint-1").mkdir(parents=True)
        (out / "checkpoint-7").mkdir()
        (out / "notes.txt").write_text("mine")
        result = run_hpcompat(make_saving_trainer(), LR, n_trials=3, keep="none")
        assert list_remaining(out) == ["checkpoint-7", "notes.txt", "run-0"]
        assert os.listdir(out / "run-0") == ["checkpoint-1"]
        assert result.trials[0].run_id not in ("run-0", result.trials[1].run_id)


class TestNames:
    def test_output_dir_and_hp_name_are_used(self, make_saving_trainer, run_hpcompat, tmp_path):
        elsewhere = tmp_path / "else" / "where"
        trainer = make_saving_trainer()
        result = run_hpcompat(
            trainer,
            LR,
            n_trials=2,
            output_dir=str(elsewhere),
            hp_name=lambda trial: f"lr/{trial['learning_rate']:.1e}",
            keep="all",
        )
        assert result.trials[0].run_id == f"lr/{result.trials[0].params['learning_rate']:.1e}"
        assert all(os.path.isdir(elsewhere / trial.run_id) for trial in result.trials)
        assert os.listdir(trainer.args.output_dir) == []

    def test_equal_names_get_different_directories(self, make_saving_trainer, run_hpcompat):
        result = run_hpcompat(make_saving_trainer(), LR, n_trials=3, hp_name=lambda trial: "same", keep="all")
        assert len({trial.directory for trial in result.trials}) == 3
        assert all(os.path.isdir(trial.checkpoint) for trial in result.trials)

    @pytest.mark.parametrize("name", ["", ".", "..", "../escaped", "/tmp/escaped", "a/../../escaped"])
    def test_name_outside_output_dir_raises(self, make_saving_trainer, run_hpcompat, name, tmp_path):
        with pytest.raises(hp.SearchError, match="expected the name of a directory inside"):
            run_hpcompat(make_saving_trainer(), LR, n_trials=1, hp_name=lambda trial: name)
        assert not any("escaped" in path.name for path in tmp_path.rglob("*"))
