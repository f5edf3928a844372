"""transformers 4.41 to 5: what differs between its versions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments


def given_argument(trainer: Trainer, name: str) -> Any:
    """Return an argument of the Trainer's constructor; None if this version of transformers does not have it.

    They are kept in attributes of the same name: `compute_loss_func` since 4.46, `optimizer_cls_and_kwargs` since 4.47.
    """
    return getattr(trainer, name, None)


def given_use_cache(args: TrainingArguments) -> bool | None:
    """Return what the Trainer's constructor sets the model's `config.use_cache` to; None if it does not set it."""
    return getattr(args, "use_cache", None)  # since 5.0


_MIXED_PRECISION = "ACCELERATE_MIXED_PRECISION"


def initial_mixed_precision(args: TrainingArguments) -> str | None:
    """Return the mixed precision of the environment without what `args` have written there; None if they do not write.

    Before 5.0 TrainingArguments with fp16 or bf16 write it to the environment, from where later ones without read it.
    """
    if not hasattr(args, "half_precision_backend"):
        return None
    return "no" if args.fp16 or args.bf16 else os.environ.get(_MIXED_PRECISION, "no")


def reset_mixed_precision(initial: str | None) -> None:
    """Set the mixed precision of the environment to what `initial_mixed_precision` has returned."""
    if initial is not None:
        os.environ[_MIXED_PRECISION] = initial


def set_output_dir(args: TrainingArguments, directory: str) -> None:
    """Set the output_dir, and move a logging_dir inside it along: before 5.0 its default is `<output_dir>/runs/…`."""
    logging_dir = getattr(args, "logging_dir", None)
    output_dir = str(args.output_dir)
    if logging_dir is not None and Path(logging_dir).is_relative_to(output_dir):
        vars(args)["logging_dir"] = os.path.join(directory, os.path.relpath(logging_dir, output_dir))
    args.output_dir = directory
