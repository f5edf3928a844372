"""Searches without a W&B server: user code with W&B calls, offline runs and Trainers."""

from __future__ import annotations

import gc
import glob
import os
import subprocess
import sys

import pytest
from transformers import Trainer, TrainerCallback, TrainingArguments

import hpcompat as hp
from tests.helpers.trainers import Net, create_bert

gc.freeze()  # transformers collects garbage three times per trial: exclude the imported modules
X = {"x": hp.Float(0.0, 4.0)}


def parabola(trial):
    return (trial["x"] - 1) ** 2


def list_offline_runs(directory):
    # wandb.init() in user code creates another directory, without a run
    return sorted(map(os.path.dirname, glob.glob(os.path.join(directory, "offline-run-*", "run-*.wandb"))))


def sync_runs(server, directory, scratch):
    """Sync the runs of a directory with `wandb sync`; returns them by display name."""
    login = {
        "WANDB_API_KEY": server.key,
        "WANDB_BASE_URL": server.url,
        "WANDB_DIR": scratch,
        "WANDB_CACHE_DIR": scratch,
        "HOME": scratch,
    }
    command = [sys.executable, "-m", "wandb", "sync", *list_offline_runs(directory)]
    process = subprocess.run(command, env={**os.environ, **login}, cwd=scratch, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return {run["display"]: run for run in server.runs(None)}


class TestUserCode:
    def test_function_written_for_agent_is_searched(self, run_hpcompat, tmp_path):
        import wandb

        def train(trial=None):
            with wandb.init(project="elsewhere") as run:
                assert run is wandb.run
                run.log({"loss": wandb.config["x"]})
            wandb.finish()
            return wandb.config["x"]

        result = run_hpcompat(train, X, n_trials=2, output_dir=str(tmp_path / "out"))
        assert [trial.value for trial in result.trials] == [trial.params["x"] for trial in result.trials]
        assert len(list_offline_runs(result.native.directory)) == 2
        assert wandb.run is None

    def test_open_run_of_user_raises_and_stays_open(self, run_hpcompat, tmp_path, monkeypatch):
        import wandb

        monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path))
        hooks = sys.exit, sys.excepthook
        user_run = wandb.init(mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
        try:
            with pytest.raises(hp.BackendError, match=r"of W&B is open(.|\n)*wandb\.finish\(\) before you search"):
                run_hpcompat(parabola, X)
            assert wandb.run is user_run
        finally:
            user_run.finish()
            wandb.teardown()
            sys.exit, sys.excepthook = hooks
            monkeypatch.delenv("WANDB_CACHE_DIR")

    @pytest.mark.parametrize("option", [{"project": "a/b"}, {"settings": {"projekt": "a"}}], ids=str)
    def test_invalid_wandb_setting_raises_at_once(self, run_hpcompat, tmp_path, option):
        with pytest.raises(hp.SearchError, match=r"wandb\.init refuses: (.|\n)*proje[ck]t"):
            run_hpcompat(parabola, X, output_dir=str(tmp_path / "out"), **option)

    def test_wandb_is_usable_before_and_after_search(self, run_hpcompat, tmp_path, monkeypatch):
        import wandb

        for name in ("exit", "excepthook"):  # wandb replaces both
            monkeypatch.setattr(sys, name, getattr(sys, name))
        for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
            monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "own"))
        (tmp_path / "own").mkdir()
        for _ in range(2):  # the second search finds the service process of an earlier run
            with wandb.init(mode="offline") as run:
                run.log({"loss": 1.0})
            assert run_hpcompat(lambda trial: trial["x"], X, n_trials=1).best
        with wandb.init(mode="offline") as run:
            run.log({"loss": 1.0})
        wandb.teardown()
        monkeypatch.undo()


class TestOfflineRuns:
    def test_trial_is_offline_run_that_can_be_synced(self, run_hpcompat, server, tmp_path, capfd):
        space = X | {"pair": hp.Categorical([(1, 2), [1, 2]]), "net": {"width": hp.Int(2, 8)}}

        def function(trial):
            if trial.number == 1:
                raise ValueError("once")
            for step in (10, 20):
                trial.report(trial["x"] / step, step)
            trial.log({"mine": trial.number})  # the engine's native trial is the run
            return trial["x"]

        settings = {"run_tags": ("tagged",)}
        result = run_hpcompat(
            function, space, n_trials=3, output_dir=str(tmp_path / "out"), project="digits", settings=settings
        )
        assert capfd.readouterr() == ("", "")

        sweep = result.native
        assert sweep.directory == str(tmp_path / "out" / "wandb")
        assert sweep.url is None
        names = [os.path.basename(path).split("-", 3)[-1] for path in list_offline_runs(sweep.directory)]
        assert names == list(sweep.runs.values())
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        runs = sync_runs(server, sweep.directory, str(scratch))
        for trial in result.trials:
            run = runs[f"run-{trial.number}"]
            assert run["name"] == sweep.runs[trial.number]
            config = {name: entry["value"] for name, entry in run["config"].items() if name != "_wandb"}
            assert config == {**trial.params, "pair": [1, 2]}
            assert run["state"] == ("failed" if trial.state == "FAILED" else "finished")
            assert run["summary"]["state"] == trial.state
            assert run["summary"].get("objective") == trial.value
            assert run["summary"].get("error") == trial.cause
            reports = [
                (entry["objective_step"], entry["objective"]) for entry in run["history"] if "objective_step" in entry
            ]
            assert dict(reports) == trial.intermediate_values
            assert [entry["mine"] for entry in run["history"] if "mine" in entry] == [trial.number] * (
                trial.number != 1
            )
            assert run["inits"] == 1

    def test_function_without_output_dir_keeps_no_runs(self, run_hpcompat, tmp_path, monkeypatch):
        temporary = set(os.listdir(os.path.dirname(tmp_path)))
        result = run_hpcompat(parabola, X, n_trials=2)
        assert result.native.directory is None
        assert set(os.listdir(os.path.dirname(tmp_path))) == temporary
        disabled = run_hpcompat(parabola, X, n_trials=2, output_dir=str(tmp_path / "out"), mode="disabled")
        monkeypatch.setenv("WANDB_MODE", "disabled")
        run_hpcompat(parabola, X, n_trials=2, output_dir=str(tmp_path / "other"))
        assert list_offline_runs(tmp_path / "out" / "wandb") == list_offline_runs(tmp_path / "other" / "wandb") == []
        assert [trial.params for trial in disabled.trials] == [trial.params for trial in result.trials]

    def test_sys_exit_fails_trial_and_search_continues(self, run_hpcompat, tmp_path):
        result = run_hpcompat(
            lambda trial: sys.exit(3) if trial.number == 0 else trial["x"],
            X,
            n_trials=2,
            output_dir=str(tmp_path / "out"),
        )
        assert [(trial.state, trial.cause) for trial in result.trials] == [
            ("FAILED", "SystemExit: 3"),
            ("COMPLETE", None),
        ]


LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


@pytest.fixture
def make_trainer(tmp_path):
    from tests.helpers.trainers import Digits, OutputDirs

    next_output_dir = OutputDirs(tmp_path)

    def make(
        model_init=lambda trial: Net(trial["net"]["width"] if trial else 2),
        trainer_class=Trainer,
        tokens=False,
        **options,
    ):
        defaults = {
            "output_dir": options.get("output_dir") or next_output_dir(),
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "num_train_epochs": 1,
            "per_device_eval_batch_size": 64,
        }
        callbacks = options.pop("callbacks", None)
        return trainer_class(
            args=TrainingArguments(**{**defaults, **options}),
            model_init=model_init,
            train_dataset=Digits(0, 64, tokens),
            eval_dataset=Digits(64, 128, tokens),
            callbacks=callbacks,
        )

    return make


class TestTrainers:
    def test_trainer_reports_to_run_of_its_trial(self, run_hpcompat, make_trainer, server, tmp_path):
        import wandb

        run_ids = []

        class RecordRunIds(TrainerCallback):
            def on_train_end(self, args, state, control, **kwargs):
                run_ids.append(wandb.run.id)

        trainer = make_trainer(
            create_bert, tokens=True, report_to=["wandb"], run_name="mine", callbacks=[RecordRunIds()]
        )
        space = LR | {"per_device_train_batch_size": hp.Categorical([16, 32])}
        result = run_hpcompat(trainer, space, n_trials=2, project="trainer")
        assert run_ids == list(result.native.runs.values())
        assert trainer.args.report_to == ["wandb"]
        assert trainer.args.run_name == "mine"

        scratch = tmp_path / "scratch"
        scratch.mkdir()
        sync_runs(server, result.native.directory, str(scratch))
        for trial in result.trials:
            run = server.get_state()["runs"][result.native.runs[trial.number]]
            assert run["inits"] == 1
            assert run["summary"]["objective"] == trial.value
            assert [entry["eval/loss"] for entry in run["history"] if "eval/loss" in entry] == [trial.value]
            assert run["config"]["learning_rate"]["value"] == trial.params["learning_rate"]
            assert run["config"]["per_device_eval_batch_size"]["value"] == 64

    def test_hyperband_pruner_ends_trial_of_trainer(self, run_hpcompat, make_trainer):
        trainer = make_trainer(num_train_epochs=4)
        space = {"learning_rate": hp.Float(1e-5, 1e-1, log=True), "net": {"width": hp.Constant(8)}}
        result = run_hpcompat(trainer, space, n_trials=6, sampler="random", pruner="hyperband")
        assert {trial.state for trial in result.trials} == {"COMPLETE", "PRUNED"}
        assert {len(t.intermediate_values) for t in result.trials if t.state == "PRUNED"} <= {2, 4}
        assert all(len(t.intermediate_values) == 4 for t in result.trials if t.state == "COMPLETE")

    def test_trainer_created_by_function_reports_to_run_of_its_trial(self, run_hpcompat, make_trainer, tmp_path):
        def create(trial):
            return make_trainer(lambda: Net(4), report_to=["wandb"], learning_rate=trial["learning_rate"])

        assert len(run_hpcompat(create, LR, n_trials=2).trials) == 2
        result = run_hpcompat(create, LR, n_trials=2, output_dir=str(tmp_path / "out"))
        assert len(list_offline_runs(result.native.directory)) == 2
