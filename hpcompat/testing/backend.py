"""The tests that every backend passes, in a class to inherit from.

from hpcompat.testing.backend import BackendConformance

class TestMyBackend(BackendConformance):
    backend = "mine"
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hpcompat import (
    BackendError,
    Categorical,
    Float,
    SearchError,
    SearchResult,
    SearchSpace,
    Trial,
    TrialPruned,
    search,
)
from hpcompat.backends import BackendSpec, get_backend
from hpcompat.objectives.trial_view import TrialView

SPACE = SearchSpace({"x": Float(0.0, 4.0), "kind": Categorical(["a", "b"]), "y": Float(0.0, 1.0, when={"kind": "b"})})
GRID = SearchSpace(
    {
        "kind": Categorical(["a", "b", "c"]),
        "flag": Categorical([True, False], when={"kind": "b"}),
        "rate": Float(0.1, 0.3, step=0.1),
        "one": Categorical([1, 1.0]),
    }
)


def square(trial: TrialView) -> float:
    """Return the value that the tests minimize."""
    return float((trial["x"] - 2.0) ** 2)


class BackendConformance:
    """The tests of a backend: set `backend` to its name, and `options` to what every search needs."""

    backend: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    @property
    def spec(self) -> BackendSpec:
        """The backend's row."""
        return get_backend(self.backend)

    @property
    def sampler(self) -> str:
        """A sampler that takes several objectives and is fast."""
        return "random" if "random" in self.spec.samplers else self.spec.samplers[0]

    def search(
        self, function: Callable[[TrialView], object], space: SearchSpace = SPACE, **arguments: Any
    ) -> SearchResult:
        """Search with the backend."""
        arguments = {"sampler": self.sampler, "seed": 0, "progress": False, "n_trials": 4, **self.options, **arguments}
        return search(function, space, self.backend, **arguments)

    def test_search_runs_n_trials_inside_the_space(self) -> None:
        result = self.search(square)
        assert [trial.number for trial in result.trials] == [0, 1, 2, 3]
        assert all(SPACE.contains(trial.params) for trial in result.trials)
        assert result.best.values == min(trial.values or () for trial in result.trials)
        assert result.backend == self.backend

    def test_same_seed_gives_same_trials(self) -> None:
        first, second = (self.search(square) for _ in range(2))
        assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]

    def test_failed_trials_do_not_end_the_search(self) -> None:
        def fail_some(trial: TrialView) -> float:
            if trial.number == 0:
                raise ValueError("broken")
            return math.nan if trial.number == 1 else square(trial)

        states = [trial.state for trial in self.search(fail_some).trials]
        assert states == ["FAILED", "FAILED", "COMPLETE", "COMPLETE"]

    def test_all_trials_failed_raises_with_the_causes(self) -> None:
        def fail(trial: TrialView) -> float:
            raise ValueError("broken")

        with pytest.raises(SearchError, match="ValueError: broken") as raised:
            self.search(fail, n_trials=2)
        assert len(raised.value.trials) == 2

    def test_pruned_trial_keeps_its_last_report(self) -> None:
        def prune(trial: TrialView) -> float:
            if trial.number == 1:
                trial.report(0.5, step=1)
                raise TrialPruned
            return square(trial)

        trial = self.search(prune, n_trials=2).trials[1]
        assert (trial.state, trial.value) == ("PRUNED", 0.5)

    def test_infeasible_trial_is_not_the_best(self) -> None:
        def constrain(trial: TrialView) -> float:
            trial.set_user_attr("number", trial.number)
            trial.set_constraint("first", 1.0 if trial.number == 0 else 0.0)
            return float(trial.number)

        result = self.search(constrain, n_trials=2)
        assert result.best.number == 1
        assert [trial.user_attrs for trial in result.trials] == [{"number": 0}, {"number": 1}]

    def test_resume_runs_remaining_trials(self, tmp_path: Path) -> None:
        first = self.search(square, n_trials=2, output_dir=tmp_path)
        both = self.search(square, output_dir=tmp_path, resume=True)
        assert both.trials[:2] == first.trials
        assert len({trial.params["x"] for trial in both.trials}) == len(both.trials) == 4

    def test_history_is_not_counted(self) -> None:
        earlier = (Trial(0, {"x": 2.0, "kind": "a"}, (0.0,)),)
        assert len(self.search(square, history=earlier, n_trials=2).trials) == 2

    def test_callback_that_returns_true_ends_the_search(self) -> None:
        numbers: list[int] = []

        def stop(trial: Trial) -> bool:
            numbers.append(trial.number)
            return len(numbers) == 2

        assert len(self.search(square, callbacks=[stop]).trials) == len(numbers) == 2

    def test_ctrl_c_keeps_finished_trials(self, tmp_path: Path) -> None:
        def interrupt(trial: Trial) -> None:
            if trial.number == 1:
                raise KeyboardInterrupt

        result = self.search(square, callbacks=[interrupt], output_dir=tmp_path)
        assert result.interrupted
        assert [trial.number for trial in result.trials] == [0, 1]
        assert len(self.search(square, output_dir=tmp_path, resume=True).trials) == 4

    def test_grid_tries_each_configuration_once(self) -> None:
        if "grid" not in self.spec.samplers:
            pytest.skip("the backend has no grid")
        grid = partial(self.search, lambda trial: trial["rate"], GRID, sampler="grid", seed=None)
        first = grid(n_trials=4)
        rest = grid(n_trials=1_000, history=first)
        trials = (*first.trials, *rest.trials)
        assert len(trials) == len({repr(trial.params) for trial in trials}) == GRID.size == 24
        assert all(GRID.contains(trial.params) for trial in trials)

    def test_several_objectives_give_a_front(self) -> None:
        if self.spec.max_objectives < 2:
            pytest.skip("the backend has one objective")
        directions = ["minimize", "maximize"]
        result = self.search(lambda trial: [trial["x"], trial["x"]], direction=directions)
        assert result.pareto_front == result.trials  # x is minimized and maximized, so no trial is better than another

    def test_unknown_option_is_refused_by_name(self) -> None:
        with pytest.raises(BackendError) as raised:
            self.search(square, no_such_option=1)
        assert [issue.path for issue in raised.value.issues] == ["no_such_option"]
