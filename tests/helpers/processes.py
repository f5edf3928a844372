"""Searches in child processes that a test watches and may kill; `kill_target` is the child's side."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from hpcompat.backends.isolation import PREFIX
from tests.helpers import small_disk
from tests.helpers.kill_target import SEARCH_ID_VARIABLE
from tests.helpers.waiting import Deadline, wait_for


@dataclass
class KillPoint:
    """When to send the signal `signum`: `n_later_events` events after the nth occurrence of `event`."""

    event: str
    nth: int
    n_later_events: int
    signum: int


@dataclass
class ProcessOutcome:
    """How a search has ended: its exit code, the trials its callback received, and its result, if there is one."""

    pid: int
    search_id: str
    exit_code: int = 0
    callback_trials: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None

    def running_processes(self) -> list[str]:
        """Return the command lines of the processes that the search has started and that still run."""
        command_lines = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{SEARCH_ID_VARIABLE}={self.search_id}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    command_lines.append((process / "cmdline").read_text().rstrip("\0"))
        return command_lines

    def remaining_temp_dirs(self) -> list[Path]:
        """Return the temporary directories of the search that still exist."""
        owners = Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner.json")
        return [owner.parent for owner in owners if json.loads(owner.read_text())["pid"] == self.pid]


class SearchProcesses:
    """Runs searches in child processes, which see a small disk at `disk` if the machine can mount one.

    A server process that has imported everything forks them. If anything goes wrong, the server process and its
    search are killed, and the next search gets a new server process.
    """

    def __init__(self, root: Path) -> None:
        self.disk, self.exchange_dir = root / "disk", root / "exchange"
        self.disk.mkdir()
        self.exchange_dir.mkdir()
        self.mount_command = small_disk.find_mount_command(self.disk)
        how = "a limit on file sizes" if self.mount_command is None else " ".join(self.mount_command)
        print(f"small disk: {how}")
        self.outcomes: list[ProcessOutcome] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server process; a new one if there is none or if it has exited."""
        if self._process is not None and self._process.poll() is not None:
            self._kill()
        if self._process is None:
            replies, write_end = os.pipe()
            command = [*(self.mount_command or ()), sys.executable, "-m", "tests.helpers.kill_target", str(write_end)]
            command += [str(self.disk)] if self.mount_command else []
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, pass_fds=[write_end])
            os.close(write_end)
            self.replies = os.fdopen(replies, "rb", buffering=0)
            self._read_reply("")
        return self._process

    def run(self, out: Path, kill_point: KillPoint | None, **options: Any) -> ProcessOutcome:
        """Search until the kill point or the end."""
        try:
            return self._run(out, kill_point, uuid.uuid4().hex, **options)
        except BaseException:  # pytest's timeout included
            self._kill()
            raise

    def _run(self, out: Path, kill_point: KillPoint | None, search_id: str, **options: Any) -> ProcessOutcome:
        pipe, result = str(self.exchange_dir / f"{search_id}.pipe"), str(self.exchange_dir / f"{search_id}.json")
        os.mkfifo(pipe)
        events = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # for writing too: no end of file when a writer closes it
        pause_at = (kill_point.event, kill_point.nth) if kill_point and not kill_point.n_later_events else None
        ids = {"pipe": pipe, "out": str(out), "result": result, "search_id": search_id}
        self.process.stdin.write((json.dumps({**ids, "pause_at": pause_at, **options}) + "\n").encode())
        outcome = ProcessOutcome(self._read_reply(search_id), search_id)
        buffered, has_exited = b"", False
        while not has_exited:
            ready = self._wait_readable([events, self.replies], f"no event from a search that waits for {kill_point}")
            has_exited = events not in ready  # read the pipe to its end before the exit code
            if has_exited:
                outcome.exit_code = self._read_reply(search_id)
                continue
            *lines, buffered = (buffered + os.read(events, 1 << 16)).split(b"\n")
            for event, data in map(json.loads, lines):
                if event == "callback":
                    outcome.callback_trials.append(data)
                if kill_point and self._is_reached(kill_point, event):
                    os.kill(outcome.pid, kill_point.signum)
                    kill_point = None
        os.close(events)
        if os.path.exists(result):
            outcome.result = json.loads(Path(result).read_text())
        self.outcomes.append(outcome)
        return outcome

    @property
    def disk_from_outside(self) -> Path:
        """The path by which this process can access the searches' `disk`."""
        return Path(f"/proc/{self.process.pid}/root{self.disk}")

    def close(self) -> None:
        """Stop the server process."""
        if self._process is not None:
            self._process.stdin.close()  # the server process exits at the end of its input
            try:
                wait_for(lambda: self._process.poll() is not None, "the server process does not exit")
            finally:
                self._kill()

    def _kill(self) -> None:
        """Kill the server process and its descendants."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            for running in (*psutil.Process(process.pid).children(recursive=True), process):
                with suppress(psutil.NoSuchProcess):
                    running.kill()
        process.wait()
        process.stdin.close()
        self.replies.close()

    def _is_reached(self, kill_point: KillPoint, event: str) -> bool:
        if kill_point.nth > 0:
            kill_point.nth -= event == kill_point.event
        else:
            kill_point.n_later_events -= 1
        return kill_point.nth == 0 and kill_point.n_later_events == 0

    def _wait_readable(self, files: list[Any], message: str) -> list[Any]:
        """Return the readable files once there are any; fail with the message at the deadline."""
        deadline = Deadline()
        while not (ready := select.select(files, [], [], 1.0)[0]):
            assert deadline.remaining_s > 0, message
        return ready

    def _read_reply(self, search_id: str) -> int:
        """Return the number in the next reply, which has to be about this search."""
        self._wait_readable([self.replies], "the server process does not reply")
        line = self.replies.readline()
        assert line, "the server process has exited"
        replied_id, number = json.loads(line)
        assert replied_id == search_id, "the server process is out of step"
        return number
