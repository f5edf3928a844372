"""hp_space functions that transformers accepts but that a search space cannot represent, and Optuna objectives."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from transformers import Trainer

import hpcompat as hp
from tests.helpers.trainers import Digits, Net

HpSpace = Callable[[Any], dict[str, Any]]


def range_depends_on_optimizer(trial):
    optim = trial.suggest_categorical("optim", ["sgd", "adamw_torch"])
    low, high = (1e-2, 1e-1) if optim == "sgd" else (1e-5, 1e-3)
    return {"optim": optim, "learning_rate": trial.suggest_float("learning_rate", low, high, log=True)}


def accumulation_computed_from_batch_size(trial):
    batch = trial.suggest_categorical("per_device_train_batch_size", [4, 8, 16])
    return {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 32 // batch}


def power_of_two(trial):
    exponent = trial.suggest_int("exponent", 2, 4)
    return {"per_device_train_batch_size": 2**exponent, "learning_rate": 10 ** trial.suggest_float("lr", -4, -2)}


def draw_or_constant(trial):
    decays = trial.suggest_categorical("decays", [True, False])
    return {"weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.1) if decays else 0.0}


def bound_is_a_draw(trial):
    warmup = trial.suggest_int("warmup", 0, 2)
    return {"warmup_steps": warmup, "max_steps": trial.suggest_int("max_steps", warmup + 1, 4)}


def name_depends_on_optimizer(trial):
    optim = trial.suggest_categorical("optim", ["sgd", "adamw_torch"])
    return {"optim": optim, "learning_rate": trial.suggest_float(f"lr_{optim}", 1e-4, 1e-2)}


def draw_for_model_and_arguments(trial):
    heads = trial.suggest_int("heads", 1, 3)
    return {"width": 4 * heads, "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2) / heads}


HP_SPACES = [
    range_depends_on_optimizer,
    accumulation_computed_from_batch_size,
    power_of_two,
    draw_or_constant,
    bound_is_a_draw,
    name_depends_on_optimizer,
    draw_for_model_and_arguments,
]


def extract_code(hp_space: HpSpace) -> str:
    """Return the code in the error message for a function."""
    with pytest.raises(hp.TranslationError) as refusal:
        hp.as_space(hp_space)
    message = str(refusal.value)
    assert message.count("def make_trainer(trial):") == 1
    return textwrap.dedent("    def make_trainer" + message.partition("    def make_trainer")[2])


class FixedTrial:
    """A trial with fixed params, like Optuna's FixedTrial."""

    def __init__(self, params: Any) -> None:
        self.params = params

    def suggest_float(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.params[name]

    suggest_int = suggest_categorical = suggest_float


class TestHpSpace:
    @pytest.mark.parametrize("hp_space", HP_SPACES, ids=lambda function: function.__name__)
    def test_code_in_the_error_message_searches_a_trainer(self, make_trainer, hp_space):
        widths, returned = [], []

        def model_init(trial=None):
            widths.append(trial["width"] if trial is not None and "width" in trial else 8)
            return Net(widths[-1])

        class RecordingTrainer(Trainer):
            def train(self, *args, **kwargs):
                arguments.append(self.args)
                return super().train(*args, **kwargs)

        def record(trial):
            returned.append(hp_space(trial))
            return returned[-1]

        arguments: list[Any] = []
        source = extract_code(hp_space).replace(
            'backend="optuna"', 'backend="optuna", n_trials=3, seed=0, progress=False'
        )
        names = {
            "hp": hp,
            "Trainer": RecordingTrainer,
            "args": make_trainer().args,
            "model_init": model_init,
            "train_dataset": Digits(0, 64),
            "eval_dataset": Digits(64, 128),
            hp_space.__name__: record,
        }
        exec(source, names)
        result = names["result"]
        assert [trial.cause for trial in result.trials] == [None] * 3
        assert all(trial.values for trial in result.trials)
        fields = [{name: value for name, value in params.items() if name != "width"} for params in returned]
        assert [
            {name: getattr(args, name) for name in params} for args, params in zip(arguments, fields, strict=True)
        ] == fields
        if "width" in returned[0]:
            assert {params["width"] for params in returned} <= set(widths)
        # the params of a trial are its suggestions, from which the function computes the arguments
        assert [hp_space(FixedTrial(trial.params)) for trial in result.trials] == returned

    def test_hyperparameter_search_accepts_a_function_that_creates_trainers(self, make_trainer):
        args = make_trainer().args

        def new_trainer(trial):
            data = {"train_dataset": Digits(0, 64), "eval_dataset": Digits(64, 128)}
            return hp.with_params(Trainer(args=args, model_init=lambda: Net(), **data), power_of_two(trial))

        best = hp.hyperparameter_search(new_trainer, {}, backend="optuna", n_trials=2, seed=0, progress=False)
        assert best.hyperparameters.keys() == {"exponent", "lr"}
        assert best.objective == min(trial.value for trial in best.run_summary.trials)

    @pytest.mark.parametrize("backend", ["wandb", "sigopt"])
    def test_empty_space_on_other_backend_than_optuna_raises(self, run_hpcompat, backend):
        def fail_if_called(trial):
            raise AssertionError("a trial was started")

        with pytest.raises(hp.HpcompatError, match="needs backend='optuna'"):
            run_hpcompat(fail_if_called, {}, backend=backend, n_trials=2)


class TestOptunaObjective:
    """An Optuna objective has no search space, so it is searched with an empty space."""

    @staticmethod
    def number(trial):
        name = trial.suggest_categorical("classifier", ["SVC", "RandomForest"])
        if name == "SVC":
            return trial.suggest_float("svc_c", 1e-10, 1e10, log=True) % 1
        return trial.suggest_int("rf_max_depth", 2, 32, log=True) / 32

    @staticmethod
    def pruned(trial):
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
        depth = trial.suggest_int("depth", 1, trial.suggest_int("most", 2, 9))
        for step in range(3):
            trial.report(rate * step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        trial.set_user_attr("depth", depth)
        return rate * depth

    @pytest.mark.parametrize("name", ["number", "pruned"])
    def test_search_gives_the_trials_of_optuna(self, run_hpcompat, name):
        objective = getattr(self, name)
        with pytest.raises(hp.TranslationError, match=r"search\(objective, \{\}, backend=['\"]optuna['\"]\)"):
            hp.as_space(objective)
        options = {"pruner": optuna.pruners.MedianPruner(n_startup_trials=2)}
        result = run_hpcompat(objective, {}, backend="optuna", n_trials=12, **options)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), **options)
        study.optimize(objective, n_trials=12)
        assert [dict(trial.params) for trial in result.trials] == [trial.params for trial in study.trials]
        assert [trial.value for trial in result.trials] == [trial.value for trial in study.trials]
        assert [trial.state for trial in result.trials] == [trial.state.name for trial in study.trials]

    def test_resumed_study_keeps_the_suggested_params(self, run_hpcompat):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        first = run_hpcompat(self.number, {}, backend="optuna", n_trials=3, seed=None, study=study)
        second = run_hpcompat(self.number, {}, backend="optuna", n_trials=5, seed=None, study=study)
        assert [trial.params for trial in second.trials[:3]] == [trial.params for trial in first.trials]
        assert [dict(trial.params) for trial in second.trials] == [trial.params for trial in study.trials]

    def test_resumed_search_keeps_the_suggested_params(self, run_hpcompat, tmp_path):
        options = {"backend": "optuna", "output_dir": str(tmp_path / "out")}
        first = run_hpcompat(self.number, {}, n_trials=3, **options)
        second = run_hpcompat(self.number, {}, n_trials=5, resume=True, **options)
        assert [trial.params for trial in second.trials[:3]] == [trial.params for trial in first.trials]
        assert all(trial.params for trial in second.trials)

    def test_function_that_returns_none_is_a_space(self):
        def suggest(trial):
            self.number(trial)

        assert set(hp.as_space(suggest)) == {"classifier", "svc_c", "rf_max_depth"}
