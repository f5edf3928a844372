"""The checkpoints in a run directory, told by their names from the logs and from the user's own files."""

from __future__ import annotations

import re

from hpcompat.trials.files import Directory

_CHECKPOINT = re.compile(r"(tmp-)?checkpoint-\d+")
_MARK = "training_args.bin"
"""Trainer.save_model writes it beside every model (transformers 5.23, trainer.py `_save`)."""
_STATE = "trainer_state.json"
# What else Trainer.save_model writes there: the weights, in shards if they are large, their configuration, what
# belongs to the processing class. Metrics and model cards are no checkpoint, and stay.
_SAVED = re.compile(
    r"(model|pytorch_model|adapter_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)"
    r"|(model\.safetensors|pytorch_model\.bin)\.index\.json"
    r"|(config|generation_config|adapter_config)\.json"
    r"|(optimizer|scheduler|scaler)\.(pt|bin)|rng_state(_\d+)?\.pth"
    r"|(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json"
    r"|(vocab|merges)\.txt|(tokenizer|spiece|sentencepiece\.bpe)\.model|chat_template\.jinja"
    r"|((video_)?preprocessor|processor|audio_tokenizer)_config\.json"
)


def remove_checkpoints(directory: Directory) -> None:
    """Remove what a Trainer saved in a run directory, and the directories in it that only held such files.

    That is every `checkpoint-<step>`, and the files of `Trainer.save_model` and `save_state`. Logs, such as
    TensorBoard's, and files of the user's code stay. Symlinks are not followed.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as here:
    ...     run = Path(here, "run-0")
    ...     for name in ("checkpoint-8/model.safetensors", "training_args.bin", "config.json", "runs/events.out"):
    ...         (run / name).parent.mkdir(parents=True, exist_ok=True)
    ...         (run / name).touch()
    ...     with Directory(str(run)) as directory:
    ...         remove_checkpoints(directory)
    ...     [path.name for path in run.rglob("*")]
    ['runs', 'events.out']
    """
    names = directory.names()
    for name in filter(directory.is_directory, names):
        if _CHECKPOINT.fullmatch(name):
            directory.remove(name)
            continue
        with directory.below(name) as inner:
            held = inner.names()
            remove_checkpoints(inner)
            is_empty = bool(held) and not inner.names()
        if is_empty:
            directory.remove_empty(name)
    saved = [name for name in names if _MARK in names and _SAVED.fullmatch(name)]
    # the mark goes last: what is interrupted can be done once more
    for name in [*saved, *(name for name in (_STATE, _MARK) if name in names)]:
        if not directory.is_directory(name):
            directory.remove(name)
