"""Write docs/completeness.md from the capability tables and from draws of the real engines.

python docs/completeness.py          writes the page
python docs/completeness.py --check  says what has changed since it was written, and exits with 1 if anything has
"""

from __future__ import annotations

import argparse
import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

# the engines and the parameter cases are shared with the tests
sys.path.insert(0, str(Path(__file__).parents[1]))

from hpcompat import Categorical, Int, SearchSpace, translate
from hpcompat.space.parameters import Parameter
from hpcompat.space.values import short_repr, strict_key
from hpcompat.translators.capabilities import Rule, best_rule
from hpcompat.translators.codecs import normalize
from hpcompat.translators.dialect import DIALECTS, get_variants
from hpcompat.translators.ray import build_domains
from tests.helpers.engine_distributions import ENGINE_DISTRIBUTIONS, EngineDistribution
from tests.helpers.engines import ENGINES
from tests.helpers.goodness_of_fit import probabilities_of
from tests.helpers.native_spaces import NATIVE_SPECS, read_parameters
from tests.helpers.parameter_cases import ALL_CASES, CASES_BY_SHAPE

PAGE = Path(__file__).with_suffix(".md")
DRAWS = 20_000
SEED = 0
WIDEST = 76
VARIANTS = get_variants()
TITLES = {name: variant.title for name, variant in VARIANTS.items()}
CONDITION = SearchSpace(
    {
        "optim": Categorical(["adamw", "sgd"]),
        "beta2": Int(1, 9, when={"optim": "adamw"}),
        "momentum": Int(1, 9, when={"optim": "sgd"}),
    }
)
OPTIONS = {
    name: (dialect.name, variant.options) for dialect in DIALECTS.values() for name, variant in dialect.variants.items()
}

TOP = """\
# Completeness

Is this conversion exact? Find the kind of parameter and the system: the cell says how it is represented, the sections
below show what is written, and the last two list the forms whose engine rounds in its own way, so that some values are
drawn more or less often.

<!-- written by docs/completeness.py, from the capability tables of the dialects and from draws: do not edit -->

native
: the system has a form of its own, which reads back as the same parameter.

equivalent
: the system draws the same values, of the same types, by the same distribution, but they are read back as another kind:
  a stepped `Int` as a list of values, for example.

encoded
: the system stores something else, such as a number between 0 and 1, an index, a string, or the values without their
  scale, and `decode` brings the value back: exactly for a discrete kind, within 1e-9 for a continuous one. `to_X`
  refuses these with the reason given here; `translate(…, encode=True)` and `search` encode them.

refused
: not possible: a grid needs a list of values, and tries each of them once.

Unless a cell is refused, what training code sees has the same support, the same types and the same scale. The
probability of each value is that of the parameter too, except for the rounding of [these forms](#engine-bins). The
tests draw from each engine for every rule of every cell: all values must be reached and no others; continuous kinds
pass a Kolmogorov–Smirnov test, discrete ones a chi-square test against the distribution stated here.

## At a glance

If a cell names several levels, the first one that fits the parameter is used.
"""

GROUPS_TOP = """\
### Groups and conditions

An encoded conditional parameter is always drawn, and `decode` leaves it out where it is not active. A name that a
system forbids is replaced by another one, and `decode` restores it.
"""

WRITTEN_TOP = """\
(engine-bins)=
## Written forms that the engine rounds in its own way

The values and the scale are exact; the share of the draws that each value gets is the engine's. All other forms of
discrete kinds are drawn with the parameter's own distribution. Own: the share by the parameter's distribution; stated:
by that of the engine; drawn: of {draws:,} draws.
"""

READ_TOP = """\
## Forms that are read, and drawn differently by their own engine

`from_X` reads the values and the scale that the engine draws. With these forms the engine cuts off a part of the first
or last value's range, or rounds down, which a parameter cannot say: what is read has its own distribution.
"""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


def glance() -> str:
    def cell(shape: str, column: str) -> str:
        levels = dict.fromkeys(rule.level for rule in VARIANTS[column].capabilities[shape])
        return ", ".join(levels)

    return table(
        ("kind", *TITLES.values()), [[shape, *(cell(shape, column) for column in VARIANTS)] for shape in CASES_BY_SHAPE]
    )


def forms(column: str) -> str:
    """Return a row for each rule of a column, shown on a parameter that it applies to."""

    def rows() -> Iterator[Sequence[str]]:
        for shape, cells in CASES_BY_SHAPE.items():
            for rule in VARIANTS[column].capabilities[shape]:
                example = next((p for p in cells.values() if best_rule(p, VARIANTS[column].capabilities) is rule), None)
                if example is not None:
                    yield code(short_repr(example, WIDEST)), rule.level, spec_code(example, column, rule), rule.reason

    return table(("for example", "level", "written as", "because"), rows())


def spec_code(p: Parameter, column: str, rule: Rule) -> str:
    """Return what a system gets for a parameter, as short as it can be shown."""
    if rule.level == "refused":
        return "–"
    if rule.form in ("absent", "returned"):
        return {"absent": "nothing", "returned": "nothing: the function returns it"}[rule.form]
    dialect, options = OPTIONS[column]
    form: Any = translate({"x": p, "other": ALL_CASES["i"]}, dialect, encode=True, **options).spec
    if dialect == "optuna":
        call = form[0]
        return code(f"{call['call']}({short_repr(call['kwargs'], WIDEST)})")
    if dialect == "ray":
        call = form["x"]
        if call["call"] == "constant":
            return code(short_repr(call["args"][0], WIDEST))
        return code(f"{call['call']}({short_repr(call['args'], WIDEST)[1:-1]})")
    entry = form["parameters"]["x"] if dialect == "wandb" else form["parameters"][0]
    return code(short_repr({key: value for key, value in entry.items() if key != "name"}, WIDEST))


def groups() -> str:
    """Return how groups and conditions are represented: a row for each column."""

    def rows() -> Iterator[Sequence[str]]:
        for column, title in TITLES.items():
            dialect, options = OPTIONS[column]
            nested = DIALECTS[dialect].is_nested
            fields = translate(CONDITION, dialect, encode=True, **options).fields
            native = "native; else " if any(field.has_native_condition for field in fields) else ""
            condition = f"{native}encoded: {VARIANTS[column].conditions.reason}"
            yield title, "nested" if nested else "under names with dots", condition

    return table(("system", "a group", "a condition"), rows())


def measured_forms() -> str:
    """Return the written forms that the engine rounds in its own way, drawn."""
    found = {
        (column, form): next(
            p for p in ALL_CASES.values() if best_rule(p, VARIANTS[column].capabilities).form == form and p.size <= 20
        )
        for column, form in ENGINE_DISTRIBUTIONS
    }
    rows = []
    for column in dict.fromkeys(column for column, _ in ENGINE_DISTRIBUTIONS):
        own = {form: p for (owner, form), p in found.items() if owner == column}
        drawn = ENGINES[column].draw_params(own, DRAWS, SEED)
        for form, p in own.items():
            values = [params[form] for params in drawn]
            rows.append((TITLES[column], code(p), code(form), *measured(p, values, ENGINE_DISTRIBUTIONS[column, form])))
    return table(("system", "parameter", "form", *MEASURED), rows)


def read_forms() -> str:
    """Return the forms whose distribution a parameter cannot say, drawn by their own engine."""
    rows = []
    for column, all_forms in NATIVE_SPECS.items():
        laws = {name: (form, law) for name, (form, law) in all_forms.items() if law}
        if not laws:
            continue
        parameters, specs = read_parameters(column), {name: form for name, (form, _) in laws.items()}
        engine = ENGINES[column]
        spec = build_domains(specs) if engine.dialect == "ray" else {"method": "random", "parameters": specs}
        raws = engine.draw(spec, DRAWS, SEED)
        for name, (form, law) in laws.items():
            p = parameters[name]
            values = [normalize(p, raw[name]) for raw in raws]
            rows.append((TITLES[column].split(",")[0], code(shown(form)), code(p), *measured(p, values, law)))
    return table(("system", "form", "read as", *MEASURED), rows)


def shown(form: Any) -> str:
    if "call" in form:
        return f"{form['call']}({', '.join(map(repr, form['args']))})"
    keys = ", ".join(f"{key}={value!r}" for key, value in form.items() if key != "distribution")
    return f"{form['distribution']}: {keys}"


MEASURED = (
    "values",
    "scale",
    "the engine's distribution",
    "first value: own, stated, drawn",
    "last value: own, stated, drawn",
)


def measured(p: Any, values: Sequence[Any], law: EngineDistribution) -> Iterator[str]:
    """Yield the values, the scale, the distribution in words, and the shares of the first and the last value."""
    support = list(p.support)
    yield f"{support[0]}, {support[1]} … {support[-1]}"
    yield "log" if p.log else "linear"
    yield law.description
    drawn = list(map(strict_key, values))
    own, stated = probabilities_of(p), law.probabilities(p)
    for index in (0, -1):
        share = drawn.count(strict_key(support[index])) / len(drawn)
        yield ", ".join(f"{100 * part:.0f} %" for part in (own[index], stated[index], share))


def page() -> str:
    """Return the whole page."""
    parts = [TOP, glance(), "## What is written\n"]
    parts += [part for column in VARIANTS for part in (f"### {TITLES[column]}\n", forms(column))]
    parts += [GROUPS_TOP, groups(), WRITTEN_TOP.format(draws=DRAWS), measured_forms(), READ_TOP, read_forms()]
    return "\n".join(parts)


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the engines' own
        content = page()
    if not check:
        PAGE.write_text(content, encoding="utf-8")
        return 0
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    changes = difflib.unified_diff(before.splitlines(True), content.splitlines(True), "written", "now", n=1)
    sys.stdout.writelines(changes)
    return int(before != content)


if __name__ == "__main__":
    sys.exit(main())
