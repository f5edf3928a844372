"""Fixtures for tests of the command line."""

from pathlib import Path

import pytest

from hpcompat.cli import main
from tests.cli.helpers import CommandResult, RunCommand


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> RunCommand:
    """Return a function that runs a command in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run_command(*arguments: str) -> CommandResult:
        try:
            code = main(arguments)
        except SystemExit as error:  # raised by argparse
            code = int(error.code or 0)
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return CommandResult(code, captured.out, captured.err)

    return run_command
