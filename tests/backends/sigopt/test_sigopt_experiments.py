"""Experiments of a server can be read as a space and joined, and their metrics are paired with the directions."""

from __future__ import annotations

import re

import pytest

import hpcompat as hp
from hpcompat.backends.sigopt.client import lite_connection
from tests.helpers.sigopt_server import SESSION_TOKEN, TOKEN
from tests.helpers.spaces import EVERY_TYPE, SIX_CONFIGURATIONS, X_SPACE, parabola, trial_rows

GRIDS = {
    "step": hp.Float(0.1, 0.5, step=0.1),
    "odd": hp.Int(1, 9, step=2),
    "powers": hp.Categorical([1, 10, 1000], ordered=True),
    "fractions": hp.Categorical([0.1, 1.0, 2.5], ordered=True),
}
NATIVE = hp.SearchSpace(
    {
        **GRIDS,
        "lr": hp.Float(1e-6, 1e-4, log=True),
        "dropout": hp.Float(0.0, 0.5),
        "layers": hp.Int(1, 12),
        "batch": hp.Categorical([16, 32]),
        "flag": hp.Categorical([True, False]),
        "prior": hp.Normal(0.0, 1.0, low=-1.0, high=2.0),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "beta": hp.Float(0.9, 0.999, when={"optim": "adamw"}),
        "momentum": hp.Float(0.0, 0.9, step=0.3, when={"optim": "sgd"}),
    }
)
LOSS, ERROR, ACCURACY = (
    {"name": "loss", "objective": "minimize"},
    {"name": "error", "objective": "minimize"},
    {"name": "accuracy", "objective": "maximize"},
)


@pytest.fixture
def connection(server):
    import sigopt

    return sigopt.Connection(client_token=TOKEN, api_url=server.url)


@pytest.fixture
def create(connection):
    """Create an experiment with SigOpt's own client."""

    def create(space=X_SPACE, **body):
        spec = {key: entries for key, entries in hp.translate(space, "sigopt", encode=True).spec.items() if entries}
        return connection.experiments().create(**{"name": "elsewhere", "observation_budget": 30, **spec, **body})

    return create


class TestReadExperiment:
    def test_every_native_type_reads_back_from_json(self, create):
        assert hp.from_sigopt(create(NATIVE).to_json()) == NATIVE

    def test_experiment_object_of_client_is_read(self, create):
        assert hp.from_sigopt(create(NATIVE)) == NATIVE
        assert hp.as_space(create(NATIVE)) == NATIVE

    def test_parameter_objects_of_client_are_read(self, create):
        assert hp.from_sigopt(create(GRIDS).parameters) == hp.SearchSpace(GRIDS)
        assert hp.as_space(create(GRIDS).parameters) == hp.SearchSpace(GRIDS)

    def test_experiment_of_lite_is_read(self):
        space = hp.SearchSpace({name: NATIVE[name] for name in NATIVE if name != "flag"})  # Lite sorts categories
        spec = {key: entries for key, entries in hp.translate(space, "sigopt").spec.items() if entries}
        experiment = lite_connection(0).experiments().create(name="x", metrics=[LOSS], observation_budget=9, **spec)
        assert hp.from_sigopt(experiment) == space

    @pytest.mark.parametrize("bounds", [{"min": 0.0, "max": 0.5}, {"min": 0.1, "max": 0.4}, {"min": 0.1}, 3])
    def test_grid_with_bounds_other_than_its_ends_raises(self, bounds):
        parameter = {"name": "x", "type": "double", "grid": [0.1, 0.3, 0.5], "bounds": bounds}
        with pytest.raises(hp.TranslationError, match=r"x: .*bounds"):
            hp.from_sigopt([parameter])

    def test_grid_with_bounds_that_are_its_ends_is_read(self):
        parameter = {"name": "x", "type": "int", "grid": [5, 1, 3], "bounds": {"min": 1.0, "max": 5.0}}
        assert hp.from_sigopt([parameter])["x"] == hp.Int(1, 5, step=2)

    @pytest.mark.parametrize("source", [object(), 5, "lr", None])
    def test_other_source_raises(self, source):
        with pytest.raises(hp.TranslationError):
            hp.from_sigopt(source)


class TestJoinExperiment:
    @pytest.mark.parametrize("name", GRIDS)
    def test_space_with_native_grid_is_joined(self, on_server, name):
        space = {name: GRIDS[name], **X_SPACE}
        first = on_server(lambda trial: trial[name], space, n_trials=2)
        joined = on_server(lambda trial: trial[name], space, n_trials=4, experiment_id=first.native.id)
        assert trial_rows(joined)[:2] == trial_rows(first)
        assert len(joined.trials) == 4

    def test_experiment_of_another_client_with_every_type_is_joined(self, on_server, create):
        experiment = create(EVERY_TYPE, metrics=[LOSS])
        result = on_server(lambda trial: trial["float"], EVERY_TYPE, n_trials=3, experiment_id=experiment.id)
        assert len(result.trials) == 3

    def test_grid_of_other_values_raises(self, on_server, create):
        experiment = create({"x": hp.Int(1, 9, step=2)}, metrics=[LOSS])
        with pytest.raises(hp.BackendError, match=r"x: is .*'grid': \[1, 3, 5, 7, 9\].* there"):
            on_server(lambda trial: 0.0, {"x": hp.Int(1, 9, step=4)}, n_trials=3, experiment_id=experiment.id)

    def test_unnamed_metric_is_joined(self, on_server, server, create):
        experiment = create()
        result = on_server(
            lambda trial: -trial["x"], X_SPACE, direction="maximize", n_trials=2, experiment_id=experiment.id
        )
        assert [observation["values"][0]["value"] for observation in server.observations[experiment.id]] == [
            trial.value for trial in result.trials
        ]
        joined = on_server(lambda trial: 0.0, X_SPACE, direction="maximize", n_trials=2, experiment_id=experiment.id)
        assert trial_rows(joined) == trial_rows(result)

    @pytest.mark.parametrize(
        ("metrics", "options", "directions"),
        [
            ([LOSS], {}, ("minimize",)),
            ([{"name": "f1"}], {}, ("maximize",)),  # the default of SigOpt
            ([LOSS, ACCURACY], {"metrics": ["accuracy", "loss"]}, ("maximize", "minimize")),
            ([LOSS, ACCURACY], {"compute_objective": ["loss", "accuracy"]}, ("minimize", "maximize")),
            ([LOSS, ERROR], {"metrics": ["loss", "error"]}, ("minimize", "minimize")),
        ],
    )
    def test_objectives_fill_missing_direction(self, on_server, create, metrics, options, directions):
        def evaluate(trial):
            return {name: trial["x"] for name in ("loss", "accuracy", "error")} if options else trial["x"]

        names = options.get("metrics") or options.get("compute_objective") or ["loss"]
        naming = {**options, "compute_objective": names} if options else {}
        result = on_server(evaluate, X_SPACE, n_trials=1, experiment_id=create(metrics=metrics).id, **naming)
        assert result.directions == directions

    def test_two_metrics_in_unknown_order_need_direction(self, on_server, create):
        experiment = create(metrics=[LOSS, ACCURACY])
        with pytest.raises(
            hp.BackendError, match=r"direction: is \('maximize', 'minimize'\) there, and \('minimize',\)"
        ):
            on_server(lambda trial: pytest.fail("a trial was started"), X_SPACE, experiment_id=experiment.id)

    def test_metadata_of_another_client_is_ignored(self, on_server, connection, create):
        experiment = create(metrics=[LOSS], metadata={"note": None, "seen": 3})
        body = {"assignments": {"x": 1.0}, "values": [{"name": "loss", "value": 2.0}]}
        connection.experiments(experiment.id).observations().create(
            **body, metadata={"by": "hand", "empty": None, "n": 1}
        )
        result = on_server(parabola, X_SPACE, n_trials=2, experiment_id=experiment.id)
        assert result.trials[0].value == 2.0

    def test_more_observations_than_a_page_are_read(self, on_server, server, create):
        experiment = create(metrics=[LOSS])
        for number in range(1_001):
            body = {"assignments": {"x": number / 1_000}, "values": [{"name": "loss", "value": float(number)}]}
            server.respond("POST", f"experiments/{experiment.id}/observations", {}, body)
        result = on_server(parabola, X_SPACE, n_trials=1_001, experiment_id=experiment.id)
        assert [trial.value for trial in result.trials] == list(map(float, range(1_001)))

    def test_joined_trial_ended_when_it_was_observed(self, on_server, connection, create):
        experiment = create(metrics=[LOSS])
        values = [{"name": "loss", "value": 0.25}]
        observation = connection.experiments(experiment.id).observations().create(assignments={"x": 1.0}, values=values)
        (trial,) = on_server(parabola, X_SPACE, n_trials=1, experiment_id=experiment.id).trials
        assert trial.end.timestamp() == observation.created

    def test_suggestion_observed_twice_counts_twice(self, on_server, connection, create):
        experiment = create(metrics=[LOSS])
        resource = connection.experiments(experiment.id)
        suggestion = resource.suggestions().create(assignments={"x": 1.0})
        for value in (1.0, 2.0):
            resource.observations().create(suggestion=suggestion.id, values=[{"name": "loss", "value": value}])
        result = on_server(parabola, X_SPACE, n_trials=3, experiment_id=experiment.id)
        assert [trial.value for trial in result.trials[:2]] == [1.0, 2.0]
        assert len(result.trials) == 3

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"state": "deleted"}, "it is deleted"),
            ({"runs_only": True}, "only accepts runs"),
            ({"tasks": [{"name": "cheap", "cost": 0.1}, {"name": "full", "cost": 1}]}, "tasks"),
            ({"linear_constraints": [{"type": "less_than"}]}, "linear_constraints"),
        ],
    )
    def test_experiment_that_accepts_no_observations_raises(self, on_server, server, create, changed, message):
        experiment = create(metrics=[LOSS])
        server.experiments[experiment.id].update(changed)
        with pytest.raises(hp.BackendError, match=message):
            on_server(lambda trial: pytest.fail("a trial was started"), X_SPACE, experiment_id=experiment.id)


def observed_values(server, experiment, number=-1):
    return {value["name"]: value["value"] for value in server.observations[experiment.id][number]["values"]}


def evaluate_both(trial):
    return [trial["x"], 10.0 + trial["x"]]


class TestMetricPairing:
    """The server returns metrics sorted by name, whatever their order in the request."""

    def test_different_directions_pair_values_with_metrics(self, on_server, server, create):
        experiment = create(metrics=[LOSS, ACCURACY])
        for direction, first in ((["minimize", "maximize"], "loss"), (["maximize", "minimize"], "accuracy")):
            n_trials = len(server.observations[experiment.id]) + 1
            result = on_server(
                evaluate_both, X_SPACE, direction=direction, n_trials=n_trials, experiment_id=experiment.id
            )
            values = observed_values(server, experiment)
            assert values[first] == result.trials[-1].values[0] == result.trials[-1].params["x"]
            assert values[({"loss", "accuracy"} - {first}).pop()] == result.trials[-1].values[1]

    def test_joined_trials_have_values_in_order_of_direction_and_by_name(self, on_server, connection, create):
        experiment = create(metrics=[LOSS, ACCURACY])
        values = [{"name": "loss", "value": 0.25}, {"name": "accuracy", "value": 0.75}]
        connection.experiments(experiment.id).observations().create(assignments={"x": 1.0}, values=values)
        for direction, expected in ((["minimize", "maximize"], (0.25, 0.75)), (["maximize", "minimize"], (0.75, 0.25))):
            (trial,) = on_server(
                evaluate_both, X_SPACE, direction=direction, n_trials=1, experiment_id=experiment.id
            ).trials
            assert trial.values == expected
            assert trial.metrics == {"loss": 0.25, "accuracy": 0.75}

    @pytest.mark.parametrize("names", [["loss", "error"], ["error", "loss"]])
    def test_metrics_option_pairs_values_where_directions_are_equal(self, on_server, server, create, names):
        experiment = create(metrics=[LOSS, ERROR])
        result = on_server(
            evaluate_both, X_SPACE, direction=["minimize"] * 2, n_trials=1, experiment_id=experiment.id, metrics=names
        )
        assert observed_values(server, experiment) == dict(zip(names, result.trials[0].values, strict=True))
        joined = on_server(
            evaluate_both,
            X_SPACE,
            direction=["minimize"] * 2,
            n_trials=1,
            experiment_id=experiment.id,
            metrics=names[::-1],
        )
        assert joined.trials[0].values == result.trials[0].values[::-1]

    @pytest.mark.parametrize("names", [["loss", "accuracy"], ["accuracy", "loss"]])
    def test_names_of_compute_objective_pair_values(self, on_server, server, create, names):
        experiment = create(metrics=[LOSS, ACCURACY])
        goals = {"loss": "minimize", "accuracy": "maximize"}
        options = {"direction": [goals[name] for name in names], "compute_objective": names}
        on_server(
            lambda trial: {"loss": 1.0, "accuracy": 2.0 + 0 * trial["x"]},
            X_SPACE,
            n_trials=1,
            experiment_id=experiment.id,
            **options,
        )
        assert observed_values(server, experiment) == {"loss": 1.0, "accuracy": 2.0}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"compute_objective": ["accuracy", "loss"]}, "direction: 'accuracy' is maximized there"),
            ({"compute_objective": ["q", "w"]}, "metrics: expected 'accuracy' and 'loss', got 'q' and 'w'"),
            ({"compute_objective": ["loss", "accuracy"], "metrics": ["accuracy", "loss"]}, "metrics: is "),
        ],
    )
    def test_contradicting_names_of_compute_objective_raise(self, on_server, create, options, message):
        experiment = create(metrics=[LOSS, ACCURACY])
        with pytest.raises(hp.BackendError, match=message):
            on_server(
                evaluate_both, X_SPACE, direction=["minimize", "maximize"], experiment_id=experiment.id, **options
            )

    def test_name_of_another_metric_raises(self, on_server, create):
        with pytest.raises(hp.BackendError, match="metrics: expected 'loss', got 'f1'"):
            on_server(
                lambda trial: {"f1": 1.0}, X_SPACE, experiment_id=create(metrics=[LOSS]).id, compute_objective="f1"
            )

    def test_ambiguous_values_raise(self, on_server, create):
        experiment = create(metrics=[LOSS, ERROR])
        with pytest.raises(hp.BackendError) as refusal:
            on_server(
                lambda trial: pytest.fail("a trial was started"),
                X_SPACE,
                direction=["minimize"] * 2,
                experiment_id=experiment.id,
            )
        assert "metrics: expected the order of 'error' and 'loss'" in str(refusal.value)
        assert "pass metrics=['error', 'loss'] or ['loss', 'error']" in str(refusal.value)

    @pytest.mark.parametrize(
        ("direction", "metrics", "message"),
        [
            (
                ["minimize", "maximize"],
                ["loss", "error"],
                "metrics: expected 'accuracy' and 'loss', got 'loss' and 'error'",
            ),
            (
                ["minimize", "maximize"],
                ["accuracy", "loss"],
                "direction: 'accuracy' is maximized there, and minimized here",
            ),
            (
                ["minimize", "minimize"],
                None,
                "direction: is ('maximize', 'minimize') there, and ('minimize', 'minimize')",
            ),
            ("minimize", None, "direction: is ('maximize', 'minimize') there, and ('minimize',) here"),
            ("minimize", ["loss"], "direction: is ('maximize', 'minimize') there, and ('minimize',) here"),
        ],
    )
    def test_metrics_other_than_those_of_experiment_raise(self, on_server, create, direction, metrics, message):
        experiment = create(metrics=[LOSS, ACCURACY])
        options = {"metrics": metrics} if metrics else {}
        with pytest.raises(hp.BackendError) as refusal:
            on_server(
                lambda trial: pytest.fail("a trial was started"),
                X_SPACE,
                direction=direction,
                experiment_id=experiment.id,
                **options,
            )
        assert message in str(refusal.value)

    def test_single_objective_is_paired_with_metric_of_any_name(self, on_server, server, create):
        experiment = create(metrics=[ACCURACY])
        on_server(lambda trial: 0.5, X_SPACE, direction="maximize", n_trials=1, experiment_id=experiment.id)
        assert observed_values(server, experiment) == {"accuracy": 0.5}

    def test_experiment_of_hpcompat_is_paired_by_its_names(self, on_server, server):
        first = on_server(evaluate_both, X_SPACE, direction=["minimize"] * 2, n_trials=1)
        joined = on_server(
            evaluate_both, X_SPACE, direction=["minimize"] * 2, n_trials=2, experiment_id=first.native.id
        )
        assert trial_rows(joined)[:1] == trial_rows(first)
        assert observed_values(server, first.native)["objective_1"] == joined.trials[1].params["x"]

    def test_metrics_option_names_objectives_of_new_experiment(self, on_server, server, run_hpcompat):
        result = on_server(evaluate_both, X_SPACE, direction=["minimize"] * 2, n_trials=1, metrics=["loss", "error"])
        assert observed_values(server, result.native) == {
            "loss": result.trials[0].values[0],
            "error": result.trials[0].values[1],
        }
        lite = run_hpcompat(
            evaluate_both, X_SPACE, direction=["minimize"] * 2, n_trials=1, metrics=["loss", "error"], driver="lite"
        )
        assert [metric.name for metric in lite.native.metrics] == ["loss", "error"]

    @pytest.mark.parametrize("metrics", ["loss", ["loss"], ["loss", "loss"], ["loss", 5], ["loss", "a\nb"], ["", "b"]])
    def test_invalid_metrics_option_raises(self, on_server, server, metrics):
        expected = "2 different names" if metrics == ["loss"] else "a list of different names, of 1 to 100 characters"
        with pytest.raises(hp.BackendError, match=re.escape(f"metrics: expected {expected}, got {metrics!r}")):
            on_server(
                lambda trial: pytest.fail("a trial was started"), X_SPACE, direction=["minimize"] * 2, metrics=metrics
            )
        assert server.requests == []


class TestValidation:
    """Options that the server would reject raise before the first trial."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"name": "x" * 101}, "name: expected a str of 1 to 100 characters without control characters, got 'xxx"),
            ({"name": " "}, "name: expected a str of 1 to 100 characters without control characters, got ' '"),
            ({"name": "a\0b"}, "name: expected a str of 1 to 100 characters without control characters, got 'a\\x00b'"),
            ({"name": 5}, "name: expected a str of 1 to 100 characters without control characters, got 5"),
            ({"parallel_bandwidth": 0}, "parallel_bandwidth: expected an int of at least 1, got 0"),
            ({"parallel_bandwidth": True}, "parallel_bandwidth: expected an int of at least 1, got True"),
            ({"parallel_bandwidth": "2"}, "parallel_bandwidth: expected an int of at least 1, got '2'"),
            ({"project": "No Project!"}, "project: expected an id of "),
            ({"experiment_id": "a/b"}, "experiment_id: expected the id of an experiment, got 'a/b'"),
            ({"experiment_id": None}, "experiment_id: expected the id of an experiment, got None"),
        ],
    )
    def test_invalid_option_raises(self, on_server, server, options, message):
        with pytest.raises(hp.BackendError) as refusal:
            on_server(lambda trial: pytest.fail("a trial was started"), X_SPACE, **options)
        assert message in str(refusal.value)
        assert server.requests == []

    def test_unknown_experiment_id_raises(self, on_server):
        with pytest.raises(hp.BackendError, match=r"(?s)experiment '12' does not exist.*SIGOPT_API_URL"):
            on_server(lambda trial: pytest.fail("a trial was started"), X_SPACE, experiment_id=12)

    @pytest.mark.parametrize("options", [{}, {"experiment_id": 101}, {"project": "digits"}])
    def test_wrong_token_raises(self, on_server, monkeypatch, options):
        monkeypatch.setenv("SIGOPT_API_TOKEN", "WRONGTOKEN")
        with pytest.raises(hp.SearchError, match="valid API token") as refusal:
            on_server(lambda trial: pytest.fail("a trial was started"), X_SPACE, **options)
        assert "WRONGTOKEN" not in str(refusal.value)
        assert "SIGOPT_API_TOKEN" in str(refusal.value)

    @pytest.mark.parametrize("options", [{}, {"experiment_id": 101}, {"project": "digits"}])
    def test_session_token_raises(self, on_server, monkeypatch, options):
        monkeypatch.setenv("SIGOPT_API_TOKEN", SESSION_TOKEN)
        with pytest.raises(hp.HpcompatError, match="of a client") as refusal:
            on_server(lambda trial: pytest.fail("a trial was started"), X_SPACE, **options)
        assert "SIGOPT_API_TOKEN" in str(refusal.value)
        assert "clients/None" not in str(refusal.value)


class TestServerLimits:
    @pytest.mark.parametrize("message", ["a\0b", "\0" * 600, "\ud800", "é\u2028" * 400])
    def test_error_message_reaches_server(self, on_server, server, message):
        def function(trial):
            if trial.number == 0:
                raise RuntimeError(message)
            return 0.5

        result = on_server(function, X_SPACE, n_trials=2)
        assert message in result.trials[0].error
        assert [trial.state for trial in result.trials] == ["FAILED", "COMPLETE"]
        stored = server.observations[result.native.id][0]["metadata"]["error"]
        assert stored.startswith("RuntimeError: ")
        assert "\0" not in stored

    @pytest.mark.parametrize(
        "parameter",
        [
            hp.Float(0.0, 4e-9, step=1e-9),
            hp.Float(1.0, 1.000000003, step=1e-9),
            hp.Categorical([1e-12, 1e-11, 1e-9], ordered=True),
        ],
    )
    def test_grid_narrower_than_server_accepts_is_encoded(self, on_server, parameter):
        (level,) = hp.translate({"x": parameter}, "sigopt", encode=True).levels
        assert level.form != "grid"
        result = on_server(lambda trial: trial["x"], {"x": parameter}, n_trials=3)
        assert all(parameter.contains(trial.params["x"]) for trial in result.trials)

    def test_grid_as_wide_as_server_accepts_is_native(self):
        (level,) = hp.translate({"x": hp.Float(0.0, 1e-8, step=1e-9)}, "sigopt").levels
        assert level.level == "native"


class TestValidationOnLite:
    def test_invalid_name_raises_on_lite_too(self, run_hpcompat):
        with pytest.raises(
            hp.BackendError, match="name: expected a str of 1 to 100 characters without control characters, got 'xxx"
        ):
            run_hpcompat(lambda trial: pytest.fail("a trial was started"), SIX_CONFIGURATIONS, name="x" * 101)
