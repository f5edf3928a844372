"""SigOpt Lite gets patched dependencies and its own random generator, without changes to other modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

from hpcompat.backends.sigopt.client import lite_connection

LR = {"name": "lr", "type": "double", "bounds": {"min": 1e-6, "max": 1e-4}, "transformation": "log"}
ONE = [{"name": "loss", "objective": "minimize"}]
TWO = [*ONE, {"name": "size", "objective": "minimize"}]


def suggest(n: int, metrics: list[dict[str, str]] = ONE, **connection: Any) -> list[float]:
    """Return suggestions, with the global generator reseeded after each one, as training code might do."""
    client = lite_connection(**connection)
    created = client.experiments().create(name="lite", parameters=[LR], metrics=metrics, observation_budget=20)
    experiment, learning_rates = client.experiments(created.id), []
    for _ in range(n):
        suggestion = experiment.suggestions().create()
        numpy.random.seed(1)
        learning_rates.append(suggestion.assignments["lr"])
        losses = [learning_rates[-1] * 1e5, 1.0 - learning_rates[-1] * 1e4]
        values = [{"name": metric["name"], "value": loss} for metric, loss in zip(metrics, losses, strict=False)]
        experiment.observations().create(suggestion=suggestion.id, values=values)
    return learning_rates


class TestLiteConnection:
    def test_numpy_and_other_modules_are_unchanged(self) -> None:
        before, state = set(vars(numpy)), numpy.random.get_state()[1].tolist()  # type: ignore[index]
        client = lite_connection(seed=0)
        client.experiments().create(name="lite", parameters=[LR], metrics=ONE, observation_budget=20)
        assert set(vars(numpy)) == before
        assert numpy.random.get_state()[1].tolist() == state  # type: ignore[index]
        assert "qmcpy" not in sys.modules

    @pytest.mark.parametrize("metrics", [ONE, TWO], ids=["one metric", "two metrics"])
    def test_seed_gives_same_suggestions(self, metrics: list[dict[str, str]]) -> None:
        first = suggest(7, metrics, seed=3)
        assert first == suggest(7, metrics, seed=3)
        assert first != suggest(7, metrics, seed=4)
        assert len(set(first)) == 7

    def test_connections_without_seed_differ(self) -> None:
        numpy.random.seed(0)
        first = suggest(3)
        numpy.random.seed(0)
        assert first != suggest(3)

    @pytest.mark.parametrize("sequence", ["halton", "sobol"])
    def test_quasi_random_sequence_fills_range(self, sequence: str) -> None:
        lite_connection()
        from libsigopt.aux import samplers

        generate = getattr(samplers, f"generate_{sequence}_points")
        points = generate(64, numpy.array([[0.0, 1.0], [-2.0, 2.0]]), skip=64, seed=5)
        assert points.shape == (64, 2)
        assert sorted((points[:, 0] * 16).astype(int)) == sorted(list(range(16)) * 4)
        assert numpy.array_equal(points, generate(64, numpy.array([[0.0, 1.0], [-2.0, 2.0]]), skip=64, seed=5))

    def test_lite_starts_without_importable_sigopt(self, tmp_path: Path) -> None:
        """`import sigopt` derives a project id from the name of the working directory, and fails for some names."""
        directory = tmp_path / "日本"
        directory.mkdir()
        code = "import os, hpcompat.backends.sigopt.client as lite; lite.lite_connection(); print(dict(os.environ))"
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, check=True
        )
        assert "SIGOPT_PROJECT" not in process.stdout
        failed = subprocess.run([sys.executable, "-c", "import sigopt"], cwd=directory, capture_output=True, text=True)
        assert "valid project id" in failed.stderr
