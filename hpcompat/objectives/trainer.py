"""One trial of a transformers Trainer.

Each trial starts from the Trainer as given: fresh arguments, a fresh accelerator, `model_init` asked
for a model under the trial's own seed, callbacks in the state they were in. `train()` is called as a
user calls it, without transformers' own idea of a trial, so that no search package is needed for it.
"""

from __future__ import annotations

import copy
import os
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hpcompat.errors import Issue, SearchError
from hpcompat.objectives.metrics import Undecided, Values, candidates, numbers
from hpcompat.objectives.model import at_rest, collect, label_smoother, made, references, remade, unbound
from hpcompat.objectives.reporting import close_reports, log_params, reports_to_wandb, trial_run
from hpcompat.objectives.shared_state import SharedState
from hpcompat.objectives.trainer_snapshot import bring_back, reset, set_aside
from hpcompat.objectives.trainer_validation import deciding_metric, deciding_metrics
from hpcompat.objectives.training_arguments import applied, takes
from hpcompat.objectives.trial_context import Attempt, Setting, conduct
from hpcompat.objectives.unused import unused_fields
from hpcompat.trials.config import Evaluate, Suggestion
from hpcompat.trials.exclusive import turn
from hpcompat.trials.run_dirs import last_checkpoint, writable
from hpcompat.trials.trial import Trial

# what they print would drown the search's own line a trial
_DISPLAYS = ("ProgressCallback", "PrinterCallback", "NotebookProgressCallback")


@contextmanager
def trainer_objective(trainer: Any, setting: Setting) -> Iterator[Evaluate]:
    """The evaluation of trials by a Trainer with model_init; after the block the Trainer is as given.

    One at a time in a process: what accelerate keeps, and torch's generators, are the process's.
    """
    reason = "accelerate and torch keep one state for all of a process"
    with turn("a Trainer", reason), _trainer_objective(trainer, setting) as evaluate:
        yield evaluate


@contextmanager
def _trainer_objective(trainer: Any, setting: Setting) -> Iterator[Evaluate]:
    _require_copies(trainer)
    given = set_aside(trainer, writable(setting.output_dir or trainer.args.output_dir))
    model_init = trainer.model_init
    alive: list[weakref.ref[Any]] = []
    unused = unused_fields(trainer, setting.space)

    def body(attempt: Attempt) -> Values | None:
        def init() -> Any:
            model = made(model_init, attempt.view)
            # not before: hp_name may use what model_init has suggested
            trainer.args.output_dir = attempt.open(trainer.args.output_dir)
            trainer.label_smoother = label_smoother(trainer.args, model)
            alive.extend(references(model))
            attempt.suggestion.prepared()
            return model

        trainer.control = copy.copy(trainer.control)
        set_up(trainer, attempt.params)
        attempt.suggestion.on_ddp_timeout(trainer.args.ddp_timeout)
        trainer.model_init = init
        return train(trainer, attempt)

    def evaluate(suggestion: Suggestion) -> Trial:
        # not that of the search's start: between two trials the user's own code may do as it likes
        state = SharedState(trainer)
        carried: tuple[str, ...] = ()
        attempt = Attempt(suggestion, setting)
        attempt.is_applied = lambda name: takes(given.attributes["args"], name) and name not in unused
        try:
            trial = conduct(attempt, body)
        finally:
            alive.extend(references(trainer.optimizer))
            reset(trainer, given)
            carried = state.restore()
            collect(alive)
        return replace(trial, carried=carried)

    try:
        with at_rest():
            yield evaluate
    finally:
        bring_back(trainer, given)


def _require_copies(trainer: Any) -> None:
    try:
        applied(trainer.args, {})
    except Exception as error:
        trainer.create_accelerator_and_postprocess()
        kind = type(trainer.args).__name__
        way_out = Issue("", "pass a function trial -> Trainer instead")
        raise SearchError(f"{kind} cannot be made again from its own fields: {error}", [way_out]) from error


def made_trainer(trainer: Any, attempt: Attempt) -> Values | None:
    """The trial of a Trainer that a function made for it; its params are already in it."""
    names = deciding_metrics(trainer)
    if attempt.setting.compute_objective is None and len(names or ()) > 1:
        raise Undecided("which metric is the objective?", candidates(names or ()))
    args = copy.copy(trainer.args)  # the function's own arguments may serve every trial
    args.output_dir = attempt.open(args.output_dir)
    trainer.args = args
    attempt.suggestion.on_ddp_timeout(args.ddp_timeout)
    model_init = trainer.model_init

    def init() -> Any:
        model = made(model_init, attempt.view)
        attempt.suggestion.prepared()
        return model

    if model_init is None:
        attempt.suggestion.prepared()
    else:
        trainer.model_init = init
    return train(trainer, attempt)


def trainer_with(trainer: Any, params: Mapping[str, Any]) -> None:
    """Set a Trainer up for the training that a trial with these params was."""
    set_up(trainer, params)
    trainer.label_smoother = label_smoother(trainer.args, trainer.model)
    if trainer.model_init is not None:
        trainer.model_init = partial(remade, unbound(trainer.model_init), dict(params))
    handler = trainer.callback_handler
    handler.callbacks = [callback for callback in handler.callbacks if type(callback).__name__ != _LOGGING]
    if reports_to_wandb(trainer):
        handler.callbacks.append(_logging_params(trainer, lambda: params))


def set_up(trainer: Any, params: Mapping[str, Any]) -> None:
    """Apply the params to the arguments, and do again what the Trainer's constructor derived from them."""
    gpus = trainer.args.n_gpu
    trainer.args = applied(trainer.args, params)
    if trainer.is_model_parallel:
        trainer.args._n_gpu = gpus  # the constructor's: the model is spread over them, not copied
    trainer.neftune_noise_alpha = trainer.args.neftune_noise_alpha
    # train() takes the batch size from here, and Announcing checks that it does
    trainer._train_batch_size = trainer.args.train_batch_size
    trainer.create_accelerator_and_postprocess()


def train(trainer: Any, attempt: Attempt) -> Values | None:
    """Train a Trainer that is set up, in the directory it is set up for; None if it was pruned."""
    watch = Watch(attempt, deciding_metric(trainer))
    trainer.evaluate = _recorded(trainer, watch)
    callbacks = [
        each for each in trainer.callback_handler.callbacks if type(each).__name__ not in (*_DISPLAYS, _LOGGING)
    ]
    trainer.callback_handler.callbacks = [_announcing(attempt), *callbacks]
    if reports_to_wandb(trainer):
        trainer.callback_handler.callbacks.append(_logging_params(trainer, attempt.view.snapshot))
    try:
        with trial_run(trainer, attempt.run_before):
            return _trained(trainer, watch)
    finally:
        if attempt.directory:
            attempt.checkpoint = _best_checkpoint(trainer) or last_checkpoint(attempt.directory)


def _trained(trainer: Any, watch: Watch) -> Values | None:
    """The values of the training; None if it was pruned."""
    try:
        trainer.train()
        pruned = watch.attempt.view.told_to_stop
        unevaluated = not pruned and not any(watch.evaluations)  # one at step 0 tells nothing of the training
        if unevaluated:
            trainer.evaluate()
    except BaseException:
        close_reports(trainer)
        raise
    if unevaluated:
        close_reports(trainer)
    return None if pruned else watch.kept(trainer)


@dataclass
class Watch:
    """What a running Trainer shows: its evaluations by step.

    `metric`: the one that decides where no compute_objective does. `evaluations`: the metrics of each, and their
    values, which are None as long as it is not known which metric is the objective.
    """

    attempt: Attempt
    metric: str | None = None
    evaluations: dict[int, tuple[Values | None, dict[str, float]]] = field(default_factory=dict)

    def evaluated(self, trainer: Any, metrics: dict[str, float]) -> None:
        """Take in an evaluation; during training ask the pruner, and stop the Trainer if it says so."""
        step = trainer.state.global_step
        self.attempt.metrics = numbers(metrics)
        try:
            values = self.attempt.setting.score(metrics, self.metric)
        except Undecided:  # what is trained is not thrown away: it can be scored later
            self.evaluations[step] = None, self.attempt.metrics
            return
        self.evaluations[step] = values, self.attempt.metrics
        if trainer.is_in_train and not self.attempt.setting.several:
            self.attempt.view.report(values[0], step)
            if self.attempt.view.should_prune():
                # raising would leave the Trainer in the middle of its loop, on one rank of several
                trainer.control.should_training_stop = True
                trainer.control.should_save = False

    def kept(self, trainer: Any) -> Values:
        """The values of the model that the Trainer ends with. Raises `Undecided`."""
        best = re.search(r"checkpoint-(\d+)$", _best_checkpoint(trainer) or "")
        step = int(best[1]) if best and int(best[1]) in self.evaluations else max(self.evaluations)
        values, self.attempt.metrics = self.evaluations[step]
        return self.attempt.setting.score(self.attempt.metrics, self.metric) if values is None else values


def _best_checkpoint(trainer: Any) -> str | None:
    """The checkpoint that the Trainer loads at the end, if it does and it is one of this run."""
    best: str | None = trainer.state.best_model_checkpoint
    if not trainer.args.load_best_model_at_end or best is None:
        return None
    return best if os.path.dirname(best) == trainer.args.output_dir and os.path.isdir(best) else None


def _recorded(trainer: Any, watch: Watch) -> Callable[..., Any]:
    """`trainer.evaluate`, its outermost calls over the evaluation data recorded.

    Not an on_evaluate callback: that sees each of several evaluation sets on its own, and nothing of
    what a subclass adds to the metrics.
    """
    evaluate, depth = trainer.evaluate, 0

    def recorded(*args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        depth += 1
        try:
            metrics = evaluate(*args, **kwargs)
        finally:
            depth -= 1
        own = not args and kwargs.get("eval_dataset") is None
        if own and depth == 0 and kwargs.get("metric_key_prefix", "eval") == "eval":
            watch.evaluated(trainer, metrics)
        return metrics

    return recorded


def _announcing(attempt: Attempt) -> Any:
    """A callback that tells the reporting integrations which trial this is."""
    from transformers.trainer_callback import TrainerCallback

    class Announcing(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not args.auto_find_batch_size and state.train_batch_size != args.train_batch_size:
                raise RuntimeError("this version of transformers does not take the trial's batch size")
            state.is_hyper_param_search = True
            state.trial_name = attempt.run_id
            state.trial_params = attempt.params

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            attempt.suggestion.stepped()

        def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            attempt.suggestion.stepped()

    return Announcing()


_LOGGING = "LoggingParams"


def _logging_params(trainer: Any, params: Callable[[], Mapping[str, Any]]) -> Any:
    """A callback, to come after WandbCallback, that adds what it does not know of the trial."""
    from transformers.trainer_callback import TrainerCallback

    class LoggingParams(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            log_params(trainer, params())

    return LoggingParams()
