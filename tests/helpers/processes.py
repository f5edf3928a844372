"""Searches in processes of their own, from the side of who watches, and may kill, them. See kill_target.py."""

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
from tests.helpers.kill_target import MARK_VARIABLE
from tests.helpers.waiting import Deadline, wait_for


@dataclass
class KillPoint:
    """When the nth event of a kind has come: there and then, or when `further` events have. `number`: the signal."""

    kind: str
    nth: int
    further: int
    number: int


@dataclass
class ProcessOutcome:
    """How a search has ended: its exit code, what its callback had told, and its result, if it came to one."""

    pid: int
    mark: str
    code: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None

    def processes(self) -> list[str]:
        """What it has started and still lives, by name."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK_VARIABLE}={self.mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_text().rstrip("\0"))
        return found

    def private_directories(self) -> list[Path]:
        """Those of its own that it has left."""
        owners = Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner.json")
        return [owner.parent for owner in owners if json.loads(owner.read_text())["pid"] == self.pid]


class SearchProcesses:
    """Searches in processes of their own, which see a small disk in `place`, where one can be mounted.

    They are started by a process that has all imported. One with which something goes wrong is ended, with
    the search that it has started, and the next search has another one.
    """

    def __init__(self, root: Path) -> None:
        self.place, self.notes = root / "disk", root / "notes"
        self.place.mkdir()
        self.notes.mkdir()
        self.way = small_disk.find_mount_command(self.place)
        print(f"a small disk: {'none, but a limit on files' if self.way is None else ' '.join(self.way)}")
        self.ended: list[ProcessOutcome] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """What starts them."""
        if self._process is not None and self._process.poll() is not None:
            self._kill()
        if self._process is None:
            replies, write_end = os.pipe()
            command = [*(self.way or ()), sys.executable, "-m", "tests.helpers.kill_target", str(write_end)]
            command += [str(self.place)] if self.way else []
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, pass_fds=[write_end])
            os.close(write_end)
            self.replies = os.fdopen(replies, "rb", buffering=0)
            self._reply("")
        return self._process

    def run(self, out: Path, moment: KillPoint | None, **order: Any) -> ProcessOutcome:
        """Search, until that moment or the end."""
        try:
            return self._run(out, moment, uuid.uuid4().hex, **order)
        except BaseException:  # a time-out of pytest's too
            self._kill()
            raise

    def _run(self, out: Path, moment: KillPoint | None, mark: str, **order: Any) -> ProcessOutcome:
        pipe, result = str(self.notes / f"{mark}.pipe"), str(self.notes / f"{mark}.json")
        os.mkfifo(pipe)
        events = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # whoever writes comes and goes
        hold = (moment.kind, moment.nth) if moment and not moment.further else None
        whole = {"pipe": pipe, "out": str(out), "result": result, "hold": hold, "mark": mark, **order}
        self.process.stdin.write((json.dumps(whole) + "\n").encode())
        leg = ProcessOutcome(self._reply(mark), mark)
        buffered, ended = b"", False
        while not ended:
            ready = self._ready([events, self.replies], f"nothing happens in a search that waits for {moment}")
            ended = events not in ready  # what the pipe holds comes before the end
            if ended:
                leg.code = self._reply(mark)
                continue
            *lines, buffered = (buffered + os.read(events, 1 << 16)).split(b"\n")
            for kind, said in map(json.loads, lines):
                if kind == "told":
                    leg.told.append(said)
                if moment and self._has_come(moment, kind):
                    os.kill(leg.pid, moment.number)
                    moment = None
        os.close(events)
        if os.path.exists(result):
            leg.result = json.loads(Path(result).read_text())
        self.ended.append(leg)
        return leg

    @property
    def seen(self) -> Path:
        """Where this process finds what they see in `place`."""
        return Path(f"/proc/{self.process.pid}/root{self.place}")

    def close(self) -> None:
        """Have no more of them."""
        if self._process is not None:
            self._process.stdin.close()  # which ends it
            try:
                wait_for(lambda: self._process.poll() is not None, "the process that starts the searches does not end")
            finally:
                self._kill()

    def _kill(self) -> None:
        """End what starts them, and all that it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            for each in (*psutil.Process(process.pid).children(recursive=True), process):
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        process.wait()
        process.stdin.close()
        self.replies.close()

    def _has_come(self, moment: KillPoint, kind: str) -> bool:
        if moment.nth > 0:
            moment.nth -= kind == moment.kind
        else:
            moment.further -= 1
        return moment.nth == 0 and moment.further == 0

    def _ready(self, files: list[Any], what: str) -> list[Any]:
        """Those of the files that something is to be read from; `what`: what is wrong if there never is."""
        deadline = Deadline()
        while not (ready := select.select(files, [], [], 1.0)[0]):
            assert deadline.remaining_s > 0, what
        return ready

    def _reply(self, mark: str) -> int:
        """What is said next about the order of that mark."""
        self._ready([self.replies], "the process that starts the searches does not answer")
        line = self.replies.readline()
        assert line, "the process that starts the searches is gone"
        of, number = json.loads(line)
        assert of == mark, "the process that starts the searches is out of step"
        return number
