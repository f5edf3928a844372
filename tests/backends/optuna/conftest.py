"""The fixtures of the tests over Trainers, which call Optuna by default."""

from __future__ import annotations

from tests.helpers.fixtures import _seeded, make_trainer, run_hpcompat  # noqa: F401
