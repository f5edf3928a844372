"""Garbage collection during a search skips older objects, and the memory of a trial's model is released."""

from __future__ import annotations

import gc

import psutil
import pytest
import torch

import hpcompat as hp
from tests.helpers.trainers import Net, constant_space


@pytest.fixture(autouse=True)
def unfreeze_gc():
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.freeze()  # as in conftest.py


class RecordFreezeCount:
    """A model_init that records how many objects are excluded from garbage collection at each call."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.fails = False

    def __call__(self) -> Net:
        self.counts.append(gc.get_freeze_count())
        if self.fails and len(self.counts) in (2, 3):  # in the trials
            raise ValueError("no model")
        return Net()


class TestFrozenGc:
    @pytest.mark.parametrize("fails", [False, True])
    def test_older_objects_are_frozen_during_the_search(self, make_trainer, run_hpcompat, fails):
        model_init = RecordFreezeCount()
        trainer = make_trainer(model_init)
        model_init.fails = fails
        if fails:
            with pytest.raises(hp.SearchError):
                run_hpcompat(trainer, constant_space(learning_rate=1e-3), n_trials=2)
        else:
            run_hpcompat(trainer, constant_space(learning_rate=1e-3), n_trials=2)

        built, first, second, *_ = model_init.counts
        assert max(built, gc.get_freeze_count()) < 1_000  # Python 3.12 starts with some hundreds
        assert min(first, second) > 10_000

    def test_objects_frozen_by_the_user_stay_frozen(self, make_trainer, run_hpcompat):
        model_init = RecordFreezeCount()
        trainer = make_trainer(model_init)
        gc.freeze()
        before = gc.get_freeze_count()

        run_hpcompat(trainer, constant_space(learning_rate=1e-3), n_trials=1)

        # unreferenced objects are freed, frozen or not
        assert 0.9 * before < model_init.counts[1] <= before
        assert 0.9 * before < gc.get_freeze_count() <= before


class DeepNet(Net):
    """A Net with thirty more layers of two megabytes each."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(768, 768) for _ in range(30)])

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        outcome = super().forward(pixels, labels)
        hidden = torch.ones(1, 768)
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
        return {**outcome, "loss": outcome["loss"] + hidden.mean()}


class TestReleaseMemory:
    def test_memory_of_a_model_is_returned_to_the_system(self, make_trainer, run_hpcompat):
        """Fragmented free memory would not be usable for the next model."""
        resident = []

        def model_init():
            resident.append(psutil.Process().memory_info().rss)
            return DeepNet()

        trainer = make_trainer(model_init)
        size = sum(weight.nbytes for weight in trainer.model.parameters())
        resident.clear()
        run_hpcompat(trainer, {}, n_trials=3)
        assert (
            max(resident[1:]) - resident[0] < size / 2
        )  # a trial needs 4 * size: weights, gradients and the two moments of Adam
