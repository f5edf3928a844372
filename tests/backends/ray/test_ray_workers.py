"""Trials with two workers, which are the ranks of a process group and may run on different nodes."""

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

TORCHRUN_SCRIPT = """
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
torch.distributed.destroy_process_group()  # a process that exits with an open gloo group may abort
"""


def train_with_torchrun(tmp_path, **arguments):
    """Train under torchrun; returns the evaluation losses by step."""
    script, file = tmp_path / "train.py", tmp_path / "arguments.json"
    script.write_text(TORCHRUN_SCRIPT)
    file.write_text(json.dumps(arguments))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, file]
    subprocess.run(command, check=True, capture_output=True)
    return {int(step): loss for step, loss in json.loads(file.read_text()).items()}


class TestWorkers:
    def test_two_workers_give_losses_of_torchrun(self, run_hpcompat, make_trainer, tmp_path):
        """Both workers are pruned at the same step, and an error of one worker fails the trial."""

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

        search_arguments = (
            "output_dir",
            "num_train_epochs",
            "learning_rate",
            "eval_strategy",
            "use_cpu",
            "report_to",
            "disable_tqdm",
        )
        all_arguments = (
            *search_arguments,
            "per_device_train_batch_size",
            "per_device_eval_batch_size",
            "save_strategy",
        )
        values = {name: getattr(trainer.args, name) for name in all_arguments}
        output_dir = str(tmp_path / "torchrun")
        losses = train_with_torchrun(tmp_path, **{**values, "output_dir": output_dir, "save_strategy": "no"})
        assert dict(plain.intermediate_values) == pytest.approx(losses, rel=1e-6)
        assert list(losses) == [2, 4, 6, 8, 10, 12]  # 64 digits in batches of 16 on two ranks
        assert plain.value == plain.intermediate_values[12]

    @pytest.mark.parametrize("extra_nodes", [3], indirect=True)
    def test_dead_node_reruns_trial_and_dead_worker_fails_it(self, run_hpcompat, extra_nodes, tmp_path):
        """The first trial runs again on other nodes, the second one fails, and the third one has two workers again."""

        def function(trial):
            from torch import distributed

            (tmp_path / f"{os.getpid()}.pid").touch()
            nodes = [None, None]
            distributed.all_gather_object(nodes, ray.get_runtime_context().get_node_id())
            if distributed.get_rank() == 0 and not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                os.kill(extra_nodes[nodes[1]], signal.SIGTERM)  # not the node of rank 0, which drives the trial
                time.sleep(10**6)  # until the trial is restarted
            if trial.number == 1:
                if distributed.get_rank() == 1:
                    os._exit(1)
                distributed.barrier()
            return float(len(set(nodes)))

        # a trial needs two of three "far" resources: two trials with one each would wait for each other
        options = {"workers_per_trial": 2, "resources_per_worker": {"cpu": 0, "far": 1}, "max_concurrent_trials": 2}
        result = run_hpcompat(function, {"x": hp.Float(0, 1)}, n_trials=3, **options)
        assert (tmp_path / "killed").exists()
        assert [(trial.number, trial.value) for trial in result.trials] == [(0, 2.0), (1, None), (2, 2.0)]
        died = "RuntimeError: rank 1: the worker process has died: Worker unexpectedly exits"
        assert result.trials[1].cause.startswith(died)
        assert len(result.native) == 4

        pids = [int(file.stem) for file in tmp_path.glob("*.pid")]
        wait_for(lambda: not any(map(psutil.pid_exists, pids)), "workers still run")
