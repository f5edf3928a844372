"""Files at the path of the journal: only a regular file is opened, and opening never blocks."""

from __future__ import annotations

import os
import threading

import pytest

import hpcompat as hp
from hpcompat.trials.files import Directory
from hpcompat.trials.journal import JOURNAL_FILE


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


class TestDirectory:
    def test_directory_replaced_by_link_meanwhile_is_not_entered(self, tmp_path, monkeypatch):
        (tmp_path / "data").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "data")
        monkeypatch.setattr(Directory, "is_directory", lambda self, name: True)  # it was one when it was checked
        with Directory(str(tmp_path)) as top, pytest.raises(OSError), top.subdirectory("link"):
            pass


class TestJournalFile:
    @pytest.fixture
    def search_error(self, run_hpcompat, out):
        """Search and return the message of its SearchError; in a thread with a timeout, as opening might block."""
        out.mkdir()

        def run(**options):
            errors: list[BaseException] = []

            def search() -> None:
                try:
                    run_hpcompat(lambda trial: 1.0, {"x": hp.Float(0, 1)}, n_trials=1, output_dir=str(out), **options)
                except hp.SearchError as error:
                    errors.append(error)

            thread = threading.Thread(target=search, daemon=True)
            thread.start()
            thread.join(300)
            assert errors, "the search raised no SearchError"
            return str(errors[0])

        return run

    @pytest.mark.parametrize("resume", [False, True])
    def test_link_raises_and_leaves_its_target(self, search_error, out, tmp_path, resume):
        target = tmp_path / "thesis"
        target.write_text("mine, and no line end")
        (out / JOURNAL_FILE).symlink_to(target)
        assert "cannot be opened: expected a regular file, got a symbolic link" in search_error(resume=resume)
        assert target.read_text() == "mine, and no line end"

    def test_broken_link_creates_nothing(self, search_error, out, tmp_path):
        (out / JOURNAL_FILE).symlink_to(tmp_path / "nowhere")
        assert "cannot be opened" in search_error()
        assert not (tmp_path / "nowhere").exists()

    def test_hard_link_to_another_file_leaves_it(self, search_error, out, tmp_path):
        target = tmp_path / "thesis"
        target.write_text("mine, and no line end")
        (out / JOURNAL_FILE).hardlink_to(target)
        assert "is damaged" in search_error()
        assert target.read_text() == "mine, and no line end"

    @pytest.mark.parametrize("resume", [False, True])
    def test_fifo_raises(self, search_error, out, resume):
        os.mkfifo(out / JOURNAL_FILE)
        assert "cannot be opened: expected a regular file" in search_error(resume=resume)

    def test_directory_raises(self, search_error, out):
        (out / JOURNAL_FILE).mkdir()
        assert "cannot be opened" in search_error()

    def test_file_of_a_terabyte_raises(self, search_error, out):
        (out / JOURNAL_FILE).touch()
        os.truncate(out / JOURNAL_FILE, 1 << 40)
        assert "expected at most 1024 MiB" in search_error(resume=True)

    def test_huge_trial_number_is_read(self, run_hpcompat, out):
        options = {"n_trials": 3, "output_dir": str(out)}
        run_hpcompat(lambda trial: 1.0, {"x": hp.Float(0, 1)}, **{**options, "n_trials": 1})
        text = (out / JOURNAL_FILE).read_text().replace('{"number": 0', '{"number": 1000000000')
        (out / JOURNAL_FILE).write_text(text)
        result = run_hpcompat(lambda trial: 1.0, {"x": hp.Float(0, 1)}, **options, resume=True)
        assert [trial.number for trial in result.trials] == [0, 1, 10**9]

    @pytest.mark.parametrize(
        "change",
        [
            ('"number": 1', '"number": 0'),
            ('"number": 1', '"number": -1'),
            ('"number": 1', '"number": 1.5'),
            ('"number": 1', '"number": true'),
            ('"COMPLETE"', '"DONE"'),
            ('"values": [1.0]', '"values": ["a"]'),
        ],
    )
    def test_invalid_trial_raises(self, run_hpcompat, out, change):
        options = {"output_dir": str(out)}
        run_hpcompat(lambda trial: 1.0, {"x": hp.Float(0, 1)}, **options, n_trials=2)
        *before, last = (out / JOURNAL_FILE).read_text().splitlines()
        (out / JOURNAL_FILE).write_text("\n".join([*before, last.replace(*change)]) + "\n")
        with pytest.raises(hp.SearchError, match=f"is damaged\n  line {len(before) + 1}: "):
            run_hpcompat(lambda trial: 1.0, {"x": hp.Float(0, 1)}, **options, n_trials=3, resume=True)
