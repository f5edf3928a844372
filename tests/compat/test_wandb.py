"""Settings and runs of wandb in each of its versions."""

from __future__ import annotations

import re

import pytest
import wandb

import hpcompat as hp
from hpcompat.compat.wandb import allow_finish, keep_open, known_settings, without_new_config_dir
from tests.helpers.spaces import X_SPACE


class TestKnownSettings:
    def test_unknown_settings_are_left_out(self):
        assert known_settings({"project": "digits", "of_a_newer_version": 1}) == {"project": "digits"}


class TestConfigDir:
    @pytest.mark.parametrize(
        ("made_before", "file", "remains"), [(False, False, False), (True, False, True), (False, True, True)]
    )
    def test_only_a_new_and_empty_directory_is_removed(self, tmp_path, monkeypatch, made_before, file, remains):
        monkeypatch.setenv("HOME", str(tmp_path))
        path = tmp_path / ".config" / "wandb"
        if made_before:
            path.mkdir(parents=True)
        with without_new_config_dir():
            path.mkdir(parents=True, exist_ok=True)
            if file:
                (path / "settings").touch()
        assert path.exists() == remains
        assert list(tmp_path.iterdir()) == ([tmp_path / ".config"] if remains else [])


class TestServerSweeps:
    @pytest.mark.parametrize(
        ("options", "key"),
        [({"driver": "server"}, ""), ({"sweep_id": "a/b/c", "direction": "minimize"}, ""), ({}, "k" * 40)],
    )
    def test_version_before_0_30_is_refused_before_anything_starts(self, monkeypatch, options, key):
        monkeypatch.setattr("hpcompat.compat.wandb.HAS_SERVER_SWEEPS", False)
        monkeypatch.delenv("WANDB_MODE")
        monkeypatch.setattr("hpcompat.backends.wandb.is_logged_in", lambda: bool(key))
        message = f"driver: a sweep on W&B's server needs wandb 0.30 or newer, and {wandb.__version__} is installed"
        with pytest.raises(hp.HpcompatError, match=re.escape(message)):
            hp.search(lambda trial: pytest.fail("a trial was started"), X_SPACE, "wandb", sampler="random", **options)


class TestKeepOpen:
    @pytest.mark.parametrize("mode", ["disabled", "offline"])
    def test_run_finishes_only_after_allow_finish(self, tmp_path, monkeypatch, mode):
        monkeypatch.setenv("WANDB_SILENT", "true")
        run = wandb.init(mode=mode, dir=tmp_path)
        keep_open(run)
        run.finish(exit_code=1)
        wandb.finish()
        assert wandb.run is run
        allow_finish(run)
        run.finish()
        assert wandb.run is None
        wandb.teardown()
