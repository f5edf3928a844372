"""Search the hyperparameters of a small vision transformer on handwritten digits.

    python examples/digits.py [--backend optuna] [--trials 10]

The data are 1,797 real images of 8 x 8 pixels that scikit-learn includes. It takes about a minute on two cores and
needs no network.
"""

import argparse
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import (
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

import hpcompat as hp

SPACE = hp.SearchSpace(
    {
        "learning_rate": hp.Float(1e-4, 1e-2, log=True),
        "per_device_train_batch_size": hp.Categorical([32, 64, 128]),
        "num_train_epochs": hp.Int(4, 12),
        "weight_decay": hp.Float(0.0, 0.3, step=0.05),
    }
)


def load_splits() -> list[Any]:
    """Return 60 % of the images to train on, 20 % to validate on and 20 % to test on."""
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    examples = [{"pixel_values": x, "labels": y} for x, y in zip(pixels, torch.tensor(labels), strict=True)]
    train, rest = train_test_split(examples, test_size=0.4, stratify=labels, random_state=0)
    return [train, rest[::2], rest[1::2]]


def model_init() -> ViTForImageClassification:
    """Return a new model for a trial."""
    config = ViTConfig(
        image_size=8,
        patch_size=4,
        num_channels=1,
        id2label={digit: str(digit) for digit in range(10)},
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.1,
    )
    return ViTForImageClassification(config)


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return the accuracy."""
    predicted = np.asarray(prediction.predictions).argmax(-1)
    return {"accuracy": float((predicted == prediction.label_ids).mean())}


def main() -> None:
    """Search, train with the best params, and test the model on held-out digits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="optuna", help="the engine that suggests the trials (default: optuna)")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, help="default: a new one in runs; an existing one is resumed")
    options = parser.parse_args()
    candidates = (Path("runs", f"digits-{options.backend}-{number}") for number in count(1))
    output_dir = options.output_dir or next(path for path in candidates if not path.exists())

    torch.set_num_threads(1)  # more threads are not faster for such a small model
    train, validation, test = load_splits()
    trainer = Trainer(
        model_init=model_init,
        args=TrainingArguments(
            output_dir=str(output_dir),
            seed=options.seed,
            per_device_eval_batch_size=512,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=compute_metrics,
    )
    trainer.remove_callback(PrinterCallback)  # the search shows its own progress

    result = hp.search(
        trainer,
        SPACE,
        backend=options.backend,
        direction="maximize",
        n_trials=options.trials,
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        seed=options.seed,
        resume=True,
    )
    print(result)
    print("best params:", result.best.params)

    best = hp.with_params(trainer, result.best.params)
    best.train()
    print(f"accuracy on held-out digits: {best.evaluate(test)['eval_accuracy']:.1%}")

    image = output_dir / "history.png"
    result.plot(kind="history").savefig(image, dpi=150)
    print(f"optimisation history: {image}")


if __name__ == "__main__":
    main()
