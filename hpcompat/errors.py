"""The exceptions of hpcompat: every one that it raises on purpose is an `HpcompatError`.

    HpcompatError
    ├── SpaceError            the description of a space is invalid           (also a ValueError)
    ├── ParamsError           params that do not lie in the space             (also a ValueError)
    ├── TranslationError      a conversion that would not be exact            (also a ValueError)
    ├── BackendError          a search that this backend cannot do as asked   (also a ValueError)
    │   └── MissingBackendError   its package is not installed, or too old    (also an ImportError)
    └── SearchError           a search that could not be carried out          (also a RuntimeError)

`TrialPruned` is not an error: user code raises it to end a trial.

What is wrong is found out whole before it is raised: `error.issues` holds one `Issue` for each
parameter concerned, and the message shows one line for each.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from typing import Any, NamedTuple

_SHOWN = 20


class Issue(NamedTuple):
    """One thing that is wrong.

    `path`: the dotted name of a parameter, the name of an argument, or "". `message`: what was expected, and what
    was given. `hint`: what to do about it.

    >>> print(Issue("lr", "low 1.0 is above high 0.1", "swap them"))
    lr: low 1.0 is above high 0.1 (swap them)
    """

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{path}{self.message}{hint}"


def did_you_mean(name: object, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Return a hint at the name that was perhaps meant, or "" if none is close.

    Args:
        name: what was given.
        names: what is known.
        cutoff: how close a name has to be, from 0 to 1; see `difflib.get_close_matches`.

    >>> did_you_mean("bayess", ["bayes", "random", "grid"]), did_you_mean("tpe", ["bayes", "random", "grid"])
    ("did you mean 'bayes'?", '')
    """
    from difflib import get_close_matches

    close = get_close_matches(name, tuple(names), 1, cutoff) if isinstance(name, str) else []
    return f"did you mean {close[0]!r}?" if close else ""


def expected_one_of(name: object, names: Iterable[str], also: Iterable[str] = ()) -> str:
    """Return a hint for a name that is not one of `names`: what was meant, perhaps one of `also`, or all of them.

    >>> expected_one_of("medain", ("median", "asha")), expected_one_of("nothing", ("median", "asha"))
    ("did you mean 'median'?", "expected one of 'median', 'asha'")
    """
    names = tuple(names)
    return did_you_mean(name, (*names, *also)) or f"expected one of {', '.join(map(repr, names))}"


def format_error(error: BaseException) -> str:
    """Return the cause, then the traceback: as text, for an exception keeps its frames alive, models and all."""
    return f"{error_summary(error)}\n\n{''.join(traceback.format_exception(error))}"


def error_summary(error: BaseException) -> str:
    """Return what an exception says, with its type."""
    return "".join(traceback.format_exception_only(error)).strip()


class HpcompatError(Exception):
    """Base of every error that hpcompat raises on purpose.

    >>> error = SpaceError("1 issue in the space", [Issue("lr", "low 1.0 is above high 0.1", "swap them")])
    >>> print(error)
    1 issue in the space
      lr: low 1.0 is above high 0.1 (swap them)
    """

    def __init__(self, message: str, issues: Iterable[Issue] = ()) -> None:
        self.message = message
        self.issues = tuple(issues)
        super().__init__(message, self.issues)

    def __str__(self) -> str:
        if [issue[:2] for issue in self.issues] == [("", self.message)]:
            return str(self.issues[0])  # the one issue says what the message says, and the way out
        lines = [self.message, *(f"  {issue}" for issue in self.issues[:_SHOWN])]
        if len(self.issues) > _SHOWN:
            lines.append(f"  … and {len(self.issues) - _SHOWN} more")
        return "\n".join(lines)


class SpaceError(HpcompatError, ValueError):
    """The description of a search space is invalid."""


class ParamsError(HpcompatError, ValueError):
    """Params do not lie in the space they are said to come from."""


class TranslationError(HpcompatError, ValueError):
    """A conversion that would not be exact, or something that cannot be read."""


class BackendError(HpcompatError, ValueError):
    """A search was asked for that this backend cannot do."""


class MissingBackendError(BackendError, ImportError):
    """The package of a backend is not installed, or its version is too old."""


class SearchError(HpcompatError, RuntimeError):
    """A search could not be carried out.

    `trials`: each `Trial` that it finished before; one whose state is "UNSCORED" has metrics, and no values yet.
    """

    trials: tuple[Any, ...] = ()


class TrialPruned(Exception):
    """Raise it inside a trial to end that trial as PRUNED, on every backend; `optuna.TrialPruned` does the same.

    It is a signal to the search and not an error: no `except HpcompatError` is in its way.

    >>> import hpcompat as hp
    >>> def train(trial):
    ...     trial.report(0.5, step=1)
    ...     raise hp.TrialPruned
    >>> trial = hp.search(train, {"x": hp.Float(0, 1)}, n_trials=1, progress=False).trials[0]
    >>> trial.state, trial.value
    ('PRUNED', 0.5)
    """
