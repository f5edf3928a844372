"""What `hpcompat convert` prints runs as it stands, and is the space that was given."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import hpcompat as hp
from hpcompat.space.values import strict_equal
from hpcompat.translators.dialect import DIALECTS
from tests.cli.helpers import Run, drawn, executed, written
from tests.translators.laws import same_law

# -- a sweep, wherever it goes ------------------------------------------------------------------------

SWEEPS: dict[str, dict[str, Any]] = {  # as published
    "text bounds": {
        "method": "bayes",
        "metric": {"name": "iou", "goal": "maximize"},
        "parameters": {
            "lr": {"min": 0.0001, "max": 0.01},
            "weight_decay": {"min": "1e-5", "max": "1e-4"},
            "batch_size": {"values": [4, 8, 12, 16]},
            "epochs": {"value": 50},
            "momentum": {"min": 0.0, "max": 0.9},
            "root": {"value": "/data/cancer-instance"},
        },
    },
    "nested": {
        "method": "bayes",
        "metric": {"goal": "minimize", "name": "val/loss/min_loss_so_far"},
        "parameters": {
            "jac_reg": {"values": [True, False]},
            "jac_reg_tau": {"values": [1e-05, 0.0001, 0.001, 0.01]},
            "weight_decay": {"values": [0, 1e-05, 0.0001]},
            "deq": {"parameters": {"deq_max_iter": {"values": [40, 60, 80]}}},
            "seed": {"values": [1, 2, 3]},
        },
    },
    "texts for values": {
        "method": "grid",
        "metric": {"goal": "minimize", "name": "Train/losses/total"},
        "parameters": {
            "data.variant": {"values": [0, 1, 2, 3, 4, 5]},
            "model.qr": {"values": ["1e-3", "1e-2", "1e-1"]},
            "model.start_step": {"values": [2000, 5000, 12000, 20000]},
        },
        "early_terminate": {"type": "hyperband", "eta": 3, "min_iter": 10},
    },
    "rounded": {
        "method": "bayes",
        "metric": {"goal": "maximize", "name": "reward.mean"},
        "parameters": {
            "env": {"value": "LunarLander-v2"},
            "goal": {"value": 10.0},
            "meta_update_every": {"distribution": "q_uniform", "q": 10, "min": 10, "max": 100},
            "m": {"distribution": "int_uniform", "min": 1, "max": 30},
        },
    },
}
ALL_SWEEPS = pytest.mark.parametrize("sweep", SWEEPS.values(), ids=SWEEPS)


@ALL_SWEEPS
def test_a_sweep_becomes_an_optuna_function(run: Run, sweep: dict[str, Any]) -> None:
    ran = run("convert", written(yaml.safe_dump(sweep, sort_keys=False), "sweep.yaml"), "--to", "optuna")
    assert ran.code == 0
    assert "import" not in ran.out  # plain Optuna
    suggest, space = executed(ran.out)["suggest"], hp.from_wandb(sweep)
    for params in drawn(suggest):
        space.validate(params)
    assert same_law(hp.from_optuna(suggest), space)
    assert f"left behind: method ({sweep['method']}), metric ({sweep['metric']['goal']} " in ran.err


@ALL_SWEEPS
def test_a_sweep_becomes_a_dict_of_ray_domains(run: Run, sweep: dict[str, Any]) -> None:
    ran = run("convert", written(yaml.safe_dump(sweep, sort_keys=False), "sweep.yaml"), "--to", "ray")
    assert ran.code == 0
    param_space, space = executed(ran.out)["param_space"], hp.from_wandb(sweep)
    assert hp.from_ray(param_space) == hp.from_ray(hp.to_ray(space))
    from ray.tune.search.variant_generator import generate_variants

    for _, params in generate_variants(param_space, random_state=0):
        space.validate(params)


@ALL_SWEEPS
def test_a_sweep_stays_a_sweep(run: Run, sweep: dict[str, Any]) -> None:
    ran = run("convert", written(yaml.safe_dump(sweep, sort_keys=False), "sweep.yaml"), "--to", "wandb")
    again = yaml.safe_load(ran.out)
    assert ran.code == 0
    assert "left behind" not in ran.err
    assert hp.from_wandb(again) == hp.from_wandb(hp.to_wandb(hp.from_wandb(sweep)))
    assert {key: again[key] for key in sweep if key != "parameters"} == {
        key: sweep[key] for key in sweep if key != "parameters"
    }


def test_a_sweep_in_yaml_has_floats_that_yaml_reads_as_floats(run: Run) -> None:
    tiny = {"lr": hp.Float(1e-20, 1e-05, log=True), "eps": hp.Categorical([1e-08, 1e16, "1e-08"])}
    ran = run("convert", written(hp.SearchSpace(tiny).to_dict()), "--to", "wandb")
    parameters = yaml.safe_load(ran.out)["parameters"]
    assert parameters["lr"] == {"distribution": "log_uniform_values", "min": 1e-20, "max": 1e-05}
    assert strict_equal(parameters["eps"]["values"], [1e-08, 1e16, "1e-08"])


def test_bounds_that_are_probably_not_meant_are_said(run: Run) -> None:
    exponents = {"distribution": "log_uniform", "min": 1e-4, "max": 0.1}
    meant = {"distribution": "log_uniform", "min": -9.2, "max": -2.3}
    momentum = {"min": 0, "max": 1}
    parameters = {
        "lr": exponents,
        "wd": meant,
        "group": {"parameters": {"momentum": momentum}},
        "n": {"min": 0, "max": 2},
    }
    ran = run("convert", written({"parameters": parameters}), "--to", "python")
    said = [line for line in ran.err.splitlines() if "hint: " in line]
    assert len(said) == 2
    assert "lr draws 1.0001 … 1.10517" in said[0] and "log_uniform_values" in said[0]
    assert "group.momentum is 0 or 1" in said[1]


def test_a_sweep_for_a_json_file_is_json_that_reads_the_same_as_yaml(run: Run) -> None:
    sweep = SWEEPS["nested"]
    assert run("convert", written(sweep), "--to", "wandb", "-o", "out.json").out == ""
    text = Path("out.json").read_text(encoding="utf-8")
    assert strict_equal(json.loads(text), yaml.safe_load(text))
    assert hp.from_wandb(json.loads(text)) == hp.from_wandb(sweep)


def test_a_sweep_keeps_its_own_keys_and_only_them(run: Run) -> None:
    own = {
        "name": "all",
        "program": "train.py",
        "run_cap": 9,
        "command": ["python", "${args}"],
        "project": "p",
    }
    sweep = {"parameters": {"a": {"min": 0, "max": 9}}, "method": "bayes", "metric": {"name": "f1"}, **own}
    ran = run("convert", written({**sweep, "workers": 4}), "--to", "wandb")
    again = yaml.safe_load(ran.out)
    assert {key: again[key] for key in own} == own
    assert ran.err == "hpcompat: left behind: workers (4)\n"


@pytest.mark.parametrize(
    ("words", "method", "metric"),
    [
        ((), "bayes", {"name": "iou", "goal": "maximize"}),
        (("--method", "random"), "random", {"name": "iou", "goal": "maximize"}),
        (("--metric", "loss"), "bayes", {"name": "loss", "goal": "maximize"}),
        (("--metric", "loss", "--goal", "minimize"), "bayes", {"name": "loss", "goal": "minimize"}),
    ],
)
def test_options_each_replace_one_key_of_the_sweep(
    run: Run, words: tuple[str, ...], method: str, metric: dict[str, str]
) -> None:
    again = yaml.safe_load(run("convert", written(SWEEPS["text bounds"]), "--to", "wandb", *words).out)
    assert (again["method"], again["metric"]) == (method, metric)


def test_anything_else_becomes_a_random_sweep_unless_told(run: Run) -> None:
    file = written(hp.SearchSpace({"lr": hp.Float(0, 1)}).to_dict())
    assert yaml.safe_load(run("convert", file, "--to", "wandb").out)["method"] == "random"
    told = run("convert", file, "--to", "wandb", "--method", "bayes", "--metric", "loss")
    assert yaml.safe_load(told.out)["metric"] == {"name": "loss", "goal": "minimize"}
    missing = run("convert", file, "--to", "wandb", "--method", "bayes")
    assert missing.code == 1
    assert "--metric eval_loss" in missing.err


@pytest.mark.parametrize(
    "metric",
    [{"goal": "maximize"}, 3, {"name": "loss", "goal": "hello world"}],
    ids=["no name", "3", "no goal"],
)
def test_a_metric_that_w_and_b_would_misread_is_refused(run: Run, metric: Any) -> None:
    sweep = {"method": "random", "parameters": {"a": {"min": 0, "max": 9}}, "metric": metric}
    ran = run("convert", written(sweep), "--to", "wandb")
    assert (ran.code, ran.out) == (1, "")
    assert "metric" in ran.err or "goal" in ran.err


def test_without_pyyaml_json_is_read_and_sweeps_are_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    ran = run("convert", written(SWEEPS["nested"]), "--to", "wandb")
    assert hp.from_wandb(json.loads(ran.out)) == hp.from_wandb(SWEEPS["nested"])
    refused = run("convert", written("method: random\n", "sweep.yaml"), "--to", "wandb")
    assert refused.code == 1
    assert "pip install 'hpcompat[yaml]'" in refused.err


# -- the other dialects -------------------------------------------------------------------------------

CATBOOST = [  # as published
    {"name": "iterations", "call": "suggest_int", "args": [100, 2000], "kwargs": {}},
    {"name": "l2_leaf_reg", "call": "suggest_float", "args": [0.001, 10.0], "kwargs": {"log": True}},
    {"name": "bootstrap_type", "call": "suggest_categorical", "args": [["Bernoulli", "MVS", "Bayesian"]]},
    {
        "name": "bagging_temperature",
        "call": "suggest_float",
        "args": [0.0, 1.0],
        "when": {"bootstrap_type": ["Bayesian"]},
    },
    {
        "name": "subsample",
        "call": "suggest_float",
        "args": [0.5, 1.0],
        "when": {"bootstrap_type": ["Bernoulli", "MVS"]},
    },
]
DEPTHS = [  # as published
    {"name": "num_layers", "call": "suggest_int", "args": [1, 3]},
    {"name": "hidden_dim_0", "call": "suggest_int", "args": [32, 512], "kwargs": {"step": 32}},
    {
        "name": "hidden_dim_1",
        "call": "suggest_int",
        "args": [32, 512],
        "kwargs": {"step": 32},
        "when": {"num_layers": [2, 3]},
    },
    {
        "name": "hidden_dim_2",
        "call": "suggest_int",
        "args": [32, 512],
        "kwargs": {"step": 32},
        "when": {"num_layers": [3]},
    },
]
DQN = {  # as published
    "noisy": False,
    "lr": {"call": "uniform", "kwargs": {"lower": 5e-08, "upper": 0.1}},
    "hiddens": {"call": "choice", "args": [[[128, 128], [256, 128], [256]]]},
    "replay_buffer_config": {
        "capacity": {"call": "randint", "kwargs": {"lower": 1500, "upper": 70000}},
        "prioritized_replay_beta": {"call": "uniform", "kwargs": {"lower": 0.2, "upper": 0.5}},
    },
}
GAUSSIANS = {  # as published
    "parameters": [
        {
            "name": "x",
            "type": "double",
            "bounds": {"min": 0, "max": 1},
            "conditions": {"gaussian": ["gaussian1"]},
        },
        {
            "name": "y",
            "type": "double",
            "bounds": {"min": 0, "max": 1},
            "conditions": {"gaussian": ["gaussian2"]},
        },
    ],
    "conditionals": [{"name": "gaussian", "values": ["gaussian1", "gaussian2"]}],
    "metrics": [],
}
BATCHES = {  # as published
    "parameters": [
        {"name": "num_epochs", "bounds": {"min": 10, "max": 20}, "type": "int"},
        {"name": "batch_size", "grid": [128, 256, 512, 1024], "type": "int"},
    ],
    "metrics": [{"name": "test_acc", "strategy": "optimize", "objective": "maximize"}],
}


@pytest.mark.parametrize("calls", [CATBOOST, DEPTHS], ids=["categorical parent", "int parent"])
def test_conditions_become_ifs(run: Run, calls: list[dict[str, Any]]) -> None:
    ran = run("convert", written(calls), "--to", "optuna")
    suggest, space = executed(ran.out)["suggest"], hp.from_optuna(calls)
    found = drawn(suggest)
    for params in found:
        space.validate(params)
    assert len({tuple(params) for params in found}) > 1
    assert hp.from_optuna(suggest) == space


def test_groups_and_conditions_on_conditions(run: Run) -> None:
    space = hp.SearchSpace(
        {
            "optim": hp.Categorical(["adamw", "sgd", None, True]),
            "momentum": hp.Float(0.0, 0.9, when={"optim": "sgd"}),
            "nesterov": hp.Categorical([True, False], when={"optim": ["sgd", "adamw"]}),
            "damping": hp.Int(1, 9, step=2, when={"nesterov": True}),
            "model": {
                "layers": hp.Int(1, 4),
                "head": hp.SearchSpace(
                    {"width": hp.Categorical([16, 32]), "inner": {"z": hp.Int(1, 3, log=True)}},
                    when={"optim": [None, True]},
                ),
            },
            "late": {"seed": hp.Constant((1, [2]), when={"model.head.width": 16})},
            "both": hp.Float(0, 1, when={"optim": True, "model.layers": [2, 3]}),
        }
    )
    suggest = executed(run("convert", written(space.to_dict()), "--to", "optuna").out)["suggest"]
    found = drawn(suggest, 200)
    for params in found:
        space.validate(params)
    assert {"late" in params for params in found} == {"both" in params for params in found} == {True, False}
    back = hp.from_optuna(suggest)
    assert all(space.contains(back.sample(seed)) and back.contains(space.sample(seed)) for seed in range(200))


def test_ray_to_ray_keeps_groups_lists_and_constants(run: Run) -> None:
    ran = run("convert", written(DQN), "--to", "ray")
    assert hp.from_ray(executed(ran.out)["param_space"]) == hp.from_ray(DQN)


def test_a_searcher_reads_steps_otherwise(run: Run) -> None:
    file = written({"x": {"call": "qrandint", "args": [1, 10, 3]}})
    assert hp.from_ray(executed(run("convert", file, "--from", "ray", "--to", "ray").out)["param_space"])[
        "x"
    ] == hp.Int(3, 9, step=3)
    searcher = run("convert", file, "--from", "ray", "--searcher", "optuna", "--to", "json")
    assert hp.SearchSpace.from_dict(json.loads(searcher.out))["x"] == hp.Int(1, 10, step=3)
    other = run("convert", file, "--from", "ray", "--searcher", "--to", "json")
    assert other.code == 1 and "use --searcher optuna for OptunaSearch" in other.err


def test_what_a_searcher_is_written_says_which_one(run: Run) -> None:
    file = written(hp.SearchSpace({"x": hp.Normal(0.0, 1.0), "n": hp.Int(1, 3)}).to_dict())
    for flags, option, calls in [
        (["--searcher"], "searcher=True", {"n": "Float"}),
        (["--searcher", "optuna"], "searcher='optuna'", {"n": "Integer"}),
    ]:
        source = run("convert", file, "--to", "ray", "--encode", *flags).out
        assert f"hp.to_ray(space, encode=True, {option})" in source
        space = executed(source)["param_space"]
        assert {name: type(space[name]).__name__ for name in calls} == calls


def test_sigopt_conditions_go_with_their_conditionals(run: Run) -> None:
    form = json.loads(run("convert", written(GAUSSIANS), "--to", "sigopt").out)
    assert form.keys() == {"parameters", "conditionals"}
    assert hp.from_sigopt(form) == hp.from_sigopt(GAUSSIANS)


def test_sigopt_without_conditions_is_a_list(run: Run) -> None:
    ran = run("convert", written(BATCHES), "--to", "sigopt")
    parameters = json.loads(ran.out)
    assert isinstance(parameters, list)
    assert hp.from_sigopt(parameters) == hp.from_sigopt(BATCHES)
    assert ran.err == "hpcompat: left behind: metrics\n"


def test_numbers_that_sigopt_stores_as_text_are_said(run: Run) -> None:
    ran = run("convert", written(SWEEPS["nested"]), "--to", "sigopt")
    assert "stored as text: jac_reg, jac_reg_tau" in ran.err
    assert 'hp.translate(space, "sigopt").decode(assignments)' in ran.err


@pytest.mark.parametrize("given", [*SWEEPS.values(), CATBOOST, DQN, GAUSSIANS], ids=lambda thing: type(thing).__name__)
@pytest.mark.parametrize("to", ["json", "python"])
def test_json_and_python_hold_everything(run: Run, to: str, given: Any) -> None:
    ran = run("convert", written(given), "--to", to)
    again = hp.SearchSpace.from_dict(json.loads(ran.out)) if to == "json" else executed(ran.out)["space"]
    assert again == hp.as_space(given)
    assert run("convert", written(ran.out), "--to", "json").code == 0 or to == "python"


# -- encoded ------------------------------------------------------------------------------------------

ENCODED = hp.SearchSpace(
    {
        "optim": hp.Categorical(["adamw", "sgd"], weights=[3, 1]),
        "warmup": hp.Normal(0.1, 0.05, low=0.0, when={"optim": "sgd"}),
        "layers": hp.Int(1, 4),
    }
)


@pytest.mark.parametrize("to", ["optuna", "ray", "sigopt", "wandb"])
def test_what_has_no_form_is_refused_with_the_way_out(run: Run, to: str) -> None:
    ran = run("convert", written(ENCODED.to_dict()), "--to", to)
    assert (ran.code, ran.out) == (1, "")
    first, *issues = ran.err.splitlines()
    assert first == f"hpcompat: given.json: this space cannot be represented exactly in {DIALECTS[to].title}"
    assert any(issue.startswith("  warmup: ") for issue in issues)
    assert all(issue.endswith("(--encode lets it travel)") for issue in issues)


def test_encoded_python_decodes_by_itself(run: Run) -> None:
    file = written(ENCODED.to_dict())
    for params in drawn(executed(run("convert", file, "--to", "optuna", "--encode").out)["suggest"]):
        ENCODED.validate(params)
    names = executed(run("convert", file, "--to", "ray", "--encode").out)
    config = {name: domain.sample() for name, domain in names["param_space"].items()}
    ENCODED.validate(names["decode"](config))


@pytest.mark.parametrize(("to", "load"), [("sigopt", json.loads), ("wandb", yaml.safe_load)])
def test_encoded_data_says_how_to_decode_it(run: Run, to: str, load: Callable[[str], Any]) -> None:
    ran = run("convert", written(ENCODED.to_dict()), "--to", to, "--encode")
    form = load(ran.out)
    names = form["parameters"] if to == "wandb" else {each["name"] for each in form}
    assert set(names) == {"optim", "warmup", "layers"}
    assert "hpcompat: encoded: warmup: " in ran.err
    decode = re.search(r"hp\.translate\(.*\)\.decode", ran.err)
    assert decode
    decoded = eval(decode[0], {"hp": hp, "space": ENCODED})
    raw = hp.translate(ENCODED, to, encode=True).encode({"optim": "adamw", "layers": 2})
    assert decoded(raw) == {"optim": "adamw", "layers": 2}


def test_a_condition_on_a_float_grid_is_left_to_hpcompat(run: Run) -> None:
    """Optuna would give 0.30000000000000004, which is no 0.3."""
    space = hp.SearchSpace({"x": hp.Float(0, 1, step=0.1), "y": hp.Int(1, 2, when={"x": [0.3, 0.7]})})
    found = drawn(executed(run("convert", written(space.to_dict()), "--to", "optuna").out)["suggest"], 60)
    for params in found:
        space.validate(params)
    assert any("y" in params for params in found)


# -- Python code --------------------------------------------------------------------------------------

TRAIN = """
import optuna
from ray import tune

import hpcompat as hp

print("training code prints")
space = hp.SearchSpace({"lr": hp.Float(1e-6, 1e-4, log=True)})
bare = {"lr": hp.Float(1e-6, 1e-4, log=True)}
sweep = "method: random\\nparameters: {lr: {distribution: log_uniform_values, min: 1.0e-6, max: 1.0e-4}}"
domains = {"lr": tune.loguniform(1e-6, 1e-4)}
parameters = [{"name": "lr", "type": "double", "bounds": {"min": 1e-6, "max": 1e-4}, "transformation": "log"}]
study = optuna.create_study()
study.ask({"lr": optuna.distributions.FloatDistribution(1e-6, 1e-4, log=True)})


def suggest(trial):
    return {"lr": trial.suggest_float("lr", 1e-6, 1e-4, log=True)}


def hp_space(trial):
    return {"method": "random", "metric": {"name": "objective", "goal": "minimize"}, **hp.to_wandb(space)}


class Settings:
    space = space


number = 3
faulty = {"lr": hp.Float(1, 0)}


def leaves(trial):
    raise SystemExit(3)
"""


@pytest.mark.parametrize(
    "name",
    ["space", "bare", "sweep", "domains", "parameters", "study", "suggest", "hp_space", "Settings.space"],
)
def test_an_object_in_python_code(run: Run, name: str) -> None:
    written(TRAIN, "train_objects.py")
    for target in (f"train_objects.py:{name}", f"train_objects:{name}"):
        ran = run("convert", target, "--to", "json")
        assert ran.code == 0
        assert hp.SearchSpace.from_dict(json.loads(ran.out)) == hp.SearchSpace({"lr": hp.Float(1e-6, 1e-4, log=True)})
    sys.modules.pop("train_objects")


def test_what_the_code_prints_is_no_output(run: Run) -> None:
    written('print("hello")\nimport hpcompat as hp\nspace = {"a": hp.Float(0, 1)}', "prints.py")
    before = list(sys.path)
    ran = run("convert", "prints.py:space", "--to", "json")
    assert json.loads(ran.out)
    assert ran.err == "hello\n"
    assert (sys.path, list(Path().glob("__pycache__"))) == (before, [])


def test_code_imports_its_neighbours(run: Run) -> None:
    Path("project").mkdir()
    written("import hpcompat as hp\nlr = hp.Float(0, 1)", "project/neighbour_of_space.py")
    written("from neighbour_of_space import lr\nspace = {'lr': lr}", "project/space.py")
    assert run("convert", "project/space.py:space", "--to", "json").code == 0
    sys.modules.pop("neighbour_of_space")


def test_a_function_that_returns_a_sweep_has_its_metric(run: Run) -> None:
    written(TRAIN, "train.py")
    assert "left behind: method (random), metric (minimize objective)" in (
        run("convert", "train.py:hp_space", "--to", "optuna").err
    )
    again = yaml.safe_load(run("convert", "train.py:hp_space", "--to", "wandb").out)
    assert again["metric"] == {"name": "objective", "goal": "minimize"}


# -- the ends of what Python takes -----------------------------------------------------------------


def test_a_space_too_deep_for_python_goes_as_json(run: Run) -> None:
    space: Any = hp.Int(0, 1)
    for depth in range(110):
        space = (
            hp.SearchSpace({"g": space}, when={"gate": 1}) if depth else hp.SearchSpace({"x": space}, when={"gate": 1})
        )
    deep = hp.SearchSpace({"gate": hp.Int(0, 1), "g": space})
    file = written(deep.to_dict())
    ran = run("convert", file, "--to", "python")
    assert ran.code == 1
    assert "--to json" in ran.err
    assert hp.SearchSpace.from_dict(json.loads(run("convert", file, "--to", "json").out)) == deep


def test_long_chains_of_conditions_stay_within_pythons_indentation(run: Run) -> None:
    chain: dict[str, Any] = {"p0": hp.Int(0, 1)}
    for depth in range(1, 120):
        chain[f"p{depth}"] = hp.Int(0, 1, when={f"p{depth - 1}": [0, 1]})
    space = hp.SearchSpace(chain)
    ran = run("convert", written(space.to_dict()), "--to", "optuna")
    for params in drawn(executed(ran.out)["suggest"], 2):
        space.validate(params)


# -- names that a dialect has for something else --------------------------------------------------------


def test_a_sweep_with_a_parameter_called_eval_stays_a_sweep(run: Run) -> None:
    sweep = {"method": "random", "parameters": {"lr": {"min": 0.1, "max": 1.0}, "eval": {"value": True}}}
    ran = run("convert", written(sweep), "--to", "wandb", "-o", "out.json")
    assert (ran.code, ran.err) == (0, "")
    assert hp.from_wandb(Path("out.json").read_text()) == hp.from_wandb(sweep)


def test_a_group_called_parameters_is_no_sweep(run: Run) -> None:
    Path("space.py").write_text(
        "from ray import tune\nspace = {'parameters': {'parameters': tune.uniform(0.0, 1.0)}, 'method': 'grid'}\n"
    )
    assert run("show", "space.py:space").code == 0
    ran = run("convert", "space.py:space", "--to", "json")
    expected = {"parameters": {"parameters": hp.Float(0, 1)}, "method": hp.Constant("grid")}
    assert hp.SearchSpace.from_dict(json.loads(ran.out)) == hp.SearchSpace(expected)
    assert "left behind" not in ran.err
