"""Search spaces: conditions, groups, sampling, size, merging, fixed parameters, JSON, and errors in one report."""

import itertools
import json
import random
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcompat import Categorical, Constant, Float, Int, Normal, ParamsError, SearchSpace, SpaceError
from hpcompat.space.serialization import value_to_json
from hpcompat.testing import parameters, params_in, spaces

OPTIM = Categorical(["adamw", "sgd"])


class TestSample:
    @given(spaces(), st.integers(0, 2**32))
    def test_seed_gives_same_params_inside_the_space(self, space: SearchSpace, seed: int) -> None:
        params = space.sample(seed)
        assert space.contains(params)
        assert space.sample(random.Random(seed)) == params
        assert space.nest(space.flatten(params)) == params
        assert (
            space.contains(space.sample(numpy.random.default_rng(seed))) and space.sample(numpy.int64(seed)) == params
        )


class TestToDict:
    @given(parameters())
    def test_entry_holds_arguments_of_parameter(self, parameter: Any) -> None:
        entry = SearchSpace({"x": parameter}).to_dict()["space"]["x"]
        assert entry == {"kind": parameter.kind, **parameter.arguments(value_to_json)}


class TestRepr:
    @given(spaces())
    def test_repr_evaluates_to_equal_space(self, space: SearchSpace) -> None:
        assert eval(repr(space)) == space


class TestConditions:
    def test_inactive_parent_deactivates_its_children(self) -> None:
        space = SearchSpace(
            {
                "optim": OPTIM,
                "nesterov": Categorical([True, False], when={"optim": "sgd"}),
                "momentum": Float(0, 0.9, when={"nesterov": [True, False]}),
            }
        )
        samples = [space.sample(seed) for seed in range(50)]
        assert all(("momentum" in params) == (params["optim"] == "sgd") for params in samples)
        assert {params["optim"] for params in samples} == {"adamw", "sgd"}

    def test_tuple_in_condition_is_one_value(self) -> None:
        pair = Categorical([(1, 2), (3, 4)])
        space = SearchSpace({"pair": pair, "x": Int(1, 2, when={"pair": (1, 2)})})
        assert space.contains({"pair": (3, 4)}) and not space.contains({"pair": (1, 2)})

    def test_inactive_group_is_absent(self) -> None:
        space = SearchSpace({"optim": OPTIM, "sgd": SearchSpace({"momentum": Float(0, 1)}, when={"optim": "sgd"})})
        assert space.contains({"optim": "adamw"})
        assert space.contains({"optim": "sgd", "sgd": {"momentum": 0.5}})

    def test_cycle_of_conditions_raises(self) -> None:
        with pytest.raises(SpaceError, match="cycle"):
            SearchSpace({"a": Int(1, 2, when={"b": 1}), "b": Int(1, 2, when={"a": 1})})


class TestFix:
    @given(spaces(), st.data())
    def test_space_with_all_parameters_fixed_has_one_configuration(self, space: SearchSpace, data: Any) -> None:
        params = data.draw(params_in(space))
        fixed = space.fix(space.flatten(params))
        assert fixed.size == 1
        assert fixed.sample(0) == params

    def test_fixed_parent_removes_its_conditions(self) -> None:
        space = SearchSpace(
            {"optim": OPTIM, "m": Float(0, 1, when={"optim": "sgd"}), "b": Float(0, 1, when={"optim": "adamw"})}
        )
        assert space.fix(optim="sgd") == SearchSpace({"optim": Constant("sgd"), "m": Float(0, 1)})
        with pytest.raises(ParamsError, match="'lion' is not in"):
            space.fix(optim="lion")
        with pytest.raises(ParamsError, match="not in the space"):
            space.fix(optm="sgd")


class TestFindIssues:
    def test_params_outside_are_reported_by_name(self) -> None:
        space = SearchSpace({"optim": OPTIM, "m": Float(0, 1, when={"optim": "sgd"}), "model": {"layers": Int(1, 4)}})
        with pytest.raises(ParamsError) as caught:
            space.validate({"optim": "adamw", "m": 0.5, "model": {"layers": 4.0}, "extra": 1})
        assert {issue.path for issue in caught.value.issues} == {"m", "model.layers", "extra"}


class TestFromDict:
    @pytest.mark.parametrize(
        "data",
        [
            None, [], {}, {"hpcompat": 2, "space": {}}, {"hpcompat": True, "space": {}}, {"hpcompat": 1},
            {"hpcompat": 1, "space": {"x": {"kind": "flaot"}}},
            {"hpcompat": 1, "space": {"x": {"kind": "float", "low": 0}}},
            {"hpcompat": 1, "space": {"x": {"kind": "float", "low": 0, "high": 1, "hihg": 2}}},
            {"hpcompat": 1, "space": {"x": {"kind": "constant", "value": {"$set": [1]}}}},
            {"hpcompat": 1, "space": {"x": {"kind": "constant", "value": {"$dict": 5}}}},
            {"hpcompat": 1, "space": {"x": {"kind": ["float"]}}},
            {"hpcompat": 1, "space": {"x": {"kind": "int", "low": 1, "high": 2, "when": "y"}}},
        ],
    )  # fmt: skip
    def test_invalid_json_is_rejected(self, data: Any) -> None:
        with pytest.raises(SpaceError):
            SearchSpace.from_dict(data)

    def test_tuples_and_tag_like_dicts_read_back_equal(self) -> None:
        space = SearchSpace({"x": Categorical([(1, [2, (3,)]), {"$tuple": [1]}, {"a": (1,)}, [1]])})
        assert SearchSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


class TestSearchSpace:
    def test_merge_prefers_the_right_hand_side(self) -> None:
        space = SearchSpace({"lr": Float(0, 1)})
        space |= {"momentum": Float(0, 1, when={"optim": "sgd"}), "optim": OPTIM}
        assert list(space) == ["lr", "momentum", "optim"]
        assert (space | {"lr": Constant(0.1)})["lr"] == Constant(0.1)
        assert ({"lr": Constant(0.1)} | space)["lr"] == Float(0, 1)

    def test_assignment_is_rejected(self) -> None:
        space = SearchSpace({"lr": Float(0, 1)})
        with pytest.raises(AttributeError):
            space.leaves = ()  # type: ignore[misc]
        with pytest.raises(TypeError):
            space["lr"] = Float(0, 2)  # type: ignore[index]


class TestIssues:
    def test_all_issues_are_reported_with_their_paths(self) -> None:
        with pytest.raises(SpaceError) as caught:
            SearchSpace(
                {
                    "lr": Float(1, 0),
                    "batch": [16, 32],
                    "epochs": 3,
                    "model": {"layers": Int(1, 10, step=2), "width": Float(0, 1, when={"optm": "sgd"})},
                    "optim": OPTIM,
                    "temperature": Float(0, 1),
                    "hot": Int(1, 2, when={"temperature": 0.5}),
                    "nesterov": Constant(True, when={"optim": "lion"}),
                    "pair": Int(1, 2, when=("optim", "sgd")),
                    "set": Int(1, 2, when={"optim": {"sgd", "adamw"}}),
                    "": Int(1, 2),
                    "empty": {},
                }
            )
        issues = {issue.path: str(issue) for issue in caught.value.issues}
        assert issues.keys() == {
            "lr", "batch", "epochs", "model.layers", "model.width", "hot", "nesterov", "pair", "set", "", "empty"
        }  # fmt: skip
        assert "Categorical([16, 32])" in issues["batch"] and "Constant(3)" in issues["epochs"]
        assert "did you mean 'optim'" in issues["model.width"]
        assert "'lion', which 'optim' never is" in issues["nesterov"]
        assert 'write when={"parent": value}' in issues["pair"] and "several values are a list" in issues["set"]
        assert all(line in str(caught.value) for line in issues.values())

    def test_dotted_name_of_grouped_parameter_raises(self) -> None:
        with pytest.raises(SpaceError, match=r"a\.b: is there twice"):
            SearchSpace({"a.b": Int(1, 2), "a": {"b": Int(1, 2)}})

    def test_deep_nesting_is_rejected_and_large_space_is_not(self) -> None:
        wide = SearchSpace({f"p{i}": Int(1, 9, when={"p0": 3}) if i else Int(1, 9) for i in range(1_000)})
        assert len(wide.sample(0)) in (1, 1_000) and wide.contains(wide.sample(1))
        assert wide.size == 8 + 9**999
        chain = SearchSpace({f"p{i}": Int(1, 2, when={f"p{i - 1}": 1}) if i else Int(1, 2) for i in range(1_000)})
        assert chain.contains(chain.sample(0))
        many = Categorical(list(range(100_000)))
        assert SearchSpace({"many": many}).size == 100_000 and many.to_unit(99_999) > 0.99999

        def nested(levels: int) -> Any:
            space: Any = {"x": Int(1, 2)}
            for _ in range(levels):
                space = {"g": space}
            return space

        deep = SearchSpace(nested(100))
        assert deep.contains(deep.sample(0)) and SearchSpace.from_dict(deep.to_dict()) == deep
        for levels in (200, 5_000):
            with pytest.raises(SpaceError, match="levels deep"):
                SearchSpace(nested(levels))
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(SpaceError, match="levels deep"):
            SearchSpace({"x": Constant(endless)})


class TestSize:
    @settings(max_examples=300)
    @given(spaces().filter(lambda space: space.size < 200))
    def test_size_counts_the_configurations(self, space: SearchSpace) -> None:
        configurations: set[str] = set()

        def explore(leaves: Any, flat: dict[str, Any]) -> None:
            if not leaves:
                configurations.add(repr(sorted(flat.items(), key=lambda item: item[0])))
                return
            leaf, *rest = leaves
            for value in leaf.parameter.support if leaf.active(flat) else [None]:
                explore(rest, {**flat, leaf.name: value} if leaf.active(flat) else flat)

        explore(list(space.leaves), {})
        assert space.size == len(configurations)

    def test_size_of_space_with_many_conditions_is_exact(self) -> None:
        switches = {f"s{i}": Categorical([0, 1]) for i in range(12)}
        children = {f"c{i}": Int(1, 3, when={f"s{i}": 1}) for i in range(12)}
        assert SearchSpace({**switches, **children}).size == 4**12
        both = {f"c{i}{j}": Int(1, 2, when={f"s{i}": 1, f"s{j}": 1}) for i, j in itertools.combinations(range(12), 2)}
        assert SearchSpace({**switches, **both}).size == sum(
            2 ** (n * (n - 1) // 2) * len(list(itertools.combinations(range(12), n))) for n in range(13)
        )

    def test_normal_parameter_gives_infinite_size(self) -> None:
        assert SearchSpace({"x": Normal(0, 1)}).size == float("inf")
