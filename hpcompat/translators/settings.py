"""What an object says of a search besides its space: a sweep's goal and method, an experiment's budget, …

Each dialect that has such objects reads them in its own module, with `read_settings`; `settings_of` asks the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcompat.errors import Fault, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.values import show

DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search that an object states; what it leaves open is empty, or None.

    `dialect`: whose object it is. `directions`: one for each objective, None where the object does not say, which
    means `default` there. `metrics`: the names of the objectives. `options`: those of the dialect's own backend.
    `terms`: what the object calls a setting, by the name that `search` has for it. `unused`: what it says that has no
    counterpart in any search.
    """

    dialect: str = ""
    directions: tuple[str | None, ...] = ()
    default: str = "minimize"
    metrics: tuple[str, ...] = ()
    sampler: str | None = None
    n_trials: int | None = None
    pruner: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, Any] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """What the object is called."""
        return {"wandb": "sweep", "sigopt": "experiment", "optuna": "study"}.get(self.dialect, "space")


@dataclass(frozen=True)
class Described:
    """A space, and what stood beside it."""

    space: SearchSpace
    settings: SearchSettings = SearchSettings()


def describing(source: Any) -> Any:
    """The data or the object that describes a space: what is in a text, what a function returns without its trial.

    >>> describing(lambda trial: [{"name": "x", "type": "int"}]), describing('{"parameters": {}}')
    ([{'name': 'x', 'type': 'int'}], {'parameters': {}})
    """
    from hpcompat.translators import documents, recognise

    if isinstance(source, (str, bytes)):
        return documents.load(source)
    if type(source).__module__.startswith("sigopt.") and hasattr(source, "to_json"):  # the client's Experiment
        return source.to_json()
    if callable(source) and not isinstance(source, type) and not isinstance(source, Mapping):
        returned = recognise.call_without_trial(source)
        return source if returned is None else returned
    return source


def beside(document: Any, dialect: str | None = None) -> tuple[dict[str, Any], str]:
    """What stands beside the parameters in a sweep or an experiment, and whose it is: "wandb", "sigopt" or "".

    `dialect`: that of the document, where it is known.

    >>> beside({"method": "grid", "parameters": {"x": {"values": [1, 2]}}})
    ({'method': 'grid'}, 'wandb')
    """
    from hpcompat.translators import sigopt, wandb

    if not isinstance(document, Mapping) or isinstance(document, SearchSpace):
        return {}, ""
    if dialect in (None, "wandb") and wandb.is_sweep(document):
        return {name: value for name, value in document.items() if name != "parameters"}, "wandb"
    if dialect in (None, "sigopt") and sigopt.accepts(document):
        own = ("parameters", "conditionals", "linear_constraints")
        return {name: value for name, value in document.items() if name not in own and value}, "sigopt"
    return {}, ""


def settings_of(document: Any) -> SearchSettings:
    """The settings that stand beside a space in what it was read from, see `describing`.

    Raises `TranslationError` for those that cannot be what the object's own system takes them for.

    >>> sweep = {"method": "grid", "metric": {"name": "acc", "goal": "maximize"}, "parameters": {"x": {"values": [1]}}}
    >>> settings = settings_of(sweep)
    >>> settings.sampler, settings.directions, settings.metrics
    ('grid', ('maximize',), ('acc',))
    """
    from hpcompat.translators import optuna, sigopt, wandb

    found, dialect = beside(document)
    if dialect == "wandb":
        return wandb.read_settings(found)
    if dialect == "sigopt":
        return sigopt.read_settings(found)
    if hasattr(document, "trials") and hasattr(document, "directions"):
        return optuna.read_settings(document)
    return SearchSettings()


class Reader:
    """Reads values one after the other, and notes what is wrong with them."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.left = dict(found)
        self.faults: list[Fault] = []

    def take(self, name: str, fits: Callable[[Any], bool], hint: str) -> Any:
        """The value of that name, if there is one that fits."""
        value = self.left.pop(name, None)
        if value is None or fits(value):
            return value
        self.faults.append(Fault(name, f"is {show(value)}", hint))
        return None

    def one_of(self, name: str, values: Sequence[str]) -> Any:
        """The value of that name, which is one of several texts."""
        return self.take(name, lambda value: isinstance(value, str) and value in values, f"one of {', '.join(values)}")

    def finish(self, what: str) -> dict[str, Any]:
        """What was not taken. Raises `TranslationError` for everything that did not fit."""
        if self.faults:
            raise TranslationError(f"these settings of the {what} cannot be read", self.faults)
        return self.left


def is_count(value: Any) -> bool:
    """Whether a value is an int of at least 1.

    >>> is_count(3), is_count(True), is_count(0), is_count("3")
    (True, False, False, False)
    """
    return type(value) is int and value >= 1


def brief(unused: Mapping[str, Any]) -> Iterator[str]:
    """The names of settings, with their values where those are short.

    >>> list(brief({"method": "bayes", "metric": {"goal": "minimize", "name": "loss"}, "command": ["python"]}))
    ['method (bayes)', 'metric (minimize loss)', 'command']
    """
    for name, value in unused.items():
        if name == "metric" and isinstance(value, Mapping):
            value = " ".join(str(value[key]) for key in ("goal", "name") if key in value)
        short = isinstance(value, (str, int, float)) and len(str(value)) <= 40
        yield f"{name} ({value})" if short else str(name)
