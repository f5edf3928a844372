"""Searches on two ranks of a launcher: real processes in a gloo group."""

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
SHARED_LAUNCH = (
    "group_is_created",
    "values_of_rank_0",
    "function_raises",
    "suggest_in_trial",
    "prune_on_rank_0_only",
    "timeout",
    "callback_stops_search",
    "rank_0_cannot_open_storage",
    "callback_raises",
    "unsupported_options",
    "all_fail",
    "train",
    "resume",
    "ambiguous_objective",
    "final_training",
    "prune",
    "pruner_raises",
    "all_raise",
    "rank_1_raises_in_model_init",
    "function_of_trainers",
    "directories",
    "train_on_sigopt",
    "train_on_wandb",
)

ReadBoth = Callable[[str], list[Any]]


def make_reader(folder: Path) -> ReadBoth:
    """Return a function that reads what a scenario has returned on both ranks."""
    return lambda name: [json.loads((folder / f"{name}.{rank}.json").read_text()) for rank in range(2)]


@contextmanager
def torchrun(folder: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    """Run the scenarios under torchrun."""
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    with start_process([*launch, SCRIPT, str(folder), *names], {}) as process:
        yield process


@contextmanager
def start_process(arguments: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
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
def read_both(tmp_path_factory: pytest.TempPathFactory) -> ReadBoth:
    """Run all scenarios that leave the ranks usable in one launch; return a reader of their results."""
    folder = tmp_path_factory.mktemp("ddp")
    with torchrun(folder, *SHARED_LAUNCH) as process:
        output = wait_for_output(process)
    assert process.returncode == 0, output
    return make_reader(folder)


def outcomes(result: Any) -> list[tuple[str, str | None]]:
    return [(trial["state"], trial["cause"]) for trial in result["trials"]]


COMPLETE = ("COMPLETE", None)


def read_equal(read_both: ReadBoth, name: str) -> Any:
    """Assert that the results of both ranks are equal, except for the native object of rank 0, and return one."""
    zero, one = read_both(name)
    assert (zero.pop("native"), one.pop("native")) == (True, False)
    assert zero["trials"] == one["trials"]
    assert zero["interrupted"] == one["interrupted"]
    return zero


@contextmanager
def start_ranks(folder: Path, name: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start two ranks without a launcher that supervises them; the environment names their group."""
    with socket.socket() as free_socket:
        free_socket.bind(("127.0.0.1", 0))
        port = free_socket.getsockname()[1]
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [SCRIPT, str(folder), name]
    with (
        start_process(command, {**variables, "RANK": "0"}) as zero,
        start_process(command, {**variables, "RANK": "1"}) as one,
    ):
        yield [zero, one]


class TestTrials:
    def test_two_ranks_give_trials_of_one_process_with_equal_total_batch(self, read_both, tmp_path):
        expected = hp.search(
            create_trainer(str(tmp_path / "out"), num_train_epochs=2),
            {"learning_rate": hp.Float(1e-4, 1e-1, log=True)},
            n_trials=3,
            seed=0,
            progress=False,
        )
        trials = read_equal(read_both, "train")["trials"]
        assert [trial["params"] for trial in trials] == [trial.params for trial in expected.trials]
        assert [trial["values"] for trial in trials] == [
            pytest.approx(trial.values, rel=1e-5) for trial in expected.trials
        ]
        reports = [list(trial["intermediate_values"].values()) for trial in trials]
        assert reports == [
            pytest.approx(list(trial.intermediate_values.values()), rel=1e-5) for trial in expected.trials
        ]

    def test_final_training_repeats_trial(self, read_both):
        for loss, value in read_both("final_training"):
            assert loss == pytest.approx(value, rel=1e-5)

    def test_value_is_that_of_rank_0(self, read_both):
        for trial in read_equal(read_both, "values_of_rank_0")["trials"]:
            assert trial["values"] == [trial["params"]["x"]]

    def test_suggestion_in_trial_is_equal_on_all_ranks(self, read_both):
        zero, one = read_both("suggest_in_trial")
        assert zero["suggested"] == one["suggested"] and len(set(zero["suggested"])) == 3
        assert [trial["values"] for trial in zero["trials"]] == [[value] for value in zero["suggested"]]
        assert [trial["params"]["late"] for trial in zero["trials"]] == zero["suggested"]

    def test_user_attrs_and_constraints_are_those_of_rank_0(self, read_both):
        zero, one = read_both("suggest_in_trial")
        for result in (zero, one):
            assert [(trial["user_attrs"], trial["constraints"]) for trial in result["trials"]] == [
                ({"rank": 0}, {"room": -0.5})
            ] * 3
        native_attrs = [
            {key: value for key, value in attrs.items() if key[:8] != "hpcompat"} for attrs in zero["user_attrs"]
        ]
        assert native_attrs == [{"rank": 0}] * 3

    def test_all_ranks_use_run_directories_of_rank_0(self, read_both):
        zero, one = read_both("directories")
        assert zero["used"] == one["used"] and len(set(zero["used"])) == 3
        assert zero["remaining"] == one["remaining"] == [zero["best"]]
        assert zero["states"] == ["rng_state_0.pth", "rng_state_1.pth"]


class TestSearch:
    def test_group_named_by_environment_is_created(self, read_both):
        for result in read_both("group_is_created"):
            assert result["initialised"] == [False, True, True, True]

    @pytest.mark.parametrize("name", ["train_on_sigopt", "train_on_wandb"])
    def test_in_process_backend_completes(self, read_both, name):
        assert outcomes(read_equal(read_both, name)) == [COMPLETE, COMPLETE]

    def test_resume_continues_on_all_ranks(self, read_both):
        result = read_equal(read_both, "resume")
        assert outcomes(result) == [COMPLETE] * 3
        assert result["trials"][0]["params"] == result["first"]

    def test_ambiguous_objective_keeps_trained_trial_on_all_ranks(self, read_both):
        zero, one = read_both("ambiguous_objective")
        assert one["error"][1] in zero["error"][1]  # the error of rank 0 also mentions the journal
        assert "which metric is the objective?" in zero["error"][1]
        assert zero["trials"] == one["trials"]
        assert zero["ranks"] == [0, 1]
        assert outcomes(zero) == [COMPLETE] * 2
        assert zero["trials"][0]["values"] == [100.0]

    @pytest.mark.parametrize("name", ["timeout", "callback_stops_search"])
    def test_end_reaches_all_ranks(self, read_both, name):
        assert 0 < len(read_equal(read_both, name)["trials"]) < 10**6

    def test_callbacks_are_called_on_rank_0_only(self, read_both):
        assert [result["finished"] for result in read_both("callback_stops_search")] == [[0, 1, 2], []]

    @pytest.mark.parametrize(
        ("name", "error_type", "message"),
        [
            ("rank_0_cannot_open_storage", "BackendError", "unable to open database file"),
            (
                "all_fail",
                "SearchError",
                "all 2 trials failed\n  trials 0, 1: rank 0: ZeroDivisionError: division by zero",
            ),
        ],
    )
    def test_error_is_raised_on_all_ranks(self, read_both, name, error_type, message):
        zero, one = read_both(name)
        assert zero == one
        assert zero[0] == error_type and message in zero[1]

    def test_raising_callback_ends_all_ranks(self, read_both):
        zero, one = read_both("callback_raises")
        assert zero == one == ["SearchError", "a callback raised LookupError: a callback's own"]

    def test_unsupported_options_raise_on_all_ranks(self, read_both):
        for ray, jobs in read_both("unsupported_options"):
            assert ray.startswith("the ray backend cannot search from 2 ranks of a launcher")
            assert "let Ray give each trial its workers" in ray
            assert "n_jobs: expected 1, got 2" in jobs


class TestPruner:
    def test_pruned_trial_stops_on_all_ranks(self, read_both):
        states = [trial["state"] for trial in read_equal(read_both, "prune")["trials"]]
        assert states == ["COMPLETE", "PRUNED", "COMPLETE"]
        for result in read_both("prune"):
            assert result["steps"] == [8, 4, 8]
            assert result["ranks"] == [0, 1]

    def test_should_prune_called_on_rank_0_only_completes(self, read_both):
        assert outcomes(read_equal(read_both, "prune_on_rank_0_only")) == [COMPLETE, COMPLETE]


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
    def test_error_of_any_rank_fails_trial_and_search_continues(self, read_both, name, cause):
        assert outcomes(read_equal(read_both, name)) == [COMPLETE, ("FAILED", cause), COMPLETE]
        assert [result["ranks"] for result in read_both(name)] == [[0, 1], [0, 1]]

    def test_function_raising_on_any_rank_fails_trial(self, read_both):
        failed = [("FAILED", f"rank {rank}: ValueError: odd {rank}") for rank in range(2)]
        assert outcomes(read_equal(read_both, "function_raises")) == [
            COMPLETE,
            failed[0],
            COMPLETE,
            failed[1],
            COMPLETE,
        ]

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
                wait_for_file(tmp_path / f"started.{rank}.json", process)
            process.send_signal(signal.SIGINT)
            output = wait_for_output(process)
        assert (tmp_path / "ctrl_c.0.json").exists(), output
        read_both = make_reader(tmp_path)
        assert [result["ranks"] for result in read_both("ctrl_c")] == [[0, 1], [0, 1]]
        result = read_equal(read_both, "ctrl_c")
        assert result["interrupted"]
        assert [trial["params"] for trial in result["trials"]] == [{"num_train_epochs": 1}]

    def test_ctrl_c_on_one_rank_interrupts_all(self, tmp_path):
        with start_ranks(tmp_path, "ctrl_c_on_rank_1") as ranks:
            for rank in range(2):
                wait_for_file(tmp_path / f"started.{rank}.json", ranks[rank])
            ranks[1].send_signal(signal.SIGINT)
            outputs = [wait_for_output(process) for process in ranks]
        assert [process.returncode for process in ranks] == [0, 0], outputs
        result = read_equal(make_reader(tmp_path), "ctrl_c_on_rank_1")
        assert result["interrupted"]
        assert outcomes(result) == [COMPLETE, COMPLETE]


class TestRankFailure:
    """A rank fails in the second of three trials, then the search is resumed."""

    DDP_TIMEOUT_S = 20  # scenarios.DDP_TIMEOUT_S

    def read_outcome(self, folder: Path, rank: int) -> Any:
        """Return the finished trials that the callback of rank 0 received, and the error of a rank."""
        finished, error = folder / "finished.0.json", folder / f"error.{rank}.json"
        return [json.loads(path.read_text()) if path.exists() else None for path in (finished, error)]

    def resume(self, folder: Path, name: str) -> list[Any]:
        """Resume the search, and return the outcomes of its trials."""
        with torchrun(folder, name) as process:
            output = wait_for_output(process)
        assert process.returncode == 0, output
        return outcomes(read_equal(make_reader(folder), "rank_fails"))

    @pytest.mark.parametrize(
        ("where", "rank"),
        [("model_init", 1), ("training_step", 0), ("callback", 1), ("compute_metrics", 0), ("function", 1)],
    )
    def test_hung_rank_fails_trial_and_ends_search(self, tmp_path, where, rank):
        name = f"rank_fails:sleep:{where}:{rank}"
        with torchrun(tmp_path, name) as process:
            output = wait_for_output(process)
        assert process.returncode != 0
        cause = f"rank {rank}: no progress for {self.DDP_TIMEOUT_S} s, while others wait for it (ddp_timeout)"
        finished, error = self.read_outcome(tmp_path, 0)
        assert finished == [[0, "COMPLETE", None], [1, "FAILED", cause]], output
        assert cause in error and "resume=True" in error
        assert self.resume(tmp_path, name) == [COMPLETE, ("FAILED", cause), COMPLETE]

    @pytest.mark.parametrize("where", ["training_step", "function"])
    def test_killed_rank_1_is_named(self, tmp_path, where):
        name = f"rank_fails:kill:{where}:1"
        with start_ranks(tmp_path, name) as ranks:
            outputs = [wait_for_output(process) for process in ranks]
        assert [process.returncode for process in ranks] == [1, -signal.SIGKILL], outputs
        finished, error = self.read_outcome(tmp_path, 0)
        pid = (tmp_path / "failed").read_text()
        cause = f"rank 1: its process has ended (pid {pid} on {socket.gethostname()})"
        assert finished == [[0, "COMPLETE", None], [1, "FAILED", cause]]
        assert cause in error and "resume=True" in error
        assert self.resume(tmp_path, name) == [COMPLETE, ("FAILED", cause), COMPLETE]

    @pytest.mark.parametrize("where", ["training_step", "function"])
    def test_killed_rank_0_is_named_by_others(self, tmp_path, where):
        name = f"rank_fails:kill:{where}:0"
        with start_ranks(tmp_path, name) as ranks:
            outputs = [wait_for_output(process) for process in ranks]
        assert [process.returncode for process in ranks] == [-signal.SIGKILL, 1], outputs
        _, error = self.read_outcome(tmp_path, 1)
        assert "rank 0: " in error and "resume=True" in error, outputs
        assert self.resume(tmp_path, name) == [COMPLETE] * 3  # the interrupted trial runs again

    @pytest.mark.parametrize("rank", [0, 1])
    def test_stopped_rank_is_named_by_other(self, tmp_path, rank):
        name = f"rank_fails:stop:training_step:{rank}"
        with start_ranks(tmp_path, name) as ranks:
            output = wait_for_output(ranks[1 - rank])
        assert ranks[1 - rank].returncode == 1, output
        assert (
            f"rank {rank}: " in output and "resume=True" in output
        )  # gloo blocks the main thread, so the error is only printed
        states = [state for state, _ in self.resume(tmp_path, name)]
        assert states == ["COMPLETE", "COMPLETE" if rank == 0 else "FAILED", "COMPLETE"]

    @pytest.mark.parametrize("rank", [0, 1])
    def test_killed_rank_under_torchrun_is_resumable(self, tmp_path, rank):
        name = f"rank_fails:kill:training_step:{rank}"
        with torchrun(tmp_path, name) as process:
            output = wait_for_output(process)
        assert process.returncode != 0, output
        assert (tmp_path / "failed").exists()
        states = [state for state, _ in self.resume(tmp_path, name)]
        assert (states[0], states[2]) == ("COMPLETE", "COMPLETE")


EXIT_CODES = {"user": 70, "default": -signal.SIGTERM}  # 70 is scenarios.HANDLER_EXIT_CODE


class TestSigterm:
    """SIGTERM arrives in the second of three trials, then the search is resumed."""

    @pytest.mark.parametrize("handler", EXIT_CODES)
    @pytest.mark.parametrize("rank", [0, 1])
    def test_sigterm_for_one_rank_ends_all(self, tmp_path, handler, rank):
        with start_ranks(tmp_path, f"sigterm:{handler}") as ranks:
            wait_for_file(tmp_path / f"started.{rank}.json", ranks[rank])
            ranks[rank].send_signal(signal.SIGTERM)
            outputs = [wait_for_output(process) for process in ranks]
        assert [process.returncode for process in ranks] == [EXIT_CODES[handler]] * 2, outputs
        self.assert_resumable(tmp_path, handler)

    @pytest.mark.parametrize("handler", EXIT_CODES)
    def test_sigterm_for_torchrun_ends_all(self, tmp_path, handler):
        with torchrun(tmp_path, f"sigterm:{handler}") as process:
            for rank in range(2):
                wait_for_file(tmp_path / f"started.{rank}.json", process)
            process.send_signal(signal.SIGTERM)
            output = wait_for_output(process)
        assert process.returncode != 0, output
        self.assert_resumable(tmp_path, handler)

    def assert_resumable(self, folder: Path, handler: str) -> None:
        """Assert that the interrupted trial is not failed, and that it runs again."""
        assert json.loads((folder / "finished.0.json").read_text()) == [[0, *COMPLETE]]
        with torchrun(folder, f"sigterm:{handler}") as process:
            output = wait_for_output(process)
        assert process.returncode == 0, output
        assert outcomes(read_equal(make_reader(folder), "sigterm")) == [COMPLETE] * 3


def wait_for_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the process has written the file."""
    wait_for(lambda: path.exists() or process.poll() is not None, f"{path} is not written")
    assert path.exists(), process.communicate()[0]
