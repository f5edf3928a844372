"""`hpcompat convert`: a space as the code or data of another system, and what there is to say about it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpcompat.cli.given import Given, read
from hpcompat.cli.show import hints
from hpcompat.cli.source import encoded, optuna_source, python_source, ray_source
from hpcompat.cli.texts import json_text, literal, one_line, yaml_text
from hpcompat.errors import Issue, TranslationError
from hpcompat.space import values
from hpcompat.translators import Translation, translate
from hpcompat.translators.dialect import DIALECTS
from hpcompat.translators.settings import brief
from hpcompat.translators.wandb import SWEEP_KEYS

TARGETS = (*DIALECTS, "json", "python")
_FIRST = ("name", "description", "project", "entity", "program", "method", "metric")


def run(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """The text that was asked for, and the remarks on it."""
    given = read(arguments.file, arguments.source, searcher=arguments.searcher)
    options = _options(given, arguments)
    notes: list[str] = []
    if arguments.to == "json":
        text = json_text(given.space.to_dict())
    elif arguments.to == "python":
        text = python_source(given.space)
    else:
        translation = translate(given.space, arguments.to, encode=arguments.encode, **options)
        text, notes = _text(translation, arguments.output)
    left = list(brief({name: value for name, value in given.beside.items() if name not in options}))
    said = list(hints(given)) if given.text else []
    return text, [*said, *notes, *([f"left behind: {', '.join(left)}"] if left else [])]


def _text(translation: Translation, output: str) -> tuple[str, list[str]]:
    """The form as text, and what there is to know about it that the text does not say itself."""
    if translation.dialect == "optuna":
        return optuna_source(translation), []
    if translation.dialect == "ray":
        return ray_source(translation), []
    notes, spec = list(_notes(translation)), translation.spec
    if translation.dialect == "wandb":
        return _sweep(spec, notes, output), notes
    if translation.dialect == "sigopt" and not spec["conditionals"]:
        return json_text(spec["parameters"], tall=1), notes
    return json_text(spec), notes


def _sweep(sweep: Mapping[str, Any], notes: Sequence[str], output: str) -> str:
    """A sweep in the order of W&B's examples: YAML, unless it goes to a .json file or PyYAML is missing."""
    order = [*_FIRST, *(name for name in sweep if name not in (*_FIRST, "parameters")), "parameters"]
    ordered = {name: sweep[name] for name in order if name in sweep}
    try:
        if output.lower().endswith(".json"):
            return json_text(ordered)
        try:
            return "".join(f"# {note}\n" for note in notes) + yaml_text(ordered)
        except ImportError:
            return json_text(ordered)  # which is YAML too
    except (TypeError, ValueError) as error:
        issue = Issue("", str(error), "write texts and numbers")
        raise TranslationError("this sweep cannot be written", [issue]) from None


# -- a sweep's own keys -----------------------------------------------------------------------------


def _options(given: Given, arguments: argparse.Namespace) -> dict[str, Any]:
    """What `translate` is told: for W&B all that the sweep says, unless the command line says otherwise."""
    if arguments.to == "ray" and arguments.searcher:
        return {"searcher": arguments.searcher}
    if arguments.to != "wandb":
        return {}
    beside = given.beside if given.sweep else {}
    kept = {name: value for name, value in beside.items() if name in SWEEP_KEYS}
    method = arguments.method or beside.get("method", "random")
    return kept | {"method": method} | _metric(beside.get("metric"), arguments.metric, arguments.goal)


def _metric(metric: Any, name: str | None, goal: str | None) -> dict[str, Any]:
    """The metric and its goal, each the sweep's own where the command line says nothing."""
    given = {"name": metric} if isinstance(metric, str) else {} if metric is None else metric
    if not isinstance(given, Mapping):
        given = {"name": given}
    changed = dict(given) | {key: value for key, value in (("name", name), ("goal", goal)) if value}
    if not changed:
        return {}
    if not isinstance(changed.get("name"), str):
        issue = Issue("metric", f"has no name: {values.short_repr(metric)}", "--metric NAME")
        raise TranslationError("these options do not make a sweep", [issue])
    goal = changed.pop("goal", None)
    return {"metric": changed} | ({} if goal is None else {"goal": goal})


# -- remarks ----------------------------------------------------------------------------------------


def _notes(translation: Translation) -> Iterator[str]:
    """What has to be decoded, and how."""
    dialect, options = translation.dialect, translation.options
    found = encoded(translation)
    for level in found:
        yield f"encoded: {level.name}: {level.reason}"
    texts = [each.name for each in translation.levels if each.form.endswith("literals") and each not in found]
    if texts:
        yield f"stored as text: {', '.join(texts)}"
    if found or texts:
        named = [f", {name}={one_line(literal(options[name]))}" for name in ("method", "metric") if name in options]
        given = "".join(named) + ", encode=True" * bool(found)
        stored = {"wandb": "wandb.config", "sigopt": "assignments"}.get(dialect, "params")
        yield f'hp.translate(space, "{dialect}"{given}).decode({stored}) gives the params back'
