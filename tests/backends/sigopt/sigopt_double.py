"""A SigOpt server on the loopback interface: SigOpt's REST routes and rules, its decisions from SigOpt Lite.

The real client speaks HTTP to it. `requests` tells what was asked; `faults` makes it fail.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sigopt.exception import SigOptException
from sigopt_rules import experiment_faults, observation_faults, suggestion_faults

from hpcompat.backends.sigopt.lite import lite_connection

TOKEN = "LOOPBACKTOKEN"
CLIENT = "7"
PAGE = 5
LITE_EXPERIMENT_KEYS = ("name", "metrics", "parameters", "conditionals", "observation_budget")
ADDED = ("object", "default_value", "precision", "tunable")
Json = dict[str, Any]


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int | str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """What befalls the next requests of that method and end of the path.

    `status` None: the connection is cut without an answer; "half": in the middle of it; "hang": there is
    none until the server ends. `late`: the request is carried out all the same.
    """

    method: str
    end: str
    status: int | str | None = 500
    times: int = 1
    late: bool = False


@dataclass
class Double:
    """The state of the server; everything is done under one lock."""

    url: str = ""
    projects: dict[str, Json] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    suggestions: dict[str, dict[str, Json]] = field(default_factory=dict)
    observations: dict[str, list[Json]] = field(default_factory=dict)
    requests: list[tuple[str, str, Json]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)
    last_id: int = 100

    def asked(self, method: str, end: str) -> list[Json]:
        """The bodies of the requests of that method and end of the path."""
        return [body for verb, path, body in self.requests if verb == method and path.endswith(end)]

    def answer(self, method: str, path: str, query: Json, body: Json) -> Json | None:
        """What a request is answered with. Raises `Refused`."""
        with self.lock:
            self.requests.append((method, path, body))
            fault = next((each for each in self.faults if each.method == method and path.endswith(each.end)), None)
            if fault is None:
                return self._route(method, path)(query, body)
            fault.times -= 1
            if not fault.times:
                self.faults.remove(fault)
            if fault.late:
                self._route(method, path)(query, body)
            raise Refused(fault.status or 0, "something went wrong here")

    def _route(self, method: str, path: str) -> Callable[[Json, Json], Json | None]:
        for verb, pattern, handler in ROUTES:
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                return lambda query, body: handler(self, query, body, *found.groups())
        raise Refused(404, f"no route {method} {path}")

    def new(self, kind: str, **body: Any) -> Json:
        self.last_id += 1
        return {"object": kind, "id": str(self.last_id), "created": int(time.time()), **body}

    def experiment(self, name: str) -> Json:
        if name not in self.experiments:
            raise Refused(404, f"no experiment {name}")
        every = self.observations[name]
        return {**self.experiments[name], "progress": {"object": "progress", "observation_count": len(every)}}

    def lite(self, name: str, kind: str) -> Any:
        """SigOpt Lite's experiment of the same parameters, with the observations made so far."""
        experiment = self.experiments[name]
        connection = lite_connection(len(self.suggestions[name]))
        form = {key: _for_lite(experiment[key]) for key in LITE_EXPERIMENT_KEYS if experiment[key]}
        made = connection.experiments().create(type=kind, **form)
        resource = connection.experiments(made.id)
        for each in self.observations[name]:
            told = {"failed": True} if each["failed"] else {"values": [_value(value) for value in each["values"]]}
            resource.observations().create(assignments=each["assignments"], **told)
        return resource


def _for_lite(told: Any) -> Any:
    """What the server told of an experiment, without what it added and Lite does not know."""
    if isinstance(told, list):
        return [_for_lite(each) for each in told]
    if not isinstance(told, Mapping):
        return told
    if told.get("object") == "categorical_value":
        return told["name"]
    return {key: _for_lite(each) for key, each in told.items() if key not in ADDED and each not in (None, "none", {})}


def _value(value: Json) -> Json:
    return {"name": value["name"], "value": value["value"]}


def _require(faults: Iterator[str]) -> None:
    if every := list(faults):
        raise Refused(400, "; ".join(every))


# -- the routes: (double, query, body, *parts of the path) -> answer -------------------------------------


def _token(double: Double, query: Json, body: Json) -> Json:
    return {"object": "token", "token": "****", "client": CLIENT, "token_type": "client-api"}


def _create_project(double: Double, query: Json, body: Json) -> Json:
    if not re.fullmatch(r"[a-z0-9\-_.]{1,}", body["id"]):
        raise Refused(400, f"invalid project id {body['id']!r}")
    if body["id"] in double.projects:
        raise Refused(409, "there is such a project")
    double.projects[body["id"]] = {"object": "project", "client": CLIENT, **body}
    return double.projects[body["id"]]


def _fetch_project(double: Double, query: Json, body: Json, name: str) -> Json:
    if name not in double.projects:
        raise Refused(404, f"no project {name}")
    return double.projects[name]


def _create_experiment(double: Double, query: Json, body: Json) -> Json:
    _require(experiment_faults(body, double.projects))
    optional: Json = {"project": None, "observation_budget": None, "parallel_bandwidth": 1, "conditionals": []}
    experiment = double.new("experiment", client=CLIENT, state="active", **{**optional, **body})
    experiment["type"] = body.get("type") or "offline"
    experiment["metrics"] = [
        {"object": "metric", "objective": "maximize", "strategy": "optimize", "threshold": None, **metric}
        for metric in body["metrics"]
    ]
    experiment["parameters"] = [_parameter(each) for each in body["parameters"]]
    double.experiments[experiment["id"]] = experiment
    double.suggestions[experiment["id"]] = {}
    double.observations[experiment["id"]] = []
    return double.experiment(experiment["id"])


def _parameter(given: Json) -> Json:
    """A parameter as the server tells of it: completed, stripped and sorted."""
    categories = [each["name"] if isinstance(each, Mapping) else each for each in given.get("categorical_values") or ()]
    return {
        "object": "parameter",
        "name": given["name"].strip(),
        "type": given["type"],
        "bounds": given.get("bounds") and {"object": "bounds", **given["bounds"]},
        "grid": sorted(given["grid"]) if given.get("grid") else None,
        "transformation": given.get("transformation") or ("none" if given["type"] == "double" else None),
        "prior": given.get("prior") and {"shape_a": None, "shape_b": None, **given["prior"]},
        "categorical_values": [
            {"object": "categorical_value", "name": name, "enum_index": index}
            for index, name in enumerate(sorted(text.strip() for text in categories), 1)
        ]
        or None,
        "conditions": given.get("conditions") or {},
        "default_value": given.get("default_value"),
        "precision": None,
        "tunable": True,
    }


def _fetch_experiment(double: Double, query: Json, body: Json, name: str) -> Json:
    return double.experiment(name)


def _create_suggestion(double: Double, query: Json, body: Json, name: str) -> Json:
    experiment = double.experiment(name)
    kind = experiment["type"]
    _require(suggestion_faults(body, experiment))
    if "assignments" in body:
        assignments = body["assignments"]
    else:
        try:
            assignments = dict(double.lite(name, kind).suggestions().create().assignments)
        except SigOptException:  # a finite space is used up: the server repeats
            assignments = dict(double.lite(name, "random").suggestions().create().assignments)
    told = {"state": "open", "assignments": assignments, "metadata": body.get("metadata")}
    suggestion = double.new("suggestion", experiment=name, **told)
    double.suggestions[name][suggestion["id"]] = suggestion
    return suggestion


def _list_suggestions(double: Double, query: Json, body: Json, name: str) -> Json:
    double.experiment(name)
    every = [each for each in double.suggestions[name].values() if each["state"] != "deleted"]
    if "state" in query:
        _require(iter([] if query["state"] == "open" else [f"invalid state {query['state']}"]))
        every = [each for each in every if each["state"] == "open"]
    return _page(every, query)


def _delete_suggestion(double: Double, query: Json, body: Json, name: str, suggestion: str) -> None:
    double.suggestions[name][suggestion]["state"] = "deleted"


def _create_observation(double: Double, query: Json, body: Json, name: str) -> Json:
    _require(observation_faults(body, double.experiment(name)))
    assignments = body.get("assignments")
    if "suggestion" in body:
        suggestion = double.suggestions[name].get(body["suggestion"], {"state": "missing"})
        if suggestion["state"] != "open":
            raise Refused(400, f"suggestion {body['suggestion']} is {suggestion['state']}")
        suggestion["state"] = "closed"
        assignments = suggestion["assignments"]
    told = {"values": None, "failed": False, "metadata": None, "suggestion": None, **body, "assignments": assignments}
    observation = double.new("observation", experiment=name, **told)
    double.observations[name].append(observation)
    return observation


def _list_observations(double: Double, query: Json, body: Json, name: str) -> Json:
    double.experiment(name)
    return _page(double.observations[name], query)


def _page(every: list[Json], query: Json) -> Json:
    newest_first = every[::-1]
    left = [each for each in newest_first if "before" not in query or int(each["id"]) < int(query["before"])]
    before = left[PAGE - 1]["id"] if len(left) > PAGE else None
    paging = {"before": before, "after": None}
    return {"object": "pagination", "count": len(newest_first), "paging": paging, "data": left[:PAGE]}


def _best_assignments(double: Double, query: Json, body: Json, name: str) -> Json:
    return double.lite(name, "offline").best_assignments().fetch().to_json()  # type: ignore[no-any-return]


EXPERIMENT = r"experiments/(\w+)"
ROUTES: list[tuple[str, str, Callable[..., Json | None]]] = [
    ("GET", "tokens/self", _token),
    ("POST", f"clients/{CLIENT}/projects", _create_project),
    ("GET", rf"clients/{CLIENT}/projects/([^/]+)", _fetch_project),
    ("POST", "experiments", _create_experiment),
    ("GET", EXPERIMENT, _fetch_experiment),
    ("POST", rf"{EXPERIMENT}/suggestions", _create_suggestion),
    ("GET", rf"{EXPERIMENT}/suggestions", _list_suggestions),
    ("DELETE", rf"{EXPERIMENT}/suggestions/(\w+)", _delete_suggestion),
    ("POST", rf"{EXPERIMENT}/observations", _create_observation),
    ("GET", rf"{EXPERIMENT}/observations", _list_observations),
    ("GET", rf"{EXPERIMENT}/best_assignments", _best_assignments),
]


# -- HTTP ------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """One request of the client's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the client to acknowledge its headers
    double: Double

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null") or {}
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        expected = "Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode()
        try:
            if self.headers.get("Authorization") != expected:
                raise Refused(401, "this is no token of ours")
            version, _, path = parts.path.lstrip("/").partition("/")
            if version != "v1":
                raise Refused(404, f"no version {version}")
            status, answer = 200, self.double.answer(self.command, path, query, body)
        except Refused as refused:
            status, answer = refused.status, {"message": str(refused)}
        except Exception as error:
            status, answer = 500, {"message": f"the double is at fault: {error!r}"}
        if type(status) is int and status:
            self._send(status, answer)
            return
        self.close_connection = True
        if status == "half":
            self._send(200, {"id": "1"}, missing=1)
        elif status == "hang":
            self.double.ended.wait()

    def _send(self, status: int, answer: Json | None, missing: int = 0) -> None:
        text = b"" if answer is None else json.dumps(answer, allow_nan=False).encode()
        self.send_response(204 if answer is None else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text[: len(text) - missing])

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the screen clear."""


@contextmanager
def serving() -> Iterator[Double]:
    """A server for as long as the block lasts."""
    double = Double()
    handler = type("Handler", (Handler,), {"double": double})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        double.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield double
        finally:
            double.ended.set()
            server.shutdown()
            thread.join()
