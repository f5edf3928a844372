"""Conversion of trials to journal records, and creation of failed trials."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

import hpcompat as hp
from hpcompat.trials.trial import FAILED

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
TRIAL = hp.Trial(
    number=3,
    params={"pair": (1, 2), "lr": 1e-5},
    values=(0.5, float("inf")),
    intermediate_values={1: 0.75},
    start=NOW,
    end=NOW,
    run_id="a/run-3",
    directory="/out/a/run-3",
    checkpoint="/out/a/run-3/checkpoint-8",
    constraints={"memory": -1.0},
    user_attrs={"note": [1]},
    metrics={"eval_loss": 0.5},
    unread=("lr",),
)


class TestRecord:
    def test_trial_reads_back(self):
        assert hp.Trial.from_record(TRIAL.to_record("/out"), "/out") == TRIAL

    def test_paths_are_relative_to_the_root(self):
        moved = hp.Trial.from_record(TRIAL.to_record("/out"), "/elsewhere")
        assert moved.directory == "/elsewhere/a/run-3"
        assert moved.checkpoint == "/elsewhere/a/run-3/checkpoint-8"

    def test_empty_fields_are_left_out(self):
        assert hp.Trial(0, {}, state=FAILED).to_record("/out") == {"number": 0, "state": FAILED}

    @pytest.mark.parametrize("unread", [None, ()])
    def test_unread_none_and_empty_remain_distinct(self, unread):
        assert hp.Trial.from_record(hp.Trial(0, {}, unread=unread).to_record("/out"), "/out").unread == unread

    @pytest.mark.parametrize("change", [{"number": -1}, {"state": "DONE"}, {"values": ["a"]}, {"directory": "../x"}])
    def test_invalid_field_raises(self, change):
        with pytest.raises(ValueError, match="expected"):
            hp.Trial.from_record({**TRIAL.to_record("/out"), **change}, "/out")


class TestFailed:
    def test_end_is_now(self):
        before = datetime.now(timezone.utc)
        trial = hp.Trial.failed(3, {"x": 1}, "NodeLost: node-2", start=before)
        assert (trial.state, trial.values, trial.cause) == (FAILED, None, "NodeLost: node-2")
        assert before <= trial.end <= datetime.now(timezone.utc)
