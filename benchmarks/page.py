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
PAGE_PATH = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "build" / "benchmarks"
NAMES = ("imports", "translating", "sampling", "loops", "trainers", "memory", "reading")
PACKAGES = (
    *("optuna", "ray", "wandb", "sweeps", "sigopt", "sigoptlite", "transformers", "torch", "PyYAML"),
    *("ConfigSpace", "syne-tune", "google-vizier"),
)
HEADER = """\
# Benchmarks

What hpcompat costs, compared with the alternatives. Every figure is a ratio of two measurements of one run: below 1,
hpcompat takes less than the baseline. "At most" is what is aimed at; where it is missed, the note says why. The two
are measured in turn, A B A B …, and the ratio is the median of the pairs' ratios; the absolute values are medians,
and only good for a sense of size. CPU time, unless the note says otherwise.

`make bench` measures everything and writes this page; `make bench ITEMS="imports sampling"` measures some.
Rows that are missing were not measured on this machine.

<!-- written by benchmarks/page.py: do not edit -->
"""


def to_result(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the rows of a module, with today's date, as JSON data."""
    return {"date": date.today().isoformat(), "rows": [asdict(row) for row in rows]}


def save_rows(name: str, rows: Sequence[Row]) -> None:
    """Save the rows of a module until the page is written."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(to_result(rows), indent=1), encoding="utf-8")


def write_page() -> bool:
    """Write the page if there are results of every module, and return whether it was written."""
    files = {name: RESULTS / f"{name}.json" for name in NAMES}
    if not all(file.exists() for file in files.values()):
        return False
    results = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    PAGE_PATH.write_text(render_page(results), encoding="utf-8")
    return True


def render_page(results: dict[str, Any]) -> str:
    """Return the page of the results by module."""
    parts = [HEADER, describe_machine(max(result["date"] for result in results.values()))]
    for name, result in results.items():
        module: Any = import_module(f"benchmarks.{name}")
        parts.append(f"## {module.TITLE}\n")
        parts.append(render_table([Row(**row) for row in result["rows"]]))
        parts.append(f"{module.NOTE.strip()}\n")
    return "\n".join(parts)


def describe_machine(day: str) -> str:
    """Return the day, the machine and the versions of the packages."""
    versions = ", ".join(f"{name} {number}" for name, number in _versions())
    system = f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"
    busy = f"a load of {os.getloadavg()[0]:.0f} at the end (the busier, the noisier)"
    return f"Measured on {day}: {system}, {busy}; {versions}.\n"


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def render_table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [("measured", "baseline", "ratio", "at most", "value", "baseline value"), ("---",) * 6]
    for row in rows:
        max_ratio = "" if row.max_ratio is None else f"{row.max_ratio:g}"
        is_missed = row.max_ratio is not None and row.ratio > row.max_ratio
        ratio = f"{row.ratio:.2f}" if row.ratio >= 0.1 else f"{row.ratio:.2g}"
        if is_missed:
            ratio = f"**{ratio}**"
        lines.append((row.subject, row.baseline, ratio, max_ratio, row.value, row.baseline_value))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
