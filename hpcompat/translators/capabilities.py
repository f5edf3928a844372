"""What each system can express: the one table that the translators, the tests and the docs read.

A row is a shape of parameter, a column a dialect as it is driven. A cell lists the forms to try, best
first; each states what it needs of the parameter, and the reason where it is not native.

| level | means |
|---|---|
| native | the system has a form of its own, which reads back as the same parameter |
| equivalent | the system draws the same values by the same law, but forgets the kind |
| encoded | the system stores something else, and `decode` brings the value back |
| refused | it cannot travel at all |

Forms named in `encoding.ENCODINGS` are written as their stand-in; every other form has a writer of
that name in the dialect's room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hpcompat.space.parameters import Parameter
from hpcompat.translators import predicates
from hpcompat.translators.predicates import (
    always,
    are_sigopt_literals,
    are_sigopt_strings,
    fits_float_exactly,
    has_finite_width,
    has_interior_mean,
    has_min_width,
    has_min_width_and_is_enumerable,
    has_several_choices,
    is_enumerable,
    is_exact_multiple_of_step,
    is_exact_multiple_of_step_and_finite,
    is_inert_and_not_a_dict,
    is_inert_and_survives_json,
    is_inert_in_ray,
    is_int_multiple_of_step,
    is_json,
    is_multiple_of_step,
    is_repeatable,
    is_scalar_constant,
    is_unordered,
    is_untruncated,
    is_untruncated_float,
    is_untruncated_float_with_exact_step,
    is_untruncated_with_exact_step,
    is_wide_irregular_scale,
    survives_json,
)  # fmt: skip

LEVELS = ("native", "equivalent", "encoded", "refused")
VARIANTS = ("optuna", "ray", "ray optuna", "ray searcher", "sigopt", "wandb random", "wandb bayes", "wandb grid")


class Rule(NamedTuple):
    """One way for a parameter to travel: level, form, why it is no better, and what it needs."""

    level: str
    form: str
    reason: str = ""
    applies: Callable[[Any], bool] = always


def native(form: str, fits: Callable[[Any], bool] = always, reason: str = "") -> Rule:
    """A form of the system's own."""
    return Rule("native", form, reason, fits)


def equivalent(form: str, reason: str, fits: Callable[[Any], bool] = always) -> Rule:
    """Another kind of the system's that draws the same."""
    return Rule("equivalent", form, reason, fits)


def encoded(form: str, reason: str, fits: Callable[[Any], bool] = always) -> Rule:
    """A stand-in: "unit", "index", "labels" or "absent"; or a form that has lost what `decode` knows."""
    return Rule("encoded", form, reason, fits)


def unsupported(reason: str) -> Rule:
    """Nothing at all."""
    return Rule("refused", "", reason)


Cell = tuple[Rule, ...]


def row(
    optuna: Cell,
    ray: Cell,
    optuna_search: Cell,
    sigopt: Cell,
    random: Cell,
    bayes: Cell,
    grid: Cell,
    searcher: Cell | None = None,
) -> dict[str, Cell]:
    """The cells of a row by column; the last three columns are W&B by method.

    `optuna_search` and `searcher` are Ray under its OptunaSearch and under any other search algorithm.
    """
    cells = (optuna, ray, optuna_search, UNIFORM_ALONE if searcher is None else searcher, sigopt, random, bayes, grid)
    return dict(zip(VARIANTS, cells, strict=True))


AMBIGUOUS_CHOICES = "it would confuse choices that are == to Python, or turn a tuple into a list"
NO_NORMAL = "it has no normal law"
NO_LOG_NORMAL = "it has no log-normal law"
NO_TRUNCATION = "it has no truncated normal law"
NO_WEIGHTS = "it has no weights"
NO_LOG_STEP = "it has no step on a logarithmic scale"
NOT_MULTIPLES_OF_STEP = "it rounds to multiples of the step, and these are none"
NO_ORDER = "a list of choices, without an order"

NOISE = "it works out the multiples of the step in floats, which gives 0.30000000000000004 for 0.3"

UNIT_WIDE = encoded("unit", "the range is wider than a float")
UNIT_NARROW = encoded("unit", "its bounds must lie between 1e-8 and a float apart")
INDEX_NARROW = encoded("index", "its bounds must lie at least 1e-8 apart", is_enumerable)
INDEX_LARGE = encoded("index", "ints beyond 2**44 are drawn as floats too coarse for them")
UNIT_LARGE = encoded("unit", "logarithmic ints beyond 2**31 are drawn as floats too coarse for them")
INDEX_LONG = encoded("index", f"it has more than {predicates.MAX_ENUMERATED} values")
UNIT_NOISE = encoded("unit", NOISE, is_multiple_of_step)
UNIFORM_ALONE = (
    # HyperOptSearch draws the ends of an int half as often, BayesOptSearch drops log, Nevergrad and ZOOpt the step:
    # https://github.com/ray-project/ray/issues/30350, https://github.com/ray-project/ray/issues/13537
    encoded("unit", "not every search algorithm draws more than uniform floats (OptunaSearch does: searcher='optuna')"),
)
LABELS = encoded("labels", AMBIGUOUS_CHOICES)
RAY_LABELS = encoded("labels", "a dict with a key eval, grid_search or one with / would be resolved")
SIGOPT_LABELS = encoded("labels", "its categories are two or more texts that read as nothing else", has_several_choices)
ABSENT = encoded("absent", "it needs two values")
GRID = (unsupported("a grid needs values to go through"),)
NOT_WEIGHTED = (unsupported("a grid goes through every value alike, and cannot weight them"),)
VALUES = (equivalent("values", "a list of the values", is_enumerable), INDEX_LONG)
LOG_VALUES = (encoded("values", "a list of the values, which has no scale", is_enumerable), INDEX_LONG)
CHOICE_OF_STEPS = (equivalent("choice_of_steps", "a list of the values", is_enumerable), INDEX_LONG)
RAY_CONSTANT = (
    native("constant", is_inert_and_not_a_dict),
    equivalent("constant", "a dict reads as a group", is_inert_in_ray),
    encoded("absent", "a dict with a key eval, grid_search or one with / would be resolved"),
)
WANDB_CONSTANT = (native("value", is_json), encoded("absent", "JSON turns a tuple into a list"))

TABLE: dict[str, dict[str, Cell]] = {
    "float": row(
        optuna=(native("suggest_float", has_finite_width), UNIT_WIDE),
        ray=(native("uniform", has_finite_width), UNIT_WIDE),
        optuna_search=(native("uniform", has_finite_width), UNIT_WIDE),
        sigopt=(native("bounds", has_min_width), UNIT_NARROW),
        random=(native("uniform", has_finite_width), UNIT_WIDE),
        bayes=(native("uniform", has_finite_width), UNIT_WIDE),
        grid=GRID,
        searcher=(native("uniform", has_min_width), UNIT_NARROW),
    ),
    "float log": row(
        optuna=(native("suggest_float"),),
        ray=(native("loguniform"),),
        optuna_search=(native("loguniform"),),
        sigopt=(native("log_bounds", has_min_width), UNIT_NARROW),
        random=(native("log_uniform_values"),),
        bayes=(native("log_uniform_values"),),
        grid=GRID,
    ),
    "float step": row(
        optuna=(native("suggest_float", has_finite_width), encoded("index", "the range is wider than a float")),
        ray=CHOICE_OF_STEPS,
        optuna_search=(native("quniform", is_exact_multiple_of_step_and_finite), *CHOICE_OF_STEPS),
        sigopt=(native("grid", has_min_width_and_is_enumerable), INDEX_NARROW, INDEX_LONG),
        random=VALUES,
        bayes=VALUES,
        grid=VALUES,
    ),
    "float log step": row(
        optuna=(encoded("unit", NO_LOG_STEP),),
        ray=(native("qloguniform", is_exact_multiple_of_step), UNIT_NOISE, encoded("unit", NOT_MULTIPLES_OF_STEP)),
        optuna_search=(encoded("unit", "it drops the step of a logarithmic scale"),),
        sigopt=(encoded("unit", NO_LOG_STEP),),
        random=(
            native("q_log_uniform_values", is_exact_multiple_of_step),
            UNIT_NOISE,
            encoded("unit", NOT_MULTIPLES_OF_STEP),
        ),
        bayes=(
            native("q_log_uniform_values", is_exact_multiple_of_step),
            UNIT_NOISE,
            encoded("unit", NOT_MULTIPLES_OF_STEP),
        ),
        grid=LOG_VALUES,
    ),
    "int": row(
        optuna=(native("suggest_int", fits_float_exactly), INDEX_LARGE),
        ray=(native("randint", fits_float_exactly), INDEX_LARGE),
        optuna_search=(native("randint", fits_float_exactly), INDEX_LARGE),
        sigopt=(native("int_bounds", fits_float_exactly), INDEX_LARGE),
        random=(native("int_uniform", fits_float_exactly), INDEX_LARGE),
        bayes=(native("int_uniform", fits_float_exactly), INDEX_LARGE),
        grid=(native("int_uniform", fits_float_exactly), INDEX_LARGE),
    ),
    "int log": row(
        optuna=(native("suggest_int", fits_float_exactly), UNIT_LARGE),
        ray=(native("lograndint", fits_float_exactly), UNIT_LARGE),
        optuna_search=(native("lograndint", fits_float_exactly), UNIT_LARGE),
        sigopt=(encoded("unit", "it has no logarithmic ints"),),
        random=(native("q_log_uniform_values", fits_float_exactly), UNIT_LARGE),
        bayes=(native("q_log_uniform_values", fits_float_exactly), UNIT_LARGE),
        grid=LOG_VALUES,
    ),
    "int step": row(
        optuna=(native("suggest_int", fits_float_exactly), INDEX_LARGE),
        ray=(native("qrandint", is_int_multiple_of_step), *CHOICE_OF_STEPS),
        optuna_search=(native("qrandint", is_int_multiple_of_step), *CHOICE_OF_STEPS),
        sigopt=(native("grid", is_enumerable), INDEX_LONG),
        random=VALUES,
        bayes=VALUES,
        grid=VALUES,
    ),
    "int log step": row(
        optuna=(encoded("unit", NO_LOG_STEP),),
        ray=(native("qlograndint", is_int_multiple_of_step), encoded("unit", NOT_MULTIPLES_OF_STEP)),
        optuna_search=(encoded("unit", NO_LOG_STEP),),
        sigopt=(encoded("unit", NO_LOG_STEP),),
        random=(native("q_log_uniform_values", is_int_multiple_of_step), encoded("unit", NOT_MULTIPLES_OF_STEP)),
        bayes=(native("q_log_uniform_values", is_int_multiple_of_step), encoded("unit", NOT_MULTIPLES_OF_STEP)),
        grid=LOG_VALUES,
    ),
    "categorical": row(
        optuna=(native("suggest_categorical", survives_json), LABELS),
        ray=(native("choice", is_inert_in_ray), RAY_LABELS),
        optuna_search=(native("choice", is_inert_and_survives_json), LABELS),
        sigopt=(
            native("categorical_values", are_sigopt_strings),
            native("literals", are_sigopt_literals, "stored as texts; decode reads them"),
            SIGOPT_LABELS,
            ABSENT,
        ),
        random=(native("values", survives_json), LABELS),
        bayes=(native("values", survives_json), LABELS),
        grid=(native("values", survives_json), LABELS),
    ),
    "categorical ordered": row(
        optuna=(equivalent("suggest_categorical", NO_ORDER, survives_json), LABELS),
        ray=(equivalent("choice", NO_ORDER, is_inert_in_ray), RAY_LABELS),
        optuna_search=(equivalent("choice", NO_ORDER, is_inert_and_survives_json), LABELS),
        sigopt=(
            native("grid", is_wide_irregular_scale),
            equivalent("categorical_values", NO_ORDER, are_sigopt_strings),
            equivalent("literals", NO_ORDER, are_sigopt_literals),
            SIGOPT_LABELS,
            ABSENT,
        ),
        random=(equivalent("values", NO_ORDER, survives_json), LABELS),
        bayes=(equivalent("values", NO_ORDER, survives_json), LABELS),
        grid=(equivalent("values", NO_ORDER, survives_json), LABELS),
    ),
    "categorical weights": row(
        optuna=(encoded("unit", NO_WEIGHTS),),
        ray=(
            native("weighted_choice", lambda p: is_repeatable(p) and is_unordered(p), "choices repeated"),
            equivalent("weighted_choice", NO_ORDER, is_repeatable),
            encoded("unit", "it has no weights, and these are no ratios of small whole numbers"),
        ),
        optuna_search=(encoded("unit", NO_WEIGHTS),),
        sigopt=(encoded("unit", NO_WEIGHTS),),
        random=(
            native("probabilities", lambda p: survives_json(p) and is_unordered(p)),
            equivalent("probabilities", NO_ORDER, survives_json),
            encoded("unit", AMBIGUOUS_CHOICES),
        ),
        bayes=(encoded("unit", NO_WEIGHTS),),
        grid=NOT_WEIGHTED,
    ),
    "constant": row(
        optuna=(native("returned"),),
        ray=RAY_CONSTANT,
        optuna_search=RAY_CONSTANT,
        sigopt=(encoded("absent", "it has no constants; decode brings them back"),),
        random=WANDB_CONSTANT,
        bayes=WANDB_CONSTANT,
        grid=WANDB_CONSTANT,
        searcher=(
            native("constant", is_scalar_constant),
            encoded("absent", "a search algorithm can refuse None, and turn lists and tuples into each other"),
        ),
    ),
    "normal": row(
        optuna=(encoded("unit", NO_NORMAL),),
        ray=(native("randn", is_untruncated), encoded("unit", NO_TRUNCATION)),
        optuna_search=(encoded("unit", NO_NORMAL),),
        sigopt=(
            native("normal_prior", has_interior_mean),
            encoded("unit", "its prior needs two bounds around the mean"),
        ),
        random=(native("normal", is_untruncated), encoded("unit", NO_TRUNCATION)),
        bayes=(native("normal", is_untruncated), encoded("unit", NO_TRUNCATION)),
        grid=GRID,
    ),
    "normal log": row(
        optuna=(encoded("unit", NO_NORMAL),),
        ray=(encoded("unit", NO_LOG_NORMAL),),
        optuna_search=(encoded("unit", NO_NORMAL),),
        sigopt=(encoded("unit", NO_LOG_NORMAL),),
        random=(native("log_normal", is_untruncated), encoded("unit", NO_TRUNCATION)),
        bayes=(native("log_normal", is_untruncated), encoded("unit", NO_TRUNCATION)),
        grid=GRID,
    ),
    "normal step": row(
        optuna=(encoded("unit", NO_NORMAL),),
        ray=(
            native("qrandn", is_untruncated_float_with_exact_step),
            encoded("unit", NOISE, is_untruncated_float),
            encoded("unit", "it rounds untruncated laws to floats alone"),
        ),
        optuna_search=(encoded("unit", NO_NORMAL),),
        sigopt=(encoded("unit", "it has no rounded normal law"),),
        random=(
            native("q_normal", is_untruncated_with_exact_step),
            encoded("unit", NOISE, is_untruncated),
            encoded("unit", NO_TRUNCATION),
        ),
        bayes=(
            native("q_normal", is_untruncated_with_exact_step),
            encoded("unit", NOISE, is_untruncated),
            encoded("unit", NO_TRUNCATION),
        ),
        grid=NOT_WEIGHTED,
    ),
    "normal log step": row(
        optuna=(encoded("unit", NO_NORMAL),),
        ray=(encoded("unit", NO_LOG_NORMAL),),
        optuna_search=(encoded("unit", NO_NORMAL),),
        sigopt=(encoded("unit", NO_LOG_NORMAL),),
        random=(
            native("q_log_normal", is_untruncated_with_exact_step),
            encoded("unit", NOISE, is_untruncated),
            encoded("unit", NO_TRUNCATION),
        ),
        bayes=(
            native("q_log_normal", is_untruncated_with_exact_step),
            encoded("unit", NOISE, is_untruncated),
            encoded("unit", NO_TRUNCATION),
        ),
        grid=NOT_WEIGHTED,
    ),
}

_NO_DOMAIN_CONDITIONS = encoded("", "domains have no conditions; OptunaSearch takes the function of to_optuna")
_NO_SWEEP_CONDITIONS = encoded("", "a sweep has no conditions")
CONDITIONS = {
    "optuna": encoded("", "its parent travels as a unit float, which no condition can name"),
    "ray": _NO_DOMAIN_CONDITIONS,
    "ray optuna": _NO_DOMAIN_CONDITIONS,
    "ray searcher": encoded("", "domains have no conditions"),
    "sigopt": encoded(
        "", "its conditions need parents without any, written as texts, whose values each activate something"
    ),
    "wandb random": _NO_SWEEP_CONDITIONS,
    "wandb bayes": _NO_SWEEP_CONDITIONS,
    "wandb grid": _NO_SWEEP_CONDITIONS,
}
"""How a condition travels that the dialect's room does not write natively: the room's `gated` says which it does."""


_STEPLESS = {
    (kind, log, step): f"{kind}{' log' * log}"
    for kind, step in (("float", None), ("int", 1), ("normal", None))
    for log in (False, True)
}


def shape(p: Any) -> str:
    """The row of the table that a parameter belongs to.

    >>> shape(Float(0, 1)), shape(Int(2, 8, log=True, step=2)), shape(Categorical([1, 2], ordered=True))
    ('float', 'int log step', 'categorical ordered')
    """
    kind: str = p.kind
    if kind == "categorical":
        return "categorical weights" if p.weights else "categorical ordered" if p.ordered else kind
    if kind == "constant":
        return kind
    return _STEPLESS.get((kind, p.log, p.step)) or f"{kind}{' log' * p.log} step"


_CELLS = {column: {row: cells[column] for row, cells in TABLE.items()} for column in VARIANTS}


def best_rules(parameters: Iterable[Parameter], column: str) -> list[Rule]:
    """The best way for each parameter to travel in a column of the table."""
    cells = _CELLS[column]
    chosen = []
    for p in parameters:
        for rule in cells[shape(p)]:  # the last rule of every cell fits all that come to it
            if rule.applies(p):
                chosen.append(rule)
                break
    return chosen


def best_rule(p: Parameter, column: str) -> Rule:
    """The best way for one."""
    (rule,) = best_rules([p], column)
    return rule
