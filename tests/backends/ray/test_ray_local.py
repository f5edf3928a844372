"""A search that starts Ray itself leaves no files and prints nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SEARCH = """
import os
import hpcompat as hp

def function(trial):
    return trial["x"]

if __name__ == "__main__":
    result = hp.search(function, {"x": hp.Float(0, 1)}, "ray", n_trials=2, seed=0, progress=False)
    assert [trial.state for trial in result.trials] == ["COMPLETE"] * 2, result
    try:
        options = {"resources_per_trial": {"cpu": 10_000}}
        hp.search(function, {"x": hp.Float(0, 1)}, "ray", progress=False, **options)
    except hp.BackendError as error:
        assert "CPU: 10000 a trial" in str(error), error
    else:
        raise AssertionError("the search has waited for a trial that fits on no node")
    import ray
    assert not ray.is_initialized()
"""


class TestLocalRay:
    def test_search_leaves_and_prints_nothing(self, tmp_path):
        directories = {name: tmp_path / name for name in ("home", "cwd")}
        for directory in directories.values():
            directory.mkdir()
        # without RAY_AUTH_MODE, which the other tests set, Ray might write a token to the home directory
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        package = Path(__file__).parents[3]
        process = subprocess.run(
            [sys.executable, "-c", SEARCH],
            cwd=directories["cwd"],
            env={**environment, "HOME": str(directories["home"]), "PYTHONPATH": str(package)},
            capture_output=True,
            text=True,
        )
        assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
        assert [list(directory.iterdir()) for directory in directories.values()] == [[], []]
