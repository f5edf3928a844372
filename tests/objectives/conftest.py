"""Fixtures for tests with a Trainer."""

from __future__ import annotations

import gc

from tests.helpers.fixtures import _set_seed, make_trainer, run_hpcompat, run_transformers  # noqa: F401

# transformers collects garbage three times per trial: exclude the imported modules
gc.freeze()
