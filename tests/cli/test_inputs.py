"""Inputs of a command: text files, special files, and objects in Python code."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hpcompat as hp
from tests.cli.helpers import RunCommand, write_input

TRAIN = """
import optuna
from ray import tune

import hpcompat as hp

print("training code prints")
space = hp.SearchSpace({"lr": hp.Float(1e-6, 1e-4, log=True)})
parameter_dict = {"lr": hp.Float(1e-6, 1e-4, log=True)}
sweep = "method: random\\nparameters: {lr: {distribution: log_uniform_values, min: 1.0e-6, max: 1.0e-4}}"
domains = {"lr": tune.loguniform(1e-6, 1e-4)}
parameters = [{"name": "lr", "type": "double", "bounds": {"min": 1e-6, "max": 1e-4}, "transformation": "log"}]
study = optuna.create_study()
study.ask({"lr": optuna.distributions.FloatDistribution(1e-6, 1e-4, log=True)})


def suggest(trial):
    return {"lr": trial.suggest_float("lr", 1e-6, 1e-4, log=True)}


def hp_space(trial):
    return {"method": "random", "metric": {"name": "objective", "goal": "minimize"}, **hp.to_wandb(space)}


class Settings:
    space = space
"""
NAMES = ["space", "parameter_dict", "sweep", "domains", "parameters", "study", "suggest", "hp_space", "Settings.space"]


class TestPythonCode:
    @pytest.mark.parametrize("name", NAMES)
    def test_object_of_any_system_is_read(self, run: RunCommand, name: str) -> None:
        write_input(TRAIN, "train_objects.py")
        expected = hp.SearchSpace({"lr": hp.Float(1e-6, 1e-4, log=True)})
        for target in (f"train_objects.py:{name}", f"train_objects:{name}"):
            result = run("convert", target, "--to", "json")
            assert result.code == 0
            assert hp.SearchSpace.from_dict(json.loads(result.out)) == expected
        sys.modules.pop("train_objects")

    def test_printing_module_keeps_output_clean(self, run: RunCommand) -> None:
        write_input('print("hello")\nimport hpcompat as hp\nspace = {"a": hp.Float(0, 1)}', "prints.py")
        path = list(sys.path)
        result = run("convert", "prints.py:space", "--to", "json")
        assert json.loads(result.out)
        assert result.err == "hello\n"
        assert (sys.path, list(Path().glob("__pycache__"))) == (path, [])

    def test_module_imports_modules_of_its_directory(self, run: RunCommand) -> None:
        Path("project").mkdir()
        write_input("import hpcompat as hp\nlr = hp.Float(0, 1)", "project/neighbour_of_space.py")
        write_input("from neighbour_of_space import lr\nspace = {'lr': lr}", "project/space.py")
        assert run("convert", "project/space.py:space", "--to", "json").code == 0
        sys.modules.pop("neighbour_of_space")

    def test_function_returning_sweep_has_its_metric(self, run: RunCommand) -> None:
        write_input(TRAIN, "train.py")
        to_optuna = run("convert", "train.py:hp_space", "--to", "optuna")
        assert "left behind: method (random), metric (minimize objective)" in to_optuna.err
        sweep = yaml.safe_load(run("convert", "train.py:hp_space", "--to", "wandb").out)
        assert sweep["metric"] == {"name": "objective", "goal": "minimize"}


class TestAmbiguousNames:
    def test_sweep_with_parameter_named_eval_is_read_as_sweep(self, run: RunCommand) -> None:
        sweep = {"method": "random", "parameters": {"lr": {"min": 0.1, "max": 1.0}, "eval": {"value": True}}}
        result = run("convert", write_input(sweep), "--to", "wandb", "-o", "out.json")
        assert (result.code, result.err) == (0, "")
        assert hp.from_wandb(Path("out.json").read_text()) == hp.from_wandb(sweep)

    def test_group_named_parameters_is_read_as_group(self, run: RunCommand) -> None:
        source = "space = {'parameters': {'parameters': tune.uniform(0.0, 1.0)}, 'method': 'grid'}\n"
        write_input(f"from ray import tune\n{source}", "space.py")
        assert run("show", "space.py:space").code == 0
        result = run("convert", "space.py:space", "--to", "json")
        expected = {"parameters": {"parameters": hp.Float(0, 1)}, "method": hp.Constant("grid")}
        assert hp.SearchSpace.from_dict(json.loads(result.out)) == hp.SearchSpace(expected)
        assert "left behind" not in result.err


class TestSpecialFiles:
    """A file is checked before it is read, because a pipe may block and a device may be endless."""

    def show(self, file: str, stdin: Any = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
        # in a child process, which can be killed if it blocks
        command = [sys.executable, "-m", "hpcompat", "show", file]
        return subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=300)

    @pytest.mark.parametrize("name", ["pipe", "pipe.py", "pipe.yaml"])
    def test_pipe_fails(self, name: str, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / name)
        process = self.show(str(tmp_path / name))
        assert process.returncode == 2
        assert "expected a regular file, got a pipe or a device" in process.stderr or name == "pipe.py"

    def test_pipe_as_python_code_fails(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "code.py")
        assert self.show(f"{tmp_path / 'code.py'}:space").returncode == 2

    def test_endless_device_fails(self) -> None:
        process = self.show("/dev/zero")
        assert (process.returncode, process.stderr.count("regular file")) == (2, 1)

    def test_endless_standard_input_fails_at_the_size_limit(self) -> None:
        with open("/dev/zero", "rb") as zeros:
            process = self.show("-", zeros)
        assert process.returncode == 1
        assert "longer than 16 MiB" in process.stderr

    def test_large_file_fails(self, tmp_path: Path) -> None:
        with open(tmp_path / "large.yaml", "wb") as file:
            file.truncate(2**40)  # a sparse file, which needs no disk space
        process = self.show(str(tmp_path / "large.yaml"))
        assert process.returncode == 1
        assert "longer than 16 MiB" in process.stderr
