"""hp_space functions that transformers' own search runs, and that no one search space can say: the way that is named."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from tiny import Digits, Net, a_trainer
from transformers import Trainer

import hpcompat as hp

HpSpace = Callable[[Any], dict[str, Any]]


def a_range_by_optimizer_under_one_name(trial):
    optim = trial.suggest_categorical("optim", ["sgd", "adamw_torch"])
    low, high = (1e-2, 1e-1) if optim == "sgd" else (1e-5, 1e-3)
    return {"optim": optim, "learning_rate": trial.suggest_float("learning_rate", low, high, log=True)}


def accumulation_for_one_batch_size(trial):
    batch = trial.suggest_categorical("per_device_train_batch_size", [4, 8, 16])
    return {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 32 // batch}


def power_of_two(trial):
    exponent = trial.suggest_int("exponent", 2, 4)
    return {"per_device_train_batch_size": 2**exponent, "learning_rate": 10 ** trial.suggest_float("lr", -4, -2)}


def a_draw_or_a_constant(trial):
    decays = trial.suggest_categorical("decays", [True, False])
    return {"weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.1) if decays else 0.0}


def a_range_that_starts_at_a_draw(trial):
    warmup = trial.suggest_int("warmup", 0, 2)
    return {"warmup_steps": warmup, "max_steps": trial.suggest_int("max_steps", warmup + 1, 4)}


def names_for_each_under_one_key(trial):
    optim = trial.suggest_categorical("optim", ["sgd", "adamw_torch"])
    return {"optim": optim, "learning_rate": trial.suggest_float(f"lr_{optim}", 1e-4, 1e-2)}


def for_the_model_too(trial):
    heads = trial.suggest_int("heads", 1, 3)
    return {"width": 4 * heads, "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2) / heads}


HP_SPACES = [
    a_range_by_optimizer_under_one_name,
    accumulation_for_one_batch_size,
    power_of_two,
    a_draw_or_a_constant,
    a_range_that_starts_at_a_draw,
    names_for_each_under_one_key,
    for_the_model_too,
]


def lines_to_copy(hp_space: HpSpace) -> str:
    """The code in the message that refuses a function."""
    with pytest.raises(hp.TranslationError) as refusal:
        hp.as_space(hp_space)
    message = str(refusal.value)
    assert message.count("def make_trainer(trial):") == 1
    return textwrap.dedent("    def make_trainer" + message.partition("    def make_trainer")[2])


@pytest.mark.parametrize("hp_space", HP_SPACES, ids=lambda function: function.__name__)
def test_the_lines_in_the_message_search_a_trainer(make_trainer, hp_space):
    built, drawn = [], []

    def model_init(trial=None):
        built.append(trial["width"] if trial is not None and "width" in trial else 8)
        return Net(built[-1])

    class Watched(Trainer):
        def train(self, *args, **kwargs):
            trained.append(self.args)
            return super().train(*args, **kwargs)

    def recorded(trial):
        drawn.append(hp_space(trial))
        return drawn[-1]

    trained: list[Any] = []
    source = lines_to_copy(hp_space).replace('backend="optuna"', 'backend="optuna", n_trials=3, seed=0, progress=False')
    caller = {
        "hp": hp,
        "Trainer": Watched,
        "args": make_trainer().args,
        "model_init": model_init,
        "train_dataset": Digits(0, 64),
        "eval_dataset": Digits(64, 128),
        hp_space.__name__: recorded,
    }
    exec(source, caller)
    result = caller["result"]
    assert [trial.cause for trial in result.trials] == [None] * 3
    assert all(trial.values for trial in result.trials)
    fields = [{name: value for name, value in params.items() if name != "width"} for params in drawn]
    assert [
        {name: getattr(args, name) for name in params} for args, params in zip(trained, fields, strict=True)
    ] == fields
    if "width" in drawn[0]:
        assert {params["width"] for params in drawn} <= set(built)
    # what was suggested is the trial's params: the function makes of them what was trained
    assert [hp_space(Given(trial.params)) for trial in result.trials] == drawn


class Given:
    """The trial of some params, as Optuna's FixedTrial is one."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def suggest_float(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.params[name]

    suggest_int = suggest_categorical = suggest_float
