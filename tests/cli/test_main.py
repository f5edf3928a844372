"""The command line: exit codes, messages, pipes, and the examples of its documentation page."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import hpcompat as hp
from tests.cli.helpers import RunCommand, execute, write_input

DOCUMENTATION = Path(__file__).parents[2] / "docs/command_line.md"
FENCE = re.compile(r"^```(yaml|python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SWEEP = {
    "method": "random",
    "parameters": {"lr": {"min": 0.0, "max": 1.0}, "deq": {"parameters": {"n": {"values": [40, 60]}}}},
}
WEIGHTED = hp.SearchSpace({"optim": hp.Categorical(["adamw", "sgd"], weights=[3, 1])}).to_dict()
TRAIN = """
import hpcompat as hp

number = 3
invalid = {"lr": hp.Float(1, 0)}


def exits(trial):
    raise SystemExit(3)
"""
FILES = {
    "sweep.yaml": "method: random\nparameters: {a: {min: 0, max: 9}}\n",
    "train.py": TRAIN,
    "broken.py": "import hpcompat as hp\n\nspace = hp.Nothing(3)\n",
    "syntax.py": "def space(:\n",
    "exits.py": "import sys\nsys.exit('usage: exits.py')\n",
    "deep.json": "[" * 100_000,
    "long.json": "[" + "1" * 5_000 + "]",
    "broken.json": '{"method": "random",\n "parameters": }',
    "broken.yaml": "method: random\n  parameters: {\n",
    "tagged.yaml": "parameters: !!python/object/apply:os.system ['touch hacked']\n",
    "laughs.yaml": "a0: &a0 1\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 99)),
    "endless.yaml": "parameters: &p {a: {parameters: *p}, b: {parameters: *p}}\n",
    "two.yaml": "parameters: {a: {values: 9}, b: {distribution: beta}, c: {min: 0, max: 9}}\n",
    "words.txt": "just some words\n",
    "empty.yaml": "",
    "beta.json": '[{"name": "x", "type": "double", "bounds": {"min": 0, "max": 1}, "prior": {"name": "b"}}]',
}  # fmt: skip


class TestExitCodes:
    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            ("convert sweep.yaml --to json", 0, ""),
            ("convert sweep.yaml --to optuna -o out.py", 0, "left behind"),
            ("show sweep.yaml", 0, ""),
            ("--version", 0, ""),
            ("convert --help", 0, ""),
            # errors in the space
            ("convert two.yaml --to ray", 1, "  a: its choices are 9, .*\n  b: a beta distribution"),
            ("convert sweep.yaml --to ray --from sigopt", 1, "sweep.yaml: "),
            ("convert words.txt --to ray", 1, "words.txt: .*'just some words'"),
            ("convert empty.yaml --to ray", 1, "empty.yaml: "),
            ("convert beta.json --to ray", 1, "only a normal prior"),
            ("convert sweep.yaml --to wandb --method bayes", 1, "--metric eval_loss"),
            ("convert sweep.yaml --to wandb --goal maximize", 1, "metric: expected a metric with a name, got None"),
            # errors in a text file
            ("convert broken.json --to ray", 1, "broken.json: invalid JSON: line 2, column 16: "),
            ("convert deep.json --to ray", 1, "deep.json: it is nested too deeply"),
            ("convert long.json --to ray", 1, "long.json: it has a number of more digits"),
            ("convert broken.yaml --to ray", 1, "broken.yaml: .*YAML: .*line 2, column "),
            ("convert tagged.yaml --to ray", 1, "tagged.yaml: .*YAML: .*line 1, column 13"),
            ("convert laughs.yaml --to ray", 1, "laughs.yaml: .*aliases"),
            ("convert endless.yaml --to ray", 1, "endless.yaml: .*aliases"),
            ("convert latin1.yaml --to ray", 1, "latin1.yaml: invalid UTF-8: byte 5: "),
            # errors in Python code
            ("convert train.py:number --to ray", 1, "train.py:number: .*3"),
            ("convert train.py:invalid --to ray", 1, "  lr: low 1.0 is above high 0.0"),
            ("convert train.py:exits --to ray", 1, "exits with 3"),
            ("convert broken.py:space --to ray", 1, "broken.py cannot be imported\n  line 3: AttributeError"),
            ("convert syntax.py:space --to ray", 1, "syntax.py cannot be imported\n  SyntaxError"),
            ("convert exits.py:space --to ray", 1, "exits.py exits when it is imported\n  line 2: "),
            # errors in the command
            ("", 2, "usage: "),
            ("convert sweep.yaml", 2, "--to"),
            ("convert sweep.yaml --to hyperopt", 2, "invalid choice"),
            ("convert sweep.yaml --to optuna --method grid", 2, "--method goes with --to wandb"),
            ("convert sweep.yaml --to json --metric loss", 2, "--metric goes with --to wandb"),
            ("convert sweep.yaml --to optuna --searcher", 2, "--searcher goes with --to ray"),
            ("convert sweep.yaml --to ray --searcher hyperopt", 2, "invalid choice: 'hyperopt'"),
            ("convert nowhere.yaml --to ray", 2, "hpcompat: file not found: nowhere.yaml\n"),
            ("convert nowhere.py:space --to ray", 2, "file not found: nowhere.py\n"),
            ("convert nowhere_at_all:space --to ray", 2, "file or module not found: nowhere_at_all\n"),
            ("convert hpcompat.nowhere:space --to ray", 2, "file or module not found: hpcompat.nowhere\n"),
            ("convert train.py --to ray", 2, r"train.py:NAME \(its names: exits, number, invalid"),
            ("convert train.py:nothing --to ray", 2, "train.py does not define nothing\n"),
            ("convert . --to ray", 2, "cannot read .: Is a directory\n"),
            ("convert sweep.yaml --to json -o nowhere/out.json", 2, "cannot write nowhere/out.json: "),
            ("convert sweep.yaml --to json -o .", 2, "cannot write .: Is a directory\n"),
        ],
    )  # fmt: skip
    def test_command_exits_with_code_and_message(self, run: RunCommand, words: str, code: int, message: str) -> None:
        for name, content in FILES.items():
            write_input(content, name)
        Path("latin1.yaml").write_bytes(b"name\xe9: x\n")
        result = run(*shlex.split(words))
        assert result.code == code
        assert re.search(message, result.err, re.DOTALL), result.err
        assert bool(result.out) == (code == 0 and "-o" not in words)
        assert not Path("hacked").exists()

    def test_failed_conversion_keeps_old_output(self, run: RunCommand) -> None:
        write_input("mine", "out.py")
        assert run("convert", write_input(WEIGHTED), "--to", "optuna", "-o", "out.py").code == 1
        assert Path("out.py").read_text() == "mine"
        assert run("convert", "input.json", "--to", "optuna", "--encode", "-o", "out.py").code == 0
        assert "suggest" in Path("out.py").read_text()


def run_process(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python in a process whose standard streams are ASCII."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, input=stdin, text=True, encoding="utf-8", capture_output=True, env=environment)


class TestProcess:
    def test_ascii_terminal_reads_and_writes_utf8(self) -> None:
        sweep = "parameters: {größe: {values: [klein, groß, 大]}}"
        process = run_process("-m", "hpcompat", "convert", "-", "--to", "python", stdin=sweep)
        assert (process.returncode, process.stderr) == (0, "")
        assert execute(process.stdout)["space"] == hp.SearchSpace({"größe": hp.Categorical(["klein", "groß", "大"])})

    def test_closed_pipe_exits_without_message(self) -> None:
        sweep = json.dumps({"parameters": {f"p{n}": {"min": 0, "max": n + 2} for n in range(9_000)}})
        process = run_process("-m", "hpcompat", "convert", "-", "--to", "json", stdin=sweep)
        assert len(process.stdout) > 2**18  # larger than the buffer of a pipe
        command = [sys.executable, "-m", "hpcompat", "convert", "-", "--to", "json"]
        with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdout.close()
            process.stdin.write(sweep)
            process.stdin.close()
            assert (process.stderr.read(), process.wait()) == ("", 141)

    def test_closed_stdout_exits_with_message(self) -> None:
        code = "import sys, hpcompat.cli; sys.stdout = None; sys.exit(hpcompat.cli.main(sys.argv[1:]))"
        process = run_process("-c", code, "convert", "-", "--to", "json", stdin='{"parameters": {"a": {"value": 1}}}')
        assert process.returncode == 2
        assert "cannot write the standard output" in process.stderr

    @pytest.mark.parametrize(
        "words",
        [["show"], *(["convert", "--encode", "--to", to] for to in ["optuna", "ray", "sigopt", "wandb"])],
        ids=" ".join,
    )
    def test_command_imports_no_system(self, words: list[str]) -> None:
        code = (
            "import sys, hpcompat.cli; code = hpcompat.cli.main(sys.argv[1:])\n"
            "systems = {'optuna', 'ray', 'sigopt', 'wandb', 'torch', 'transformers', 'numpy'}\n"
            "sys.exit(code or bool(systems & sys.modules.keys()))"
        )
        process = run_process("-c", code, words[0], "-", *words[1:], stdin=json.dumps(SWEEP))
        assert process.returncode == 0, process.stderr

    @pytest.mark.parametrize("to", ["json", "python", "optuna", "wandb"])
    def test_conversion_between_built_in_dialects_looks_for_no_package(self, to: str) -> None:
        code = (
            "import sys, hpcompat.cli; code = hpcompat.cli.main(sys.argv[1:])\n"
            "sys.exit(code or 'importlib.metadata' in sys.modules)"
        )
        process = run_process("-c", code, "convert", "-", "--to", to, stdin=json.dumps(SWEEP))
        assert process.returncode == 0, process.stderr


class TestDocumentation:
    def test_page_shows_actual_output(self, run: RunCommand) -> None:
        n_commands = 0
        for language, content in FENCE.findall(DOCUMENTATION.read_text(encoding="utf-8")):
            if language != "console":
                write_input(content, content.splitlines()[0].removeprefix("# "))
                continue
            for part in re.split(r"^\$ hpcompat ", content, flags=re.MULTILINE)[1:]:
                command, _, expected = part.partition("\n")
                result = run(*shlex.split(command))
                assert result.err + result.out == expected
                n_commands += 1
        assert n_commands >= 7
