"""An output_dir is locked for one search at a time, and a moved journal or directory ends the search."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

import hpcompat as hp
from hpcompat.trials.journal import JOURNAL_FILE, open_journal

SPACE = hp.SearchSpace({"x": hp.Float(0, 4)})
IN_USE = "another search is writing the journal"
OTHER_PROCESS = (
    "import sys, hpcompat as hp\n"
    "options = {'output_dir': sys.argv[1], 'resume': True, 'progress': False}\n"
    "hp.search(lambda trial: 1.0, {'x': hp.Float(0, 4)}, n_trials=1, **options)"
)


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


@pytest.fixture
def search(run_hpcompat, out):
    return lambda function, **options: run_hpcompat(function, SPACE, **{"output_dir": out, **options})


def search_in_other_process(out: str) -> str:
    """Search in another process; returns its standard error."""
    command = [sys.executable, "-c", OTHER_PROCESS, out]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=600).stderr


def read_records(out: str) -> list[dict]:
    with open(os.path.join(out, JOURNAL_FILE)) as file:
        return [json.loads(line) for line in file]


class TestLock:
    def test_second_thread_raises(self, run_hpcompat, out):
        barrier, results = threading.Barrier(2), []

        def run() -> None:
            barrier.wait()
            try:
                results.append(run_hpcompat(lambda trial: trial["x"], SPACE, output_dir=out, n_trials=30, seed=None))
            except hp.SearchError as error:
                results.append(error)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (error,) = [result for result in results if isinstance(result, hp.SearchError)]
        assert IN_USE in str(error) or "journal of an earlier search" in str(error)
        assert sorted(line["number"] for line in read_records(out) if "number" in line) == list(range(30))

    @pytest.mark.parametrize("resume", [False, True])
    def test_search_inside_a_trial_raises(self, search, run_hpcompat, out, resume):
        def nested(trial):
            return run_hpcompat(lambda trial: 1.0, SPACE, output_dir=out, n_trials=1, resume=resume).best.value

        with pytest.raises(hp.SearchError, match=f"all 2 trials failed\n.*{IN_USE}"):
            search(nested, n_trials=2)
        assert len(search(lambda trial: 1.0, n_trials=3, resume=True).trials) == 3

    def test_search_inside_a_trial_with_its_own_output_dir_runs(self, search, run_hpcompat, tmp_path):
        def nested(trial):
            options = {"output_dir": str(tmp_path / f"inner-{trial.number}"), "n_trials": 2}
            return run_hpcompat(lambda trial: trial["x"], SPACE, **options).best.value

        assert [trial.state for trial in search(nested, n_trials=2).trials] == ["COMPLETE"] * 2

    def test_journal_closed_by_other_code_stays_locked(self, search, out):
        errors = []

        def read_and_copy_journal(trial):
            open(os.path.join(out, JOURNAL_FILE)).close()
            shutil.copy(os.path.join(out, JOURNAL_FILE), os.path.join(out, "copy"))
            errors.append(search_in_other_process(out))
            return 1.0

        search(read_and_copy_journal, n_trials=1)
        assert IN_USE in errors[0]

    def test_linked_path_to_the_same_directory_raises(self, search, run_hpcompat, out, tmp_path):
        (tmp_path / "link").symlink_to(out)

        def nested(trial):
            return run_hpcompat(lambda trial: 1.0, SPACE, output_dir=str(tmp_path / "link"), n_trials=1).best.value

        with pytest.raises(hp.SearchError, match=IN_USE):
            search(nested, n_trials=1)

    @pytest.mark.parametrize("flocks", [False, True])
    def test_without_file_locks_second_thread_raises(self, out, monkeypatch, flocks):
        if not flocks:
            monkeypatch.setattr("hpcompat.trials.files.fcntl", None)  # as on Windows
        first, second = (open_journal(out, SPACE, ["minimize"], resume=resume) for resume in (False, True))
        with first, pytest.raises(hp.SearchError, match=IN_USE), second:
            pass
        with open_journal(out, SPACE, ["minimize"], resume=True):
            pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
class TestFork:
    def test_child_that_outlives_the_search_holds_no_lock(self, search, out):
        to_child, from_parent = os.pipe()
        pids = []

        def fork(trial):
            pids.append(os.fork())
            if pids[-1] == 0:
                os.close(from_parent)
                os.read(to_child, 1)
                os._exit(0)
            return 1.0

        search(fork, n_trials=1)
        try:
            assert IN_USE not in search_in_other_process(out)
            assert len(search(lambda trial: 1.0, n_trials=2, resume=True).trials) == 2
        finally:
            os.write(from_parent, b"x")
            os.waitpid(pids[0], 0)

    @pytest.mark.parametrize("ends", ["sys.exit", "raises", "returns"])
    def test_child_that_leaves_the_trial_writes_nothing(self, out, ends):
        code = (
            "import os, sys, hpcompat as hp\n"
            "parent, ends, out = os.getpid(), *sys.argv[1:]\n"
            "def function(trial):\n"
            "    pid = os.fork()\n"
            "    if pid:\n"
            "        os.waitpid(pid, 0)\n"
            "    elif ends == 'sys.exit':\n"
            "        sys.exit(0)\n"
            "    elif ends == 'raises':\n"
            "        raise ValueError\n"
            "    return 1.0\n"
            "result = hp.search(function, {'x': hp.Float(0, 4)}, n_trials=3, output_dir=out, progress=False)\n"
            "assert os.getpid() == parent\n"
            "print([trial.number for trial in result.trials])\n"
        )
        process = subprocess.run([sys.executable, "-c", code, ends, out], capture_output=True, text=True, timeout=600)
        assert process.returncode == 0, process.stderr
        assert process.stdout == "[0, 1, 2]\n"
        records = read_records(out)
        assert [record["number"] for record in records if "number" in record] == [0, 1, 2]
        assert not any("interrupted" in record for record in records)
        assert os.listdir(out) == [JOURNAL_FILE]


class TestMovedFiles:
    def objective_with(self, action):
        """Return an objective that runs the action in its second trial."""

        def function(trial):
            if trial.number == 1:
                action()
            return trial["x"]

        return function

    @pytest.mark.parametrize("replaced", [False, True])
    def test_renamed_journal_ends_the_search(self, search, out, tmp_path, replaced):
        def rename() -> None:
            os.rename(os.path.join(out, JOURNAL_FILE), tmp_path / "away")
            if replaced:
                shutil.copy(tmp_path / "away", os.path.join(out, JOURNAL_FILE))

        with pytest.raises(hp.SearchError, match="was moved, replaced or removed while the search ran") as error:
            search(self.objective_with(rename), n_trials=4)
        assert [trial.number for trial in error.value.trials] == [0]
        os.rename(tmp_path / "away", os.path.join(out, JOURNAL_FILE))
        assert len(search(lambda trial: trial["x"], n_trials=4, resume=True).trials) == 4

    def test_removed_journal_ends_the_search(self, search, out):
        with pytest.raises(hp.SearchError, match="was moved, replaced or removed"):
            search(self.objective_with(lambda: os.remove(os.path.join(out, JOURNAL_FILE))), n_trials=4)

    def test_renamed_directory_ends_the_search(self, search, out, tmp_path):
        with pytest.raises(hp.SearchError, match="was moved, replaced or removed"):
            search(self.objective_with(lambda: os.rename(out, tmp_path / "away")), n_trials=4)
        os.rename(tmp_path / "away", out)
        assert len(search(lambda trial: trial["x"], n_trials=4, resume=True).trials) == 4

    def test_removed_directory_ends_the_search(self, search, out):
        with pytest.raises(hp.SearchError, match="was moved, replaced or removed"):
            search(self.objective_with(lambda: shutil.rmtree(out)), n_trials=4)
