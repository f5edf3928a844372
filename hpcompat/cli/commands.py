"""The commands.

`convert` writes a space for another system, `show` tells how each system represents it, and `versions` lists the
versions of the systems.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any

from hpcompat.cli.codegen import encoded_levels, optuna_source, python_source, ray_source
from hpcompat.cli.formatting import format_json, format_yaml, format_yaml_float, inline_literal, is_numeric_string
from hpcompat.cli.inputs import LoadedSpace, load_space
from hpcompat.compat import SUPPORTED, find_version
from hpcompat.errors import Issue, SpaceError, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.space.parameters import Categorical, Constant, Int, Parameter
from hpcompat.space.values import pluralize, short_repr
from hpcompat.translators import Level, Translation, levels, translate
from hpcompat.translators.dialect import DIALECTS, brief
from hpcompat.translators.wandb import SWEEP_KEYS

MAX_LISTED = 4
_FIRST_SWEEP_KEYS = ("name", "description", "project", "entity", "program", "method", "metric")
_BOUND_KEYS = ("min", "max", "mu", "sigma", "q")
_STORED_IN = {"wandb": "wandb.config", "sigopt": "assignments"}
_Levels = Mapping[str, Sequence[Level]]
"""The levels of all parameters by variant of a dialect: {"wandb grid": […]}."""


# -- versions -----------------------------------------------------------------------------------------


def show_versions(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return a table of the installed versions beside the tested ones, and a note on each that is not tested."""
    rows, notes = [("package", "installed", "tested")], []
    for package, supported in SUPPORTED.items():
        installed = find_version(package)
        rows.append((package, installed or "-", f"{supported.oldest} to {supported.newest}"))
        if installed and not supported.contains(installed):
            age = "too old" if supported.is_too_old(installed) else "newer than the tested versions"
            notes.append(f"{package} {installed} is {age}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines), notes


# -- convert ------------------------------------------------------------------------------------------


def convert(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the converted space as text, and the notes on it."""
    loaded = load_space(arguments.file, arguments.source, searcher=arguments.searcher)
    notes = list(_suspicion_notes(loaded)) if loaded.is_text else []
    options: Mapping[str, object] = {}
    if arguments.to == "json":
        text = format_json(loaded.space.to_dict())
    elif arguments.to == "python":
        text = python_source(loaded.space)
    else:
        options = _translate_options(loaded, arguments)
        translation = translate(loaded.space, arguments.to, encode=arguments.encode, **options)
        text, more_notes = _render(translation, arguments.output)
        notes += more_notes
    if dropped := {name: value for name, value in loaded.extra.items() if name not in options}:
        notes.append(f"left behind: {', '.join(brief(dropped))}")
    return text, notes


def _render(translation: Translation, output: str) -> tuple[str, list[str]]:
    if translation.dialect == "optuna":
        return optuna_source(translation), []  # this source and Ray's decode by themselves
    if translation.dialect == "ray":
        return ray_source(translation), []
    spec, notes = translation.spec, list(_decoding_notes(translation))
    if translation.dialect == "wandb":
        return _render_sweep(spec, notes, output), notes
    if translation.dialect == "sigopt" and not spec["conditionals"]:
        return format_json(spec["parameters"], multiline_levels=1), notes
    return format_json(spec), notes


def _render_sweep(sweep: Mapping[str, object], notes: Sequence[str], output: str) -> str:
    """Return a sweep as YAML; as JSON for a .json file, or without PyYAML. Its keys are in the usual order of W&B."""
    first = [name for name in _FIRST_SWEEP_KEYS if name in sweep]
    order = [*first, *(name for name in sweep if name not in (*first, "parameters")), "parameters"]
    ordered = {name: sweep[name] for name in order}
    try:
        if output.lower().endswith(".json"):
            return format_json(ordered)
        try:
            return "".join(f"# {note}\n" for note in notes) + format_yaml(ordered)
        except ImportError:
            return format_json(ordered)  # which is valid YAML, too
    except (TypeError, ValueError) as error:
        issue = Issue("", str(error), "use strings and numbers")
        raise TranslationError("this sweep cannot be written", [issue]) from None


def _translate_options(loaded: LoadedSpace, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the options of `translate`: for W&B the sweep's own keys, unless the command line replaces them."""
    if arguments.to == "ray" and arguments.searcher:
        return {"searcher": arguments.searcher}
    if arguments.to != "wandb":
        return {}
    extra = loaded.extra if loaded.sweep is not None else {}
    options = {name: value for name, value in extra.items() if name in SWEEP_KEYS}
    options["method"] = arguments.method or extra.get("method", "random")
    return options | _metric_options(extra.get("metric"), arguments.metric, arguments.goal)


def _metric_options(metric: object, name: str | None, goal: str | None) -> dict[str, object]:
    merged = dict(metric) if isinstance(metric, Mapping) else {} if metric is None else {"name": metric}
    merged |= {key: value for key, value in (("name", name), ("goal", goal)) if value}
    if not merged:
        return {}
    if not isinstance(merged.get("name"), str):
        issue = Issue("metric", f"expected a metric with a name, got {short_repr(metric)}", "use --metric NAME")
        raise TranslationError("these options do not make a sweep", [issue])
    merged_goal = merged.pop("goal", None)
    return {"metric": merged} if merged_goal is None else {"metric": merged, "goal": merged_goal}


def _decoding_notes(translation: Translation) -> Iterator[str]:
    """Yield what is stored in another form than its own, and the call that decodes it."""
    encoded = encoded_levels(translation)
    for level in encoded:
        yield f"encoded: {level.name}: {level.reason}"
    others = (level for level in translation.levels if level not in encoded)
    if as_strings := [level.name for level in others if level.form.endswith("literals")]:
        yield f"stored as strings: {', '.join(as_strings)}"
    if encoded or as_strings:
        options = translation.options
        arguments = ["space", inline_literal(translation.dialect)]
        arguments += [f"{name}={inline_literal(options[name])}" for name in ("method", "metric") if name in options]
        if encoded:
            arguments.append("encode=True")
        stored = _STORED_IN.get(translation.dialect, "params")
        yield f"hp.translate({', '.join(arguments)}).decode({stored}) gives the params back"


# -- show ---------------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the overview, as wide as the terminal; its notes are part of it."""
    loaded = load_space(arguments.file, arguments.source)
    return format_overview(loaded, shutil.get_terminal_size((100, 24)).columns, arguments.to), []


def format_overview(loaded: LoadedSpace, width: int, dialect: str | None = None) -> str:
    """Return the parameters, their level in each dialect, or in that given, the reasons and the notes.

    No line is longer than `width`, where the names of the parameters allow it.
    """
    space = loaded.space
    names = DIALECTS if dialect is None else [dialect]
    variants = [(name, variant) for name in names for variant in DIALECTS[name].variants.values()]
    found = {variant.name: levels(space, name, **variant.options) for name, variant in variants}
    sections = [
        [f"{pluralize(len(space.leaves), 'parameter')}, {_format_size(space)}"],
        _parameter_lines(space, width),
        _level_lines(found, width),
        _reason_lines(found, width),
        (line for note in _suspicion_notes(loaded) for line in _wrap_paragraph(note, width)),
    ]
    return "\n\n".join(filter(None, map("\n".join, sections))) + "\n"


def _format_size(space: SearchSpace) -> str:
    try:
        size = space.size
    except SpaceError as error:
        return error.message
    if size == math.inf:
        return "infinitely many configurations"
    if size >= 10**15:
        return f"about 10^{round(math.log10(size))} configurations"
    return "1 configuration" if size == 1 else f"{size:,} configurations"


def _parameter_lines(space: SearchSpace, width: int) -> Iterator[str]:
    name_width = min(max((len(leaf.name) for leaf in space.leaves), default=0), width // 3)
    for leaf in space.leaves:
        parameter = replace(leaf.parameter, when=None)  # type: ignore[type-var]
        line = f"{leaf.name:{name_width}}  {short_repr(parameter, max(width - name_width - 2, 40))}"
        conditions = (f"{parent} is {' or '.join(_list_values(values))}" for parent, values in leaf.when)
        when = f"when {' and '.join(conditions)}" if leaf.when else ""
        if not when or len(line) + 2 + len(when) <= width:
            yield f"{line}  {when}".rstrip()
        else:
            margin = " " * (name_width + 4)
            yield from [line, *wrap(when, width, initial_indent=margin, subsequent_indent=margin)]


def _level_lines(found: _Levels, width: int) -> Iterator[str]:
    """Yield a table: a row for each parameter, a column for each variant."""
    names = [level.name for level in next(iter(found.values()))]
    columns = [  # the heading has two lines: ray, searcher
        [*variant.partition(" ")[::2], *(level.level for level in variant_levels)]
        for variant, variant_levels in found.items()
    ]
    longest_name = max(map(len, names), default=0)
    if longest_name + _total_width(columns) > width:
        columns = [[cell.replace("equivalent", "equiv.") for cell in column] for column in columns]
    name_width = max(min(longest_name, width - _total_width(columns)), 0)
    column_widths = [max(map(len, column)) for column in columns]
    for name, *row in zip(["", "", *names], *columns, strict=True):
        cells = "".join(f"  {cell:{cell_width}}" for cell, cell_width in zip(row, column_widths, strict=True)).rstrip()
        if len(name) > name_width:  # a long name has a line of its own
            yield from [name, " " * name_width + cells]
        elif cells:
            yield f"{name:{name_width}}{cells}"


def _total_width(columns: Sequence[Sequence[str]]) -> int:
    return sum(2 + max(map(len, column)) for column in columns)


def _reason_lines(found: _Levels, width: int) -> Iterator[str]:
    """Yield each reason once, with all the parameters and variants that it holds for."""
    by_reason: dict[tuple[str, str], dict[str, list[str]]] = {}  # (level, reason): {variant: names}
    for variant, variant_levels in found.items():
        for level in variant_levels:
            if level.reason:
                by_variant = by_reason.setdefault((level.level, level.reason), {})
                by_variant.setdefault(variant, []).append(level.name)
    for (level_name, reason), by_variant in by_reason.items():
        by_names: dict[tuple[str, ...], list[str]] = {}
        for variant, names in by_variant.items():
            by_names.setdefault(tuple(names), []).append(variant)
        for affected, variants in by_names.items():
            paragraph = f"{level_name} in {', '.join(variants)}: {reason}: {_list_names(affected)}"
            yield from _wrap_paragraph(paragraph, width)


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MAX_LISTED])
    return f"{listed} and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else listed


def _list_values(values: Sequence[object]) -> list[str]:
    listed = [short_repr(value, 20) for value in values[:MAX_LISTED]]
    return [*listed, "…"] if len(values) > MAX_LISTED else listed


def _wrap_paragraph(paragraph: str, width: int) -> list[str]:
    return wrap(paragraph, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


# -- what is valid, and probably not meant ------------------------------------------------------------


def _suspicion_notes(loaded: LoadedSpace) -> Iterator[str]:
    parameters = {leaf.name: leaf.parameter for leaf in loaded.space.leaves}
    for name, parameter in parameters.items():
        if strings := [value for value in _discrete_values(parameter) if is_numeric_string(value)]:
            listed = ", ".join(_list_values(strings))
            yield f"hint: {name} has strings that look like numbers: {listed}{_yaml_number_note(strings[0], loaded)}"
    if loaded.sweep is not None:
        for name, config in _iter_configs(loaded.sweep["parameters"]):
            yield from _bound_notes(name, config, parameters[name], loaded)
    if all(isinstance(parameter, Constant) for parameter in parameters.values()):
        yield "hint: nothing varies, and SigOpt and W&B's bayes need something to search"


def _discrete_values(parameter: Parameter) -> Sequence[object]:
    if isinstance(parameter, Categorical):
        return parameter.choices
    return [parameter.value] if isinstance(parameter, Constant) else []


def _yaml_number_note(string: str, loaded: LoadedSpace) -> str:
    # the string was probably written without quotes: YAML 1.1 takes no exponent without a dot and a sign for a number
    if loaded.is_text and is_numeric_string(string) and "e" in string.lower():
        return f" (YAML 1.1 wants {format_yaml_float(float(string))} for a number)"
    return ""


def _iter_configs(parameters: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the parameters of a sweep by dotted name."""
    for name, config in parameters.items():
        if isinstance(config.get("parameters"), Mapping):
            yield from _iter_configs(config["parameters"], (*path, name))
        else:
            yield ".".join((*path, name)), config


def _bound_notes(name: str, config: Mapping[str, object], parameter: Parameter, loaded: LoadedSpace) -> Iterator[str]:
    """Yield a note for each bound of a sweep's parameter that W&B probably takes for something else."""
    if strings := [bound for key in _BOUND_KEYS if isinstance(bound := config.get(key), str)]:
        number = _yaml_number_note(strings[0], loaded)
        yield f"hint: {name} has a string for a bound, {strings[0]!r}, which W&B refuses{number}"
    if parameter == Int(0, 1) and "distribution" not in config:
        yield f"hint: {name} is 0 or 1, for both its bounds are ints (max: 1.0 has all between them too)"
    if config.get("distribution") == "log_uniform":
        low, high = parameter.quantile(0.0), parameter.quantile(1.0)
        if 1 < low < high < math.e:  # the bounds lie in [0, 1], as those of a learning rate do
            way_out = "log_uniform_values takes the ends themselves"
            yield f"hint: {name} draws {low:.6g} … {high:.6g}, for its bounds are exponents of e ({way_out})"
