"""Searches over a real Trainer by hpcompat, by transformers, or by a plain `ray.tune.Tuner`.

`python -m benchmarks.training RUNNER BACKEND MODEL TRIALS` prints the seconds of the search, and the peak memory of the
process in MB. Run every search in a new process: once a Trainer has trained, transformers' own search cannot send it
to Ray any more.

RUNNER is "hpcompat" or "transformers" for a search, "tuner" for a bare `Tuner` of Ray's, "train" for one `train()`.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import hpcompat as hp

ROOT = Path(__file__).parents[1]
SPACE = hp.SearchSpace({"learning_rate": hp.Float(1e-5, 1e-3, log=True), "weight_decay": hp.Float(0.0, 0.3)})
"""Parameters that do not change how long a trial takes."""
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "RAY_AUTH_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_SILENT": "true",
}


class Cost(NamedTuple):
    """The cost of a search."""

    seconds: float
    megabytes: float


def run_in_process(runner: str, backend: str, model: str, trials: int) -> Cost:
    """Run a search in a new process, with a W&B server where it needs one."""
    command = [sys.executable, "-m", "benchmarks.training", runner, backend, model, str(trials)]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, serve_wandb(backend) as login:
        done = subprocess.run(command, env={**environment, **login}, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return Cost(**json.loads(done.stdout.strip().splitlines()[-1]))


@contextmanager
def serve_wandb(backend: str) -> Iterator[Mapping[str, str]]:
    """Serve W&B on this machine as the tests do, and yield the environment variables that a client needs."""
    if backend != "wandb":
        yield {}
        return
    command = [sys.executable, "-m", "tests.helpers.wandb_server", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield {"WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": process.stdout.readline().strip(), "NETRC": os.devnull}
        process.stdin.close()


def run_here(runner: str, backend: str, model: str, trials: int) -> Cost:
    """Run a search in this process."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        return run_search(runner, backend, model, trials, directory)


def run_search(runner: str, backend: str, model: str, trials: int, directory: str) -> Cost:
    """Run a search in this process, which writes its files to the directory."""
    trainer = TRAINERS[model](directory)
    if backend == "wandb":
        import_module("wandb.agents.pyagent").Agent.HEARTBEAT_SLEEP_SECONDS = 0.1
    begin = time.perf_counter()
    if runner == "hpcompat":
        options: dict[str, Any] = {} if backend == "wandb" else {"seed": 0}
        method = "bayes" if backend == "optuna" else "random"
        hp.search(trainer, SPACE, backend, n_trials=trials, sampler=method, progress=False, **options)
    elif runner == "transformers":
        trainer.hyperparameter_search(
            n_trials=trials, direction="minimize", backend=backend, **TRANSFORMERS_OPTIONS[backend](directory)
        )
    elif runner == "tuner":
        run_bare_tuner(model, trials, directory)
    else:
        trainer.train()
    seconds = time.perf_counter() - begin
    return Cost(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def run_bare_tuner(model: str, trials: int, directory: str) -> None:
    """Start Ray, run a Tuner whose workers reuse one Trainer, and stop Ray."""
    import ray
    from ray import tune

    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    params = {**hp.to_ray(SPACE), "model": model, "directory": directory}
    tune.Tuner(
        tune.with_resources(_train, {"cpu": 1}),
        param_space=params,
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=directory, verbose=0),
    ).fit()
    ray.shutdown()


def _train(config: dict[str, Any]) -> None:
    from ray import tune

    from benchmarks.training import worker_trainer

    trainer = worker_trainer(config["model"], config["directory"])
    for name in SPACE:
        setattr(trainer.args, name, config[name])
    trainer.train()
    tune.report({"loss": trainer.evaluate()["eval_loss"]})


@cache
def worker_trainer(model: str, directory: str) -> Any:
    """Return the Trainer of this worker process."""
    return TRAINERS[model](directory)


def _optuna_options(directory: str) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler, pruner = optuna.samplers.TPESampler(seed=0), optuna.pruners.NopPruner()
    return {"hp_space": hp.to_optuna(SPACE), "sampler": sampler, "pruner": pruner}


def _ray_options(directory: str) -> dict[str, Any]:
    return {
        "hp_space": lambda trial: hp.to_ray(SPACE),
        "resources_per_trial": {"cpu": 1},
        "storage_path": directory,
        "verbose": 0,
    }


def _wandb_options(directory: str) -> dict[str, Any]:
    return {"hp_space": lambda trial: hp.to_wandb(SPACE, method="random", metric="eval/loss"), "project": "benchmarks"}


TRANSFORMERS_OPTIONS = {"optuna": _optuna_options, "ray": _ray_options, "wandb": _wandb_options}
"""The arguments of transformers' `hyperparameter_search` by backend, except the number of trials."""


def make_trainer(model_init: Any, train: Any, evaluation: Any, directory: str, **arguments: Any) -> Any:
    """Return a Trainer that neither prints nor saves."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments

    torch.set_num_threads(1)
    quiet: dict[str, Any] = {
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "num_train_epochs": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    args = TrainingArguments(str(Path(directory, "runs")), **{**quiet, **arguments})
    trainer = Trainer(args=args, model_init=model_init, train_dataset=train, eval_dataset=evaluation)
    trainer.remove_callback(PrinterCallback)
    return trainer


def make_bert(hidden: int, layers: int, words: int) -> Any:
    """Return a randomly initialized BERT of this size."""
    from transformers import BertConfig, BertForSequenceClassification

    config_class: Any = BertConfig
    config = config_class(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 16,
        intermediate_size=4 * hidden,
        max_position_embeddings=32,
        num_labels=10,
    )
    return BertForSequenceClassification(config)


def make_sentences(count: int, words: int) -> list[dict[str, Any]]:
    """Return sentences of sixteen random words, with labels."""
    import torch

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, words, (count, 16), generator=generator)
    return [{"input_ids": row, "labels": int(row[0]) % 10} for row in tokens]


def _tiny_trainer(directory: str) -> Any:
    """Return a Trainer of two layers of 32, 64 sentences and one epoch: the search itself dominates the cost."""
    data = make_sentences(64, 100)
    return make_trainer(
        lambda: make_bert(32, 2, 100), data, data, directory, num_train_epochs=1, per_device_train_batch_size=16
    )


def _digits_trainer(directory: str) -> Any:
    """Return a Trainer of the vision transformer and the digits of the example: training dominates the cost."""
    example: Any = import_module("examples.digits")
    train, validation, _ = example.load_splits()
    return make_trainer(
        example.model_init,
        train,
        validation,
        directory,
        num_train_epochs=4,
        per_device_train_batch_size=64,
        per_device_eval_batch_size=512,
    )


def _large_trainer(directory: str) -> Any:
    """Return a Trainer of some fifty million parameters and two steps."""
    data = make_sentences(4, 30_000)
    return make_trainer(
        lambda: make_bert(768, 4, 30_000), data, data, directory, num_train_epochs=1, per_device_train_batch_size=2
    )


TRAINERS = {"tiny": _tiny_trainer, "digits": _digits_trainer, "large": _large_trainer}


if __name__ == "__main__":
    runner_, backend_, model_, n_trials_ = sys.argv[1:]
    print(json.dumps(run_search(runner_, backend_, model_, int(n_trials_), os.getcwd())._asdict()))
