"""Fixtures for tests with a Trainer."""

from __future__ import annotations

from tests.helpers.fixtures import make_trainer  # noqa: F401
