"""Every cell of the capability table: what the real engine draws from the written form follows the stated law."""

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
from tests.helpers.engines import COLUMNS, Draws, Raw, ray_bayesopt, ray_hyperopt, ray_searcher, wandb_grid
from tests.helpers.goodness_of_fit import find_misfit
from tests.helpers.parameter_cases import ALL_CASES, CASES_BY_SHAPE, VARIANTS, find_rule


class TestRules:
    @pytest.mark.parametrize("shape", CASES_BY_SHAPE)
    @pytest.mark.parametrize("column", VARIANTS)
    def test_every_rule_has_a_case(self, shape: str, column: str) -> None:
        tried = {id(find_rule(parameter, column)) for parameter in CASES_BY_SHAPE[shape].values()}
        assert [rule for rule in VARIANTS[column].capabilities[shape] if id(rule) not in tried] == []

    @pytest.mark.parametrize("shape", CASES_BY_SHAPE)
    def test_case_is_in_row_of_its_shape(self, shape: str) -> None:
        assert {shape_of(parameter) for parameter in CASES_BY_SHAPE[shape].values()} == {shape}


class TestDraws:
    @pytest.mark.parametrize("name", ALL_CASES)
    @pytest.mark.parametrize("column", COLUMNS)
    def test_engine_draws_by_distribution(self, column: str, name: str, draws: Draws) -> None:
        parameter = ALL_CASES[name]
        drawn = [params[name] for params in draws(column, "kinds")]
        form = find_rule(parameter, column).form
        assert find_misfit(parameter, drawn, engine_probabilities(parameter, column, form)) == "", form

    @pytest.mark.parametrize("column", [column for column in COLUMNS if column.startswith(("ray", "wandb"))])
    def test_native_form_draws_values_of_space(self, column: str) -> None:
        """Without decode: a list of values, too, is one that the engine gives back as it was."""
        engine = COLUMNS[column]
        exact = {name: p for name, p in ALL_CASES.items() if find_rule(p, column).level in ("native", "equivalent")}
        translation = engine.translate(exact)
        outside = {}
        for raw in engine.raws(translation, 400, 1):
            for passage in translation.fields:
                value = raw[passage.native_name]
                # BayesOptSearch and the sweeps engine hand out NumPy's numbers
                value = value.item() if isinstance(value, np.generic) else value
                if not passage.leaf.parameter.contains(value):
                    outside[passage.leaf.name] = value
        assert outside == {}

    @pytest.mark.parametrize("draw", [ray_bayesopt, ray_hyperopt, ray_searcher])
    def test_every_searcher_draws_by_distribution(self, draw: Callable[[Any, int, int], list[Raw]]) -> None:
        translation = COLUMNS["ray searcher"].translate(ALL_CASES)
        drawn = [translation.decode(raw) for raw in draw(build_domains(translation.spec), 250, 2)]
        objections = {name: find_misfit(p, [params[name] for params in drawn]) for name, p in ALL_CASES.items()}
        assert objections == dict.fromkeys(ALL_CASES, "")


REFUSED = [name for name, parameter in ALL_CASES.items() if find_rule(parameter, "wandb grid").level == "refused"]
FINITE = [name for name, parameter in ALL_CASES.items() if name not in REFUSED and parameter.size < 100_000]


class TestGrid:
    @pytest.mark.parametrize("name", FINITE)
    def test_grid_enumerates_every_value_once(self, name: str) -> None:
        parameter = ALL_CASES[name]
        translation = translate({name: parameter, "other": Categorical(["x"])}, "wandb", method="grid", encode=True)
        values = [translation.decode(raw)[name] for raw in wandb_grid(translation.spec)]
        assert len(values) == len(set(map(strict_key, values))) == parameter.size
        assert all(map(parameter.contains, values))

    @pytest.mark.parametrize("name", REFUSED)
    def test_grid_of_unenumerable_parameter_raises(self, name: str) -> None:
        for encode in (False, True):
            with pytest.raises(TranslationError) as refusal:
                translate({name: ALL_CASES[name]}, "wandb", method="grid", encode=encode)
            assert [issue.path for issue in refusal.value.issues] == [name]
