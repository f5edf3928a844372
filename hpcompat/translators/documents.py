"""Data from the text of a JSON or YAML file that nobody vouches for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from hpcompat.errors import TranslationError
from hpcompat.space.values import show
from hpcompat.translators.reading import refuse

_MOST_NODES = 2_000_000
_DEEPEST = 500


def load(text: str | bytes) -> Any:
    """The data of a JSON or, with PyYAML, a YAML text. Raises `TranslationError`."""
    text = bytes(text) if isinstance(text, bytes) else str(text)  # PyYAML takes no subclass of either
    try:
        return json.loads(text, object_pairs_hook=once)
    except TranslationError:
        raise
    except (ValueError, RecursionError):
        pass
    try:
        import yaml
    except ImportError:
        refuse("it is no JSON, and reading YAML needs PyYAML", "pip install 'hpcompat[yaml]'")
    try:
        return _unfolded(_constructed(yaml, _loader(yaml, text)(text)))
    except TranslationError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        refuse(f"it is no YAML: {' '.join(str(error).split())[:200]}")


def once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """The dict of an object in JSON: Python would keep the last of two entries of one name."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        _refuse_twice([name for name, _ in pairs])
    return entries


def _refuse_twice(names: Sequence[Any]) -> NoReturn:
    name = next(name for place, name in enumerate(names) if name in names[:place])
    refuse(f"{show(name)} is there twice in one place", "give it once")


def _constructed(yaml: Any, loader: Any) -> Any:
    """The data of the one document, in which no mapping has a key twice."""
    try:
        root = loader.get_single_node()
        seen, waiting = set(), [root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, yaml.CollectionNode) and id(node) not in seen:
                seen.add(id(node))  # an alias is the node that it stands for
                if isinstance(node, yaml.MappingNode):
                    # by tag too: 1 and "1" are two keys
                    keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                    if len(set(keys)) < len(keys):
                        _refuse_twice([text for _, text in keys])
                    waiting += [value for _, value in node.value]
                else:
                    waiting += node.value
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


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
