"""The garbage collections that a Trainer asks for go through what its own trials have made, and no more."""

from __future__ import annotations

import gc

import pytest
from tiny import Net, only

import hpcompat as hp


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


@pytest.mark.parametrize("fails", [False, True])
def test_what_was_there_before_the_search_is_left_out_while_it_runs(make_trainer, ours, fails):
    model_init = Counting()
    trainer = make_trainer(model_init)
    model_init.fails = fails
    if fails:
        with pytest.raises(hp.SearchError):
            ours(trainer, only(learning_rate=1e-3), n_trials=2)
    else:
        ours(trainer, only(learning_rate=1e-3), n_trials=2)

    built, first, second, *_ = model_init.counts
    assert built == gc.get_freeze_count() == 0
    assert min(first, second) > 10_000


def test_who_has_frozen_objects_keeps_them_frozen(make_trainer, ours):
    model_init = Counting()
    trainer = make_trainer(model_init)
    gc.freeze()
    before = gc.get_freeze_count()

    ours(trainer, only(learning_rate=1e-3), n_trials=1)

    # those that have no use any more go, frozen or not
    assert 0.9 * before < model_init.counts[1] <= before
    assert 0.9 * before < gc.get_freeze_count() <= before
