"""Concurrent and nested searches on Ray in one process, and the state of its global generators."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest

import hpcompat as hp

X = {"x": hp.Float(0.0, 4.0)}


def identity(trial):
    return trial["x"]


def values(result):
    return [trial.value for trial in result.trials]


class TestExclusiveUse:
    @pytest.mark.filterwarnings("ignore:another thread searches on ray:UserWarning")
    def test_two_threads_search_in_turn(self, run_hpcompat):
        def search(seed):
            try:
                results[seed] = values(run_hpcompat(identity, X, n_trials=2, seed=seed))
            except BaseException as error:
                results[seed] = error

        results = {}
        threads = [threading.Thread(target=search, args=[seed]) for seed in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {seed: values(run_hpcompat(identity, X, n_trials=2, seed=seed)) for seed in (1, 2)}

    def test_nested_search_raises(self, run_hpcompat):
        errors = []

        def callback(trial):
            with pytest.raises(hp.BackendError, match="a search on ray runs already") as error:
                run_hpcompat(identity, X, n_trials=1)
            errors.append(error)

        assert len(run_hpcompat(identity, X, n_trials=1, callbacks=[callback]).trials) == len(errors) == 1

    def test_global_generators_are_unchanged_under_hyperband_pruner(self, run_hpcompat):
        def record_states(trial=None):
            states.append((random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]))

        states = []
        random.seed(3)
        np.random.seed(3)
        record_states()
        run_hpcompat(identity, X, n_trials=2, seed=0, pruner="hyperband", callbacks=[record_states])
        record_states()
        assert all(state == states[0] for state in states)
