"""Trials with two workers each: the ranks of a process group, wherever they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray

import hpcompat as hp
from tests.helpers.trainers import Net
from tests.helpers.waiting import wait_for

LAUNCHED = """
import json, sys
import torch.distributed
from tests.helpers.trainers import Digits, Net
from transformers import Trainer, TrainingArguments

with open(sys.argv[1]) as file:
    args = TrainingArguments(**json.load(file))
data = {"train_dataset": Digits(0, 64), "eval_dataset": Digits(64, 128)}
trainer = Trainer(args=args, model_init=lambda: Net(), **data)
trainer.train()
if args.process_index == 0:
    losses = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    with open(sys.argv[1], "w") as file:
        json.dump(losses, file)
torch.distributed.barrier()
torch.distributed.destroy_process_group()  # a process that ends with a group of gloo may abort
"""


def launched(tmp_path, **arguments):
    """The losses of that Trainer under torchrun, by step."""
    script, file = tmp_path / "launched.py", tmp_path / "arguments.json"
    script.write_text(LAUNCHED)
    file.write_text(json.dumps(arguments))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, file]
    subprocess.run(command, check=True, capture_output=True)
    return {int(step): loss for step, loss in json.loads(file.read_text()).items()}


class TestWorkers:
    def test_two_workers_give_losses_of_torchrun(self, run_hpcompat, make_trainer, tmp_path):
        """And are pruned together; and what one of them raises the trial has raised."""

        def model_init(trial):
            if trial is not None:
                trial.set_user_attr("case", trial["case"])
                trial.set_constraint("room", -1)
            if trial is not None and trial["case"] == "raises" and os.environ["RANK"] == "1":
                raise ValueError("odd")
            return Net()

        trainer = make_trainer(model_init, num_train_epochs=6, learning_rate=1e-1, save_strategy="epoch")
        space = {
            "case": hp.Categorical(["plain", "raises", "pruned"]),
            "learning_rate": hp.Categorical([1e-7], when={"case": "pruned"}),
        }
        result = run_hpcompat(trainer, space, sampler="grid", pruner="asha", workers_per_trial=2)

        plain, raises, pruned = result.trials
        assert [trial.params["case"] for trial in result.trials] == ["plain", "raises", "pruned"]
        assert [trial.user_attrs for trial in result.trials] == [
            {"case": trial.params["case"]} for trial in result.trials
        ]
        assert [trial.constraints for trial in result.trials] == [{"room": -1}] * 3
        assert raises.cause == "rank 1: ValueError: odd"
        assert (pruned.state, list(pruned.intermediate_values)) == ("PRUNED", [2])
        assert [path.name for path in Path(trainer.args.output_dir).iterdir() if path.is_dir()] == ["run-0"]
        assert Path(plain.checkpoint).parent.name == "run-0"

        own = (
            "output_dir",
            "num_train_epochs",
            "learning_rate",
            "eval_strategy",
            "use_cpu",
            "report_to",
            "disable_tqdm",
        )
        same = (*own, "per_device_train_batch_size", "per_device_eval_batch_size", "save_strategy")
        values = {name: getattr(trainer.args, name) for name in same}
        losses = launched(tmp_path, **{**values, "output_dir": str(tmp_path / "launched"), "save_strategy": "no"})
        assert dict(plain.intermediate_values) == pytest.approx(losses, rel=1e-6)
        assert list(losses) == [2, 4, 6, 8, 10, 12]  # 64 digits by 16 on two ranks
        assert plain.value == plain.intermediate_values[12]

    @pytest.mark.parametrize("others", [3], indirect=True)
    def test_dead_node_reruns_trial_and_dead_worker_fails_it(self, run_hpcompat, others, tmp_path):
        """The first trial runs again on other nodes, the second has failed, the third has two workers again."""

        def function(trial):
            from torch import distributed

            (tmp_path / f"{os.getpid()}.pid").touch()
            nodes = [None, None]
            distributed.all_gather_object(nodes, ray.get_runtime_context().get_node_id())
            if distributed.get_rank() == 0 and not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                os.kill(others[nodes[1]], signal.SIGTERM)  # what conducts the trial is where rank 0 is
                time.sleep(10**6)  # it is there to be killed
            if trial.number == 1:
                if distributed.get_rank() == 1:
                    os._exit(1)
                distributed.barrier()
            return float(len(set(nodes)))

        # of three seats a trial needs two: each of two trials would wait for the other, if it could have one of them
        options = {"workers_per_trial": 2, "resources_per_worker": {"cpu": 0, "far": 1}, "max_concurrent_trials": 2}
        result = run_hpcompat(function, {"x": hp.Float(0, 1)}, n_trials=3, **options)
        assert (tmp_path / "killed").exists()
        assert [(trial.number, trial.value) for trial in result.trials] == [(0, 2.0), (1, None), (2, 2.0)]
        died = "RuntimeError: rank 1: the worker process has died: Worker unexpectedly exits"
        assert result.trials[1].cause.startswith(died)
        assert len(result.native) == 4

        pids = [int(file.stem) for file in tmp_path.glob("*.pid")]
        wait_for(lambda: not any(map(psutil.pid_exists, pids)), "workers are left")
