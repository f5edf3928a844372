"""What a rank makes of what the others say, and of their silence: beat by beat, without the processes."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from torch.distributed import DistNetworkError, HashStore

from hpcompat.distributed import store_channel as lines
from hpcompat.distributed.active_trial import Course, Stand
from hpcompat.distributed.coordinator import Crew
from hpcompat.distributed.store_channel import Line
from hpcompat.distributed.watchdog import SILENT_BEATS
from hpcompat.errors import SearchError
from hpcompat.trials.config import Suggestion
from hpcompat.trials.processes import this_process

HERE = this_process()
ENDED = {**HERE, "started": "before the pid was given to another"}
ELSEWHERE = {**HERE, "host": "elsewhere"}
LIMIT_S = 20


@pytest.fixture
def crew():
    """Rank 0 of two, whose second collective of the trial has begun; rank 1 has joined, and is silent so far."""
    group = SimpleNamespace(timeout=float(LIMIT_S), calls=lambda: 2)
    crew = Crew(Line(HashStore(), 0, 2), group)
    crew.processes = {1: HERE}
    crew.course = Course(1, Suggestion(0, {}), 0, float(LIMIT_S), ready=True)
    yield crew
    crew.line.close()


def beat(crew, times, says=lambda number: None):
    """So many beats of rank 0, while rank 1 says that."""
    for number in range(times):
        if (stand := says(number)) is not None:
            crew.line.put("beat/1", (number + 1, stand))
        crew._lookout._beat()
    return crew.broken


class TestSilence:
    @pytest.mark.parametrize(
        ("process", "beats", "cause"),
        [
            (ENDED, 2, "its process has ended"),
            (ELSEWHERE, SILENT_BEATS, f"no sign of life for {SILENT_BEATS} s"),
        ],
    )
    def test_silent_rank_is_dead_after_some_beats(self, crew, process, beats, cause):
        crew.processes = {1: process}
        crew.course = None
        assert beat(crew, beats - 1) is None
        assert beat(crew, 1) == f"rank 1: {cause} (pid {HERE['pid']} on {process['host']})"

    def test_silent_process_that_lives_on_this_host_is_not_dead(self, crew):
        crew.course = None
        assert beat(crew, 10 * SILENT_BEATS) is None

    @pytest.mark.parametrize("key", ["bye/1", "terminated/1"])
    def test_rank_that_has_said_goodbye_is_not_dead(self, crew, key):
        crew.processes = {1: ENDED}
        crew.line.put(key)
        assert beat(crew, 5) is None


class TestHang:
    @pytest.mark.parametrize(
        "place",
        [
            (1, 0, 0, 0, 0),  # in model_init
            (1, 1, 1, 0, 0),  # one collective behind
            (0, 2),  # has not begun the trial
        ],
    )
    def test_rank_that_stands_still_behind_another_is_hung(self, crew, place):
        assert beat(crew, LIMIT_S + 1, lambda _: Stand(place)) is None
        cause = beat(crew, 1, lambda _: Stand(place))
        assert cause == f"rank 1: no progress for {LIMIT_S} s, while others wait for it (ddp_timeout)"

    def test_rank_that_stands_still_ahead_leaves_the_other_hung(self, crew):
        cause = beat(crew, LIMIT_S + 2, lambda _: Stand((1, 2)))
        assert cause.startswith("rank 0: no progress")

    def test_rank_0_that_does_not_say_what_is_waited_for_is_hung(self, crew):
        waits = (1, 1, 2, 0, 1)  # for what the pruner says; both have begun as many collectives
        assert beat(crew, LIMIT_S + 2, lambda _: Stand(waits)).startswith("rank 0: no progress")

    @pytest.mark.parametrize(
        "says",
        [
            lambda number: Stand((1, 1, 2, 0, 0)),  # as far as rank 0
            lambda number: Stand((1, 1, 1, number, 0)),  # behind, but at a further step
            lambda number: Stand((1, 1, 1, 0, 0), moves=number),  # … or reporting
        ],
    )
    def test_rank_that_moves_or_is_not_waited_for_is_not_hung(self, crew, says):
        assert beat(crew, 10 * LIMIT_S, says) is None

    def test_time_that_trainer_allows_counts(self, crew):
        crew.talk()._on_ddp_timeout(10 * LIMIT_S)
        assert beat(crew, 10 * LIMIT_S, lambda _: Stand((1, 0))) is None
        assert beat(crew, 2, lambda _: Stand((1, 0))).startswith(f"rank 1: no progress for {10 * LIMIT_S} s")

    def test_rank_0_may_take_its_time_between_trials(self, crew):
        crew.course.ended.set()
        assert beat(crew, 10 * LIMIT_S, lambda _: Stand((1, 2))) is None


class TestStore:
    def test_lost_store_is_a_search_error_that_names_rank_0(self):
        def gone(*arguments):
            raise DistNetworkError("Broken pipe\nException raised from sendBytes")

        line = Line(SimpleNamespace(set=gone), 1, 2)
        with pytest.raises(SearchError, match=r"rank 0: the store of .* is gone \(Broken pipe\)\n.*resume=True"):
            line.put("key")
        line.close()

    def test_store_that_does_not_answer_is_a_search_error_that_names_rank_0(self, monkeypatch):
        monkeypatch.setattr(lines, "_TICK_S", 0.01)
        answers = threading.Event()
        line = Line(SimpleNamespace(check=lambda keys: answers.wait()), 1, 2)
        line.patience = 0.05
        with pytest.raises(SearchError, match=r"rank 0: the store of .* has not answered for \d+ s"):
            line.has("key")
        with pytest.raises(SearchError, match="has not answered"):
            line.put("key")  # without waiting again: the double has no `set`
        answers.set()
        line.close()
