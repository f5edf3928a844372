"""Groups and conditions, drawn from the real engines whole: what is active, and its law where it is."""

from __future__ import annotations

from typing import Any

import pytest

from hpcompat import SearchSpace, from_sigopt, to_optuna, translate
from hpcompat.space.values import strict_key
from tests.helpers.conditional_spaces import CONDITIONS, FINITE, ONE_LEVEL, SPACES
from tests.helpers.engine_distributions import engine_probabilities
from tests.helpers.engines import COLUMNS, Draws, optuna, ray_searcher, sigopt, wandb_grid
from tests.helpers.goodness_of_fit import find_misfit
from tests.helpers.parameter_cases import find_rule


def judge(space: SearchSpace, drawn: list[dict[str, Any]], column: str) -> None:
    """Every configuration lies in the space, and each parameter follows its law where it is active."""
    assert [issue for params in drawn for issue in space.find_issues(params)] == []
    flat = list(map(space.flatten, drawn))
    for leaf in space.leaves:
        values = [params[leaf.name] for params in flat if leaf.name in params]
        law = engine_probabilities(leaf.parameter, column, find_rule(leaf.parameter, column).form)
        assert find_misfit(leaf.parameter, values, law) == "", leaf.name


class TestConditionalSpaces:
    @pytest.mark.parametrize("name", SPACES)
    @pytest.mark.parametrize("column", COLUMNS)
    def test_space_is_drawn_by_its_distribution(self, column: str, name: str, draws: Draws) -> None:
        judge(SPACES[name], draws(column, name), column)

    @pytest.mark.parametrize(("column", "space"), [("optuna", CONDITIONS), ("sigopt", ONE_LEVEL)])
    def test_conditions_are_native(self, column: str, space: SearchSpace) -> None:
        steered = [passage for passage in COLUMNS[column].translate(space).fields if passage.leaf.when]
        assert steered and all(passage.has_native_condition for passage in steered)

    def test_optuna_does_not_suggest_inactive_parameter(self) -> None:
        suggest, seen = to_optuna(CONDITIONS, encode=True), set()

        def function(trial: Any) -> None:
            active = CONDITIONS.flatten(suggest(trial)).keys()
            assert trial.params.keys() == active - {"head.kind"}  # a constant is not asked for
            seen.add(frozenset(active))

        optuna(function, 300, 0)
        assert seen == {frozenset(CONDITIONS.flatten(CONDITIONS.sample(seed))) for seed in range(300)}

    def test_sigopt_leaves_out_inactive_parameter(self) -> None:
        translation = translate(ONE_LEVEL, "sigopt")
        assert from_sigopt(translation.spec) == ONE_LEVEL
        for raw in sigopt(translation.spec, 100, 0):
            assert set(raw) == set(translation.decode(raw))

    def test_optuna_search_accepts_function_of_to_optuna(self) -> None:
        """Ray's OptunaSearch runs it as its define-by-run `space`, conditions and encoded kinds included.

        What the function suggested stays beside what it returned, so that groups come twice: as dicts and as
        names with dots.
        """
        drawn = ray_searcher(to_optuna(CONDITIONS, encode=True), 2_000, 0)
        assert {name for params in drawn for name in params} > set(CONDITIONS)
        judge(CONDITIONS, [{name: params[name] for name in CONDITIONS if name in params} for params in drawn], "optuna")

    def test_grid_enumerates_every_configuration(self) -> None:
        """Conditions travel encoded, so a configuration comes once for each value of what is not active in it."""
        translation = translate(FINITE, "wandb", method="grid", encode=True)
        params = list(map(translation.decode, wandb_grid(translation.spec)))
        assert [issue for each in params for issue in FINITE.find_issues(each)] == []
        assert len({strict_key(each) for each in params}) == FINITE.size == 2 * 3 * 2
