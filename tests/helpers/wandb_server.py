"""A W&B server on this machine: the routes that the real client and agent use, the decisions by the real engine.

    python -m tests.helpers.wandb_server SEED     prints its URL, and serves until its standard input is closed

GraphQL operations are answered by name. What the server knows is at GET /double. POST /double
{"refuse": true} makes it refuse the key from then on; {"issues": [[operation, how, times, late], …]} lets it
fail the next times it is asked for that ("FileStream" is one too): with that status, or "cut", "half" (the
connection ends before the answer, or within it), or "hang". If `late` it does what it was asked first.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import sweeps
import yaml

ENTITY = "ada"
NAME = re.compile(r"\b(?:query|mutation)\s+(\w+)")
LOCK = threading.RLock()
GROUP = ".wbnest[599c28ca25da]."  # how the engine joins the names of a group's parameters


@dataclass
class WandbRun:
    """What the server keeps of a run."""

    name: str
    sweep: str | None = None
    display: str | None = None
    agent: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    state: str = "pending"
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    told_to_stop: bool = False
    inits: int = 0

    @property
    def seen(self) -> sweeps.SweepRun:
        """The run as the engine sees it."""
        return sweeps.SweepRun(
            name=self.name,
            state="running" if self.state == "pending" else self.state,
            config=flat(self.args),
            summaryMetrics=self.summary,
            sampledHistory=self.history,
        )


@dataclass
class Store:
    """Everything the server knows."""

    sweeps: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, WandbRun] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    refuse: bool = False
    issues: list[list[Any]] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def of(self, sweep: str | None) -> list[WandbRun]:
        return [run for run in self.runs.values() if run.sweep == sweep]


STORE = Store()
NUMBERS = itertools.count(1)


def flat(args: dict[str, Any]) -> dict[str, Any]:
    """The values of a run by the names that the engine gives to nested parameters."""
    found: dict[str, Any] = {}

    def walk(prefix: str, parameters: dict[str, Any], values: dict[str, Any]) -> None:
        for name, parameter in parameters.items():
            if "parameters" in parameter:
                walk(f"{prefix}{name}{GROUP}", parameter["parameters"], values[name])
            else:
                found[prefix + name] = {"value": values[name]}

    walk("", args["parameters"], args["values"]) if args else None
    return found


def plain(value: Any) -> Any:
    """Numpy's numbers as JSON's."""
    return value.item() if isinstance(value, np.generic) else value


# -- operations -------------------------------------------------------------------------------------

Answer = dict[str, Any]


def viewer(variables: Answer) -> Answer:
    user = {"id": "1", "name": "Ada", "username": ENTITY, "entity": ENTITY, "email": "ada@example.org"}
    return {"viewer": {**user, "flags": "{}", "admin": False, "teams": {"edges": []}, "apiKeys": {"edges": []}}}


def project(variables: Answer) -> Answer:
    return {"id": "p", "name": variables.get("projectName") or "uncategorized", "entity": {"id": "e", "name": ENTITY}}


def upsert_sweep(variables: Answer) -> Answer:
    config = yaml.safe_load(variables["config"])
    known_to_the_engine = {key: entry for key, entry in config.items() if key != "run_cap"}
    issues = sweeps.schema_violations_from_proposed_config(known_to_the_engine)
    name = variables["id"] or f"sweep{len(STORE.sweeps)}"  # the id of one is to update it
    STORE.sweeps[name] = {"config": config, "text": variables["config"], "issues": issues}
    return {"upsertSweep": {"sweep": {"name": name, "project": project(variables)}, "configValidationWarnings": issues}}


def get_sweep(variables: Answer) -> Answer:
    sweep = STORE.sweeps.get(variables["name"])
    if sweep is None:
        return {"project": {"sweep": None}}
    found = {
        "__typename": "Sweep",
        "id": variables["name"],
        "name": variables["name"],
        "displayName": None,
        "method": sweep["config"]["method"],
        "state": "RUNNING",
        "description": None,
        "bestLoss": None,
        "config": sweep["text"],
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "runCount": len(STORE.of(variables["name"])),
        "runCountExpected": None,
    }
    return {"project": {"sweep": found}}


def get_runs(variables: Answer) -> Answer:
    filters = json.loads(variables["filters"])
    sweep = filters["$and"][0]["sweep"]
    edges = [{"node": node(run), "cursor": run.name} for run in STORE.of(sweep)]
    page = {"endCursor": None, "hasNextPage": False}
    found = {"edges": edges, "pageInfo": page}
    return {"project": {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": found}}


def get_run(variables: Answer) -> Answer:
    return {"project": {"internalId": "1", "run": node(STORE.runs[variables["name"]])}}


def node(run: WandbRun) -> Answer:
    return {
        "id": run.name,
        "tags": [],
        "name": run.name,
        "displayName": run.display or run.name,
        "sweepName": run.sweep,
        "state": run.state,
        "config": json.dumps(run.config),
        "group": None,
        "jobType": None,
        "commit": None,
        "readOnly": False,
        "createdAt": "2026-01-01T00:00:00Z",
        "heartbeatAt": "2026-01-01T00:00:00Z",
        "description": None,
        "notes": None,
        "systemMetrics": "{}",
        "summaryMetrics": json.dumps(run.summary),
        "historyLineCount": len(run.history),
        "historyKeys": {},
        "user": {"name": "Ada", "username": ENTITY},
        "projectId": "1",
    }


def create_agent(variables: Answer) -> Answer:
    agent = f"agent{len(STORE.agents)}"
    STORE.agents[agent] = variables["sweep"]
    return {"createAgent": {"agent": {"id": agent}}}


def heartbeat(variables: Answer) -> Answer:
    agent = variables["id"]
    command = to_do(STORE.agents[agent], agent, json.loads(variables["runState"]))
    commands = json.dumps([command] if command else [])
    return {"agentHeartbeat": {"agent": {"id": agent}, "commands": commands}}


def to_do(name: str, agent: str, busy: Answer) -> Answer | None:
    """What the agent is to do next: stop a run, begin one, leave, or nothing new."""
    config, runs = STORE.sweeps[name]["config"], STORE.of(name)
    if busy:
        stopped = sweeps.stop_runs(config, [run.seen for run in runs]) if "early_terminate" in config else []
        for each in stopped:
            run = STORE.runs[each.name]
            if each.name in busy and not run.told_to_stop:
                run.told_to_stop = True
                return {"type": "stop", "run_id": each.name}
        return None
    if len(runs) >= config.get("run_cap", float("inf")):
        return {"type": "exit"}
    chosen = sweeps.next_run(config, [run.seen for run in runs])
    if chosen is None:
        return {"type": "exit"}
    args = json.loads(json.dumps(chosen.config, default=plain))
    values = {key: entry["value"] for key, entry in args.items()}
    run = WandbRun(f"run{next(NUMBERS)}", name, agent=agent)
    run.args = {"parameters": config["parameters"], "values": values}
    STORE.runs[run.name] = run
    return {"type": "run", "run_id": run.name, "args": args}


def upsert_bucket(variables: Answer) -> Answer:
    name = variables["name"]
    run = STORE.runs.setdefault(name, WandbRun(name, variables.get("sweep")))
    run.inits += run.state != "running"
    run.state = "running"
    run.display = variables.get("displayName") or run.display
    run.config.update(json.loads(variables.get("config") or "{}"))
    bucket = {
        "id": name,
        "name": name,
        "displayName": run.display or name,
        "description": None,
        "config": json.dumps(run.config),
        "sweepName": run.sweep,
        "project": project({"projectName": variables.get("project")}),
        "historyLineCount": 0,
    }
    return {"upsertBucket": {"bucket": bucket, "inserted": True}}


def create_run_files(variables: Answer) -> Answer:
    files = [{"name": name, "uploadUrl": f"{URL[0]}/upload/{name}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


OPERATIONS: dict[str, Callable[[Answer], Answer]] = {
    "Viewer": viewer,
    "GetViewer": viewer,
    "GetDefaultEntity": viewer,
    "UpsertSweep": upsert_sweep,
    "GetSweep": get_sweep,
    "GetSweepLegacy": get_sweep,  # the client tries it where the other one fails
    "Runs": get_runs,
    "Run": get_run,
    "CreateAgent": create_agent,
    "Heartbeat": heartbeat,
    "UpsertBucket": upsert_bucket,
    "CreateRunFiles": create_run_files,
    "RunResumeStatus": lambda variables: {"model": None},
    "ServerFeaturesQuery": lambda variables: {"serverInfo": {"features": []}},
    "OrganizationCoreWeaveOrganizationID": lambda variables: {"entity": None},
}
URL = [""]


def file_stream(name: str, body: Answer) -> Answer:
    """The history and summary of a run, as they come in."""
    run = STORE.runs[name]
    files = body.get("files") or {}
    for file, chunk in files.items():
        lines = [json.loads(line) for line in chunk["content"]] if file.startswith("wandb-") else []
        if "history" in file:
            run.history += lines
        elif "summary" in file:
            run.summary = lines[-1]
    if body.get("complete"):
        run.state = "failed" if body.get("exitcode") else "finished"
    return {"exitcode": None, "limits": {}, "stopped": False}


class Handler(BaseHTTPRequestHandler):
    """HTTP around it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the client to acknowledge its headers

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(sent or b"null")  # telemetry has no body
        with LOCK:
            status, answer = self.routed(body)
        if status in ("cut", "half", "hang"):
            self.close_connection = True
            if status == "half":
                self.answer(answer, missing=1)
            elif status == "hang":
                threading.Event().wait()
        else:
            self.answer(answer, status)

    def routed(self, body: Any) -> tuple[Any, Any]:
        """The status, and the answer."""
        if self.path == "/double":
            STORE.__dict__.update(body)
            return 200, {}
        if STORE.refuse:
            return 401, {"errors": [{"message": "invalid credentials"}]}
        if self.path == "/graphql":
            return self.faulty(NAME.search(body["query"])[1], lambda: self.graphql(body))
        if self.path.endswith("/file_stream"):
            return self.faulty("FileStream", lambda: file_stream(self.path.split("/")[-2], body))
        return 404, {}

    def faulty(self, name: str, carried_out: Callable[[], Answer]) -> tuple[Any, Answer]:
        issue = next((each for each in STORE.issues if each[0] == name), None)
        if issue is None:
            return 200, carried_out()
        issue[2] -= 1
        if not issue[2]:
            STORE.issues.remove(issue)
        if issue[3]:
            carried_out()
        return issue[1], {"errors": [{"message": "something went wrong here"}]}

    def graphql(self, request: Answer) -> Answer:
        name = NAME.search(request["query"])[1]
        STORE.keys.add(self.headers.get("Authorization", ""))
        STORE.operations.append(name)
        if name not in OPERATIONS:
            STORE.unknown.append(name)
            return {"errors": [{"message": f"unknown operation {name}"}]}
        return {"data": OPERATIONS[name](request.get("variables") or {})}

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer({})

    def do_GET(self) -> None:
        with LOCK:
            self.answer({**asdict(STORE), "keys": sorted(STORE.keys)} if self.path == "/double" else {})

    def answer(self, body: Any, status: int = 200, missing: int = 0) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text[: len(text) - missing])

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A server that clients may leave without a word."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until standard input is closed."""
    seed = int(sys.argv[1])
    random.seed(seed)
    np.random.seed(seed)
    server = Server(("127.0.0.1", 0), Handler)
    URL[0] = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(URL[0], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
