"""Every benchmark runs: in tiny sizes, without the peers that are not installed."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = ("imports", "translating", "sampling", "loops", "trainers", "memory", "reading")


@pytest.mark.xdist_group("search")
def test_each_runs_and_has_its_rows_on_the_page() -> None:
    command = [sys.executable, "-m", "benchmarks", "--smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    page = done.stdout[done.stdout.index("# Benchmarks") :]
    _, *sections = page.split("\n## ")
    titles = [import_module(f"benchmarks.{name}").TITLE for name in NAMES]
    assert [section.split("\n", 1)[0] for section in sections] == titles
    assert all(section.count("\n|") >= 3 for section in sections)  # the head, the line under it, a row
