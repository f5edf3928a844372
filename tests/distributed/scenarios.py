"""The script that every rank of a launcher runs: `python scenarios.py FOLDER NAME[:ARGUMENT…]…`.

Each scenario is a function that searches. A rank writes what the function returns to FOLDER/NAME.RANK.json.
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
CURRENT: dict[str, Any] = {"trial": -1, "name": ""}  # the running trial and scenario of this rank

search = partial(hp.search, seed=0, progress=False)


def make_trainer(model_init: Any = None, **arguments: Any) -> Any:
    from tests.helpers.trainers import Net, create_trainer

    defaults = {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 32, "ddp_find_unused_parameters": False}
    return create_trainer(str(FOLDER / str(CURRENT["name"])), model_init or Net, **{**defaults, **arguments})


def failing_model_init(ranks: Any, *, number: int = 1, call: int = 3) -> Any:
    """Return a model_init whose model raises on these ranks in the middle of a trial."""
    from tests.helpers.trainers import Net

    class FailingNet(Net):
        calls = 0

        def forward(self, pixels: Any, labels: Any) -> Any:
            self.calls += 1
            if CURRENT["trial"] == number and RANK in ranks and self.calls == call:
                raise ValueError(f"odd {RANK}")
            return super().forward(pixels, labels)

    def init(trial: Any) -> Any:
        CURRENT["trial"] = trial.number if trial else -1
        return FailingNet()

    return init


def result_to_json(result: hp.SearchResult, **extra: Any) -> dict[str, Any]:
    trials = [{**asdict(trial), "cause": trial.cause, "start": str(trial.start)} for trial in result.trials]
    fields = ("number", "params", "values", "state", "cause", "run_id", "directory", "start", "intermediate_values")
    fields += ("user_attrs", "constraints")
    return {
        "trials": [{name: trial[name] for name in fields} for trial in trials],
        "interrupted": result.interrupted,
        "native": result.native is not None,
        **extra,
    }


def gather_ranks() -> list[int]:
    """Gather the ranks, which shows whether the group still works."""
    ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, RANK)
    return ranks


# -- functions -------------------------------------------------------------------------------------------


def group_is_created() -> Any:
    before = dist.is_initialized()
    during: list[bool] = []
    result = search(lambda trial: during.append(dist.is_initialized()) or trial["x"], X, n_trials=2)
    return result_to_json(result, initialised=[before, *during, dist.is_initialized()])


def values_of_rank_0() -> Any:
    return result_to_json(search(lambda trial: trial["x"] + RANK, X, n_trials=2, sampler="random"))


def function_raises() -> Any:
    def function(trial: Any) -> float:
        if trial.number in (1, 3) and trial.number // 2 == RANK:
            raise ValueError(f"odd {RANK}")
        return float(trial["x"])

    return result_to_json(search(function, X, n_trials=5))


def suggest_in_trial() -> Any:
    suggested: list[float] = []

    def function(trial: Any) -> float:
        trial.set_user_attr("rank", RANK)
        trial.set_constraint("room", RANK - 0.5)
        suggested.append(trial.suggest_float("late", 0, 1))
        return suggested[-1]

    result = search(function, X, n_trials=3)
    native = result.native.trials if result.native else []
    return result_to_json(result, suggested=suggested, user_attrs=[trial.user_attrs for trial in native])


def prune_on_rank_0_only() -> Any:
    import optuna

    def function(trial: Any) -> float:
        if RANK == 0:
            trial.report(1.0, 1)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(trial["x"])

    return result_to_json(search(function, X, n_trials=2, pruner="median"))


def timeout() -> Any:
    return result_to_json(search(lambda trial: trial["x"], X, n_trials=10**6, timeout=0.2))


def callback_stops_search() -> Any:
    finished: list[int] = []
    result = search(
        lambda trial: trial["x"], X, callbacks=[lambda trial: finished.append(trial.number) or len(finished) == 3]
    )
    return result_to_json(result, finished=finished)


def error_of(run: Any) -> list[str]:
    try:
        run()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


def rank_0_cannot_open_storage() -> Any:
    storage = {"storage": "sqlite:////nowhere/at/all.db"} if RANK == 0 else {}
    return error_of(lambda: search(lambda trial: trial["x"], X, **storage))


def callback_raises() -> Any:
    def callback(trial: hp.Trial) -> None:
        raise LookupError("a callback's own")

    return error_of(lambda: search(lambda trial: trial["x"], X, callbacks=[callback]))


def all_fail() -> Any:
    return error_of(lambda: search(lambda trial: 1 / 0, X, n_trials=2))


def unsupported_options() -> Any:
    errors = []
    for backend, options in (("ray", {}), ("optuna", {"n_jobs": 2})):
        try:
            search(lambda trial: trial["x"], X, backend, **options)
        except hp.BackendError as error:
            errors.append(str(error))
    return errors


# -- Trainers ----------------------------------------------------------------------------------------------


def train() -> Any:
    return result_to_json(search(make_trainer(num_train_epochs=2), RATE, n_trials=3), ranks=gather_ranks())


def resume() -> Any:
    first = search(make_trainer(), RATE, n_trials=1)
    result = search(make_trainer(), RATE, "sigopt", n_trials=3, resume=True)
    return result_to_json(result, first=first.trials[0].params)


def ambiguous_objective() -> Any:
    def create() -> Any:
        return make_trainer(trainer={"compute_metrics": lambda prediction: {"accuracy": 0.5, "mae": 100.0}})

    error = error_of(lambda: search(create(), RATE, n_trials=2))
    result = search(create(), RATE, n_trials=2, resume=True, compute_objective="mae")
    return result_to_json(result, error=error, ranks=gather_ranks())


def final_training() -> Any:
    final = hp.with_params(make_trainer(), {"learning_rate": 0.01})
    final.train()
    result = search(final, {"learning_rate": hp.Constant(0.01)}, n_trials=1)
    return [final.evaluate()["eval_loss"], result.best.value]


def prune() -> Any:
    import optuna

    class PruneSecond(optuna.pruners.BasePruner):
        def prune(self, study: Any, trial: Any) -> bool:
            return bool(trial.number == 1)

    steps: list[int] = []
    pruned = make_trainer(num_train_epochs=2)
    pruned.add_callback(record_steps(steps))
    return result_to_json(search(pruned, RATE, n_trials=3, pruner=PruneSecond()), steps=steps, ranks=gather_ranks())


def pruner_raises() -> Any:
    import optuna

    class FailingPruner(optuna.pruners.BasePruner):
        def prune(self, study: Any, trial: Any) -> bool:
            if trial.number == 1:
                raise OSError("the storage is gone")
            return False

    return result_to_json(search(make_trainer(), RATE, n_trials=3, pruner=FailingPruner()), ranks=gather_ranks())


def record_steps(steps: list[int]) -> Any:
    from transformers import TrainerCallback

    class RecordSteps(TrainerCallback):
        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            steps.append(state.global_step)

    return RecordSteps()


def all_raise() -> Any:
    return result_to_json(search(make_trainer(failing_model_init((0, 1))), RATE, n_trials=3), ranks=gather_ranks())


def rank_1_raises_in_model_init() -> Any:
    from tests.helpers.trainers import Net

    def init(trial: Any) -> Any:
        if RANK == 1 and trial and trial.number == 1:
            raise ValueError("odd 1")
        return Net()

    return result_to_json(search(make_trainer(init), RATE, n_trials=3), ranks=gather_ranks())


def function_of_trainers() -> Any:
    def function(trial: Any) -> Any:
        if RANK == 1 and trial.number == 1:
            raise ValueError("odd 1")
        return make_trainer(learning_rate=trial["learning_rate"])

    return result_to_json(search(function, RATE, n_trials=3), ranks=gather_ranks())


def directories() -> Any:
    from transformers import TrainerCallback

    used: list[str] = []

    class RecordOutputDir(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            used.append(args.output_dir)

    saving = make_trainer(save_strategy="epoch", load_best_model_at_end=True)
    saving.add_callback(RecordOutputDir())
    name = lambda trial: f"{trial.number}-{os.getpid()}"  # noqa: E731
    result = search(saving, RATE, n_trials=3, hp_name=name, output_dir=str(FOLDER / "runs"))
    remaining = sorted(path.name for path in (FOLDER / "runs").iterdir() if path.is_dir())
    states = sorted(path.name for path in Path(str(result.best.checkpoint)).glob("rng_state*"))
    return result_to_json(result, used=used, remaining=remaining, best=result.best.run_id, states=states)


def train_on_sigopt() -> Any:
    return result_to_json(search(make_trainer(), RATE, "sigopt", n_trials=2))


def train_on_wandb() -> Any:
    return result_to_json(search(make_trainer(), RATE, "wandb", n_trials=2, mode="disabled"))


# -- scenarios that need their own launch --------------------------------------------------------------------


def write(name: str, value: Any) -> None:
    (FOLDER / f"{name}.{RANK}.part").write_text(json.dumps(value))
    (FOLDER / f"{name}.{RANK}.part").rename(FOLDER / f"{name}.{RANK}.json")


def rank_1_raises_mid_train() -> Any:
    finished: list[Any] = []

    def on_trial(trial: hp.Trial) -> None:
        finished.append([trial.number, trial.state, trial.cause])
        write("finished", finished)

    try:
        search(make_trainer(failing_model_init((1,))), RATE, n_trials=3, callbacks=[on_trial])
    except hp.SearchError as error:
        write("error", str(error))
        raise


def ctrl_c() -> Any:
    from transformers import TrainerCallback

    class ReportStart(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if CURRENT["trial"] == 1 and state.global_step == 5:
                write("started", os.getpid())

    endless = make_trainer(failing_model_init(()), save_strategy="no", num_train_epochs=1)
    endless.add_callback(ReportStart())
    space = {"num_train_epochs": hp.Categorical([1, 10**6])}
    result = search(endless, space, sampler="grid", n_trials=2)
    return result_to_json(result, ranks=gather_ranks())


def ctrl_c_on_rank_1() -> Any:
    def function(trial: Any) -> float:
        if trial.number == 2:
            write("started", os.getpid())
            time.sleep(500)
        return float(trial["x"])

    return result_to_json(search(function, X, n_trials=5))


HANDLER_EXIT_CODE = 70
DDP_TIMEOUT_S = 20
FAILURES = {
    "sleep": lambda: time.sleep(10**6),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


def rank_fails(how: str, where: str, rank: str) -> Any:
    """Search three trials; a rank fails in the second one, unless the search is resumed."""
    failed = FOLDER / "failed"

    def fail_at(location: str) -> None:
        if location == where and CURRENT["trial"] == 1 and int(rank) == RANK and not failed.exists():
            failed.write_text(str(os.getpid()))
            FAILURES[how]()

    return record_search(failing_function(fail_at) if where == "function" else failing_trainer(fail_at))


def failing_function(fail_at: Any) -> Any:
    """Return a function that calls `fail_at`."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=DDP_TIMEOUT_S))

    def function(trial: Any) -> float:
        CURRENT["trial"] = trial.number
        fail_at("function")
        return float(trial["learning_rate"])

    return function


def failing_trainer(fail_at: Any) -> Any:
    """Return a Trainer that calls `fail_at` at several locations."""
    from transformers import TrainerCallback

    from tests.helpers.trainers import Net

    class Model(Net):
        def forward(self, pixels: Any, labels: Any) -> Any:
            if self.training:
                fail_at("training_step")
            return super().forward(pixels, labels)

    class Callback(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            fail_at("callback")

    def init(trial: Any) -> Any:
        CURRENT["trial"] = trial.number if trial else -1
        fail_at("model_init")
        return Model()

    def compute_metrics(prediction: Any) -> dict[str, float]:
        fail_at("compute_metrics")
        return {"accuracy": 1.0}

    options = {"compute_metrics": compute_metrics, "callbacks": [Callback()]}
    return make_trainer(init, ddp_timeout=DDP_TIMEOUT_S, trainer=options)


def sigterm(handler: str) -> Any:
    """Search three trials; the second one trains until SIGTERM arrives, unless the search is resumed."""
    from transformers import TrainerCallback

    if handler == "user":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(HANDLER_EXIT_CODE))
    is_first_run = not (FOLDER / "started.0.json").exists()

    class TrainUntilSigterm(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = not (is_first_run and CURRENT["trial"] == 1)
            if not control.should_training_stop:
                write("started", os.getpid())

    return record_search(
        make_trainer(failing_model_init(()), num_train_epochs=10**6, trainer={"callbacks": [TrainUntilSigterm()]})
    )


def record_search(objective: Any) -> Any:
    """Start or resume a search; write the finished trials and the error of the search to files."""
    finished: list[Any] = []

    def on_trial(trial: hp.Trial) -> None:
        finished.append([trial.number, trial.state, trial.cause])
        write("finished", finished)

    options = {"n_trials": 3, "resume": True, "output_dir": str(FOLDER / "out"), "callbacks": [on_trial]}
    try:
        return result_to_json(search(objective, RATE, **options))
    except hp.SearchError as error:
        write("error", str(error))
        raise


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in NAMES:
        scenario, *arguments = name.split(":")
        CURRENT["name"] = scenario
        write(scenario, globals()[scenario](*arguments))
