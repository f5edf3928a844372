"""What `import hpcompat` costs: whole processes, by their CPU time."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from benchmarks.timing import Row, children, in_turn, process, row

TITLE = "Importing"
NOTE = """
Whole processes, `python -c`. `import hpcompat` loads nothing before it is asked for; `from hpcompat import *` loads
every public name, the search too.
"""
BARE = "import dataclasses, json, typing"
OURS = "import hpcompat"
WHOLE = "from hpcompat import *"  # every public name, the search too
PEERS = ("optuna", "wandb", "ray.tune", "ConfigSpace", "syne_tune.config_space", "vizier.pyvizier")


def rows(smoke: bool) -> Iterator[Row]:
    """`import hpcompat` beside the standard library's modules, and beside the peers."""
    for code, most in ((OURS, 1.5), (WHOLE, None)):
        ours, bare = in_turn(process("-c", code), process("-c", BARE), rounds=2 if smoke else 21, clock=children)
        yield row(f"`{code}`", f"`{BARE}`", most, ours, bare)
    for name in PEERS:
        if importlib.util.find_spec(name.partition(".")[0]) and not smoke:
            code = f"import {name}"
            ours, theirs = in_turn(process("-c", WHOLE), process("-c", code), rounds=5, clock=children)
            yield row(f"`{WHOLE}`", f"`{code}`", 1.0, ours, theirs)
