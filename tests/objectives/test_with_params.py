"""`with_params` sets the arguments, the dicts inside them and the params of model_init, as in a trial."""

from __future__ import annotations

import pytest
from transformers import TrainerCallback

import hpcompat as hp
from tests.helpers.trainers import Net, constant_space, create_bert

LR = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}


class TestWithParams:
    @pytest.mark.parametrize("tokens", [False, True], ids=["net", "bert"])
    def test_train_repeats_the_trial(self, make_trainer, run_hpcompat, tokens):
        model = {"model_init": create_bert, "tokens": True} if tokens else {}
        smoothing = {"label_smoothing_factor": hp.Float(0.0, 0.5)} if tokens else {}
        space = LR | {"seed": hp.Int(1, 9), "per_device_train_batch_size": hp.Categorical([8, 16])} | smoothing
        trainer = make_trainer(**model)
        best = run_hpcompat(trainer, space, n_trials=3).best

        assert hp.with_params(trainer, best.params) is trainer
        trainer.train()
        assert trainer.evaluate()["eval_loss"] == best.value
        assert trainer.args.seed == best.params["seed"]

    def test_second_call_binds_model_init_again(self, make_trainer):
        trainer = make_trainer(lambda trial: Net(trial["net"]["width"] if trial else 4))
        for width in (5, 6):
            hp.with_params(trainer, {"net": {"width": width}, "learning_rate": 0.1})
            trainer.train()
            assert trainer.model.hidden.out_features == width

    def test_unknown_name_raises(self, make_trainer):
        trainer = make_trainer()
        args = trainer.args
        with pytest.raises(hp.ParamsError, match="did you mean 'learning_rate'"):
            hp.with_params(trainer, {"learning_rat": 0.1})
        with pytest.raises(hp.ParamsError, match="width: is not a field of TrainingArguments"):
            hp.with_params(args, {"width": 3})
        with pytest.raises(hp.ParamsError, match=r"give its \.params"):
            hp.with_params(args, hp.Trial(0, {"learning_rate": 0.1}, (1.0,)))
        assert trainer.args is args

    def test_arguments_give_a_validated_copy(self, make_trainer):
        args = make_trainer().args
        copy = hp.with_params(args, {"learning_rate": "3e-4", "lr_scheduler_type": "cosine"})
        assert (copy.learning_rate, copy.lr_scheduler_type.value) == (3e-4, "cosine")
        assert args.learning_rate == 5e-5
        with pytest.raises(ValueError, match="one of fp16 and bf16"):
            hp.with_params(args, {"fp16": True, "bf16": True})

    def test_dotted_names_and_groups_reach_dict_fields(self, make_trainer, run_hpcompat, tmp_path):
        schedulers = []

        class RecordScheduler(TrainerCallback):
            def on_train_begin(self, args, state, control, **kwargs):
                schedulers.append((args.lr_scheduler_type.value, args.lr_scheduler_kwargs))

        arguments = {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 1}}
        trainer = make_trainer(trainer={"callbacks": [RecordScheduler()]}, **arguments)
        run_hpcompat(trainer, constant_space(**{"lr_scheduler_kwargs.num_cycles": 3}), n_trials=1)
        run_hpcompat(
            trainer, {"lr_scheduler_kwargs": {"num_cycles": hp.Constant(2)}}, n_trials=1, output_dir=str(tmp_path / "2")
        )
        assert schedulers == [("cosine_with_restarts", {"num_cycles": 3}), ("cosine_with_restarts", {"num_cycles": 2})]
        assert trainer.args.lr_scheduler_kwargs == {"num_cycles": 1}

    def test_each_training_has_its_own_trial(self, make_trainer):
        def model_init(trial):
            assert trial is None or trial.constraints == {}
            if trial is not None:
                trial.set_constraint("room", 1)
            return Net()

        trainer = hp.with_params(make_trainer(model_init), {"width": 2})
        trainer.train()
        trainer.train()  # a trial that is used twice would warn about its constraint
