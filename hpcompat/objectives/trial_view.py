"""The trial that user code sees: a mapping of params that also answers to Optuna's and SigOpt's habits."""

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

    `trial["learning_rate"]` (a dotted name reaches into a group), `trial.params`, `trial.assignments`,
    `trial.number`, `trial.suggest_float("learning_rate", ...)` and its kin (the trial's own value;
    a name that is not in the space goes to Optuna, if that drives the search), `trial.report(value,
    step)`, `trial.should_prune()`, `trial.set_user_attr(key, value)`, `trial.set_constraint(key, value)`.
    Everything else is asked of the engine's own trial, if there is one: `trial.study` is Optuna's alone.

    >>> from hpcompat.trials.config import Suggestion
    >>> trial = TrialView(Suggestion(3, {"lr": 0.1, "model": {"layers": 2}}))
    >>> trial["model.layers"], trial.suggest_float("lr", 0.0, 1.0), trial.params["model"], trial.number
    (2, 0.1, {'layers': 2}, 3)
    """

    def __init__(self, suggestion: Suggestion, space: SearchSpace | None = None, objectives: int = 1) -> None:
        self.number = suggestion.number
        self.intermediate_values: dict[int, float] = {}
        self.told_to_stop = False
        self._values = dict(suggestion.params)
        self._read: set[str] = set()
        self._space = space
        self._objectives = objectives
        self._suggestion = suggestion

    @property
    def id(self) -> str:
        """The number, as text."""
        return str(self.number)

    @property
    def unread(self) -> list[str]:
        """The params, by dotted name, that have not been read, alone or with their group."""
        return [name for name in self._names(self._values) if not self._is_read(name)]

    def _names(self, values: Mapping[str, Any], group: str = "") -> Iterator[str]:
        ends = {leaf.name for leaf in self._space.leaves} if self._space is not None else values.keys()
        for name, value in values.items():
            if isinstance(value, Mapping) and f"{group}{name}" not in ends:
                yield from self._names(value, f"{group}{name}.")
            else:
                yield f"{group}{name}"

    def _is_read(self, name: str) -> bool:
        parts = name.split(".")
        return any(".".join(parts[:count]) in self._read for count in range(1, len(parts) + 1))

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Meanwhile nothing counts as read: what only names a trial makes no use of its params."""
        before = set(self._read)
        try:
            yield
        finally:
            self._read = before

    @property
    def params(self) -> dict[str, Any]:
        """The params as a dict; what `suggest_*` added is in it."""
        self._read.update(self._values)
        return dict(self._values)

    assignments = params

    def snapshot(self) -> dict[str, Any]:
        """The params as a dict, which does not count as reading them."""
        return dict(self._values)

    def report(self, value: float, step: int) -> None:
        """Tell the engine's pruner how the trial stands after `step`; a step's first report counts."""
        self._require_one_objective("report")
        value, given, step = float(value), step, int(step)
        if step < 0:  # as Optuna has it
            raise ValueError(f"step must be 0 or more, got {step}")
        if step != given:
            raise ValueError(f"step must be a whole number, got {given}: count steps, or evaluations")
        if step not in self.intermediate_values:
            self.intermediate_values[step] = value
            self.told_to_stop = False  # it goes on, on purpose
            self._suggestion.report(value, step)

    def should_prune(self) -> bool:
        """Whether the pruner would rather have the trial end here.

        End it by raising `hpcompat.TrialPruned` or returning: unless it reports again, it is PRUNED.
        """
        self._require_one_objective("should_prune")
        decision = bool(self._suggestion.should_prune())
        self.told_to_stop = self.told_to_stop or decision
        return decision

    @property
    def user_attrs(self) -> dict[str, Any]:
        """The attributes set so far."""
        attrs: dict[str, Any] = self._suggestion.notes.fields()["user_attrs"]
        return attrs

    def set_user_attr(self, key: str, value: Any) -> None:
        """Note an attribute, which the `Trial` keeps: any JSON value, as JSON holds it (a tuple is a list).

        Raises `TypeError` for other values, `ValueError` for a name that begins with "hpcompat:".
        """
        self._suggestion.set_user_attr(key, self._suggestion.notes.add_user_attr(key, value))

    @property
    def constraints(self) -> dict[str, float]:
        """The values of the constraints set so far."""
        return dict(self._suggestion.notes.constraints)

    def set_constraint(self, key: str, value: float) -> None:
        """Note by how much the trial violates a constraint: it is feasible where none is above 0.

        A constraint is set once; a second value is ignored with a warning. Raises `TypeError` for what is not
        a number, `ValueError` for NaN.
        """
        number = self._suggestion.notes.add_constraint(key, value)
        if number is not None:
            self._suggestion.set_constraint(key, number)

    def _require_one_objective(self, what: str) -> None:
        if self._objectives > 1:
            raise NotImplementedError(f"{what} is for one objective, and this search has {self._objectives}")

    def _suggest(self, method: str, name: str, *args: Any, **kwargs: Any) -> Any:
        if name in self:
            return _as_suggested(method, name, self[name], args, kwargs)
        if self._space is not None and any(leaf.name == name for leaf in self._space.leaves):
            raise ParamsError(f"{name!r} is not active in this trial: its conditions are not met")
        live = getattr(self._suggestion.native, method, None)
        if live is None:
            way_out = "add it there, or use backend='optuna', where a trial may suggest more"
            raise ParamsError(f"{name!r} is not in the search space: {way_out}")
        self._values[name] = live(name, *args, **kwargs)
        return self[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("suggest_"):
            return partial(self._suggest, name)
        if name.startswith("_"):  # before __init__ has run (copy, pickle) there is no suggestion to ask
            raise AttributeError(name)
        native = self._suggestion.native
        if not hasattr(native, "suggest_float") and not hasattr(native, name):
            only = "only Optuna's own trial may have it, with backend='optuna'"
            raise AttributeError(f"the trial has no {name!r}: {only}")
        return getattr(native, name)

    def __getitem__(self, name: str) -> Any:
        found: Any = self._values
        for part in [name] if name in self._values else str(name).split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise KeyError(name)
            found = found[part]
        self._read.add(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"TrialView({self.number}, {self._values!r})"


_KINDS: Mapping[str, tuple[type, ...]] = {"suggest_int": (int,), "suggest_float": (int, float)}


def _as_suggested(method: str, name: str, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The value, unless the code that suggests it asks for another type, or another range."""
    kinds = _KINDS.get(method)
    if kinds and (isinstance(value, bool) or not isinstance(value, kinds)):
        raise ParamsError(f"{method}({name!r}, …): the space gives {value!r}, which is no {kinds[-1].__name__}")

    def asked(place: int, key: str) -> Any:
        return args[place] if place < len(args) else kwargs.get(key)

    if method == "suggest_categorical":
        choices = asked(0, "choices")
        fits = choices is None or any(strict_equal(value, choice) or value == choice for choice in choices)
    else:
        low, high = asked(0, "low"), asked(1, "high")
        fits = (low is None or low <= value) and (high is None or value <= high)
    if not fits:
        hint = "give the space the range that the code asks for"
        raise ParamsError(f"{method}({name!r}, …): the space gives {value!r}, which lies outside; {hint}")
    return value
