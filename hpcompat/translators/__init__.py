"""Translators between the canonical space and the dialects of other systems.

`dialect` says what a dialect is, and which there are; each is one file (`optuna`, `ray`, `sigopt`, `wandb`) with its
capability table, its writer and its reader. `translate` writes a space in any of them, `detect.as_space` reads any of
them. `codecs` is how values travel that a system cannot store, `define_by_run` finds the space inside a function.
"""

from hpcompat.translators.fields import Level
from hpcompat.translators.translation import Translation, translate

__all__ = ["Level", "Translation", "translate"]
