"""A full disk and a read-only disk raise a clear error, and no finished trial is lost."""

from __future__ import annotations

import re

import pytest

from hpcompat.backends import BACKENDS
from tests.helpers.processes import SearchProcesses
from tests.helpers.storages import FILE_STORAGES, locate_storage

N = 6
# torch: "[enforce fail at inline_container.cc:…] . unexpected pos …"
FULL = r"inline_container|No space left on device|File too large|disk is full|disk I/O error"


@pytest.fixture
def search(search_processes: SearchProcesses, request):
    """Search on the small disk; returns the trials that its callback received, its trials, and its error."""
    name = re.sub(r"\W", "-", request.node.name)
    (search_processes.disk_from_outside / name).mkdir()
    defaults = {"sampler": "random", "seed": 0, "n_trials": N}

    def run(**options):
        outcome = search_processes.run(search_processes.disk / name / "out", None, **{**defaults, **options})
        assert outcome.exit_code == 0
        return outcome.callback_trials, outcome.result["trials"], outcome.result["error"]

    run.directory = search_processes.disk / name
    yield run
    run(n_trials=1, backend="optuna", disk_action="remove_filler")


class TestFullDisk:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_search_raises_and_resumes_with_free_space(self, search, backend):
        callback_trials, finished, error = search(backend=backend, fill_disk=[2, 0], n_trials=200)
        assert re.search(FULL, error)
        assert "resume=True" in error
        assert finished == callback_trials
        assert 2 <= len(finished) < 200
        n_trials = len(finished) + 2
        _, trials, error = search(backend=backend, disk_action="remove_filler", n_trials=n_trials)
        assert error is None
        assert [trial for trial in finished if trial not in trials] == []
        assert [trial["number"] for trial in trials] == list(range(n_trials))

    @pytest.mark.parametrize("kind", FILE_STORAGES)
    def test_storage_on_full_disk_raises(self, search, kind):
        options = {"backend": "optuna", "storage": locate_storage(kind, search.directory), "study_name": "s"}
        callback_trials, finished, error = search(**options, fill_disk=[2, 0], n_trials=200)
        assert re.search(f"the storage of the study fails: .*({FULL})", error)
        assert finished == callback_trials
        if kind == "journal":  # Optuna appends to the line that the full disk has truncated
            return
        _, trials, error = search(**options, disk_action="remove_filler", n_trials=len(finished) + 2)
        stored = {trial["number"]: (trial["params"], trial["values"]) for trial in trials}
        assert all(stored[trial["number"]] == (trial["params"], trial["values"]) for trial in finished)

    def test_checkpoint_on_full_disk_fails_trial(self, search):
        _, trials, error = search(backend="optuna", use_trainer=True, fill_disk=[2, 16 << 10])
        assert error is None
        assert [trial["state"] for trial in trials] == ["COMPLETE"] * 2 + ["FAILED"] * (N - 2)
        assert [trial["error"] for trial in trials[2:] if not re.search(FULL, trial["error"])] == []
        _, trials, error = search(backend="optuna", use_trainer=True, disk_action="remove_filler", n_trials=N + 1)
        assert trials[-1]["state"] == "COMPLETE"


class TestReadOnlyDisk:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_output_dir_raises(self, search, backend):
        _, trials, error = search(backend=backend, disk_action="make_read_only")
        assert re.match("nothing can be written to output_dir .*(Read-only file system|Permission denied)", error)
        assert trials == []
        search(backend="optuna", disk_action="make_writable", n_trials=1)
