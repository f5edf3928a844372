"""Ctrl-C on a rank, also shortly after another rank has received it."""

from __future__ import annotations

import signal

import pytest

from hpcompat.distributed import interrupts as module
from hpcompat.distributed.interrupts import Interrupts


@pytest.fixture
def interrupts():
    """Return the interrupts of a training rank, with their handler installed."""
    interrupts = Interrupts(lambda: True)
    interrupts.install()
    yield interrupts
    interrupts.restore()


class TestInterrupts:
    def test_sigint_in_training_is_pending(self, interrupts):
        signal.raise_signal(signal.SIGINT)
        assert interrupts.is_pending and not interrupts.is_raised

    def test_sigint_shortly_after_that_of_other_rank_is_not_a_repeat(self, interrupts):
        interrupts.mark_pending()
        signal.raise_signal(signal.SIGINT)
        assert not interrupts.is_raised

    def test_repeated_sigint_raises_keyboard_interrupt(self, interrupts, monkeypatch):
        monkeypatch.setattr(module, "REPEAT_S", 0.0)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    def test_agreed_step_raises_keyboard_interrupt(self, interrupts):
        interrupts.stop_at = (1, 3)
        interrupts.check((1, 2))
        with pytest.raises(KeyboardInterrupt):
            interrupts.check((1, 3))
