"""The space of a define-by-run function is found in few calls, or the function is rejected with a hint."""

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.space.tree import assign_active
from hpcompat.space.values import strict_key
from hpcompat.translators.optuna.define_by_run import space_of
from tests.translators import hostile

# -- round trips: space to function to space -------------------------------------------------------------

PARAMETERS = [
    hp.Categorical(["a", "b"]),
    hp.Categorical(["x", "y", "z", None]),
    hp.Categorical([True, False]),
    hp.Categorical([0.1, 0.5, 2.5]),
    hp.Categorical([[8], [8, 8], []]),
    hp.Categorical([(1, 2), (3, 4)]),
    hp.Categorical([{"k": 1}, {"k": 2}, {}]),
    hp.Categorical(["alone"]),
    hp.Int(1, 5),
    hp.Int(0, 8, step=2),
    hp.Int(1, 4, log=True),
    hp.Int(0, 10**6),
    hp.Float(0.0, 1.0),
    hp.Float(1e-5, 1e-1, log=True),
    hp.Float(0.0, 1.0, step=0.25),
    hp.Constant("steady"),
    hp.Constant([1, {"k": None}]),
]
CALLS: dict[str, Callable[[Any, str, Any], Any]] = {
    "float": lambda trial, name, p: trial.suggest_float(name, p.low, p.high, log=p.log, step=p.step),
    "int": lambda trial, name, p: trial.suggest_int(name, low=p.low, high=p.high, log=p.log, step=p.step),
    "categorical": lambda trial, name, p: trial.suggest_categorical(name, list(p.choices)),
    "constant": lambda trial, name, p: p.value,
}


@st.composite
def conditional_spaces(draw: Any, likely: bool = False) -> hp.SearchSpace:
    """Draw trees of parents and children in groups; if `likely`, half of the values of a parent activate a child."""
    entries: dict[str, Any] = {}
    space = hp.SearchSpace()
    for number in range(draw(st.integers(1, 8))):
        parameter: Any = draw(st.sampled_from(PARAMETERS))
        leaves = {leaf.name: leaf for leaf in space.leaves}
        config = space.flatten(space.sample(draw(st.integers(0, 99)))) if leaves else {}
        parents = [name for name in config if 1 < leaves[name].parameter.size < 10]
        if parents and draw(st.integers(0, 3)):
            when = {}
            for parent in draw(st.lists(st.sampled_from(parents), min_size=1, max_size=2, unique=True)):
                support = list(leaves[parent].parameter.support)
                n_values = len(support) // 2 if likely else 1
                chosen = draw(st.lists(st.sampled_from(support), min_size=n_values - 1, max_size=len(support) - 2))
                keys = {strict_key(value) for value in [config[parent], *chosen]}
                when[parent] = [value for value in support if strict_key(value) in keys]
            parameter = replace(parameter, when=when)
        parent_group = entries
        for group in draw(st.sampled_from([(), (), ("g",), ("g", "h")])):
            parent_group = parent_group.setdefault(group, {})
        parent_group[f"p{number}"] = parameter
        space = hp.SearchSpace(entries)
    return space


def suggest_by_comparison(space: hp.SearchSpace, trial: Any, names: dict[str, str]) -> dict[str, Any]:
    """Suggest the params of a space like a handwritten function, with conditions that compare the drawn values."""
    flat: dict[str, Any] = {}
    for leaf in space.leaves:
        if all(parent in flat and flat[parent] in values for parent, values in leaf.when):
            flat[leaf.name] = CALLS[leaf.parameter.kind](trial, names[leaf.name], leaf.parameter)
    return space.nest(flat)


def suggest_by_type(space: hp.SearchSpace, trial: Any, names: dict[str, str]) -> dict[str, Any]:
    """Suggest the params of a space with conditions that depend on the types of drawn values, not only on `==`."""
    flat = assign_active(space.leaves, lambda leaf: CALLS[leaf.parameter.kind](trial, names[leaf.name], leaf.parameter))
    return space.nest(flat)


def normalize_conditions(space: hp.SearchSpace) -> hp.SearchSpace:
    """Return an equal space whose conditions name the nearest parents only, and whose groups have no conditions."""
    leaves = {leaf.name: leaf for leaf in space.leaves}
    required: dict[str, dict[str, frozenset[Any]]] = {}
    for name, leaf in leaves.items():
        values_by_ancestor: dict[str, frozenset[Any]] = {}
        for parent, values in leaf.when:
            inherited = {**required[parent], parent: frozenset(map(strict_key, values))}
            values_by_ancestor |= {
                ancestor: keys & values_by_ancestor.get(ancestor, keys) for ancestor, keys in inherited.items()
            }
        required[name] = {
            ancestor: keys
            for ancestor, keys in values_by_ancestor.items()
            if len(keys) < leaves[ancestor].parameter.size
        }
    entries: dict[str, Any] = {}
    for name, leaf in leaves.items():
        when = {
            parent: [value for value in leaves[parent].parameter.support or () if strict_key(value) in keys]
            for parent, keys in required[name].items()
            if not any(parent in required[other] and required[other][parent] <= keys for other in required[name])
        }
        parent_group = entries
        for group in leaf.path[:-1]:
            parent_group = parent_group.setdefault(group, {})
        parent_group[leaf.path[-1]] = replace(leaf.parameter, when=when or None)  # type: ignore[type-var]
    return hp.SearchSpace(entries)


def suggest_names(space: hp.SearchSpace, renamed: bool) -> dict[str, str]:
    return {leaf.name: f"draw {number}" if renamed else leaf.name for number, leaf in enumerate(space.leaves)}


class TestRoundTrip:
    @settings(max_examples=settings.default.max_examples // 5)  # an example calls the function some hundred times
    @given(space=conditional_spaces(), renamed=st.booleans())
    def test_function_with_comparisons_gives_its_space(self, space: hp.SearchSpace, renamed: bool) -> None:
        function = partial(suggest_by_comparison, space, names=suggest_names(space, renamed))
        assert space_of(function) == normalize_conditions(space)

    @settings(max_examples=settings.default.max_examples // 10)  # an example calls the function over a thousand times
    @given(space=conditional_spaces(likely=True), renamed=st.booleans())
    def test_function_that_branches_on_types_gives_its_space(self, space: hp.SearchSpace, renamed: bool) -> None:
        function = partial(suggest_by_type, space, names=suggest_names(space, renamed))
        assert space_of(function) == normalize_conditions(space)


PUBLISHED = [json.loads(line) for line in (Path(__file__).parent / "published.jsonl").read_text().splitlines()]


def suggest_row(row: Any, trial: Any) -> dict[str, Any]:
    """Make the suggest calls of a published row."""
    params: dict[str, Any] = {}
    for call in row["space"]:
        if all(params.get(parent) in values for parent, values in call.get("when", {}).items()):
            params[call["name"]] = getattr(trial, call["call"])(call["name"], *call["args"], **call["kwargs"])
    return params


class TestPublishedFunctions:
    def test_published_function_reads_as_its_calls(self) -> None:
        rows = [row for row in PUBLISHED if row["dialect"] == "optuna"]
        conditional = 0
        for row in rows:
            space = space_of(partial(suggest_row, row))
            try:
                expected = hp.from_optuna(row["space"])
            except hp.TranslationError as error:  # a condition on a value that the parent never has
                impossible = {issue.path for issue in error.issues}
                expected = hp.from_optuna([call for call in row["space"] if call["name"] not in impossible])
            assert space == expected
            conditional += any(leaf.when for leaf in space.leaves)
        assert len(rows) >= 5 and conditional >= 2


# -- handwritten functions -------------------------------------------------------------------------------

Function = Callable[[Any], Any]
ACCEPTED: list[tuple[Function, dict[str, Any]]] = []


def reads_as(**expected: Any) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        ACCEPTED.append((function, expected))
        return function

    return add


@reads_as(
    classifier=hp.Categorical(["SVC", "RandomForest"]),
    svc_c=hp.Float(1e-10, 1e10, log=True, when={"classifier": "SVC"}),
    rf_max_depth=hp.Int(2, 32, log=True, when={"classifier": "RandomForest"}),
)
def if_else(trial: Any) -> Any:
    classifier = trial.suggest_categorical("classifier", ["SVC", "RandomForest"])
    if classifier == "SVC":
        return {"classifier": classifier, "svc_c": trial.suggest_float("svc_c", 1e-10, 1e10, log=True)}
    return {"classifier": classifier, "rf_max_depth": trial.suggest_int("rf_max_depth", 2, 32, log=True)}


@reads_as(
    n_layers=hp.Int(1, 4),
    units_0=hp.Int(4, 128, log=True),
    units_1=hp.Int(4, 128, log=True, when={"n_layers": [2, 3, 4]}),
    units_2=hp.Int(4, 128, log=True, when={"n_layers": [3, 4]}),
    units_3=hp.Int(4, 128, log=True, when={"n_layers": [4]}),
)
def loop(trial: Any) -> Any:
    params = {"n_layers": trial.suggest_int("n_layers", 1, 4)}
    for i in range(params["n_layers"]):
        params[f"units_{i}"] = trial.suggest_int(f"units_{i}", 4, 128, log=True)
    return params


@reads_as(
    booster=hp.Categorical(["gbtree", "gblinear", "dart"]),
    depth=hp.Int(3, 9, when={"booster": ["gbtree", "dart"]}),
    policy=hp.Categorical(["depthwise", "lossguide"], when={"booster": ["gbtree", "dart"]}),
    leaves=hp.Int(8, 64, step=8, when={"policy": "lossguide"}),
    rate_drop=hp.Float(1e-8, 1.0, log=True, when={"booster": "dart"}),
    both=hp.Float(0.0, 1.0, when={"booster": "dart", "policy": "lossguide"}),
)
def nested(trial: Any) -> Any:
    params: dict[str, Any] = {"booster": trial.suggest_categorical("booster", ["gbtree", "gblinear", "dart"])}
    if params["booster"] in ("gbtree", "dart"):
        params |= {"depth": trial.suggest_int("depth", 3, 9)}
        params["policy"] = trial.suggest_categorical("policy", ["depthwise", "lossguide"])
        if params["policy"] == "lossguide":
            params["leaves"] = trial.suggest_int("leaves", 8, 64, step=8)
    if params["booster"] == "dart":
        params["rate_drop"] = trial.suggest_float("rate_drop", 1e-8, 1, log=True)
        if params["policy"] == "lossguide":
            params["both"] = trial.suggest_float("both", 0, 1)
    return params


def _sgd(trial: Any) -> dict[str, Any]:
    return {
        "momentum": trial.suggest_float("momentum", 0, 0.99),
        "nesterov": trial.suggest_categorical("n", [True, False]),
    }


def _adam(trial: Any) -> dict[str, Any]:
    return {"betas": {"first": trial.suggest_float("b1", 0.8, 0.95), "second": 0.999}}


@reads_as(
    optim={
        "name": hp.Categorical(["sgd", "adam", "none"]),
        "momentum": hp.Float(0.0, 0.99, when={"optim.name": "sgd"}),
        "nesterov": hp.Categorical([True, False], when={"optim.name": "sgd"}),
        "betas": {
            "first": hp.Float(0.8, 0.95, when={"optim.name": "adam"}),
            "second": hp.Constant(0.999, when={"optim.name": "adam"}),
        },
    },
    epochs=hp.Constant(3),
)
def dispatch_by_name(trial: Any) -> Any:
    name = trial.suggest_categorical("optimizer", ["sgd", "adam", "none"])
    suggest = {"sgd": _sgd, "adam": _adam}.get(name, lambda trial: {})
    return {"optim": {"name": name, **suggest(trial)}, "epochs": 3}


@reads_as(
    sgd_lr=hp.Float(0.1, 1.0, log=True, when={"opt": "sgd"}),
    adam_lr=hp.Float(0.1, 1.0, log=True, when={"opt": "adam"}),
    opt=hp.Categorical(["sgd", "adam"]),
)
def names_from_draws(trial: Any) -> Any:
    opt = trial.suggest_categorical("opt", ["sgd", "adam"])
    return {"opt": opt, f"{opt}_lr": trial.suggest_loguniform(f"{opt}_lr", 0.1, 1)}


@reads_as(
    decay=hp.Categorical([None, 0.1, 0.01]),
    warmup=hp.Int(1, 10, when={"decay": [0.1, 0.01]}),
    fp16=hp.Categorical([True, False]),
    scale=hp.Int(1, 8, when={"fp16": True}),
    amp=hp.Categorical(["O1", "O2"], when={"fp16": True, "decay": [None]}),
)
def bools_and_none(trial: Any) -> Any:
    params = {"decay": trial.suggest_categorical("decay", [None, 0.1, 0.01])}
    if params["decay"] is not None:
        params["warmup"] = trial.suggest_int("warmup", 1, 10)
    fp16 = params["fp16"] = trial.suggest_categorical("fp16", (True, False))
    if fp16:
        params["scale"] = trial.suggest_int("scale", 1, 8)
    if fp16 is True and not params["decay"]:
        params["amp"] = trial.suggest_categorical("amp", ["O1", "O2"])
    return params


@reads_as(
    hidden=hp.Categorical([[64], [128, 64], [256, 128, 64]]),
    skip=hp.Categorical([True, False], when={"hidden": [[128, 64], [256, 128, 64]]}),
    pool=hp.Categorical([(1, 1), (2, 2)]),
)
def lists_and_tuples(trial: Any) -> Any:
    hidden = trial.suggest_categorical("hidden", [[64], [128, 64], [256, 128, 64]])
    params = {"hidden": hidden, "pool": trial.suggest_categorical("pool", [(1, 1), (2, 2)])}
    if len(hidden) > 1:
        params["skip"] = trial.suggest_categorical("skip", [True, False])
    return params


@reads_as(
    model=hp.Categorical(["cnn", "mlp"]),
    dropout=hp.Float(0.0, 0.5),
    width=hp.Int(1, 9, when={"model": "cnn"}),
)
def one_name_in_both_branches(trial: Any) -> Any:
    model = trial.suggest_categorical("model", ["cnn", "mlp"])
    if model == "cnn":
        return {"model": model, "width": trial.suggest_int("width", 1, 9), "dropout": trial.suggest_float("d", 0, 0.5)}
    return {"model": model, "dropout": trial.suggest_float("d", 0, 0.5)}


@reads_as(
    deep=hp.Categorical([True, False]),
    n=hp.Int(2, 3, when={"deep": True}),
    u0=hp.Int(1, 9),
    u1=hp.Int(1, 9, when={"deep": True}),
    u2=hp.Int(1, 9, when={"n": 3}),
)
def parent_is_not_returned(trial: Any) -> Any:
    n = trial.suggest_int("n", 2, 3) if trial.suggest_categorical("deep", [True, False]) else 1
    return {f"u{i}": trial.suggest_int(f"u{i}", 1, 9) for i in range(n)}


@reads_as(
    use=hp.Categorical(["yes", "no"]),
    batch=hp.Int(16, 64, step=16),
    rate=hp.Float(0.0, 1.0, step=0.25, when={"use": "yes"}),
)
def returns_nothing(trial: Any) -> None:
    use = trial.suggest_categorical(name="use", choices=["yes", "no"])
    trial.suggest_int("batch", 16, 64, step=16)
    if use.startswith("y"):
        trial.suggest_discrete_uniform("rate", 0, 1, 0.25)


@reads_as(lr=hp.Float(1e-6, 1e-4, log=True), seed=hp.Int(1, 40), per_device_train_batch_size=hp.Categorical([4, 8]))
def transformers_style(trial: Any) -> Any:
    trial.set_user_attr("made by", "hand")
    if trial.number < 0 or trial.params:
        raise AssertionError
    space = {"lr": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True), "seed": trial.suggest_int("seed", 1, 40)}
    assert (
        0 < space["lr"] < 1
        and isinstance(space["seed"], int)
        and trial.params == {"learning_rate": space["lr"], "seed": space["seed"]}
    )
    return json.loads(json.dumps(space)) | {"per_device_train_batch_size": int(trial.suggest_categorical("bs", [4, 8]))}


@reads_as(
    a=hp.Categorical([f"v{i}" for i in range(200)]),
    b=hp.Categorical([f"v{i}" for i in range(200)]),
    c=hp.Int(0, 900),
    rare=hp.Float(0.0, 1.0, when={"a": "v77", "b": "v133", "c": [899, 900]}),
)
def one_draw_in_eighteen_million(trial: Any) -> Any:
    values = [f"v{i}" for i in range(200)]
    params = {"a": trial.suggest_categorical("a", values), "b": trial.suggest_categorical("b", values)}
    params["c"] = trial.suggest_int("c", 0, 900)
    if params["a"] == "v77" and params["b"] == "v133" and params["c"] > 898.5:
        params["rare"] = trial.suggest_float("rare", 0, 1)
    return params


@reads_as(weights=hp.Categorical(["yolo.pt"]), steps=hp.Constant(4), frozen=hp.Constant(None), empty=hp.Constant({}))
def nothing_to_choose(trial: Any) -> Any:
    params = {"weights": trial.suggest_categorical("weights", ["yolo.pt"]), "steps": trial.suggest_int("steps", 4, 4)}
    return params | {"frozen": None, "empty": {}}


@reads_as(
    a=hp.Categorical([*range(450), None, *range(450, 900)]),
    third=hp.Int(1, 9, when={"a": 3}),
    missing=hp.Int(1, 9, when={"a": [None]}),
)
def none_among_many(trial: Any) -> Any:
    params = {"a": trial.suggest_categorical("a", [*range(450), None, *range(450, 900)])}
    if params["a"] == 3:
        params["third"] = trial.suggest_int("third", 1, 9)
    if params["a"] is None:
        params["missing"] = trial.suggest_int("missing", 1, 9)
    return params


@reads_as(
    batch=hp.Categorical([4, 8, 16], ordered=True),
    lr=hp.Categorical([1e-5, 1e-4, 1e-3], ordered=True),
    fp16=hp.Categorical([True, False]),
    net={"hidden": hp.Categorical([64, 768])},
    scale=hp.Int(1, 9, when={"batch": [4, 8]}),
    momentum=hp.Categorical(["0.25", "0.5"], ordered=True, when={"net.hidden": 768}),
)
def computed_from_one_discrete_draw(trial: Any) -> Any:
    exponent = trial.suggest_int("exponent", 2, 4)
    size = trial.suggest_categorical("size", ["small", "large"])
    params: dict[str, Any] = {
        "batch": 2**exponent,
        "lr": 10 ** trial.suggest_int("lr_exponent", -5, -3),
        "fp16": trial.suggest_categorical("fp16", ["True", "False"]) == "True",
        "net": {"hidden": {"small": 64, "large": 768}[size]},
    }
    if exponent < 4:
        params["scale"] = trial.suggest_int("scale", 1, 9)
    if size == "large":
        params["momentum"] = str(trial.suggest_float("momentum", 0.25, 0.5, step=0.25))
    return params


@reads_as(x=hp.Categorical([f"{i}" for i in range(1, 10)], ordered=True))
def string_of_draw(trial: Any) -> Any:
    return {"x": str(trial.suggest_int("x", 1, 9))}


@reads_as()
def empty(trial: Any) -> Any:
    return {}


class TestFunctions:
    @pytest.mark.parametrize(("function", "expected"), ACCEPTED, ids=lambda x: getattr(x, "__name__", ""))
    def test_typical_function_gives_expected_space(self, function: Function, expected: dict[str, Any]) -> None:
        space = space_of(function)
        assert space == hp.SearchSpace(expected)
        assert space_of(function, seed=7) == space
        assert hp.from_optuna(function) == space == hp.as_space(function)

    @pytest.mark.filterwarnings("ignore")  # deprecated calls, and choices that Optuna warns about
    @pytest.mark.parametrize("function", [function for function, _ in ACCEPTED], ids=lambda x: x.__name__)
    def test_optuna_params_are_in_the_space(self, function: Function) -> None:
        space = space_of(function)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        for _ in range(50):
            trial = study.ask()
            params = function(trial) or {}
            not_returned = {name: value for name, value in trial.params.items() if name in space and name not in params}
            assert space.contains(not_returned | params), params

    def test_deprecated_suggest_calls_are_read(self) -> None:
        def function(trial: Any) -> Any:
            return {
                "positional": trial.suggest_int("positional", 10, 35, 10),
                "uniform": trial.suggest_uniform("uniform", 0, 1),
                "log": trial.suggest_loguniform("log", 1e-3, 1),
                "grid": trial.suggest_discrete_uniform("grid", low=0.5, high=1, q=0.25),
                "named": trial.suggest_float(low=0, high=1, name="named", step=0.5),
            }

        assert space_of(function) == hp.SearchSpace(
            {
                "positional": hp.Int(10, 30, step=10),
                "uniform": hp.Float(0.0, 1.0),
                "log": hp.Float(1e-3, 1.0, log=True),
                "grid": hp.Float(0.5, 1.0, step=0.25),
                "named": hp.Float(0.0, 1.0, step=0.5),
            }
        )


# -- the number of calls ---------------------------------------------------------------------------------


def count_calls(function: Function) -> tuple[int, hp.SearchSpace]:
    calls = 0

    def count_call(trial: Any) -> Any:
        nonlocal calls
        calls += 1
        return function(trial)

    space = space_of(count_call)
    return calls, space


def switches(trial: Any, choices: list[Any]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for i in range(10):
        params[f"use_{i}"] = trial.suggest_categorical(f"use_{i}", choices)
        if params[f"use_{i}"] == choices[0]:
            params[f"rate_{i}"] = trial.suggest_float(f"rate_{i}", 0, 1)
    return params


class TestNumberOfRuns:
    @pytest.mark.parametrize("choices", [["on", "off"], [True, False], [0, None]])
    def test_independent_switches_need_no_combinations(self, choices: list[Any]) -> None:
        calls, space = count_calls(partial(switches, choices=choices))
        assert calls < 500
        assert space.size == float("inf") and len(space) == 20
        assert all(space[f"rate_{i}"] == hp.Float(0.0, 1.0, when={f"use_{i}": choices[0]}) for i in range(10))

    def test_thousand_independent_parameters_take_few_calls(self) -> None:
        kinds = [hp.Float(0.0, 1.0), hp.Int(1, 900), hp.Categorical([True, None]), hp.Categorical(["a", "b"])]
        expected = hp.SearchSpace({f"p{i}": kinds[i % 4] for i in range(1000)})
        calls, space = count_calls(partial(suggest_by_comparison, expected, names=suggest_names(expected, False)))
        assert calls < 100 and space == expected

    def test_long_loop_takes_few_calls_per_iteration(self) -> None:
        def function(trial: Any) -> Any:
            n = trial.suggest_int("n", 1, 60)
            return {"n": n, **{f"u{i}": {"a": trial.suggest_float(f"a{i}", 0, 1)} for i in range(n)}}

        calls, space = count_calls(function)
        assert calls < 500
        assert space["u59"] == hp.SearchSpace({"u59": {"a": hp.Float(0.0, 1.0)}})["u59"] or len(space) == 61
        assert {leaf.name: leaf.when[0].values[0] for leaf in space.leaves if leaf.when} == {
            f"u{i}.a": i + 1 for i in range(1, 60)
        }

    def test_deep_decision_tree_is_found_completely(self) -> None:
        def function(trial: Any) -> Any:
            params, name = {}, "root"
            for _ in range(7):
                params[name] = trial.suggest_categorical(name, ["left", "right"])
                name += "/l" if params[name] == "left" else "/r"
            return params

        calls, space = count_calls(function)
        assert len(space) == 2**7 - 1 and calls < 2_000
        assert space["root/l/r/r"] == hp.Categorical(["left", "right"], when={"root/l/r": "right"})


# -- rejected functions ----------------------------------------------------------------------------------

REJECTED: list[tuple[Function, str, str, str]] = []
SEARCHABLE: set[Function] = set()


def rejected_with(path: str, message: str, hint: str) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        REJECTED.append((function, path, message, hint))
        return function

    return add


def rejected_but_searchable(path: str, message: str, hint: str) -> Callable[[Function], Function]:
    """Register a function that is rejected with a hint how to search over it without a space."""

    def add(function: Function) -> Function:
        SEARCHABLE.add(function)
        return rejected_with(path, message, hint)(function)

    return add


@rejected_with("", "this is an objective", "search(objective, {}, backend='optuna') runs it as it is")
def objective(trial: Any) -> Any:
    return (trial.suggest_float("x", -1, 1) - 2) ** 2


@rejected_with("", "this is an objective", "search(objective, {}, backend='optuna') runs it as it is")
def several_objectives(trial: Any) -> Any:
    x = trial.suggest_float("x", -1, 1)
    return x, x**2


@rejected_with("", "it uses trial.report: this is an objective", "return the params or nothing")
def reports(trial: Any) -> Any:
    x = trial.suggest_float("x", -1, 1)
    trial.report(x, step=1)
    return {"x": x}


@rejected_with("", "it uses trial.should_prune: this is an objective", "return the params or nothing")
def calls_should_prune(trial: Any) -> Any:
    params = {"x": trial.suggest_float("x", -1, 1)}
    try:
        return None if trial.should_prune() else params
    except Exception:
        return params


@rejected_with("", "it uses trial.report: this is an objective", "return the params or nothing")
def suppresses_error_of_report(trial: Any) -> Any:
    with contextlib.suppress(BaseException):
        trial.report(0.5, step=1)
    return {"x": trial.suggest_float("x", -1, 1)}


@rejected_with("", "it prunes trials", "return the params or nothing")
def prunes(trial: Any) -> Any:
    raise optuna.TrialPruned


@rejected_but_searchable("", "it uses trial.study", "only suggests")
def reads_the_study(trial: Any) -> Any:
    return {"x": trial.suggest_int("x", 1, trial.study.user_attrs["most"])}


@rejected_but_searchable("lr", "is worked out from draws: it is", "return the draw itself")
def power(trial: Any) -> Any:
    return {"lr": 10 ** trial.suggest_float("exponent", -5, -1)}


@rejected_but_searchable("model.small", "is worked out from draws: it is", "return the draw itself")
def comparison_of_draw(trial: Any) -> Any:
    width = trial.suggest_int("width", 1, 900)
    return {"model": {"width": width, "small": width < 450}}


@rejected_but_searchable("batch", "is worked out from draws: it is", "return the draw itself")
def computed_from_two_draws(trial: Any) -> Any:
    return {"batch": trial.suggest_int("a", 1, 900) * trial.suggest_int("b", 1, 2)}


@rejected_but_searchable("accumulation", "is worked out from draws: it is", "return the draw itself")
def computed_and_draw_are_returned(trial: Any) -> Any:
    batch = trial.suggest_categorical("batch", [4, 8, 16])
    return {"batch": batch, "accumulation": 32 // batch}


@rejected_but_searchable("b", "is worked out from draws: it is", "return the draw itself")
def two_values_computed_from_one_draw(trial: Any) -> Any:
    n = trial.suggest_int("n", 1, 4)
    return {"a": 2**n, "b": 3**n}


@rejected_but_searchable("batch", "is worked out from draws: it is", "return the draw itself")
def computed_from_a_logarithmic_draw(trial: Any) -> Any:
    return {"batch": 2 ** trial.suggest_int("exponent", 1, 5, log=True)}


@rejected_but_searchable("rest", "is worked out from draws: it is", "return the draw itself")
def computed_for_some_draws(trial: Any) -> Any:
    n = trial.suggest_int("n", 1, 4)
    return {"rest": 2**n} if n > 2 else {}


@rejected_but_searchable(
    "bs", "is suggested as Categorical([", "give each a name of its own; Optuna, too, has one kind"
)
def one_name_two_lists_of_choices(trial: Any) -> Any:
    model = trial.suggest_categorical("model", ["bert", "gpt"])
    return {"model": model, "bs": trial.suggest_categorical("bs", [8, 16] if model == "bert" else [2, 4])}


@rejected_but_searchable("n", "is worked out from draws: it is", "return the draw itself")
def maximum_of_draw(trial: Any) -> Any:
    return {"n": max(4, trial.suggest_int("n", 1, 9))}


@rejected_but_searchable("layers", "is a list made of draws: 'u0', 'u1'", "a key of its own")
def list_of_draws(trial: Any) -> Any:
    return {"layers": [trial.suggest_int(f"u{i}", 1, 9) for i in range(2)]}


@rejected_but_searchable(
    "gamma", "is now the draw 'gamma', now something else: 'scale' where 'kernel' is 'poly', ", "leave it out there"
)
def draw_or_constant(trial: Any) -> Any:
    kernel = trial.suggest_categorical("kernel", ["rbf", "poly"])
    return {"kernel": kernel, "gamma": trial.suggest_float("gamma", 0, 1) if kernel == "rbf" else "scale"}


@rejected_but_searchable("lr", "where 'opt' is 'sgd'", "a key is one draw")
def two_draws_under_one_key(trial: Any) -> Any:
    opt = trial.suggest_categorical("opt", ["sgd", "adam"])
    return {"opt": opt, "lr": trial.suggest_float(f"{opt}_lr", 0, 1)}


@rejected_but_searchable("head_lr", "is the same draw as 'lr'", "one key")
def one_draw_under_two_keys(trial: Any) -> Any:
    lr = trial.suggest_float("lr", 0, 1)
    return {"lr": lr, "head_lr": lr}


@rejected_but_searchable("model", "something else is returned under its name", "another name")
def parameter_and_group_under_one_name(trial: Any) -> Any:
    return {"model": {"width": trial.suggest_int("width", 1, trial.suggest_categorical("model", [2]) and 9)}}


@rejected_but_searchable("net", "is a value for some draws and a dict for others", "a key of its own")
def value_or_group(trial: Any) -> Any:
    if trial.suggest_categorical("preset", ["yes", "no"]) == "yes":
        return {"net": "resnet"}
    return {"net": {"width": trial.suggest_int("width", 1, 9)}}


@rejected_but_searchable("net", "is a value for some draws and a dict for others", "a key of its own")
def draw_or_group(trial: Any) -> Any:
    if trial.suggest_categorical("preset", [True, False]):
        return {"net": trial.suggest_categorical("net", ["resnet", "vit"])}
    return {"net": {"width": trial.suggest_int("width", 1, 9)}}


@rejected_but_searchable("b", "its range depends on the draw 'a'", "fixed range")
def bound_is_a_draw(trial: Any) -> Any:
    a = trial.suggest_int("a", 1, 9)
    return {"a": a, "b": trial.suggest_int("b", a, 10)}


@rejected_but_searchable("b", "is suggested as Int(", "a name for each")
def bound_is_computed(trial: Any) -> Any:
    a = trial.suggest_int("a", 1, 9)
    return {"a": a, "b": trial.suggest_int("b", 1, 2 * a + 1)}


@rejected_but_searchable("b", "its range depends on the draw 'a'", "a name and a range")
def choices_are_draws(trial: Any) -> Any:
    a = trial.suggest_categorical("a", ["x", "y"])
    return {"a": a, "b": trial.suggest_categorical("b", [a, "z"])}


@rejected_but_searchable("lr", " where 'opt' is 'adam'", "a name of its own")
def one_name_two_ranges(trial: Any) -> Any:
    opt = trial.suggest_categorical("opt", ["sgd", "adam"])
    high = 1 if opt == "sgd" else 0.1
    return {"opt": opt, "lr": trial.suggest_float("lr", 0, high)}


@rejected_but_searchable("x", "is suggested as Float(0.0, 1.0) and as Int(0, 1)", "Optuna, too, has one kind")
def one_name_two_types_at_once(trial: Any) -> Any:
    return {"x": trial.suggest_float("x", 0, 1), "y": trial.suggest_int("x", 0, 1)}


@rejected_but_searchable("c", "is there where 'a' is 1, and also where 'b' is 2", "a name for each case")
def inclusive_or(trial: Any) -> Any:
    params = {"a": trial.suggest_int("a", 0, 3), "b": trial.suggest_int("b", 0, 3)}
    if params["a"] == 1 or params["b"] == 2:
        params["c"] = trial.suggest_float("c", 0, 1)
    return params


@rejected_but_searchable("c", "is there where 'a' is ", "a name for each case")
def exclusive_or(trial: Any) -> Any:
    params = {name: trial.suggest_categorical(name, [True, False]) for name in "ab"}
    if params["a"] != params["b"]:
        params["c"] = trial.suggest_float("c", 0, 1)
    return params


@rejected_but_searchable("decay", "is there where 'opt' is 'adamw', and also ", "a name for each case")
def under_different_parents(trial: Any) -> Any:
    params = {"opt": trial.suggest_categorical("opt", ["adamw", "sgd", "lion"])}
    if params["opt"] == "sgd":
        params["decouple"] = trial.suggest_categorical("decouple", [True, False])
    if params["opt"] == "adamw" or params.get("decouple"):
        params["decay"] = trial.suggest_float("decay", 0, 1)
    return params


@rejected_but_searchable("lr", "decides whether 'warmup' is there, but is continuous", "suggest_categorical")
def branch_on_a_continuous_draw(trial: Any) -> Any:
    params = {"lr": trial.suggest_float("lr", 1e-6, 1, log=True)}
    if params["lr"] <= 1e-6:
        params["warmup"] = trial.suggest_int("warmup", 1, 9)
    return params


@rejected_but_searchable("lr", "decides whether 'warmup' is there, but is continuous", "suggest_categorical")
def branch_on_value_computed_from_a_continuous_draw(trial: Any) -> Any:
    params = {"lr": trial.suggest_float("lr", 0, 1)}
    if params["lr"] * 2 > 1:
        params["warmup"] = trial.suggest_int("warmup", 1, 9)
    return params


@rejected_but_searchable("n", "has 5000 values, more than 1000", "an int of fewer values")
def branch_on_too_many_values(trial: Any) -> Any:
    params = {"n": trial.suggest_int("n", 1, 5000)}
    if params["n"] == 4321:
        params["warmup"] = trial.suggest_int("warmup", 1, 9)
    return params


@rejected_but_searchable("", "it does not do the same for the same draws", "no random numbers")
def random_calls(trial: Any) -> Any:
    return {name: trial.suggest_int(name, 1, 9) for name in "abcd" if random.random() < 0.5}


@rejected_but_searchable("", "it does not do the same for the same draws", "no trial.number")
def reads_the_trial_number(trial: Any) -> Any:
    return {"a": trial.suggest_int("a", 1, 9), **({"seed": 1} if trial.number % 2 else {})}


@rejected_with("", "it raised ValueError: no such net with the draws {'net': 'wide'}", "whatever is drawn")
def raises_for_some(trial: Any) -> Any:
    net = trial.suggest_categorical("net", ["wide", "deep"])
    if net == "wide":
        raise ValueError("no such net")
    return {"net": net}


@rejected_with("", "it returns params for some draws and nothing for others", "every time")
def returns_none_for_some_draws(trial: Any) -> Any:
    return {"a": 1} if trial.suggest_int("a", 0, 9) else None


@rejected_with("x", "low 2.0 is above high 1.0", "")
def invalid_range(trial: Any) -> Any:
    return {"x": trial.suggest_float("x", 2, 1)}


@rejected_with("", "AttributeError", "whatever is drawn")
def misspelt_call(trial: Any) -> Any:
    return {"x": trial.suggest_flaot("x", 0, 1)}


@rejected_with("", "it returns the draw 'x'", "a dict")
def returns_string(trial: Any) -> Any:
    return trial.suggest_categorical("x", ["x"])


@rejected_with("", "it suggests nothing and returns nothing", "returns the params")
def does_nothing(trial: Any) -> Any:
    pass


@rejected_with("model", "object is not a JSON value", "a name that your code maps to the object")
def returns_an_object(trial: Any) -> Any:
    return {"model": object(), "x": trial.suggest_int("x", 1, 2)}


@rejected_with("", "it returns the key 3", "use strings")
def returns_int_keys(trial: Any) -> Any:
    return {3: trial.suggest_int("x", 1, 2)}


@rejected_with("", "more than 10000 suggest calls", "shorten the loop")
def never_stops_suggesting(trial: Any) -> Any:
    i = 0
    while True:
        i += 1
        try:
            trial.suggest_float(f"x{i}", 0, 1)
        except Exception:
            i += 1


@rejected_with("", "more than 10000 suggest calls", "shorten the loop")
def loops_over_a_huge_range(trial: Any) -> Any:
    n = trial.suggest_int("n", 10**8, 10**9)
    return {f"x{i}": trial.suggest_float(f"x{i}", 0, 1) for i in range(n)}


@rejected_with("", "RecursionError", "whatever is drawn")
def recurses(trial: Any) -> Any:
    return recurses(trial)


@rejected_with("", "nested more than 128 deep", "the params alone")
def returns_itself(trial: Any) -> Any:
    params: dict[str, Any] = {"x": trial.suggest_int("x", 1, 2)}
    params["params"] = params
    return params


@rejected_with("", "holds more than 1000000 values", "smaller")
def returns_an_endless_list(trial: Any) -> Any:
    endless: list[Any] = []
    endless += [endless, endless]
    return {"x": endless}


@rejected_with("", "it returns more than 20000 values", "the params alone")
def returns_too_much(trial: Any) -> Any:
    return {f"x{i}": i for i in range(10**5)}


class TestRejectedFunctions:
    @pytest.mark.parametrize(
        ("function", "path", "message", "hint"), REJECTED, ids=lambda x: getattr(x, "__name__", "")
    )
    def test_unreadable_function_is_rejected_with_hint(
        self, function: Function, path: str, message: str, hint: str
    ) -> None:
        with pytest.raises(hp.TranslationError) as caught:
            space_of(function)
        issue, *others = caught.value.issues
        assert issue.path == path and message in issue.message and hint in issue.hint, issue
        assert [f"hp.with_params(trainer, {function.__name__}(trial))" in str(other) for other in others] == [True] * (
            function in SEARCHABLE
        )


class TestFunctionWithoutTrial:
    @pytest.mark.parametrize(
        "function",
        [
            lambda: {"lr": hp.Float(0.1, 1.0)},
            lambda **options: {"method": "random", "parameters": {"lr": {"min": 0.1, "max": 1.0}}},
            partial(lambda low: {"lr": hp.Float(low, 1.0)}, 0.1),
        ],
        ids=["lambda", "keywords", "partial"],
    )
    def test_returned_space_is_read(self, function: Any) -> None:
        assert hp.as_space(function) == hp.SearchSpace({"lr": hp.Float(0.1, 1.0)})

    @pytest.mark.parametrize(
        ("returned", "reason"),
        [
            (None, "it takes no trial and returns None"),
            (print, "returns a builtin_function"),
            (3, "cannot interpret 3 as a search space"),
        ],
    )
    def test_other_returned_value_is_rejected(self, returned: Any, reason: str) -> None:
        with pytest.raises(hp.TranslationError, match=reason):
            hp.as_space(lambda: returned)

    def test_exception_of_function_is_reported(self) -> None:
        def function() -> None:
            raise ValueError("no data")

        with pytest.raises(hp.TranslationError, match="it raised ValueError: no data"):
            hp.as_space(function)

    def test_from_optuna_rejects_function_without_trial(self) -> None:
        with pytest.raises(hp.TranslationError, match=r"it takes no trial \(let it take the trial"):
            hp.from_optuna(lambda: {"lr": hp.Float(0.1, 1.0)})


def random_function(seed: int) -> Function:
    """Return a function of random statements, most of them suggest calls and conditions."""
    rng = random.Random(seed)
    keys = ["k0"]
    calls = ["suggest_float", "suggest_int", "suggest_categorical", "suggest_uniform", "report", "params"]

    def statement(depth: int) -> Callable[[Any, dict[Any, Any]], None]:
        roll, other = rng.random(), rng.choice(keys)
        key = rng.choice(keys) if rng.random() < 0.1 else f"k{len(keys)}"
        if roll < 0.5:
            keys.append(key)
        name = rng.choice([*calls[:3], calls[2], calls[2]]) if rng.random() < 0.98 else rng.choice(calls)
        low = rng.randint(0, 5)
        valid = [[1, "x", None, "y"][: rng.randint(2, 4)]] if name == "suggest_categorical" else [low, low + 5]
        arguments = valid if rng.random() < 0.98 else [hostile.random_data(rng) for _ in range(rng.randint(0, 3))]
        chance = rng.choice([0.01, 0.5])
        constant = rng.choice([1, True, "x", "y"]) if rng.random() < 0.95 else hostile.random_data(rng)
        is_equal = rng.random() < 0.7
        inner = [statement(depth + 1) for _ in range(rng.randint(1, 2))] if depth < 3 else []

        def run(trial: Any, params: dict[Any, Any]) -> None:
            if roll < 0.5:
                params[key] = getattr(trial, name)(key, *arguments)
            elif roll < 0.8:
                if (params.get(other) == constant) is is_equal:
                    for run_inner in inner:
                        run_inner(trial, params)
            elif roll < 0.85:
                params[key] = constant
            elif roll < 0.87:
                params[key] = params.get(other)
            elif roll < 0.89:
                params[key] = {other: params.get(other), key: params.pop(other, 0)}
            elif roll < 0.9:
                params[key] = params[other] + constant
            elif roll < 0.92:
                params[key] = {other: params.get(other)} if params.get(other) else params.get(other)
            elif roll < 0.93 and type(params.get(other)) is int:
                params[key] = trial.suggest_float(key, 0, 1)
            elif roll < 0.94 and random.random() < chance:
                params[key] = getattr(trial, name)(key, *arguments)
            elif roll < 0.95:
                params.pop(other, None)

        return run

    statements = [statement(0) for _ in range(rng.randint(1, 9))]
    ending = hostile.random_data(rng) if rng.random() < 0.05 else None

    def function(trial: Any) -> Any:
        params: dict[Any, Any] = {}
        for run in statements:
            run(trial, params)
        return params if ending is None else ending

    return function


class TestOtherInputs:
    @pytest.mark.parametrize("source", [None, 3, "function", int, object])
    def test_other_source_than_function_of_trial_is_rejected(self, source: Any) -> None:
        with pytest.raises(hp.TranslationError):
            space_of(source)

    def test_max_runs_raises(self) -> None:
        calls = 0

        def function(trial: Any) -> Any:
            nonlocal calls
            calls += 1
            return switches(trial, ["on", "off"])

        with pytest.raises(hp.TranslationError, match=r"40 runs with .* draws do not settle"):
            space_of(function, runs=40)
        assert calls == 40

    def test_keyboard_interrupt_is_raised(self) -> None:
        def function(trial: Any) -> Any:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            space_of(function)

    def test_random_function_raises_only_hpcompat_errors(self) -> None:
        read = 0
        for seed in range(400):
            try:
                space = space_of(random_function(seed))
            except hp.HpcompatError as error:
                assert error.issues and all(issue.message for issue in error.issues)
            else:
                read += 1
                assert space.contains(space.sample(seed))
        assert read > 100

    def test_space_is_read_without_optuna(self) -> None:
        program = """
import sys
sys.modules["optuna"] = None
from hpcompat import from_optuna
print(from_optuna(lambda trial: {"x": trial.suggest_float("x", 0, 1)}))
"""
        process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert process.stdout == "SearchSpace({'x': Float(0.0, 1.0)})\n"
