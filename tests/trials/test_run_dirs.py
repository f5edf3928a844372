"""A search removes only run directories that it has created itself, whatever its files contain."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

import hpcompat as hp
from hpcompat.trials.files import Directory
from hpcompat.trials.journal import JOURNAL_FILE
from hpcompat.trials.run_dirs import MARKER, RunDirs
from tests.helpers.processes import KillPoint
from tests.helpers.trainers import create_trainer, list_remaining

LR = hp.SearchSpace({"learning_rate": hp.Float(1e-4, 1e-1, log=True)})
OPTIONS = {"backend": "optuna", "sampler": "random", "seed": 0, "use_trainer": True}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def search(run_hpcompat, out):
    """Search over a Trainer that saves checkpoints, in `out`."""

    def run(**options):
        return run_hpcompat(create_trainer(str(out), save_strategy="epoch"), LR, **{"sampler": "random", **options})

    return run


def create_user_dir(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "thesis.txt").write_text("mine")
    return path


class TestRunDirLog:
    @pytest.mark.parametrize("folder", ["hpcompat-diary", ".hpcompat-" + "0" * 32])
    def test_log_planted_before_a_search_removes_nothing(self, search, out, tmp_path, folder):
        directories = [
            create_user_dir(tmp_path / "data"),
            create_user_dir(tmp_path / "x"),
            create_user_dir(out / "mine"),
        ]
        for name in (str(directories[0]), "../x", ".", "mine", "/"):
            for line in (json.dumps(name), json.dumps([None, name]), json.dumps(["/", name])):
                (out / folder).mkdir(exist_ok=True)
                with (out / folder / "a.jsonl").open("a") as file:
                    file.write(f"{line}\n" * 2)
        search(n_trials=1)
        assert [(directory / "thesis.txt").exists() for directory in directories] == [True] * 3
        assert (out / folder / "a.jsonl").exists()

    def test_log_planted_in_a_killed_search_removes_nothing(self, search_processes, search, out, tmp_path):
        search_processes.run(out, KillPoint("trial_start", 2, 0, signal.SIGKILL), n_trials=3, **OPTIONS)
        directories = [create_user_dir(tmp_path / "data"), create_user_dir(out / "mine")]
        (out / "empty").mkdir()
        (folder,) = out.glob(".hpcompat-*")
        names = [
            [None, "mine"],
            [None, "empty"],
            [None, "../data"],
            ["/", str(directories[0])[1:]],
            [str(tmp_path), "data"],
        ]
        (folder / "a.jsonl").write_text("".join(f"{json.dumps(name)}\n" * 2 for name in names))
        os.mkfifo(folder / "b.jsonl")
        (folder / "c.jsonl").symlink_to("/dev/zero")
        result = search(n_trials=3, resume=True)
        assert list_remaining(str(out)) == sorted(["empty", "mine", result.best.run_id])
        assert [(directory / "thesis.txt").exists() for directory in directories] == [True] * 2


class TestLinks:
    def test_name_through_a_link_raises(self, run_hpcompat, out, tmp_path):
        create_user_dir(tmp_path / "data")
        out.mkdir()
        (out / "link").symlink_to(tmp_path / "data")
        trainer = create_trainer(str(out), save_strategy="epoch")
        with pytest.raises(hp.SearchError, match="is a link or a file"):
            run_hpcompat(trainer, LR, n_trials=2, hp_name=lambda trial: f"link/{trial.number}")
        assert os.listdir(tmp_path / "data") == ["thesis.txt"]

    def test_link_below_output_dir_is_not_followed_on_resume(self, search, out, tmp_path):
        first = search(n_trials=3, keep="all")
        worst = max(first.trials, key=lambda trial: trial.value)
        moved = tmp_path / "moved"
        os.rename(worst.directory, moved)  # with its marker file
        os.symlink(moved, worst.directory)
        result = search(n_trials=3, keep="best", resume=True)
        assert (moved / MARKER).exists()
        assert worst.run_id in os.listdir(out)
        assert result.trials[worst.number].directory is None

    def test_output_dir_that_is_a_link_is_used(self, run_hpcompat, out, tmp_path):
        (tmp_path / "disk").mkdir()
        out.symlink_to(tmp_path / "disk")
        result = run_hpcompat(create_trainer(str(out), save_strategy="epoch"), LR, n_trials=3)
        assert list_remaining(str(out)) == [result.best.run_id]

    @pytest.mark.parametrize("method", ["_is_marked", "_open"])
    def test_link_created_during_removal_is_not_followed(self, tmp_path, monkeypatch, method):
        root, data = tmp_path / "out", create_user_dir(tmp_path / "data")
        root.mkdir()
        runs = RunDirs()
        path = runs.create(str(root), "run-0")
        (data / MARKER).write_text(runs.search_id)
        original = getattr(RunDirs, method)

        def replace_by_link(*args):
            if method == "_is_marked":
                is_marked = original(*args)
            os.rename(path, tmp_path / "aside")
            os.symlink(data, path)
            return original(*args) if method == "_open" else is_marked

        monkeypatch.setattr(RunDirs, method, replace_by_link)
        with pytest.warns(UserWarning, match="could not be removed"):
            runs.remove(path)
        assert (data / "thesis.txt").exists()
        assert (data / MARKER).exists()


class TestResume:
    def test_user_directory_under_the_name_of_a_removed_run_stays(self, search, out):
        first = search(n_trials=3)
        removed = [trial.run_id for trial in first.trials if trial is not first.best]
        create_user_dir(out / removed[0])
        (out / removed[1]).mkdir()
        result = search(n_trials=4, resume=True)
        assert (out / removed[0] / "thesis.txt").exists()
        assert (out / removed[1]).exists()
        assert [trial.directory for trial in result.trials if trial.run_id in removed] == [None, None]

    def test_moved_journal_of_a_killed_search_keeps_its_best_checkpoint(self, search_processes, search, out, tmp_path):
        outcome = search_processes.run(out, KillPoint("trial_start", 3, 0, signal.SIGKILL), n_trials=4, **OPTIONS)
        best = min(outcome.callback_trials, key=lambda trial: trial["values"])
        os.rename(out / JOURNAL_FILE, tmp_path / JOURNAL_FILE)
        search(n_trials=1)
        assert os.path.isdir(best["checkpoint"])
        os.remove(out / JOURNAL_FILE)
        os.rename(tmp_path / JOURNAL_FILE, out / JOURNAL_FILE)
        assert search(n_trials=2, resume=True).best.checkpoint == best["checkpoint"]

    def test_keep_defaults_to_that_of_the_first_search(self, search, out):
        search(n_trials=2, keep="all")
        result = search(n_trials=3, resume=True)
        assert list_remaining(str(out)) == ["run-0", "run-1", "run-2"]
        result = search(n_trials=3, resume=True, keep="best")
        assert list_remaining(str(out)) == [result.best.run_id]
        result = search(n_trials=4, resume=True)
        assert list_remaining(str(out)) == [result.best.run_id]

    def test_marker_of_another_search_stays(self, search, out):
        first = search(n_trials=2, keep="all")
        worst = max(first.trials, key=lambda trial: trial.value)
        Path(worst.directory, MARKER).write_text("f" * 32)
        search(n_trials=2, keep="best", resume=True)
        assert os.path.isdir(worst.checkpoint)

    def test_copied_output_dir_is_not_touched(self, search, out, tmp_path):
        first = search(n_trials=2, keep="all")
        shutil.copytree(out, tmp_path / "copy")
        search(n_trials=2, keep="none", resume=True)
        assert sorted(os.listdir(tmp_path / "copy")) == sorted([JOURNAL_FILE, "run-0", "run-1"])
        assert all(not os.path.exists(trial.directory) for trial in first.trials)


class TestRunDirs:
    def test_directory_without_marker_stays_with_a_warning(self, tmp_path):
        runs = RunDirs()
        path = runs.create(str(tmp_path), "run-0")
        os.remove(os.path.join(path, MARKER))
        with pytest.warns(UserWarning, match="does not say that this search made it"):
            runs.remove(path)
        assert os.path.isdir(path)

    def test_name_taken_meanwhile_leads_to_another(self, tmp_path, monkeypatch):
        move = Directory.move

        def move_after_another_process(self, name, parent, new_name):
            if new_name == "run-0":
                create_user_dir(tmp_path / "run-0")
            move(self, name, parent, new_name)

        monkeypatch.setattr(Directory, "move", move_after_another_process)
        runs = RunDirs()
        path = runs.create(str(tmp_path), "run-0")
        assert path == str(tmp_path / f"run-0-{runs.token}")
        assert list(runs.created) == [path]
        assert os.listdir(tmp_path / "run-0") == ["thesis.txt"]

    def test_adopt_takes_only_directories_of_the_search(self, tmp_path):
        one, other = RunDirs(), RunDirs()
        path = one.create(str(tmp_path), "a/run-0")
        assert not other.adopt(path, str(tmp_path))
        assert RunDirs(one.search_id).adopt(path, str(tmp_path))
        assert (list(one.created), other.created) == ([path], {})
        assert one.close(path) is None
        assert os.listdir(tmp_path) == ["a"]
        assert os.listdir(tmp_path / "a") == []
