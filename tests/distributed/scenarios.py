"""What every rank of a launcher runs: `python scenarios.py FOLDER NAME[:ARGUMENT…]…`.

Each scenario is a search. What a rank has seen of it is written to FOLDER/NAME.RANK.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import hpcompat as hp

RANK, FOLDER, NAMES = int(os.environ.get("RANK", 0)), Path(*sys.argv[1:2]), sys.argv[2:]
RATE = {"learning_rate": hp.Float(1e-4, 1e-1, log=True)}
X = {"x": hp.Float(0.0, 4.0)}
CURRENT: dict[str, Any] = {"trial": -1, "name": ""}  # what is running here

search = partial(hp.search, seed=0, progress=False)


def trainer(model_init: Any = None, **arguments: Any) -> Any:
    from tests.helpers.trainers import Net, create_trainer

    defaults = {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 32, "ddp_find_unused_parameters": False}
    return create_trainer(str(FOLDER / str(CURRENT["name"])), model_init or Net, **{**defaults, **arguments})


def fails(ranks: Any, *, number: int = 1, call: int = 3) -> Any:
    """Return a model_init whose model raises on these ranks at a call in the middle of a trial."""
    from tests.helpers.trainers import Net

    class Fails(Net):
        calls = 0

        def forward(self, pixels: Any, labels: Any) -> Any:
            self.calls += 1
            if CURRENT["trial"] == number and RANK in ranks and self.calls == call:
                raise ValueError(f"odd {RANK}")
            return super().forward(pixels, labels)

    def init(trial: Any) -> Any:
        CURRENT["trial"] = trial.number if trial else -1
        return Fails()

    return init


def seen(result: hp.SearchResult, **more: Any) -> dict[str, Any]:
    trials = [{**asdict(trial), "cause": trial.cause, "start": str(trial.start)} for trial in result.trials]
    fields = ("number", "params", "values", "state", "cause", "run_id", "directory", "start", "intermediate_values")
    fields += ("user_attrs", "constraints")
    return {
        "trials": [{name: trial[name] for name in fields} for trial in trials],
        "interrupted": result.interrupted,
        "native": result.native is not None,
        **more,
    }


def in_step() -> list[int]:
    """Gather the ranks, which shows whether the group still works."""
    ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, RANK)
    return ranks


# -- functions -------------------------------------------------------------------------------------------


def made_here() -> Any:
    before = dist.is_initialized()
    inside: list[bool] = []
    result = search(lambda trial: inside.append(dist.is_initialized()) or trial["x"], X, n_trials=2)
    return seen(result, initialised=[before, *inside, dist.is_initialized()])


def values_of_rank_0() -> Any:
    return seen(search(lambda trial: trial["x"] + RANK, X, n_trials=2, sampler="random"))


def function_raises() -> Any:
    def function(trial: Any) -> float:
        if trial.number in (1, 3) and trial.number // 2 == RANK:
            raise ValueError(f"odd {RANK}")
        return float(trial["x"])

    return seen(search(function, X, n_trials=5))


def suggested_as_it_runs() -> Any:
    drawn: list[float] = []

    def function(trial: Any) -> float:
        trial.set_user_attr("rank", RANK)
        trial.set_constraint("room", RANK - 0.5)
        drawn.append(trial.suggest_float("late", 0, 1))
        return drawn[-1]

    result = search(function, X, n_trials=3)
    native = result.native.trials if result.native else []
    return seen(result, drawn=drawn, noted=[trial.user_attrs for trial in native])


def asked_on_rank_0_alone() -> Any:
    import optuna

    def function(trial: Any) -> float:
        if RANK == 0:
            trial.report(1.0, 1)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(trial["x"])

    return seen(search(function, X, n_trials=2, pruner="median"))


def timeout() -> Any:
    return seen(search(lambda trial: trial["x"], X, n_trials=10**6, timeout=0.2))


def callback_ends() -> Any:
    finished: list[int] = []
    result = search(
        lambda trial: trial["x"], X, callbacks=[lambda trial: finished.append(trial.number) or len(finished) == 3]
    )
    return seen(result, finished=finished)


def error_of(run: Any) -> list[str]:
    try:
        run()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


def refused_by_rank_0() -> Any:
    storage = {"storage": "sqlite:////nowhere/at/all.db"} if RANK == 0 else {}
    return error_of(lambda: search(lambda trial: trial["x"], X, **storage))


def callback_raises() -> Any:
    def callback(trial: hp.Trial) -> None:
        raise LookupError("a callback's own")

    return error_of(lambda: search(lambda trial: trial["x"], X, callbacks=[callback]))


def all_fail() -> Any:
    return error_of(lambda: search(lambda trial: 1 / 0, X, n_trials=2))


def refused() -> Any:
    errors = []
    for backend, options in (("ray", {}), ("optuna", {"n_jobs": 2})):
        try:
            search(lambda trial: trial["x"], X, backend, **options)
        except hp.BackendError as error:
            errors.append(str(error))
    return errors


# -- Trainers ----------------------------------------------------------------------------------------------


def plain() -> Any:
    return seen(search(trainer(num_train_epochs=2), RATE, n_trials=3), ranks=in_step())


def resumed() -> Any:
    first = search(trainer(), RATE, n_trials=1)
    whole = search(trainer(), RATE, "sigopt", n_trials=3, resume=True)
    return seen(whole, first=first.trials[0].params)


def undecided() -> Any:
    def fresh() -> Any:
        return trainer(trainer={"compute_metrics": lambda prediction: {"accuracy": 0.5, "mae": 100.0}})

    error = error_of(lambda: search(fresh(), RATE, n_trials=2))
    whole = search(fresh(), RATE, n_trials=2, resume=True, compute_objective="mae")
    return seen(whole, error=error, ranks=in_step())


def final_training() -> Any:
    again = hp.with_params(trainer(), {"learning_rate": 0.01})
    again.train()  # the ranks are still in step
    result = search(again, {"learning_rate": hp.Constant(0.01)}, n_trials=1)
    return [again.evaluate()["eval_loss"], result.best.value]


def pruned() -> Any:
    import optuna

    class Second(optuna.pruners.BasePruner):
        def prune(self, study: Any, trial: Any) -> bool:
            return bool(trial.number == 1)

    steps: list[int] = []
    one = trainer(num_train_epochs=2)
    one.add_callback(counting(steps))
    return seen(search(one, RATE, n_trials=3, pruner=Second()), steps=steps, ranks=in_step())


def pruner_raises() -> Any:
    import optuna

    class Broken(optuna.pruners.BasePruner):
        def prune(self, study: Any, trial: Any) -> bool:
            if trial.number == 1:
                raise OSError("the storage is gone")
            return False

    return seen(search(trainer(), RATE, n_trials=3, pruner=Broken()), ranks=in_step())


def counting(steps: list[int]) -> Any:
    from transformers import TrainerCallback

    class Counting(TrainerCallback):
        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            steps.append(state.global_step)

    return Counting()


def all_raise() -> Any:
    return seen(search(trainer(fails((0, 1))), RATE, n_trials=3), ranks=in_step())


def rank_1_raises_in_model_init() -> Any:
    from tests.helpers.trainers import Net

    def init(trial: Any) -> Any:
        if RANK == 1 and trial and trial.number == 1:
            raise ValueError("odd 1")
        return Net()

    return seen(search(trainer(init), RATE, n_trials=3), ranks=in_step())


def function_of_trainers() -> Any:
    def function(trial: Any) -> Any:
        if RANK == 1 and trial.number == 1:
            raise ValueError("odd 1")
        return trainer(learning_rate=trial["learning_rate"])

    return seen(search(function, RATE, n_trials=3), ranks=in_step())


def directories() -> Any:
    from transformers import TrainerCallback

    used: list[str] = []

    class Noting(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            used.append(args.output_dir)

    one = trainer(save_strategy="epoch", load_best_model_at_end=True)
    one.add_callback(Noting())
    name = lambda trial: f"{trial.number}-{os.getpid()}"  # noqa: E731
    result = search(one, RATE, n_trials=3, hp_name=name, output_dir=str(FOLDER / "runs"))
    left = sorted(path.name for path in (FOLDER / "runs").iterdir() if path.is_dir())
    states = sorted(path.name for path in Path(str(result.best.checkpoint)).glob("rng_state*"))
    return seen(result, used=used, left=left, best=result.best.run_id, states=states)


def on_sigopt() -> Any:
    return seen(search(trainer(), RATE, "sigopt", n_trials=2))


def on_wandb() -> Any:
    return seen(search(trainer(), RATE, "wandb", n_trials=2, mode="disabled"))


# -- with an end of their own --------------------------------------------------------------------------------


def write(name: str, value: Any) -> None:
    (FOLDER / f"{name}.{RANK}.part").write_text(json.dumps(value))
    (FOLDER / f"{name}.{RANK}.part").rename(FOLDER / f"{name}.{RANK}.json")


def rank_1_raises_mid_train() -> Any:
    finished: list[Any] = []

    def on_trial(trial: hp.Trial) -> None:
        finished.append([trial.number, trial.state, trial.cause])
        write("finished", finished)

    try:
        search(trainer(fails((1,))), RATE, n_trials=3, callbacks=[on_trial])
    except hp.SearchError as error:
        write("error", str(error))
        raise


def ctrl_c() -> Any:
    from transformers import TrainerCallback

    class Telling(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if CURRENT["trial"] == 1 and state.global_step == 5:
                write("begun", os.getpid())

    one = trainer(fails(()), save_strategy="no", num_train_epochs=1)
    one.add_callback(Telling())
    space = {"num_train_epochs": hp.Categorical([1, 10**6])}
    result = search(one, space, sampler="grid", n_trials=2)
    return seen(result, ranks=in_step())


def ctrl_c_on_rank_1() -> Any:
    def function(trial: Any) -> float:
        if trial.number == 2:
            write("begun", os.getpid())
            time.sleep(500)
        return float(trial["x"])

    return seen(search(function, X, n_trials=5))


OWN_EXIT_CODE = 70
DDP_TIMEOUT_S = 20  # how long the ranks may wait for each other
FAILURES = {
    "sleeps": lambda: time.sleep(10**6),
    "is_killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "is_stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


def failing(how: str, where: str, rank: str) -> Any:
    """Search three trials; in the second one, the first time, a rank fails."""
    failed = FOLDER / "failed"

    def at(place: str) -> None:
        if place == where and CURRENT["trial"] == 1 and int(rank) == RANK and not failed.exists():
            failed.write_text(str(os.getpid()))
            FAILURES[how]()

    return recorded_search(function_at(at) if where == "function" else trainer_at(at))


def function_at(at: Any) -> Any:
    """Return a function with a place to fail at."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=DDP_TIMEOUT_S))

    def function(trial: Any) -> float:
        CURRENT["trial"] = trial.number
        at("function")
        return float(trial["learning_rate"])

    return function


def trainer_at(at: Any) -> Any:
    """Return a Trainer with several places to fail at."""
    from transformers import TrainerCallback

    from tests.helpers.trainers import Net

    class Model(Net):
        def forward(self, pixels: Any, labels: Any) -> Any:
            if self.training:
                at("training_step")
            return super().forward(pixels, labels)

    class Callback(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            at("callback")

    def init(trial: Any) -> Any:
        CURRENT["trial"] = trial.number if trial else -1
        at("model_init")
        return Model()

    def compute_metrics(prediction: Any) -> dict[str, float]:
        at("compute_metrics")
        return {"accuracy": 1.0}

    extra = {"compute_metrics": compute_metrics, "callbacks": [Callback()]}
    return trainer(init, ddp_timeout=DDP_TIMEOUT_S, trainer=extra)


def terminated(handler: str) -> Any:
    """Search three trials, the second of which trains on, the first time, until SIGTERM comes."""
    from transformers import TrainerCallback

    if handler == "own":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(OWN_EXIT_CODE))
    first = not (FOLDER / "begun.0.json").exists()

    class Training(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = not (first and CURRENT["trial"] == 1)
            if not control.should_training_stop:
                write("begun", os.getpid())

    return recorded_search(trainer(fails(()), num_train_epochs=10**6, trainer={"callbacks": [Training()]}))


def recorded_search(objective: Any) -> Any:
    """Start or resume a search; write down what its callback is called with, and its error."""
    finished: list[Any] = []

    def on_trial(trial: hp.Trial) -> None:
        finished.append([trial.number, trial.state, trial.cause])
        write("finished", finished)

    options = {"n_trials": 3, "resume": True, "output_dir": str(FOLDER / "out"), "callbacks": [on_trial]}
    try:
        return seen(search(objective, RATE, **options))
    except hp.SearchError as error:
        write("error", str(error))
        raise


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in NAMES:
        scenario, *arguments = name.split(":")
        CURRENT["name"] = scenario
        write(scenario, globals()[scenario](*arguments))
