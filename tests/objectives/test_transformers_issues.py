"""Bugs of transformers' own search, each shown there and shown to be absent in hpcompat.

If an assertion about `run_transformers` fails, transformers has fixed the bug, and the assertion can be removed.
"""

from __future__ import annotations

import logging
import os
import weakref

import optuna
import psutil
import pytest
from transformers import TrainerCallback

import hpcompat as hp
from hpcompat.trials.journal import JOURNAL_FILE
from tests.helpers.trainers import Net, constant_space, create_bert
from tests.helpers.versions import is_since, requires

# of transformers' own search; the older versions have the other faults below as well
HAS_NEW_FAULTS = is_since("transformers", "4.57")
CATCHES = is_since("transformers", "4.57")
READS_PRECISION = not is_since("transformers", "5.0")  # through the environment, where it also stays for later trials


class RecordArguments(TrainerCallback):
    """Records the arguments at the start of each training."""

    def __init__(self) -> None:
        self.args = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.args.append(args.to_dict())

    def __getitem__(self, name):
        return [arguments[name] for arguments in self.args]


def train_and_evaluate(trainer) -> float:
    """Train a new Trainer; returns the last evaluation loss."""
    trainer.train()
    return [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry][-1]


def loss(metrics):
    return metrics["eval_loss"]


class CyclicNet(Net):
    """Refers to itself, so that only a garbage collection frees it."""

    def __init__(self):
        super().__init__()
        self.__dict__["itself"] = self


class PruneAll(optuna.pruners.BasePruner):
    def prune(self, study, trial):
        return True


class TestTransformersIssues:
    def test_1_model_is_initialized_with_the_seed_of_its_trial(self, make_trainer, run_transformers, run_hpcompat):
        expected = [train_and_evaluate(make_trainer(seed=seed)) for seed in (1, 2)]

        transformers_result = run_transformers(make_trainer(), lambda trial: {"seed": trial.number + 1}, n_trials=2)
        assert (transformers_result.trials[1].value != expected[1]) == HAS_NEW_FAULTS

        hpcompat_result = run_hpcompat(make_trainer(), {"seed": hp.Categorical([1, 2])}, sampler="grid", seed=None)
        assert [trial.value for trial in hpcompat_result.trials] == expected

    def test_2_values_have_the_declared_type_of_the_field(self, make_trainer, run_transformers, run_hpcompat):
        params = {"save_steps": 0.25, "num_train_epochs": 0.7, "dataloader_drop_last": "False"}
        as_ints = {"save_steps": 0, "num_train_epochs": 0, "dataloader_drop_last": True}
        if is_since("transformers", "5.0"):  # before, it is declared as an int
            params["warmup_steps"], as_ints["warmup_steps"] = 0.2, 0

        recorded = RecordArguments()
        run_transformers(make_trainer(trainer={"callbacks": [recorded]}), lambda trial: params, n_trials=1)
        assert {name: recorded[name][0] for name in params} == as_ints

        recorded = RecordArguments()
        run_hpcompat(make_trainer(trainer={"callbacks": [recorded]}), constant_space(**params), n_trials=1)
        assert {name: recorded[name][0] for name in params} == {**params, "dataloader_drop_last": False}

    def test_3_params_of_a_trial_do_not_reach_the_next(self, make_trainer, run_transformers, run_hpcompat):
        recorded = RecordArguments()
        trainer = make_trainer(trainer={"callbacks": [recorded]})
        run_transformers(trainer, lambda trial: {"weight_decay": 0.1} if trial.number == 0 else {}, n_trials=2)
        assert recorded["weight_decay"] == [0.1, 0.1]
        assert trainer.args.weight_decay == 0.1

        recorded = RecordArguments()
        trainer = make_trainer(trainer={"callbacks": [recorded]})
        space = {
            "optim": hp.Categorical(["adamw_torch", "adafactor"]),
            "weight_decay": hp.Constant(0.1, when={"optim": "adamw_torch"}),
        }
        run_hpcompat(trainer, space, sampler="grid", seed=None)
        assert recorded["weight_decay"] == [0.1, 0.0]
        assert trainer.args.weight_decay == 0.0

    @pytest.mark.parametrize(
        "params",
        [
            {"label_smoothing_factor": 0.5},
            pytest.param({"neftune_noise_alpha": 5.0}, marks=requires("transformers", "4.57")),  # train() raises before
            {"bf16": True},
        ],
        ids=str,
    )
    def test_4_arguments_read_by_the_constructor_take_effect(
        self, make_trainer, run_transformers, run_hpcompat, params
    ):
        def create(**arguments):
            return make_trainer(create_bert, tokens=True, learning_rate=0.01, **arguments)

        without, expected = train_and_evaluate(create()), train_and_evaluate(create(**params))
        assert without != expected

        takes_effect = "bf16" in params and READS_PRECISION
        found = run_transformers(create(), lambda trial: params, n_trials=1).best_value
        assert found == (expected if takes_effect else without)
        assert run_hpcompat(create(), constant_space(**params), n_trials=1).best.value == expected

    def test_5_objective_is_that_of_the_best_checkpoint(self, make_trainer, run_transformers, run_hpcompat):
        def trainer():
            saving = {"save_strategy": "epoch", "load_best_model_at_end": True, "save_total_limit": 1}
            return make_trainer(num_train_epochs=5, learning_rate=0.5, lr_scheduler_type="constant", **saving)

        transformers_result = run_transformers(trainer(), lambda trial: {}, n_trials=1).trials[0]
        evaluations = list(transformers_result.intermediate_values.values())
        assert transformers_result.value == evaluations[-1] > min(evaluations)

        hpcompat_result = run_hpcompat(trainer(), {}, n_trials=1).best
        assert list(hpcompat_result.intermediate_values.values()) == evaluations
        assert hpcompat_result.value == min(evaluations)
        best_step = min(hpcompat_result.intermediate_values, key=hpcompat_result.intermediate_values.get)
        assert os.path.basename(hpcompat_result.checkpoint) == f"checkpoint-{best_step}"

    @pytest.mark.parametrize("model_class", [Net, CyclicNet])
    def test_6_no_model_outlives_its_trial(self, make_trainer, run_transformers, run_hpcompat, model_class):
        models, alive_counts = [], []

        def model_init():
            alive_counts.append(sum(model() is not None for model in models))
            model = model_class()
            models.append(weakref.ref(model))
            return model

        trainer = make_trainer(model_init)
        run_transformers(trainer, lambda trial: {}, n_trials=4)
        assert max(alive_counts) >= 1

        models.clear()
        trainer = make_trainer(model_init)
        alive_counts.clear()
        run_hpcompat(trainer, {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}, n_trials=10)
        assert alive_counts == [0] * 11  # ten trials, and the model of the restored Trainer

    def test_6_fifty_trials_use_the_memory_of_one(self, make_trainer, run_hpcompat):
        models, alive_counts, resident = [], [], []

        def model_init():
            alive_counts.append(sum(model() is not None for model in models))
            model = Net(14_000)
            models.append(weakref.ref(model))
            return model

        def measure(trial):
            resident.append(psutil.Process().memory_info().rss)

        trainer = make_trainer(model_init)
        size = sum(weight.nbytes for weight in trainer.model.parameters())
        alive_counts.clear()
        run_hpcompat(trainer, {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}, n_trials=50, callbacks=[measure])
        assert alive_counts == [0] * 51
        # a leaked model per trial would need 45 * size, and three times as much with its optimizer
        assert max(resident[5:]) - resident[4] < 8 * size

    def test_7_trainer_can_be_used_afterwards(self, make_trainer, run_transformers, run_hpcompat):
        trainer = make_trainer()
        run_transformers(trainer, lambda trial: {}, n_trials=1)
        assert (trainer.model is None) == HAS_NEW_FAULTS
        if HAS_NEW_FAULTS:
            with pytest.raises(AttributeError):
                trainer.evaluate()

        trainer = make_trainer()
        before = trainer.evaluate()["eval_loss"]
        run_hpcompat(trainer, {}, n_trials=1)
        assert trainer.evaluate()["eval_loss"] == before

    def test_8_pruned_trial_leaves_no_state(self, make_trainer, run_transformers, run_hpcompat):
        trainer = make_trainer()
        with pytest.raises(ValueError):
            run_transformers(trainer, lambda trial: {}, n_trials=1, pruner=PruneAll())
        assert trainer.is_in_train
        assert trainer.hp_search_backend is not None

        trainer = make_trainer()
        result = run_hpcompat(trainer, {}, n_trials=2, pruner=PruneAll())
        assert [trial.state for trial in result.trials] == ["PRUNED", "PRUNED"]
        assert not trainer.is_in_train
        assert trainer.hp_search_backend is None

    def test_9_second_search_in_one_output_dir_has_its_own_run_dirs(self, make_trainer, run_transformers, run_hpcompat):
        out = {"output_dir": make_trainer().args.output_dir, "save_strategy": "epoch"}
        trainer = make_trainer(**out)
        stale = os.path.join(trainer.args.output_dir, "run-0", "checkpoint-4", "of-the-first-search")
        run_transformers(trainer, lambda trial: {}, n_trials=1)
        open(stale, "w").close()
        run_transformers(make_trainer(**out), lambda trial: {}, n_trials=1)
        assert os.path.exists(stale)

        directories = set()
        for _ in range(2):
            result = run_hpcompat(make_trainer(**out), {}, n_trials=2, keep="all")
            os.remove(
                os.path.join(trainer.args.output_dir, JOURNAL_FILE)
            )  # an existing journal prevents a second search
            assert not any("of-the-first-search" in os.listdir(trial.checkpoint) for trial in result.trials)
            directories |= {trial.directory for trial in result.trials}
        assert len(directories) == 4

    def test_10_metrics_are_not_summed(self, make_trainer, run_transformers, run_hpcompat):
        def trainer():
            return make_trainer(trainer={"compute_metrics": lambda prediction: {"accuracy": 0.5, "mae": 100.0}})

        assert run_transformers(trainer(), lambda trial: {}, n_trials=1).best_value == 100.5

        with pytest.raises(hp.SearchError, match="which metric is the objective") as refusal:
            run_hpcompat(trainer(), {}, n_trials=1)
        assert {issue.path for issue in refusal.value.issues} == {"eval_loss", "eval_accuracy", "eval_mae", ""}
        assert run_hpcompat(trainer(), {}, n_trials=1, compute_objective=loss).best.value < 100

    def test_10_run_times_are_not_metrics(self, make_trainer, run_transformers, run_hpcompat):
        expected = train_and_evaluate(make_trainer())

        trainer = make_trainer()
        trainer.evaluate()  # it leaves a model_preparation_time in the metrics
        found = run_transformers(trainer, lambda trial: {}, n_trials=1).best_value
        assert (found != expected) == is_since("transformers", "4.42")

        trainer = make_trainer()
        trainer.evaluate()
        assert run_hpcompat(trainer, {}, n_trials=1).best.value == expected

    def test_11_all_trials_failed_shows_the_causes(self, make_trainer, run_transformers, run_hpcompat):
        calls = []

        def model_init():
            calls.append(1)
            if len(calls) > 1:
                raise OSError("the weights are gone")
            return Net()

        trainer = make_trainer(model_init)
        with pytest.raises(ValueError if CATCHES else OSError, match=r"No trials are completed yet|are gone"):
            # before 4.47 it passes `catch` to the wrong function
            run_transformers(trainer, lambda trial: {}, n_trials=2, **({"catch": (OSError,)} if CATCHES else {}))

        calls.clear()
        trainer = make_trainer(model_init)
        with (
            pytest.warns(UserWarning, match="left without a model"),
            pytest.raises(hp.SearchError, match="all 2 trials failed") as failure,
        ):
            run_hpcompat(trainer, {}, n_trials=2)
        assert str(failure.value.issues[0]) == "trials 0, 1: OSError: the weights are gone"

    def test_11_nan_fails_the_trial_only_if_it_is_the_final_value(self, make_trainer, run_transformers, run_hpcompat):
        def nan_at(epoch):
            return lambda metrics: float("nan") if metrics["epoch"] == epoch else metrics["eval_loss"]

        transformers_result = run_transformers(
            make_trainer(num_train_epochs=2), lambda trial: {}, n_trials=1, compute_objective=nan_at(1)
        )
        hpcompat_result = run_hpcompat(make_trainer(num_train_epochs=2), {}, n_trials=1, compute_objective=nan_at(1))
        assert hpcompat_result.best.value == transformers_result.best_value
        assert str(hpcompat_result.best.intermediate_values) == str(transformers_result.trials[0].intermediate_values)

        with pytest.raises(ValueError, match="No trials are completed yet"):
            run_transformers(
                make_trainer(num_train_epochs=2), lambda trial: {}, n_trials=1, compute_objective=nan_at(2)
            )
        with pytest.raises(hp.SearchError, match="trial 0: ValueError: the objective is nan"):
            run_hpcompat(make_trainer(num_train_epochs=2), {}, n_trials=1, compute_objective=nan_at(2))

    def test_11_callbacks_and_a_study_of_the_user_are_used(self, make_trainer, run_transformers, run_hpcompat):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        space = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
        with pytest.raises(TypeError):
            run_transformers(make_trainer(), hp.to_optuna(space), n_trials=2, study=study)

        finished = []
        result = run_hpcompat(make_trainer(), space, n_trials=2, study=study, seed=None, callbacks=[finished.append])
        assert result.native is study
        assert finished == list(result.trials)
        assert [trial.value for trial in study.trials] == [trial.value for trial in result.trials]

    def test_12_unknown_name_raises_before_the_first_trial(self, make_trainer, run_transformers, run_hpcompat, caplog):
        calls = []

        def model_init():
            calls.append(1)
            return Net()

        logging.getLogger("transformers").propagate, original = True, logging.getLogger("transformers").propagate
        try:
            run_transformers(make_trainer(model_init), lambda trial: {"learning_rat": 0.1}, n_trials=1)
        finally:
            logging.getLogger("transformers").propagate = original
        assert "no corresponding field" in caplog.text

        trainer = make_trainer(model_init)
        calls.clear()
        with pytest.raises(hp.SearchError, match="did you mean 'learning_rate'"):
            run_hpcompat(trainer, {"learning_rat": hp.Float(0.1, 1.0)}, n_trials=1)
        assert not calls
