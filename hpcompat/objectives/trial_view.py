"""The trial that user code receives: a mapping of params with the methods of the trials of Optuna and SigOpt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcompat.errors import ParamsError
from hpcompat.space.values import strict_equal

if TYPE_CHECKING:
    from hpcompat.space import SearchSpace
    from hpcompat.trials.config import Suggestion


class TrialView(Mapping[str, Any]):
    """The params of the running trial, nested as the space is.

    It has `trial["learning_rate"]` (or a dotted name for a param in a group), `trial.params`, `trial.assignments`,
    `trial.number`, `trial.report(value, step)`, `trial.should_prune()`, `trial.set_user_attr(key, value)`,
    `trial.set_constraint(key, value)`, and `trial.suggest_float("learning_rate", ...)` with the other `suggest_`
    methods, which return the param of that name. With Optuna they can also suggest params that are not in the space.
    Other attributes are those of the engine's own trial, such as `trial.study` of Optuna.

    >>> from hpcompat.trials.config import Suggestion
    >>> trial = TrialView(Suggestion(3, {"lr": 0.1, "model": {"layers": 2}}))
    >>> trial["model.layers"], trial.suggest_float("lr", 0.0, 1.0), trial.params["model"], trial.number
    (2, 0.1, {'layers': 2}, 3)
    """

    def __init__(self, suggestion: Suggestion, space: SearchSpace | None = None, n_objectives: int = 1) -> None:
        self.number = suggestion.number
        self.intermediate_values: dict[int, float] = {}
        self.prune_requested = False
        self._values = dict(suggestion.params)
        self._read: set[str] = set()
        self._space = space
        self._n_objectives = n_objectives
        self._suggestion = suggestion

    @property
    def id(self) -> str:
        """The number as a string, as in SigOpt."""
        return str(self.number)

    @property
    def unread(self) -> list[str]:
        """The params, by dotted name, that have not been read, neither alone nor with their group."""
        return [name for name in self._dotted_names(self._values) if not self._is_read(name)]

    def _dotted_names(self, values: Mapping[str, object], group: str = "") -> Iterator[str]:
        leaf_names = {leaf.name for leaf in self._space.leaves} if self._space is not None else values.keys()
        for name, value in values.items():
            if isinstance(value, Mapping) and f"{group}{name}" not in leaf_names:
                yield from self._dotted_names(value, f"{group}{name}.")
            else:
                yield f"{group}{name}"

    def _is_read(self, name: str) -> bool:
        parts = name.split(".")
        return any(".".join(parts[:count]) in self._read for count in range(1, len(parts) + 1))

    @contextmanager
    def without_recording_reads(self) -> Iterator[None]:
        """Do not count accesses within the block as reads: the name of a run directory does not affect the training."""
        before = set(self._read)
        try:
            yield
        finally:
            self._read = before

    @property
    def params(self) -> dict[str, Any]:
        """The params as a dict, including those that `suggest_*` has added."""
        self._read.update(self._values)
        return dict(self._values)

    assignments = params

    def snapshot(self) -> dict[str, object]:
        """Return the params as a dict without counting them as read."""
        return dict(self._values)

    def report(self, value: float, step: int) -> None:
        """Report an intermediate value to the engine's pruner; only the first report of a step counts.

        Raises:
            ValueError: The step is negative or not an integer.
            NotImplementedError: The search has several objectives.
        """
        self._require_one_objective("report")
        number = float(value)
        index = int(step)
        if index < 0:  # as in Optuna
            raise ValueError(f"step must be 0 or more, got {index}")
        if index != step:
            raise ValueError(f"step must be an integer, got {step}; count steps, or evaluations")
        if index not in self.intermediate_values:
            self.intermediate_values[index] = number
            self.prune_requested = False  # it continues on purpose
            self._suggestion.report(number, index)

    def should_prune(self) -> bool:
        """Return whether the pruner stops the trial.

        Then raise `hpcompat.TrialPruned` or return: the trial is PRUNED unless it reports again.
        """
        self._require_one_objective("should_prune")
        decision = bool(self._suggestion.should_prune())
        self.prune_requested = self.prune_requested or decision
        return decision

    @property
    def user_attrs(self) -> dict[str, object]:
        """The user attributes that were set so far."""
        attrs: dict[str, Any] = self._suggestion.notes.to_trial_fields()["user_attrs"]
        return attrs

    def set_user_attr(self, key: str, value: object) -> None:
        """Set a user attribute of the `Trial`, which may be any JSON value; a tuple becomes a list.

        Raises:
            TypeError: JSON cannot represent the value.
            ValueError: The name begins with "hpcompat:".
        """
        self._suggestion.set_user_attr(key, self._suggestion.notes.add_user_attr(key, value))

    @property
    def constraints(self) -> dict[str, float]:
        """The constraint values that were set so far."""
        return dict(self._suggestion.notes.constraints)

    def set_constraint(self, key: str, value: float) -> None:
        """Set the value of a constraint; the trial is feasible if none of its constraints is above 0.

        A constraint can be set once; a second value is ignored with a warning.

        Raises:
            TypeError: The value is not a number.
            ValueError: The value is NaN.
        """
        number = self._suggestion.notes.add_constraint(key, value)
        if number is not None:
            self._suggestion.set_constraint(key, number)

    def _require_one_objective(self, method: str) -> None:
        if self._n_objectives > 1:
            raise NotImplementedError(f"{method} is for a single objective, and this search has {self._n_objectives}")

    def _suggest(self, method: str, name: str, *args: object, **kwargs: object) -> object:
        if name in self:
            _require_suggestable(method, name, self[name], args, kwargs)
            return self[name]
        if self._space is not None and any(leaf.name == name for leaf in self._space.leaves):
            raise ParamsError(f"{name!r} is not active in this trial: its conditions are not met")
        native_suggest = getattr(self._suggestion.native, method, None)
        if native_suggest is None:
            hint = "add it there, or use backend='optuna', where a trial may suggest more"
            raise ParamsError(f"{name!r} is not in the search space: {hint}")
        self._values[name] = native_suggest(name, *args, **kwargs)
        return self[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("suggest_"):
            return partial(self._suggest, name)
        if name.startswith("_"):  # copy and pickle access attributes before __init__ has run
            raise AttributeError(name)
        native = self._suggestion.native
        if not hasattr(native, "suggest_float") and not hasattr(native, name):
            hint = "only Optuna's own trial may have it, with backend='optuna'"
            raise AttributeError(f"the trial has no {name!r}: {hint}")
        return getattr(native, name)

    def __getitem__(self, name: str) -> Any:
        value: object = self._values
        for part in [name] if name in self._values else str(name).split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise KeyError(name)
            value = value[part]
        self._read.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"TrialView({self.number}, {self._values!r})"


_SUGGEST_TYPES: Mapping[str, tuple[type, ...]] = {"suggest_int": (int,), "suggest_float": (int, float)}


def _require_suggestable(
    method: str, name: str, value: Any, args: Sequence[object], kwargs: Mapping[str, object]
) -> None:
    """Raise `ParamsError` if a suggest call requests another type or range than the param has."""
    types = _SUGGEST_TYPES.get(method)
    if types and (isinstance(value, bool) or not isinstance(value, types)):
        raise ParamsError(f"{method}({name!r}, …): expected {types[-1].__name__}, got {value!r} from the space")

    def argument(index: int, keyword: str) -> Any:
        return args[index] if index < len(args) else kwargs.get(keyword)

    if method == "suggest_categorical":
        choices = argument(0, "choices")
        is_inside = choices is None or any(strict_equal(value, choice) or value == choice for choice in choices)
    else:
        low, high = argument(0, "low"), argument(1, "high")
        is_inside = (low is None or low <= value) and (high is None or value <= high)
    if not is_inside:
        hint = "use the same range in the space and in the code"
        raise ParamsError(f"{method}({name!r}, …): the space gives {value!r}, which lies outside; {hint}")
