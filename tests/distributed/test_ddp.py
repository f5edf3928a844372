"""Searches over two ranks of a launcher, which are real processes with a gloo group."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import hpcompat as hp
from tests.helpers.trainers import create_trainer
from tests.helpers.waiting import wait_for, wait_for_output

SCRIPT = str(Path(__file__).with_name("scenarios.py"))
RECOVERED = (
    "made_here",
    "values_of_rank_0",
    "function_raises",
    "suggested_as_it_runs",
    "asked_on_rank_0_alone",
    "timeout",
    "callback_ends",
    "refused_by_rank_0",
    "callback_raises",
    "refused",
    "all_fail",
    "plain",
    "resumed",
    "undecided",
    "final_training",
    "pruned",
    "pruner_raises",
    "all_raise",
    "rank_1_raises_in_model_init",
    "function_of_trainers",
    "directories",
    "on_sigopt",
    "on_wandb",
)

Both = Callable[[str], list[Any]]


def reader(folder: Path) -> Both:
    """Return a function that reads what both ranks have left of a scenario."""
    return lambda name: [json.loads((folder / f"{name}.{rank}.json").read_text()) for rank in range(2)]


@contextmanager
def torchrun(folder: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    """Run the scenarios under torchrun."""
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    with started([*launch, SCRIPT, str(folder), *names], {}) as process:
        yield process


@contextmanager
def started(arguments: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(hp.__file__).parents[1]), **environment}
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Launch all scenarios after which the ranks can go on, once; return their reader."""
    folder = tmp_path_factory.mktemp("ddp")
    with torchrun(folder, *RECOVERED) as process:
        output = wait_for_output(process)
    assert process.returncode == 0, output
    return reader(folder)


def outcomes(seen: Any) -> list[tuple[str, str | None]]:
    return [(trial["state"], trial["cause"]) for trial in seen["trials"]]


DONE = ("COMPLETE", None)


def same(both: Both, name: str) -> Any:
    """Return what rank 0 has seen, and assert that rank 1 has seen the same, but for the backend's own object."""
    zero, one = both(name)
    assert (zero.pop("native"), one.pop("native")) == (True, False)
    assert zero["trials"] == one["trials"]
    assert zero["interrupted"] == one["interrupted"]
    return zero


@contextmanager
def started_ranks(folder: Path, name: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start two ranks without a launcher that watches them: the environment names their group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [SCRIPT, str(folder), name]
    with started(command, {**variables, "RANK": "0"}) as zero, started(command, {**variables, "RANK": "1"}) as one:
        yield [zero, one]


class TestTrials:
    def test_two_ranks_give_trials_of_one_process_with_whole_batch(self, both, tmp_path):
        alone = hp.search(
            create_trainer(str(tmp_path / "out"), num_train_epochs=2),
            {"learning_rate": hp.Float(1e-4, 1e-1, log=True)},
            n_trials=3,
            seed=0,
            progress=False,
        )
        trials = same(both, "plain")["trials"]
        assert [trial["params"] for trial in trials] == [trial.params for trial in alone.trials]
        assert [trial["values"] for trial in trials] == [
            pytest.approx(trial.values, rel=1e-5) for trial in alone.trials
        ]
        reports = [list(trial["intermediate_values"].values()) for trial in trials]
        assert reports == [pytest.approx(list(trial.intermediate_values.values()), rel=1e-5) for trial in alone.trials]

    def test_final_training_repeats_trial(self, both):
        for loss, value in both("final_training"):
            assert loss == pytest.approx(value, rel=1e-5)

    def test_value_is_that_of_rank_0(self, both):
        for trial in same(both, "values_of_rank_0")["trials"]:
            assert trial["values"] == [trial["params"]["x"]]

    def test_suggested_while_running_is_same_on_all_ranks(self, both):
        zero, one = both("suggested_as_it_runs")
        assert zero["drawn"] == one["drawn"] and len(set(zero["drawn"])) == 3
        assert [trial["values"] for trial in zero["trials"]] == [[value] for value in zero["drawn"]]
        assert [trial["params"]["late"] for trial in zero["trials"]] == zero["drawn"]

    def test_user_attrs_and_constraints_are_those_of_rank_0(self, both):
        zero, one = both("suggested_as_it_runs")
        for seen in (zero, one):
            assert [(trial["user_attrs"], trial["constraints"]) for trial in seen["trials"]] == [
                ({"rank": 0}, {"room": -0.5})
            ] * 3
        noted = [{key: value for key, value in attrs.items() if key[:8] != "hpcompat"} for attrs in zero["noted"]]
        assert noted == [{"rank": 0}] * 3

    def test_all_ranks_use_run_directories_of_rank_0(self, both):
        zero, one = both("directories")
        assert zero["used"] == one["used"] and len(set(zero["used"])) == 3
        assert zero["left"] == one["left"] == [zero["best"]]
        assert zero["states"] == ["rng_state_0.pth", "rng_state_1.pth"]


class TestSearch:
    def test_group_only_named_by_launcher_is_made(self, both):
        for seen in both("made_here"):
            assert seen["initialised"] == [False, True, True, True]

    @pytest.mark.parametrize("name", ["on_sigopt", "on_wandb"])
    def test_in_process_backend_completes(self, both, name):
        assert outcomes(same(both, name)) == [DONE, DONE]

    def test_resume_continues_on_all_ranks(self, both):
        seen = same(both, "resumed")
        assert outcomes(seen) == [DONE] * 3
        assert seen["trials"][0]["params"] == seen["first"]

    def test_undecided_objective_keeps_trained_trial_on_all_ranks(self, both):
        zero, one = both("undecided")
        assert one["error"][1] in zero["error"][1]  # which says what is in the journal too
        assert "which metric is the objective?" in zero["error"][1]
        assert zero["trials"] == one["trials"]
        assert zero["ranks"] == [0, 1]
        assert outcomes(zero) == [DONE] * 2
        assert zero["trials"][0]["values"] == [100.0]

    @pytest.mark.parametrize("name", ["timeout", "callback_ends"])
    def test_end_reaches_all_ranks(self, both, name):
        assert 0 < len(same(both, name)["trials"]) < 10**6

    def test_callbacks_are_called_on_rank_0_only(self, both):
        assert [seen["finished"] for seen in both("callback_ends")] == [[0, 1, 2], []]

    @pytest.mark.parametrize(
        ("name", "kind", "says"),
        [
            ("refused_by_rank_0", "BackendError", "unable to open database file"),
            (
                "all_fail",
                "SearchError",
                "all 2 trials failed\n  trials 0, 1: rank 0: ZeroDivisionError: division by zero",
            ),
        ],
    )
    def test_error_is_raised_on_all_ranks(self, both, name, kind, says):
        zero, one = both(name)
        assert zero == one
        assert zero[0] == kind and says in zero[1]

    def test_raising_callback_ends_all_ranks(self, both):
        zero, one = both("callback_raises")
        assert zero == one == ["SearchError", "a callback raised LookupError: a callback's own"]

    def test_unsupported_request_is_refused_on_all_ranks(self, both):
        for ray, jobs in both("refused"):
            assert ray.startswith("the ray backend cannot search from 2 ranks of a launcher")
            assert "let Ray give each trial its workers" in ray
            assert "n_jobs: expected 1, got 2" in jobs


class TestPruner:
    def test_pruned_trial_stops_on_all_ranks(self, both):
        states = [trial["state"] for trial in same(both, "pruned")["trials"]]
        assert states == ["COMPLETE", "PRUNED", "COMPLETE"]
        for seen in both("pruned"):
            assert seen["steps"] == [8, 4, 8]
            assert seen["ranks"] == [0, 1]

    def test_pruner_asked_on_rank_0_only_completes(self, both):
        assert outcomes(same(both, "asked_on_rank_0_alone")) == [DONE, DONE]


class TestFailedTrial:
    @pytest.mark.parametrize(
        ("name", "cause"),
        [
            ("all_raise", "rank 0: ValueError: odd 0"),
            ("rank_1_raises_in_model_init", "rank 1: ValueError: odd 1"),
            ("function_of_trainers", "rank 1: ValueError: odd 1"),
            ("pruner_raises", "rank 0: OSError: the storage is gone"),
        ],
    )
    def test_error_of_any_rank_fails_trial_and_search_goes_on(self, both, name, cause):
        assert outcomes(same(both, name)) == [DONE, ("FAILED", cause), DONE]
        assert [seen["ranks"] for seen in both(name)] == [[0, 1], [0, 1]]

    def test_function_raising_on_any_rank_fails_trial(self, both):
        failed = [("FAILED", f"rank {rank}: ValueError: odd {rank}") for rank in range(2)]
        assert outcomes(same(both, "function_raises")) == [DONE, failed[0], DONE, failed[1], DONE]

    def test_error_in_middle_of_training_records_trial_and_ends_search(self, tmp_path):
        with torchrun(tmp_path, "rank_1_raises_mid_train") as process:
            output = wait_for_output(process)
        assert process.returncode != 0
        finished = json.loads((tmp_path / "finished.0.json").read_text())
        assert finished == [[0, "COMPLETE", None], [1, "FAILED", "rank 1: ValueError: odd 1"]], output
        journal = (tmp_path / "rank_1_raises_mid_train" / "hpcompat-journal.jsonl").read_text().splitlines()
        states = [record["state"] for record in map(json.loads, journal) if "state" in record]
        assert states == ["COMPLETE", "FAILED"]
        assert "rank 1: ValueError: odd 1" in json.loads((tmp_path / "error.1.json").read_text())


class TestCtrlC:
    def test_ctrl_c_during_training_stops_all_ranks_at_one_step(self, tmp_path):
        with torchrun(tmp_path, "ctrl_c") as process:
            for rank in range(2):
                wait_for_file(tmp_path / f"begun.{rank}.json", process)
            process.send_signal(signal.SIGINT)
            output = wait_for_output(process)
        assert (tmp_path / "ctrl_c.0.json").exists(), output
        both = reader(tmp_path)
        assert [seen["ranks"] for seen in both("ctrl_c")] == [[0, 1], [0, 1]]
        seen = same(both, "ctrl_c")
        assert seen["interrupted"]
        assert [trial["params"] for trial in seen["trials"]] == [{"num_train_epochs": 1}]

    def test_ctrl_c_on_one_rank_interrupts_all(self, tmp_path):
        with started_ranks(tmp_path, "ctrl_c_on_rank_1") as ranks:
            for rank in range(2):
                wait_for_file(tmp_path / f"begun.{rank}.json", ranks[rank])
            ranks[1].send_signal(signal.SIGINT)
            outputs = [wait_for_output(process) for process in ranks]
        assert [process.returncode for process in ranks] == [0, 0], outputs
        seen = same(reader(tmp_path), "ctrl_c_on_rank_1")
        assert seen["interrupted"]
        assert outcomes(seen) == [DONE, DONE]


class TestRankFailure:
    """A rank fails in the second of three trials, and the search is resumed afterwards."""

    DDP_TIMEOUT_S = 20  # scenarios.DDP_TIMEOUT_S

    def outcome(self, folder: Path, rank: int) -> Any:
        """Return what the callback of rank 0 was called with, and the error of a rank."""
        finished, error = folder / "finished.0.json", folder / f"error.{rank}.json"
        return [json.loads(path.read_text()) if path.exists() else None for path in (finished, error)]

    def resume(self, folder: Path, name: str) -> list[Any]:
        """Resume the search, and return what all ranks return."""
        with torchrun(folder, name) as process:
            output = wait_for_output(process)
        assert process.returncode == 0, output
        return outcomes(same(reader(folder), "failing"))

    @pytest.mark.parametrize(
        ("where", "rank"),
        [("model_init", 1), ("training_step", 0), ("callback", 1), ("compute_metrics", 0), ("function", 1)],
    )
    def test_hung_rank_fails_trial_and_ends_search(self, tmp_path, where, rank):
        name = f"failing:sleeps:{where}:{rank}"
        with torchrun(tmp_path, name) as process:
            output = wait_for_output(process)
        assert process.returncode != 0
        cause = f"rank {rank}: no progress for {self.DDP_TIMEOUT_S} s, while others wait for it (ddp_timeout)"
        finished, error = self.outcome(tmp_path, 0)
        assert finished == [[0, "COMPLETE", None], [1, "FAILED", cause]], output
        assert cause in error and "resume=True" in error
        assert self.resume(tmp_path, name) == [DONE, ("FAILED", cause), DONE]

    @pytest.mark.parametrize("where", ["training_step", "function"])
    def test_killed_rank_1_is_named(self, tmp_path, where):
        name = f"failing:is_killed:{where}:1"
        with started_ranks(tmp_path, name) as ranks:
            outputs = [wait_for_output(process) for process in ranks]
        assert [process.returncode for process in ranks] == [1, -signal.SIGKILL], outputs
        finished, error = self.outcome(tmp_path, 0)
        pid = (tmp_path / "failed").read_text()
        cause = f"rank 1: its process has ended (pid {pid} on {socket.gethostname()})"
        assert finished == [[0, "COMPLETE", None], [1, "FAILED", cause]]
        assert cause in error and "resume=True" in error
        assert self.resume(tmp_path, name) == [DONE, ("FAILED", cause), DONE]

    @pytest.mark.parametrize("where", ["training_step", "function"])
    def test_killed_rank_0_is_named_by_others(self, tmp_path, where):
        name = f"failing:is_killed:{where}:0"
        with started_ranks(tmp_path, name) as ranks:
            outputs = [wait_for_output(process) for process in ranks]
        assert [process.returncode for process in ranks] == [-signal.SIGKILL, 1], outputs
        _, error = self.outcome(tmp_path, 1)
        assert "rank 0: " in error and "resume=True" in error, outputs
        assert self.resume(tmp_path, name) == [DONE] * 3  # what it was at is run again

    @pytest.mark.parametrize("rank", [0, 1])
    def test_stopped_rank_is_named_by_other(self, tmp_path, rank):
        name = f"failing:is_stopped:training_step:{rank}"
        with started_ranks(tmp_path, name) as ranks:
            output = wait_for_output(ranks[1 - rank])
        assert ranks[1 - rank].returncode == 1, output
        assert f"rank {rank}: " in output and "resume=True" in output  # gloo has no way out for a SearchError to take
        states = [state for state, _ in self.resume(tmp_path, name)]
        assert states == ["COMPLETE", "COMPLETE" if rank == 0 else "FAILED", "COMPLETE"]

    @pytest.mark.parametrize("rank", [0, 1])
    def test_killed_rank_under_torchrun_is_resumable(self, tmp_path, rank):
        name = f"failing:is_killed:training_step:{rank}"
        with torchrun(tmp_path, name) as process:
            output = wait_for_output(process)
        assert process.returncode != 0, output
        assert (tmp_path / "failed").exists()
        states = [state for state, _ in self.resume(tmp_path, name)]
        assert (states[0], states[2]) == ("COMPLETE", "COMPLETE")


EXIT_CODES = {"own": 70, "none": -signal.SIGTERM}  # scenarios.OWN_EXIT_CODE; that of the signal


class TestSigterm:
    """SIGTERM comes in the second of three trials, and the search is resumed afterwards."""

    @pytest.mark.parametrize("handler", EXIT_CODES)
    @pytest.mark.parametrize("rank", [0, 1])
    def test_sigterm_for_one_rank_ends_all(self, tmp_path, handler, rank):
        with started_ranks(tmp_path, f"terminated:{handler}") as ranks:
            wait_for_file(tmp_path / f"begun.{rank}.json", ranks[rank])
            ranks[rank].send_signal(signal.SIGTERM)
            outputs = [wait_for_output(process) for process in ranks]
        assert [process.returncode for process in ranks] == [EXIT_CODES[handler]] * 2, outputs
        self.assert_resumable(tmp_path, handler)

    @pytest.mark.parametrize("handler", EXIT_CODES)
    def test_sigterm_for_torchrun_ends_all(self, tmp_path, handler):
        with torchrun(tmp_path, f"terminated:{handler}") as process:
            for rank in range(2):
                wait_for_file(tmp_path / f"begun.{rank}.json", process)
            process.send_signal(signal.SIGTERM)
            output = wait_for_output(process)
        assert process.returncode != 0, output
        self.assert_resumable(tmp_path, handler)

    def assert_resumable(self, folder: Path, handler: str) -> None:
        """Assert that the interrupted trial has not failed: it is run again."""
        assert json.loads((folder / "finished.0.json").read_text()) == [[0, *DONE]]
        with torchrun(folder, f"terminated:{handler}") as process:
            output = wait_for_output(process)
        assert process.returncode == 0, output
        assert outcomes(same(reader(folder), "terminated")) == [DONE] * 3


def wait_for_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait for a file that a process writes."""
    wait_for(lambda: path.exists() or process.poll() is not None, f"{path} never comes")
    assert path.exists(), process.communicate()[0]
