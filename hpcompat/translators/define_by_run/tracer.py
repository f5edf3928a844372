"""One call of a define-by-run function: what it suggests, compares and returns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, TypeAlias

from hpcompat.errors import TranslationError
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import copy_if_mutable, is_scalar, short_repr, strict_key
from hpcompat.translators.define_by_run.instrumentation import (
    MESSAGE,
    Comparison,
    InstrumentationError,
    can_instrument,
    describe_value,
    find_draws,
    inexpressible_error,
    instrument,
    unreadable_error,
)
from hpcompat.translators.define_by_run.returned_params import OBJECTIVE, DrawRef, Path, flatten_result

MAX_SUGGESTIONS = 10_000
Entry: TypeAlias = str | Path
"""A suggested name, or the path of a returned key."""
Choose: TypeAlias = Callable[[str, Parameter], Any]
Read: TypeAlias = Callable[[str, Sequence[Any], Mapping[str, Any]], Parameter]

_RUNNING = "only a running study has that", "give a function that only suggests and returns the params"
_UNSUPPORTED = {
    **dict.fromkeys(("report", "should_prune", "set_constraint", "constraints"), OBJECTIVE),
    **dict.fromkeys(("study", "storage", "system_attrs", "set_system_attr", "datetime_start"), _RUNNING),
    **dict.fromkeys(("relative_params", "distributions"), _RUNNING),
}


@dataclass(frozen=True)
class Run:
    """What one call did.

    `parameters`, `values`: what was suggested and drawn, by suggested name; `looks`: what the draws
    were compared with; `returned`: a plain value or a `Draw` for each path of the returned dict,
    None if it returned None; `entries`: the suggested names and the returned paths.
    """

    parameters: dict[str, Parameter]
    values: dict[str, Any]
    comparisons: Mapping[str, Mapping[Comparison, None]]
    returned: dict[Path, Any] | None
    entries: frozenset[Entry]

    def ordered(self) -> list[Entry]:
        """The entries as they came."""
        return [*self.values, *(self.returned or ())]

    def value(self, path: Path) -> Any:
        """A returned value, be it a draw or not."""
        value = (self.returned or {}).get(path)
        return self.values[value.name] if isinstance(value, DrawRef) else value

    def params(self) -> dict[Path, Hashable] | None:
        """The identity of every returned value, to compare runs by."""
        return None if self.returned is None else {path: strict_key(self.value(path)) for path in self.returned}

    def draws_of(self, value: Any) -> frozenset[str]:
        """The names whose draw is this value."""
        return self._names.get(strict_key(value), frozenset())

    @cached_property
    def _names(self) -> dict[Hashable, frozenset[str]]:
        names: dict[Hashable, list[str]] = {}
        for name, value in self.values.items():
            names.setdefault(strict_key(value), []).append(name)
        return {key: frozenset(each) for key, each in names.items()}


class _AbortCall(BaseException):
    """Ends the call; no `except Exception` of the function's own is in its way."""


class _Trial:
    """What the function takes for an optuna.Trial."""

    def __init__(self, number: int, choose: Choose, read: Read, instrumented: bool) -> None:
        self.number = number
        self.user_attrs: dict[str, Any] = {}
        self._choose, self._read, self._instrumented = choose, read, instrumented
        self._parameters: dict[str, Parameter] = {}
        self._values: dict[str, Any] = {}
        self._returned_values: dict[str, Any] = {}
        self._comparisons: dict[str, dict[Comparison, None]] = {}
        self._calls = 0
        self._issue: TranslationError | None = None

    @property
    def params(self) -> dict[str, Any]:
        return dict(self._returned_values)

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value  # a note on a trial is no part of its params

    def suggest_float(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._suggest("suggest_float", name, args, kwargs)

    def suggest_int(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._suggest("suggest_int", name, args, kwargs)

    def suggest_categorical(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._suggest("suggest_categorical", name, args, kwargs)

    def suggest_uniform(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._suggest("suggest_uniform", name, args, kwargs)

    def suggest_loguniform(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._suggest("suggest_loguniform", name, args, kwargs)

    def suggest_discrete_uniform(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._suggest("suggest_discrete_uniform", name, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in _UNSUPPORTED:
            reason, hint = _UNSUPPORTED[name]
            error = unreadable_error if (reason, hint) == OBJECTIVE else inexpressible_error
            self._abort(error("", f"it uses trial.{name}: {reason}", hint))
        raise AttributeError(f"the trial has no {name!r}")

    def _abort(self, error: TranslationError) -> NoReturn:
        self._issue = self._issue or error
        raise _AbortCall

    def _suggest(self, trace_call: str, name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._calls += 1
        if self._calls > MAX_SUGGESTIONS:
            reason = f"it makes more than {MAX_SUGGESTIONS} suggest calls at once"
            self._abort(unreadable_error("", reason, "shorten the loop it makes them in"))
        if not isinstance(name, str):
            self._abort(unreadable_error("", f"{describe_value(name)} cannot name a parameter", "names are texts"))
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

    def _reject_draws_in(self, name: str, arguments: tuple[Any, ...]) -> None:
        for argument in arguments:
            for draw in () if is_scalar(argument) else find_draws(argument):
                hint = "give it a fixed range, or a name and a range for each value of that draw"
                self._abort(inexpressible_error(name, f"its range depends on the draw {draw!r}", hint))

    def _give(self, name: str, value: Any) -> None:
        self._values[name] = value
        if self._instrumented and can_instrument(value):
            self._returned_values[name] = instrument(name, value, self._comparisons.setdefault(name, {}))
        else:
            self._returned_values[name] = copy_if_mutable(value)


def conflicting_ranges_error(
    name: str, one: Parameter, other: Parameter, where: tuple[str, str] = ("", "")
) -> TranslationError:
    """The error of a name that is suggested in two ways; `where` each of them is."""
    hint = "suggest the second under a name of its own; a range that follows another draw needs a name for each"
    if one.kind != other.kind or one.kind == "categorical" or getattr(one, "log", None) != getattr(other, "log", None):
        hint = "give each a name of its own; Optuna, too, has one kind, one scale and one list of choices for a name"
    shown = " and as ".join(f"{short_repr(p, 120)}{at}" for p, at in zip((one, other), where, strict=True))
    return inexpressible_error(name, f"is suggested as {shown}", hint)


def trace_call(function: Callable[[Any], Any], number: int, choose: Choose, read: Read, *, instrumented: bool) -> Run:
    """Call the function once; `choose` draws, `read` reads a suggest call.

    Raises `TranslationError` for a function that does anything else than suggest and return params;
    one that raises when its draws are watched is called with plain ones: `UnwatchableError`.
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


def _exception_issue(error: BaseException, values: Mapping[str, Any]) -> TranslationError:
    kind = type(error).__name__
    if kind == "TrialPruned":
        return unreadable_error("", f"it prunes trials: {OBJECTIVE[0]}", OBJECTIVE[1])
    drawn = f" with the draws {short_repr(values, 120)}" if values else ""
    try:
        text = f"{kind}: {error}"[:200]
    except Exception:  # a stranger's __str__
        text = kind
    return unreadable_error("", f"it raised {text}{drawn}", "it has to return params whatever is drawn")
