"""The command line, run in a directory of its own."""

from pathlib import Path

import pytest

from hpcompat.cli import main
from tests.cli.helpers import Ran, Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def command(*words: str) -> Ran:
        try:
            code = main(words)
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Ran(code, captured.out, captured.err)

    return command
