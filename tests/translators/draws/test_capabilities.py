"""For every cell of the capability table, the real engine draws by the expected distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpcompat import Categorical, TranslationError, translate
from hpcompat.space.values import strict_key
from hpcompat.translators.capabilities import shape as shape_of
from hpcompat.translators.ray import build_domains
from tests.helpers.engine_distributions import engine_probabilities
from tests.helpers.engines import (
    ENGINES,
    Draws,
    NativeParams,
    draw_ray_bayesopt,
    draw_ray_hyperopt,
    draw_ray_searcher,
    enumerate_wandb_grid,
)
from tests.helpers.goodness_of_fit import find_misfit
from tests.helpers.parameter_cases import ALL_CASES, CASES_BY_SHAPE, VARIANTS, find_rule


class TestRules:
    @pytest.mark.parametrize("shape", CASES_BY_SHAPE)
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_every_rule_has_a_case(self, shape: str, variant: str) -> None:
        covered = {id(find_rule(parameter, variant)) for parameter in CASES_BY_SHAPE[shape].values()}
        assert [rule for rule in VARIANTS[variant].capabilities[shape] if id(rule) not in covered] == []

    @pytest.mark.parametrize("shape", CASES_BY_SHAPE)
    def test_case_is_in_row_of_its_shape(self, shape: str) -> None:
        assert {shape_of(parameter) for parameter in CASES_BY_SHAPE[shape].values()} == {shape}


class TestDraws:
    @pytest.mark.parametrize("name", ALL_CASES)
    @pytest.mark.parametrize("variant", ENGINES)
    def test_engine_draws_by_distribution(self, variant: str, name: str, draws: Draws) -> None:
        parameter = ALL_CASES[name]
        drawn = [params[name] for params in draws(variant, "cases")]
        form = find_rule(parameter, variant).form
        assert find_misfit(parameter, drawn, engine_probabilities(parameter, variant, form)) == "", form

    @pytest.mark.parametrize("variant", [variant for variant in ENGINES if variant.startswith(("ray", "wandb"))])
    def test_exact_form_draws_values_of_space(self, variant: str) -> None:
        """Native and equivalent forms need no decoding."""
        engine = ENGINES[variant]
        exact = {name: p for name, p in ALL_CASES.items() if find_rule(p, variant).level in ("native", "equivalent")}
        translation = engine.translate(exact)
        outside = {}
        for native_params in engine.draw_native(translation, 400, 1):
            for field in translation.fields:
                value = native_params[field.native_name]
                # BayesOptSearch and the sweeps engine return NumPy numbers
                value = value.item() if isinstance(value, np.generic) else value
                if not field.leaf.parameter.contains(value):
                    outside[field.leaf.name] = value
        assert outside == {}

    @pytest.mark.parametrize("draw", [draw_ray_bayesopt, draw_ray_hyperopt, draw_ray_searcher])
    def test_every_searcher_draws_by_distribution(self, draw: Callable[[Any, int, int], list[NativeParams]]) -> None:
        translation = ENGINES["ray searcher"].translate(ALL_CASES)
        drawn = [translation.decode(native_params) for native_params in draw(build_domains(translation.spec), 250, 2)]
        misfits = {name: find_misfit(p, [params[name] for params in drawn]) for name, p in ALL_CASES.items()}
        assert misfits == dict.fromkeys(ALL_CASES, "")


UNENUMERABLE = [name for name, parameter in ALL_CASES.items() if find_rule(parameter, "wandb grid").level == "refused"]
FINITE = [name for name, parameter in ALL_CASES.items() if name not in UNENUMERABLE and parameter.size < 100_000]


class TestGrid:
    @pytest.mark.parametrize("name", FINITE)
    def test_grid_enumerates_every_value_once(self, name: str) -> None:
        parameter = ALL_CASES[name]
        translation = translate({name: parameter, "other": Categorical(["x"])}, "wandb", method="grid", encode=True)
        values = [translation.decode(native_params)[name] for native_params in enumerate_wandb_grid(translation.spec)]
        assert len(values) == len(set(map(strict_key, values))) == parameter.size
        assert all(map(parameter.contains, values))

    @pytest.mark.parametrize("name", UNENUMERABLE)
    def test_grid_of_unenumerable_parameter_raises(self, name: str) -> None:
        for encode in (False, True):
            with pytest.raises(TranslationError) as refusal:
                translate({name: ALL_CASES[name]}, "wandb", method="grid", encode=encode)
            assert [issue.path for issue in refusal.value.issues] == [name]
