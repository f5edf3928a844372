"""A search without a server: what fails, what ends it, and the offline runs that it leaves."""

from __future__ import annotations

import gc
import glob
import os
import subprocess
import sys

import pytest
from tiny import Net, bert
from transformers import Trainer, TrainerCallback, TrainingArguments

import hpcompat as hp

gc.freeze()  # what is imported stays: transformers collects garbage three times a trial, and need not look at it
X = {"x": hp.Float(0.0, 4.0)}


def parabola(trial):
    return (trial["x"] - 1) ** 2


def offline_runs(directory):
    # where a function calls wandb.init() itself, wandb leaves a directory without a run beside that of the trial
    return sorted(map(os.path.dirname, glob.glob(os.path.join(directory, "offline-run-*", "run-*.wandb"))))


def synced(server, directory, scratch):
    """The runs of a directory as they are after `wandb sync`, by name."""
    login = {
        "WANDB_API_KEY": server.key,
        "WANDB_BASE_URL": server.url,
        "WANDB_DIR": scratch,
        "WANDB_CACHE_DIR": scratch,
    }
    command = [sys.executable, "-m", "wandb", "sync", *offline_runs(directory)]
    done = subprocess.run(command, env={**os.environ, **login}, cwd=scratch, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {run["display"]: run for run in server.runs(None)}


def test_each_trial_is_an_offline_run_that_wandb_can_send_later(ours, server, tmp_path, capfd):
    space = X | {"pair": hp.Categorical([(1, 2), [1, 2]]), "net": {"width": hp.Int(2, 8)}}

    def function(trial):
        if trial.number == 1:
            raise ValueError("once")
        for step in (10, 20):
            trial.report(trial["x"] / step, step)
        trial.log({"mine": trial.number})  # the run is the trial's own object
        return trial["x"]

    settings = {"run_tags": ("tagged",)}
    result = ours(function, space, n_trials=3, output_dir=str(tmp_path / "out"), project="digits", settings=settings)
    assert capfd.readouterr() == ("", "")

    sweep = result.native
    assert sweep.directory == str(tmp_path / "out" / "wandb")
    assert sweep.url is None
    names = [os.path.basename(path).split("-", 3)[-1] for path in offline_runs(sweep.directory)]
    assert names == list(sweep.runs.values())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    runs = synced(server, sweep.directory, str(scratch))
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
        assert [entry["mine"] for entry in run["history"] if "mine" in entry] == [trial.number] * (trial.number != 1)
        assert run["inits"] == 1


def test_a_function_that_leaves_nothing_has_no_runs_to_keep(ours, tmp_path, monkeypatch):
    temporary = set(os.listdir(os.path.dirname(tmp_path)))
    result = ours(parabola, X, n_trials=2)
    assert result.native.directory is None
    assert set(os.listdir(os.path.dirname(tmp_path))) == temporary
    quiet = ours(parabola, X, n_trials=2, output_dir=str(tmp_path / "out"), mode="disabled")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    ours(parabola, X, n_trials=2, output_dir=str(tmp_path / "other"))
    assert offline_runs(tmp_path / "out" / "wandb") == offline_runs(tmp_path / "other" / "wandb") == []
    assert [trial.params for trial in quiet.trials] == [trial.params for trial in result.trials]


def test_a_function_written_for_wandbs_agent(ours, tmp_path):
    import wandb

    def train(trial=None):
        with wandb.init(project="elsewhere") as run:
            assert run is wandb.run
            run.log({"loss": wandb.config["x"]})
        wandb.finish()
        return wandb.config["x"]

    result = ours(train, X, n_trials=2, output_dir=str(tmp_path / "out"))
    assert [trial.value for trial in result.trials] == [trial.params["x"] for trial in result.trials]
    assert len(offline_runs(result.native.directory)) == 2
    assert wandb.run is None


def test_a_run_of_ones_own_is_not_ended(ours, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path))
    hooks = sys.exit, sys.excepthook
    mine = wandb.init(mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    try:
        with pytest.raises(hp.BackendError, match=r"of W&B is open(.|\n)*wandb\.finish\(\) before you search"):
            ours(parabola, X)
        assert wandb.run is mine
    finally:
        mine.finish()
        wandb.teardown()
        sys.exit, sys.excepthook = hooks
        monkeypatch.delenv("WANDB_CACHE_DIR")


@pytest.mark.parametrize("option", [{"project": "a/b"}, {"settings": {"projekt": "a"}}], ids=str)
def test_what_wandb_refuses_is_said_at_once(ours, tmp_path, option):
    with pytest.raises(hp.SearchError, match=r"wandb\.init refuses: (.|\n)*proje[ck]t"):
        ours(parabola, X, output_dir=str(tmp_path / "out"), **option)


def test_wandb_can_be_used_before_and_after_a_search(ours, tmp_path, monkeypatch):
    import wandb

    for name in ("exit", "excepthook"):  # wandb's own run hooks into both
        monkeypatch.setattr(sys, name, getattr(sys, name))
    for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    for _ in range(2):  # the second search finds the process of the run before it
        with wandb.init(mode="offline") as run:
            run.log({"loss": 1.0})
        assert ours(lambda trial: trial["x"], X, n_trials=1).best
    with wandb.init(mode="offline") as run:
        run.log({"loss": 1.0})
    wandb.teardown()
    monkeypatch.undo()


def test_sys_exit_fails_the_trial_and_the_search_goes_on(ours, tmp_path):
    result = ours(
        lambda trial: sys.exit(3) if trial.number == 0 else trial["x"], X, n_trials=2, output_dir=str(tmp_path / "out")
    )
    assert [(trial.state, trial.cause) for trial in result.trials] == [("FAILED", "SystemExit: 3"), ("COMPLETE", None)]


# -- a Trainer --------------------------------------------------------------------------------------


LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


@pytest.fixture
def make_trainer(tmp_path):
    from tiny import Digits, Places

    free = Places(tmp_path)

    def make(model_init=lambda trial: Net(trial["net"]["width"] if trial else 2), kind=Trainer, tokens=False, **more):
        defaults = {
            "output_dir": more.get("output_dir") or free(),
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "num_train_epochs": 1,
            "per_device_eval_batch_size": 64,
        }
        callbacks = more.pop("callbacks", None)
        return kind(
            args=TrainingArguments(**{**defaults, **more}),
            model_init=model_init,
            train_dataset=Digits(0, 64, tokens),
            eval_dataset=Digits(64, 128, tokens),
            callbacks=callbacks,
        )

    return make


def test_a_trainer_that_reports_to_wandb_reports_to_the_run_of_its_trial(ours, make_trainer, server, tmp_path):
    import wandb

    seen = []

    class Runs(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            seen.append(wandb.run.id)

    trainer = make_trainer(bert, tokens=True, report_to=["wandb"], run_name="mine", callbacks=[Runs()])
    space = LR | {"per_device_train_batch_size": hp.Categorical([16, 32])}
    result = ours(trainer, space, n_trials=2, project="trainer")
    assert seen == list(result.native.runs.values())
    assert trainer.args.report_to == ["wandb"]
    assert trainer.args.run_name == "mine"

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    synced(server, result.native.directory, str(scratch))
    for trial in result.trials:
        run = server.known()["runs"][result.native.runs[trial.number]]
        assert run["inits"] == 1
        assert run["summary"]["objective"] == trial.value
        assert [entry["eval/loss"] for entry in run["history"] if "eval/loss" in entry] == [trial.value]
        assert run["config"]["learning_rate"]["value"] == trial.params["learning_rate"]
        assert run["config"]["per_device_eval_batch_size"]["value"] == 64


def test_hyperband_ends_a_trainers_trial_early(ours, make_trainer):
    trainer = make_trainer(num_train_epochs=4)
    space = {"learning_rate": hp.Float(1e-5, 1e-1, log=True), "net": {"width": hp.Constant(8)}}
    result = ours(trainer, space, n_trials=6, sampler="random", pruner="hyperband")
    assert {trial.state for trial in result.trials} == {"COMPLETE", "PRUNED"}
    assert {len(t.intermediate_values) for t in result.trials if t.state == "PRUNED"} <= {2, 4}
    assert all(len(t.intermediate_values) == 4 for t in result.trials if t.state == "COMPLETE")


def test_trainers_that_a_function_makes_report_to_it_too(ours, make_trainer, tmp_path):
    def make(trial):
        return make_trainer(lambda: Net(4), report_to=["wandb"], learning_rate=trial["learning_rate"])

    assert len(ours(make, LR, n_trials=2).trials) == 2
    result = ours(make, LR, n_trials=2, output_dir=str(tmp_path / "out"))
    assert len(offline_runs(result.native.directory)) == 2
