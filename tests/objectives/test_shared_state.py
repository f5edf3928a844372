"""No state goes from trial to trial: callbacks, data collator and metrics are as given before each one."""

from __future__ import annotations

import functools
import random

import pytest
import torch
from transformers import TrainerCallback, default_data_collator

import hpcompat as hp
from tests.helpers.trainers import compute_accuracy

LR = {"learning_rate": hp.Constant(0.01)}


class Stopping(TrainerCallback):
    """Early stopping as people write it: without a reset."""

    def __init__(self, patience=2):
        self.best, self.bad, self.patience = None, 0, patience
        self.seen = []

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.seen.append(metrics["eval_loss"])
        if self.best is None or metrics["eval_loss"] < self.best - 1.0:
            self.best, self.bad = metrics["eval_loss"], 0
        else:
            self.bad += 1
        control.should_training_stop = self.bad >= self.patience


class SlottedStopping(Stopping):
    __slots__ = ("bad", "best")


class Counting:
    """A callable that counts its calls, in every way that an attribute can hold a number."""

    __slots__ = ("__dict__", "slotted")

    def __init__(self, call):
        self.call, self.calls, self.slotted, self.given, self.lost = call, 0, 0, 1, "there"
        self.at_start = []

    def __call__(self, *args):
        if self.calls == 0:
            state = (self.slotted, self.given, getattr(self, "added", None), getattr(self, "lost", None))
            self.at_start.append(state)
        self.calls += 1
        self.slotted += 1
        self.given = {"no": "number"}
        self.added = self.calls
        if hasattr(self, "lost"):
            del self.lost
        return self.call(*args)

    def method(self, *args):
        return self(*args)


def evaluations(result):
    return [len(trial.intermediate_values) for trial in result.trials]


class TestScalarAttributes:
    @pytest.mark.parametrize("kind", [Stopping, SlottedStopping])
    def test_early_stopping_is_reset_for_every_trial(self, make_trainer, run_hpcompat, kind):
        stopping = kind()
        result = run_hpcompat(make_trainer(num_train_epochs=6, trainer={"callbacks": [stopping]}), LR, n_trials=3)
        assert evaluations(result) == [3, 3, 3]
        assert len(stopping.seen) == 9  # a recorder's list is the user's
        assert (stopping.best, stopping.bad) == (None, 0)

    @pytest.mark.parametrize(
        "wrapped",
        [
            lambda counting: counting,
            lambda counting: counting.method,
            lambda counting: functools.partial(counting),
            lambda counting: functools.partial(lambda other, *args: other(*args), counting),
        ],
        ids=["object", "bound method", "partial", "argument of a partial"],
    )
    @pytest.mark.parametrize("where", ["data_collator", "compute_metrics", "preprocess_logits_for_metrics"])
    def test_callables_are_reset(self, make_trainer, run_hpcompat, where, wrapped):
        calls = {
            "data_collator": default_data_collator,
            "compute_metrics": compute_accuracy,
            "preprocess_logits_for_metrics": lambda logits, labels: logits,
        }
        counting = Counting(calls[where])
        # one that was there from the start
        run_hpcompat(
            make_trainer(trainer={"compute_metrics": compute_accuracy, where: wrapped(counting)}), LR, n_trials=3
        )
        assert counting.at_start == [(0, 1, None, "there")] * 3
        assert counting.calls == 0

    def test_attributes_of_a_function_are_reset(self, make_trainer, run_hpcompat):
        def metrics(prediction):
            seen.append(metrics.calls)
            metrics.calls += 1
            return compute_accuracy(prediction)

        metrics.calls, seen = 0, []
        run_hpcompat(make_trainer(trainer={"compute_metrics": metrics}), LR, n_trials=2)
        assert seen == [0, 0]

    def test_changes_between_trials_stay(self, make_trainer, run_hpcompat):
        stopping, patience = Stopping(), []

        def harder(trial):
            patience.append(stopping.patience)
            stopping.patience += 1

        trainer = make_trainer(num_train_epochs=6, trainer={"callbacks": [stopping]})
        assert evaluations(run_hpcompat(trainer, LR, n_trials=3, callbacks=[harder])) == [3, 4, 5]
        assert patience == [2, 3, 4]

    def test_failed_trial_is_reset(self, make_trainer, run_hpcompat):
        class Fails(Stopping):
            def on_evaluate(self, args, state, control, metrics, **kwargs):
                super().on_evaluate(args, state, control, metrics, **kwargs)
                if len(self.seen) == 1:
                    raise ValueError("once")

        result = run_hpcompat(make_trainer(num_train_epochs=6, trainer={"callbacks": [Fails()]}), LR, n_trials=2)
        assert [trial.state for trial in result.trials] == ["FAILED", "COMPLETE"]
        assert evaluations(result)[1] == 3


class Meter:
    def __init__(self):
        self.total = 0.0


class Collates:
    """A data collator with a state of the given kind."""

    def __init__(self, state, change):
        self.state, self.change, self.recorded = state, change, []

    def __call__(self, features):
        self.change(self)
        return default_data_collator(features)


def rebind(value):
    return lambda collator: setattr(collator, "state", value())


def of_the_class(collator):
    type(collator).calls = getattr(type(collator), "calls", 0) + 1


def counts_outside():
    calls = 0

    def measure(prediction):
        nonlocal calls
        calls += 1
        return {"calls": float(calls)}

    return measure


counted = 0


def counts_globally(prediction):
    global counted
    counted += 1
    return {"calls": float(counted)}


class TestOtherState:
    @pytest.mark.parametrize(
        ("measure", "name"),
        [(counts_outside(), "compute_metrics: calls"), (counts_globally, "compute_metrics: counted")],
        ids=["of the function around it", "global"],
    )
    def test_variable_outside_of_a_function_is_warned_of(self, make_trainer, run_hpcompat, measure, name):
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
        trainer = make_trainer(trainer={"data_collator": Collates(state(), change)})
        with pytest.warns(UserWarning, match=r"data_collator\.state\..*a function trial -> Trainer") as warned:
            result = run_hpcompat(trainer, LR, n_trials=3)
        assert len(warned) == 1
        assert {trial.carried for trial in result.trials} == {("data_collator.state",)}

    def test_class_attribute_is_warned_of(self, make_trainer, run_hpcompat):
        class Own(Collates):
            calls = 0

        with pytest.warns(UserWarning, match=r"Own\.calls"):
            run_hpcompat(make_trainer(trainer={"data_collator": Own(None, of_the_class)}), LR, n_trials=2)

    def test_object_of_the_trainer_is_warned_of(self, make_trainer, run_hpcompat):
        class Counted(torch.utils.data.Dataset):
            def __init__(self, rows):
                self.rows, self.drawn = rows, 0

            def __len__(self):
                return len(self.rows)

            def __getitem__(self, index):
                self.drawn += 1
                return self.rows[index]

        trainer = make_trainer()
        trainer.train_dataset = Counted(trainer.train_dataset)
        with pytest.warns(UserWarning, match=r"trainer\.train_dataset"):
            run_hpcompat(trainer, LR, n_trials=2)

    def test_containers_and_the_trainers_own_state_do_not_warn(self, make_trainer, run_hpcompat):
        class Holds(TrainerCallback):
            def __init__(self):
                self.rows, self.by_trial, self.trainer, self.model = [], {}, None, None

            def on_train_begin(self, args, state, control, model, optimizer, **kwargs):
                self.model, self.optimizer, self.args = model, optimizer, args
                self.lazily = [*getattr(self, "lazily", ()), state.trial_name]

            def on_evaluate(self, args, state, control, metrics, **kwargs):
                self.rows = [*self.rows, metrics]
                self.by_trial[state.trial_name] = self.trainer.state

        holds = Holds()
        trainer = make_trainer(trainer={"callbacks": [holds]}, report_to=["tensorboard"])
        holds.trainer = trainer
        run_hpcompat(trainer, LR, n_trials=2)
        assert len(holds.rows) == len(holds.by_trial) == len(holds.lazily) == 2
        assert holds.model is None
        assert not hasattr(holds, "optimizer")

    def test_single_trial_does_not_warn(self, make_trainer, run_hpcompat):
        collates = Collates(Meter(), lambda collator: setattr(collator.state, "total", 1.0))
        run_hpcompat(make_trainer(trainer={"data_collator": collates}), LR, n_trials=1)
