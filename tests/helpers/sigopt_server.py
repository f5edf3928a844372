"""A fake SigOpt server on the loopback interface: SigOpt's REST routes and rules, with suggestions from SigOpt Lite.

The real client sends HTTP requests to it. `requests` records them, and `faults` makes them fail. It validates and
responds like https://github.com/sigopt/sigopt-server at 9b96312 (February 2025), whose files the comments name.
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

from hpcompat.backends.sigopt.client import lite_connection
from tests.helpers.sigopt_rules import experiment_issues, observation_issues, suggestion_issues

TOKEN = "LOOPBACKTOKEN"
SESSION_TOKEN = "LOOPBACKSESSION"
"""The token of a user session, which belongs to no client (team)."""
CLIENT_ID = "7"
MAX_PAGE_SIZE = 1000
"""The largest page of a list (api/request.py)."""
LITE_EXPERIMENT_KEYS = ("name", "metrics", "parameters", "conditionals", "observation_budget")
SERVER_KEYS = ("object", "default_value")
"""Keys that the server adds to an experiment and SigOpt Lite does not know."""
Json = dict[str, Any]


class RequestRefused(Exception):
    """A response with an error status."""

    def __init__(self, status: int | str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class InjectedFault:
    """Makes the next `times` requests with this method and path suffix fail.

    `status` is an HTTP status; None closes the connection before the response, "half" in the middle of it, and
    "hang" sends no response until the server ends. `late` executes the request before it fails.
    """

    method: str
    path_suffix: str
    status: int | str | None = 500
    times: int = 1
    late: bool = False


@dataclass
class SigOptServer:
    """The state of the server; one lock guards all of it."""

    url: str = ""
    projects: dict[str, Json] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    suggestions: dict[str, dict[str, Json]] = field(default_factory=dict)
    observations: dict[str, list[Json]] = field(default_factory=dict)
    requests: list[tuple[str, str, Json]] = field(default_factory=list)
    faults: list[InjectedFault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)
    last_id: int = 100

    def request_bodies(self, method: str, path_suffix: str) -> list[Json]:
        """Return the bodies of the requests with this method and path suffix."""
        return [body for verb, path, body in self.requests if verb == method and path.endswith(path_suffix)]

    def respond(self, method: str, path: str, query: Json, body: Json, client: str | None = CLIENT_ID) -> Json | None:
        """Return the response to a request, or raise `RequestRefused`.

        `client` is the client of the token; None for the token of a session.
        """
        with self.lock:
            self.requests.append((method, path, body))
            if client is None:
                _refuse_session(method, path)
            matching = (fault for fault in self.faults if fault.method == method and path.endswith(fault.path_suffix))
            fault = next(matching, None)
            if fault is None:
                return self._route(method, path)(query, body) if client else _session_token()
            fault.times -= 1
            if not fault.times:
                self.faults.remove(fault)
            if fault.late:
                self._route(method, path)(query, body)
            raise RequestRefused(fault.status or 0, "something went wrong here")

    def _route(self, method: str, path: str) -> Callable[[Json, Json], Json | None]:
        for verb, pattern, handler in ROUTES:
            match = re.fullmatch(pattern, path)
            if verb == method and match:
                return lambda query, body: handler(self, query, body, *match.groups())
        raise RequestRefused(404, f"Endpoint not found: /v1/{path}")

    def create_object(self, object_type: str, **body: Any) -> Json:
        self.last_id += 1
        return {"object": object_type, "id": str(self.last_id), "created": int(time.time()), **body}

    def get_experiment(self, name: str) -> Json:
        if name not in self.experiments:
            raise RequestRefused(404, f"No experiment {name}")
        count = len(self.observations[name])
        return {**self.experiments[name], "progress": {"object": "progress", "observation_count": count}}

    def create_lite_experiment(self, name: str, experiment_type: str) -> Any:
        """Create a SigOpt Lite experiment of this type with the same parameters and observations."""
        experiment = self.experiments[name]
        connection = lite_connection(len(self.suggestions[name]))
        spec = {key: _to_lite(experiment[key]) for key in LITE_EXPERIMENT_KEYS if experiment[key]}
        spec["metrics"] = [{**metric, "name": metric.get("name", UNNAMED)} for metric in spec["metrics"]]
        created = connection.experiments().create(type=experiment_type, **spec)
        resource = connection.experiments(created.id)
        for observation in self.observations[name]:
            values = [_to_lite_value(value) for value in observation["values"]]
            outcome = {"failed": True} if observation["failed"] else {"values": values}
            resource.observations().create(assignments=observation["assignments"], **outcome)
        return resource


def _to_lite(spec: Any) -> Any:
    """Convert a part of an experiment from the server's format to the one that SigOpt Lite accepts."""
    if isinstance(spec, list):
        return [_to_lite(entry) for entry in spec]
    if not isinstance(spec, Mapping):
        return spec
    if spec.get("object") == "categorical_value":
        return spec["name"]
    # Lite accepts either a grid or bounds, and the server sends both
    dropped = (*SERVER_KEYS, "bounds") if spec.get("grid") else SERVER_KEYS
    result = {key: _to_lite(value) for key, value in spec.items() if key not in dropped and value not in (None, {})}
    if result.get("type") == "int" and "bounds" in result:  # Lite rejects floats as the bounds of an int
        result["bounds"] = {end: int(bound) for end, bound in result["bounds"].items()}
    return result


UNNAMED = "unnamed"
"""The name of an unnamed metric in Lite, which requires one."""


def _to_lite_value(value: Json) -> Json:
    return {"name": value["name"] or UNNAMED, "value": value["value"]}


def _require(issues: Iterator[str]) -> None:
    if messages := list(issues):
        raise RequestRefused(400, "; ".join(messages))


# -- the routes: (server, query, body, *parts of the path) -> response -----------------------------------


def _token(server_state: SigOptServer, query: Json, body: Json) -> Json:
    return {"object": "token", "token": "****", "client": CLIENT_ID, "token_type": "client-api"}


def _session_token() -> Json:
    return {"object": "token", "token": "****", "client": None, "token_type": "user"}


def _refuse_session(method: str, path: str) -> None:
    """Refuse a request that needs a client, as the server does for a session's token (api/auth.py)."""
    if path.startswith("clients/None"):
        raise RequestRefused(404, f"Endpoint not found: /v1/{path}")
    if path != "tokens/self":
        raise RequestRefused(
            403,
            "This endpoint requires a client (team) ID and it was not provided. Provide the client ID to this"
            " endpoint by replacing .experiments() with .clients(CLIENT_ID).experiments()",
        )


def _create_project(server_state: SigOptServer, query: Json, body: Json) -> Json:
    if not re.fullmatch(r"[a-z0-9\-_.]{1,}", body["id"]):
        raise RequestRefused(400, f"invalid project id {body['id']!r}")
    if body["id"] in server_state.projects:
        raise RequestRefused(409, f"project {body['id']} exists already")
    server_state.projects[body["id"]] = {"object": "project", "client": CLIENT_ID, **body}
    return server_state.projects[body["id"]]


def _fetch_project(server_state: SigOptServer, query: Json, body: Json, name: str) -> Json:
    if name not in server_state.projects:
        raise RequestRefused(404, f"no project {name}")
    return server_state.projects[name]


def _create_experiment(server_state: SigOptServer, query: Json, body: Json) -> Json:
    _require(experiment_issues(body, server_state.projects))
    optional: Json = {"project": None, "observation_budget": None, "parallel_bandwidth": None, "conditionals": []}
    experiment = server_state.create_object("experiment", client=CLIENT_ID, state="active", **{**optional, **body})
    experiment["type"] = body.get("type") or "offline"
    experiment["metadata"] = _without_nulls(body.get("metadata"))
    experiment["conditionals"] = [{"object": "conditional", **entry} for entry in body.get("conditionals") or ()]
    # json/builder/experiment.py sorts the metrics, and experiment/model.py the parameters
    experiment["metrics"] = sorted(
        map(_complete_metric, body.get("metrics") or [{}]), key=lambda metric: metric["name"] or ""
    )
    experiment["parameters"] = sorted(
        map(_complete_parameter, body["parameters"]), key=lambda parameter: parameter["name"]
    )
    server_state.experiments[experiment["id"]] = experiment
    server_state.suggestions[experiment["id"]] = {}
    server_state.observations[experiment["id"]] = []
    return server_state.get_experiment(experiment["id"])


def _complete_metric(metric: Json | str) -> Json:
    fields: Json = {"name": metric} if isinstance(metric, str) else {**metric, "name": metric.get("name")}
    defaults = {"object": "metric", "objective": "maximize", "strategy": "optimize", "threshold": None}
    return {**defaults, **{key: value for key, value in fields.items() if value is not None or key == "name"}}


def _without_nulls(metadata: Json | None) -> Json | None:
    return metadata and {name: value for name, value in metadata.items() if value is not None}


def _complete_parameter(parameter: Json) -> Json:
    """Return a parameter as the server sends it (json/builder/parameter.py): completed, stripped and sorted."""
    values = parameter.get("categorical_values") or ()
    categories = [value["name"] if isinstance(value, Mapping) else value for value in values]
    bounds, prior, grid = (parameter.get(key) for key in ("bounds", "prior", "grid"))
    if grid:
        bounds = {"min": min(grid), "max": max(grid)}
    completed = {
        "object": "parameter",
        "name": parameter["name"].strip(),
        "type": parameter["type"],
        # floats even for an int: the server stores the bounds in a protocol buffer of doubles
        "bounds": bounds and {"object": "bounds", "min": float(bounds["min"]), "max": float(bounds["max"])},
        "transformation": "log" if parameter.get("transformation") == "log" else None,
        "prior": prior and {"object": f"{prior['name']}_prior", **_complete_prior(prior)},
        "categorical_values": [
            {"object": "categorical_value", "name": name.strip(), "enum_index": index}
            for index, name in enumerate(categories, 1)
        ]
        or None,
        "conditions": {name: _as_list(values) for name, values in (parameter.get("conditions") or {}).items()},
        "default_value": parameter.get("default_value"),
    }
    to_number = int if parameter["type"] == "int" else float
    return {**completed, "grid": sorted(map(to_number, grid))} if grid else completed


def _complete_prior(prior: Json) -> Json:
    keys = ("mean", "scale") if prior["name"] == "normal" else ("shape_a", "shape_b")
    return {"name": prior["name"], **{key: float(prior[key]) for key in keys}}


def _as_list(values: Any) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


def _fetch_experiment(server_state: SigOptServer, query: Json, body: Json, name: str) -> Json:
    return server_state.get_experiment(name)


def _create_suggestion(server_state: SigOptServer, query: Json, body: Json, name: str) -> Json:
    experiment = server_state.get_experiment(name)
    _require(suggestion_issues(body, experiment))
    if "assignments" in body:
        assignments = body["assignments"]
    else:
        try:
            lite_experiment = server_state.create_lite_experiment(name, experiment["type"])
            assignments = dict(lite_experiment.suggestions().create().assignments)
        except SigOptException:  # a finite space is exhausted: the server repeats assignments
            lite_experiment = server_state.create_lite_experiment(name, "random")
            assignments = dict(lite_experiment.suggestions().create().assignments)
    fields = {"state": "open", "assignments": assignments, "metadata": _without_nulls(body.get("metadata"))}
    suggestion = server_state.create_object("suggestion", experiment=name, **fields)
    server_state.suggestions[name][suggestion["id"]] = suggestion
    return suggestion


def _list_suggestions(server_state: SigOptServer, query: Json, body: Json, name: str) -> Json:
    server_state.get_experiment(name)
    suggestions = [entry for entry in server_state.suggestions[name].values() if entry["state"] != "deleted"]
    if "state" in query:
        _require(iter([] if query["state"] == "open" else [f"invalid state {query['state']}"]))
        suggestions = [entry for entry in suggestions if entry["state"] == "open"]
    return _page(suggestions, query)


def _delete_suggestion(server_state: SigOptServer, query: Json, body: Json, name: str, suggestion: str) -> Json:
    server_state.get_experiment(name)
    entry = server_state.suggestions[name].get(suggestion)
    if entry is None or entry["state"] == "deleted":
        raise RequestRefused(404, f"No suggestion {suggestion} for experiment {name}")
    entry["state"] = "deleted"
    return {}


def _create_observation(server_state: SigOptServer, query: Json, body: Json, name: str) -> Json:
    _require(observation_issues(body, server_state.get_experiment(name)))
    assignments = body.get("assignments")
    if body.get("suggestion") is not None:
        suggestion = server_state.suggestions[name].get(str(body["suggestion"]))
        if suggestion is None or suggestion["state"] == "deleted":  # a closed suggestion may have several observations
            raise RequestRefused(400, f"No suggestion: {body['suggestion']} for experiment: {name}")
        suggestion["state"] = "closed"
        assignments = suggestion["assignments"]
    fields = {"failed": False, "suggestion": None, **body, "assignments": assignments}
    fields["metadata"] = _without_nulls(body.get("metadata"))
    values = {value.get("name"): value for value in body.get("values") or ()}
    fields["values"] = [  # in the order of the experiment's metrics
        {"object": "metric_evaluation", "value_stddev": None, "name": None, **values[metric["name"]]}
        for metric in (server_state.experiments[name]["metrics"] if values else ())
    ]
    observation = server_state.create_object("observation", experiment=name, **fields)
    server_state.observations[name].append(observation)
    return observation


def _list_observations(server_state: SigOptServer, query: Json, body: Json, name: str) -> Json:
    server_state.get_experiment(name)
    return _page(server_state.observations[name], query)


def _page(entries: list[Json], query: Json) -> Json:
    limit = int(query.get("limit", MAX_PAGE_SIZE))
    if limit > MAX_PAGE_SIZE:
        raise RequestRefused(400, f"Exceeded maximum limit: {MAX_PAGE_SIZE}")
    newest_first = entries[::-1]
    if "before" in query:
        last_id = _decode_marker(query["before"])
        remaining = [entry for entry in newest_first if int(entry["id"]) < last_id]
    else:
        remaining = newest_first
    before = _encode_marker(remaining[limit - 1]["id"]) if len(remaining) > limit else None
    paging = {"before": before, "after": None}
    return {"object": "pagination", "count": len(newest_first), "paging": paging, "data": remaining[:limit]}


def _encode_marker(name: str) -> str:
    """Return the opaque marker of a page (api/paging.py)."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _decode_marker(marker: str) -> int:
    return int(base64.urlsafe_b64decode(marker + "=" * (-len(marker) % 4)))


def _best_assignments(server_state: SigOptServer, query: Json, body: Json, name: str) -> Json:
    return server_state.create_lite_experiment(name, "offline").best_assignments().fetch().to_json()  # type: ignore[no-any-return]


EXPERIMENT = r"experiments/(\w+)"
ROUTES: list[tuple[str, str, Callable[..., Json | None]]] = [
    ("GET", "tokens/self", _token),
    ("POST", f"clients/{CLIENT_ID}/projects", _create_project),
    ("GET", rf"clients/{CLIENT_ID}/projects/([^/]+)", _fetch_project),
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
    """Handles one request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each body waits 40 ms for the client to acknowledge its headers
    server_state: SigOptServer

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length) or b"null"
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            token = _decode_token(self.headers.get("Authorization", ""))
            if token not in (TOKEN, SESSION_TOKEN):
                raise RequestRefused(403, "This endpoint requires a valid API token.")
            body = json.loads(content, object_pairs_hook=_reject_nul) or {}
            version, _, path = parts.path.lstrip("/").partition("/")
            if version != "v1":
                raise RequestRefused(404, f"unknown version {version}")
            client = CLIENT_ID if token == TOKEN else None
            status, response = 200, self.server_state.respond(self.command, path, query, body, client)
        except RequestRefused as refused:
            status, response = refused.status, {"message": str(refused)}
        except Exception as error:
            status, response = 500, {"message": f"the fake server failed: {error!r}"}
        if type(status) is int and status:
            self._send(status, response)
            return
        self.close_connection = True
        if status == "half":
            self._send(200, {"id": "1"}, missing=1)
        elif status == "hang":
            self.server_state.closing.wait()

    def _send(self, status: int, response: Json | None, missing: int = 0) -> None:
        content = b"" if response is None else json.dumps(response, allow_nan=False).encode()
        self.send_response(204 if response is None else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - missing])

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def _decode_token(header: str) -> str:
    return base64.b64decode(header.removeprefix("Basic ")).decode().rstrip(":")


def _reject_nul(pairs: list[tuple[str, Any]]) -> Json:
    """Reject NUL characters, which PostgreSQL cannot store (api/request.py)."""
    if any("\0" in string for pair in pairs for string in pair if isinstance(string, str)):
        raise RequestRefused(400, "Malformed json in request body")
    return dict(pairs)


@contextmanager
def serve() -> Iterator[SigOptServer]:
    """Run a server until the end of the block."""
    server_state = SigOptServer()
    handler = type("Handler", (Handler,), {"server_state": server_state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        server_state.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield server_state
        finally:
            server_state.closing.set()
            server.shutdown()
            thread.join()
