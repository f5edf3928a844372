"""For spaces with groups and conditions, real engines draw the right active parameters by the right distributions."""

from __future__ import annotations

from typing import Any

import pytest

from hpcompat import SearchSpace, from_sigopt, to_optuna, translate
from hpcompat.space.values import strict_key
from tests.helpers.conditional_spaces import CONDITIONS, FINITE, ONE_LEVEL, SPACES
from tests.helpers.engine_distributions import engine_probabilities
from tests.helpers.engines import ENGINES, Draws, draw_optuna, draw_ray_searcher, draw_sigopt, enumerate_wandb_grid
from tests.helpers.goodness_of_fit import find_misfit
from tests.helpers.parameter_cases import find_rule


def assert_drawn_from(space: SearchSpace, drawn: list[dict[str, Any]], variant: str) -> None:
    """Assert that the params are in the space, and that each parameter has its distribution where it is active."""
    assert [issue for params in drawn for issue in space.find_issues(params)] == []
    flat = list(map(space.flatten, drawn))
    for leaf in space.leaves:
        values = [params[leaf.name] for params in flat if leaf.name in params]
        probabilities = engine_probabilities(leaf.parameter, variant, find_rule(leaf.parameter, variant).form)
        assert find_misfit(leaf.parameter, values, probabilities) == "", leaf.name


class TestConditionalSpaces:
    @pytest.mark.parametrize("name", SPACES)
    @pytest.mark.parametrize("variant", ENGINES)
    def test_space_is_drawn_by_its_distribution(self, variant: str, name: str, draws: Draws) -> None:
        assert_drawn_from(SPACES[name], draws(variant, name), variant)

    @pytest.mark.parametrize(("variant", "space"), [("optuna", CONDITIONS), ("sigopt", ONE_LEVEL)])
    def test_conditions_are_native(self, variant: str, space: SearchSpace) -> None:
        conditional = [field for field in ENGINES[variant].translate(space).fields if field.leaf.when]
        assert conditional and all(field.has_native_condition for field in conditional)

    def test_optuna_does_not_suggest_inactive_parameter(self) -> None:
        suggest, active_sets = to_optuna(CONDITIONS, encode=True), set()

        def function(trial: Any) -> None:
            active = CONDITIONS.flatten(suggest(trial)).keys()
            assert trial.params.keys() == active - {"head.kind"}  # a constant is not suggested
            active_sets.add(frozenset(active))

        draw_optuna(function, 300, 0)
        assert active_sets == {frozenset(CONDITIONS.flatten(CONDITIONS.sample(seed))) for seed in range(300)}

    def test_sigopt_leaves_out_inactive_parameter(self) -> None:
        translation = translate(ONE_LEVEL, "sigopt")
        assert from_sigopt(translation.spec) == ONE_LEVEL
        for assignments in draw_sigopt(translation.spec, 100, 0):
            assert set(assignments) == set(translation.decode(assignments))

    def test_optuna_search_accepts_function_of_to_optuna(self) -> None:
        """Ray's OptunaSearch runs the function as its define-by-run `space`, with conditions and encoded parameters.

        OptunaSearch merges the suggested values into the returned ones, so groups appear twice: as dicts and as
        dotted names.
        """
        drawn = draw_ray_searcher(to_optuna(CONDITIONS, encode=True), 2_000, 0)
        assert {name for params in drawn for name in params} > set(CONDITIONS)
        assert_drawn_from(
            CONDITIONS, [{name: params[name] for name in CONDITIONS if name in params} for params in drawn], "optuna"
        )

    def test_grid_enumerates_every_configuration(self) -> None:
        """Conditions are encoded, so the grid repeats a configuration for each value of its inactive parameters."""
        translation = translate(FINITE, "wandb", method="grid", encode=True)
        params = list(map(translation.decode, enumerate_wandb_grid(translation.spec)))
        assert [issue for configuration in params for issue in FINITE.find_issues(configuration)] == []
        assert len({strict_key(configuration) for configuration in params}) == FINITE.size == 2 * 3 * 2
