"""A SigOpt server on the loopback interface: SigOpt's REST routes and rules, its decisions from SigOpt Lite.

The real client speaks HTTP to it. `requests` tells what was asked; `issues` makes it fail. What it accepts, answers
and adds is that of https://github.com/sigopt/sigopt-server at 9b96312 (February 2025), whose files the comments name.
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
"""The token of a user's login, which names no client (team)."""
CLIENT_ID = "7"
MAX_PAGE_SIZE = 1000
"""The most that one page holds (api/request.py)."""
LITE_EXPERIMENT_KEYS = ("name", "metrics", "parameters", "conditionals", "observation_budget")
ADDED = ("object", "default_value")
Json = dict[str, Any]


class RequestRefused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int | str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class InjectedFault:
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
class SigOptServer:
    """The state of the server; everything is done under one lock."""

    url: str = ""
    projects: dict[str, Json] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    suggestions: dict[str, dict[str, Json]] = field(default_factory=dict)
    observations: dict[str, list[Json]] = field(default_factory=dict)
    requests: list[tuple[str, str, Json]] = field(default_factory=list)
    issues: list[InjectedFault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)
    last_id: int = 100

    def asked(self, method: str, end: str) -> list[Json]:
        """The bodies of the requests of that method and end of the path."""
        return [body for verb, path, body in self.requests if verb == method and path.endswith(end)]

    def answer(self, method: str, path: str, query: Json, body: Json, client: str | None = CLIENT_ID) -> Json | None:
        """What a request is answered with. Raises `Refused`.

        `client`: that of the token; None for a session's.
        """
        with self.lock:
            self.requests.append((method, path, body))
            if client is None:
                _refuse_session(method, path)
            issue = next((each for each in self.issues if each.method == method and path.endswith(each.end)), None)
            if issue is None:
                return self._route(method, path)(query, body) if client else _token_of_session()
            issue.times -= 1
            if not issue.times:
                self.issues.remove(issue)
            if issue.late:
                self._route(method, path)(query, body)
            raise RequestRefused(issue.status or 0, "something went wrong here")

    def _route(self, method: str, path: str) -> Callable[[Json, Json], Json | None]:
        for verb, pattern, handler in ROUTES:
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                return lambda query, body: handler(self, query, body, *found.groups())
        raise RequestRefused(404, f"Endpoint not found: /v1/{path}")

    def new(self, kind: str, **body: Any) -> Json:
        self.last_id += 1
        return {"object": kind, "id": str(self.last_id), "created": int(time.time()), **body}

    def experiment(self, name: str) -> Json:
        if name not in self.experiments:
            raise RequestRefused(404, f"No experiment {name}")
        every = self.observations[name]
        return {**self.experiments[name], "progress": {"object": "progress", "observation_count": len(every)}}

    def lite(self, name: str, kind: str) -> Any:
        """SigOpt Lite's experiment of the same parameters, with the observations made so far."""
        experiment = self.experiments[name]
        connection = lite_connection(len(self.suggestions[name]))
        form = {key: _for_lite(experiment[key]) for key in LITE_EXPERIMENT_KEYS if experiment[key]}
        form["metrics"] = [{**metric, "name": metric.get("name", UNNAMED)} for metric in form["metrics"]]
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
    # Lite takes a grid or bounds, where the server tells both
    added = (*ADDED, "bounds") if told.get("grid") else ADDED
    kept = {key: _for_lite(each) for key, each in told.items() if key not in added and each not in (None, {})}
    if kept.get("type") == "int" and "bounds" in kept:  # Lite takes no 1.0 there
        kept["bounds"] = {end: int(bound) for end, bound in kept["bounds"].items()}
    return kept


UNNAMED = "unnamed"
"""What Lite, which needs a name, calls a metric that has none."""


def _value(value: Json) -> Json:
    return {"name": value["name"] or UNNAMED, "value": value["value"]}


def _require(issues: Iterator[str]) -> None:
    if every := list(issues):
        raise RequestRefused(400, "; ".join(every))


# -- the routes: (double, query, body, *parts of the path) -> answer -------------------------------------


def _token(double: SigOptServer, query: Json, body: Json) -> Json:
    return {"object": "token", "token": "****", "client": CLIENT_ID, "token_type": "client-api"}


def _token_of_session() -> Json:
    return {"object": "token", "token": "****", "client": None, "token_type": "user"}


def _refuse_session(method: str, path: str) -> None:
    """Of a token without a client (api/auth.py); what is of no client there is not asked for in these tests."""
    if path.startswith("clients/None"):
        raise RequestRefused(404, f"Endpoint not found: /v1/{path}")
    if path != "tokens/self":
        raise RequestRefused(
            403,
            "This endpoint requires a client (team) ID and it was not provided. Provide the client ID to this"
            " endpoint by replacing .experiments() with .clients(CLIENT_ID).experiments()",
        )


def _create_project(double: SigOptServer, query: Json, body: Json) -> Json:
    if not re.fullmatch(r"[a-z0-9\-_.]{1,}", body["id"]):
        raise RequestRefused(400, f"invalid project id {body['id']!r}")
    if body["id"] in double.projects:
        raise RequestRefused(409, "there is such a project")
    double.projects[body["id"]] = {"object": "project", "client": CLIENT_ID, **body}
    return double.projects[body["id"]]


def _fetch_project(double: SigOptServer, query: Json, body: Json, name: str) -> Json:
    if name not in double.projects:
        raise RequestRefused(404, f"no project {name}")
    return double.projects[name]


def _create_experiment(double: SigOptServer, query: Json, body: Json) -> Json:
    _require(experiment_issues(body, double.projects))
    optional: Json = {"project": None, "observation_budget": None, "parallel_bandwidth": None, "conditionals": []}
    experiment = double.new("experiment", client=CLIENT_ID, state="active", **{**optional, **body})
    experiment["type"] = body.get("type") or "offline"
    experiment["metadata"] = _without_nulls(body.get("metadata"))
    experiment["conditionals"] = [{"object": "conditional", **each} for each in body.get("conditionals") or ()]
    # json/builder/experiment.py sorts the metrics, and experiment/model.py the parameters
    experiment["metrics"] = sorted(map(_metric, body.get("metrics") or [{}]), key=lambda metric: metric["name"] or "")
    experiment["parameters"] = sorted(map(_parameter, body["parameters"]), key=lambda parameter: parameter["name"])
    double.experiments[experiment["id"]] = experiment
    double.suggestions[experiment["id"]] = {}
    double.observations[experiment["id"]] = []
    return double.experiment(experiment["id"])


def _metric(given: Json | str) -> Json:
    told: Json = {"name": given} if isinstance(given, str) else {**given, "name": given.get("name")}
    defaults = {"object": "metric", "objective": "maximize", "strategy": "optimize", "threshold": None}
    return {**defaults, **{key: value for key, value in told.items() if value is not None or key == "name"}}


def _without_nulls(metadata: Json | None) -> Json | None:
    return metadata and {name: value for name, value in metadata.items() if value is not None}


def _parameter(given: Json) -> Json:
    """A parameter as the server tells of it (json/builder/parameter.py): completed, stripped and sorted."""
    categories = [each["name"] if isinstance(each, Mapping) else each for each in given.get("categorical_values") or ()]
    bounds, prior, grid = (given.get(key) for key in ("bounds", "prior", "grid"))
    if grid:
        bounds = {"min": min(grid), "max": max(grid)}
    told = {
        "object": "parameter",
        "name": given["name"].strip(),
        "type": given["type"],
        # floats, also those of an int: a protocol buffer holds them
        "bounds": bounds and {"object": "bounds", "min": float(bounds["min"]), "max": float(bounds["max"])},
        "transformation": "log" if given.get("transformation") == "log" else None,
        "prior": prior and {"object": f"{prior['name']}_prior", **_prior(prior)},
        "categorical_values": [
            {"object": "categorical_value", "name": name.strip(), "enum_index": index}
            for index, name in enumerate(categories, 1)
        ]
        or None,
        "conditions": {name: _listed(values) for name, values in (given.get("conditions") or {}).items()},
        "default_value": given.get("default_value"),
    }
    kind = int if given["type"] == "int" else float
    return {**told, "grid": sorted(map(kind, grid))} if grid else told


def _prior(given: Json) -> Json:
    keys = ("mean", "scale") if given["name"] == "normal" else ("shape_a", "shape_b")
    return {"name": given["name"], **{key: float(given[key]) for key in keys}}


def _listed(values: Any) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


def _fetch_experiment(double: SigOptServer, query: Json, body: Json, name: str) -> Json:
    return double.experiment(name)


def _create_suggestion(double: SigOptServer, query: Json, body: Json, name: str) -> Json:
    experiment = double.experiment(name)
    kind = experiment["type"]
    _require(suggestion_issues(body, experiment))
    if "assignments" in body:
        assignments = body["assignments"]
    else:
        try:
            assignments = dict(double.lite(name, kind).suggestions().create().assignments)
        except SigOptException:  # a finite space is used up: the server repeats
            assignments = dict(double.lite(name, "random").suggestions().create().assignments)
    told = {"state": "open", "assignments": assignments, "metadata": _without_nulls(body.get("metadata"))}
    suggestion = double.new("suggestion", experiment=name, **told)
    double.suggestions[name][suggestion["id"]] = suggestion
    return suggestion


def _list_suggestions(double: SigOptServer, query: Json, body: Json, name: str) -> Json:
    double.experiment(name)
    every = [each for each in double.suggestions[name].values() if each["state"] != "deleted"]
    if "state" in query:
        _require(iter([] if query["state"] == "open" else [f"invalid state {query['state']}"]))
        every = [each for each in every if each["state"] == "open"]
    return _page(every, query)


def _delete_suggestion(double: SigOptServer, query: Json, body: Json, name: str, suggestion: str) -> Json:
    double.experiment(name)
    found = double.suggestions[name].get(suggestion)
    if found is None or found["state"] == "deleted":
        raise RequestRefused(404, f"No suggestion {suggestion} for experiment {name}")
    found["state"] = "deleted"
    return {}


def _create_observation(double: SigOptServer, query: Json, body: Json, name: str) -> Json:
    _require(observation_issues(body, double.experiment(name)))
    assignments = body.get("assignments")
    if body.get("suggestion") is not None:
        suggestion = double.suggestions[name].get(str(body["suggestion"]))
        if suggestion is None or suggestion["state"] == "deleted":  # a closed one may have several
            raise RequestRefused(400, f"No suggestion: {body['suggestion']} for experiment: {name}")
        suggestion["state"] = "closed"
        assignments = suggestion["assignments"]
    told = {"failed": False, "suggestion": None, **body, "assignments": assignments}
    told["metadata"] = _without_nulls(body.get("metadata"))
    values = {each.get("name"): each for each in body.get("values") or ()}
    told["values"] = [  # in the order of the experiment's metrics
        {"object": "metric_evaluation", "value_stddev": None, "name": None, **values[metric["name"]]}
        for metric in (double.experiments[name]["metrics"] if values else ())
    ]
    observation = double.new("observation", experiment=name, **told)
    double.observations[name].append(observation)
    return observation


def _list_observations(double: SigOptServer, query: Json, body: Json, name: str) -> Json:
    double.experiment(name)
    return _page(double.observations[name], query)


def _page(every: list[Json], query: Json) -> Json:
    limit = int(query.get("limit", MAX_PAGE_SIZE))
    if limit > MAX_PAGE_SIZE:
        raise RequestRefused(400, f"Exceeded maximum limit: {MAX_PAGE_SIZE}")
    newest_first = every[::-1]
    left = [each for each in newest_first if "before" not in query or int(each["id"]) < _marked(query["before"])]
    before = _marker(left[limit - 1]["id"]) if len(left) > limit else None
    paging = {"before": before, "after": None}
    return {"object": "pagination", "count": len(newest_first), "paging": paging, "data": left[:limit]}


def _marker(name: str) -> str:
    """A marker says nothing to a client (api/paging.py)."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _marked(marker: str) -> int:
    return int(base64.urlsafe_b64decode(marker + "=" * (-len(marker) % 4)))


def _best_assignments(double: SigOptServer, query: Json, body: Json, name: str) -> Json:
    return double.lite(name, "offline").best_assignments().fetch().to_json()  # type: ignore[no-any-return]


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
    """One request of the client's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the client to acknowledge its headers
    double: SigOptServer

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length) or b"null"
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            token = _token_in(self.headers.get("Authorization", ""))
            if token not in (TOKEN, SESSION_TOKEN):
                raise RequestRefused(403, "This endpoint requires a valid API token.")
            body = json.loads(text, object_pairs_hook=_without_nul) or {}
            version, _, path = parts.path.lstrip("/").partition("/")
            if version != "v1":
                raise RequestRefused(404, f"no version {version}")
            client = CLIENT_ID if token == TOKEN else None
            status, answer = 200, self.double.answer(self.command, path, query, body, client)
        except RequestRefused as refused:
            status, answer = refused.status, {"message": str(refused)}
        except Exception as error:
            status, answer = 500, {"message": f"the double is at issue: {error!r}"}
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


def _token_in(header: str) -> str:
    return base64.b64decode(header.removeprefix("Basic ")).decode().rstrip(":")


def _without_nul(pairs: list[tuple[str, Any]]) -> Json:
    """Of each object in a body: PostgreSQL takes no text with a NUL in it (api/request.py)."""
    if any("\0" in text for pair in pairs for text in pair if isinstance(text, str)):
        raise RequestRefused(400, "Malformed json in request body")
    return dict(pairs)


@contextmanager
def serve() -> Iterator[SigOptServer]:
    """A server for as long as the block lasts."""
    double = SigOptServer()
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
