"""Examples of what each dialect reads and writes."""

from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ray import tune
from ray.tune.search import sample

import hpcompat as hp
from hpcompat import Categorical, Constant, Float, Int, Normal, SearchSpace
from hpcompat.space.values import strict_key
from hpcompat.testing import parameters
from tests.helpers.engines import enumerate_wandb_grid

BATCH = Categorical([16, 32, 64, 128])
LOG, LINEAR = Float(1e-6, 1e-4, log=True), Float(1e-6, 1e-4)


def sigopt_hp_space(trial: Any) -> Any:
    return [
        {"bounds": {"min": 1e-6, "max": 1e-4}, "name": "learning_rate", "type": "double"},
        {
            "categorical_values": ["16", "32", "64", "128"],
            "name": "per_device_train_batch_size",
            "type": "categorical",
        },
    ]


def optuna_hp_space(trial: Any) -> Any:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True),
        "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [16, 32, 64, 128]),
    }


def ray_hp_space(trial: Any) -> Any:
    return {
        "learning_rate": tune.loguniform(1e-6, 1e-4),
        "per_device_train_batch_size": tune.choice([16, 32, 64, 128]),
    }


def wandb_hp_space(trial: Any) -> Any:
    return {
        "method": "random",
        "metric": {"name": "objective", "goal": "minimize"},
        "parameters": {
            "learning_rate": {"distribution": "uniform", "min": 1e-6, "max": 1e-4},
            "per_device_train_batch_size": {"values": [16, 32, 64, 128]},
        },
    }


class TestSameSpaceInFourDialects:
    @pytest.mark.parametrize(
        ("function", "rate"),
        [(sigopt_hp_space, LINEAR), (optuna_hp_space, LOG), (ray_hp_space, LOG), (wandb_hp_space, LINEAR)],
    )
    def test_function_of_each_dialect_is_read(self, function: Any, rate: Float) -> None:
        expected = hp.SearchSpace({"learning_rate": rate, "per_device_train_batch_size": BATCH})
        assert hp.as_space(function) == expected

    def test_space_keeps_log_scale_in_all_dialects(self) -> None:
        space = hp.SearchSpace({"learning_rate": LOG, "per_device_train_batch_size": BATCH})
        assert hp.from_optuna(hp.to_optuna(space)) == space
        assert hp.from_ray(hp.to_ray(space)) == space
        assert hp.from_sigopt(hp.to_sigopt(space)) == space
        assert hp.from_wandb(hp.to_wandb(space)) == space


class TestNames:
    @pytest.mark.parametrize(
        ("dialect", "space", "level", "reason"),
        [
            ("ray", {"a/b": Int(1, 2)}, "encoded", "it does not take the name, which is written as 'a_x2f_b'"),
            ("ray", {"g": {"a/b": Int(1, 2)}}, "encoded", "it does not take the name, which is written as 'g.a_x2f_b'"),
            ("optuna", {"g": {"a": Int(1, 2)}}, "equivalent", "is written as 'g.a'"),
            ("wandb", {"a b": Int(1, 2)}, "encoded", "it does not take the name, which is written as 'a_x20_b'"),
        ],
    )
    def test_changed_name_is_the_reason_of_level(self, dialect: str, space: Any, level: str, reason: str) -> None:
        (found,) = hp.translate(space, dialect, encode=True).levels
        assert (found.level, found.reason) == (level, reason)


class TestAnySearcher:
    """With searcher=True, only uniform floats and constants are native: some search algorithms misread all others."""

    @pytest.mark.parametrize(
        "parameter",
        [
            Int(2, 8, step=2),  # HyperOptSearch never draws 8 of qrandint(2, 8, 2)
            Int(1, 5),  # HyperOptSearch draws 1 and 5 of randint(1, 6) half as often as 3
            Float(1e-5, 1e-1, log=True),  # BayesOptSearch ignores the log
            Float(0.1, 0.7, step=0.1),  # NevergradSearch draws 0.399 from quniform(0.1, 0.7, 0.1)
            Categorical(["a", "b"]),  # BayesOptSearch accepts floats only
            Constant([1, 2]),  # HyperOptSearch returns (1, 2)
            Constant(None),  # AxSearch rejects None
        ],
    )
    def test_other_parameter_than_uniform_float_is_encoded(self, parameter: Any) -> None:
        translation = hp.translate({"x": parameter, "y": Float(-1.0, 1.0)}, "ray", encode=True, searcher=True)
        assert {call["call"] for call in translation.spec.values()} == {"uniform"}
        assert [level.level for level in translation.levels] == ["encoded", "native"]
        with pytest.raises(hp.TranslationError, match="search algorithm") as error:
            hp.to_ray({"x": parameter}, searcher=True)
        assert "encode=True" in str(error.value)

    def test_uniform_float_and_scalar_constant_are_native(self) -> None:
        domains = hp.to_ray({"x": Float(-1.0, 1.0), "y": Constant("adamw")}, searcher=True)
        assert (domains["x"].lower, domains["x"].upper, domains["y"]) == (-1.0, 1.0, "adamw")

    @pytest.mark.parametrize("domain", [tune.quniform(0, 1, 0.1), tune.qrandint(2, 8, 2), tune.qlograndint(2, 8, 2)])
    def test_quantized_domain_is_rejected(self, domain: Any) -> None:
        with pytest.raises(hp.TranslationError, match=r"from different distributions.*searcher='optuna'"):
            hp.from_ray({"x": domain}, searcher=True)

    @pytest.mark.parametrize("searcher", ["Optuna", "hyperopt", 1, [], "any"])
    def test_unknown_searcher_is_rejected(self, searcher: Any) -> None:
        for call in (hp.to_ray, hp.from_ray, partial(hp.translate, dialect="ray")):
            with pytest.raises(hp.TranslationError, match="searcher='optuna' for OptunaSearch"):
                call({"x": Float(0, 1)}, searcher=searcher)  # type: ignore[operator]


class TestRay:
    @pytest.mark.parametrize(
        ("domain", "expected", "with_searcher"),
        [
            (tune.uniform(0, 1), Float(0, 1), None),
            (tune.quniform(0, 1, 0.1), Float(0, 1, step=0.1), None),
            (tune.qloguniform(0.1, 1, 0.1), Float(0.1, 1, step=0.1, log=True), "no step on a logarithmic scale"),
            (tune.qlograndint(1, 9, 2), Int(2, 8, step=2, log=True), "no step on a logarithmic scale"),
            (tune.qlograndint(1, 9, 1), Int(1, 8, log=True), None),
            (tune.randint(1, 10), Int(1, 9), None),
            (tune.lograndint(1, 10), Int(1, 9, log=True), None),
            (tune.qrandint(1, 10, 3), Int(3, 9, step=3), Int(1, 10, step=3)),
            (tune.qrandint(1, 5, 1), Int(1, 4), Int(1, 5)),
            (tune.randn(1, 2), Normal(1, 2), None),
            (tune.qrandn(1, 2, 0.5), Normal(1, 2, step=0.5), None),
            (tune.choice([(1, 2), 3]), Categorical([(1, 2), 3]), None),
            (tune.choice([1, 1, 2]), Categorical([1, 2], weights=[2, 1]), None),
            (tune.grid_search([1, 2]), Categorical([1, 2]), None),
            (sample.Categorical([1, 2]).grid(), Categorical([1, 2]), None),
            (sample.Float(0, 1), Float(0, 1), None),  # without a sampler: Ray's default
            ([1, 2], Constant([1, 2]), None),
            ({}, Constant({}), None),
        ],
    )
    def test_domain_is_read(self, domain: Any, expected: Any, with_searcher: Any) -> None:
        assert hp.from_ray({"x": domain})["x"] == expected
        if isinstance(with_searcher, str):
            with pytest.raises(hp.TranslationError, match=with_searcher):
                hp.from_ray({"x": domain}, searcher="optuna")
        else:
            assert hp.from_ray({"x": domain}, searcher="optuna")["x"] == (with_searcher or expected)

    def test_grid_with_rounding_noise_is_not_native_under_optuna_search(self) -> None:
        noisy = Float(0.0, 1.0, step=0.1)  # quniform(0, 1, 0.1) draws 0.30000000000000004
        exact = Float(0.0, 1.0, step=0.25)
        translation = hp.translate({"noisy": noisy, "exact": exact}, "ray", searcher="optuna")
        assert [(level.level, level.form) for level in translation.levels] == [
            ("equivalent", "choice"),
            ("native", "quniform"),
        ]

    @pytest.mark.parametrize(
        ("domain", "reason"),
        [
            (tune.sample_from(lambda spec: 1), "sample_from"),
            ({"eval": "1 + 1"}, "evaluate"),
            ([tune.uniform(0, 1)], "a list holds domains"),
            (tune.choice([{"lr": tune.uniform(0, 1)}]), "not a JSON value"),
            (tune.loguniform(1, 0.1), "above"),
            (tune.choice([]), "no choices"),
            (tune.randint(3, 3), "not below"),
            (tune.qrandint(4, 5, 3), "no multiple"),
            (lambda spec: 1, "function"),
            (sample.Float(-1, 3).normal(0, 1), "between bounds"),
            (type("Own", (sample.Domain,), {})(), "no sampler"),
        ],
    )
    def test_computed_or_impossible_domain_is_rejected(self, domain: Any, reason: str) -> None:
        with pytest.raises(hp.TranslationError, match=reason):
            hp.from_ray({"model": {"x": domain}})

    def test_nested_dict_is_read_as_group(self) -> None:
        space = hp.SearchSpace({"model": {"layers": Int(1, 4), "kind": Constant("vit")}, "lr": LOG})
        domains = hp.to_ray(space)
        assert domains["model"]["kind"] == "vit" and domains["model"]["layers"].upper == 5
        assert hp.from_ray(domains) == space


def read_sigopt(**config: Any) -> Any:
    return hp.from_sigopt([{"name": "x", **config}])["x"]


LITERAL_LIKE_STRINGS = [
    "True", "False", "None", "true", "false", "null", "TRUE", "none", "1", "1.0", "01", "+1", "-1", "1e-5", "1e-05",
    "1e5", "0.0", "-0.0", "-0", "0", ".5", "0.5", "1_000", "1000", "inf", "nan", "9999999999999999999", "adamw", "16",
]  # fmt: skip


class TestSigOptCategories:
    @given(st.lists(st.sampled_from(LITERAL_LIKE_STRINGS) | st.text(min_size=1, max_size=9), min_size=2, unique=True))
    def test_strings_read_back_equal(self, strings: list[str]) -> None:
        strings = list(dict.fromkeys(string.strip() for string in strings))
        assume(len(strings) >= 2 and all(string.isprintable() and string for string in strings))
        parameters = [{"name": "x", "type": "categorical", "categorical_values": strings}]
        assert hp.to_sigopt(hp.from_sigopt(parameters)) == parameters
        translation = hp.translate(hp.from_sigopt(parameters), "sigopt")
        read_back = [translation.encode(translation.decode({"x": string})) for string in strings]
        assert read_back == [{"x": string} for string in strings]

    @given(st.lists(st.sampled_from(LITERAL_LIKE_STRINGS), min_size=2, max_size=4, unique=True))
    def test_conditionals_read_back_equal(self, strings: list[str]) -> None:
        bounds = {"min": 0.0, "max": 1.0}
        spec = {
            "conditionals": [{"name": "c", "values": strings}],
            "parameters": [
                {"name": f"p{n}", "type": "double", "bounds": bounds, "conditions": {"c": [string]}}
                for n, string in enumerate(strings)
            ],
        }
        assert hp.translate(hp.from_sigopt(spec), "sigopt").spec == spec


class TestSigopt:
    @pytest.mark.parametrize("conditions", [[["a"]], [[["x"]]], [["a", "b"], ["c"]]])
    def test_conditions_that_are_lists_are_rejected(self, conditions: Any) -> None:
        parameter = {"name": "x", "type": "double", "bounds": {"min": 0, "max": 1}, "conditions": conditions}
        with pytest.raises(hp.TranslationError):
            hp.from_sigopt({"parameters": [parameter]})

    def test_parameters_are_read(self) -> None:
        bounds = {"min": 1, "max": 10}
        assert read_sigopt(type="double", bounds=bounds) == Float(1, 10)
        assert read_sigopt(type="double", bounds=bounds, transformation="log") == Float(1, 10, log=True)
        assert read_sigopt(type="int", bounds={"min": 1.0, "max": 10}) == Int(1, 10)
        assert read_sigopt(type="int", grid=[7, 1, 4]) == Int(1, 7, step=3)
        assert read_sigopt(type="int", grid=[128, 256, 512]) == Categorical([128, 256, 512], ordered=True)
        assert read_sigopt(type="double", grid=[0.1, 0.2, 0.3]) == Float(0.1, 0.3, step=0.1)
        prior = {"name": "normal", "mean": 4, "scale": 2}
        assert read_sigopt(type="double", bounds=bounds, prior=prior) == Normal(4, 2, low=1, high=10)
        for strings, choices in [
            (["16", "32"], [16, 32]),
            (["1e-05", "0.1"], [1e-5, 0.1]),
            (["true", "false", "null"], [True, False, None]),
            (["16", "auto"], ["16", "auto"]),
            (["016", "32"], ["016", "32"]),
            ([{"name": "a"}, {"name": "b"}], ["a", "b"]),
            ([" a ", "b"], ["a", "b"]),
        ]:
            assert read_sigopt(type="categorical", categorical_values=strings) == Categorical(choices)

    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            ({"type": "float", "bounds": {"min": 0, "max": 1}}, "type is 'float'"),
            ({"type": "double"}, "bounds are None"),
            ({"type": "double", "bounds": {"min": 1e-9, "max": 5e-9}, "transformation": "log"}, "1e-8"),
            (
                {"type": "double", "bounds": {"min": 0, "max": 1}, "transfomation": "log"},
                "unknown 'transfomation'",
            ),
            (
                {"type": "int", "bounds": {"min": 1, "max": 9}, "transformation": "log"},
                "an int has no transformation",
            ),
            ({"type": "double", "bounds": {"min": 0, "max": 1}, "prior": {"name": "beta"}}, "normal prior"),
            ({"type": "categorical", "categorical_values": [16, 32]}, "not a category"),
            ({"type": "categorical", "categorical_values": ["a"]}, "two or more"),
            ({"type": "categorical", "categorical_values": ["a", "a "]}, "lists a category twice"),
            *(
                ({"type": "double", "bounds": {"min": 1, "max": 2}, "transformation": value}, "its transformation is")
                for value in ("sqrt", 3)
            ),
            ({"type": "int", "grid": [1, 1]}, "lists a value twice"),
            ({"type": "double", "grid": [1, 2], "transformation": "log"}, "a grid with a transformation or a prior"),
            (
                {"type": "double", "grid": [1, 2], "prior": {"name": "normal"}},
                "a grid with a transformation or a prior",
            ),
        ],
    )
    def test_invalid_parameter_is_rejected(self, config: Any, reason: str) -> None:
        with pytest.raises(hp.TranslationError, match=reason):
            read_sigopt(**config)

    @pytest.mark.parametrize(
        ("parameter", "form"),
        [
            (Float(1.0, 1.000000002, step=1e-9), "index"),
            (Categorical([1.0, 1.0 + 2**-30, 1.0 + 2**-28], ordered=True), "literals"),
        ],
    )
    def test_grid_narrower_than_bounds_may_be_is_not_written(self, parameter: Any, form: str) -> None:
        assert [level.form for level in hp.translate({"x": parameter}, "sigopt", encode=True).levels] == [form]

    def test_category_has_at_most_50_characters(self) -> None:
        for length, level in ((50, "native"), (51, "encoded")):
            translation = hp.translate({"x": Categorical(["a" * length, "b"])}, "sigopt", encode=True)
            assert [found.level for found in translation.levels] == [level]

    def test_conditions_are_native_in_experiment(self) -> None:
        space = hp.SearchSpace(
            {
                "optim": Categorical(["adamw", "sgd"]),
                "momentum": Float(0, 1, when={"optim": "sgd"}),
                "beta": Float(0.8, 1, when={"optim": "adamw"}),
            }
        )
        spec = hp.translate(space, "sigopt").spec
        assert spec["conditionals"] == [{"name": "optim", "values": ["adamw", "sgd"]}]
        assert spec["parameters"][0]["conditions"] == {"optim": ["sgd"]}
        assert hp.from_sigopt(spec) == space
        with pytest.raises(hp.TranslationError, match=r"translate\(space, \"sigopt\"\)\.spec"):
            hp.to_sigopt(space)
        with pytest.raises(hp.TranslationError, match="linear constraints"):
            hp.from_sigopt({**spec, "linear_constraints": [{"type": "less_than"}]})

    def test_conditionals_of_numbers_are_written_as_strings(self):
        layers = hp.from_sigopt(
            {
                "conditionals": [{"name": "layers", "values": ["1", "3", "5"]}],
                "parameters": [
                    {
                        "name": f"width_{n}",
                        "type": "int",
                        "bounds": {"min": 1, "max": 9},
                        "conditions": {"layers": values},
                    }
                    for n, values in ((1, ["1", "3", "5"]), (2, ["3", "5"]), (4, ["5"]))
                ],
            }
        )
        assert layers["layers"] == Categorical([1, 3, 5])
        assert layers["width_2"] == Int(1, 9, when={"layers": [3, 5]})
        translation = hp.translate(layers, "sigopt")
        assert hp.from_sigopt(translation.spec) == layers
        assignments = {"layers": "3", "width_1": 2, "width_2": 7}
        assert translation.decode(assignments) == {"layers": 3, "width_1": 2, "width_2": 7}
        assert translation.encode(translation.decode(assignments)) == assignments

    def test_condition_is_encoded_if_a_parent_value_has_no_child(self) -> None:
        space = hp.SearchSpace({"optim": Categorical(["adamw", "sgd"]), "momentum": Float(0, 1, when={"optim": "sgd"})})
        translation = hp.translate(space, "sigopt", encode=True)
        assert translation.spec["conditionals"] == []
        assert translation.encode({"optim": "adamw"}) == {"optim": "adamw", "momentum": 0.5}
        assert translation.decode({"optim": "adamw", "momentum": 0.5}) == {"optim": "adamw"}


def read_wandb(method: str = "random", **config: Any) -> Any:
    return hp.from_wandb({"method": method, "parameters": {"x": config}})["x"]


class TestGrid:
    @pytest.mark.parametrize(
        ("values", "choices"),
        [([1, 1, 2], [1, 2]), ([1, 2, 1, 2], [1, 2]), ([3, 3], [3]), ([{"a": 1}, {"a": 1}, "b"], [{"a": 1}, "b"]),
         ([1, True, 1.0, 1], [1, True, 1.0])],
    )  # fmt: skip
    def test_duplicate_value_is_one_choice_without_weight(self, values: Any, choices: Any) -> None:
        space = SearchSpace({"x": Categorical(choices), "y": Int(1, 2)})
        sweep = {"method": "grid", "parameters": {"x": {"values": values}, "y": {"min": 1, "max": 2}}}
        assert hp.from_wandb(sweep) == space
        spec = hp.translate(space, "wandb", method="grid", encode=True).spec
        tried = [params["x"] for params in enumerate_wandb_grid(sweep)]
        assert len(tried) == 2 * len(set(map(strict_key, tried))) == 2 * len(choices)
        assert [params["y"] for params in enumerate_wandb_grid(spec)] == [
            params["y"] for params in enumerate_wandb_grid(sweep)
        ]

    @pytest.mark.parametrize(
        "parameter", [Int(1, 16, log=True), Int(2, 20, log=True, step=2), Float(0.5, 4.0, log=True, step=0.5)]
    )
    def test_log_scale_needs_encoding(self, parameter: Any) -> None:
        with pytest.raises(hp.TranslationError, match="has no scale"):
            hp.to_wandb({"x": parameter}, method="grid")
        translation = hp.translate({"x": parameter}, "wandb", method="grid", encode=True)
        assert [level.level for level in translation.levels] == ["encoded"]
        assert [translation.decode(params)["x"] for params in enumerate_wandb_grid(translation.spec)] == list(
            parameter.support
        )


class TestAsSpace:
    @pytest.mark.parametrize("source", [None, 3, [], {"a": 1}, object(), int, "lr: 3", b"\xff", lambda: 3])
    def test_other_source_is_rejected(self, source: Any) -> None:
        with pytest.raises(hp.TranslationError):
            hp.as_space(source)

    @pytest.mark.parametrize("values", [{"bounds": {"min": 0, "max": 1}}, {"grid": [1, 2]}])
    def test_sigopt_parameter_without_type_is_recognized_and_rejected(self, values: Any) -> None:
        with pytest.raises(hp.TranslationError, match="SigOpt\n  x: its type is None"):
            hp.as_space([{"name": "x", **values}])

    @pytest.mark.parametrize("source", [int, Float])
    def test_class_is_rejected_and_not_called(self, source: Any) -> None:
        with pytest.raises(hp.TranslationError, match="cannot interpret <class"):
            hp.as_space(source)

    def test_empty_dict_is_empty_space(self) -> None:
        assert hp.as_space({}) == hp.as_space(lambda trial: {}) == hp.SearchSpace()

    def test_every_representation_of_space_is_recognized(self) -> None:
        space = hp.SearchSpace({"lr": LOG, "n": Int(1, 9)})
        sources = [
            space, dict(space), space.to_dict(), hp.to_optuna(space), hp.to_optuna(space).spec, hp.to_ray(space),
            hp.translate(space, "ray").spec, hp.to_sigopt(space), hp.translate(space, "sigopt").spec,
            hp.to_wandb(space), hp.to_wandb(space)["parameters"],
        ]  # fmt: skip
        for source in sources:
            assert hp.as_space(source) == space
            assert hp.as_space(lambda trial, source=source: source) == space

    @pytest.mark.parametrize(
        ("source", "hint"),
        [
            ("sweep.yaml", "read_text"),
            (Path("sweep.yaml"), "read_text"),
            ({"method": "random", "paramters": {"lr": {"min": 0.0, "max": 1.0}}}, 'under "parameters"'),
            (optuna, "a function of a trial"),  # a module with an attribute `distributions`
        ],
    )
    def test_rejected_source_has_hint(self, source: Any, hint: str) -> None:
        with pytest.raises(hp.TranslationError) as error_info:
            hp.as_space(source)
        assert hint in error_info.value.issues[0].hint


class TestErrors:
    def test_message_is_not_repeated(self) -> None:
        with pytest.raises(hp.TranslationError) as error_info:
            hp.from_sigopt({"parameters": hp.to_sigopt({"x": Float(0, 1)}), "linear_constraints": [{}]})
        assert str(error_info.value).count("linear constraints") == 1

    def test_call_without_bounds_raises_with_its_name(self) -> None:
        with pytest.raises(hp.TranslationError) as error_info:
            hp.as_space(lambda trial: {"x": trial.suggest_float("x", 0.0)})
        assert error_info.value.issues[0].message == (
            "suggest_float does not take these arguments (missing a required argument: 'high')"
        )

    def test_hint_suggests_step_only_for_float(self) -> None:
        with pytest.raises(hp.TranslationError) as error_info:
            hp.to_wandb({"x": Float(0, 1), "n": Normal(0, 1), "w": Categorical([1, 2], weights=[1, 2])}, method="grid")
        steps = {issue.path for issue in error_info.value.issues if "step" in issue.hint}
        assert steps == {"x"} and all("'random'" in issue.hint for issue in error_info.value.issues)


class TestHypothesisStrategies:
    def test_unknown_dialect_or_level_is_rejected(self) -> None:
        with pytest.raises(hp.TranslationError, match="unknown dialect 'wanb'"):
            parameters("wanb")
        with pytest.raises(hp.TranslationError, match="got 'nativ'"):
            parameters("wandb", levels=["nativ"])


class TestDocuments:
    @pytest.mark.parametrize(
        "text",
        [
            "method: random\nparameters:\n  a: {value: 1}\n  a: {values: [2, 3]}\n",
            '{"parameters": {"a": {"value": 1}, "a": {"values": [2, 3]}}}',
            "parameters:\n  a: {min: 0, max: 1, min: 0.5}\n",
        ],
    )
    def test_duplicate_key_is_rejected(self, text: str) -> None:
        with pytest.raises(hp.TranslationError, match="defined twice"):
            hp.from_wandb(text)

    def test_merged_key_may_be_overridden(self) -> None:
        text = "base: &base {min: 0, max: 1}\nparameters:\n  a: {<<: *base, max: 3}\n  b: *base\n"
        assert hp.from_wandb(text) == hp.SearchSpace({"a": Int(0, 3), "b": Int(0, 1)})


class TestWandb:
    @pytest.mark.parametrize(("maximum", "high"), [(0.4, 0.3), (0.8, 0.7), (1.0, 0.9), (0.25, 0.2)])
    def test_grid_of_steps_is_read_in_decimals(self, maximum: float, high: float) -> None:
        entry = {"distribution": "q_uniform", "min": 0.0, "max": maximum, "q": 0.1}
        space = hp.from_wandb({"method": "grid", "parameters": {"x": entry}})
        assert space["x"] == hp.Float(0.0, high, step=0.1)

    @pytest.mark.parametrize(
        ("config", "parameter"),
        [
            ({"value": 0}, Constant(0)),
            ({"value": None}, Constant(None)),
            ({"values": [3]}, Categorical([3])),
            ({"values": ["1e-3", "1e-2"]}, Categorical(["1e-3", "1e-2"])),
            ({"values": [1, 1, 2]}, Categorical([1, 2], weights=[2, 1])),
            ({"values": [1, 2], "probabilities": [0.25, 0.75]}, Categorical([1, 2], weights=[1, 3])),
            ({"min": 1, "max": 8}, Int(1, 8)),
            ({"min": 0.0, "max": 1.0}, Float(0, 1)),
            ({"min": 0, "max": 1.0}, Float(0, 1)),
            ({"min": "1e-5", "max": "1e-3", "distribution": "log_uniform_values"}, Float(1e-5, 1e-3, log=True)),
            ({"min": "1e-5", "max": 1}, Float(1e-5, 1)),
            (
                {"min": 0, "max": 0.0, "distribution": "log_uniform"} | {"max": 1.0},
                Float(1.0, 2.718281828459045, log=True),
            ),
            ({"min": 1, "max": 8, "distribution": "inv_log_uniform_values"}, Float(1, 8, log=True)),
            ({"min": 0, "max": 5, "q": 3, "distribution": "q_uniform"}, Int(0, 6, step=3)),  # 5 rounds to 6
            ({"min": 0, "max": 1, "q": 0.25, "distribution": "q_uniform"}, Float(0, 1, step=0.25)),
            ({"min": 0, "max": 4, "distribution": "q_uniform"}, Float(0, 4, step=1.0)),
            ({"min": 0.5, "max": 8.5, "q": 1, "distribution": "q_log_uniform_values"}, Int(1, 8, log=True)),
            ({"min": 1, "max": 8, "q": 1, "distribution": "q_log_uniform_values"}, Int(1, 8, log=True)),
            ({"distribution": "normal", "mu": 1, "sigma": 2}, Normal(1, 2)),
            ({"distribution": "normal"}, Normal(0, 1)),
            ({"distribution": "log_normal"}, Normal(0, 1, log=True)),
            ({"distribution": "q_normal"}, Normal(0, 1, step=1.0)),
            ({"distribution": "q_log_normal"}, Normal(0, 1, log=True, step=1.0)),
            ({"distribution": "log_normal", "mu": 1, "sigma": 2}, Normal(1, 2, log=True)),
            ({"distribution": "q_normal", "mu": 1, "sigma": 2, "q": 1}, Normal(1, 2, step=1)),
            ({"parameters": {"y": {"value": 1}}}, hp.SearchSpace({"y": Constant(1)})),
        ],
    )
    def test_parameter_is_read(self, config: Any, parameter: Any) -> None:
        assert read_wandb(**config) == parameter

    def test_q_uniform_in_grid_starts_at_min_and_excludes_max(self) -> None:
        assert read_wandb("grid", distribution="q_uniform", min=1, max=10, q=3) == Int(1, 7, step=3)
        assert read_wandb("random", distribution="q_uniform", min=1, max=10, q=3) == Int(0, 9, step=3)

    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            ({"distribution": "beta", "a": 1, "b": 1}, "beta distribution has no counterpart"),
            ({"distribution": "unifrom", "min": 0, "max": 1}, "unknown distribution 'unifrom'"),
            ({"min": 0, "max": 1, "step": 0.1}, "has no 'step'"),
            ({"min": 0}, "says nothing of its values"),
            ({"min": 1, "max": 1}, "both 1"),
            ({"min": 2, "max": 1}, "above"),
            ({"min": "small", "max": 1.0}, "'small', not a number"),
            ({"values": 3}, "3, not a list"),
            ({"values": (value for value in "ab")}, "not a list"),
            ({"values": []}, "no choices"),
            ({"value": 1, "values": [1]}, "has no 'values'"),
            ({"distribution": "normal", "mu": 0, "sigma": 0}, "std is 0"),
            ({"distribution": "log_uniform", "min": 0, "max": 1000}, "natural logarithm"),
            ({"values": [1, 2], "probabilities": [1]}, "1 weights|for 2 choices"),
        ],
    )
    def test_impossible_parameter_is_rejected(self, config: Any, reason: str) -> None:
        with pytest.raises(hp.TranslationError, match=reason):
            read_wandb(**config)

    def test_yaml_and_json_strings_are_read(self) -> None:
        space = hp.SearchSpace({"lr": Float(1e-5, 1e-3, log=True)})
        yaml = "method: bayes\nparameters:\n  lr: {distribution: log_uniform_values, min: 1e-5, max: 1e-3}\n"
        json = '{"parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-05, "max": 0.001}}}'
        assert hp.from_wandb(yaml) == hp.as_space(yaml) == hp.from_wandb(json) == space
        for text in ("just words", "[1, 2]", "a: [", "method: grid"):
            with pytest.raises(hp.TranslationError):
                hp.from_wandb(text)
        billion_laughs = "\n".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
        )
        with pytest.raises(hp.TranslationError, match="aliases unfold"):
            hp.from_wandb(f"a: &a [1, 1]\n{billion_laughs}\nparameters: {{x: {{value: *k}}}}")

    def test_options_give_method_and_metric(self) -> None:
        space = {"lr": LOG}
        sweep = hp.to_wandb(
            space, method="bayes", metric="acc", goal="maximize", run_cap=9, early_terminate={"type": "hyperband"}
        )
        assert (sweep["metric"], sweep["run_cap"]) == ({"name": "acc", "goal": "maximize"}, 9)
        for options, reason in [
            ({"method": "bayes"}, "needs one"),
            ({"method": "tpe"}, "'tpe'"),
            ({"metric": "a", "goal": "MAXIMIZE"}, "'MAXIMIZE'"),
            ({"runcap": 3}, "no key 'runcap'"),
            ({"metric": {"goal": "maximize"}}, "metric"),
            ({"metric": {"name": "a", "goal": "max"}}, "'max'"),
            ({"method": "random", "goal": "maximize"}, "goal: a sweep without a metric has no goal"),
            (
                {"metric": {"name": "a", "goal": "minimize"}, "goal": "maximize"},
                "goal: is 'maximize', and the metric's goal 'minimize'",
            ),
        ]:
            with pytest.raises(hp.TranslationError, match=reason):
                hp.to_wandb(space, **options)

    def test_invalid_parameters_are_reported_together(self) -> None:
        sweep = {"parameters": {"a": {"distribution": "beta"}, "b": {"min": 9, "max": 1}, "c": {"values": 3}}}
        with pytest.raises(hp.TranslationError) as caught:
            hp.from_wandb(sweep)
        assert {issue.path for issue in caught.value.issues} == {"a", "b", "c"}

    @pytest.mark.parametrize("path", ["sweep.yaml", Path("sweep.yaml")])
    def test_path_is_rejected(self, path: Any) -> None:
        with pytest.raises(hp.TranslationError, match="read_text"):
            hp.from_wandb(path)


class TestOptuna:
    @pytest.mark.parametrize(
        ("call", "args", "kwargs", "parameter"),
        [
            ("suggest_float", (0, 1), {}, Float(0, 1)),
            ("suggest_float", (0, 1), {"step": 0.25}, Float(0, 1, step=0.25)),
            ("suggest_float", (0, 1), {"step": 0.3}, Float(0, 0.9, step=0.3)),  # as in Optuna
            ("suggest_int", (1, 10), {"step": 4}, Int(1, 9, step=4)),
            ("suggest_int", (), {"low": 1, "high": 64, "log": True}, Int(1, 64, log=True)),
            ("suggest_int", (5, 5), {}, Constant(5)),
            ("suggest_categorical", ([1, "a", None],), {}, Categorical([1, "a", None])),
            ("suggest_categorical", (["a", "b", "a"],), {}, Categorical(["a", "b"], weights=[2, 1])),
            ("suggest_loguniform", (1e-5, 1e-1), {}, Float(1e-5, 1e-1, log=True)),
            ("suggest_discrete_uniform", (0, 1, 0.1), {}, Float(0, 1, step=0.1)),
        ],
    )  # fmt: skip
    def test_suggest_call_is_read(self, call: str, args: Any, kwargs: Any, parameter: Any) -> None:
        assert hp.from_optuna([{"name": "x", "call": call, "args": args, "kwargs": kwargs}])["x"] == parameter

    @pytest.mark.parametrize(
        ("call", "args", "kwargs", "reason"),
        [
            ("suggest_float", (0.1, 1), {"log": True, "step": 0.1}, "no step on a logarithmic scale"),
            ("suggest_float", (1, 0.1), {}, "above"),
            ("suggest_float", (0, float("nan")), {}, "not finite"),
            ("suggest_int", (0.5, 3), {}, "not a whole number"),
            ("suggest_categorical", ("abc",), {}, "'abc', not a list"),
            ("suggest_categorical", ([],), {}, "no choices"),
            ("suggest_gamma", (1, 2), {}, "not a suggest call"),
            ("suggest_float", (0, 1, 2, 3, 4), {}, "does not take these arguments"),
        ],
    )
    def test_impossible_suggest_call_is_rejected(self, call: str, args: Any, kwargs: Any, reason: str) -> None:
        with pytest.raises(hp.TranslationError, match=reason):
            hp.from_optuna([{"name": "x", "call": call, "args": args, "kwargs": kwargs}])

    def test_constant_under_encoded_parent_is_not_suggested(self) -> None:
        space = hp.SearchSpace({"a": Float(1, 4, log=True, step=1), "c": Constant(None, when={"a": 1.0})})
        suggest = hp.to_optuna(space, encode=True)
        assert suggest(optuna.trial.FixedTrial({"a": 0.99})) == {"a": 4.0}
        assert suggest(optuna.trial.FixedTrial({"a": 0.01})) == {"a": 1.0, "c": None}

    def test_distributions_studies_and_trials_are_read(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = hp.SearchSpace({"lr": LOG, "n": Int(1, 9, step=2), "c": Categorical(["a", "b"])})
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(lambda trial: len(hp.to_optuna(space)(trial)), n_trials=3)
        for source in (study, study.trials[0], study.trials[0].distributions):
            assert hp.from_optuna(source) == hp.as_space(source) == space
        study.optimize(lambda trial: trial.suggest_float("other", 0, 1), n_trials=1)
        with pytest.raises(hp.TranslationError, match="not in every trial"):
            hp.from_optuna(study)

    def test_trial_without_suggestions_is_rejected(self) -> None:
        with pytest.raises(hp.TranslationError, match="drawn nothing"):
            hp.from_optuna(optuna.trial.FixedTrial({"a": 1}))


class TestDecode:
    def test_other_type_than_dict_is_rejected(self) -> None:
        with pytest.raises(hp.ParamsError, match="expected a dict, got None"):
            hp.translate({"x": Float(0, 1)}, "wandb", method="random").decode(None)  # type: ignore[arg-type]
