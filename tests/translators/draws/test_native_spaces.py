"""What hpcompat reads in a form that somebody wrote is what the form's own engine draws."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from hpcompat import Float, Int, from_wandb
from hpcompat.translators.codecs import normalize
from hpcompat.translators.ray import build_domains
from tests.helpers.engines import COLUMNS, Raw, wandb_grid
from tests.helpers.goodness_of_fit import find_misfit
from tests.helpers.native_spaces import NATIVE_FORMS, engine_distribution_of, read_parameters


@cache
def raws(column: str) -> list[Raw]:
    """Configurations that the engine draws from the forms as they were written."""
    engine = COLUMNS[column]
    forms: Any = {name: form for name, (form, _) in NATIVE_FORMS[column].items()}
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


class TestNativeForms:
    @pytest.mark.filterwarnings("ignore:The distribution is specified by")  # the uneven ranges are meant
    @pytest.mark.parametrize(
        ("column", "name"), [(column, name) for column, forms in NATIVE_FORMS.items() for name in forms]
    )
    def test_read_parameter_has_distribution_of_engine(self, column: str, name: str) -> None:
        parameter, law = read_parameters(column)[name], engine_distribution_of(column, name)
        values = [normalize(parameter, raw[name]) for raw in raws(column)]
        assert find_misfit(parameter, values, law(parameter) if law else None) == "", parameter

    @pytest.mark.parametrize(
        ("column", "name"),
        [(column, name) for column, forms in NATIVE_FORMS.items() for name, (_, law) in forms.items() if law],
    )
    def test_stated_engine_distribution_is_needed(self, column: str, name: str) -> None:
        parameter = read_parameters(column)[name]
        values = [normalize(parameter, raw[name]) for raw in raws(column)]
        assert "chi-square" in find_misfit(parameter, values)

    @pytest.mark.parametrize("keys", [(0, 10, 2), (1, 10, 3), (0.0, 1.0, 0.1), (0.5, 2.0, 0.5), (2, 3, 5)])
    def test_grid_excludes_end_of_q_uniform(self, keys: tuple[Any, Any, Any]) -> None:
        config = dict(zip(("min", "max", "q"), keys, strict=True), distribution="q_uniform")
        sweep = {"method": "grid", "parameters": {"x": config}}
        parameter: Any = from_wandb(sweep)["x"]
        assert isinstance(parameter, (Int, Float)) or parameter.size == 1
        assert [normalize(parameter, raw["x"]) for raw in wandb_grid(sweep)] == list(parameter.support)
