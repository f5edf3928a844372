"""The most memory that a search needs: 30 trials of a model of some fifty million parameters."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.timing import Row
from benchmarks.training import here, in_a_process

TITLE = "Memory"
NOTE = """
The highest resident memory of a process that trains a BERT of 54 million parameters, two steps each time.
"""


def rows(smoke: bool) -> Iterator[Row]:
    """The peak of a process that searches, against that of one that only trains."""
    if smoke:
        plain, ours, theirs = (here(whose, "optuna", "tiny", 2).megabytes for whose in ("plain", "ours", "theirs"))
    else:
        plain, ours, theirs = (
            in_a_process(whose, "optuna", "large", 30).megabytes for whose in ("plain", "ours", "theirs")
        )
    for what, peak, most in (("`search`", ours, 1.1), ("transformers' `hyperparameter_search`", theirs, None)):
        shown = f"{peak:,.0f} MB", f"{plain:,.0f} MB"
        yield Row(f"{what}, Optuna: 30 trials", "one `train()`", peak / plain, most, *shown)
