"""Several ranks of a launcher, one search: real ones, two, over gloo."""

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
from patience import output_of, wait_for
from tiny import a_trainer

import hpcompat as hp

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
    """What both ranks have left of a scenario."""
    return lambda name: [json.loads((folder / f"{name}.{rank}.json").read_text()) for rank in range(2)]


@contextmanager
def torchrun(folder: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    """The scenarios under torchrun."""
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
    """One launch goes through all scenarios after which the ranks can go on."""
    folder = tmp_path_factory.mktemp("ddp")
    with torchrun(folder, *RECOVERED) as process:
        output = output_of(process)
    assert process.returncode == 0, output
    return reader(folder)


def outcomes(seen: Any) -> list[tuple[str, str | None]]:
    return [(trial["state"], trial["cause"]) for trial in seen["trials"]]


DONE = ("COMPLETE", None)


def same(both: Both, name: str) -> Any:
    """What rank 0 has seen, once it is what both have seen, but for the backend's own object."""
    zero, one = both(name)
    assert (zero.pop("native"), one.pop("native")) == (True, False)
    assert zero["trials"] == one["trials"]
    assert zero["interrupted"] == one["interrupted"]
    return zero


def test_the_trials_are_those_of_one_process_with_the_whole_batch(both, ours, tmp_path):
    alone = ours(
        a_trainer(str(tmp_path / "out"), num_train_epochs=2),
        {"learning_rate": hp.Float(1e-4, 1e-1, log=True)},
        n_trials=3,
    )
    trials = same(both, "plain")["trials"]
    assert [trial["params"] for trial in trials] == [trial.params for trial in alone.trials]
    assert [trial["values"] for trial in trials] == [pytest.approx(trial.values, rel=1e-5) for trial in alone.trials]
    reports = [list(trial["intermediate_values"].values()) for trial in trials]
    assert reports == [pytest.approx(list(trial.intermediate_values.values()), rel=1e-5) for trial in alone.trials]


def test_the_final_training_repeats_the_trial(both):
    for loss, value in both("final_training"):
        assert loss == pytest.approx(value, rel=1e-5)


def test_what_is_trained_before_the_objective_is_named_is_kept_by_all_ranks(both):
    zero, one = both("undecided")
    assert one["error"][1] in zero["error"][1]  # which says what is in the journal too
    assert "which metric is the objective?" in zero["error"][1]
    assert zero["trials"] == one["trials"]
    assert zero["ranks"] == [0, 1]
    assert outcomes(zero) == [DONE] * 2
    assert zero["trials"][0]["values"] == [100.0]


def test_a_search_is_resumed_on_all_ranks(both):
    seen = same(both, "resumed")
    assert outcomes(seen) == [DONE] * 3
    assert seen["trials"][0]["params"] == seen["first"]


@pytest.mark.parametrize("name", ["on_sigopt", "on_wandb"])
def test_every_backend_that_runs_in_process_has_it(both, name):
    assert outcomes(same(both, name)) == [DONE, DONE]


def test_a_pruned_trial_stops_on_all_ranks_and_the_search_goes_on(both):
    states = [trial["state"] for trial in same(both, "pruned")["trials"]]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE"]
    for seen in both("pruned"):
        assert seen["steps"] == [8, 4, 8]
        assert seen["ranks"] == [0, 1]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("all_raise", "rank 0: ValueError: odd 0"),
        ("rank_1_raises_in_model_init", "rank 1: ValueError: odd 1"),
        ("function_of_trainers", "rank 1: ValueError: odd 1"),
        ("pruner_raises", "rank 0: OSError: the storage is gone"),
    ],
)
def test_the_error_of_any_rank_is_the_trials_and_the_search_goes_on(both, name, cause):
    assert outcomes(same(both, name)) == [DONE, ("FAILED", cause), DONE]
    assert [seen["ranks"] for seen in both(name)] == [[0, 1], [0, 1]]


def test_a_function_may_raise_on_any_rank(both):
    failed = [("FAILED", f"rank {rank}: ValueError: odd {rank}") for rank in range(2)]
    assert outcomes(same(both, "function_raises")) == [DONE, failed[0], DONE, failed[1], DONE]


def test_the_value_is_that_of_rank_0(both):
    for trial in same(both, "values_of_rank_0")["trials"]:
        assert trial["values"] == [trial["params"]["x"]]


def test_what_the_engine_suggests_as_a_trial_runs_is_the_same_on_all_ranks(both):
    zero, one = both("suggested_as_it_runs")
    assert zero["drawn"] == one["drawn"] and len(set(zero["drawn"])) == 3
    assert [trial["values"] for trial in zero["trials"]] == [[value] for value in zero["drawn"]]
    assert [trial["params"]["late"] for trial in zero["trials"]] == zero["drawn"]


def test_what_a_trial_notes_is_that_of_rank_0_and_noted_once(both):
    zero, one = both("suggested_as_it_runs")
    for seen in (zero, one):
        assert [(trial["user_attrs"], trial["constraints"]) for trial in seen["trials"]] == [
            ({"rank": 0}, {"room": -0.5})
        ] * 3
    noted = [{key: value for key, value in attrs.items() if key[:8] != "hpcompat"} for attrs in zero["noted"]]
    assert noted == [{"rank": 0}] * 3


def test_a_function_may_ask_the_pruner_on_rank_0_alone(both):
    assert outcomes(same(both, "asked_on_rank_0_alone")) == [DONE, DONE]


@pytest.mark.parametrize("name", ["timeout", "callback_ends"])
def test_the_end_of_the_search_reaches_all_ranks(both, name):
    assert 0 < len(same(both, name)["trials"]) < 10**6


def test_callbacks_are_called_on_rank_0_alone(both):
    assert [seen["told"] for seen in both("callback_ends")] == [[0, 1, 2], []]


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("refused_by_rank_0", "BackendError", "unable to open database file"),
        ("all_fail", "SearchError", "all 2 trials failed\n  trials 0, 1: rank 0: ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_of_the_search_is_raised_on_all_ranks(both, name, kind, says):
    zero, one = both(name)
    assert zero == one
    assert zero[0] == kind and says in zero[1]


def test_a_callback_that_raises_on_rank_0_ends_the_search_on_all(both):
    zero, one = both("callback_raises")
    assert zero == one == ["SearchError", "a callback raised LookupError: a callback's own"]


def test_what_cannot_be_done_is_refused_on_all_ranks(both):
    for ray, jobs in both("refused"):
        assert ray.startswith("the ray backend cannot search from 2 ranks of a launcher")
        assert "let Ray give each trial its workers" in ray
        assert "n_jobs: unknown option" in jobs


def test_a_group_that_only_the_launcher_names_is_made(both):
    for seen in both("made_here"):
        assert seen["initialised"] == [False, True, True, True]


def test_all_ranks_use_the_directories_that_rank_0_made_and_keeps(both):
    zero, one = both("directories")
    assert zero["used"] == one["used"] and len(set(zero["used"])) == 3
    assert zero["left"] == one["left"] == [zero["best"]]
    assert zero["states"] == ["rng_state_0.pth", "rng_state_1.pth"]


# -- searches with an end of their own -------------------------------------------------------------------------


def test_a_rank_that_raises_in_the_middle_of_a_training_ends_the_search_with_its_trial_told(tmp_path):
    with torchrun(tmp_path, "rank_1_raises_mid_train") as process:
        output = output_of(process)
    assert process.returncode != 0
    told = json.loads((tmp_path / "told.0.json").read_text())
    assert told == [[0, "COMPLETE", None], [1, "FAILED", "rank 1: ValueError: odd 1"]], output
    journal = (tmp_path / "rank_1_raises_mid_train" / "hpcompat-journal.jsonl").read_text().splitlines()
    states = [record["state"] for record in map(json.loads, journal) if "state" in record]
    assert states == ["COMPLETE", "FAILED"]
    assert "rank 1: ValueError: odd 1" in json.loads((tmp_path / "error.1.json").read_text())


def test_ctrl_c_stops_all_ranks_at_one_step_and_returns_what_is_finished(tmp_path):
    with torchrun(tmp_path, "ctrl_c") as process:
        for rank in range(2):
            awaited(tmp_path / f"begun.{rank}.json", process)
        process.send_signal(signal.SIGINT)
        output = output_of(process)
    assert (tmp_path / "ctrl_c.0.json").exists(), output
    both = reader(tmp_path)
    assert [seen["ranks"] for seen in both("ctrl_c")] == [[0, 1], [0, 1]]
    seen = same(both, "ctrl_c")
    assert seen["interrupted"]
    assert [trial["params"] for trial in seen["trials"]] == [{"num_train_epochs": 1}]


@contextmanager
def launched(folder: Path, name: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Two ranks that nobody looks after, but for the environment that names their group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [SCRIPT, str(folder), name]
    with started(command, {**places, "RANK": "0"}) as zero, started(command, {**places, "RANK": "1"}) as one:
        yield [zero, one]


def test_ctrl_c_on_one_rank_is_one_on_all(tmp_path):
    with launched(tmp_path, "ctrl_c_on_rank_1") as ranks:
        for rank in range(2):
            awaited(tmp_path / f"begun.{rank}.json", ranks[rank])
        ranks[1].send_signal(signal.SIGINT)
        outputs = [output_of(process) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], outputs
    seen = same(reader(tmp_path), "ctrl_c_on_rank_1")
    assert seen["interrupted"]
    assert outcomes(seen) == [DONE, DONE]


class TestOrdeal:
    """A rank that comes to grief in the second of three trials; and the search that goes on afterwards."""

    LIMIT_S = 20  # scenarios.LIMIT_S

    def outcome(self, folder: Path, rank: int) -> Any:
        """What the callback of rank 0 was told, and the error of a rank."""
        told, error = folder / "told.0.json", folder / f"error.{rank}.json"
        return [json.loads(path.read_text()) if path.exists() else None for path in (told, error)]

    def gone_on(self, folder: Path, name: str) -> list[Any]:
        """What all ranks return when the search goes on."""
        with torchrun(folder, name) as process:
            output = output_of(process)
        assert process.returncode == 0, output
        return outcomes(same(reader(folder), "ordeal"))

    @pytest.mark.parametrize(
        ("where", "rank"),
        [("model_init", 1), ("training_step", 0), ("callback", 1), ("compute_metrics", 0), ("function", 1)],
    )
    def test_rank_that_hangs_fails_its_trial_and_ends_the_search(self, tmp_path, where, rank):
        name = f"ordeal:sleeps:{where}:{rank}"
        with torchrun(tmp_path, name) as process:
            output = output_of(process)
        assert process.returncode != 0
        cause = f"rank {rank}: no progress for {self.LIMIT_S} s, while others wait for it (ddp_timeout)"
        told, error = self.outcome(tmp_path, 0)
        assert told == [[0, "COMPLETE", None], [1, "FAILED", cause]], output
        assert cause in error and "resume=True" in error
        assert self.gone_on(tmp_path, name) == [DONE, ("FAILED", cause), DONE]

    @pytest.mark.parametrize("where", ["training_step", "function"])
    def test_rank_1_that_is_killed_is_named(self, tmp_path, where):
        name = f"ordeal:is_killed:{where}:1"
        with launched(tmp_path, name) as ranks:
            outputs = [output_of(process) for process in ranks]
        assert [process.returncode for process in ranks] == [1, -signal.SIGKILL], outputs
        told, error = self.outcome(tmp_path, 0)
        pid = (tmp_path / "met").read_text()
        cause = f"rank 1: its process has ended (pid {pid} on {socket.gethostname()})"
        assert told == [[0, "COMPLETE", None], [1, "FAILED", cause]]
        assert cause in error and "resume=True" in error
        assert self.gone_on(tmp_path, name) == [DONE, ("FAILED", cause), DONE]

    @pytest.mark.parametrize("where", ["training_step", "function"])
    def test_rank_0_that_is_killed_is_named_by_the_others(self, tmp_path, where):
        name = f"ordeal:is_killed:{where}:0"
        with launched(tmp_path, name) as ranks:
            outputs = [output_of(process) for process in ranks]
        assert [process.returncode for process in ranks] == [-signal.SIGKILL, 1], outputs
        _, error = self.outcome(tmp_path, 1)
        assert "rank 0: " in error and "resume=True" in error, outputs
        assert self.gone_on(tmp_path, name) == [DONE] * 3  # what it was at is run again

    @pytest.mark.parametrize("rank", [0, 1])
    def test_rank_that_is_stopped_is_named_by_the_other(self, tmp_path, rank):
        name = f"ordeal:is_stopped:training_step:{rank}"
        with launched(tmp_path, name) as ranks:
            output = output_of(ranks[1 - rank])
        assert ranks[1 - rank].returncode == 1, output
        assert f"rank {rank}: " in output and "resume=True" in output  # gloo has no way out for a SearchError to take
        states = [state for state, _ in self.gone_on(tmp_path, name)]
        assert states == ["COMPLETE", "COMPLETE" if rank == 0 else "FAILED", "COMPLETE"]

    @pytest.mark.parametrize("rank", [0, 1])
    def test_search_goes_on_after_a_rank_that_was_killed_under_torchrun(self, tmp_path, rank):
        name = f"ordeal:is_killed:training_step:{rank}"
        with torchrun(tmp_path, name) as process:
            output = output_of(process)
        assert process.returncode != 0, output
        assert (tmp_path / "met").exists()
        states = [state for state, _ in self.gone_on(tmp_path, name)]
        assert (states[0], states[2]) == ("COMPLETE", "COMPLETE")


EXITS = {"own": 70, "none": -signal.SIGTERM}  # scenarios.OWN_EXIT; as by the signal


class TestTerminated:
    """SIGTERM in the second of three trials; and the search that goes on afterwards."""

    @pytest.mark.parametrize("handler", EXITS)
    @pytest.mark.parametrize("rank", [0, 1])
    def test_sigterm_for_one_rank_ends_all(self, tmp_path, handler, rank):
        with launched(tmp_path, f"terminated:{handler}") as ranks:
            awaited(tmp_path / f"begun.{rank}.json", ranks[rank])
            ranks[rank].send_signal(signal.SIGTERM)
            outputs = [output_of(process) for process in ranks]
        assert [process.returncode for process in ranks] == [EXITS[handler]] * 2, outputs
        self.goes_on(tmp_path, handler)

    @pytest.mark.parametrize("handler", EXITS)
    def test_sigterm_for_torchrun_ends_all(self, tmp_path, handler):
        with torchrun(tmp_path, f"terminated:{handler}") as process:
            for rank in range(2):
                awaited(tmp_path / f"begun.{rank}.json", process)
            process.send_signal(signal.SIGTERM)
            output = output_of(process)
        assert process.returncode != 0, output
        self.goes_on(tmp_path, handler)

    def goes_on(self, folder: Path, handler: str) -> None:
        """What was interrupted has not failed: it is run again."""
        assert json.loads((folder / "told.0.json").read_text()) == [[0, *DONE]]
        with torchrun(folder, f"terminated:{handler}") as process:
            output = output_of(process)
        assert process.returncode == 0, output
        assert outcomes(same(reader(folder), "terminated")) == [DONE] * 3


def awaited(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait for a file that a process is to leave."""
    wait_for(lambda: path.exists() or process.poll() is not None, f"{path} never comes")
    assert path.exists(), process.communicate()[0]
