"""Every cell of the capability table: what the real engine draws from the written form follows the stated law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cells import ALL, CELLS, VARIANTS, rule_of
from engine_laws import masses
from engines import COLUMNS, Draws, Raw, ray_bayesopt, ray_hyperopt, ray_searcher, wandb_grid
from verdicts import objection

from hpcompat import Categorical, TranslationError, translate
from hpcompat.space.values import strict_key
from hpcompat.translators.capabilities import shape as shape_of
from hpcompat.translators.ray import build_domains


@pytest.mark.parametrize("shape", CELLS)
@pytest.mark.parametrize("column", VARIANTS)
def test_each_rule_of_a_cell_is_tried(shape: str, column: str) -> None:
    tried = {id(rule_of(parameter, column)) for parameter in CELLS[shape].values()}
    assert [rule for rule in VARIANTS[column].capabilities[shape] if id(rule) not in tried] == []


@pytest.mark.parametrize("shape", CELLS)
def test_a_parameter_stands_in_the_row_of_its_shape(shape: str) -> None:
    assert {shape_of(parameter) for parameter in CELLS[shape].values()} == {shape}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("column", COLUMNS)
def test_the_engine_draws_by_the_law(column: str, name: str, draws: Draws) -> None:
    parameter = ALL[name]
    drawn = [params[name] for params in draws(column, "kinds")]
    form = rule_of(parameter, column).form
    assert objection(parameter, drawn, masses(parameter, column, form)) == "", form


@pytest.mark.parametrize("column", [column for column in COLUMNS if column.startswith(("ray", "wandb"))])
def test_a_native_form_hands_out_values_of_the_space(column: str) -> None:
    """Without decode: a list of values, too, is one that the engine gives back as it was."""
    engine = COLUMNS[column]
    exact = {name: p for name, p in ALL.items() if rule_of(p, column).level in ("native", "equivalent")}
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
def test_every_search_algorithm_draws_by_the_law(draw: Callable[[Any, int, int], list[Raw]]) -> None:
    translation = COLUMNS["ray searcher"].translate(ALL)
    drawn = [translation.decode(raw) for raw in draw(build_domains(translation.spec), 250, 2)]
    objections = {name: objection(p, [params[name] for params in drawn]) for name, p in ALL.items()}
    assert objections == dict.fromkeys(ALL, "")


REFUSED = [name for name, parameter in ALL.items() if rule_of(parameter, "wandb grid").level == "refused"]
FINITE = [name for name, parameter in ALL.items() if name not in REFUSED and parameter.size < 100_000]


@pytest.mark.parametrize("name", FINITE)
def test_a_grid_goes_through_every_value_once(name: str) -> None:
    parameter = ALL[name]
    translation = translate({name: parameter, "other": Categorical(["x"])}, "wandb", method="grid", encode=True)
    values = [translation.decode(raw)[name] for raw in wandb_grid(translation.spec)]
    assert len(values) == len(set(map(strict_key, values))) == parameter.size
    assert all(map(parameter.contains, values))


@pytest.mark.parametrize("name", REFUSED)
def test_a_grid_refuses_what_it_cannot_go_through(name: str) -> None:
    for encode in (False, True):
        with pytest.raises(TranslationError) as refusal:
            translate({name: ALL[name]}, "wandb", method="grid", encode=encode)
        assert [issue.path for issue in refusal.value.issues] == [name]
