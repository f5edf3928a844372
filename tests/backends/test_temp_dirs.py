"""The directory for what a search writes and nothing keeps: what others put beside it is not opened."""

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
    """A temporary directory of our own, whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield Path(short)


def gone() -> str:
    return json.dumps({**identify_process(), "started": "before the pid was given to another"})


class TestStaleDirs:
    def test_directory_of_an_exited_process_is_removed(self, root):
        orphan = root / f"{PREFIX}orphan"
        (orphan / "below").mkdir(parents=True)
        (orphan / OWNER).write_text(gone())
        with private_directory() as path:
            assert os.listdir(root) == [os.path.basename(path)]
        assert os.listdir(root) == []

    @pytest.mark.parametrize("kind", ["fifo", "link", "large", "deep", "directory", "other's"])
    def test_foreign_owner_file_is_left_alone(self, root, tmp_path, kind):
        """In a process of its own, for it may hang."""
        (root / f"{PREFIX}evil").mkdir()
        planted = root / f"{PREFIX}evil" / OWNER
        (tmp_path / "owner").write_text(gone())
        if kind == "fifo":
            os.mkfifo(planted)
        elif kind == "link":
            planted.symlink_to(tmp_path / "owner")
        elif kind == "large":
            planted.write_text(gone() + " " * 5000)
        elif kind == "deep":
            planted.write_text("[" * 4000)
        elif kind == "directory":
            planted.mkdir()
        else:
            if os.geteuid() != 0:
                pytest.skip("only root can give a directory away")
            planted.write_text(gone())
            os.chown(planted.parent, 12345, -1)
        code = (
            "import tempfile, sys\n"
            "tempfile.tempdir = sys.argv[1]\n"
            "from hpcompat.backends.isolation import private_directory\n"
            "with private_directory(): pass"
        )
        subprocess.run([sys.executable, "-c", code, str(root)], check=True, timeout=300)
        assert planted.parent.exists()

    def test_link_to_a_directory_is_not_followed(self, root, tmp_path):
        place = tmp_path / "place"
        place.mkdir()
        (place / OWNER).write_text(gone())
        (root / f"{PREFIX}link").symlink_to(place)
        with private_directory():
            pass
        assert (place / OWNER).exists()
