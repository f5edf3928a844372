"""Optuna's samplers and pruners by the names that a search knows."""

from __future__ import annotations

from typing import Any

from hpcompat.trials.config import Plan, leg_seed


def sampler(plan: Plan, replayed: int, shared: bool) -> Any:
    """The sampler of a plan, in a study that already holds `replayed` trials.

    Where processes share the study its draws depend on the trial's number, which no two trials have in
    common: a sampler with one seed for all would draw in each process what it has drawn in the others.
    """
    from optuna import samplers

    if not isinstance(plan.sampler, (str, type(None))):
        return plan.sampler
    kind = samplers.TPESampler if plan.sampler in (None, "bayes") else samplers.RandomSampler
    by_trial = shared and plan.seed is not None
    drawing = _seeded_by_trial(kind, plan.seed) if by_trial else kind(seed=leg_seed(plan.seed, replayed))
    return _handing_out(drawing) if plan.sampler == "grid" else drawing


def pruner(given: Any) -> Any:
    """The pruner of that name, or the one that was given."""
    from optuna import pruners

    if not isinstance(given, (str, type(None))):
        return given
    kinds = {
        None: pruners.NopPruner,  # Optuna's own default is the median
        "median": pruners.MedianPruner,
        "hyperband": pruners.HyperbandPruner,
        "asha": pruners.SuccessiveHalvingPruner,
    }
    return kinds[given]()


def _handing_out(beside: Any) -> Any:
    """A sampler that hands out its `chosen`, values as Optuna has them by their names; others are drawn `beside`."""
    from optuna.samplers import BaseSampler

    class HandingOut(BaseSampler):
        def __init__(self) -> None:
            self.chosen: dict[str, Any] = {}

        def before_trial(self, study: Any, trial: Any) -> None:
            beside.before_trial(study, trial)

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            if param_name in self.chosen:
                return self.chosen[param_name]
            return beside.sample_independent(study, trial, param_name, param_distribution)

    return HandingOut()


def _seeded_by_trial(kind: Any, seed: int | None) -> Any:
    """A new sampler of the kind for every trial: they keep nothing that the study does not hold."""
    from optuna.samplers import BaseSampler

    class SeededByTrial(BaseSampler):
        def before_trial(self, study: Any, trial: Any) -> None:
            self.of_trial = kind(seed=leg_seed(seed, trial.number))
            self.of_trial.before_trial(study, trial)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self.of_trial.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self.of_trial.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self.of_trial.sample_independent(study, trial, param_name, param_distribution)

    return SeededByTrial()
