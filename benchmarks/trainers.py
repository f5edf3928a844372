"""The wall time of a search of a real Trainer, compared with transformers' `hyperparameter_search`: the same trials."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.timing import Row, make_row
from benchmarks.training import run_here, run_in_process

TITLE = "Training"
NOTE = """
Wall time of the search alone, Ray's start included; every search runs in a new process. A tiny BERT (two layers of 32,
64 sentences, one epoch) shows what the search costs, the example's vision transformer (four epochs of 1,078 digits)
what it adds to a training. Optuna draws the same trials on both sides. The W&B server is that of the tests, on this
machine, and the agent asks it for the next run every 0.1 s on both sides: with the default of 5 s both would mostly
wait. transformers starts a process for every trial on Ray; hpcompat reuses one. Starting and stopping Ray, and
importing torch and transformers in its workers, take most of the time of eight such trials: the bare Tuner, which only
trains, is the lower bound.
"""
FEW, MANY = 8, 32
BASELINE = "transformers' `hyperparameter_search`"


def measure(smoke: bool) -> Iterator[Row]:
    """Compare searches with Optuna in this process, Ray's workers and a W&B server."""
    if smoke:
        seconds, baseline = ([run_here(runner, "optuna", "tiny", 1).seconds] for runner in ("hpcompat", "transformers"))
        yield make_row("`search`, Optuna, tiny BERT", "`hyperparameter_search`", 0.7, seconds, baseline)
        return
    yield compare_searches("optuna", "tiny", FEW, 3, 0.7)
    yield compare_searches("optuna", "digits", FEW, 3, 1.0)
    yield compare_searches("wandb", "tiny", FEW, 2, 0.7)
    yield from compare_on_ray()


def compare_searches(backend: str, model: str, trials: int, rounds: int, max_ratio: float) -> Row:
    """Compare two searches of this many trials, in alternation."""
    seconds, baseline = [], []
    for _ in range(rounds):
        seconds.append(run_in_process("hpcompat", backend, model, trials).seconds)
        baseline.append(run_in_process("transformers", backend, model, trials).seconds)
    subject = f"`search`, {BACKEND_TITLES[backend]}, {MODEL_TITLES[model]}: {trials} trials"
    return make_row(subject, BASELINE, max_ratio, seconds, baseline)


def compare_on_ray() -> Iterator[Row]:
    """Compare searches of few trials, including the start of Ray, and the cost of each additional trial."""
    seconds: dict[tuple[str, int], list[float]] = {}
    for _ in range(3):
        for runner in ("hpcompat", "transformers", "tuner"):
            seconds.setdefault((runner, FEW), []).append(run_in_process(runner, "ray", "tiny", FEW).seconds)
    for runner in ("hpcompat", "transformers"):
        seconds[runner, MANY] = [run_in_process(runner, "ray", "tiny", MANY).seconds]
    subject = f"`search`, Ray, {MODEL_TITLES['tiny']}"
    yield make_row(f"{subject}: {FEW} trials", BASELINE, 0.35, seconds["hpcompat", FEW], seconds["transformers", FEW])
    yield make_row(
        f"a bare `Tuner.fit` that reuses its workers: {FEW} trials",
        BASELINE,
        None,
        seconds["tuner", FEW],
        seconds["transformers", FEW],
    )
    more, baseline_more = (
        [seconds[runner, MANY][0] - median(seconds[runner, FEW])] for runner in ("hpcompat", "transformers")
    )
    subject = f"{subject}: one more, between {FEW} and {MANY}"
    yield make_row(subject, BASELINE, 0.1, more, baseline_more, per=MANY - FEW)


BACKEND_TITLES = {"optuna": "Optuna", "wandb": "W&B with a server on this machine"}
MODEL_TITLES = {"tiny": "a tiny BERT", "digits": "the digits of the example"}
