"""The cost of `import hpcompat`: the CPU time of entire processes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from benchmarks.timing import Row, children_cpu_time, make_row, measure_in_turn, python_process

TITLE = "Importing"
NOTE = """
Whole processes, `python -c`. `import hpcompat` loads a name when it is first used; `from hpcompat import *` loads
every public name, the search too.
"""
BARE = "import dataclasses, json, typing"
LAZY = "import hpcompat"
WHOLE = "from hpcompat import *"  # every public name, including `search`
PEERS = ("optuna", "wandb", "ray.tune", "ConfigSpace", "syne_tune.config_space", "vizier.pyvizier")


def measure(smoke: bool) -> Iterator[Row]:
    """Compare `import hpcompat` with modules of the standard library, and with the peers."""
    for code, max_ratio in ((LAZY, 1.0), (WHOLE, None)):
        seconds, baseline = measure_in_turn(
            python_process("-c", code), python_process("-c", BARE), rounds=2 if smoke else 21, clock=children_cpu_time
        )
        yield make_row(f"`{code}`", f"`{BARE}`", max_ratio, seconds, baseline)
    for name in PEERS:
        if importlib.util.find_spec(name.partition(".")[0]) and not smoke:
            code = f"import {name}"
            seconds, baseline = measure_in_turn(
                python_process("-c", WHOLE), python_process("-c", code), rounds=5, clock=children_cpu_time
            )
            yield make_row(f"`{WHOLE}`", f"`{code}`", 1.0, seconds, baseline)
