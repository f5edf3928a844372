"""Trials share no state: callbacks, data collator and metrics are reset before each trial."""

from __future__ import annotations

import functools
import random

import pytest
import torch
from transformers import TrainerCallback, default_data_collator

import hpcompat as hp
from tests.helpers.trainers import compute_accuracy

LR = {"learning_rate": hp.Constant(0.01)}


class EarlyStopping(TrainerCallback):
    """Early stopping without a reset between trainings."""

    def __init__(self, patience=2):
        self.best, self.bad, self.patience = None, 0, patience
        self.losses = []

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.losses.append(metrics["eval_loss"])
        if self.best is None or metrics["eval_loss"] < self.best - 1.0:
            self.best, self.bad = metrics["eval_loss"], 0
        else:
            self.bad += 1
        control.should_training_stop = self.bad >= self.patience


class SlottedEarlyStopping(EarlyStopping):
    __slots__ = ("bad", "best")


class CountCalls:
    """Counts its calls in several types of attributes: in slots, changed in type, added and removed."""

    __slots__ = ("__dict__", "slotted")

    def __init__(self, call):
        self.call, self.calls, self.slotted, self.replaced, self.removed = call, 0, 0, 1, "initial"
        self.at_start = []

    def __call__(self, *args):
        if self.calls == 0:
            state = (self.slotted, self.replaced, getattr(self, "added", None), getattr(self, "removed", None))
            self.at_start.append(state)
        self.calls += 1
        self.slotted += 1
        self.replaced = {"not": "a number"}
        self.added = self.calls
        if hasattr(self, "removed"):
            del self.removed
        return self.call(*args)

    def method(self, *args):
        return self(*args)


def count_evaluations(result):
    return [len(trial.intermediate_values) for trial in result.trials]


class TestScalarAttributes:
    @pytest.mark.parametrize("callback_class", [EarlyStopping, SlottedEarlyStopping])
    def test_early_stopping_is_reset_for_every_trial(self, make_trainer, run_hpcompat, callback_class):
        stopping = callback_class()
        result = run_hpcompat(make_trainer(num_train_epochs=6, trainer={"callbacks": [stopping]}), LR, n_trials=3)
        assert count_evaluations(result) == [3, 3, 3]
        assert len(stopping.losses) == 9  # containers are not reset
        assert (stopping.best, stopping.bad) == (None, 0)

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda counting: counting,
            lambda counting: counting.method,
            lambda counting: functools.partial(counting),
            lambda counting: functools.partial(lambda other, *args: other(*args), counting),
        ],
        ids=["object", "bound method", "partial", "argument of a partial"],
    )
    @pytest.mark.parametrize("where", ["data_collator", "compute_metrics", "preprocess_logits_for_metrics"])
    def test_callables_are_reset(self, make_trainer, run_hpcompat, where, wrap):
        calls = {
            "data_collator": default_data_collator,
            "compute_metrics": compute_accuracy,
            "preprocess_logits_for_metrics": lambda logits, labels: logits,
        }
        counting = CountCalls(calls[where])
        run_hpcompat(make_trainer(trainer={"compute_metrics": compute_accuracy, where: wrap(counting)}), LR, n_trials=3)
        assert counting.at_start == [(0, 1, None, "initial")] * 3
        assert counting.calls == 0

    def test_attributes_of_a_function_are_reset(self, make_trainer, run_hpcompat):
        def metrics(prediction):
            counts.append(metrics.calls)
            metrics.calls += 1
            return compute_accuracy(prediction)

        metrics.calls, counts = 0, []
        run_hpcompat(make_trainer(trainer={"compute_metrics": metrics}), LR, n_trials=2)
        assert counts == [0, 0]

    def test_changes_between_trials_stay(self, make_trainer, run_hpcompat):
        stopping, patience = EarlyStopping(), []

        def increase_patience(trial):
            patience.append(stopping.patience)
            stopping.patience += 1

        trainer = make_trainer(num_train_epochs=6, trainer={"callbacks": [stopping]})
        assert count_evaluations(run_hpcompat(trainer, LR, n_trials=3, callbacks=[increase_patience])) == [3, 4, 5]
        assert patience == [2, 3, 4]

    def test_failed_trial_is_reset(self, make_trainer, run_hpcompat):
        class FailOnce(EarlyStopping):
            def on_evaluate(self, args, state, control, metrics, **kwargs):
                super().on_evaluate(args, state, control, metrics, **kwargs)
                if len(self.losses) == 1:
                    raise ValueError("once")

        result = run_hpcompat(make_trainer(num_train_epochs=6, trainer={"callbacks": [FailOnce()]}), LR, n_trials=2)
        assert [trial.state for trial in result.trials] == ["FAILED", "COMPLETE"]
        assert count_evaluations(result)[1] == 3


class Meter:
    def __init__(self):
        self.total = 0.0


class StatefulCollator:
    """A data collator that changes its state at each call."""

    def __init__(self, state, change):
        self.state, self.change, self.recorded = state, change, []

    def __call__(self, features):
        self.change(self)
        return default_data_collator(features)


def rebind(value):
    return lambda collator: setattr(collator, "state", value())


def change_class_attribute(collator):
    type(collator).calls = getattr(type(collator), "calls", 0) + 1


def create_counting_closure():
    calls = 0

    def measure(prediction):
        nonlocal calls
        calls += 1
        return {"calls": float(calls)}

    return measure


n_calls = 0


def count_in_global(prediction):
    global n_calls
    n_calls += 1
    return {"calls": float(n_calls)}


class TestOtherState:
    @pytest.mark.parametrize(
        ("measure", "name"),
        [(create_counting_closure(), "compute_metrics: calls"), (count_in_global, "compute_metrics: n_calls")],
        ids=["closure", "global"],
    )
    def test_closure_or_global_variable_is_warned_of(self, make_trainer, run_hpcompat, measure, name):
        trainer = make_trainer(trainer={"compute_metrics": measure})
        with pytest.warns(UserWarning, match=f"trials see state that earlier trials have changed: {name}") as warned:
            run_hpcompat(trainer, LR, n_trials=3)
        assert len(warned) == 1

    @pytest.mark.parametrize(
        ("state", "change"),
        [
            (Meter, lambda collator: setattr(collator.state, "total", collator.state.total + 1)),
            (Meter, rebind(Meter)),
            (lambda: torch.zeros(2), lambda collator: collator.state.add_(1)),
            (lambda: random.Random(0), lambda collator: collator.state.random()),
            (torch.Generator, lambda collator: torch.rand(1, generator=collator.state)),
        ],
        ids=["in an object", "another object", "in a tensor", "in a generator", "in torch's generator"],
    )
    def test_changed_object_is_warned_of_once(self, make_trainer, run_hpcompat, state, change):
        trainer = make_trainer(trainer={"data_collator": StatefulCollator(state(), change)})
        with pytest.warns(UserWarning, match=r"data_collator\.state\..*a function trial -> Trainer") as warned:
            result = run_hpcompat(trainer, LR, n_trials=3)
        assert len(warned) == 1
        assert {trial.carried for trial in result.trials} == {("data_collator.state",)}

    def test_class_attribute_is_warned_of(self, make_trainer, run_hpcompat):
        class CollatorWithClassAttribute(StatefulCollator):
            calls = 0

        with pytest.warns(UserWarning, match=r"CollatorWithClassAttribute\.calls"):
            run_hpcompat(
                make_trainer(trainer={"data_collator": CollatorWithClassAttribute(None, change_class_attribute)}),
                LR,
                n_trials=2,
            )

    def test_object_of_the_trainer_is_warned_of(self, make_trainer, run_hpcompat):
        class CountingDataset(torch.utils.data.Dataset):
            def __init__(self, rows):
                self.rows, self.n_reads = rows, 0

            def __len__(self):
                return len(self.rows)

            def __getitem__(self, index):
                self.n_reads += 1
                return self.rows[index]

        trainer = make_trainer()
        trainer.train_dataset = CountingDataset(trainer.train_dataset)
        with pytest.warns(UserWarning, match=r"trainer\.train_dataset"):
            run_hpcompat(trainer, LR, n_trials=2)

    def test_containers_and_state_of_the_trainer_do_not_warn(self, make_trainer, run_hpcompat):
        class StoreReferences(TrainerCallback):
            def __init__(self):
                self.rows, self.by_trial, self.trainer, self.model = [], {}, None, None

            def on_train_begin(self, args, state, control, model, optimizer, **kwargs):
                self.model, self.optimizer, self.args = model, optimizer, args
                self.names = [*getattr(self, "names", ()), state.trial_name]

            def on_evaluate(self, args, state, control, metrics, **kwargs):
                self.rows = [*self.rows, metrics]
                self.by_trial[state.trial_name] = self.trainer.state

        callback = StoreReferences()
        trainer = make_trainer(trainer={"callbacks": [callback]}, report_to=["tensorboard"])
        callback.trainer = trainer
        run_hpcompat(trainer, LR, n_trials=2)
        assert len(callback.rows) == len(callback.by_trial) == len(callback.names) == 2
        assert callback.model is None
        assert not hasattr(callback, "optimizer")

    def test_single_trial_does_not_warn(self, make_trainer, run_hpcompat):
        collator = StatefulCollator(Meter(), lambda collator: setattr(collator.state, "total", 1.0))
        run_hpcompat(make_trainer(trainer={"data_collator": collator}), LR, n_trials=1)
