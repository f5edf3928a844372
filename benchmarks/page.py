"""The page with the results: docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.timing import Row

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "build" / "benchmarks"
NAMES = ("imports", "translating", "sampling", "loops", "trainers", "memory", "reading")
PACKAGES = (
    *("optuna", "ray", "wandb", "sweeps", "sigopt", "sigoptlite", "transformers", "torch", "PyYAML"),
    *("ConfigSpace", "syne-tune", "google-vizier"),
)
TOP = """\
# Benchmarks

What hpcompat costs, beside the alternatives. Every figure is a ratio of two measurements of one run, ours over
theirs: below 1 ours is the smaller. "At most" is what is aimed at; where it is missed, the note says why. The two
are measured in turn, A B A B …, and the ratio is the median of the pairs' ratios; the absolute figures are medians,
and only good for a sense of size. CPU time, unless the note says otherwise.

`make bench` measures all of it anew and writes this page; `make bench ITEMS="imports sampling"` measures some.
Rows that are missing were not measured on this machine.

<!-- written by benchmarks/page.py: do not edit -->
"""


def result(rows: Sequence[Row]) -> dict[str, Any]:
    """What a module has found today, as JSON data."""
    return {"date": date.today().isoformat(), "rows": [asdict(row) for row in rows]}


def keep(name: str, rows: Sequence[Row]) -> None:
    """Keep the rows of a module until the page is written."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result(rows), indent=1), encoding="utf-8")


def write() -> bool:
    """Write the page, if there are results of every module."""
    files = {name: RESULTS / f"{name}.json" for name in NAMES}
    if not all(file.exists() for file in files.values()):
        return False
    results = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    PAGE.write_text(page(results), encoding="utf-8")
    return True


def page(results: dict[str, Any]) -> str:
    """The page of these results, by module."""
    parts = [TOP, machine(max(result["date"] for result in results.values()))]
    for name, result in results.items():
        module: Any = import_module(f"benchmarks.{name}")
        parts.append(f"## {module.TITLE}\n")
        parts.append(table([Row(**row) for row in result["rows"]]))
        parts.append(f"{module.NOTE.strip()}\n")
    return "\n".join(parts)


def machine(day: str) -> str:
    """When and on what it was measured."""
    versions = ", ".join(f"{name} {number}" for name, number in _versions())
    system = f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"
    busy = f"a load of {os.getloadavg()[0]:.0f} at the end (the busier, the noisier)"
    return f"Measured on {day}: {system}, {busy}; {versions}.\n"


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "absent"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [("what", "against", "ratio", "at most", "ours", "theirs"), ("---",) * 6]
    for row in rows:
        most = "" if row.most is None else f"{row.most:g}"
        missed = row.most is not None and row.ratio > row.most
        ratio = f"{row.ratio:.2f}" if row.ratio >= 0.1 else f"{row.ratio:.2g}"
        lines.append((row.what, row.against, f"**{ratio}**" if missed else ratio, most, row.ours, row.theirs))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
