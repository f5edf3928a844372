"""What every dialect keeps to: inherit from `DialectConformance`, name a variant, and run the class with pytest.

class TestKatib(DialectConformance):
    name = "katib"
"""

from __future__ import annotations

import copy
import json
from typing import Any, ClassVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcompat as hp
from hpcompat.testing import params_in, spaces
from hpcompat.translators import Translation, translate
from hpcompat.translators import levels as levels_of
from hpcompat.translators.dialect import DIALECTS, get_variants
from tests.translators.equivalence import close, same_distribution

patient = settings(
    suppress_health_check=[
        *(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
        HealthCheck.differing_executors,  # each test runs for several classes
    ]
)


def is_searchable(space: hp.SearchSpace) -> bool:
    """Return whether anything varies: some systems refuse a space in which nothing does."""
    return any(leaf.parameter.size > 1 for leaf in space.leaves)


class DialectConformance:
    """The tests of one variant of a dialect.

    Attributes:
        name: The name of the variant, of which the first word is the dialect's.
        stores_json: Whether the system stores values as JSON, and not as Python objects.
    """

    name: ClassVar[str]
    stores_json: ClassVar[bool] = True

    @property
    def dialect(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def options(self) -> dict[str, Any]:
        return dict(get_variants()[self.name].options)

    def draw(self, data: Any, *levels: str) -> hp.SearchSpace:
        """Draw a space that the variant can express on these levels."""
        chosen = {"levels": levels} if levels else {}
        space: hp.SearchSpace = data.draw(spaces(self.dialect, **chosen, **self.options).filter(is_searchable))
        return space

    def write(self, space: hp.SearchSpace, *, encode: bool = False) -> Translation:
        return translate(space, self.dialect, encode=encode, **self.options)

    def read(self, spec: Any) -> hp.SearchSpace:
        """Read a spec as what the variant draws from it."""
        return DIALECTS[self.dialect].read(spec)

    @patient
    @given(data=st.data())
    def test_native_space_reads_back_equal(self, data: Any) -> None:
        space = self.draw(data, "native")
        assert self.read(self.write(space).spec) == space

    @patient
    @given(data=st.data())
    def test_equivalent_space_reads_back_with_its_distributions(self, data: Any) -> None:
        space = self.draw(data, "native", "equivalent")
        assert same_distribution(self.read(self.write(space).spec), space)

    @patient
    @given(data=st.data())
    def test_encoded_params_decode_to_themselves(self, data: Any) -> None:
        space = self.draw(data)
        params = data.draw(params_in(space))
        translation = self.write(space, encode=True)
        raw = translation.encode(params)
        before = copy.deepcopy((space.to_dict(), params, translation.spec, raw))
        assert close(translation.decode(raw), params, space)
        self.read(translation.spec)
        assert (space.to_dict(), params, translation.spec, raw) == before  # no input is changed
        if self.stores_json:
            assert close(translation.decode(json.loads(json.dumps(raw))), params, space)

    @patient
    @given(data=st.data())
    def test_spec_is_json_that_the_dialect_accepts(self, data: Any) -> None:
        spec = self.write(self.draw(data), encode=True).spec
        assert json.loads(json.dumps(spec)) == spec
        assert DIALECTS[self.dialect].accepts(spec)

    @patient
    @given(space=spaces())
    def test_space_without_exact_form_is_refused_by_name(self, space: hp.SearchSpace) -> None:
        levels = levels_of(space, self.dialect, **self.options)
        inexact = {level.name for level in levels if level.level in ("encoded", "refused")}
        try:
            self.write(space)
        except hp.TranslationError as error:
            assert not is_searchable(space) or {issue.path for issue in error.issues} == inexact
            assert all(issue.message and issue.hint for issue in error.issues)
        else:
            assert not inexact
        try:
            self.write(space, encode=True)
        except hp.TranslationError:
            # a distribution under an exhaustive method, or nothing to search
            assert not is_searchable(space) or any(level.level == "refused" for level in levels)
