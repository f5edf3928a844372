"""The loop of a search, with engines, executors and recorders that log their calls."""

from __future__ import annotations

from collections import deque

import pytest

from hpcompat.space import SearchSpace
from hpcompat.trials.config import SearchConfig, Suggestion
from hpcompat.trials.loop import Engine, InlineExecutor, run_loop
from hpcompat.trials.trial import Trial


class Log(list):
    """The calls, in order."""


class CountingEngine(Engine):
    """Suggests the numbers 0, 1, 2, …, at most `n_left` of them."""

    native = "the engine's own"

    def __init__(self, log: Log, n_left: int = 100) -> None:
        self.log = log
        self.n_left = n_left
        self.existing: tuple[Trial, ...] = ()
        self.other_trials: tuple[Trial, ...] = ()
        self.fails = False

    def ask(self, index):
        if index == self.n_left:
            return None
        self.log.append(("ask", index))
        return Suggestion(index + len(self.existing), {"x": index})

    def tell(self, suggestion, trial):
        self.log.append(("tell", trial.number))
        if self.fails:
            raise ConnectionError("refused")
        return Trial(trial.number, trial.params, trial.values, user_attrs={"is_recorded": True})

    def abandon(self, suggestion, error):
        self.log.append(("abandon", suggestion.number, type(error).__name__))

    def existing_trials(self):
        return self.existing

    def trials_of_other_processes(self, own):
        return self.other_trials


class LoggingRecorder:
    """Ends the search after the trial with number `last`."""

    def __init__(self, log: Log, last: int | None = None) -> None:
        self.log = log
        self.last = last

    def begin(self, suggestion):
        self.log.append(("begin", suggestion.number))
        return suggestion

    def raise_if_stopped(self):
        pass

    def save(self, trial):
        self.log.append(("save", trial.number))

    def finish(self, trial):
        self.log.append(("finish", trial.number, dict(trial.user_attrs)))
        return trial.number == self.last


class TwoSlots:
    """Runs two suggestions at a time; the later one finishes first."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.running: deque[Suggestion] = deque()

    @property
    def has_free_slot(self):
        return len(self.running) < 2

    def submit(self, suggestion):
        self.running.append(suggestion)

    def wait(self):
        suggestion = self.running.pop()
        self.log.append(("wait", suggestion.number))
        return evaluate(suggestion)


def evaluate(suggestion: Suggestion) -> Trial:
    return Trial(suggestion.number, suggestion.params, (float(suggestion.number),))


def config(n_trials: int, **fields) -> SearchConfig:
    return SearchConfig(SearchSpace(), ("minimize",), n_trials, **fields)


@pytest.fixture
def log() -> Log:
    return Log()


class TestOrder:
    def test_trial_is_saved_before_engine_and_callbacks_receive_it(self, log):
        run_loop(CountingEngine(log), config(1), InlineExecutor(evaluate), LoggingRecorder(log))
        assert log == [("ask", 0), ("begin", 0), ("save", 0), ("tell", 0), ("finish", 0, {"is_recorded": True})]

    def test_free_slots_are_filled_before_a_trial_is_awaited(self, log):
        result = run_loop(CountingEngine(log), config(3), TwoSlots(log), LoggingRecorder(log))
        assert [entry for entry in log if entry[0] in ("ask", "wait")] == [
            ("ask", 0),
            ("ask", 1),
            ("wait", 1),
            ("ask", 2),
            ("wait", 2),
            ("wait", 0),
        ]
        assert [trial.number for trial in result.trials] == [0, 1, 2]


class TestEnd:
    def test_existing_trials_count_in_n_trials(self, log):
        engine = CountingEngine(log)
        engine.existing = (Trial(0, {}, (9.0,)), Trial(1, {}, (9.0,)))
        result = run_loop(engine, config(3), InlineExecutor(evaluate), LoggingRecorder(log))
        assert [(trial.number, trial.value) for trial in result.trials] == [(0, 9.0), (1, 9.0), (2, 2.0)]

    def test_engine_without_suggestion_ends_search(self, log):
        result = run_loop(CountingEngine(log, n_left=2), config(5), InlineExecutor(evaluate), LoggingRecorder(log))
        assert len(result.trials) == 2
        assert (result.native, result.interrupted) == ("the engine's own", False)

    def test_exhausted_engine_ends_search(self, log):
        engine = CountingEngine(log)
        engine.is_exhausted = True
        assert len(run_loop(engine, config(5), InlineExecutor(evaluate), LoggingRecorder(log)).trials) == 1

    def test_callback_ends_search_after_running_trials(self, log):
        result = run_loop(CountingEngine(log), config(9), TwoSlots(log), LoggingRecorder(log, last=1))
        assert [trial.number for trial in result.trials] == [0, 1]

    def test_timeout_that_has_passed_starts_no_trial(self, log):
        result = run_loop(CountingEngine(log), config(3, timeout=1e-9), InlineExecutor(evaluate), LoggingRecorder(log))
        assert (result.trials, log) == ((), [])

    def test_trials_of_other_processes_are_part_of_the_result(self, log):
        engine = CountingEngine(log)
        engine.other_trials = (Trial(7, {}, (0.0,)),)
        result = run_loop(engine, config(1), InlineExecutor(evaluate), LoggingRecorder(log))
        assert [trial.number for trial in result.trials] == [0, 7]


class TestErrors:
    def test_error_in_tell_is_raised_after_trial_is_saved_and_finished(self, log):
        engine = CountingEngine(log)
        engine.fails = True
        with pytest.raises(ConnectionError):
            run_loop(engine, config(2), InlineExecutor(evaluate), LoggingRecorder(log))
        assert log[-3:] == [("save", 0), ("tell", 0), ("finish", 0, {})]

    def test_trial_that_cannot_be_saved_is_told_to_engine_only(self, log):
        recorder = LoggingRecorder(log)

        def fail(trial):
            raise OSError("disk full")

        recorder.save = fail
        with pytest.raises(OSError, match="disk full"):
            run_loop(CountingEngine(log), config(2), InlineExecutor(evaluate), recorder)
        assert log[-1] == ("tell", 0)

    def test_error_in_evaluation_abandons_every_running_suggestion(self, log):
        executor = TwoSlots(log)

        def fail():
            raise RuntimeError("lost")

        executor.wait = fail
        with pytest.raises(RuntimeError, match="lost"):
            run_loop(CountingEngine(log), config(5), executor, LoggingRecorder(log))
        assert log[-2:] == [("abandon", 0, "RuntimeError"), ("abandon", 1, "RuntimeError")]

    def test_ctrl_c_keeps_finished_trials_and_abandons_running_ones(self, log):
        def interrupt(suggestion):
            if suggestion.number == 1:
                raise KeyboardInterrupt
            return evaluate(suggestion)

        result = run_loop(CountingEngine(log), config(5), InlineExecutor(interrupt), LoggingRecorder(log))
        assert ([trial.number for trial in result.trials], result.interrupted) == ([0], True)
        assert log[-1] == ("abandon", 1, "KeyboardInterrupt")

    def test_ctrl_c_before_first_finished_trial_is_raised(self, log):
        def interrupt(suggestion):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_loop(CountingEngine(log), config(5), InlineExecutor(interrupt), LoggingRecorder(log))
