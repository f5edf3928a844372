"""What each system can express: the one table that the translators, the tests and the docs read.

A row is a shape of parameter, a column a dialect as it is driven. A cell lists the forms to try, best
first; each states what it needs of the parameter, and the reason when it is not native.

| level | means |
|---|---|
| native | the system has a form of its own, which reads back as the same parameter |
| equivalent | the system draws the same values by the same law, but forgets the kind |
| encoded | the system stores something else, and `decode` brings the value back |
| refused | it cannot travel at all |

Forms named in `encoding.ENCODINGS` are written as their stand-in; every other form has a writer of
that name in the dialect's room.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from hpcompat.parameters import Categorical, Constant, Float, Int, Normal, Parameter
from hpcompat.translators import literals
from hpcompat.values import identity, is_scalar

MOST_LISTED = 10_000
"""A grid of more values than this is not written out as a list."""
LEVELS = ("native", "equivalent", "encoded", "refused")
COLUMNS = ("optuna", "ray", "ray searcher", "sigopt", "wandb random", "wandb bayes", "wandb grid")

Test = Callable[[Any], bool]


class Rule(NamedTuple):
    """One way for a parameter to travel: level, form, why it is no better, and what it needs."""

    level: str
    form: str
    reason: str = ""
    fits: Test = lambda parameter: True


# -- what a form can need of a parameter ------------------------------------------------------------


def bounded(p: Float) -> bool:
    """The engines draw low + u * (high - low), which must not overflow."""
    return p.high - p.low < float("inf")


def wide(p: Float | Normal) -> bool:
    """SigOpt's narrowest interval."""
    return bounded(p) and p.high - p.low >= 1e-8  # type: ignore[arg-type, operator]


def exact_ints(p: Int) -> bool:
    """Ints that a float holds exactly."""
    return max(abs(p.low), abs(p.high)) <= 2**53


def listed(p: Parameter) -> bool:
    """Few enough values to write out."""
    return p.size <= MOST_LISTED


def anchored(p: Float | Int) -> bool:
    """The grid's values are multiples of the step."""
    multiples = Normal(0.0, 1.0, low=p.low, high=p.high, step=p.step)
    return not any("no multiple" in fault.reason for fault in multiples.faults)


def anchored_ints(p: Int) -> bool:
    """Ray's qrandint: with q=1 it leaves its upper end out."""
    return p.step >= 2 and exact_ints(p) and anchored(p)


def scalars(p: Categorical) -> bool:
    """No two choices that an engine comparing by == would confuse."""
    return all(map(is_scalar, p.choices)) and len(set(p.choices)) == len(p.choices)


def storable(p: Categorical) -> bool:
    """Choices that JSON gives back as they were, and that == tells apart."""
    if all(map(is_scalar, p.choices)):
        return scalars(p)
    return not any(map(_holds_tuple, p.choices)) and _apart(p.choices)


def _holds_tuple(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, tuple) or any(map(_holds_tuple, inner))


def _apart(values: tuple[Any, ...]) -> bool:
    # 1 == True at any depth: compare the typed identities with their types taken out
    def untyped(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return "list", tuple(map(untyped, value))
        if isinstance(value, dict):
            return "dict", frozenset((key, untyped(item)) for key, item in value.items())
        return value

    return len(set(map(untyped, values))) == len({identity(value) for value in values})


def plain(p: Categorical | Constant) -> bool:
    """Nothing in it that Ray would resolve, and no tuple."""
    values = p.choices if isinstance(p, Categorical) else (p.value,)
    return not any(map(resolvable, values))


def resolvable(value: Any) -> bool:
    """Whether Ray would take a dict inside the value for part of the space: it evaluates {"eval": …}."""
    if isinstance(value, dict):
        return bool({"eval", "grid_search"} & value.keys()) or any(map(resolvable, value.values()))
    return isinstance(value, (list, tuple)) and any(map(resolvable, value))


def flat(p: Constant) -> bool:
    """A dict in a Ray config reads back as a group."""
    return plain(p) and not (isinstance(p.value, dict) and p.value)


def repeats(p: Categorical) -> bool:
    """Weights whose ratios are small whole numbers, so that listing a choice repeatedly gives them."""
    return plain(p) and repetitions(p) is not None


def repetitions(p: Categorical) -> tuple[int, ...] | None:
    """How often to list each choice for exactly its weight; None if more than 1,000 in all."""
    smallest = min(p.weights or (1.0,))
    for base in range(1, 101):
        counts = tuple(round(weight / smallest * base) for weight in p.weights or ())
        total = sum(counts)
        if total > 1000:
            return None
        if all(count / total == weight for count, weight in zip(counts, p.weights or (), strict=True)):
            return counts
    return None


def texts(p: Categorical) -> bool:
    """SigOpt's categories: two or more texts of 1–50 characters, none with blanks around it."""
    return len(p.choices) >= 2 and all(
        isinstance(choice, str)
        and 1 <= len(choice) <= 50
        and choice == choice.strip()
        and choice.isprintable()
        and not literals.parse(choice)[0]
        for choice in p.choices
    )


def literal_texts(p: Categorical) -> bool:
    """Numbers, true, false and null whose texts say what they are."""
    written = [literals.text_of(choice) for choice in p.choices]
    return len(written) >= 2 and all(text is not None and len(text) <= 50 for text in written)


def ascending(p: Categorical) -> bool:
    """An ordered scale of numbers that is no arithmetic grid, which would read back as Int or Float."""
    kinds = {type(choice) for choice in p.choices}
    if not p.ordered or len(p.choices) < 3 or len(kinds) != 1 or not kinds <= {int, float}:
        return False
    ordered = all(a < b for a, b in zip(p.choices, p.choices[1:], strict=False))
    return ordered and grid_step(p.choices) is None


def grid_step(values: tuple[Any, ...]) -> Any:
    """The step of ascending numbers that lie evenly spaced, in decimals; None if they do not."""
    from decimal import Decimal

    low, second = (Decimal(repr(value)) for value in values[:2])
    step = type(values[0])(second - low)
    kind = Int if type(values[0]) is int else Float
    grid = kind(values[0], values[-1], step=step)
    even = not grid.faults and grid.size == len(values) and all(map(grid.contains, values))
    return step if even else None


def inside(p: Normal) -> bool:
    """SigOpt's prior: a mean strictly between two bounds."""
    return p.low is not None and p.high is not None and p.low < p.mean < p.high and wide(p)


def unbounded(p: Normal) -> bool:
    """Not truncated."""
    return p.low is None and p.high is None


# -- forms ------------------------------------------------------------------------------------------


def native(form: str, fits: Test | None = None) -> Rule:
    return Rule("native", form, "", fits or Rule._field_defaults["fits"])


def equivalent(form: str, reason: str, fits: Test | None = None) -> Rule:
    return Rule("equivalent", form, reason, fits or Rule._field_defaults["fits"])


def unit(reason: str) -> Rule:
    return Rule("encoded", "unit", reason)


def index(reason: str) -> Rule:
    return Rule("encoded", "index", reason)


def labels(reason: str, fits: Test | None = None) -> Rule:
    return Rule("encoded", "labels", reason, fits or Rule._field_defaults["fits"])


def refused(reason: str) -> Rule:
    return Rule("refused", "", reason)


TOO_WIDE = "the range is wider than a float"
TOO_LARGE = "ints beyond 2**53 lose their last digits"
TOO_MANY = f"it has more than {MOST_LISTED} values"
ALIKE = "it would confuse two choices that are == to Python, or turn a tuple into a list"
GRID = "a grid needs values to go through"
GRID_MASS = "a grid goes through every value alike and cannot weight them"
NO_TRUNCATION = "it has no truncated or rounded normal law"
FORGETS_STEP = "a list of the values"
FORGETS_ORDER = "a list of choices, without an order"

_RAY_CHOICE = (native("choice", plain), labels("Ray would evaluate a dict with the key eval or grid_search"))
_STEPS = (equivalent("values", FORGETS_STEP, listed), index(TOO_MANY))

TABLE: dict[str, dict[str, tuple[Rule, ...]]] = {
    "float": {
        "optuna": (native("suggest_float", bounded), unit(TOO_WIDE)),
        "ray": (native("uniform", bounded), unit(TOO_WIDE)),
        "ray searcher": (native("uniform", bounded), unit(TOO_WIDE)),
        "sigopt": (native("bounds", wide), unit("SigOpt needs bounds at least 1e-8 and not infinitely far apart")),
        "wandb random": (native("uniform", bounded), unit(TOO_WIDE)),
        "wandb bayes": (native("uniform", bounded), unit(TOO_WIDE)),
        "wandb grid": (refused(GRID),),
    },
    "float log": {
        "optuna": (native("suggest_float", bounded), unit(TOO_WIDE)),
        "ray": (native("loguniform"),),
        "ray searcher": (native("loguniform"),),
        "sigopt": (native("log_bounds", wide), unit("SigOpt needs bounds at least 1e-8 and not infinitely far apart")),
        "wandb random": (native("log_uniform_values"),),
        "wandb bayes": (native("log_uniform_values"),),
        "wandb grid": (refused(GRID),),
    },
    "float step": {
        "optuna": (native("suggest_float", bounded), index(TOO_WIDE)),
        "ray": (equivalent("choice_of_steps", FORGETS_STEP, listed), index(TOO_MANY)),
        "ray searcher": (
            native("quniform", anchored),
            equivalent("choice_of_steps", FORGETS_STEP, listed),
            index(TOO_MANY),
        ),
        "sigopt": (native("grid", listed), index(TOO_MANY)),
        "wandb random": _STEPS,
        "wandb bayes": _STEPS,
        "wandb grid": _STEPS,
    },
    "float log step": {
        "optuna": (unit("Optuna has no step on a logarithmic scale"),),
        "ray": (native("qloguniform", anchored), unit("Ray rounds to multiples of the step")),
        "ray searcher": (unit("a searcher drops the step on a logarithmic scale"),),
        "sigopt": (unit("SigOpt has no step on a logarithmic scale"),),
        "wandb random": (native("q_log_uniform_values", anchored), unit("W&B rounds to multiples of the step")),
        "wandb bayes": (native("q_log_uniform_values", anchored), unit("W&B rounds to multiples of the step")),
        "wandb grid": _STEPS,
    },
    "int": {
        "optuna": (native("suggest_int", exact_ints), index(TOO_LARGE)),
        "ray": (native("randint", exact_ints), index(TOO_LARGE)),
        "ray searcher": (native("randint", exact_ints), index(TOO_LARGE)),
        "sigopt": (native("int_bounds", exact_ints), index(TOO_LARGE)),
        "wandb random": (native("int_uniform", exact_ints), index(TOO_LARGE)),
        "wandb bayes": (native("int_uniform", exact_ints), index(TOO_LARGE)),
        "wandb grid": (native("int_uniform", exact_ints), index(TOO_LARGE)),
    },
    "int log": {
        "optuna": (native("suggest_int", exact_ints), unit(TOO_LARGE)),
        "ray": (native("lograndint", exact_ints), unit(TOO_LARGE)),
        "ray searcher": (native("lograndint", exact_ints), unit(TOO_LARGE)),
        "sigopt": (unit("SigOpt has no logarithmic ints"),),
        "wandb random": (native("q_log_uniform_values", exact_ints), unit(TOO_LARGE)),
        "wandb bayes": (native("q_log_uniform_values", exact_ints), unit(TOO_LARGE)),
        "wandb grid": _STEPS,
    },
    "int step": {
        "optuna": (native("suggest_int", exact_ints), index(TOO_LARGE)),
        "ray": (
            native("qrandint", anchored_ints),
            equivalent("choice_of_steps", FORGETS_STEP, listed),
            index(TOO_MANY),
        ),
        "ray searcher": (
            native("qrandint", anchored_ints),
            equivalent("choice_of_steps", FORGETS_STEP, listed),
            index(TOO_MANY),
        ),
        "sigopt": (native("grid", listed), index(TOO_MANY)),
        "wandb random": _STEPS,
        "wandb bayes": _STEPS,
        "wandb grid": _STEPS,
    },
    "int log step": {
        "optuna": (unit("Optuna has no step on a logarithmic scale"),),
        "ray": (native("qlograndint", anchored_ints), unit("Ray rounds to multiples of the step")),
        "ray searcher": (unit("a searcher has no step on a logarithmic scale"),),
        "sigopt": (unit("SigOpt has no step on a logarithmic scale"),),
        "wandb random": (native("q_log_uniform_values", anchored_ints), unit("W&B rounds to multiples of the step")),
        "wandb bayes": (native("q_log_uniform_values", anchored_ints), unit("W&B rounds to multiples of the step")),
        "wandb grid": _STEPS,
    },
    "categorical": {
        "optuna": (native("suggest_categorical", storable), labels(ALIKE)),
        "ray": _RAY_CHOICE,
        "ray searcher": (native("choice", lambda p: plain(p) and storable(p)), labels(ALIKE)),
        "sigopt": (
            native("categorical_values", texts),
            Rule("native", "literals", "stored as text, parsed by decode", literal_texts),
            labels("SigOpt's categories are two or more texts that read as nothing else", lambda p: len(p.choices) > 1),
            Rule("encoded", "absent", "SigOpt needs two values"),
        ),
        "wandb random": (native("values", storable), labels(ALIKE)),
        "wandb bayes": (native("values", storable), labels(ALIKE)),
        "wandb grid": (native("values", storable), labels(ALIKE)),
    },
    "categorical ordered": {
        "optuna": (equivalent("suggest_categorical", FORGETS_ORDER, storable), labels(ALIKE)),
        "ray": (equivalent("choice", FORGETS_ORDER, plain), _RAY_CHOICE[1]),
        "ray searcher": (equivalent("choice", FORGETS_ORDER, lambda p: plain(p) and storable(p)), labels(ALIKE)),
        "sigopt": (
            native("grid", ascending),
            equivalent("categorical_values", FORGETS_ORDER, texts),
            equivalent("literals", FORGETS_ORDER, literal_texts),
            labels("SigOpt's categories are two or more texts that read as nothing else", lambda p: len(p.choices) > 1),
            Rule("encoded", "absent", "SigOpt needs two values"),
        ),
        "wandb random": (equivalent("values", FORGETS_ORDER, storable), labels(ALIKE)),
        "wandb bayes": (equivalent("values", FORGETS_ORDER, storable), labels(ALIKE)),
        "wandb grid": (equivalent("values", FORGETS_ORDER, storable), labels(ALIKE)),
    },
    "categorical weights": {
        "optuna": (unit("Optuna has no weights"),),
        "ray": (
            Rule("native", "weighted_choice", "choices repeated", lambda p: repeats(p) and not p.ordered),
            Rule("equivalent", "weighted_choice", FORGETS_ORDER, repeats),
            unit("Ray has no weights, and their ratios are no small whole numbers"),
        ),
        "ray searcher": (unit("searchers have no weights"),),
        "sigopt": (unit("SigOpt has no weights"),),
        "wandb random": (
            native("probabilities", lambda p: storable(p) and not p.ordered),
            equivalent("probabilities", FORGETS_ORDER, storable),
            unit(ALIKE),
        ),
        "wandb bayes": (unit("bayes has no weights"),),
        "wandb grid": (refused(GRID_MASS),),
    },
    "constant": {
        "optuna": (native("returned"),),
        "ray": (native("constant", flat), equivalent("constant", "a dict reads as a group", plain), Rule("encoded", "absent", "Ray would evaluate it")),
        "ray searcher": (native("constant", flat), equivalent("constant", "a dict reads as a group", plain), Rule("encoded", "absent", "Ray would evaluate it")),
        "sigopt": (Rule("encoded", "absent", "SigOpt has no constants; decode restores it"),),
        "wandb random": (native("value", lambda p: not _holds_tuple(p.value)), Rule("encoded", "absent", "JSON turns a tuple into a list")),
        "wandb bayes": (native("value", lambda p: not _holds_tuple(p.value)), Rule("encoded", "absent", "JSON turns a tuple into a list")),
        "wandb grid": (native("value", lambda p: not _holds_tuple(p.value)), Rule("encoded", "absent", "JSON turns a tuple into a list")),
    },
    "normal": {
        "optuna": (unit("Optuna has no normal law"),),
        "ray": (native("randn", unbounded), unit(NO_TRUNCATION)),
        "ray searcher": (unit("searchers have no normal law"),),
        "sigopt": (native("normal_prior", inside), unit("SigOpt's prior needs two bounds around the mean")),
        "wandb random": (native("normal", unbounded), unit(NO_TRUNCATION)),
        "wandb bayes": (native("normal", unbounded), unit(NO_TRUNCATION)),
        "wandb grid": (refused(GRID),),
    },
    "normal log": {
        "optuna": (unit("Optuna has no normal law"),),
        "ray": (unit("Ray has no log-normal law"),),
        "ray searcher": (unit("searchers have no normal law"),),
        "sigopt": (unit("SigOpt has no log-normal law"),),
        "wandb random": (native("log_normal", unbounded), unit(NO_TRUNCATION)),
        "wandb bayes": (native("log_normal", unbounded), unit(NO_TRUNCATION)),
        "wandb grid": (refused(GRID),),
    },
    "normal step": {
        "optuna": (unit("Optuna has no normal law"),),
        "ray": (native("qrandn", lambda p: unbounded(p) and type(p.step) is float), unit(NO_TRUNCATION)),
        "ray searcher": (unit("searchers have no normal law"),),
        "sigopt": (unit("SigOpt has no rounded normal law"),),
        "wandb random": (native("q_normal", unbounded), unit(NO_TRUNCATION)),
        "wandb bayes": (native("q_normal", unbounded), unit(NO_TRUNCATION)),
        "wandb grid": (refused(GRID_MASS),),
    },
    "normal log step": {
        "optuna": (unit("Optuna has no normal law"),),
        "ray": (unit("Ray has no log-normal law"),),
        "ray searcher": (unit("searchers have no normal law"),),
        "sigopt": (unit("SigOpt has no log-normal law"),),
        "wandb random": (native("q_log_normal", unbounded), unit(NO_TRUNCATION)),
        "wandb bayes": (native("q_log_normal", unbounded), unit(NO_TRUNCATION)),
        "wandb grid": (refused(GRID_MASS),),
    },
}  # fmt: skip

CONDITIONS = {
    "optuna": Rule("native", "when"),
    "ray": Rule("encoded", "", "Ray's domains have no conditions; a searcher takes the function of to_optuna"),
    "ray searcher": Rule("encoded", "", "domains have no conditions; OptunaSearch takes the function of to_optuna"),
    "sigopt": Rule("encoded", "", "SigOpt's conditions need parents that are unconditional texts"),
    "wandb random": Rule("encoded", "", "W&B has no conditions"),
    "wandb bayes": Rule("encoded", "", "W&B has no conditions"),
    "wandb grid": Rule("encoded", "", "W&B has no conditions"),
}
"""How a condition travels where the dialect's room does not write it natively."""


def shape(p: Parameter) -> str:
    """The row of the table that a parameter belongs to.

    >>> shape(Float(0, 1)), shape(Int(2, 8, log=True, step=2)), shape(Categorical([1, 2], ordered=True))
    ('float', 'int log step', 'categorical ordered')
    """
    if isinstance(p, Categorical):
        return "categorical weights" if p.weights else "categorical ordered" if p.ordered else "categorical"
    log = " log" if getattr(p, "log", False) else ""
    step = getattr(p, "step", None)
    stepped = step is not None and not (p.kind == "int" and step == 1)
    return f"{p.kind}{log}{' step' if stepped else ''}"


def choose(p: Parameter, column: str) -> Rule:
    """The best way for a parameter to travel in a column of the table."""
    return next(rule for rule in TABLE[shape(p)][column] if rule.fits(p))


@dataclass(frozen=True)
class Names:
    """The names that a system takes, and an escape for the others under which no two become one."""

    legal: re.Pattern[str]
    reserved: frozenset[str] = frozenset()
    longest: float = float("inf")

    def escape(self, name: str) -> str:
        """The name itself where the system takes it.

        >>> WANDB_NAMES.escape("lr"), WANDB_NAMES.escape("top/k")
        ('lr', 'top_x2f_k')
        """
        if self.legal.fullmatch(name) and name not in self.reserved and not _ESCAPE.search(name):
            return name if len(name) <= self.longest else self._short(name)
        letters = (
            letter
            if self.legal.fullmatch(f"a{letter}a") and not (name in self.reserved or _ESCAPE.match(name, place))
            else f"_x{ord(letter):x}_"
            for place, letter in enumerate(name)
        )
        escaped = "".join(letters)
        if not self.legal.fullmatch(escaped):  # a letter that is legal, but not at an end
            escaped = "".join(f"_x{ord(letter):x}_" for letter in name)
        return escaped if len(escaped) <= self.longest else self._short(escaped)

    def _short(self, name: str) -> str:
        from hashlib import blake2s

        return f"{name[: int(self.longest) - 18].rstrip()}_x{blake2s(name.encode(), digest_size=7).hexdigest()}_"


_ESCAPE = re.compile(r"_x[0-9a-f]+_")
OPTUNA_NAMES = Names(re.compile(r".*", re.DOTALL))
RAY_NAMES = Names(re.compile(r"[^/]*"), reserved=frozenset({"eval", "grid_search"}))
SIGOPT_NAMES = Names(re.compile(r"\S|\S.*\S"), longest=100)
WANDB_NAMES = Names(re.compile(r"[A-Za-z_][\w.-]*", re.ASCII))
