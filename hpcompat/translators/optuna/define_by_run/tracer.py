"""One call of a define-by-run function: what it suggests, compares and returns by path."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NoReturn, TypeAlias

from hpcompat.errors import TranslationError
from hpcompat.space.parameters import Parameter
from hpcompat.space.tree import MAX_DEPTH
from hpcompat.space.values import copy_if_mutable, is_scalar, json_issue, short_repr, strict_equal, strict_key
from hpcompat.translators.optuna.define_by_run.instrumentation import (
    MESSAGE,
    Comparison,
    InstrumentationError,
    can_instrument,
    describe_value,
    find_draws,
    inexpressible_error,
    instrument,
    is_instrumented,
    unreadable_error,
)

MAX_VALUES = 20_000
Path = tuple[str, ...]

OBJECTIVE = (
    "this is an objective",
    "search(objective, {}, backend='optuna') runs it as it is; to have its space read, return the params or nothing",
)


@dataclass(frozen=True)
class DrawRef:
    """In place of a returned value: it is the draw of this name itself."""

    name: str


def flatten_result(
    result: object, given: Mapping[str, object], values: Mapping[str, object]
) -> Iterator[tuple[Path, object]]:
    """Yield what is returned, by path: a `DrawRef` or a plain value; an empty group stands for itself.

    `given` are the draws as the function got them, `values` the same as plain values. Raises
    `TranslationError` for what is not a dict of params.
    """
    if not isinstance(result, Mapping):
        raise _not_params_error(result)
    dicts = {id(value): name for name, value in given.items() if type(value) is dict}
    waiting: list[tuple[Path, object]] = [((), result)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        count += 1
        if count > MAX_VALUES or len(path) > MAX_DEPTH:
            many = (
                f"more than {MAX_VALUES} values" if count > MAX_VALUES else f"dicts nested more than {MAX_DEPTH} deep"
            )
            raise unreadable_error("", f"it returns {many}", "return the params alone")
        name = value.draw if is_instrumented(value) else dicts.get(id(value))
        if name is not None and (type(value) is not dict or strict_equal(value, values[name])):
            yield path, DrawRef(name)
        elif isinstance(value, Mapping) and (value or not path):
            items = list(value.items())
            for key, _ in items:
                if not isinstance(key, str):
                    raise unreadable_error(
                        ".".join(path), f"it returns the key {describe_value(key)}", "keys are names: use strings"
                    )
            waiting += [((*path, str(key)), inner) for key, inner in reversed(items)]
        else:
            yield path, _constant_value(path, value)


def _constant_value(path: Path, value: object) -> object:
    if not is_scalar(value) and (draws := list(islice(find_draws(value), 3))):
        reason = f"is a {type(value).__name__} made of draws: {', '.join(map(repr, sorted(draws)))}"
        hint = "return each draw under a key of its own, and make it of them later"
        raise inexpressible_error(".".join(path), reason, hint)
    if (why := json_issue(value)) is not None:
        raise unreadable_error(".".join(path), *why)
    return copy_if_mutable(value)


def _not_params_error(result: Any) -> TranslationError:
    if hasattr(result, "close") and hasattr(result, "cr_frame"):
        result.close()  # a coroutine that is never awaited would warn later
    items = result if isinstance(result, (list, tuple)) else [result]
    if items and all(hasattr(item, "__float__") for item in items):
        return unreadable_error("", f"it returns {describe_value(result)}: {OBJECTIVE[0]}", OBJECTIVE[1])
    return unreadable_error("", f"it returns {describe_value(result)}", "return a dict of the params")


MAX_SUGGESTIONS = 10_000
Entry: TypeAlias = str | Path
"""A suggested name, or the path of a returned key."""
Choose: TypeAlias = Callable[[str, Parameter], object]
Read: TypeAlias = Callable[[str, Sequence[object], Mapping[str, object]], Parameter]

_RUNNING = "only a running study has that", "give a function that only suggests and returns the params"
_UNSUPPORTED = {
    **dict.fromkeys(("report", "should_prune", "set_constraint", "constraints"), OBJECTIVE),
    **dict.fromkeys(("study", "storage", "system_attrs", "set_system_attr", "datetime_start"), _RUNNING),
    **dict.fromkeys(("relative_params", "distributions"), _RUNNING),
}


@dataclass(frozen=True)
class Run:
    """What one call did.

    `parameters`, `values`: what was suggested and drawn, by suggested name; `comparisons`: what the draws
    were compared with; `returned`: a plain value or a `DrawRef` for each path of the returned dict,
    None if it returned None; `entries`: the suggested names and the returned paths.
    """

    parameters: dict[str, Parameter]
    values: dict[str, object]
    comparisons: Mapping[str, Mapping[Comparison, None]]
    returned: dict[Path, object] | None
    entries: frozenset[Entry]

    def ordered(self) -> list[Entry]:
        """Return the entries in the order of the run."""
        return [*self.values, *(self.returned or ())]

    def value(self, path: Path) -> object:
        """Return a returned value, be it a draw or not."""
        value = (self.returned or {}).get(path)
        return self.values[value.name] if isinstance(value, DrawRef) else value

    def params(self) -> dict[Path, Hashable] | None:
        """Return the key of every returned value, to compare runs by."""
        return None if self.returned is None else {path: strict_key(self.value(path)) for path in self.returned}

    def draws_of(self, value: object) -> frozenset[str]:
        """Return the names whose draw is this value."""
        return self._names.get(strict_key(value), frozenset())

    @cached_property
    def _names(self) -> dict[Hashable, frozenset[str]]:
        names: dict[Hashable, list[str]] = {}
        for name, value in self.values.items():
            names.setdefault(strict_key(value), []).append(name)
        return {key: frozenset(names_of_value) for key, names_of_value in names.items()}


class _AbortCall(BaseException):
    """Ends the call; no `except Exception` of the function's own is in its way."""


def _make_suggest(call: str) -> Callable[..., object]:
    def suggest(trial: _Trial, name: str, *args: object, **kwargs: object) -> object:
        return trial._suggest(call, name, args, kwargs)

    suggest.__qualname__ = call  # Python names it where an argument is missing
    return suggest


class _Trial:
    """What the function takes for an optuna.Trial."""

    suggest_float = _make_suggest("suggest_float")
    suggest_int = _make_suggest("suggest_int")
    suggest_categorical = _make_suggest("suggest_categorical")
    suggest_uniform = _make_suggest("suggest_uniform")
    suggest_loguniform = _make_suggest("suggest_loguniform")
    suggest_discrete_uniform = _make_suggest("suggest_discrete_uniform")

    def __init__(self, number: int, choose: Choose, read: Read, instrumented: bool) -> None:
        self.number = number
        self.user_attrs: dict[str, object] = {}
        self._choose, self._read, self._instrumented = choose, read, instrumented
        self._parameters: dict[str, Parameter] = {}
        self._values: dict[str, object] = {}
        self._returned_values: dict[str, object] = {}
        self._comparisons: dict[str, dict[Comparison, None]] = {}
        self._calls = 0
        self._issue: TranslationError | None = None

    @property
    def params(self) -> dict[str, object]:
        return dict(self._returned_values)

    def set_user_attr(self, key: str, value: object) -> None:
        self.user_attrs[key] = value  # a note on a trial is not one of its params

    def __getattr__(self, name: str) -> NoReturn:
        if name in _UNSUPPORTED:
            reason, hint = _UNSUPPORTED[name]
            error = unreadable_error if (reason, hint) == OBJECTIVE else inexpressible_error
            self._abort(error("", f"it uses trial.{name}: {reason}", hint))
        raise AttributeError(f"the trial has no {name!r}")

    def _abort(self, error: TranslationError) -> NoReturn:
        self._issue = self._issue or error
        raise _AbortCall

    def _suggest(self, trace_call: str, name: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        self._calls += 1
        if self._calls > MAX_SUGGESTIONS:
            reason = f"it makes more than {MAX_SUGGESTIONS} suggest calls at once"
            self._abort(unreadable_error("", reason, "shorten the loop it makes them in"))
        if not isinstance(name, str):
            self._abort(unreadable_error("", f"{describe_value(name)} cannot name a parameter", "use a string"))
        name = str(name)
        if self._instrumented:
            self._reject_draws_in(name, (*args, *kwargs.values()))
        try:
            parameter = self._read(trace_call, args, kwargs)
            issues = parameter.issues
        except TranslationError as error:
            issues = error.issues
        if issues:
            self._abort(TranslationError(MESSAGE, [issue._replace(path=name) for issue in issues]))
        known = self._parameters.setdefault(name, parameter)
        if known is not parameter and known != parameter:
            self._abort(conflicting_ranges_error(name, known, parameter))
        if name not in self._returned_values:
            self._give(name, self._choose(name, parameter))
        return self._returned_values[name]

    def _reject_draws_in(self, name: str, arguments: tuple[object, ...]) -> None:
        for argument in arguments:
            for draw in () if is_scalar(argument) else find_draws(argument):
                hint = "give it a fixed range, or a name and a range for each value of that draw"
                self._abort(inexpressible_error(name, f"its range depends on the draw {draw!r}", hint))

    def _give(self, name: str, value: object) -> None:
        self._values[name] = value
        if self._instrumented and can_instrument(value):
            self._returned_values[name] = instrument(name, value, self._comparisons.setdefault(name, {}))
        else:
            self._returned_values[name] = copy_if_mutable(value)


def conflicting_ranges_error(
    name: str, one: Parameter, other: Parameter, where: tuple[str, str] = ("", "")
) -> TranslationError:
    """Return the error of a name that is suggested in two ways."""
    hint = "suggest the second under a name of its own; a range that follows another draw needs a name for each"
    if one.kind != other.kind or one.kind == "categorical" or getattr(one, "log", None) != getattr(other, "log", None):
        hint = "give each a name of its own; Optuna, too, has one kind, one scale and one list of choices for a name"
    shown = " and as ".join(f"{short_repr(p, 120)}{at}" for p, at in zip((one, other), where, strict=True))
    return inexpressible_error(name, f"is suggested as {shown}", hint)


def trace_call(function: Callable[..., object], number: int, choose: Choose, read: Read, *, instrumented: bool) -> Run:
    """Call the function once; `choose` draws, `read` reads a suggest call.

    Raises `TranslationError` for a function that does anything else than suggest and return params;
    `InstrumentationError` for one that raises with instrumented draws.
    """
    trial = _Trial(number, choose, read, instrumented)
    try:
        result = function(trial)
        returned = None if result is None else dict(flatten_result(result, trial._returned_values, trial._values))
    except (KeyboardInterrupt, TranslationError):
        raise
    except BaseException as error:
        if trial._issue:
            raise trial._issue from None
        if instrumented:  # it may be what it was given
            raise InstrumentationError from error
        raise _exception_issue(error, trial._values) from error
    if trial._issue:  # the function caught it
        raise trial._issue
    entries = frozenset[Entry](trial._values) | frozenset(returned or ())
    return Run(trial._parameters, trial._values, trial._comparisons, returned, entries)


def _exception_issue(error: BaseException, values: Mapping[str, object]) -> TranslationError:
    kind = type(error).__name__
    if kind == "TrialPruned":
        return unreadable_error("", f"it prunes trials: {OBJECTIVE[0]}", OBJECTIVE[1])
    drawn = f" with the draws {short_repr(values, 120)}" if values else ""
    try:
        text = f"{kind}: {error}"[:200]
    except Exception:  # its __str__ is user code
        text = kind
    return unreadable_error("", f"it raised {text}{drawn}", "it has to return params whatever is drawn")
