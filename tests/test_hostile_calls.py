"""For any arguments, a public function returns a value or raises an HpcompatError."""

import math
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import optuna
import pytest
from ray import tune

import hpcompat as hp
from hpcompat import Categorical, Constant, Float, Int, Normal, SearchSpace
from hpcompat.translators import levels, translate
from hpcompat.translators.optuna import forms as optuna_forms
from hpcompat.translators.ray import forms as ray_forms
from hpcompat.translators.wandb import forms as wandb_forms

EXAMPLES = 4_000


class Uncomparable:
    """A value whose comparison raises and that has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")


class FailingRepr:
    def __repr__(self) -> str:
        raise RuntimeError("shown")


class DerivedInt(int):
    pass


class DerivedStr(str):
    __slots__ = ()


def nest(levels: int, wrap: Any) -> Any:
    node: Any = 1
    for _ in range(levels):
        node = wrap(node)
    return node


DEEP_LIST, DEEP_DICT = nest(20_000, lambda node: [node]), nest(20_000, lambda node: {"a": node})
CYCLIC_LIST: list[Any] = []
CYCLIC_LIST += [CYCLIC_LIST, CYCLIC_LIST]
CYCLIC_DICT: dict[str, Any] = {}
CYCLIC_DICT |= {"a": CYCLIC_DICT, "b": CYCLIC_DICT}
HOSTILE: list[Any] = [
    None, True, False, 0, 1, -1, 3, 2**53 + 1, 10**15, 10**30, 10**308, 10**400, -(10**400), 10**5000, -(10**5000),
    0.0, -0.0, 0.1, 1.0, 5e-324, 1e308, -1e308, 1.7e308, math.inf, -math.inf, math.nan, 1e-9,
    Decimal("0.1"), Decimal("1e999999"), Decimal("nan"), Fraction(1, 3), Fraction(10**400), complex(1, 2),
    np.float64(0.5), np.float32(0.1), np.int64(3), np.bool_(True), np.array(1.0), np.array([1, 2]), np.array([]),
    np.str_("a"), np.datetime64("2020"),
    "", "a", "1", "1e-5", "nan", "9" * 5000, "\x00", "\ud800", "é", b"a", DerivedStr("a: 1"), DerivedInt(3),
    [], [1], [1, 2], ["a", "b"], [1, True, 1.0], [[1], [2]], [{"a": 1}, {"a": 2}], [math.nan], [DEEP_LIST], (1, 2),
    range(3), range(10**30), {1, 2}, {"a": 1}, {1: 2}, {None: 1}, {"$tuple": [1]}, {"$dict": 1}, {"$x": 1},
    object(), object, int, len, Uncomparable(), [Uncomparable()], FailingRepr(), [FailingRepr()], Ellipsis,
    DEEP_LIST, DEEP_DICT, CYCLIC_LIST, CYCLIC_DICT, memoryview(b"ab"),
    Float(0, 1), SearchSpace({"x": Int(1, 3)}), tune.uniform(0, 1), tune.sample_from(lambda spec: 1),
]  # fmt: skip
PARAMETERS = [
    Float(0, 1), Float(1, 2, log=True), Float(0, 1, step=0.1), Int(1, 8), Int(1, 9, step=2), Int(1, 8, log=True),
    Categorical([(1,), "a", {"b": [1]}]), Categorical([1, 2], weights=[1, 3]), Constant(1), Normal(0, 1),
    Normal(0, 1, step=1),
]  # fmt: skip
SPACE = SearchSpace(
    {
        "lr": Float(1e-6, 1e-2, log=True),
        "optim": Categorical(["adamw", "sgd"]),
        "momentum": Float(0.5, 0.9, step=0.1, when={"optim": "sgd"}),
        "model": {"layers": Int(1, 8), "noise": Normal(0, 1)},
        "pair": Categorical([(1,), [2]]),
    }
)
TRANSLATIONS = [translate(SPACE, dialect, encode=True) for dialect in ("optuna", "ray", "sigopt", "wandb")]
READERS: list[Any] = [hp.as_space, hp.from_optuna, hp.from_ray, hp.from_sigopt, hp.from_wandb, SearchSpace.from_dict]


class Source:
    """A random source of valid and hostile arguments."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def value(self, *valid: Any) -> Any:
        return self.rng.choice([*valid, self.rng.choice(HOSTILE)])

    def some(self, **arguments: Any) -> dict[str, Any]:
        return {name: value for name, value in arguments.items() if self.rng.random() < 0.6}

    def parameter(self) -> Any:
        value, pair = self.value, [self.value(), self.value()]
        when = self.some(when=self.value({"optim": value()}, {"optim": "sgd"}, None))
        make: Any = self.rng.choice(
            [
                lambda: Float(value(0, 1.0), value(2, 2.0), **self.some(log=value(True), step=value(0.5)), **when),
                lambda: Int(value(1, 2), value(8, 10**15), **self.some(log=value(True), step=value(1)), **when),
                lambda: Categorical(value([1, 2], pair), **self.some(weights=value([1, 2], pair), ordered=value(True))),
                lambda: Constant(value(), **when),
                lambda: Normal(
                    value(0, 1), value(1), **self.some(low=value(-1), high=value(3), log=value(True), step=value(1))
                ),
            ]
        )
        return make()

    def params(self) -> Any:
        names = ["lr", "optim", "momentum", "model", "pair", "zz", 1, None, (1,)]
        sample = SPACE.sample(self.rng.randrange(9))
        changed = sample | {self.rng.choice(names): self.value({"layers": self.value()})}
        return self.value(changed, changed, {self.rng.choice(names): self.value()})

    def document(self) -> Any:
        value, some = self.value, self.some
        pair = [value(), value()]
        config = value(
            some(distribution=value(*wandb_forms.FORMS), min=value(0, 0.1), max=value(1, 2.0), q=value(1, 0.5)),
            some(values=value(pair), probabilities=value([0.5, 0.5], pair)),
            some(distribution=value("normal", "q_log_normal"), mu=value(0), sigma=value(1), q=value(1)),
            {"value": value()}, {"parameters": {"z": value()}},
        )  # fmt: skip
        suggest = some(
            name=value("x"), call=value(*optuna_forms.FORMS), args=value([], pair, [1, value()]),
            kwargs=value({"low": value(), "high": value()}, {"step": value()}, {"choices": value()}, {"log": value()}),
            when=value({"c": value()}),
        )  # fmt: skip
        call = value(
            some(call=value(*ray_forms.FORMS), args=value(pair, [1, *pair], [value()]), kwargs={"q": value()}),
            {"grid_search": value()}, {"eval": value()}, [value()], tune.choice([1, value()]),
        )  # fmt: skip
        double = some(
            name=value("x"), type=value("double", "int", "categorical"), bounds={"min": value(), "max": value()},
            grid=value(pair), transformation=value("log"), categorical_values=value(pair, ["a", {"name": value()}]),
            prior={"name": "normal", "mean": value(), "scale": value()}, conditions=value({"c": value()}),
        )  # fmt: skip
        entry = some(
            kind=value("float", "int", "categorical", "normal", "constant", "group"), low=value(), high=value(),
            choices=value(), mean=value(), std=value(), value=value(), space=value(), when=value(),
        )  # fmt: skip
        return value(
            {"method": value("grid", "random"), "parameters": {"x": config}}, {"x": config}, [suggest], {"x": call},
            [double, value()], {"parameters": [double], "conditionals": value([{"name": "c", "values": value(pair)}])},
            {"hpcompat": 1, "space": {"x": entry}}, {"linear_constraints": value(), "parameters": value()},
        )  # fmt: skip


def make_space(source: Source) -> None:
    space = SearchSpace({"x": source.parameter(), "optim": Categorical(["adamw", "sgd"])})
    params = space.sample(0)
    assert space.contains(params) and space.contains(space.nest(space.flatten(params)))
    assert SearchSpace.from_dict(space.to_dict()) == space and space.size
    for dialect in ("optuna", "ray", "sigopt", "wandb"):
        try:
            translation = translate(space, dialect, encode=True)
        except hp.TranslationError:  # every parameter has a single value
            continue
        translation.decode(translation.encode(params))


def read_document(source: Source) -> None:
    space = source.rng.choice(READERS)(source.document())
    assert space.contains(space.sample(0))


def call_method(source: Source) -> None:
    value, params, translation = source.value, source.params(), source.rng.choice(TRANSLATIONS)
    parameter: Any = source.rng.choice(PARAMETERS)
    key = source.rng.choice(["method", "metric", "goal", "run_cap", "command"])
    calls: list[Any] = [
        lambda: (SPACE.contains(params), SPACE.validate(params)),
        lambda: SPACE.flatten(params),
        lambda: SPACE.nest(params),
        lambda: SPACE.fix(params),
        lambda: SPACE.sample(value()),
        lambda: SearchSpace(value()),
        lambda: parameter.contains(value()),
        lambda: parameter.to_unit(value()),
        lambda: parameter.cdf(value()),
        lambda: parameter.contains(parameter.quantile(value())) or pytest.fail("invalid quantile"),
        lambda: translation.encode(params),
        lambda: translation.decode(params),
        lambda: translate(SPACE, value()),
        lambda: translate(SPACE, "wandb", encode=True, **{key: value()}),
        lambda: levels(SPACE, value()),
        lambda: [write(value()) for write in (hp.to_optuna, hp.to_ray, hp.to_sigopt, hp.to_wandb)],
        lambda: hp.with_params(value(), value({"lr": 1})),
    ]
    source.rng.choice(calls)()


class TestPublicFunctions:
    @pytest.mark.parametrize("call", [make_space, read_document, call_method])
    def test_hostile_values_raise_only_hpcompat_errors(self, call: Any) -> None:
        n_returned = 0
        for seed in range(EXAMPLES):
            try:
                call(Source(seed))
            except hp.HpcompatError as error:
                assert str(error), seed
            except Exception as error:
                pytest.fail(f"example {seed}: {type(error).__name__}: {error}", pytrace=True)
            else:
                n_returned += 1
        assert n_returned > EXAMPLES / 100


class TestSpecialCases:
    def test_study_with_lists_and_dicts_as_choices_is_read(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        choices = [[1, 2], {"a": [1]}, None]
        study = optuna.create_study()
        with pytest.warns(UserWarning, match="persistent storage|JSON|types"):
            study.optimize(lambda trial: len(str(trial.suggest_categorical("c", choices))), n_trials=3)
        assert hp.from_optuna(study) == hp.as_space(study) == SearchSpace({"c": Categorical(choices)})

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_result_converted_to_study_is_read(self) -> None:
        space = SearchSpace({"c": Categorical([[1, 2], {"a": 1}]), "x": Float(0, 1)})
        result = hp.search(lambda trial: 1.0, space, "optuna", n_trials=3, seed=0, progress=False)
        assert hp.from_optuna(result.to_optuna()) == space
        with pytest.raises(hp.TranslationError, match=r"\.space"):
            hp.from_optuna(result)

    def test_study_with_choices_of_different_types_raises(self) -> None:
        study = optuna.create_study()
        for choices in ([1, 2], [True, 2]):
            study.add_trial(
                optuna.trial.create_trial(
                    params={"c": 2}, distributions={"c": optuna.distributions.CategoricalDistribution(choices)}, value=0
                )
            )
        with pytest.raises(hp.TranslationError, match="different range"):
            hp.from_optuna(study)

    @pytest.mark.parametrize("low", [10**12, 10**15, 2**52 - 3, 2**53, 2**60, 10**300])
    @pytest.mark.parametrize("width", [1, 3])
    def test_every_value_of_narrow_log_range_is_drawn(self, low: int, width: int) -> None:
        parameter = Int(low, low + width, log=True)
        values = [low + offset for offset in range(width + 1)]
        assert {parameter.quantile((n + 0.5) / 64) for n in range(64)} == set(values)
        assert all(parameter.quantile(parameter.to_unit(value)) == value for value in values)

    def test_weights_whose_sum_overflows_are_normalized(self) -> None:
        assert Categorical([1, 2], weights=[1e308, 1e308]) == Categorical([1, 2])
        huge, small = Categorical([1, 2], weights=[1.5e308, 0.5e308]), Categorical([1, 2], weights=[3, 1])
        assert huge.weights == pytest.approx(small.weights)

    def test_normal_beyond_floats_raises(self) -> None:
        with pytest.raises(hp.SpaceError, match="beyond what a float holds"):
            SearchSpace({"x": Normal(0, 1.7e308, high=3.0)})
        assert SearchSpace({"x": Normal(0, 1e300)}).sample(0)

    @pytest.mark.parametrize("target", [5, None, {"learning_rate": 1}, [1], int, object()])
    def test_with_params_of_other_type_raises(self, target: Any) -> None:
        with pytest.raises(hp.ParamsError, match="expected a Trainer or TrainingArguments"):
            hp.with_params(target, {"lr": 1})

    @pytest.mark.parametrize("u", [-0.1, 1.1, math.nan, math.inf, "a", None, 10**400])
    @pytest.mark.parametrize("parameter", PARAMETERS, ids=repr)
    def test_quantile_outside_the_unit_interval_raises(self, parameter: Any, u: Any) -> None:
        with pytest.raises(hp.ParamsError, match="from 0 to 1"):
            parameter.quantile(u)

    @pytest.mark.parametrize(
        ("reader", "source"),
        [
            (hp.from_wandb, {"parameters": {"x": {"distribution": "q_uniform", "min": 0, "max": 10**400}}}),
            (hp.from_wandb, {"parameters": {"x": {"distribution": "log_uniform", "min": 0, "max": 10**400}}}),
            (hp.from_ray, {"x": {"call": "quniform", "args": [0, 10**400, 1]}}),
            (hp.from_ray, {"x": {"call": "randint", "args": [10**5000, 1]}}),
            (hp.from_optuna, [{"name": "x", "call": "suggest_float", "args": [0, 10**400], "kwargs": {"step": 1}}]),
            (hp.from_sigopt, [{"name": "x", "type": "double", "bounds": {"min": 0, "max": 10**400}}]),
            (hp.from_sigopt, [{"name": "x", "type": "double", "grid": [1, 10**400]}]),
        ],
    )  # fmt: skip
    def test_bounds_of_400_digits_raise(self, reader: Any, source: Any) -> None:
        with pytest.raises(hp.TranslationError, match="x: "):
            reader(source)
