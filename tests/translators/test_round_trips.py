"""The laws of every conversion, on spaces that Hypothesis makes."""

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.testing import params_in, spaces
from hpcompat.translators import translate
from hpcompat.translators.translation import levels as levels_of
from tests.translators.laws import close, same_law

COLUMNS: list[tuple[str, dict[str, Any]]] = [
    ("optuna", {}),
    ("ray", {}),
    ("ray", {"searcher": "optuna"}),
    ("ray", {"searcher": True}),
    ("sigopt", {}),
    ("wandb", {"method": "random"}),
    ("wandb", {"method": "bayes", "metric": "loss"}),
    ("wandb", {"method": "grid"}),
]
column = pytest.mark.parametrize(
    ("dialect", "options"), COLUMNS, ids=lambda x: x if isinstance(x, str) else "-".join(map(str, x.values()))
)
READERS: dict[str, Any] = {
    "optuna": hp.from_optuna,
    "ray": hp.from_ray,
    "sigopt": hp.from_sigopt,
    "wandb": hp.from_wandb,
}
patient = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
)


def read(dialect: str, form: Any, options: dict[str, Any]) -> hp.SearchSpace:
    reading = {key: value for key, value in options.items() if key == "searcher"}
    space = READERS[dialect](form, **reading)
    assert isinstance(space, hp.SearchSpace)
    return space


def searchable(space: hp.SearchSpace) -> bool:
    return any(leaf.parameter.size > 1 for leaf in space.leaves)


@column
@patient
@given(data=st.data())
def test_a_native_space_reads_back_equal(dialect: str, options: dict[str, Any], data: Any) -> None:
    space = data.draw(spaces(dialect, levels=("native",), **options).filter(searchable))
    assert read(dialect, translate(space, dialect, **options).spec, options) == space


@column
@patient
@given(data=st.data())
def test_an_equivalent_space_reads_back_with_its_law(dialect: str, options: dict[str, Any], data: Any) -> None:
    space = data.draw(spaces(dialect, levels=("native", "equivalent"), **options).filter(searchable))
    back = read(dialect, translate(space, dialect, **options).spec, options)
    assert same_law(back, space)


@column
@patient
@given(data=st.data())
def test_params_come_back_through_every_encoding(dialect: str, options: dict[str, Any], data: Any) -> None:
    space = data.draw(spaces(dialect, **options).filter(searchable))
    params = data.draw(params_in(space))
    translation = translate(space, dialect, encode=True, **options)
    raw = translation.encode(params)
    before = copy.deepcopy((space.to_dict(), params, translation.spec, raw))
    assert close(translation.decode(raw), params, space)
    read(dialect, translation.spec, options)
    assert (space.to_dict(), params, translation.spec, raw) == before  # nobody's input is changed
    if dialect != "ray":  # which keeps Python objects; the others store JSON
        assert close(translation.decode(json.loads(json.dumps(raw))), params, space)


@column
@patient
@given(space=spaces())
def test_what_has_no_exact_form_is_refused_by_name(
    dialect: str, options: dict[str, Any], space: hp.SearchSpace
) -> None:
    levels = levels_of(space, dialect, **options)
    poor = {level.name for level in levels if level.level in ("encoded", "refused")}
    nothing_to_search = all(leaf.parameter.size == 1 for leaf in space.leaves)
    try:
        translate(space, dialect, **options)
    except hp.TranslationError as error:
        assert nothing_to_search or {issue.path for issue in error.issues} == poor
        assert all(issue.message and issue.hint for issue in error.issues)
    else:
        assert not poor
    try:
        translate(space, dialect, encode=True, **options)
    except hp.TranslationError as error:
        # the two cases: no law under an exhaustive method, and nothing to search
        assert nothing_to_search or {level.name for level in levels if level.level == "refused"}, error


@given(space=spaces())
def test_forms_are_json(space: hp.SearchSpace) -> None:
    for dialect, options in COLUMNS[:-1]:
        if searchable(space):
            form = translate(space, dialect, encode=True, **options).spec
            assert json.loads(json.dumps(form)) == form


@given(space=spaces())
def test_the_json_form_reads_back_equal(space: hp.SearchSpace) -> None:
    data = space.to_dict()
    assert hp.SearchSpace.from_dict(data) == space
    assert hp.SearchSpace.from_dict(json.loads(json.dumps(data))) == space
