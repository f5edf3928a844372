"""How the command line behaves: exit codes, what is said on the standard error, files, pipes."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hpcompat as hp
from tests.cli.helpers import Run, executed, written

DOCS = Path(__file__).parents[2] / "docs/command_line.md"
SWEEP = {
    "method": "random",
    "parameters": {"lr": {"min": 0.0, "max": 1.0}, "deq": {"parameters": {"n": {"values": [40, 60]}}}},
}
WEIGHTED = hp.SearchSpace({"optim": hp.Categorical(["adamw", "sgd"], weights=[3, 1])}).to_dict()
TRAIN = """
import hpcompat as hp

number = 3
faulty = {"lr": hp.Float(1, 0)}


def leaves(trial):
    raise SystemExit(3)
"""

# -- exit codes ---------------------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("convert sweep.yaml --to json", 0, ""),
        ("convert sweep.yaml --to optuna -o out.py", 0, "left behind"),
        ("show sweep.yaml", 0, ""),
        ("--version", 0, ""),
        ("convert --help", 0, ""),
        # the space
        ("convert two.yaml --to ray", 1, "  a: its choices are 9, .*\n  b: a beta distribution"),
        ("convert sweep.yaml --to ray --from sigopt", 1, "sweep.yaml: "),
        ("convert words.txt --to ray", 1, "words.txt: .*'just some words' is none that is known"),
        ("convert empty.yaml --to ray", 1, "empty.yaml: this is no search space"),
        ("convert beta.json --to ray", 1, "only a normal prior"),
        ("convert sweep.yaml --to wandb --method bayes", 1, "--metric eval_loss"),
        # the text
        ("convert broken.json --to ray", 1, "broken.json: it is no JSON: line 2, column 16: "),
        ("convert deep.json --to ray", 1, "deep.json: it is nested too deeply"),
        ("convert long.json --to ray", 1, "long.json: it has a number of more digits"),
        ("convert broken.yaml --to ray", 1, "broken.yaml: it is no YAML: .*line 2, column "),
        ("convert tagged.yaml --to ray", 1, "tagged.yaml: it is no YAML: .*line 1, column 13"),
        ("convert laughs.yaml --to ray", 1, "aliases unfold"),
        ("convert endless.yaml --to ray", 1, "aliases unfold"),
        ("convert latin1.yaml --to ray", 1, "latin1.yaml: it is no text in UTF-8: byte 5: "),
        # the code
        ("convert train.py:number --to ray", 1, "3 is none that is known"),
        ("convert train.py:faulty --to ray", 1, "  lr: low 1.0 is above high 0.0"),
        ("convert train.py:leaves --to ray", 1, "exits with 3"),
        ("convert broken.py:space --to ray", 1, "broken.py cannot be imported\n  line 3: AttributeError"),
        ("convert syntax.py:space --to ray", 1, "syntax.py cannot be imported\n  SyntaxError"),
        ("convert exits.py:space --to ray", 1, "exits.py exits when it is imported\n  line 2: "),
        # the command
        ("", 2, "usage: "),
        ("convert sweep.yaml", 2, "--to"),
        ("convert sweep.yaml --to hyperopt", 2, "invalid choice"),
        ("convert sweep.yaml --to optuna --method grid", 2, "--method goes with --to wandb"),
        ("convert sweep.yaml --to json --metric loss", 2, "--metric goes with --to wandb"),
        ("convert sweep.yaml --to optuna --searcher", 2, "--searcher goes with --to ray"),
        ("convert sweep.yaml --to ray --searcher hyperopt", 2, "invalid choice: 'hyperopt'"),
        ("convert nowhere.yaml --to ray", 2, "hpcompat: there is no file nowhere.yaml\n"),
        ("convert nowhere.py:space --to ray", 2, "there is no file nowhere.py\n"),
        ("convert nowhere_at_all:space --to ray", 2, "no file and no module nowhere_at_all\n"),
        ("convert hpcompat.nowhere:space --to ray", 2, "no file and no module hpcompat.nowhere\n"),
        ("convert train.py --to ray", 2, r"train.py:NAME \(its names: leaves, number, faulty"),
        ("convert train.py:nothing --to ray", 2, "train.py has no nothing\n"),
        ("convert . --to ray", 2, "cannot read .: Is a directory\n"),
        ("convert sweep.yaml --to json -o nowhere/out.json", 2, "cannot write nowhere/out.json: "),
        ("convert sweep.yaml --to json -o .", 2, "cannot write .: Is a directory\n"),
    ],
)  # fmt: skip
def test_exit_codes_and_what_is_said(run: Run, words: str, code: int, says: str) -> None:
    for name, text in FILES.items():
        written(text, name)
    Path("latin1.yaml").write_bytes(b"name\xe9: x\n")
    ran = run(*shlex.split(words))
    assert ran.code == code
    assert re.search(says, ran.err, re.DOTALL), ran.err
    assert bool(ran.out) == (code == 0 and "-o" not in words)
    assert not Path("hacked").exists()


def test_a_refusal_leaves_the_old_output_alone(run: Run) -> None:
    written("mine", "out.py")
    assert run("convert", written(WEIGHTED), "--to", "optuna", "-o", "out.py").code == 1
    assert Path("out.py").read_text() == "mine"
    assert run("convert", "given.json", "--to", "optuna", "--encode", "-o", "out.py").code == 0
    assert "suggest" in Path("out.py").read_text()


# -- as a process -------------------------------------------------------------------------------------


def process(*words: str, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, *words],
        input=stdin,
        text=True,
        encoding="utf-8",
        capture_output=True,
        env=environment,
        **options,
    )


def test_a_filter_reads_and_writes_utf8_whatever_the_terminal() -> None:
    sweep = "parameters: {größe: {values: [klein, groß, 大]}}"
    ran = process("-m", "hpcompat", "convert", "-", "--to", "python", stdin=sweep)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert executed(ran.stdout)["space"] == hp.SearchSpace({"größe": hp.Categorical(["klein", "groß", "大"])})


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    many = json.dumps({"parameters": {f"p{n}": {"min": 0, "max": n + 2} for n in range(9_000)}})
    ran = process("-m", "hpcompat", "convert", "-", "--to", "json", stdin=many)
    assert len(ran.stdout) > 2**18  # more than a pipe holds
    command = [sys.executable, "-m", "hpcompat", "convert", "-", "--to", "json"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as convert:
        assert convert.stdin and convert.stdout and convert.stderr
        convert.stdout.close()
        convert.stdin.write(many)
        convert.stdin.close()
        assert (convert.stderr.read(), convert.wait()) == ("", 141)


def test_a_closed_output_is_said() -> None:
    code = "import sys, hpcompat.cli; sys.stdout = None; sys.exit(hpcompat.cli.main(sys.argv[1:]))"
    ran = process("-c", code, "convert", "-", "--to", "json", stdin='{"parameters": {"a": {"value": 1}}}')
    assert ran.returncode == 2
    assert "cannot write the standard output" in ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["show"],
        *(["convert", "--encode", "--to", to] for to in ["optuna", "ray", "sigopt", "wandb"]),
    ],
)
def test_no_system_need_be_installed(words: list[str]) -> None:
    code = (
        "import sys, hpcompat.cli; code = hpcompat.cli.main(sys.argv[1:])\n"
        "systems = {'optuna', 'ray', 'sigopt', 'wandb', 'torch', 'transformers', 'numpy'}\n"
        "sys.exit(code or bool(systems & sys.modules.keys()))"
    )
    ran = process("-c", code, words[0], "-", *words[1:], stdin=json.dumps(SWEEP))
    assert ran.returncode == 0, ran.stderr


# -- the page in the documentation --------------------------------------------------------------------

FENCE = re.compile(r"^```(yaml|python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_documentation_shows_what_is_printed(run: Run) -> None:
    commands = 0
    for kind, text in FENCE.findall(DOCS.read_text(encoding="utf-8")):
        if kind != "console":
            written(text, text.splitlines()[0].removeprefix("# "))
            continue
        for part in re.split(r"^\$ hpcompat ", text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            ran = run(*shlex.split(command))
            assert ran.err + ran.out == shown
            commands += 1
    assert commands >= 7


class TestSpecialFiles:
    """A file is looked at before it is read: a pipe may hold back, a device goes on for ever."""

    def show(self, file: str, stdin: Any = subprocess.DEVNULL) -> Any:
        # a process of its own: one that hangs is ended
        command = [sys.executable, "-m", "hpcompat", "show", file]
        return subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=300)

    @pytest.mark.parametrize("name", ["pipe", "pipe.py", "pipe.yaml"])
    def test_pipe_is_refused(self, name: str, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / name)
        ran = self.show(str(tmp_path / name))
        assert ran.returncode == 2
        assert "expected a regular file, got a pipe or a device" in ran.stderr or name == "pipe.py"

    def test_pipe_as_python_code_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "code.py")
        assert self.show(f"{tmp_path / 'code.py'}:space").returncode == 2

    def test_endless_device_is_refused(self) -> None:
        ran = self.show("/dev/zero")
        assert (ran.returncode, ran.stderr.count("regular file")) == (2, 1)

    def test_endless_standard_input_is_read_no_further_than_a_space_reaches(self) -> None:
        with open("/dev/zero", "rb") as zeros:
            ran = self.show("-", zeros)
        assert ran.returncode == 1 and "longer than 16 MiB" in ran.stderr

    def test_large_file_is_refused(self, tmp_path: Path) -> None:
        with open(tmp_path / "large.yaml", "wb") as file:
            file.truncate(2**40)  # it takes no room on the disk
        ran = self.show(str(tmp_path / "large.yaml"))
        assert ran.returncode == 1 and "longer than 16 MiB" in ran.stderr
