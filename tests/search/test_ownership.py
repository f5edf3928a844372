"""What a search removes: run directories that it made itself, and nothing else, whatever files say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
from legs import Moment
from tiny import a_trainer, left

import hpcompat as hp
from hpcompat.trials.journal import FILE
from hpcompat.trials.run_dirs import MARK, Runs

LR = hp.SearchSpace({"learning_rate": hp.Float(1e-4, 1e-1, log=True)})
ORDER = {"backend": "optuna", "sampler": "random", "seed": 0, "trains": True}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def search(ours, out):
    """A search over a Trainer that saves; in `out`."""

    def run(**options):
        return ours(a_trainer(str(out), save_strategy="epoch"), LR, **{"sampler": "random", **options})

    return run


def someones(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "thesis.txt").write_text("mine")
    return path


class TestNotes:
    @pytest.mark.parametrize("folder", ["hpcompat-diary", ".hpcompat-" + "0" * 32])
    def test_planted_before_a_search_remove_nothing(self, search, out, tmp_path, folder):
        places = [someones(tmp_path / "data"), someones(tmp_path / "x"), someones(out / "mine")]
        for name in (str(places[0]), "../x", ".", "mine", "/"):
            for text in (json.dumps(name), json.dumps([None, name]), json.dumps(["/", name])):
                (out / folder).mkdir(exist_ok=True)
                with (out / folder / "a.jsonl").open("a") as file:
                    file.write(f"{text}\n" * 2)
        search(n_trials=1)
        assert [(place / "thesis.txt").exists() for place in places] == [True] * 3
        assert (out / folder / "a.jsonl").exists()

    def test_planted_in_a_killed_search_remove_nothing(self, legs, search, out, tmp_path):
        legs.run(out, Moment("begun", 2, 0, signal.SIGKILL), n_trials=3, **ORDER)
        places = [someones(tmp_path / "data"), someones(out / "mine")]
        (out / "empty").mkdir()
        (folder,) = out.glob(".hpcompat-*")
        names = [[None, "mine"], [None, "empty"], [None, "../data"], ["/", str(places[0])[1:]], [str(tmp_path), "data"]]
        (folder / "a.jsonl").write_text("".join(f"{json.dumps(name)}\n" * 2 for name in names))
        os.mkfifo(folder / "b.jsonl")
        (folder / "c.jsonl").symlink_to("/dev/zero")
        result = search(n_trials=3, resume=True)
        assert left(str(out)) == sorted(["empty", "mine", result.best.run_id])
        assert [(place / "thesis.txt").exists() for place in places] == [True] * 2


class TestLinks:
    def test_name_that_leads_through_a_link_is_refused(self, ours, out, tmp_path):
        someones(tmp_path / "data")
        out.mkdir()
        (out / "link").symlink_to(tmp_path / "data")
        trainer = a_trainer(str(out), save_strategy="epoch")
        with pytest.raises(hp.SearchError, match="is a link or a file"):
            ours(trainer, LR, n_trials=2, hp_name=lambda trial: f"link/{trial.number}")
        assert os.listdir(tmp_path / "data") == ["thesis.txt"]

    def test_link_below_output_dir_is_not_followed_on_resume(self, search, out, tmp_path):
        first = search(n_trials=3, keep="all")
        worst = max(first.trials, key=lambda trial: trial.value)
        moved = tmp_path / "moved"
        os.rename(worst.directory, moved)  # with its mark in it
        os.symlink(moved, worst.directory)
        result = search(n_trials=3, keep="best", resume=True)
        assert (moved / MARK).exists()
        assert worst.run_id in os.listdir(out)
        assert result.trials[worst.number].directory is None

    def test_output_dir_itself_may_be_a_link(self, ours, out, tmp_path):
        (tmp_path / "disk").mkdir()
        out.symlink_to(tmp_path / "disk")
        result = ours(a_trainer(str(out), save_strategy="epoch"), LR, n_trials=3)
        assert left(str(out)) == [result.best.run_id]

    @pytest.mark.parametrize("moment", ["_is_marked", "_open"])
    def test_one_that_is_swapped_in_is_not_followed(self, tmp_path, monkeypatch, moment):
        root, data = tmp_path / "out", someones(tmp_path / "data")
        root.mkdir()
        runs = Runs()
        path = runs.create(str(root), "run-0")
        (data / MARK).write_text(runs.search)
        before = getattr(Runs, moment)

        def swapping(*args):
            if moment == "_is_marked":
                found = before(*args)
            os.rename(path, tmp_path / "aside")
            os.symlink(data, path)
            return before(*args) if moment == "_open" else found

        monkeypatch.setattr(Runs, moment, swapping)
        with pytest.warns(UserWarning, match="could not be removed"):
            runs.remove(path)
        assert (data / "thesis.txt").exists()
        assert (data / MARK).exists()


class TestResume:
    def test_directory_made_by_the_user_under_the_name_of_a_beaten_run_stays(self, search, out):
        first = search(n_trials=3)
        beaten = [trial.run_id for trial in first.trials if trial is not first.best]
        someones(out / beaten[0])
        (out / beaten[1]).mkdir()
        result = search(n_trials=4, resume=True)
        assert (out / beaten[0] / "thesis.txt").exists()
        assert (out / beaten[1]).exists()
        assert [trial.directory for trial in result.trials if trial.run_id in beaten] == [None, None]

    def test_journal_moved_away_keeps_the_best_checkpoint_of_the_killed_search(self, legs, search, out, tmp_path):
        leg = legs.run(out, Moment("begun", 3, 0, signal.SIGKILL), n_trials=4, **ORDER)
        best = min(leg.told, key=lambda trial: trial["values"])
        os.rename(out / FILE, tmp_path / FILE)
        search(n_trials=1)
        assert os.path.isdir(best["checkpoint"])
        os.remove(out / FILE)
        os.rename(tmp_path / FILE, out / FILE)
        assert search(n_trials=2, resume=True).best.checkpoint == best["checkpoint"]

    def test_keep_is_that_of_the_search(self, search, out):
        search(n_trials=2, keep="all")
        result = search(n_trials=3, resume=True)
        assert left(str(out)) == ["run-0", "run-1", "run-2"]
        result = search(n_trials=3, resume=True, keep="best")
        assert left(str(out)) == [result.best.run_id]
        result = search(n_trials=4, resume=True)
        assert left(str(out)) == [result.best.run_id]

    def test_mark_of_another_search_does_not_count(self, search, out):
        first = search(n_trials=2, keep="all")
        worst = max(first.trials, key=lambda trial: trial.value)
        Path(worst.directory, MARK).write_text("f" * 32)
        search(n_trials=2, keep="best", resume=True)
        assert os.path.isdir(worst.checkpoint)

    def test_a_copy_of_the_whole_is_a_search_of_its_own(self, search, out, tmp_path):
        first = search(n_trials=2, keep="all")
        shutil.copytree(out, tmp_path / "copy")
        search(n_trials=2, keep="none", resume=True)
        assert sorted(os.listdir(tmp_path / "copy")) == sorted([FILE, "run-0", "run-1"])
        assert all(not os.path.exists(trial.directory) for trial in first.trials)


class TestJournalFile:
    @pytest.fixture
    def refused(self, ours, out):
        """The refusal of a search whose journal is such a thing; with a bound, for it may hang."""
        out.mkdir()

        def run(**options):
            found: list[BaseException] = []

            def search() -> None:
                try:
                    ours(lambda trial: 1.0, {"x": hp.Float(0, 1)}, n_trials=1, output_dir=str(out), **options)
                except hp.SearchError as error:
                    found.append(error)

            thread = threading.Thread(target=search, daemon=True)
            thread.start()
            thread.join(300)
            assert found, "no refusal"
            return str(found[0])

        return run

    @pytest.mark.parametrize("resume", [False, True])
    def test_link_is_refused_and_its_target_untouched(self, refused, out, tmp_path, resume):
        target = tmp_path / "thesis"
        target.write_text("mine, and no line end")
        (out / FILE).symlink_to(target)
        assert "cannot be opened: it is a symbolic link" in refused(resume=resume)
        assert target.read_text() == "mine, and no line end"

    def test_link_that_leads_nowhere_makes_nothing(self, refused, out, tmp_path):
        (out / FILE).symlink_to(tmp_path / "nowhere")
        assert "cannot be opened" in refused()
        assert not (tmp_path / "nowhere").exists()

    def test_hard_link_to_something_else_is_not_truncated(self, refused, out, tmp_path):
        target = tmp_path / "thesis"
        target.write_text("mine, and no line end")
        (out / FILE).hardlink_to(target)
        assert "is damaged" in refused()
        assert target.read_text() == "mine, and no line end"

    @pytest.mark.parametrize("resume", [False, True])
    def test_fifo_is_refused(self, refused, out, resume):
        os.mkfifo(out / FILE)
        assert "cannot be opened: it is not a regular file" in refused(resume=resume)

    def test_directory_is_refused(self, refused, out):
        (out / FILE).mkdir()
        assert "cannot be opened" in refused()

    def test_one_of_a_terabyte_is_refused(self, refused, out):
        (out / FILE).touch()
        os.truncate(out / FILE, 1 << 40)
        assert "expected at most 1024 MiB" in refused(resume=True)

    def test_trial_with_a_huge_number_takes_no_room(self, ours, out):
        options = {"n_trials": 3, "output_dir": str(out)}
        ours(lambda trial: 1.0, {"x": hp.Float(0, 1)}, **{**options, "n_trials": 1})
        text = (out / FILE).read_text().replace('{"number": 0', '{"number": 1000000000')
        (out / FILE).write_text(text)
        result = ours(lambda trial: 1.0, {"x": hp.Float(0, 1)}, **options, resume=True)
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
    def test_what_no_trial_can_be_is_damage(self, ours, out, change):
        options = {"output_dir": str(out)}
        ours(lambda trial: 1.0, {"x": hp.Float(0, 1)}, **options, n_trials=2)
        *before, last = (out / FILE).read_text().splitlines()
        (out / FILE).write_text("\n".join([*before, last.replace(*change)]) + "\n")
        with pytest.raises(hp.SearchError, match=f"is damaged\n  line {len(before) + 1}: "):
            ours(lambda trial: 1.0, {"x": hp.Float(0, 1)}, **options, n_trials=3, resume=True)


def test_directory_whose_mark_is_gone_stays_and_is_told(tmp_path):
    runs = Runs()
    path = runs.create(str(tmp_path), "run-0")
    os.remove(os.path.join(path, MARK))
    with pytest.warns(UserWarning, match="does not say that this search made it"):
        runs.remove(path)
    assert os.path.isdir(path)


def test_run_directories_are_made_and_taken_in_by_name(tmp_path):
    """Both put a directory into `made`; what is not the search's is not taken in."""
    one, other = Runs(), Runs()
    path = one.create(str(tmp_path), "a/run-0")
    assert not other.adopt(path, str(tmp_path))
    assert Runs(one.search).adopt(path, str(tmp_path))
    assert (list(one.made), other.made) == ([path], {})
    assert one.close(path) is None
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == []
