"""What a trial leaves: collections go through what the trials have made and no more, and memory goes back."""

from __future__ import annotations

import gc

import psutil
import pytest
import torch

import hpcompat as hp
from tests.helpers.trainers import Net, constant_space


@pytest.fixture(autouse=True)
def nothing_is_frozen():
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.freeze()  # as conftest.py has it


class Counting:
    """A model_init that notes how many objects are left out of garbage collections when it is called."""

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
    def test_objects_of_before_the_search_are_frozen_while_it_runs(self, make_trainer, run_hpcompat, fails):
        model_init = Counting()
        trainer = make_trainer(model_init)
        model_init.fails = fails
        if fails:
            with pytest.raises(hp.SearchError):
                run_hpcompat(trainer, constant_space(learning_rate=1e-3), n_trials=2)
        else:
            run_hpcompat(trainer, constant_space(learning_rate=1e-3), n_trials=2)

        built, first, second, *_ = model_init.counts
        assert built == gc.get_freeze_count() == 0
        assert min(first, second) > 10_000

    def test_objects_that_the_user_has_frozen_stay_frozen(self, make_trainer, run_hpcompat):
        model_init = Counting()
        trainer = make_trainer(model_init)
        gc.freeze()
        before = gc.get_freeze_count()

        run_hpcompat(trainer, constant_space(learning_rate=1e-3), n_trials=1)

        # those that have no use any more go, frozen or not
        assert 0.9 * before < model_init.counts[1] <= before
        assert 0.9 * before < gc.get_freeze_count() <= before


class Deep(Net):
    """A Net with thirty layers of two megabytes, which its loss goes through as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(768, 768) for _ in range(30)])

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        outcome = super().forward(pixels, labels)
        through = torch.ones(1, 768)
        for layer in self.layers:
            through = torch.tanh(layer(through))
        return {**outcome, "loss": outcome["loss"] + through.mean()}


class TestReleaseMemory:
    def test_memory_of_a_model_goes_back_to_the_system(self, make_trainer, run_hpcompat):
        """For what lies free but in pieces is of no use to the next model."""
        resident = []

        def model_init():
            resident.append(psutil.Process().memory_info().rss)
            return Deep()

        trainer = make_trainer(model_init)
        size = sum(weight.nbytes for weight in trainer.model.parameters())
        resident.clear()
        run_hpcompat(trainer, {}, n_trials=3)
        assert max(resident[1:]) - resident[0] < size / 2  # of four, with gradients and Adam's moments
