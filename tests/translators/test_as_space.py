"""`as_space` detects the dialect of a search space by structure and types, not by the names of parameters."""

import json
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ray import tune

import hpcompat as hp
from hpcompat import Categorical, Constant, Float, Int, SearchSpace
from hpcompat.testing import PARAMETERS_BY_SHAPE, spaces
from hpcompat.translators import translate
from hpcompat.translators.ray import build_domains

READERS: dict[str, Any] = {
    "optuna": hp.from_optuna,
    "ray": hp.from_ray,
    "sigopt": hp.from_sigopt,
    "wandb": hp.from_wandb,
}
KEYWORDS = [
    "eval", "grid_search", "call", "args", "kwargs", "value", "values", "parameters", "distribution", "min", "max",
    "mu", "sigma", "q", "name", "type", "bounds", "grid", "method", "metric", "hpcompat", "space", "kind", "when",
    "conditionals", "suggest_float", "uniform", "trials", "distributions", "probabilities", "low", "high",
]  # fmt: skip
"""Keys with a meaning in some dialect, used as the names of parameters and groups."""
fewer_examples = settings(
    max_examples=settings.default.max_examples // 4,  # an example is translated once and read up to six times
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
keyword_names = st.sampled_from(KEYWORDS)
valid_parameters = st.one_of(*PARAMETERS_BY_SHAPE.values()).filter(lambda parameter: not parameter.issues)
groups = st.recursive(
    st.dictionaries(keyword_names, valid_parameters, min_size=1, max_size=4),
    lambda inner: st.dictionaries(keyword_names, st.one_of(valid_parameters, inner), min_size=1, max_size=4),
    max_leaves=6,
)


@st.composite
def spaces_with_keyword_names(draw: Any) -> SearchSpace:
    return SearchSpace(draw(groups))


def has_varying_parameter(space: SearchSpace) -> bool:
    return any(leaf.parameter.size > 1 for leaf in space.leaves)


class TestKeywordNames:
    @pytest.mark.parametrize("dialect", READERS)
    @fewer_examples
    @given(
        space=spaces_with_keyword_names().filter(has_varying_parameter)
        | spaces(conditions=False).filter(has_varying_parameter)
    )
    @example(space=SearchSpace({"eval": Constant(True), "lr": Float(0.1, 1.0)}))
    @example(
        space=SearchSpace({"call": {"call": Categorical(["uniform"]), "args": Categorical([[0, 1]])}, "x": Int(1, 2)})
    )
    @example(space=SearchSpace({"parameters": {"parameters": Int(1, 2)}}))
    @example(space=SearchSpace({"grid_search": Categorical([1, 2])}))
    @example(space=SearchSpace({"parameters": {"grid_search": Categorical([1, 2]), "eval": Float(0, 1)}}))
    @example(space=SearchSpace({"g": {"value": Int(1, 2)}}))
    @example(
        space=SearchSpace(
            {"g": {"distribution": Constant("uniform"), "min": Constant(0), "max": Constant(1)}, "x": Int(1, 2)}
        )
    )
    def test_spec_is_read_by_its_dialect(self, dialect: str, space: SearchSpace) -> None:
        spec = translate(space, dialect, encode=True).spec
        sources = [spec, json.loads(json.dumps(spec))]
        if dialect == "ray":
            sources.append(build_domains(spec))
        if dialect == "wandb":
            sources.append(spec["parameters"])
        for source in sources:
            try:
                expected = READERS[dialect](source)
            except hp.TranslationError:  # a config of Ray may contain a dict whose keys are not valid names
                assert dialect == "ray" and source is not spec
                with pytest.raises(hp.HpcompatError):
                    hp.as_space(source)
                continue
            try:
                assert hp.as_space(source) == expected
            except hp.TranslationError as error:
                # a dict that is both a value in W&B and a group in Ray
                assert "from_ray and from_wandb accept" in str(error)
                assert isinstance(hp.from_ray(source), SearchSpace)
                assert isinstance(hp.from_wandb(source), SearchSpace)

    @fewer_examples
    @given(space=spaces_with_keyword_names())
    def test_canonical_space_is_returned_unchanged(self, space: SearchSpace) -> None:
        def as_dicts(group: Any) -> Any:
            return {name: as_dicts(entry) if isinstance(entry, SearchSpace) else entry for name, entry in group.items()}

        assert hp.as_space(space) == hp.as_space(as_dicts(space)) == hp.as_space(space.to_dict()) == space


SWEEP = {"distribution": "uniform", "min": 0.1, "max": 1.0}
LR = Float(0.1, 1.0)
DOUBLE = {"name": "lr", "type": "double", "bounds": {"min": 0.1, "max": 1.0}}


class TestDialectDetection:
    @pytest.mark.parametrize(
        ("source", "space"),
        [
            # W&B sweeps whose parameters and groups are named like keys of Ray
            ({"method": "random", "parameters": {"lr": {"min": 0.1, "max": 1.0}, "eval": {"value": True}}},
             {"lr": LR, "eval": Constant(True)}),
            ({"parameters": {"lr": SWEEP, "grid_search": {"values": [1, 2]}}},
             {"lr": LR, "grid_search": Categorical([1, 2])}),
            ({"parameters": {"call": {"value": "uniform"}, "args": {"values": [0, 1]}}},
             {"call": Constant("uniform"), "args": Categorical([0, 1])}),
            ({"parameters": {"lr": {"parameters": {"grid_search": {"parameters": {"eval": SWEEP}}}}}},
             {"lr": {"grid_search": {"eval": LR}}}),
            ({"parameters": {"x": {"value": {"eval": True}}, "y": SWEEP}}, {"x": Constant({"eval": True}), "y": LR}),
            ({"eval": SWEEP}, {"eval": LR}),
            ({"parameters": {"value": 1}}, {"parameters": Constant(1)}),
            # configs of Ray whose names are keys of W&B and SigOpt
            ({"parameters": {"lr": tune.uniform(0.1, 1.0)}}, {"parameters": {"lr": LR}}),
            ({"parameters": {"lr": {"call": "uniform", "args": [0.1, 1.0]}}}, {"parameters": {"lr": LR}}),
            ({"parameters": [1, 2], "lr": tune.uniform(0.1, 1.0)}, {"parameters": Constant([1, 2]), "lr": LR}),
            ({"parameters": [], "lr": tune.uniform(0.1, 1.0)}, {"parameters": Constant([]), "lr": LR}),
            ({"method": "bayes", "parameters": {"n": {"min": 1, "max": 3}, "lr": tune.uniform(0.1, 1.0)}},
             {"method": Constant("bayes"), "parameters": {"n": {"min": Constant(1), "max": Constant(3)}, "lr": LR}}),
            ({"opt": {"call": "adamw"}, "lr": tune.uniform(0.1, 1.0)}, {"opt": {"call": Constant("adamw")}, "lr": LR}),
            ({"opt": {"call": "uniform", "args": [0, 1]}, "lr": tune.uniform(0.1, 1.0)},
             {"opt": {"call": Constant("uniform"), "args": Constant([0, 1])}, "lr": LR}),
            ({"hpcompat": tune.uniform(0.1, 1.0)}, {"hpcompat": LR}),
            ({"hpcompat": 2, "lr": tune.uniform(0.1, 1.0)}, {"hpcompat": Constant(2), "lr": LR}),
            ({"x": tune.grid_search(range(2))}, {"x": Categorical([0, 1])}),
            ({"n": 3, "data": {"min": 0, "max": 9}, "x": {"grid_search": [1, 2]}},
             {"n": Constant(3), "data": {"min": Constant(0), "max": Constant(9)}, "x": Categorical([1, 2])}),
            # lists of SigOpt and Optuna
            ([{**DOUBLE, "name": "call"}], {"call": LR}),
            ({"name": "call", "parameters": [DOUBLE], "observation_budget": 9}, {"lr": LR}),
            ([{"name": "type", "call": "suggest_float", "args": [0.1, 1.0]}], {"type": LR}),
            ({"distribution": optuna.distributions.FloatDistribution(0.1, 1.0)}, {"distribution": LR}),
            # hpcompat's parameters
            ({"parameters": {"grid_search": LR}}, {"parameters": {"grid_search": LR}}),
        ],
    )  # fmt: skip
    def test_structure_determines_the_dialect(self, source: Any, space: Any) -> None:
        assert hp.as_space(source) == SearchSpace(space)

    @pytest.mark.parametrize(
        ("source", "readers"),
        [
            ({"parameters": {"x": {"value": {"call": "uniform", "args": [0, 1]}}}}, "from_ray and from_wandb"),
            ({"parameters": {"x": {"value": {"grid_search": [0, 1]}}}}, "from_ray and from_wandb"),
            ([{**DOUBLE, "call": "suggest_float", "args": [0, 1]}], "from_optuna and from_sigopt"),
        ],
    )
    def test_ambiguous_source_is_rejected_naming_both_readers(self, source: Any, readers: str) -> None:
        with pytest.raises(hp.TranslationError, match=f"{readers} accept"):
            hp.as_space(source)

    @pytest.mark.parametrize(
        "source",
        [
            {"grid_search": [1, 2]},
            {"eval": "1 + 1"},
            {"call": "uniform", "args": [0, 1]},
            {"value": 1},
            {"min": 0, "max": 1},
            {"hpcompat": 1},
            {"parameters": {"lr": 0.1}},
            {"a": {"b": {"c": 1}}},
            [1, 2],
            [{"name": "lr"}],
            tune.uniform(0, 1),
        ],
    )
    def test_unknown_source_is_rejected(self, source: Any) -> None:
        with pytest.raises(hp.TranslationError) as refusal:
            hp.as_space(source)
        assert refusal.value.message == "not a search space"
        assert all(issue.hint and "accept" not in issue.message for issue in refusal.value.issues)

    @pytest.mark.parametrize(
        "source",
        [
            {"parameters": {"lr": {"min": 0.1}, "n": 3}},
            {"parameters": {"lr": {"min": 0.1, "max": 1.0, "step": 0.1}}},
            {"parameters": {"lr": {"distribution": "unifrom", "min": 0.1, "max": 1.0}}},
            [{"name": "lr", "type": "float", "bounds": {"min": 0.1, "max": 1.0}}],
            {"lr": tune.sample_from(lambda spec: 1)},
            {"lr": tune.uniform(0, 1), "n": {"eval": "1 + 1"}},
            [{"name": "lr", "call": "suggest_gamma"}],
        ],
    )
    def test_invalid_source_of_one_dialect_is_rejected_by_its_reader(self, source: Any) -> None:
        with pytest.raises(hp.TranslationError, match=r"lr: |n: "):
            hp.as_space(source)

    @pytest.mark.parametrize("cycle", ["ray", "wandb", "sigopt", "optuna", "hpcompat"])
    def test_recursive_source_is_rejected(self, cycle: str) -> None:
        inner: dict[str, Any] = {}
        inner["a"], inner["b"] = {"parameters": inner, "x": inner}, {"parameters": inner, "x": inner}
        parameter = {"ray": tune.uniform(0, 1), "wandb": SWEEP, "sigopt": [DOUBLE], "hpcompat": LR}.get(cycle)
        sources = {
            "ray": inner | {"x": parameter, "y": inner},
            "wandb": {"parameters": inner | {"x": parameter}},
            "sigopt": {"parameters": parameter, "metadata": inner},
            "optuna": [{"name": "x", "call": "suggest_categorical", "args": [inner]}],
            "hpcompat": inner | {"x": parameter},
        }
        if cycle == "sigopt":
            assert hp.as_space(sources[cycle]) == SearchSpace({"lr": LR})
        else:
            with pytest.raises(hp.HpcompatError):
                hp.as_space(sources[cycle])
