"""Which trials are best: the Pareto front, for one objective or several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hpcompat.trials.trial import Trial, is_eligible


def losses(trial: Trial, directions: Sequence[str]) -> tuple[float, ...]:
    """The values with their signs turned so that less is better."""
    signed = zip(trial.values or (), directions, strict=True)
    return tuple([value if direction == "minimize" else -value for value, direction in signed])


def pareto_front(trials: Iterable[Trial], directions: Sequence[str]) -> tuple[Trial, ...]:
    """The complete and feasible trials that no other one dominates, in order of their number.

    One trial dominates another that it equals or betters in every objective and betters in one.

    >>> trials = [Trial(0, {}, (1.0, 5.0)), Trial(1, {}, (2.0, 4.0)), Trial(2, {}, (2.0, 5.0))]
    >>> [trial.number for trial in pareto_front(trials, ["minimize", "minimize"])]
    [0, 1]
    """
    ranked = sorted(
        ((losses(trial, directions), trial) for trial in trials if is_eligible(trial)),
        key=lambda pair: (pair[0], pair[1].number),
    )
    front: list[tuple[tuple[float, ...], Trial]] = []
    for loss, trial in ranked:  # sorted: a trial can only be dominated by one that came before it
        if not any(_dominates(other, loss) for other, _ in front):
            front.append((loss, trial))
    return tuple(sorted((trial for _, trial in front), key=lambda trial: trial.number))


def extended(front: tuple[Trial, ...], trial: Trial, directions: Sequence[str]) -> tuple[Trial, ...]:
    """The Pareto front once a complete and feasible trial has joined those that it is the front of.

    >>> front = extended((Trial(0, {}, (2.0,)),), Trial(1, {}, (1.0,)), ["minimize"])
    >>> [trial.number for trial in front]
    [1]
    """
    loss = losses(trial, directions)
    others = [(losses(other, directions), other) for other in front]
    if any(_dominates(other, loss) for other, _ in others):
        return front
    kept = [other for theirs, other in others if not _dominates(loss, theirs)]
    return tuple(sorted([*kept, trial], key=lambda trial: trial.number))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))
