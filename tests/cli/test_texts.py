"""Whatever the space: its texts read back as what they are the texts of."""

import json
from typing import Any

import optuna
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.cli.given import Given
from hpcompat.cli.show import overview
from hpcompat.cli.source import encoded, optuna_source, python_source, ray_source
from hpcompat.cli.texts import json_text, layout, literal, yaml_text
from hpcompat.errors import TranslationError
from hpcompat.space.values import strict_equal
from hpcompat.testing import spaces, values
from hpcompat.translators import translate
from tests.cli.helpers import executed

# every example makes a space, and most compile it: a fifth of the examples take as long as those of a law
fewer = settings(
    max_examples=settings.default.max_examples // 5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@given(values)
def test_a_literal_is_its_value(value: Any) -> None:
    assert strict_equal(eval(layout(literal(value))), value)


@fewer
@given(spaces())
def test_python_source_makes_the_space(space: hp.SearchSpace) -> None:
    assert executed(python_source(space))["space"] == space


@fewer
@given(spaces(), st.integers(0, 4))
def test_json_is_json_and_the_same_as_yaml(space: hp.SearchSpace, tall: int) -> None:
    text = json_text(space.to_dict(), tall)
    assert strict_equal(json.loads(text), space.to_dict())
    assert strict_equal(yaml.safe_load(text), space.to_dict())


@fewer
@given(spaces(), st.sampled_from(["random", "bayes"]))
def test_a_sweep_in_yaml_is_the_sweep(space: hp.SearchSpace, method: str) -> None:
    assume(any(leaf.parameter.size > 1 for leaf in space.leaves))
    sweep = hp.to_wandb(space, method=method, metric="eval_loss", encode=True)
    assert strict_equal(yaml.safe_load(yaml_text(sweep)), sweep)
    assert strict_equal(yaml.safe_load(json_text(sweep)), sweep)


@fewer
@given(spaces("optuna", levels=("native", "equivalent")) | spaces(), st.integers(0, 2**32 - 1))
def test_an_optuna_function_suggests_what_hpcompat_suggests(space: hp.SearchSpace, seed: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    trial = study.ask()
    params = hp.to_optuna(space, encode=True)(trial)
    translation = translate(space, "optuna", encode=True)
    suggest = executed(optuna_source(translation))["suggest"]
    again = suggest(optuna.trial.FixedTrial(trial.params))
    if encoded(translation):
        assert strict_equal(again, params)
    else:  # but for the noise of its grids, which plain Optuna has
        assert again.keys() == params.keys()
        assert strict_equal(translation.decode(space.flatten(again)), params)


@fewer
@given(spaces(), st.sampled_from([None, "optuna", True]))
def test_ray_source_makes_the_domains(space: hp.SearchSpace, searcher: Any) -> None:
    made = executed(ray_source(translate(space, "ray", encode=True, searcher=searcher)))["param_space"]
    assert alike(made, hp.to_ray(space, encode=True, searcher=searcher))


def alike(one: Any, other: Any) -> bool:
    """The same domains with the same arguments, in the same groups, and the same constants."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if hasattr(one, "sampler") and hasattr(other, "sampler"):
        return type(one) is type(other) and alike(vars(one), vars(other))
    if hasattr(one, "__dict__") and hasattr(other, "__dict__"):  # a sampler
        return type(one) is type(other) and alike(vars(one), vars(other))
    return strict_equal(one, other)


@fewer
@given(spaces(), st.sampled_from([80, 100, 120]), st.sampled_from([None, "optuna", "ray", "sigopt", "wandb"]))
def test_an_overview_names_every_parameter_within_its_width(
    space: hp.SearchSpace, width: int, dialect: str | None
) -> None:
    page = overview(Given(space, None, {}, sweep=False, text=False), width, dialect)
    for leaf in space.leaves:
        assert page.count(leaf.name) >= 2  # what it is, and how it travels
    if all(len(leaf.name) <= 12 for leaf in space.leaves):
        assert max(map(len, page.splitlines())) <= width


def test_source_that_python_cannot_take_is_refused() -> None:
    nested: Any = hp.Constant(1)
    for _ in range(110):
        nested = hp.SearchSpace({"g": nested}, when={"gate": 1})
    space = hp.SearchSpace({"gate": hp.Int(0, 1), "g": nested})
    try:
        python_source(space)
    except TranslationError as error:
        assert "--to json" in str(error)
    else:
        raise AssertionError("it was taken")
