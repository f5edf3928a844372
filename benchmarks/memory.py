"""The peak memory of a search: 30 trials of a model of some fifty million parameters."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.timing import Row
from benchmarks.training import run_here, run_in_process

TITLE = "Memory"
NOTE = """
The highest resident memory of a process that trains a BERT of 54 million parameters, two steps a trial.
"""


def measure(smoke: bool) -> Iterator[Row]:
    """Compare the peak of a process that searches with that of one that only trains."""
    peaks = {}
    for runner in ("train", "hpcompat", "transformers"):
        cost = run_here(runner, "optuna", "tiny", 2) if smoke else run_in_process(runner, "optuna", "large", 30)
        peaks[runner] = cost.megabytes
    baseline = peaks["train"]
    searches = (("`search`", "hpcompat", 1.1), ("transformers' `hyperparameter_search`", "transformers", None))
    for subject, runner, max_ratio in searches:
        peak = peaks[runner]
        values = f"{peak:,.0f} MB", f"{baseline:,.0f} MB"
        yield Row(f"{subject}, Optuna: 30 trials", "one `train()`", peak / baseline, max_ratio, *values)
