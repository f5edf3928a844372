"""The fixtures of the tests over Trainers."""

from __future__ import annotations

import gc

from tests.helpers.fixtures import _seeded, make_trainer, run_hpcompat, run_transformers  # noqa: F401

# what is imported stays: transformers collects garbage three times a trial, and need not look at it
gc.freeze()
