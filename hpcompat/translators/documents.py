"""Data from the text of a JSON or YAML file that nobody vouches for."""

from __future__ import annotations

import json
from typing import Any

from hpcompat.translators.reading import refuse

_MOST_NODES = 2_000_000
_DEEPEST = 500


def load(text: str | bytes) -> Any:
    """The data of a JSON or, with PyYAML, a YAML text. Raises `TranslationError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        import yaml
    except ImportError:
        refuse("it is no JSON, and reading YAML needs PyYAML", "pip install 'hpcompat[yaml]'")
    try:
        return _unfolded(yaml.load(text, _loader(yaml, text)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        refuse(f"it is no YAML: {' '.join(str(error).split())[:200]}")


def _loader(yaml: Any, text: str | bytes) -> Any:
    """The loader that is made in C and some times as quick, where PyYAML has it and the text nests no deeper
    than its stack: the other one raises an exception there.
    """
    quick = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, quick):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return yaml.SafeLoader
    return quick


def _unfolded(data: Any) -> Any:
    """The data, refused where its aliases stand for more than a person could have written."""
    count, waiting = 0, [data]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (dict, list)):
            count += len(node) + 1
            waiting.extend(node.values() if isinstance(node, dict) else node)
        if count > _MOST_NODES:
            refuse(f"its aliases unfold to more than {_MOST_NODES} values", "write out what is meant")
    return data
