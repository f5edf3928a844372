"""The double of the server is as strict as SigOpt's own code, and takes everything that hpcompat writes."""

from __future__ import annotations

from typing import Any

import pytest
import sigopt
from hypothesis import given, settings

import hpcompat as hp
from hpcompat.testing import params_in, spaces
from tests.helpers.sigopt_rules import assignment_issues, experiment_issues, suggestion_issues
from tests.helpers.sigopt_server import SESSION_TOKEN, TOKEN

METRIC = {"name": "loss", "objective": "minimize"}
LR = {"name": "lr", "type": "double", "bounds": {"min": 0.1, "max": 1.0}}
OPTIM = {"name": "optim", "values": ["adamw", "sgd"]}


def body(*parameters: Any, **others: Any) -> dict[str, Any]:
    return {"name": "x", "metrics": [METRIC], "parameters": list(parameters) or [LR], **others}


def under(*values: str) -> dict[str, Any]:
    return {**LR, "name": "-".join(values), "conditions": {"optim": list(values)}}


class TestExperiments:
    @pytest.mark.parametrize(
        "accepted",
        [
            body(),
            body({**LR, "name": " x / é . "}),
            body({**LR, "nonsense": 1}),
            body({**LR, "bounds": {"min": 0.0, "max": 1e-8}}),
            body({**LR, "transformation": "log"}),
            body({**LR, "prior": {"name": "normal", "mean": 0.5, "scale": 1}}),
            body({"name": "n", "type": "int", "bounds": {"min": 1.0, "max": 2}}),
            body({"name": "n", "type": "double", "grid": [3, 1.5], "transformation": "log"}),
            body({"name": "c", "type": "categorical", "categorical_values": ["a", {"name": "b"}]}),
            body(under("adamw"), under("sgd"), conditionals=[OPTIM]),
            body(LR, under("sgd"), conditionals=[OPTIM]),
            body(metrics=[METRIC, {"name": "b"}], observation_budget=3),
            body(type="random", parallel_bandwidth=4),
            body(project="known"),
            body(metrics=["loss"]),
            body(metrics=[{"objective": "minimize"}]),
            body(metrics=None),
            body({**LR, "bounds": None, "grid": [0.0, 1e-8]}),
            body(metadata={"k" * 100: None, "text": "x" * 500 + "", "lone": "\ud800", "line": "\u2028", "n": 1.5}),
        ],
    )
    def test_valid_experiment_is_accepted(self, accepted):
        assert list(experiment_issues(accepted, {"known": {}})) == []

    @pytest.mark.parametrize(
        ("refused", "reason"),
        [
            (body({**LR, "name": ""}), "name of a parameter"),
            (body({**LR, "name": "x" * 101}), "name of a parameter"),
            (body({**LR, "name": "a\nb"}), "name of a parameter"),
            (body(LR, {**LR, "name": "lr "}), "not unique"),
            (body({**LR, "type": "float"}), "unknown type"),
            (body({**LR, "bounds": {"min": 0.0, "max": 5e-9}, "transformation": None}), "exceed"),
            (body({**LR, "bounds": {"min": 1e-9, "max": 9e-9}, "transformation": "log"}), "exceed"),
            (body({**LR, "bounds": {"min": 0.0, "max": 1.0}, "transformation": "log"}), "positive"),
            (body({**LR, "transformation": "ln"}), "unknown transformation"),
            (body({**LR, "grid": [1.0, 2.0]}), "excludes bounds"),
            (body({**LR, "prior": {"name": "normal", "mean": 2.0, "scale": 1}}), "mean lies within"),
            (body({**LR, "transformation": "log", "prior": {"name": "normal", "mean": 0.5, "scale": 1}}), "no prior"),
            (
                body({"name": "n", "type": "int", "bounds": {"min": 1, "max": 2}, "transformation": "none"}),
                "an int has no",
            ),
            (body({"name": "n", "type": "int", "bounds": {"min": True, "max": 2}}), "no numbers of type int"),
            (body({"name": "n", "type": "int", "bounds": {"min": 1.5, "max": 2}}), "no numbers of type int"),
            (body({"name": "n", "type": "double", "grid": [1.0]}), "two or more"),
            (body({"name": "n", "type": "double", "grid": [1.0, 1]}), "two or more"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a"]}), "two or more"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a", "a "]}), "two or more"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a", 16]}), "1 to 50"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a", "b" * 51]}), "1 to 50"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a", ""]}), "1 to 50"),
            (body(under("adamw"), conditionals=[OPTIM]), "no parameter is active under {'optim': 'sgd'}"),
            (body(under("adamw")), "need each other"),
            (body(conditionals=[OPTIM]), "need each other"),
            (body(LR, under("lion"), conditionals=[OPTIM]), "has the values ['lion']"),
            (body(LR, under("sgd"), conditionals=[{"name": "optim", "values": ["sgd"]}]), "two or more"),
            (body(LR, under("sgd"), conditionals=[OPTIM, {**OPTIM, "name": "lr"}]), "not unique"),
            (body(metrics=[]), "must contain a metric"),
            (body(metrics=[METRIC, {"objective": "minimize"}], observation_budget=3), "unnamed metrics"),
            (body({**LR, "bounds": None, "grid": [0.0, 9e-9]}), "exceed"),
            (body(metadata={"k" * 101: "x"}), "key"),
            (body(metadata={"k": "x" * 501}), "500 characters"),
            (body(metadata={"k": ["x"]}), "500 characters"),
            (body(metadata={str(number): "" for number in range(101)}), "100 keys"),
            (body(metrics=[METRIC, {"name": "b"}]), "observation_budget"),
            (body(metrics=[METRIC, {"name": "b"}, {"name": "c"}], observation_budget=9), "one or two metrics"),
            (body(metrics=[{**METRIC, "objective": ["minimize"]}]), "unknown objective"),
            (body(metrics=[{**METRIC, "threshold": 1.0}]), "no threshold"),
            (body(observation_budget=0), "positive int"),
            (body(parallel_bandwidth=0), "positive int"),
            (body(project="huggingface"), "no project huggingface"),
            (body(budget=3), "unknown key budget"),
        ],
    )
    def test_invalid_experiment_is_rejected(self, refused, reason):
        assert reason in "; ".join(experiment_issues(refused, {}))

    @settings(max_examples=200)
    @given(spaces("sigopt").flatmap(lambda space: params_in(space).map(lambda params: (space, params))))
    def test_everything_written_by_hpcompat_is_accepted(self, pair):
        space, params = pair
        try:
            translation = hp.translate(space, "sigopt", encode=True)
        except hp.TranslationError:  # nothing varies
            return
        assert list(experiment_issues({"name": "x", "metrics": [METRIC], **translation.spec}, {})) == []
        told = [
            {**each, "categorical_values": [{"name": name} for name in each.get("categorical_values", ())]}
            for each in translation.spec["parameters"]
        ]
        try:
            raw = translation.encode(params)
        except hp.ParamsError:  # so unlikely that a unit float cannot tell
            return
        assert list(assignment_issues(raw, {**translation.spec, "parameters": told})) == []


@pytest.fixture
def connect(server):
    return lambda token=TOKEN: sigopt.Connection(client_token=token, api_url=server.url)


@pytest.fixture
def experiments(connect):
    return connect().experiments


def status(call, **arguments):
    with pytest.raises(sigopt.exception.ApiException) as refusal:
        call(**arguments)
    return refusal.value.status_code, refusal.value.message


class TestAnswers:
    def test_parameters_are_completed_and_sorted(self, experiments):
        grid = {"name": "n", "type": "int", "grid": [3, 1]}
        optim = {"name": "c", "type": "categorical", "categorical_values": ["b", "a "]}
        prior = {**LR, "name": "b", "prior": {"name": "normal", "mean": 0.5, "scale": 1}, "transformation": "none"}
        told = experiments().create(**body(grid, optim, prior)).to_json()["parameters"]
        assert [each["name"] for each in told] == ["b", "c", "n"]
        assert told[2]["bounds"] == {"object": "bounds", "min": 1.0, "max": 3.0}
        assert told[2]["grid"] == [1, 3]
        assert [(each["name"], each["enum_index"]) for each in told[1]["categorical_values"]] == [("b", 1), ("a", 2)]
        assert told[0]["prior"] == {"object": "normal_prior", "name": "normal", "mean": 0.5, "scale": 1.0}
        assert told[0]["transformation"] is None
        assert "grid" not in told[0]
        assert not {"precision", "tunable"} & told[0].keys()

    def test_metrics_are_sorted_by_name(self, experiments):
        metrics = [METRIC, {"name": "accuracy"}]
        told = experiments().create(**body(metrics=metrics, observation_budget=9)).metrics
        assert [(each.name, each.objective) for each in told] == [("accuracy", "maximize"), ("loss", "minimize")]
        assert [each.name for each in experiments().create(**body(metrics=None)).metrics] == [None]

    def test_second_observation_is_accepted_unless_suggestion_is_deleted(self, experiments):
        resource = experiments(experiments().create(**body()).id)
        values = [{"name": "loss", "value": 1.0}]
        one, other = (resource.suggestions().create(assignments={"lr": 0.5}, nonsense=1) for _ in range(2))
        for _ in range(2):
            resource.observations().create(suggestion=one.id, values=values)
        resource.suggestions(other.id).delete()
        assert status(resource.observations().create, suggestion=other.id, values=values)[0] == 400
        assert status(resource.suggestions(other.id).delete)[0] == 404
        assert status(resource.suggestions(12).delete)[0] == 404

    def test_tokens_ids_and_nul(self, connect, experiments):
        assert status(connect("WRONGTOKEN").experiments().create, **body())[0] == 403
        assert status(experiments(12).fetch) == (404, "No experiment 12")
        assert status(experiments().create, **body(metadata={"k": "a\0b"})) == (400, "Malformed json in request body")
        session = connect(SESSION_TOKEN)
        assert "requires a client (team) ID" in status(session.experiments().create, **body())[1]
        owner = session.tokens("self").fetch().client
        refused = status(session.clients(owner).projects().create, id="x", name="x")
        assert refused == (404, "Endpoint not found: /v1/clients/None/projects")

    def test_pages_of_1000(self, experiments, server):
        name = experiments().create(**body()).id
        for _ in range(1_001):
            server.answer("POST", f"experiments/{name}/observations", {}, {"assignments": {"lr": 0.5}, "failed": True})
        page = experiments(name).observations().fetch()
        assert (page.count, len(page.data)) == (1_001, 1_000)
        assert len({each.id for each in page.iterate_pages()}) == 1_001
        assert status(experiments(name).observations().fetch, limit=1_001)[0] == 400

    def test_unknown_keys_of_a_suggestion_are_ignored(self):
        assert list(suggestion_issues({"nonsense": 1}, {"parameters": []})) == []
