"""The checkpoints in a run directory, told by their names from the logs and from the user's own files."""

from __future__ import annotations

import os
import re
import shutil

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


def remove_checkpoints(directory: str) -> None:
    """Remove what a Trainer saved in a run directory; then the directory itself, if nothing else is in it.

    That is every `checkpoint-<step>`, and the files of `Trainer.save_model` and `save_state`. Logs, such as
    TensorBoard's, and files of the user's code stay. Symlinks are not followed.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as here:
    ...     run = Path(here, "run-0")
    ...     for name in ("checkpoint-8/model.safetensors", "training_args.bin", "config.json", "runs/events.out"):
    ...         (run / name).parent.mkdir(parents=True, exist_ok=True)
    ...         (run / name).touch()
    ...     remove_checkpoints(str(run))
    ...     [path.name for path in run.rglob("*")]
    ['runs', 'events.out']
    """
    for path, directories, files in os.walk(directory, onerror=_raise):
        for name in directories[:]:
            if _CHECKPOINT.fullmatch(name) and not os.path.islink(os.path.join(path, name)):
                shutil.rmtree(os.path.join(path, name))
                directories.remove(name)
        saved = [name for name in files if _MARK in files and _SAVED.fullmatch(name)]
        # the mark goes last: what is interrupted can be done once more
        for name in [*saved, *(name for name in (_STATE, _MARK) if name in files)]:
            os.remove(os.path.join(path, name))
        if path != directory and (saved or _MARK in files) and not os.listdir(path):
            os.rmdir(path)
    if not os.listdir(directory):
        os.rmdir(directory)


def _raise(error: OSError) -> None:
    raise error
