"""`hpcompat show` prints an overview of a space."""

from hypothesis import given
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.cli.commands import format_overview
from hpcompat.cli.inputs import LoadedSpace
from hpcompat.testing import spaces
from tests.cli.helpers import RunCommand, fewer_examples, write_input


class TestFormatOverview:
    @fewer_examples
    @given(spaces(), st.sampled_from([80, 100, 120]), st.sampled_from([None, "optuna", "ray", "sigopt", "wandb"]))
    def test_any_space_names_all_parameters_within_width(
        self, space: hp.SearchSpace, width: int, dialect: str | None
    ) -> None:
        page = format_overview(LoadedSpace(space), width, dialect)
        for leaf in space.leaves:
            assert page.count(leaf.name) >= 2  # in the definition and in the levels
        if all(len(leaf.name) <= 12 for leaf in space.leaves):
            assert max(map(len, page.splitlines())) <= width

    def test_shared_reason_is_listed_once(self) -> None:
        space = hp.SearchSpace({name: hp.Float(0, 1) for name in "abcdef"})
        page = format_overview(LoadedSpace(space), 100, "wandb")
        assert page.count("refused in wandb grid") == 1
        assert page.rstrip().endswith("a, b, c, d and 2 more")


class TestShow:
    def test_option_to_shows_only_variants_of_dialect(self, run: RunCommand) -> None:
        result = run("show", write_input({"parameters": {"lr": {"min": 0.0, "max": 1.0}}}), "--to", "sigopt")
        assert result.code == 0
        assert "sigopt" in result.out
        assert "optuna" not in result.out
