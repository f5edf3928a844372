"""Arguments of a Trainer, and the mixed precision in the environment, in each version of transformers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import TrainingArguments

from hpcompat.compat.transformers import given_argument, initial_mixed_precision, reset_mixed_precision, set_output_dir

VARIABLE = "ACCELERATE_MIXED_PRECISION"


class TestGivenArgument:
    def test_argument_that_this_version_does_not_have_is_none(self, make_trainer):
        assert given_argument(make_trainer(), "of_a_newer_version") is None


class TestMixedPrecision:
    @pytest.mark.parametrize(
        ("bf16", "environment", "expected"), [(False, None, "no"), (False, "bf16", "bf16"), (True, "bf16", "no")]
    )
    def test_what_the_arguments_wrote_is_left_out(self, monkeypatch, bf16, environment, expected):
        if environment:
            monkeypatch.setenv(VARIABLE, environment)
        else:
            monkeypatch.delenv(VARIABLE, raising=False)
        args = SimpleNamespace(fp16=False, bf16=bf16, half_precision_backend="auto")  # as before transformers 5.0
        assert initial_mixed_precision(args) == expected

    def test_environment_stays_as_it_is_if_no_arguments_write_it(self, monkeypatch):
        monkeypatch.setenv(VARIABLE, "bf16")
        args = SimpleNamespace(fp16=False, bf16=True)  # since transformers 5.0
        reset_mixed_precision(initial_mixed_precision(args))
        args = TrainingArguments("unused", use_cpu=True)
        if hasattr(args, "half_precision_backend"):
            pytest.skip("transformers before 5.0 writes the environment")
        assert args.mixed_precision == "bf16"


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
