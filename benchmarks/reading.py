"""The cost of reading: a define-by-run function of many paths, and a sweep file through the command line."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hpcompat as hp
from benchmarks.spaces import import_peer, mixed_space
from benchmarks.timing import Row, children_cpu_time, format_seconds, make_row, measure_in_turn, python_process

TITLE = "Reading"
NOTE = """
A function of 1,024 paths, in two shapes: ten switches that are always suggested, and a tree in which a choice decides
which one comes next, so that every path has its own parameters. The command line is measured as a whole process.
"""

SuggestFunction = Callable[[Any], dict[str, Any]]


def measure(smoke: bool) -> Iterator[Row]:
    """Read 1,024 conditional paths, as ten switches and as one tree, and a sweep of 500 parameters."""
    levels, rounds = (3, 1) if smoke else (10, 5)
    functions = {"ten switches, each with its own parameter": make_switches, "a tree of 1,023 choices": make_tree}
    for name, make_function in functions.items():
        (seconds,) = measure_in_turn(partial(hp.from_optuna, make_function(levels)), rounds=rounds)
        median = statistics.median(seconds)
        yield Row(f"`from_optuna`: {name}", "a second", median, 1.0, format_seconds(median), "1 s")
    yield from measure_command_line(20 if smoke else 500, 1 if smoke else 21)


def make_switches(levels: int) -> SuggestFunction:
    """Return a function of 2^levels paths that suggests all switches, and a parameter for every switch that is on."""

    def suggest(trial: Any) -> dict[str, Any]:
        params = {}
        for i in range(levels):
            params[f"switch{i}"] = trial.suggest_categorical(f"switch{i}", ["on", "off"])
            if params[f"switch{i}"] == "on":
                params[f"x{i}"] = trial.suggest_float(f"x{i}", 0.0, 1.0)
        return params

    return suggest


def make_tree(levels: int) -> SuggestFunction:
    """Return a function of 2^levels paths in which each choice selects the next one."""

    def suggest(trial: Any) -> dict[str, Any]:
        params, node = {}, "n"
        for _ in range(levels):
            params[node] = trial.suggest_categorical(node, ["left", "right"])
            node += "l" if params[node] == "left" else "r"
        return params

    return suggest


def measure_command_line(size: int, rounds: int) -> Iterator[Row]:
    """Compare `hpcompat convert` of a YAML file with a process that only parses it."""
    yaml = import_peer("yaml")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "sweep.yaml")
        file.write_text(yaml.safe_dump(hp.to_wandb(mixed_space(size)), sort_keys=False), encoding="utf-8")
        parse = python_process("-c", f"import yaml; yaml.safe_load(open({str(file)!r}, encoding='utf-8'))")
        for target in ("optuna", "json"):
            convert = python_process("-m", "hpcompat", "convert", str(file), "--to", target)
            seconds, baseline = measure_in_turn(convert, parse, rounds=rounds, clock=children_cpu_time)
            subject = f"`hpcompat convert sweep.yaml --to {target}`, {size} parameters"
            yield make_row(subject, "Python's start and `yaml.safe_load`", 1.2, seconds, baseline)
