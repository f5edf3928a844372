"""Constraints, samplers and studies of Optuna in each of its versions."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

import hpcompat as hp
from hpcompat.backends.optuna.shared_study import SeededByTrialSampler
from hpcompat.compat.optuna import create_trial, get_constraints, in_optimize_loop, make_tpe_sampler, set_constraint
from tests.helpers.spaces import X_SPACE
from tests.helpers.versions import is_since


@pytest.fixture
def study():
    return optuna.create_study(sampler=make_tpe_sampler(seed=0))


class TestConstraints:
    def test_running_and_finished_trial_have_the_constraints_that_were_set(self, study):
        trial = study.ask()
        set_constraint(trial, "room", -0.5)
        set_constraint(trial, "time", -1.0)
        assert get_constraints(trial) == {"room": -0.5, "time": -1.0}
        study.tell(trial, 1.0)
        assert get_constraints(study.trials[0]) == {"room": -0.5, "time": -1.0}

    def test_created_trial_has_its_constraints_and_attributes(self, study):
        for constraints in ({}, {"room": 0.5}):
            created = create_trial(
                constraints,
                {"note": "mine"},
                state=TrialState.COMPLETE,
                values=[1.0],
                params={"x": 0.5},
                distributions={"x": FloatDistribution(0, 1)},
            )
            study.add_trial(created)
            assert get_constraints(study.trials[-1]) == constraints
            assert study.trials[-1].user_attrs["note"] == "mine"

    @pytest.mark.skipif(is_since("optuna", "5.0"), reason="since Optuna 5 every sampler learns from constraints")
    def test_sampler_that_does_not_learn_from_constraints_is_warned_of(self):
        def function(trial):
            trial.set_constraint("room", 1.0)
            return 0.0

        options = {"n_trials": 1, "progress": False}
        hp.search(function, X_SPACE, **options)  # where a warning would be an error
        with pytest.warns(UserWarning, match="the sampler does not learn from constraints: before Optuna 5"):
            hp.search(function, X_SPACE, sampler=optuna.samplers.TPESampler(seed=0), **options)


class TestSamplers:
    def test_sampler_seeded_by_trial_draws_by_number(self):
        def draw(n_skipped):
            study = optuna.create_study(sampler=SeededByTrialSampler(optuna.samplers.RandomSampler, 0))
            for _ in range(n_skipped):
                study.ask()
            return [study.ask().suggest_float("x", 0, 1) for _ in range(4 - n_skipped)]

        assert draw(n_skipped=2) == draw(n_skipped=0)[2:]
        assert len(set(draw(n_skipped=0))) == 4


class TestInOptimizeLoop:
    def test_study_can_be_stopped_inside_only(self, study):
        with in_optimize_loop(study):
            study.stop()
        with pytest.raises(RuntimeError):
            study.stop()

    def test_study_that_is_optimized_raises(self, study):
        message = "that is not being optimized"
        with in_optimize_loop(study), pytest.raises(RuntimeError, match=message), in_optimize_loop(study):
            pass
