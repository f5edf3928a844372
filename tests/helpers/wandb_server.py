"""A fake W&B server: the routes that the real client and agent use, with the decisions of the real sweeps engine.

    python -m tests.helpers.wandb_server SEED     prints its URL, and serves until its standard input is closed

GraphQL operations are dispatched by name. GET /state returns the state of the server, and POST /state updates it:
{"refuse": true} makes it refuse every API key; {"faults": [[operation, how, times, late], …]} makes the next `times`
requests of an operation fail ("FileStream" is an operation too). `how` is an HTTP status, "cut" or "half" (the
connection is closed before or in the middle of the response), or "hang". `late` executes the request before it fails.
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
NAME = re.compile(r"\b(?:query|mutation)\s+(\w+)|\{\s*(\w+)")
"""The name of an operation; of one without a name, its first field."""
LOCK = threading.RLock()
GROUP_SEPARATOR = ".wbnest[599c28ca25da]."  # the engine joins the names of nested parameters with it


@dataclass
class WandbRun:
    """The state of a run."""

    name: str
    sweep: str | None = None
    display: str | None = None
    agent: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    state: str = "pending"
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    has_stop_command: bool = False
    inits: int = 0

    @property
    def sweep_run(self) -> sweeps.SweepRun:
        """The run as an argument of the sweeps engine."""
        return sweeps.SweepRun(
            name=self.name,
            state="running" if self.state == "pending" else self.state,
            config=flatten_args(self.args),
            summaryMetrics=self.summary,
            sampledHistory=self.history,
        )


@dataclass
class Store:
    """The state of the server."""

    sweeps: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, WandbRun] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    refuse: bool = False
    faults: list[list[Any]] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def runs_of(self, sweep: str | None) -> list[WandbRun]:
        return [run for run in self.runs.values() if run.sweep == sweep]


STORE = Store()
RUN_NUMBERS = itertools.count(1)


def flatten_args(args: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a run by the names that the sweeps engine gives to nested parameters."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, parameters: dict[str, Any], values: dict[str, Any]) -> None:
        for name, parameter in parameters.items():
            if "parameters" in parameter:
                walk(f"{prefix}{name}{GROUP_SEPARATOR}", parameter["parameters"], values[name])
            else:
                flat[prefix + name] = {"value": values[name]}

    walk("", args["parameters"], args["values"]) if args else None
    return flat


def to_json_number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# -- operations -------------------------------------------------------------------------------------

Json = dict[str, Any]


def operation_name(request: Json) -> str:
    match = NAME.search(request["query"])
    return match[1] or match[2]


def viewer(variables: Json) -> Json:
    user = {"id": "1", "name": "Ada", "username": ENTITY, "entity": ENTITY, "email": "ada@example.org"}
    return {"viewer": {**user, "flags": "{}", "admin": False, "teams": {"edges": []}, "apiKeys": {"edges": []}}}


def project(variables: Json) -> Json:
    return {"id": "p", "name": variables.get("projectName") or "uncategorized", "entity": {"id": "e", "name": ENTITY}}


def upsert_sweep(variables: Json) -> Json:
    config = yaml.safe_load(variables["config"])
    engine_config = {key: entry for key, entry in config.items() if key != "run_cap"}
    issues = sweeps.schema_violations_from_proposed_config(engine_config)
    name = variables["id"] or f"sweep{len(STORE.sweeps)}"  # with an id, the sweep is updated
    STORE.sweeps[name] = {"config": config, "yaml": variables["config"], "issues": issues}
    return {"upsertSweep": {"sweep": {"name": name, "project": project(variables)}, "configValidationWarnings": issues}}


def get_sweep(variables: Json) -> Json:
    sweep = STORE.sweeps.get(variables["name"])
    if sweep is None:
        return {"project": {"sweep": None}}
    fields = {
        "__typename": "Sweep",
        "id": variables["name"],
        "name": variables["name"],
        "displayName": None,
        "method": sweep["config"]["method"],
        "state": "RUNNING",
        "description": None,
        "bestLoss": None,
        "config": sweep["yaml"],
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "runCount": len(STORE.runs_of(variables["name"])),
        "runCountExpected": None,
    }
    return {"project": {"sweep": fields}}


def get_runs(variables: Json) -> Json:
    filters = json.loads(variables["filters"])
    sweep = filters["$and"][0]["sweep"]
    edges = [{"node": node(run), "cursor": run.name} for run in STORE.runs_of(sweep)]
    page = {"endCursor": None, "hasNextPage": False}
    runs = {"edges": edges, "pageInfo": page}
    return {"project": {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": runs}}


def get_run(variables: Json) -> Json:
    return {"project": {"internalId": "1", "run": node(STORE.runs[variables["name"]])}}


def node(run: WandbRun) -> Json:
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


def create_agent(variables: Json) -> Json:
    agent = f"agent{len(STORE.agents)}"
    STORE.agents[agent] = variables["sweep"]
    return {"createAgent": {"agent": {"id": agent}}}


def heartbeat(variables: Json) -> Json:
    agent = variables["id"]
    command = next_command(STORE.agents[agent], agent, json.loads(variables["runState"]))
    commands = json.dumps([command] if command else [])
    return {"agentHeartbeat": {"agent": {"id": agent}, "commands": commands}}


def next_command(name: str, agent: str, running: Json) -> Json | None:
    """Return the next command for an agent: stop a run, start one, or exit; None for no command."""
    config, runs = STORE.sweeps[name]["config"], STORE.runs_of(name)
    if running:
        stopped = sweeps.stop_runs(config, [run.sweep_run for run in runs]) if "early_terminate" in config else []
        for sweep_run in stopped:
            run = STORE.runs[sweep_run.name]
            if run.name in running and not run.has_stop_command:
                run.has_stop_command = True
                return {"type": "stop", "run_id": run.name}
        return None
    if len(runs) >= config.get("run_cap", float("inf")):
        return {"type": "exit"}
    chosen = sweeps.next_run(config, [run.sweep_run for run in runs])
    if chosen is None:
        return {"type": "exit"}
    args = json.loads(json.dumps(chosen.config, default=to_json_number))
    values = {key: entry["value"] for key, entry in args.items()}
    run = WandbRun(f"run{next(RUN_NUMBERS)}", name, agent=agent)
    run.args = {"parameters": config["parameters"], "values": values}
    STORE.runs[run.name] = run
    return {"type": "run", "run_id": run.name, "args": args}


def upsert_bucket(variables: Json) -> Json:
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


def create_run_files(variables: Json) -> Json:
    files = [{"name": name, "uploadUrl": f"{URL[0]}/upload/{name}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


OPERATIONS: dict[str, Callable[[Json], Json]] = {
    "Viewer": viewer,
    "GetViewer": viewer,
    "viewer": viewer,
    "GetDefaultEntity": viewer,
    "UpsertSweep": upsert_sweep,
    "GetSweep": get_sweep,
    "GetSweepLegacy": get_sweep,  # the client falls back to it
    "Sweep": get_sweep,  # before wandb 0.20
    "Runs": get_runs,
    "Run": get_run,
    "CreateAgent": create_agent,
    "Heartbeat": heartbeat,
    "UpsertBucket": upsert_bucket,
    "CreateRunFiles": create_run_files,
    "RunStoppedStatus": lambda variables: {"project": {"run": {"stopped": False}}},
    "RunResumeStatus": lambda variables: {"model": None},
    "ProbeServerCapabilities": lambda variables: {
        "QueryType": {"fields": []},
        "MutationType": {"fields": [{"name": "createRunFiles"}]},
        "ServerInfoType": {"fields": []},
    },
    "ProbeServerSettings": lambda variables: {"ServerSettingsType": {"fields": []}},
    "ServerFeaturesQuery": lambda variables: {"serverInfo": {"features": []}},
    "OrganizationCoreWeaveOrganizationID": lambda variables: {"entity": None},
}
URL = [""]


def file_stream(name: str, body: Json) -> Json:
    """Receive a part of the history or summary of a run."""
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
    """Handles HTTP requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each body waits 40 ms for the client to acknowledge its headers

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(content or b"null")  # telemetry has no body
        with LOCK:
            status, response = self.dispatch(body)
        if status in ("cut", "half", "hang"):
            self.close_connection = True
            if status == "half":
                self.send(response, missing=1)
            elif status == "hang":
                threading.Event().wait()
        else:
            self.send(response, status)

    def dispatch(self, body: Any) -> tuple[Any, Any]:
        """Return the status and the body of the response."""
        if self.path == "/state":
            STORE.__dict__.update(body)
            return 200, {}
        if STORE.refuse:
            return 401, {"errors": [{"message": "invalid credentials"}]}
        if self.path == "/graphql":
            return self.inject_fault(operation_name(body), lambda: self.graphql(body))
        if self.path.endswith("/file_stream"):
            return self.inject_fault("FileStream", lambda: file_stream(self.path.split("/")[-2], body))
        return 404, {}

    def inject_fault(self, name: str, execute: Callable[[], Json]) -> tuple[Any, Json]:
        fault = next((fault for fault in STORE.faults if fault[0] == name), None)
        if fault is None:
            return 200, execute()
        fault[2] -= 1
        if not fault[2]:
            STORE.faults.remove(fault)
        if fault[3]:
            execute()
        return fault[1], {"errors": [{"message": "something went wrong here"}]}

    def graphql(self, request: Json) -> Json:
        name = operation_name(request)
        STORE.keys.add(self.headers.get("Authorization", ""))
        STORE.operations.append(name)
        if name not in OPERATIONS:
            STORE.unknown.append(name)
            return {"errors": [{"message": f"unknown operation {name}"}]}
        return {"data": OPERATIONS[name](request.get("variables") or {})}

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send({})

    def do_GET(self) -> None:
        with LOCK:
            self.send({**asdict(STORE), "keys": sorted(STORE.keys)} if self.path == "/state" else {})

    def send(self, body: Any, status: int = 200, missing: int = 0) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - missing])

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    """A server that ignores connections closed by clients."""

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
