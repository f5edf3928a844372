"""The benchmarks run with small sizes, without the packages that are not installed."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.page import NAMES

ROOT = Path(__file__).parent.parent


class TestBenchmarks:
    @pytest.mark.xdist_group("search")
    def test_smoke_run_prints_rows_of_all_benchmarks(self) -> None:
        command = [sys.executable, "-m", "benchmarks", "--smoke"]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr[-4000:]
        page = process.stdout[process.stdout.index("# Benchmarks") :]
        _, *sections = page.split("\n## ")
        titles = [import_module(f"benchmarks.{name}").TITLE for name in NAMES]
        assert [section.split("\n", 1)[0] for section in sections] == titles
        assert all(
            section.count("\n|") >= 3 for section in sections
        )  # the header, the line below it, and at least one row
