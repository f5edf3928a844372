"""The fake server is as strict as SigOpt's server, and accepts everything that hpcompat writes."""

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


def conditional_on(*values: str) -> dict[str, Any]:
    return {**LR, "name": "-".join(values), "conditions": {"optim": list(values)}}


class TestExperiments:
    @pytest.mark.parametrize(
        "experiment",
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
            body(conditional_on("adamw"), conditional_on("sgd"), conditionals=[OPTIM]),
            body(LR, conditional_on("sgd"), conditionals=[OPTIM]),
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
    def test_valid_experiment_is_accepted(self, experiment):
        assert list(experiment_issues(experiment, {"known": {}})) == []

    @pytest.mark.parametrize(
        ("experiment", "reason"),
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
            (body({**LR, "prior": {"name": "normal", "mean": 2.0, "scale": 1}}), "mean must lie within"),
            (
                body({**LR, "transformation": "log", "prior": {"name": "normal", "mean": 0.5, "scale": 1}}),
                "cannot have a prior",
            ),
            (
                body({"name": "n", "type": "int", "bounds": {"min": 1, "max": 2}, "transformation": "none"}),
                "an int cannot have",
            ),
            (body({"name": "n", "type": "int", "bounds": {"min": True, "max": 2}}), "expected numbers of type int"),
            (body({"name": "n", "type": "int", "bounds": {"min": 1.5, "max": 2}}), "expected numbers of type int"),
            (body({"name": "n", "type": "double", "grid": [1.0]}), "two or more"),
            (body({"name": "n", "type": "double", "grid": [1.0, 1]}), "two or more"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a"]}), "two or more"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a", "a "]}), "two or more"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a", 16]}), "1 to 50"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a", "b" * 51]}), "1 to 50"),
            (body({"name": "c", "type": "categorical", "categorical_values": ["a", ""]}), "1 to 50"),
            (body(conditional_on("adamw"), conditionals=[OPTIM]), "no parameter is active under {'optim': 'sgd'}"),
            (body(conditional_on("adamw")), "conditions need conditionals"),
            (body(conditionals=[OPTIM]), "conditions need conditionals"),
            (body(LR, conditional_on("lion"), conditionals=[OPTIM]), "has the values ['lion']"),
            (body(LR, conditional_on("sgd"), conditionals=[{"name": "optim", "values": ["sgd"]}]), "two or more"),
            (body(LR, conditional_on("sgd"), conditionals=[OPTIM, {**OPTIM, "name": "lr"}]), "not unique"),
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
            (body(metrics=[{**METRIC, "threshold": 1.0}]), "threshold needs"),
            (body(observation_budget=0), "positive int"),
            (body(parallel_bandwidth=0), "positive int"),
            (body(project="huggingface"), "unknown project huggingface"),
            (body(budget=3), "unknown key budget"),
        ],
    )
    def test_invalid_experiment_is_rejected(self, experiment, reason):
        assert reason in "; ".join(experiment_issues(experiment, {}))

    @settings(max_examples=200)
    @given(spaces("sigopt").flatmap(lambda space: params_in(space).map(lambda params: (space, params))))
    def test_everything_written_by_hpcompat_is_accepted(self, pair):
        space, params = pair
        try:
            translation = hp.translate(space, "sigopt", encode=True)
        except hp.TranslationError:  # every parameter has a single value
            return
        assert list(experiment_issues({"name": "x", "metrics": [METRIC], **translation.spec}, {})) == []
        stored = [
            {**parameter, "categorical_values": [{"name": name} for name in parameter.get("categorical_values", ())]}
            for parameter in translation.spec["parameters"]
        ]
        try:
            assignments = translation.encode(params)
        except hp.ParamsError:  # a value too improbable for the resolution of a unit float
            return
        assert list(assignment_issues(assignments, {**translation.spec, "parameters": stored})) == []


@pytest.fixture
def connect(server):
    return lambda token=TOKEN: sigopt.Connection(client_token=token, api_url=server.url)


@pytest.fixture
def experiments(connect):
    return connect().experiments


def call_error(call, **arguments):
    with pytest.raises(sigopt.exception.ApiException) as error:
        call(**arguments)
    return error.value.status_code, error.value.message


class TestResponses:
    def test_parameters_are_completed_and_sorted(self, experiments):
        grid = {"name": "n", "type": "int", "grid": [3, 1]}
        optim = {"name": "c", "type": "categorical", "categorical_values": ["b", "a "]}
        prior = {**LR, "name": "b", "prior": {"name": "normal", "mean": 0.5, "scale": 1}, "transformation": "none"}
        parameters = experiments().create(**body(grid, optim, prior)).to_json()["parameters"]
        assert [parameter["name"] for parameter in parameters] == ["b", "c", "n"]
        double, categorical, integer = parameters
        assert integer["bounds"] == {"object": "bounds", "min": 1.0, "max": 3.0}
        assert integer["grid"] == [1, 3]
        values = categorical["categorical_values"]
        assert [(value["name"], value["enum_index"]) for value in values] == [("b", 1), ("a", 2)]
        assert double["prior"] == {"object": "normal_prior", "name": "normal", "mean": 0.5, "scale": 1.0}
        assert double["transformation"] is None
        assert "grid" not in double
        assert not {"precision", "tunable"} & double.keys()

    def test_metrics_are_sorted_by_name(self, experiments):
        metrics = [METRIC, {"name": "accuracy"}]
        created = experiments().create(**body(metrics=metrics, observation_budget=9)).metrics
        assert [(metric.name, metric.objective) for metric in created] == [
            ("accuracy", "maximize"),
            ("loss", "minimize"),
        ]
        assert [metric.name for metric in experiments().create(**body(metrics=None)).metrics] == [None]

    def test_second_observation_is_accepted_unless_suggestion_is_deleted(self, experiments):
        resource = experiments(experiments().create(**body()).id)
        values = [{"name": "loss", "value": 1.0}]
        observed, deleted = (resource.suggestions().create(assignments={"lr": 0.5}, nonsense=1) for _ in range(2))
        for _ in range(2):
            resource.observations().create(suggestion=observed.id, values=values)
        resource.suggestions(deleted.id).delete()
        assert call_error(resource.observations().create, suggestion=deleted.id, values=values)[0] == 400
        assert call_error(resource.suggestions(deleted.id).delete)[0] == 404
        assert call_error(resource.suggestions(12).delete)[0] == 404

    def test_invalid_tokens_ids_and_characters_are_rejected(self, connect, experiments):
        assert call_error(connect("WRONGTOKEN").experiments().create, **body())[0] == 403
        assert call_error(experiments(12).fetch) == (404, "No experiment 12")
        assert call_error(experiments().create, **body(metadata={"k": "a\0b"})) == (
            400,
            "Malformed json in request body",
        )
        session = connect(SESSION_TOKEN)
        assert "requires a client (team) ID" in call_error(session.experiments().create, **body())[1]
        owner = session.tokens("self").fetch().client
        error = call_error(session.clients(owner).projects().create, id="x", name="x")
        assert error == (404, "Endpoint not found: /v1/clients/None/projects")

    def test_list_has_pages_of_1000(self, experiments, server):
        name = experiments().create(**body()).id
        for _ in range(1_001):
            server.respond("POST", f"experiments/{name}/observations", {}, {"assignments": {"lr": 0.5}, "failed": True})
        page = experiments(name).observations().fetch()
        assert (page.count, len(page.data)) == (1_001, 1_000)
        assert len({observation.id for observation in page.iterate_pages()}) == 1_001
        assert call_error(experiments(name).observations().fetch, limit=1_001)[0] == 400

    def test_unknown_keys_of_a_suggestion_are_ignored(self):
        assert list(suggestion_issues({"nonsense": 1}, {"parameters": []})) == []
