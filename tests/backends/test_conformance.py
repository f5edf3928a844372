"""The conformance tests for the four built-in backends and for a backend of another package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hpcompat as hp
from hpcompat.backends import BACKENDS
from hpcompat.testing.backend import BackendConformance


class TestOptuna(BackendConformance):
    backend = "optuna"


class TestRay(BackendConformance):
    backend = "ray"
    options = {"max_concurrent_trials": 1}  # noqa: RUF012


class TestSigOpt(BackendConformance):
    backend = "sigopt"


class TestWandb(BackendConformance):
    backend = "wandb"


class TestBackendOfAnotherPackage(BackendConformance):
    backend = "toy"

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def install_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Install the package, whose entry point registers the backend."""
        site: Path = tmp_path_factory.mktemp("site")
        (site / "hpcompat_toy.py").write_text(Path(__file__).with_name("random_backend.py").read_text())
        info = site / "hpcompat_toy-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hpcompat-toy\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[hpcompat.backends]\ntoy = hpcompat_toy:SPEC\n")
        sys.path.insert(0, str(site))
        importlib.invalidate_caches()
        yield
        sys.path.remove(str(site))
        sys.modules.pop("hpcompat_toy", None)

    def test_backend_is_listed_after_the_built_in_ones(self) -> None:
        assert list(BACKENDS) == ["optuna", "ray", "sigopt", "wandb", "toy"]

    def test_unsupported_sampler_raises_with_backends_that_support_it(self) -> None:
        with pytest.raises(hp.BackendError, match=r"sampler: 'bayes' is not supported by toy \(supported by optuna, "):
            self.search(lambda trial: 0.0, sampler="bayes")

    def test_search_is_resumed_on_another_backend(self, tmp_path: Path) -> None:
        self.search(lambda trial: trial["x"], n_trials=2, output_dir=tmp_path)
        result = hp.search(
            lambda trial: trial["x"],
            {"x": hp.Float(0.0, 4.0), "kind": hp.Categorical(["a", "b"]), "y": hp.Float(0.0, 1.0, when={"kind": "b"})},
            "optuna",
            n_trials=3,
            seed=0,
            output_dir=tmp_path,
            resume=True,
            progress=False,
        )
        assert len(result.trials) == 3
