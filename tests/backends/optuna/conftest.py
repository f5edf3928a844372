"""Fixtures for tests with a Trainer; the default backend of a search is Optuna."""

from __future__ import annotations

from tests.helpers.fixtures import _set_seed, make_trainer, run_hpcompat  # noqa: F401
