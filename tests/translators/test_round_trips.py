"""The conformance tests of every built-in variant, and of hpcompat's own JSON."""

import json
from typing import Any

from hypothesis import given

import hpcompat as hp
from hpcompat.testing import spaces
from hpcompat.translators.dialect import BUILT_IN, get_variants
from tests.translators.conformance import DialectConformance


class TestOptuna(DialectConformance):
    name = "optuna"


class TestRay(DialectConformance):
    name = "ray"
    stores_json = False

    def read(self, spec: Any) -> hp.SearchSpace:
        return hp.from_ray(spec, searcher=self.options.get("searcher"))


class TestRayUnderOptunaSearch(TestRay):
    name = "ray optuna"


class TestRayUnderAnySearcher(TestRay):
    name = "ray searcher"


class TestSigopt(DialectConformance):
    name = "sigopt"


class TestWandbRandom(DialectConformance):
    name = "wandb random"


class TestWandbBayes(DialectConformance):
    name = "wandb bayes"


class TestWandbGrid(DialectConformance):
    name = "wandb grid"


class TestConformanceClasses:
    def test_built_in_variant_has_a_conformance_class(self) -> None:
        covered = {case.name for case in globals().values() if hasattr(case, "stores_json") and hasattr(case, "name")}
        assert covered == {name for name in get_variants() if name.partition(" ")[0] in BUILT_IN}


class TestJson:
    @given(space=spaces())
    def test_dict_reads_back_equal(self, space: hp.SearchSpace) -> None:
        data = space.to_dict()
        assert hp.SearchSpace.from_dict(data) == space
        assert hp.SearchSpace.from_dict(json.loads(json.dumps(data))) == space
