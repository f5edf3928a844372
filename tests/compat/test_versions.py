"""Versions of other packages: which are refused, which are warned of, and that all files name the same ones."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

import hpcompat as hp
from hpcompat import compat
from hpcompat.compat import SUPPORTED
from tests.helpers.spaces import X_SPACE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def install(monkeypatch):
    """Let a package have another version."""
    installed_version = metadata.version

    def install(package, version):
        monkeypatch.setattr(metadata, "version", lambda name: version if name == package else installed_version(name))
        compat._warn_once.cache_clear()

    yield install
    compat._warn_once.cache_clear()


def fail(trial):
    pytest.fail("a trial was started")


class TestSearch:
    @pytest.mark.parametrize(
        ("backend", "package", "version", "extra"),
        [
            ("optuna", "optuna", "2.10.1", "optuna"),
            ("ray", "ray", "2.9.3", "ray"),
            ("ray", "optuna", "2.10.1", "ray"),
            ("sigopt", "sigopt", "8.0.1", "sigopt"),
            ("wandb", "wandb", "0.16.6", "wandb"),
        ],
    )
    def test_version_that_is_too_old_raises(self, install, tmp_path, backend, package, version, extra):
        install(package, version)
        out = tmp_path / "out"
        with pytest.raises(hp.MissingBackendError) as refusal:
            hp.search(fail, X_SPACE, backend, output_dir=str(out))
        command = f"pip install --upgrade 'hpcompat[{extra}]'"
        expected = f"expected {package} {SUPPORTED[package].oldest} or newer, and {version} is installed: {command}"
        assert str(refusal.value) == expected
        assert not out.exists()

    @pytest.mark.parametrize(("package", "version"), [("transformers", "4.36.2"), ("torch", "1.13.1+cpu")])
    def test_trainer_with_version_that_is_too_old_raises(self, install, make_trainer, package, version):
        install(package, version)
        with pytest.raises(hp.MissingBackendError, match=re.escape(f"and {version} is installed")):
            hp.search(make_trainer(), {"learning_rate": hp.Float(0.1, 0.2)})

    def test_version_newer_than_tested_is_warned_of_once(self, install):
        install("optuna", "99.1")
        options = {"n_trials": 1, "progress": False}
        with pytest.warns(UserWarning, match=r"is tested with optuna to [\d.]+, and 99\.1 is installed"):
            hp.search(lambda trial: trial["x"], X_SPACE, **options)
        hp.search(lambda trial: trial["x"], X_SPACE, **options)  # where a warning would be an error


class TestSupported:
    def test_installed_versions_are_supported(self):
        for package, supported in SUPPORTED.items():
            assert supported.contains(metadata.version(package)), package

    @pytest.mark.parametrize("package", SUPPORTED)
    def test_requirements_and_constraints_name_the_same_versions(self, package):
        supported = SUPPORTED[package]
        pattern = rf'"{package}(?:\[\w+\])?>=([\d.]+)'
        assert set(re.findall(pattern, (ROOT / "pyproject.toml").read_text())) == {supported.oldest}
        pinned = {name: _pinned_version(name, package) for name in ("oldest", "newest")}
        assert f"{pinned['oldest']}.".startswith(f"{supported.oldest}.")
        assert pinned["newest"] == supported.newest


def _pinned_version(name: str, package: str) -> str:
    return re.search(rf"^{package}==(\S+)", (ROOT / f"constraints/{name}.txt").read_text(), re.MULTILINE)[1]


class TestCommand:
    def test_versions_are_listed_with_notes(self, install, capsys):
        from hpcompat.cli import main

        install("ray", "2.9.3")
        assert main(["versions"]) == 0
        out, err = capsys.readouterr()
        assert [line.split() for line in out.splitlines()][:3] == [
            ["package", "installed", "tested"],
            ["optuna", metadata.version("optuna"), "3.0", "to", SUPPORTED["optuna"].newest],
            ["ray", "2.9.3", "2.20", "to", SUPPORTED["ray"].newest],
        ]
        assert err == "hpcompat: ray 2.9.3 is too old\n"
