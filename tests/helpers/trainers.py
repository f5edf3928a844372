"""The parts of a small, real Trainer: handwritten digits, and networks with a few hundred weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

import hpcompat as hp
from hpcompat.trials.journal import JOURNAL_FILE

torch.set_num_threads(1)  # more threads slow tiny matrices down
IMAGES, LABELS = load_digits(return_X_y=True)


class Digits(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The digits from index `first` to `last`, as pixels between 0 and 1, or as tokens for their 17 grey values."""

    def __init__(self, first: int, last: int, tokens: bool = False) -> None:
        self.name = "input_ids" if tokens else "pixels"
        images = torch.tensor(IMAGES[first:last])
        self.images = images[:, 16:48].long() if tokens else (images / 16).float()
        self.labels = torch.tensor(LABELS[first:last])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {self.name: self.images[index], "labels": self.labels[index]}


class Net(torch.nn.Module):
    """A network of two layers that reads pixels."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(64, width)
        self.out = torch.nn.Linear(width, 10)

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.out(torch.relu(self.hidden(pixels)))
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def create_bert() -> BertForSequenceClassification:
    """Return a BERT with one layer, dropout included, that reads grey values as tokens."""
    config = BertConfig(
        vocab_size=17,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=32,
        num_labels=10,
    )
    return BertForSequenceClassification(config)


def create_trainer(
    output_dir: str,
    model_init: Any = Net,
    *,
    tokens: bool = False,
    trainer_class: type[Trainer] = Trainer,
    trainer: dict[str, Any] | None = None,
    **arguments: Any,
) -> Trainer:
    """Create a Trainer on 64 digits, evaluated on 64 others after every epoch; keywords go to TrainingArguments."""
    defaults: dict[str, Any] = {
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 64,
    }
    return trainer_class(
        **{
            "args": TrainingArguments(output_dir, **{**defaults, **arguments}),
            "model_init": (lambda: model_init()) if isinstance(model_init, type) else model_init,
            "train_dataset": Digits(0, 64, tokens),
            "eval_dataset": Digits(64, 128, tokens),
            **(trainer or {}),
        }
    )


class ExpectedArguments(TrainerCallback):
    """Assert that every training starts with the arguments that `expected` returns for the params, types included."""

    def __init__(self, expected: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.expected = expected

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        expected = self.expected(state.trial_params)
        actual = {name: getattr(args, name) for name in expected}
        assert repr(actual) == repr(expected), f"expected {expected}, got {actual}"


def compute_accuracy(prediction: Any) -> dict[str, float]:
    """Return the fraction of digits that are predicted correctly."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def constant_space(**params: Any) -> hp.SearchSpace:
    """Return a space with a single configuration."""
    return hp.SearchSpace({name: hp.Constant(value) for name, value in params.items()})


@dataclass
class OutputDirs:
    """Returns a new path under `root` at each call: out, out-2, out-3."""

    root: Path
    n_paths: int = 0

    def __call__(self) -> str:
        self.n_paths += 1
        return str(self.root / (f"out-{self.n_paths}" if self.n_paths > 1 else "out"))


def list_remaining(directory: str) -> list[str]:
    """List the files of an output_dir, without the journal and the temporary files of a running search."""
    return sorted(name for name in os.listdir(directory) if name != JOURNAL_FILE and not name.startswith(".hpcompat-"))
