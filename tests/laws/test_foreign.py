"""What hpcompat reads in a form that somebody wrote is what the form's own engine draws."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from engines import COLUMNS, Raw, wandb_grid
from foreign import FOREIGN, law_of, read
from verdicts import objection

from hpcompat import Float, Int, from_wandb
from hpcompat.translators.codecs import normalize
from hpcompat.translators.ray import build_domains


@cache
def raws(column: str) -> list[Raw]:
    """Configurations that the engine draws from the forms as they were written."""
    engine = COLUMNS[column]
    forms: Any = {name: form for name, (form, _) in FOREIGN[column].items()}
    if column == "optuna":
        forms = _function(forms)
    elif column == "sigopt":
        forms = {"parameters": [{"name": name, **form} for name, form in forms.items()]}
    elif engine.dialect == "wandb":
        forms = {"method": "random", "parameters": forms}
    else:
        forms = build_domains(forms)
    return engine.draw(forms, engine.draws, 7)


def _function(forms: dict[str, Any]) -> Any:
    return lambda trial: {name: getattr(trial, form["call"])(name, **form["kwargs"]) for name, form in forms.items()}


@pytest.mark.filterwarnings("ignore:The distribution is specified by")  # the uneven ranges are meant
@pytest.mark.parametrize(("column", "name"), [(column, name) for column, forms in FOREIGN.items() for name in forms])
def test_what_is_read_is_what_is_drawn(column: str, name: str) -> None:
    parameter, law = read(column)[name], law_of(column, name)
    values = [normalize(parameter, raw[name]) for raw in raws(column)]
    assert objection(parameter, values, law(parameter) if law else None) == "", parameter


@pytest.mark.parametrize(
    ("column", "name"),
    [(column, name) for column, forms in FOREIGN.items() for name, (_, law) in forms.items() if law],
)
def test_the_law_that_is_stated_for_it_is_needed(column: str, name: str) -> None:
    parameter = read(column)[name]
    values = [normalize(parameter, raw[name]) for raw in raws(column)]
    assert "chi-square" in objection(parameter, values)


@pytest.mark.parametrize("keys", [(0, 10, 2), (1, 10, 3), (0.0, 1.0, 0.1), (0.5, 2.0, 0.5), (2, 3, 5)])
def test_a_grid_takes_q_uniform_for_a_range_without_its_end(keys: tuple[Any, Any, Any]) -> None:
    config = dict(zip(("min", "max", "q"), keys, strict=True), distribution="q_uniform")
    sweep = {"method": "grid", "parameters": {"x": config}}
    parameter: Any = from_wandb(sweep)["x"]
    assert isinstance(parameter, (Int, Float)) or parameter.size == 1
    assert [normalize(parameter, raw["x"]) for raw in wandb_grid(sweep)] == list(parameter.support)
