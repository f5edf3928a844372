"""What a search of a real Trainer takes, beside transformers' `hyperparameter_search`: the same trials, wall time."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.timing import Row, row
from benchmarks.training import here, in_a_process

TITLE = "Training"
NOTE = """
Wall time of the search alone, Ray's start included; each search in a process of its own. A tiny BERT (two layers of
32, 64 sentences, one epoch) shows what the search costs, the example's vision transformer (four epochs of 1,078
digits) what it costs beside a training. Optuna draws the very same trials on both sides. W&B's server is the tests'
own, on this machine, and the agent asks it for the next run every 0.1 s on both sides: by its default of 5 s both
would mostly wait. transformers starts a process for each of Ray's trials; ours serves one after the other. Ray's own
start and end, and the time in which its workers import torch and transformers, are most of what eight such trials
take: the bare Tuner, which does nothing else but train, is the floor.
"""
FEW, MANY = 8, 32


def rows(smoke: bool) -> Iterator[Row]:
    """Optuna in this process, Ray's workers, W&B's server."""
    if smoke:
        ours, theirs = ([here(whose, "optuna", "tiny", 1).seconds] for whose in ("ours", "theirs"))
        yield row("`search`, Optuna, tiny BERT", "`hyperparameter_search`", 0.7, ours, theirs)
        return
    yield compared("optuna", "tiny", FEW, 3, 0.7)
    yield compared("optuna", "digits", FEW, 3, 1.0)
    yield compared("wandb", "tiny", FEW, 2, 0.7)
    yield from with_ray()


def compared(backend: str, model: str, trials: int, rounds: int, most: float) -> Row:
    """So many trials, in turn."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(in_a_process("ours", backend, model, trials).seconds)
        theirs.append(in_a_process("theirs", backend, model, trials).seconds)
    what = f"`search`, {NAMES[backend]}, {MODELS[model]}: {trials} trials"
    return row(what, "transformers' `hyperparameter_search`", most, ours, theirs)


def with_ray() -> Iterator[Row]:
    """Few trials, Ray's start included; and what one more costs, between few and many."""
    took: dict[tuple[str, int], list[float]] = {}
    for _ in range(3):
        for whose in ("ours", "theirs", "bare"):
            took.setdefault((whose, FEW), []).append(in_a_process(whose, "ray", "tiny", FEW).seconds)
    for whose in ("ours", "theirs"):
        took[whose, MANY] = [in_a_process(whose, "ray", "tiny", MANY).seconds]
    against = "transformers' `hyperparameter_search`"
    what = f"`search`, Ray, {MODELS['tiny']}"
    yield row(f"{what}: {FEW} trials", against, 0.35, took["ours", FEW], took["theirs", FEW])
    yield row(
        f"a bare `Tuner.fit` that reuses its workers: {FEW} trials",
        against,
        None,
        took["bare", FEW],
        took["theirs", FEW],
    )
    ours, theirs = ([took[whose, MANY][0] - median(took[whose, FEW])] for whose in ("ours", "theirs"))
    yield row(f"{what}: one more, between {FEW} and {MANY}", against, 0.1, ours, theirs, per=MANY - FEW)


NAMES = {"optuna": "Optuna", "wandb": "W&B with a server on this machine"}
MODELS = {"tiny": "a tiny BERT", "digits": "the digits of the example"}
