"""`hpcompat convert` writes the space that it has read, in every format."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hpcompat as hp
from hpcompat.space.values import strict_equal
from hpcompat.translators.dialect import DIALECTS
from tests.cli.helpers import INEXACT_SPACE, RunCommand, draw_params, execute, write_input
from tests.cli.published_specs import BATCHES, CATBOOST, DQN, GAUSSIANS, SWEEPS
from tests.translators.equivalence import have_same_distributions

ALL_SWEEPS = pytest.mark.parametrize("sweep", SWEEPS.values(), ids=SWEEPS)


def write_sweep(sweep: dict[str, Any]) -> str:
    """Write a sweep as YAML, and return the name of the file."""
    return write_input(yaml.safe_dump(sweep, sort_keys=False), "sweep.yaml")


class TestToOptuna:
    @ALL_SWEEPS
    def test_sweep_becomes_plain_optuna_function(self, run: RunCommand, sweep: dict[str, Any]) -> None:
        result = run("convert", write_sweep(sweep), "--to", "optuna")
        assert result.code == 0
        assert "import" not in result.out
        suggest, space = execute(result.out)["suggest"], hp.from_wandb(sweep)
        for params in draw_params(suggest):
            space.validate(params)
        assert have_same_distributions(hp.from_optuna(suggest), space)
        assert f"left behind: method ({sweep['method']}), metric ({sweep['metric']['goal']} " in result.err

    def test_encoded_function_returns_decoded_params(self, run: RunCommand) -> None:
        result = run("convert", write_input(INEXACT_SPACE.to_dict()), "--to", "optuna", "--encode")
        for params in draw_params(execute(result.out)["suggest"]):
            INEXACT_SPACE.validate(params)


class TestToRay:
    @ALL_SWEEPS
    def test_sweep_becomes_dict_of_domains(self, run: RunCommand, sweep: dict[str, Any]) -> None:
        from ray.tune.search.variant_generator import generate_variants

        result = run("convert", write_sweep(sweep), "--to", "ray")
        assert result.code == 0
        param_space, space = execute(result.out)["param_space"], hp.from_wandb(sweep)
        assert hp.from_ray(param_space) == hp.from_ray(hp.to_ray(space))
        for _, params in generate_variants(param_space, random_state=0):
            space.validate(params)

    def test_domains_keep_groups_lists_and_constants(self, run: RunCommand) -> None:
        result = run("convert", write_input(DQN), "--to", "ray")
        assert hp.from_ray(execute(result.out)["param_space"]) == hp.from_ray(DQN)

    def test_encoded_domains_have_decoder(self, run: RunCommand) -> None:
        names = execute(run("convert", write_input(INEXACT_SPACE.to_dict()), "--to", "ray", "--encode").out)
        config = {name: domain.sample() for name, domain in names["param_space"].items()}
        INEXACT_SPACE.validate(names["decode"](config))

    @pytest.mark.parametrize(
        ("flags", "option", "type_of_n"),
        [(["--searcher"], "searcher=True", "Float"), (["--searcher", "optuna"], "searcher='optuna'", "Integer")],
        ids=["any searcher", "optuna"],
    )
    def test_searcher_is_named_in_source(self, run: RunCommand, flags: list[str], option: str, type_of_n: str) -> None:
        file = write_input(hp.SearchSpace({"x": hp.Normal(0.0, 1.0), "n": hp.Int(1, 3)}).to_dict())
        source = run("convert", file, "--to", "ray", "--encode", *flags).out
        assert f"hp.to_ray(space, encode=True, {option})" in source
        assert type(execute(source)["param_space"]["n"]).__name__ == type_of_n

    def test_steps_are_read_as_by_the_searcher(self, run: RunCommand) -> None:
        file = write_input({"x": {"call": "qrandint", "args": [1, 10, 3]}})
        default = run("convert", file, "--from", "ray", "--to", "ray")
        assert hp.from_ray(execute(default.out)["param_space"])["x"] == hp.Int(3, 9, step=3)
        optuna = run("convert", file, "--from", "ray", "--searcher", "optuna", "--to", "json")
        assert hp.SearchSpace.from_dict(json.loads(optuna.out))["x"] == hp.Int(1, 10, step=3)
        other = run("convert", file, "--from", "ray", "--searcher", "--to", "json")
        assert other.code == 1
        assert "use --searcher optuna for OptunaSearch" in other.err


class TestToSigopt:
    def test_conditions_are_written_with_conditionals(self, run: RunCommand) -> None:
        spec = json.loads(run("convert", write_input(GAUSSIANS), "--to", "sigopt").out)
        assert spec.keys() == {"parameters", "conditionals"}
        assert hp.from_sigopt(spec) == hp.from_sigopt(GAUSSIANS)

    def test_unconditional_space_is_list(self, run: RunCommand) -> None:
        result = run("convert", write_input(BATCHES), "--to", "sigopt")
        parameters = json.loads(result.out)
        assert isinstance(parameters, list)
        assert hp.from_sigopt(parameters) == hp.from_sigopt(BATCHES)
        assert result.err == "hpcompat: left behind: metrics\n"


class TestToWandb:
    @ALL_SWEEPS
    def test_sweep_keeps_all_its_keys(self, run: RunCommand, sweep: dict[str, Any]) -> None:
        result = run("convert", write_sweep(sweep), "--to", "wandb")
        written = yaml.safe_load(result.out)
        assert result.code == 0
        assert "left behind" not in result.err
        assert hp.from_wandb(written) == hp.from_wandb(hp.to_wandb(hp.from_wandb(sweep)))
        assert {key: written[key] for key in sweep if key != "parameters"} == {
            key: sweep[key] for key in sweep if key != "parameters"
        }

    def test_unknown_key_of_sweep_is_left_behind(self, run: RunCommand) -> None:
        keys = {"name": "all", "program": "train.py", "run_cap": 9, "command": ["python", "${args}"], "project": "p"}
        sweep = {"parameters": {"a": {"min": 0, "max": 9}}, "method": "bayes", "metric": {"name": "f1"}, **keys}
        result = run("convert", write_input({**sweep, "workers": 4}), "--to", "wandb")
        written = yaml.safe_load(result.out)
        assert {key: written[key] for key in keys} == keys
        assert result.err == "hpcompat: left behind: workers (4)\n"

    def test_small_floats_are_floats_in_yaml(self, run: RunCommand) -> None:
        space = hp.SearchSpace({"lr": hp.Float(1e-20, 1e-05, log=True), "eps": hp.Categorical([1e-08, 1e16, "1e-08"])})
        parameters = yaml.safe_load(run("convert", write_input(space.to_dict()), "--to", "wandb").out)["parameters"]
        assert parameters["lr"] == {"distribution": "log_uniform_values", "min": 1e-20, "max": 1e-05}
        assert strict_equal(parameters["eps"]["values"], [1e-08, 1e16, "1e-08"])

    def test_json_file_is_valid_yaml(self, run: RunCommand) -> None:
        sweep = SWEEPS["nested"]
        assert run("convert", write_input(sweep), "--to", "wandb", "-o", "out.json").out == ""
        text = Path("out.json").read_text(encoding="utf-8")
        assert strict_equal(json.loads(text), yaml.safe_load(text))
        assert hp.from_wandb(json.loads(text)) == hp.from_wandb(sweep)

    def test_missing_pyyaml_reads_and_writes_json(self, run: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "yaml", None)
        result = run("convert", write_input(SWEEPS["nested"]), "--to", "wandb")
        assert hp.from_wandb(json.loads(result.out)) == hp.from_wandb(SWEEPS["nested"])
        yaml_result = run("convert", write_input("method: random\n", "sweep.yaml"), "--to", "wandb")
        assert yaml_result.code == 1
        assert "pip install 'hpcompat[yaml]'" in yaml_result.err

    @pytest.mark.parametrize(
        ("arguments", "method", "metric"),
        [
            ((), "bayes", {"name": "iou", "goal": "maximize"}),
            (("--method", "random"), "random", {"name": "iou", "goal": "maximize"}),
            (("--metric", "loss"), "bayes", {"name": "loss", "goal": "maximize"}),
            (("--metric", "loss", "--goal", "minimize"), "bayes", {"name": "loss", "goal": "minimize"}),
        ],
        ids=["none", "method", "metric", "metric and goal"],
    )
    def test_option_replaces_key_of_sweep(
        self, run: RunCommand, arguments: tuple[str, ...], method: str, metric: dict[str, str]
    ) -> None:
        result = run("convert", write_input(SWEEPS["string bounds"]), "--to", "wandb", *arguments)
        written = yaml.safe_load(result.out)
        assert (written["method"], written["metric"]) == (method, metric)

    def test_space_without_method_becomes_random_sweep(self, run: RunCommand) -> None:
        file = write_input(hp.SearchSpace({"lr": hp.Float(0, 1)}).to_dict())
        assert yaml.safe_load(run("convert", file, "--to", "wandb").out)["method"] == "random"
        bayes = run("convert", file, "--to", "wandb", "--method", "bayes", "--metric", "loss")
        assert yaml.safe_load(bayes.out)["metric"] == {"name": "loss", "goal": "minimize"}
        without_metric = run("convert", file, "--to", "wandb", "--method", "bayes")
        assert without_metric.code == 1
        assert "--metric eval_loss" in without_metric.err

    @pytest.mark.parametrize(
        "metric",
        [{"goal": "maximize"}, 3, {"name": "loss", "goal": "hello world"}],
        ids=["no name", "number", "invalid goal"],
    )
    def test_invalid_metric_fails(self, run: RunCommand, metric: Any) -> None:
        sweep = {"method": "random", "parameters": {"a": {"min": 0, "max": 9}}, "metric": metric}
        result = run("convert", write_input(sweep), "--to", "wandb")
        assert (result.code, result.out) == (1, "")
        assert "metric" in result.err or "goal" in result.err


class TestToJsonAndPython:
    @pytest.mark.parametrize(
        "source",
        [*SWEEPS.values(), CATBOOST, DQN, GAUSSIANS],
        ids=[*SWEEPS, "optuna calls", "ray domains", "sigopt experiment"],
    )
    @pytest.mark.parametrize("to", ["json", "python"])
    def test_output_for_any_source_reads_back_equal(self, run: RunCommand, to: str, source: Any) -> None:
        result = run("convert", write_input(source), "--to", to)
        if to == "json":
            space = hp.SearchSpace.from_dict(json.loads(result.out))
            assert run("convert", write_input(result.out), "--to", "json").code == 0
        else:
            space = execute(result.out)["space"]
        assert space == hp.as_space(source)

    def test_space_too_deep_for_python_is_written_as_json(self, run: RunCommand) -> None:
        group = hp.SearchSpace({"x": hp.Int(0, 1)}, when={"gate": 1})
        for _ in range(109):
            group = hp.SearchSpace({"g": group}, when={"gate": 1})
        deep = hp.SearchSpace({"gate": hp.Int(0, 1), "g": group})
        file = write_input(deep.to_dict())
        to_python = run("convert", file, "--to", "python")
        assert to_python.code == 1
        assert "--to json" in to_python.err
        assert hp.SearchSpace.from_dict(json.loads(run("convert", file, "--to", "json").out)) == deep


class TestWithoutEncode:
    @pytest.mark.parametrize("to", ["optuna", "ray", "sigopt", "wandb"])
    def test_inexact_parameters_fail_with_hint(self, run: RunCommand, to: str) -> None:
        result = run("convert", write_input(INEXACT_SPACE.to_dict()), "--to", to)
        assert (result.code, result.out) == (1, "")
        first, *issues = result.err.splitlines()
        assert first == f"hpcompat: input.json: this space cannot be represented exactly in {DIALECTS[to].title}"
        assert any(issue.startswith("  warmup: ") for issue in issues)
        assert all(issue.endswith("(use --encode)") for issue in issues)
