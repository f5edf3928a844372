"""What a person sees while a search runs: a bar with the best value so far, and one line for each trial."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hpcompat.trials import tables
from hpcompat.trials.trial import COMPLETE, Trial, is_eligible

Show = Callable[[Trial, Sequence[Trial]], None]


@contextmanager
def progress_bar(n_trials: int, directions: Sequence[str], shown: bool, initial: int = 0) -> Iterator[Show]:
    """A function to call with each finished trial and the front so far; silent unless `shown`.

    `initial`: how many of the trials are there already. Without tqdm there are the lines alone.
    """
    if not shown:
        yield lambda trial, front: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda trial, front: print(line(trial), file=sys.stderr)
        return
    with tqdm(total=n_trials, initial=initial, unit="trial", file=sys.stderr) as bar:

        def show(trial: Trial, front: Sequence[Trial]) -> None:
            bar.write(line(trial), file=sys.stderr)
            if len(directions) > 1:
                bar.set_postfix_str(f"front {len(front)}", refresh=False)
            elif front:
                bar.set_postfix_str(f"best {tables.number(front[0].value)}", refresh=False)
            bar.update()

        yield show


def line(trial: Trial) -> str:
    """A trial in a line.

    >>> line(Trial(3, {"learning_rate": 1e-5}, (0.25,)))
    'trial 3   0.25       learning_rate=1e-05'
    """
    values = ", ".join(map(tables.number, trial.values or ()))
    outcome = values
    if not is_eligible(trial):
        how = "infeasible" if trial.state == COMPLETE else trial.state.lower()
        outcome = f"{how} {values or trial.cause or ''}".strip()
    params = " ".join(f"{name}={tables.number(value)}" for name, value in tables.flat(trial.params))
    return f"trial {trial.number:<3} {outcome:<10} {params}".rstrip()
