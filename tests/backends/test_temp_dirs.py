"""The temporary directory of a search; files that other users place beside it are not opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hpcompat.backends.isolation import OWNER, PREFIX, private_directory
from hpcompat.trials.process import identify_process


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Use a temporary directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield Path(short)


def exited_owner() -> str:
    return json.dumps({**identify_process(), "started": "before the pid was given to another"})


class TestStaleDirs:
    def test_directory_of_an_exited_process_is_removed(self, root):
        orphan = root / f"{PREFIX}orphan"
        (orphan / "below").mkdir(parents=True)
        (orphan / OWNER).write_text(exited_owner())
        with private_directory() as path:
            assert os.listdir(root) == [os.path.basename(path)]
        assert os.listdir(root) == []

    @pytest.mark.parametrize("file_type", ["fifo", "link", "large", "deep", "directory", "other's"])
    def test_owner_file_of_another_user_is_ignored(self, root, tmp_path, file_type):
        """Runs in a child process, as opening the file might block."""
        (root / f"{PREFIX}evil").mkdir()
        owner_file = root / f"{PREFIX}evil" / OWNER
        (tmp_path / "owner").write_text(exited_owner())
        if file_type == "fifo":
            os.mkfifo(owner_file)
        elif file_type == "link":
            owner_file.symlink_to(tmp_path / "owner")
        elif file_type == "large":
            owner_file.write_text(exited_owner() + " " * 5000)
        elif file_type == "deep":
            owner_file.write_text("[" * 4000)
        elif file_type == "directory":
            owner_file.mkdir()
        else:
            if os.geteuid() != 0:
                pytest.skip("only root can give a directory away")
            owner_file.write_text(exited_owner())
            os.chown(owner_file.parent, 12345, -1)
        code = (
            "import tempfile, sys\n"
            "tempfile.tempdir = sys.argv[1]\n"
            "from hpcompat.backends.isolation import private_directory\n"
            "with private_directory(): pass"
        )
        subprocess.run([sys.executable, "-c", code, str(root)], check=True, timeout=300)
        assert owner_file.parent.exists()

    def test_link_to_a_directory_is_not_followed(self, root, tmp_path):
        target = tmp_path / "target"
        target.mkdir()
        (target / OWNER).write_text(exited_owner())
        (root / f"{PREFIX}link").symlink_to(target)
        with private_directory():
            pass
        assert (target / OWNER).exists()
