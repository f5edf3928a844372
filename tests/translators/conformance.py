"""The conformance tests of a dialect: inherit from `DialectConformance`, name a variant, and run the class with pytest.

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
from tests.translators.equivalence import are_close, have_same_distributions

slow_examples = settings(
    suppress_health_check=[
        *(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
        HealthCheck.differing_executors,  # each test runs for several classes
    ]
)


def is_searchable(space: hp.SearchSpace) -> bool:
    """Return whether some parameter has several values: some systems refuse a space without one."""
    return any(leaf.parameter.size > 1 for leaf in space.leaves)


class DialectConformance:
    """The tests of one variant of a dialect.

    Attributes:
        name: The name of the variant; its first word is the name of the dialect.
        stores_json: Whether the system stores values as JSON instead of Python objects.
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
        """Read the space that the variant draws from a spec."""
        return DIALECTS[self.dialect].read(spec)

    @slow_examples
    @given(data=st.data())
    def test_native_space_reads_back_equal(self, data: Any) -> None:
        space = self.draw(data, "native")
        assert self.read(self.write(space).spec) == space

    @slow_examples
    @given(data=st.data())
    def test_equivalent_space_reads_back_with_its_distributions(self, data: Any) -> None:
        space = self.draw(data, "native", "equivalent")
        assert have_same_distributions(self.read(self.write(space).spec), space)

    @slow_examples
    @given(data=st.data())
    def test_encoded_params_decode_to_equal_params(self, data: Any) -> None:
        space = self.draw(data)
        params = data.draw(params_in(space))
        translation = self.write(space, encode=True)
        native_params = translation.encode(params)
        before = copy.deepcopy((space.to_dict(), params, translation.spec, native_params))
        assert are_close(translation.decode(native_params), params, space)
        self.read(translation.spec)
        assert (space.to_dict(), params, translation.spec, native_params) == before  # the inputs are not modified
        if self.stores_json:
            assert are_close(translation.decode(json.loads(json.dumps(native_params))), params, space)

    @slow_examples
    @given(data=st.data())
    def test_spec_is_json_that_the_dialect_accepts(self, data: Any) -> None:
        spec = self.write(self.draw(data), encode=True).spec
        assert json.loads(json.dumps(spec)) == spec
        assert DIALECTS[self.dialect].accepts(spec)

    @slow_examples
    @given(space=spaces())
    def test_space_without_exact_form_raises_with_parameter_names(self, space: hp.SearchSpace) -> None:
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
            # a grid of infinitely many values, or a space with a single configuration
            assert not is_searchable(space) or any(level.level == "refused" for level in levels)
