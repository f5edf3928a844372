"""Search the hyperparameters of a small vision transformer on handwritten digits.

    python examples/digits.py [--backend optuna] [--trials 10]

1,797 real images of 8 x 8 pixels, which come with scikit-learn. About a minute on two cores, offline.
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


def digits() -> list[Any]:
    """60 % of the images to train on, 20 % to choose by, 20 % held out to the end."""
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    examples = [{"pixel_values": x, "labels": y} for x, y in zip(pixels, torch.tensor(labels), strict=True)]
    train, rest = train_test_split(examples, test_size=0.4, stratify=labels, random_state=0)
    return [train, rest[::2], rest[1::2]]


def model_init() -> ViTForImageClassification:
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


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    predicted = np.asarray(prediction.predictions).argmax(-1)
    return {"accuracy": float((predicted == prediction.label_ids).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="optuna", help="the engine that chooses the trials (default: optuna)")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, help="default: a new one in runs; one that is there is gone on with")
    options = parser.parse_args()
    places = (Path("runs", f"digits-{options.backend}-{number}") for number in count(1))
    output_dir = options.output_dir or next(place for place in places if not place.exists())

    torch.set_num_threads(1)  # the model is so small that more threads would only wait for each other
    train, validation, held_out = digits()
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
        compute_metrics=accuracy,
    )
    trainer.remove_callback(PrinterCallback)  # the search says how it goes

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
    print(f"accuracy on held-out digits: {best.evaluate(held_out)['eval_accuracy']:.1%}")

    picture = output_dir / "history.png"
    result.plot(kind="history").savefig(picture, dpi=150)
    print(f"optimisation history: {picture}")


if __name__ == "__main__":
    main()
