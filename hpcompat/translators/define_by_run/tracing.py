"""One call of a define-by-run function: what it suggests, compares and returns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, TypeAlias

from hpcompat.errors import TranslationError
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import copy_if_mutable, is_scalar, short_repr, strict_key
from hpcompat.translators.define_by_run.returned import OBJECTIVE, Draw, Path, flat
from hpcompat.translators.define_by_run.watching import (
    MESSAGE,
    Look,
    UnwatchableError,
    brief,
    draws_in,
    inexpressible,
    is_watchable,
    refuse,
    watched,
)

MOST_SUGGESTIONS = 10_000
Entry: TypeAlias = str | Path
"""A suggested name, or the path of a returned key."""
Choose: TypeAlias = Callable[[str, Parameter], Any]
Read: TypeAlias = Callable[[str, Sequence[Any], Mapping[str, Any]], Parameter]

_RUNNING = "only a running study has that", "give a function that only suggests and returns the params"
_BEYOND = {
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
    looks: Mapping[str, Mapping[Look, None]]
    returned: dict[Path, Any] | None
    entries: frozenset[Entry]

    def ordered(self) -> list[Entry]:
        """The entries as they came."""
        return [*self.values, *(self.returned or ())]

    def value(self, path: Path) -> Any:
        """A returned value, be it a draw or not."""
        value = (self.returned or {}).get(path)
        return self.values[value.name] if isinstance(value, Draw) else value

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


class _Refusal(BaseException):
    """Ends the call; no `except Exception` of the function's own is in its way."""


class _Trial:
    """What the function takes for an optuna.Trial."""

    def __init__(self, number: int, choose: Choose, read: Read, watching: bool) -> None:
        self.number = number
        self.user_attrs: dict[str, Any] = {}
        self._choose, self._read, self._watching = choose, read, watching
        self._parameters: dict[str, Parameter] = {}
        self._values: dict[str, Any] = {}
        self._handed: dict[str, Any] = {}
        self._looks: dict[str, dict[Look, None]] = {}
        self._calls = 0
        self._issue: TranslationError | None = None

    @property
    def params(self) -> dict[str, Any]:
        return dict(self._handed)

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
        if name in _BEYOND:
            reason, hint = _BEYOND[name]
            error = refuse if (reason, hint) == OBJECTIVE else inexpressible
            self._stop(error("", f"it uses trial.{name}: {reason}", hint))
        raise AttributeError(f"the trial has no {name!r}")

    def _stop(self, error: TranslationError) -> NoReturn:
        self._issue = self._issue or error
        raise _Refusal

    def _suggest(self, call: str, name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._calls += 1
        if self._calls > MOST_SUGGESTIONS:
            reason = f"it makes more than {MOST_SUGGESTIONS} suggest calls at once"
            self._stop(refuse("", reason, "shorten the loop it makes them in"))
        if not isinstance(name, str):
            self._stop(refuse("", f"{brief(name)} cannot name a parameter", "names are texts"))
        name = str(name)
        if self._watching:
            self._see_no_draw_in(name, (*args, *kwargs.values()))
        try:
            parameter = self._read(call, args, kwargs)
            issues = parameter.issues
        except TranslationError as error:
            issues = error.issues
        if issues:
            self._stop(TranslationError(MESSAGE, [issue._replace(path=name) for issue in issues]))
        known = self._parameters.setdefault(name, parameter)
        if known is not parameter and known != parameter:
            self._stop(two_ranges(name, known, parameter))
        if name not in self._handed:
            self._hand_out(name, self._choose(name, parameter))
        return self._handed[name]

    def _see_no_draw_in(self, name: str, arguments: tuple[Any, ...]) -> None:
        for argument in arguments:
            for draw in () if is_scalar(argument) else draws_in(argument):
                hint = "give it a fixed range, or a name and a range for each value of that draw"
                self._stop(inexpressible(name, f"its range depends on the draw {draw!r}", hint))

    def _hand_out(self, name: str, value: Any) -> None:
        self._values[name] = value
        if self._watching and is_watchable(value):
            self._handed[name] = watched(name, value, self._looks.setdefault(name, {}))
        else:
            self._handed[name] = copy_if_mutable(value)


def two_ranges(name: str, one: Parameter, other: Parameter, where: tuple[str, str] = ("", "")) -> TranslationError:
    """The error of a name that is suggested in two ways; `where` each of them is."""
    hint = "suggest the second under a name of its own; a range that follows another draw needs a name for each"
    if one.kind != other.kind or one.kind == "categorical" or getattr(one, "log", None) != getattr(other, "log", None):
        hint = "give each a name of its own; Optuna, too, has one kind, one scale and one list of choices for a name"
    shown = " and as ".join(f"{short_repr(p, 120)}{at}" for p, at in zip((one, other), where, strict=True))
    return inexpressible(name, f"is suggested as {shown}", hint)


def call(function: Callable[[Any], Any], number: int, choose: Choose, read: Read, *, watching: bool) -> Run:
    """Call the function once; `choose` draws, `read` reads a suggest call.

    Raises `TranslationError` for a function that does anything else than suggest and return params;
    one that raises when its draws are watched is called with plain ones: `UnwatchableError`.
    """
    trial = _Trial(number, choose, read, watching)
    try:
        result = function(trial)
        returned = None if result is None else dict(flat(result, trial._handed, trial._values))
    except (KeyboardInterrupt, TranslationError):
        raise
    except BaseException as error:
        if trial._issue:
            raise trial._issue from None
        if watching:  # it may be what it was given
            raise UnwatchableError from error
        raise _raised(error, trial._values) from error
    if trial._issue:  # the function caught it
        raise trial._issue
    entries = frozenset[Entry](trial._values) | frozenset(returned or ())
    return Run(trial._parameters, trial._values, trial._looks, returned, entries)


def _raised(error: BaseException, values: Mapping[str, Any]) -> TranslationError:
    kind = type(error).__name__
    if kind == "TrialPruned":
        return refuse("", f"it prunes trials: {OBJECTIVE[0]}", OBJECTIVE[1])
    drawn = f" with the draws {short_repr(values, 120)}" if values else ""
    try:
        text = f"{kind}: {error}"[:200]
    except Exception:  # a stranger's __str__
        text = kind
    return refuse("", f"it raised {text}{drawn}", "it has to return params whatever is drawn")
