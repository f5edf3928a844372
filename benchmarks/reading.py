"""What reading costs: a define-by-run function of many paths, and a sweep file through the command line."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hpcompat as hp
from benchmarks.spaces import mixed, peer
from benchmarks.timing import Row, children, in_turn, process, row, shown

TITLE = "Reading"
NOTE = """
A function of 1,024 paths, in two shapes: ten switches that are always there, and a tree in which each choice decides
which one comes next, so that every path has parameters of its own. The command line is measured as a whole process.
"""


def rows(smoke: bool) -> Iterator[Row]:
    """1,024 conditional paths, as ten switches and as one tree; a sweep of 500 parameters."""
    levels, rounds = (3, 1) if smoke else (10, 5)
    paths = {"ten switches, each with a parameter of its own": switches, "a tree of 1,023 choices": tree}
    for what, function in paths.items():
        (seconds,) = in_turn(partial(hp.from_optuna, function(levels)), rounds=rounds)
        middle = statistics.median(seconds)
        yield Row(f"`from_optuna`: {what}", "a second", middle, 1.0, shown(middle), "1 s")
    yield from command_line(20 if smoke else 500, 1 if smoke else 21)


def switches(levels: int) -> Any:
    """A function of 2^levels paths: every switch is there always, and its parameter where it is on."""

    def suggest(trial: Any) -> dict[str, Any]:
        params = {}
        for i in range(levels):
            params[f"switch{i}"] = trial.suggest_categorical(f"switch{i}", ["on", "off"])
            if params[f"switch{i}"] == "on":
                params[f"x{i}"] = trial.suggest_float(f"x{i}", 0.0, 1.0)
        return params

    return suggest


def tree(levels: int) -> Any:
    """A function of 2^levels paths: each choice decides which one comes next."""

    def suggest(trial: Any) -> dict[str, Any]:
        params, node = {}, "n"
        for _ in range(levels):
            params[node] = trial.suggest_categorical(node, ["left", "right"])
            node += "l" if params[node] == "left" else "r"
        return params

    return suggest


def command_line(size: int, rounds: int) -> Iterator[Row]:
    """`hpcompat convert` of a YAML file, against a process that does nothing but parse it."""
    yaml = peer("yaml")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "sweep.yaml")
        file.write_text(yaml.safe_dump(hp.to_wandb(mixed(size)), sort_keys=False), encoding="utf-8")
        bare = process("-c", f"import yaml; yaml.safe_load(open({str(file)!r}, encoding='utf-8'))")
        for target in ("optuna", "json"):
            convert = process("-m", "hpcompat", "convert", str(file), "--to", target)
            ours, theirs = in_turn(convert, bare, rounds=rounds, clock=children)
            what = f"`hpcompat convert sweep.yaml --to {target}`, {size} parameters"
            yield row(what, "Python's start and `yaml.safe_load`", 1.2, ours, theirs)
