"""A real Trainer, searched by hpcompat, by transformers, or by a bare Tuner.

`python -m benchmarks.training WHOSE BACKEND MODEL TRIALS` prints the seconds of the search, and the most memory that
the process has had, in MB. Each search has a process of its own: once a Trainer has trained, transformers' own search
cannot send it to Ray any more.
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
"""Nothing that a trial takes longer or shorter for."""
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "RAY_AUTH_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_SILENT": "true",
}


class Took(NamedTuple):
    """What a search took."""

    seconds: float
    megabytes: float


def in_a_process(whose: str, backend: str, model: str, trials: int) -> Took:
    """A search in a process of its own, with a W&B server for it where it needs one."""
    command = [sys.executable, "-m", "benchmarks.training", whose, backend, model, str(trials)]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, server(backend) as login:
        done = subprocess.run(command, env={**environment, **login}, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return Took(**json.loads(done.stdout.strip().splitlines()[-1]))


@contextmanager
def server(backend: str) -> Iterator[Mapping[str, str]]:
    """The tests' W&B server on this machine, as the environment that a client finds it by."""
    if backend != "wandb":
        yield {}
        return
    double = [sys.executable, str(ROOT / "tests/backends/wandb/server.py"), "0"]
    with subprocess.Popen(double, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield {"WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": process.stdout.readline().strip(), "NETRC": os.devnull}
        process.stdin.close()


def here(whose: str, backend: str, model: str, trials: int) -> Took:
    """A search in this process."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        return searched(whose, backend, model, trials, directory)


def searched(whose: str, backend: str, model: str, trials: int, directory: str) -> Took:
    """A search in this process, which leaves what it writes in the directory."""
    trainer = MODELS[model](directory)
    if backend == "wandb":
        import_module("wandb.agents.pyagent").Agent.HEARTBEAT_SLEEP_SECONDS = 0.1
    begin = time.perf_counter()
    if whose == "ours":
        options: dict[str, Any] = {} if backend == "wandb" else {"seed": 0}
        method = "bayes" if backend == "optuna" else "random"
        hp.search(trainer, SPACE, backend, n_trials=trials, sampler=method, progress=False, **options)
    elif whose == "theirs":
        trainer.hyperparameter_search(
            n_trials=trials, direction="minimize", backend=backend, **THEIRS[backend](directory)
        )
    elif whose == "bare":
        bare_tuner(model, trials, directory)
    else:
        trainer.train()
    seconds = time.perf_counter() - begin
    return Took(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def bare_tuner(model: str, trials: int, directory: str) -> None:
    """Ray's start, a Tuner whose workers train one Trainer each again and again, and Ray's end: nothing else."""
    import ray
    from ray import tune

    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    params = {**hp.to_ray(SPACE), "model": model, "directory": directory}
    tune.Tuner(
        tune.with_resources(_trained, {"cpu": 1}),
        param_space=params,
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=directory, verbose=0),
    ).fit()
    ray.shutdown()


def _trained(config: dict[str, Any]) -> None:
    from ray import tune

    from benchmarks.training import in_this_worker

    trainer = in_this_worker(config["model"], config["directory"])
    for name in SPACE:
        setattr(trainer.args, name, config[name])
    trainer.train()
    tune.report({"loss": trainer.evaluate()["eval_loss"]})


@cache
def in_this_worker(model: str, directory: str) -> Any:
    """The Trainer that a worker process has made for itself."""
    return MODELS[model](directory)


def _optuna(directory: str) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler, pruner = optuna.samplers.TPESampler(seed=0), optuna.pruners.NopPruner()
    return {"hp_space": hp.to_optuna(SPACE), "sampler": sampler, "pruner": pruner}


def _ray(directory: str) -> dict[str, Any]:
    return {
        "hp_space": lambda trial: hp.to_ray(SPACE),
        "resources_per_trial": {"cpu": 1},
        "storage_path": directory,
        "verbose": 0,
    }


def _wandb(directory: str) -> dict[str, Any]:
    return {"hp_space": lambda trial: hp.to_wandb(SPACE, method="random", metric="eval/loss"), "project": "benchmarks"}


THEIRS = {"optuna": _optuna, "ray": _ray, "wandb": _wandb}
"""What transformers' `hyperparameter_search` is given beside the number of trials."""


def trainer_of(model_init: Any, train: Any, evaluation: Any, directory: str, **arguments: Any) -> Any:
    """A Trainer that prints and saves nothing."""
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


def bert(hidden: int, layers: int, words: int) -> Any:
    """A BERT of that size, made here."""
    from transformers import BertConfig, BertForSequenceClassification

    kind: Any = BertConfig
    config = kind(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 16,
        intermediate_size=4 * hidden,
        max_position_embeddings=32,
        num_labels=10,
    )
    return BertForSequenceClassification(config)


def sentences(count: int, words: int) -> list[dict[str, Any]]:
    """Sixteen words at random, and a label."""
    import torch

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, words, (count, 16), generator=generator)
    return [{"input_ids": row, "labels": int(row[0]) % 10} for row in tokens]


def _tiny(directory: str) -> Any:
    """Two layers of 32, 64 sentences, one epoch: what the search itself costs shows."""
    data = sentences(64, 100)
    return trainer_of(
        lambda: bert(32, 2, 100), data, data, directory, num_train_epochs=1, per_device_train_batch_size=16
    )


def _digits(directory: str) -> Any:
    """The vision transformer and the digits of the example: what training costs shows."""
    example: Any = import_module("examples.digits")
    train, validation, _ = example.digits()
    return trainer_of(
        example.model_init,
        train,
        validation,
        directory,
        num_train_epochs=4,
        per_device_train_batch_size=64,
        per_device_eval_batch_size=512,
    )


def _large(directory: str) -> Any:
    """Some fifty million parameters, two steps."""
    data = sentences(4, 30_000)
    return trainer_of(
        lambda: bert(768, 4, 30_000), data, data, directory, num_train_epochs=1, per_device_train_batch_size=2
    )


MODELS = {"tiny": _tiny, "digits": _digits, "large": _large}


if __name__ == "__main__":
    whose_, backend_, model_, trials_ = sys.argv[1:]
    print(json.dumps(searched(whose_, backend_, model_, int(trials_), os.getcwd())._asdict()))
