"""Mistakes that a translator could make: the right parameter, and the wrong one that it would write instead."""

from __future__ import annotations

from hpcompat import Categorical, Float, Int, Normal
from hpcompat.space.parameters import Parameter

MISTRANSLATIONS: dict[str, tuple[Parameter, Parameter]] = {
    # name: (right parameter, wrong parameter)
    "log_lost": (Float(1e-6, 1e-2, log=True), Float(1e-6, 1e-2)),
    "log_added": (Float(1.0, 4.0), Float(1.0, 4.0, log=True)),
    "log_lost_int": (Int(1, 16, log=True), Int(1, 16)),
    "low_raised": (Float(0.0, 1.0), Float(0.04, 1.0)),
    "high_lowered": (Float(0.0, 1.0), Float(0.0, 0.96)),
    "high_raised": (Float(0.0, 1.0), Float(0.0, 1.04)),
    "low_raised_log": (Float(1e-6, 1e-2, log=True), Float(2e-6, 1e-2, log=True)),
    "low_raised_by_one": (Int(1, 20), Int(2, 20)),
    "high_lowered_by_one": (Int(1, 20), Int(1, 19)),
    "high_raised_by_one": (Int(1, 20), Int(1, 21)),
    "high_lowered_by_one_log": (Int(1, 8, log=True), Int(1, 7, log=True)),
    "high_lowered_by_a_step": (Int(0, 9, step=3), Int(0, 6, step=3)),
    "step_lost": (Float(0.0, 1.0, step=0.1), Float(0.0, 1.0)),
    "step_lost_int": (Int(0, 9, step=3), Int(0, 9)),
    "step_doubled": (Float(0.0, 1.0, step=0.1), Float(0.0, 1.0, step=0.2)),
    "anchor_moved": (Int(1, 10, step=3), Int(0, 9, step=3)),
    "step_lost_log": (Float(0.5, 4.0, log=True, step=0.5), Float(0.5, 4.0, log=True)),
    "log_lost_step": (Float(0.5, 4.0, log=True, step=0.5), Float(0.5, 4.0, step=0.5)),
    "choice_lost": (Categorical(["a", "b", "c"]), Categorical(["a", "b"])),
    "choices_as_strings": (Categorical([16, 32]), Categorical(["16", "32"])),
    "choices_as_floats": (Categorical([1, 2]), Categorical([1.0, 2.0])),
    "weights_lost": (Categorical(["a", "b"], weights=[2, 1]), Categorical(["a", "b"])),
    "weights_swapped": (Categorical(["a", "b"], weights=[2, 1]), Categorical(["a", "b"], weights=[1, 2])),
    "mean_moved": (Normal(0.0, 1.0), Normal(0.4, 1.0)),
    "std_doubled": (Normal(0.0, 1.0), Normal(0.0, 2.0)),
    "truncation_lost": (Normal(1.0, 1.0, low=0.0), Normal(1.0, 1.0)),
    "truncation_as_uniform": (Normal(1.0, 0.5, low=0.0, high=2.0), Float(0.0, 2.0)),
    "rounding_lost": (Normal(1.0, 0.5, step=0.25), Normal(1.0, 0.5)),
    "log_lost_normal": (Normal(1.0, 0.5, log=True), Normal(1.0, 0.5)),
}
RIGHT = {name: right for name, (right, _) in MISTRANSLATIONS.items()}
WRONG = {name: wrong for name, (_, wrong) in MISTRANSLATIONS.items()}
