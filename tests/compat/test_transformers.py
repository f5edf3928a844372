"""Arguments of a Trainer, and the mixed precision in the environment, in each version of transformers."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from hpcompat.compat.transformers import given_argument, initial_environment, reset_environment, set_output_dir


class TestGivenArgument:
    def test_argument_that_this_version_does_not_have_is_none(self, make_trainer):
        assert given_argument(make_trainer(), "of_a_newer_version") is None


class TestEnvironment:
    @pytest.mark.parametrize(
        ("fields", "remaining"),
        [
            ({}, {"MIXED_PRECISION": "bf16", "DYNAMO_BACKEND": "EAGER", "CPU": "1"}),
            ({"bf16": True}, {"DYNAMO_BACKEND": "EAGER", "CPU": "1"}),
            ({"torch_compile": True}, {"MIXED_PRECISION": "bf16", "CPU": "1"}),
        ],
    )
    def test_what_the_arguments_wrote_is_left_out(self, monkeypatch, fields, remaining):
        for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
            monkeypatch.delenv(name)
        for name, value in {"MIXED_PRECISION": "bf16", "DYNAMO_BACKEND": "EAGER", "CPU": "1"}.items():
            monkeypatch.setenv(f"ACCELERATE_{name}", value)
        defaults = {"fp16": False, "bf16": False, "torch_compile": False, "half_precision_backend": "auto"}
        initial = initial_environment(SimpleNamespace(**{**defaults, **fields}))  # as before transformers 5.0
        assert initial == {f"ACCELERATE_{name}": value for name, value in remaining.items()}
        monkeypatch.setenv("ACCELERATE_OF_A_TRIAL", "1")
        reset_environment(initial)
        assert {name: value for name, value in os.environ.items() if name.startswith("ACCELERATE_")} == initial


class TestSetOutputDir:
    @pytest.mark.parametrize(
        ("logging_dir", "expected"),
        [("out/runs/today", "out/run-0/runs/today"), ("logs", "logs"), ("output", "output")],
    )
    def test_logging_dir_inside_moves_along(self, logging_dir, expected):
        args = SimpleNamespace(output_dir="out", logging_dir=logging_dir)  # as before transformers 5.0
        set_output_dir(args, "out/run-0")
        assert (args.output_dir, args.logging_dir) == ("out/run-0", expected)

    def test_arguments_without_logging_dir(self):
        args = SimpleNamespace(output_dir="out")
        set_output_dir(args, "out/run-0")
        assert vars(args) == {"output_dir": "out/run-0"}
