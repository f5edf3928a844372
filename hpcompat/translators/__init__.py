"""Translators between the canonical space and the four dialects, one room each, the same names in each.

`optuna`, `ray`, `sigopt`, `wandb`: `to_X(space)`, `from_X(thing)`, and what `translate` needs of them:
`COLUMN`, `NAMES`, `NESTED`, `gated`, `write`, `read`. `limits` is the table of what each can express,
`encoding` is how the rest travels, `define_by_run` finds the space inside a function, `recognise`
tells whose space a thing is.
"""

from hpcompat.translators.translation import Level, Translation, translate

__all__ = ["Level", "Translation", "translate"]
