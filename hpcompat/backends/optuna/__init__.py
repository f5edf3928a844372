"""Optuna: a study in memory, or in any storage of Optuna.

Options: `study` (your own, with its sampler and pruner), or `storage`, `study_name` and `load_if_exists` for
`optuna.create_study`; `gc_after_trial`. A search continues a study that already holds trials: they count in `n_trials`.
The search ends when the study is stopped, by `trial.study.stop()` or by an exhausted sampler.

Several processes may search one study at a time: all of them name the same `storage` and `study_name`, with
`load_if_exists=True`. `n_trials` is the total of all processes, and they may use the same `seed`. A trial whose process
has died is FAILED; the next process that joins on the same host records that. User attributes of a trial ("hpcompat:
…") say which process ran it, how it ended, and whether it is surplus: if two processes both start the last trial, one
of them is marked so and not run.

Constraints are Optuna's own: its samplers learn from them, and those of a sampler's constraints_func are included.
Before Optuna 5 only the default sampler learns from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage

from hpcompat.backends.base import EngineBackend, option, retry
from hpcompat.backends.optuna.engine import StudyEngine
from hpcompat.backends.optuna.shared_study import make_pruner, make_sampler
from hpcompat.compat.optuna import create_study, in_optimize_loop
from hpcompat.errors import BackendError, Issue
from hpcompat.objectives.objective import Objective
from hpcompat.translators.optuna import to_optuna
from hpcompat.trials import optuna_trials
from hpcompat.trials.config import SearchConfig
from hpcompat.trials.loop import Engine

T = TypeVar("T")

_DELAYS_S = (0.1, 0.3, 1.0, 3.0)
"""The seconds before each further attempt to reach a database."""


@dataclass(frozen=True)
class OptunaOptions:
    """The options of the backend, as the module describes them."""

    study: optuna.Study | None = option(
        optuna.Study, "an optuna.Study", hint="or give storage= and study_name=", may_be_none=False
    )
    storage: str | BaseStorage | None = option((str, BaseStorage), "the URL of a database, or a storage of Optuna's")
    study_name: str | None = option(str, "a str")
    load_if_exists: bool | None = option(bool, "a bool")
    gc_after_trial: bool = option(bool, "a bool", default=False)
    n_jobs: int = option(  # accepted with its default, for users of `Study.optimize`
        lambda value: value == 1,
        "1",
        default=1,
        hint="several processes may share one storage= and study_name=",
        is_listed=False,
    )


class OptunaBackend(EngineBackend):
    """Searches with `Study.ask` and `Study.tell`."""

    Options = OptunaOptions
    native_samplers: ClassVar[Mapping[type, str]] = {BaseSampler: "an optuna.samplers.BaseSampler"}
    native_pruners: ClassVar[Mapping[type, str]] = {BasePruner: "an optuna.pruners.BasePruner"}

    def find_issues(self, config: SearchConfig, objective: Objective) -> Iterator[Issue]:
        """Yield an issue for each option that excludes another one."""
        options: OptunaOptions = self.parse_options(config)
        if config.resume and options.storage is not None and options.study_name is None:
            yield Issue("study_name", "resume=True continues a study of the storage", "name it")
        if options.study is not None:
            values = {name: getattr(options, name) for name in ("storage", "study_name", "load_if_exists")}
            values |= {"sampler": config.sampler, "pruner": config.pruner, "seed": config.seed}
            for name in (name for name, value in values.items() if value is not None):
                yield Issue(name, "study= comes with its own", "give one or the other")

    @contextmanager
    def open_engine(self, config: SearchConfig, objective: Objective) -> Iterator[Engine]:
        """Open the study that the options hold or name."""
        options: OptunaOptions = self.parse_options(config)
        with optuna_trials.quiet_optuna():
            study = options.study or _create_study(config, options)
            _require_directions(study, config)
            is_shared = options.study is not None or options.storage is not None
            if options.study is None:
                n_earlier = len(config.history) or len(study.get_trials(deepcopy=False))
                study.sampler = make_sampler(config, n_earlier, is_shared=is_shared)
            engine = StudyEngine(study, config, to_optuna(config.space, encode=True), is_shared, options.gc_after_trial)
            with in_optimize_loop(study):
                yield engine

    def stored_directions(self, options: Mapping[str, object], metrics: Sequence[str]) -> tuple[str, ...] | None:
        """Return the directions of the study that the options name, if it exists."""
        study, storage, name = (options.get(option) for option in ("study", "storage", "study_name"))
        new_storage: RDBStorage | None = None
        try:
            if isinstance(storage, str) and isinstance(name, str):
                url = storage
                storage = new_storage = _retry(lambda: RDBStorage(url))
            if isinstance(storage, BaseStorage) and isinstance(name, str):
                study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:  # the study does not exist yet
            return None
        except Exception as error:
            raise BackendError(f"the storage cannot be opened: {error}") from error
        finally:
            if new_storage is not None:
                new_storage.engine.dispose()
        return _directions(study) if isinstance(study, optuna.Study) else None


BACKEND = OptunaBackend()


def _directions(study: optuna.Study) -> tuple[str, ...]:
    return tuple(direction.name.lower() for direction in study.directions)


def _require_directions(study: optuna.Study, config: SearchConfig) -> None:
    if (directions := _directions(study)) != config.directions:
        raise BackendError(f"the study has directions {directions}, and the search {config.directions}")


def _create_study(config: SearchConfig, options: OptunaOptions) -> optuna.Study:
    # the Hyperband pruner derives its brackets from the name, which must not be random
    name = options.study_name or (None if options.storage is not None else "hpcompat")
    load_if_exists = config.resume if options.load_if_exists is None else options.load_if_exists

    def create() -> optuna.Study:
        return create_study(
            storage=options.storage,
            study_name=name,
            load_if_exists=load_if_exists,
            directions=config.directions,
            pruner=make_pruner(config.pruner),
        )

    try:
        return _retry(create)
    except optuna.exceptions.DuplicatedStudyError as error:
        issue = Issue("study_name", "is used already", "resume=True (or load_if_exists=True) continues it")
        raise BackendError(f"the storage holds a study {name!r} already", [issue]) from error
    except Exception as error:
        if not _is_database_error(error):
            raise
        raise BackendError(f"the storage cannot be opened: {error}") from error


def _retry(call: Callable[[], T]) -> T:
    """Retry a call that may fail because several processes create the tables of a new database at a time."""
    return retry(call, _DELAYS_S, _is_transient)


def _is_database_error(error: Exception) -> bool:
    return type(error).__module__.startswith("sqlalchemy.")


def _is_transient(error: Exception) -> bool:
    """Return whether the database has raised the error, and not SQLAlchemy, as for an invalid URL."""
    return _is_database_error(error) and getattr(error, "orig", None) is not None
