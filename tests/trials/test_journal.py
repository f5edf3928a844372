"""The journal stores every finished trial on the disk, and a search can resume from it."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat import testing
from hpcompat.trials.journal import JOURNAL_FILE, open_journal
from hpcompat.trials.trial import COMPLETE, FAILED, PRUNED

X = hp.SearchSpace({"x": hp.Float(0, 4), "kind": hp.Categorical([(1, 2), True, 1, None, "1"])})


def parabola(trial):
    return (trial["x"] - 2) ** 2


def fail_if_called(trial):
    raise AssertionError("a trial was started")


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


@pytest.fixture
def search(run_hpcompat, out):
    return lambda function=parabola, space=X, **options: run_hpcompat(function, space, **{"output_dir": out, **options})


def read_lines(out):
    """Return the first line and the lines of finished trials."""
    with open(os.path.join(out, JOURNAL_FILE), encoding="utf-8") as file:
        first, *others = file.read().splitlines()
    return [first, *(line for line in others if line.startswith('{"number"'))]


optional_times = st.none() | st.datetimes(timezones=st.just(timezone.utc)).map(lambda time: time.replace(fold=0))
finite_or_infinite_floats = st.floats(allow_nan=False)


@st.composite
def trials(draw):
    space = draw(testing.spaces())
    state = draw(st.sampled_from([COMPLETE, PRUNED, FAILED]))
    trial = hp.Trial(
        number=draw(st.integers(0, 10**6)),
        params=draw(testing.params_in(space)),
        values=None if state == FAILED else (draw(finite_or_infinite_floats),),
        state=state,
        intermediate_values=draw(st.dictionaries(st.integers(0, 10**9), finite_or_infinite_floats, max_size=3)),
        start=draw(optional_times),
        end=draw(optional_times),
        run_id=draw(st.text() | st.none()),
        error=draw(st.text()) if state == FAILED else None,
    )
    return space, trial


class TestAppend:
    def test_finished_trial_is_written_before_callbacks_run(self, search, out):
        calls = []
        result = search(n_trials=5, callbacks=[lambda trial: calls.append((trial, read_lines(out)[-1])) and None])
        for trial, last_line in calls:
            assert json.loads(last_line)["number"] == trial.number
        with open_journal(out, X, ["minimize"], resume=True) as journal:
            assert journal.trials == result.trials

    def test_search_of_failed_trials_is_written(self, search, out):
        with pytest.raises(hp.SearchError, match="all 2 trials failed") as error:
            search(lambda trial: math.nan, n_trials=2)
        assert [trial.state for trial in error.value.trials] == ["FAILED"] * 2
        result = search(n_trials=3, resume=True)
        assert [trial.state for trial in result.trials] == ["FAILED", "FAILED", "COMPLETE"]

    def test_start_and_end_are_kept(self, search):
        before = datetime.now(timezone.utc)
        search(n_trials=1)
        (trial,) = search(fail_if_called, n_trials=1, resume=True).trials
        assert before <= trial.start <= trial.end <= datetime.now(timezone.utc)

    @given(trials())
    def test_any_trial_of_any_space_reads_back(self, tmp_path_factory, pair):
        space, trial = pair
        out = str(tmp_path_factory.mktemp("journal"))
        with open_journal(out, space, ["maximize"], resume=False) as journal:
            journal.add(trial)
        with open_journal(out, space, ["maximize"], resume=True) as journal:
            assert repr(journal.trials) == repr((trial,))

    def test_invalid_search_creates_no_journal(self, search, out):
        with pytest.raises(hp.BackendError):
            search(storgae="sqlite://")
        assert not os.path.exists(os.path.join(out, JOURNAL_FILE))
        search(n_trials=1)

    def test_second_process_raises(self, search, out):
        code = (
            "import sys, hpcompat as hp\n"
            "hp.search(lambda trial: 1.0, {'x': hp.Float(0, 4)}, n_trials=1, output_dir=sys.argv[1], progress=False)"
        )
        processes = []

        def search_in_other_process(trial):
            if trial.number == 1:
                processes.append(subprocess.run([sys.executable, "-c", code, out], capture_output=True, text=True))
            return parabola(trial)

        search(search_in_other_process, n_trials=2)
        assert processes[0].returncode != 0
        assert "another search is writing the journal" in processes[0].stderr


class TestResume:
    def test_finished_trials_count_in_n_trials(self, search):
        first = search(n_trials=4)
        resumed = search(n_trials=10, resume=True)
        assert resumed.trials[:4] == first.trials
        assert [trial.number for trial in resumed.trials] == list(range(10))
        assert len({trial.params["x"] for trial in resumed.trials}) == 10  # no params twice
        assert resumed.best.value == min(trial.value for trial in resumed.trials)

    def test_complete_search_runs_nothing(self, search):
        first = search(n_trials=3)
        assert search(fail_if_called, n_trials=3, resume=True).trials == first.trials
        with pytest.warns(UserWarning, match="there are 3 already, and n_trials=2 is the total"):
            assert search(fail_if_called, n_trials=2, resume=True).trials == first.trials

    def test_missing_journal_starts_a_search(self, search):
        assert len(search(n_trials=2, resume=True).trials) == 2

    def test_earlier_journal_without_resume_raises(self, search, out):
        search(n_trials=2)
        before = read_lines(out)
        with pytest.raises(hp.SearchError, match=r"with 2 trials\n.*resume=True continues it"):
            search(fail_if_called)
        assert read_lines(out) == before

    def test_journal_of_another_search_raises(self, search, out):
        search(n_trials=2)
        before = read_lines(out)
        with pytest.raises(hp.SearchError, match="another search") as refusal:
            search(
                fail_if_called,
                hp.SearchSpace({"x": hp.Float(0, 5), "kind": X["kind"]}),
                direction="maximize",
                resume=True,
            )
        assert "x: expected Float(0.0, 4.0) as in the journal, got Float(0.0, 5.0)" in str(refusal.value)
        assert "direction: expected ['minimize'] as in the journal, got ['maximize']" in str(refusal.value)
        assert "kind" not in str(refusal.value)
        assert read_lines(out) == before
        with pytest.raises(hp.SearchError, match=r"y: expected no parameter as in the journal, got Int\(1, 2\)"):
            search(fail_if_called, X | {"y": hp.Int(1, 2)}, resume=True)

    def test_numbers_of_unfinished_trials_are_used_again(self, search, out):
        search(n_trials=5)
        lines = read_lines(out)
        with open(os.path.join(out, JOURNAL_FILE), "w", encoding="utf-8") as file:
            file.write("\n".join([*lines[:2], lines[3], lines[5]]) + "\n")  # numbers 0, 2 and 4
        result = search(n_trials=6, resume=True)
        assert [trial.number for trial in result.trials] == list(range(6))
        assert [json.loads(line)["number"] for line in read_lines(out)[1:]] == [0, 2, 4, 1, 3, 5]

    def test_grid_continues_with_untried_configurations(self, search):
        space = {"a": hp.Int(1, 3), "b": hp.Categorical(["x", "y"])}
        options = {"space": space, "function": lambda trial: trial["a"], "sampler": "grid", "seed": None}
        search(**options, n_trials=4)
        result = search(**options, n_trials=100, resume=True)
        assert sorted((trial.params["a"], trial.params["b"]) for trial in result.trials) == [
            (a, b) for a in (1, 2, 3) for b in "xy"
        ]

    def test_ctrl_c_returns_trials_of_earlier_searches(self, search):
        first = search(n_trials=3)

        def interrupt(trial):
            raise KeyboardInterrupt

        result = search(interrupt, n_trials=5, resume=True)
        assert result.interrupted
        assert result.trials == first.trials

    def test_only_best_directory_is_kept_after_resume(self, make_trainer, run_hpcompat):
        space = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
        trainer = make_trainer(save_strategy="epoch")
        first = run_hpcompat(trainer, space, n_trials=3)
        result = run_hpcompat(trainer, space, n_trials=6, resume=True)
        assert first.best.directory is not None
        assert {trial.number for trial in result.trials if trial.directory} == {result.best.number}
        assert sorted(os.listdir(trainer.args.output_dir)) == sorted([JOURNAL_FILE, result.best.run_id])
        assert os.path.isdir(result.best.checkpoint)

    def test_moved_output_dir_is_found(self, make_trainer, run_hpcompat, tmp_path):
        space = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
        trainer = make_trainer(save_strategy="epoch")
        run_hpcompat(trainer, space, n_trials=2)
        os.rename(trainer.args.output_dir, tmp_path / "moved")
        best = run_hpcompat(make_trainer(output_dir=str(tmp_path / "moved")), space, n_trials=2, resume=True).best
        assert os.path.dirname(best.directory) == str(tmp_path / "moved")
        assert os.path.isdir(best.checkpoint)


class TestDamage:
    @pytest.mark.parametrize("cut", [1, 2, 40, -1])
    def test_torn_last_line_is_ignored(self, search, out, cut):
        first = search(n_trials=3)
        path = os.path.join(out, JOURNAL_FILE)
        last = len(read_lines(out)[-1].encode()) + 1
        os.truncate(path, os.path.getsize(path) - (last + cut if cut < 0 else cut))
        assert search(n_trials=3, resume=True).trials[:2] == first.trials[:2]
        assert [json.loads(line).get("number") for line in read_lines(out)[1:]] == [0, 1, 2]

    def test_torn_first_line_starts_a_search(self, search, out):
        search(n_trials=2)
        os.truncate(os.path.join(out, JOURNAL_FILE), 20)
        assert len(search(n_trials=2).trials) == 2
        assert len(read_lines(out)) == 3

    @pytest.mark.parametrize(
        "damage",
        [
            "{",
            "[]",
            '{"number": 1, "params": {"x": {"$oops": 1}}}',
            '{"start": 3}',
            "\0\0",
            '"x"',
            '{"number": 1, "directory": "../elsewhere"}',
        ],
    )
    def test_damaged_line_raises_with_its_number(self, search, out, damage):
        search(n_trials=3)
        lines = read_lines(out)
        with open(os.path.join(out, JOURNAL_FILE), "w", encoding="utf-8") as file:
            file.write("\n".join([*lines[:2], damage, *lines[3:]]) + "\n")
        with pytest.raises(hp.SearchError, match=r"is damaged\n  line 3: ") as refusal:
            search(fail_if_called, resume=True)
        assert "correct or remove the line" in str(refusal.value)

    @pytest.mark.parametrize("constraints", [{"room": "much"}, {"room": None}, {"room": True}, [1], {"room": 10**400}])
    def test_constraints_that_are_not_numbers_raise(self, search, out, constraints):
        search(n_trials=1)
        path = os.path.join(out, JOURNAL_FILE)
        first, last = read_lines(out)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{first}\n{json.dumps({**json.loads(last), 'constraints': constraints})}\n")
        with pytest.raises(hp.SearchError, match="is damaged\n  line 2: "):
            search(fail_if_called, resume=True)


class TestErrors:
    def test_full_disk_raises_with_finished_trials(self, search, out):
        first = search(n_trials=2)
        size = os.path.getsize(os.path.join(out, JOURNAL_FILE))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 400, before[1]))  # acts like a full disk
        try:
            with pytest.raises(hp.SearchError, match="cannot be written: File too large") as error:
                search(n_trials=9, resume=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        finished = error.value.trials
        assert first.trials == finished[:2]
        assert 2 <= len(finished) < 9
        assert len(read_lines(out)) == 1 + len(finished)
        assert search(n_trials=9, resume=True).trials[: len(finished)] == finished

    def test_callback_error_raises_with_finished_trials(self, run_hpcompat):
        def fail_in_third(trial):
            if trial.number == 2:
                raise ZeroDivisionError("mine")

        with pytest.raises(hp.SearchError, match="a callback raised ZeroDivisionError: mine") as error:
            run_hpcompat(parabola, X, n_trials=9, callbacks=[fail_in_third])
        assert [trial.number for trial in error.value.trials] == [0, 1, 2]
        assert isinstance(error.value.__cause__, ZeroDivisionError)
