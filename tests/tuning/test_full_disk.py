"""A disk that is full, and one that is read only: a clear error, and nothing finished is lost."""

from __future__ import annotations

import re

import pytest

from hpcompat.backends import BACKENDS
from tests.helpers.processes import SearchProcesses

N = 6
# torch: "[enforce fail at inline_container.cc:…] . unexpected pos …"
FULL = r"inline_container|No space left on device|File too large|disk is full|disk I/O error"


@pytest.fixture
def search(search_processes: SearchProcesses, request):
    """A search on the small disk: what its callback has heard, its trials, and its error."""
    name = re.sub(r"\W", "-", request.node.name)
    (search_processes.seen / name).mkdir()
    order = {"sampler": "random", "seed": 0, "n_trials": N}

    def run(**more):
        leg = search_processes.run(search_processes.place / name / "out", None, **{**order, **more})
        assert leg.code == 0
        return leg.told, leg.result["trials"], leg.result["error"]

    run.place = search_processes.place / name
    yield run
    run(n_trials=1, backend="optuna", before="empty")


class TestFullDisk:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_search_raises_and_resumes_when_there_is_room(self, search, backend):
        heard, finished, error = search(backend=backend, room=[2, 0], n_trials=200)
        assert re.search(FULL, error)
        assert "resume=True" in error
        assert finished == heard
        assert 2 <= len(finished) < 200
        more = len(finished) + 2
        _, trials, error = search(backend=backend, before="empty", n_trials=more)
        assert error is None
        assert [trial for trial in finished if trial not in trials] == []
        assert [trial["number"] for trial in trials] == list(range(more))

    @pytest.mark.parametrize("storage", ["study.log", "sqlite:///study.db"])
    def test_storage_of_study_raises(self, search, storage):
        storage = storage.replace("study", f"{search.place}/study")
        heard, finished, error = search(backend="optuna", storage=storage, study_name="s", room=[2, 0], n_trials=200)
        assert re.search(f"the storage of the study fails: .*({FULL})", error)
        assert finished == heard
        if storage.endswith(".log"):  # Optuna goes on in the middle of the line that the disk had no room for
            return
        more = {"before": "empty", "n_trials": len(finished) + 2}
        _, trials, error = search(backend="optuna", storage=storage, study_name="s", **more)
        there = {trial["number"]: (trial["params"], trial["values"]) for trial in trials}
        assert all(there[trial["number"]] == (trial["params"], trial["values"]) for trial in finished)

    def test_checkpoint_without_room_fails_trial(self, search):
        _, trials, error = search(backend="optuna", trains=True, room=[2, 16 << 10])
        assert error is None
        assert [trial["state"] for trial in trials] == ["COMPLETE"] * 2 + ["FAILED"] * (N - 2)
        assert [trial["error"] for trial in trials[2:] if not re.search(FULL, trial["error"])] == []
        _, trials, error = search(backend="optuna", trains=True, before="empty", n_trials=N + 1)
        assert trials[-1]["state"] == "COMPLETE"


class TestReadOnlyDisk:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_output_dir_raises(self, search, backend):
        _, trials, error = search(backend=backend, before="protect")
        assert re.match("nothing can be written to output_dir .*(Read-only file system|Permission denied)", error)
        assert trials == []
        search(backend="optuna", before="release", n_trials=1)
