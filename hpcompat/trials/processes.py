"""Which process a trial belongs to, where several search together; and whether that has ended."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_ENDED_STATES = ("Z", "X")
"""Of a process that is over, though nobody has asked for its exit code yet."""


def this_process() -> dict[str, Any]:
    """The process as others can recognise it: where it runs, its pid there, and when it was started.

    >>> ended(this_process())
    False
    """
    return {"host": socket.gethostname(), "pids": _pids(), "pid": os.getpid(), "started": _started(os.getpid())}


def ended(process: Mapping[str, Any]) -> bool | None:
    """Whether a process of this host is over; of one elsewhere nothing is known, and that is None.

    >>> ended({**this_process(), "started": "before the pid was given to another"})
    True
    >>> print(ended({**this_process(), "host": "elsewhere", "pid": 0}))
    None
    """
    here = (socket.gethostname(), _pids())
    if (process["host"], process["pids"]) != here or process["started"] is None:
        return None
    started = _started(process["pid"])
    return None if started is None else started != process["started"]


def _pids() -> str:
    """Which pids are meant: containers may share the name of their host, but not those."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When the process of that pid was started, in the system's own terms; "" if there is none, None if unknown."""
    if os.path.exists("/proc/self/stat"):
        with suppress(OSError), open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()  # the name before it may hold anything
            return "" if fields[0] in _ENDED_STATES else fields[19]
        return ""
    try:
        listed = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    except OSError:
        return None
    state, _, started = listed.stdout.strip().partition(" ")
    return "" if state.startswith(_ENDED_STATES) else started.strip()
