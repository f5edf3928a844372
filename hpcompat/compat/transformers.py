"""transformers 4.41 to 5: what differs between its versions."""

from __future__ import annotations

import os
from collections.abc import Mapping
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


_PREFIX = "ACCELERATE_"


def initial_environment(args: TrainingArguments) -> dict[str, str]:
    """Return accelerate's variables of the environment, without what `args` have written there.

    TrainingArguments with torch_compile write it to the environment, from where later ones without it read it; before
    5.0 those with fp16 or bf16 do so, too.
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
    if args.torch_compile:
        variables.pop(f"{_PREFIX}DYNAMO_BACKEND", None)
        variables.pop(f"{_PREFIX}DYNAMO_MODE", None)
    if hasattr(args, "half_precision_backend") and (args.fp16 or args.bf16):
        variables.pop(f"{_PREFIX}MIXED_PRECISION", None)
    return variables


def reset_environment(initial: Mapping[str, str]) -> None:
    """Set accelerate's variables of the environment to what `initial_environment` has returned."""
    for name in [name for name in os.environ if name.startswith(_PREFIX) and name not in initial]:
        del os.environ[name]
    os.environ.update(initial)


def set_output_dir(args: TrainingArguments, directory: str) -> None:
    """Set the output_dir, and move a logging_dir inside it along: before 5.0 its default is `<output_dir>/runs/…`."""
    logging_dir = getattr(args, "logging_dir", None)
    output_dir = str(args.output_dir)
    if logging_dir is not None and Path(logging_dir).is_relative_to(output_dir):
        vars(args)["logging_dir"] = os.path.join(directory, os.path.relpath(logging_dir, output_dir))
    args.output_dir = directory
