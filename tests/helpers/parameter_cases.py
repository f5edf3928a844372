"""Parameters for every cell of the capability table: each rule of the table applies to at least one of them.

They are grouped by shape, like the rows of the table, and their names are unique.
"""

from __future__ import annotations

from collections.abc import Iterator

from hpcompat import Categorical, Constant, Float, Int, Normal
from hpcompat.space.parameters import Parameter
from hpcompat.translators.capabilities import Rule, best_rule
from hpcompat.translators.dialect import get_variants

VARIANTS = get_variants()

EVALUATED = {"eval": "1 + 1"}
CASES_BY_SHAPE: dict[str, dict[str, Parameter]] = {
    "float": {
        "f": Float(-1.0, 3.0),
        "f_wide": Float(-1.5e308, 1.5e308),
        "f_thin": Float(0.5, 0.5 + 1e-9),
    },
    "float log": {
        "f_log": Float(1e-6, 1e-2, log=True),
        "f_log_thin": Float(1e-10, 1e-9, log=True),
        "f_log_wide": Float(1e-300, 1e300, log=True),
    },
    "float step": {
        "f_step": Float(0.0, 1.0, step=0.1),
        "f_step_exact": Float(0.25, 1.5, step=0.25),
        "f_step_off": Float(0.05, 1.05, step=0.1),
        "f_step_many": Float(0.0, 1.0001, step=0.0001),
        "f_step_many_off": Float(0.00005, 1.00015, step=0.0001),
        "f_step_narrow": Float(0.0, 4e-9, step=1e-9),
        "f_step_wide": Float(-1.5e308, 1.5e308, step=1e308),
    },
    "float log step": {
        "f_log_step": Float(0.5, 4.0, log=True, step=0.5),
        "f_log_step_off": Float(0.75, 4.25, log=True, step=0.5),
        "f_log_step_many": Float(1.0, 2.0001, log=True, step=0.0001),
    },
    "int": {
        "i": Int(1, 10),
        "i_negative": Int(-4, 4),
        "i_large": Int(2**53, 2**53 + 9),
    },
    "int log": {
        "i_log": Int(1, 16, log=True),
        "i_log_large": Int(2**53, 2**53 + 2**50, log=True),
        "i_log_many": Int(1, 10_001, log=True),
    },
    "int step": {
        "i_step": Int(2, 20, step=2),
        "i_step_off": Int(1, 10, step=3),
        "i_step_many": Int(0, 20_000, step=2),
        "i_step_many_off": Int(1, 20_001, step=2),
        "i_step_large": Int(2**53, 2**53 + 20, step=2),
    },
    "int log step": {
        "i_log_step": Int(2, 20, log=True, step=2),
        "i_log_step_off": Int(3, 18, log=True, step=5),
        "i_log_step_many": Int(2, 20_002, log=True, step=2),
    },
    "categorical": {
        "c_strings": Categorical(["adamw", "sgd", "lion"]),
        "c_ints": Categorical([16, 32, 64, 128]),
        "c_mixed": Categorical([None, True, 0.5, 2]),
        "c_alike": Categorical([1, True, 1.0]),
        "c_number_strings": Categorical(["16", "auto"]),
        "c_literal_strings": Categorical(["16", "32"]),
        "c_tuples": Categorical([(1, 2), (3, 4), [1, 2]]),
        "c_data": Categorical([[1, 2], {"a": [None]}, "x"]),
        "c_long": Categorical(["x" * 80, "y" * 80]),
        "c_evaluated": Categorical([EVALUATED, {"grid_search": [1]}, {"a": 1}]),
        "c_single": Categorical(["only"]),
    },
    "categorical ordered": {
        "o_uneven": Categorical([16, 32, 128], ordered=True),
        "o_even": Categorical([0.1, 0.2, 0.3, 0.4], ordered=True),
        "o_strings": Categorical(["low", "mid", "high"], ordered=True),
        "o_tuples": Categorical([(1,), (2,)], ordered=True),
        "o_evaluated": Categorical([EVALUATED, "x"], ordered=True),
        "o_single": Categorical([1], ordered=True),
    },
    "categorical weights": {
        "w_small": Categorical(["a", "b", "c"], weights=[2, 1, 1]),
        "w_any": Categorical(["a", "b", "c"], weights=[0.618, 0.2719, 0.1101]),
        "w_ordered": Categorical([1, 2, 3], weights=[1, 2, 1], ordered=True),
        "w_tuples": Categorical([(1,), (2,), [2]], weights=[5, 3, 2]),
        "w_evaluated": Categorical([EVALUATED, "x"], weights=[3, 1]),
    },
    "constant": {
        "k": Constant(5),
        "k_dict": Constant({"a": 1}),
        "k_list": Constant([1, [2]]),
        "k_none": Constant(None),
        "k_tuple": Constant((1, 2)),
        "k_evaluated": Constant(EVALUATED),
    },
    "normal": {
        "n": Normal(2.0, 3.0),
        "n_low": Normal(0.1, 0.05, low=0.0),
        "n_between": Normal(1.0, 0.5, low=0.0, high=3.0),
        "n_beside": Normal(5.0, 1.0, low=0.0, high=3.0),
    },
    "normal log": {
        "n_log": Normal(-2.0, 0.5, log=True),
        "n_log_high": Normal(0.0, 1.0, high=2.0, log=True),
    },
    "normal step": {
        "n_step": Normal(1.0, 0.5, step=0.25),
        "n_step_noise": Normal(1.0, 0.5, step=0.1),
        "n_step_int": Normal(10.0, 3.0, step=1),
        "n_step_low": Normal(3.0, 2.0, low=1, step=1),
    },
    "normal log step": {
        "n_log_step": Normal(1.0, 0.5, log=True, step=1),
        "n_log_step_noise": Normal(1.0, 0.5, log=True, step=0.1),
        "n_log_step_high": Normal(1.0, 0.5, high=4.0, log=True, step=0.5),
    },
}
ALL_CASES: dict[str, Parameter] = {
    name: parameter for row in CASES_BY_SHAPE.values() for name, parameter in row.items()
}


def iter_cases() -> Iterator[tuple[str, str, Parameter]]:
    """Iterate over the shape, name and parameter of every case."""
    return ((shape, name, parameter) for shape, row in CASES_BY_SHAPE.items() for name, parameter in row.items())


def find_rule(parameter: Parameter, variant: str) -> Rule:
    """Return the rule of the capability table that a parameter is written by."""
    return best_rule(parameter, VARIANTS[variant].capabilities)
