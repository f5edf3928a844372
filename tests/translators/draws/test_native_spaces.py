"""The parameters that hpcompat reads from handwritten native specs have the distribution of the spec's engine."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from hpcompat import Float, Int, from_wandb
from hpcompat.translators.codecs import normalize
from hpcompat.translators.ray import build_domains
from tests.helpers.engines import ENGINES, NativeParams, enumerate_wandb_grid
from tests.helpers.goodness_of_fit import find_misfit
from tests.helpers.native_spaces import NATIVE_SPECS, engine_distribution_of, read_parameters


@cache
def draw_native(variant: str) -> list[NativeParams]:
    """Draw from the handwritten specs of a variant with its engine."""
    engine = ENGINES[variant]
    specs: Any = {name: spec for name, (spec, _) in NATIVE_SPECS[variant].items()}
    if variant == "optuna":
        specs = _suggest_function(specs)
    elif variant == "sigopt":
        specs = {"parameters": [{"name": name, **spec} for name, spec in specs.items()]}
    elif engine.dialect == "wandb":
        specs = {"method": "random", "parameters": specs}
    else:
        specs = build_domains(specs)
    return engine.draw(specs, engine.n_draws, 7)


def _suggest_function(specs: dict[str, Any]) -> Any:
    return lambda trial: {name: getattr(trial, spec["call"])(name, **spec["kwargs"]) for name, spec in specs.items()}


class TestNativeSpecs:
    @pytest.mark.filterwarnings("ignore:The distribution is specified by")  # some ranges are uneven on purpose
    @pytest.mark.parametrize(
        ("variant", "name"), [(variant, name) for variant, specs in NATIVE_SPECS.items() for name in specs]
    )
    def test_read_parameter_has_distribution_of_engine(self, variant: str, name: str) -> None:
        parameter, get_probabilities = read_parameters(variant)[name], engine_distribution_of(variant, name)
        values = [normalize(parameter, params[name]) for params in draw_native(variant)]
        assert find_misfit(parameter, values, get_probabilities(parameter) if get_probabilities else None) == "", (
            parameter
        )

    @pytest.mark.parametrize(
        ("variant", "name"),
        [
            (variant, name)
            for variant, specs in NATIVE_SPECS.items()
            for name, (_, distribution) in specs.items()
            if distribution
        ],
    )
    def test_stated_engine_distribution_is_needed(self, variant: str, name: str) -> None:
        parameter = read_parameters(variant)[name]
        values = [normalize(parameter, params[name]) for params in draw_native(variant)]
        assert "chi-square" in find_misfit(parameter, values)

    @pytest.mark.parametrize("keys", [(0, 10, 2), (1, 10, 3), (0.0, 1.0, 0.1), (0.5, 2.0, 0.5), (2, 3, 5)])
    def test_grid_excludes_end_of_q_uniform(self, keys: tuple[Any, Any, Any]) -> None:
        config = dict(zip(("min", "max", "q"), keys, strict=True), distribution="q_uniform")
        sweep = {"method": "grid", "parameters": {"x": config}}
        parameter: Any = from_wandb(sweep)["x"]
        assert isinstance(parameter, (Int, Float)) or parameter.size == 1
        assert [normalize(parameter, params["x"]) for params in enumerate_wandb_grid(sweep)] == list(parameter.support)
