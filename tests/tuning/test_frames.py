"""The number of functions between a call of `search` and the engine, and between `search` and the training."""

from __future__ import annotations

import traceback
from pathlib import Path

import optuna
import pytest
from transformers import Trainer

import hpcompat as hp

PACKAGE = str(Path(hp.__file__).parent)


@pytest.fixture
def frames(monkeypatch):
    """Record the functions of hpcompat that lead to the first call of `Study.ask` and of `Trainer.train`."""
    stacks: dict[str, list[str]] = {}

    def record_calls(owner, name):
        original = getattr(owner, name)

        def call(self, *arguments, **options):
            stack = [frame for frame in traceback.extract_stack() if frame.filename.startswith(PACKAGE)]
            stacks.setdefault(name, [frame.name for frame in stack])
            return original(self, *arguments, **options)

        monkeypatch.setattr(owner, name, call)

    record_calls(optuna.Study, "ask")
    record_calls(Trainer, "train")
    return stacks


class TestFrames:
    def test_engine_is_at_most_5_frames_away(self, frames):
        hp.search(lambda trial: trial["x"], {"x": hp.Float(0, 1)}, n_trials=1, progress=False)
        assert frames["ask"] == ["search", "run", "run_loop", "ask"]

    @pytest.mark.parametrize("backend", ["optuna", "sigopt", "wandb"])
    def test_training_is_at_most_8_frames_away(self, frames, make_trainer, backend):
        hp.search(make_trainer(), {"learning_rate": hp.Float(1e-4, 1e-2)}, backend, n_trials=1, progress=False)
        assert len(frames["train"]) <= 8
        assert frames["train"][:4] == ["search", "run", "run_loop", "wait"]
