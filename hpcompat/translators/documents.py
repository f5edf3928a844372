"""Data from the text of an untrusted JSON or YAML file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

from hpcompat.errors import TranslationError
from hpcompat.space.values import short_repr
from hpcompat.translators.parsing import reject

if TYPE_CHECKING:
    from yaml import MappingNode, SafeLoader

MAX_BYTES = 2**24
MAX_NODES = 2_000_000
MAX_MERGED = 100_000
MAX_DEPTH = 500
MAX_DIGITS = 400


def parse_document(text: str | bytes) -> object:
    """Return the data of a JSON or, with PyYAML, a YAML text. Raises `TranslationError`."""
    text = bytes(text) if isinstance(text, bytes) else str(text)  # PyYAML takes no subclass of either
    if len(text) > MAX_BYTES:
        reject_size()
    try:
        return json.loads(text, object_pairs_hook=reject_duplicate_keys)
    except TranslationError:
        raise
    except (ValueError, RecursionError):
        pass
    try:
        import yaml
    except ImportError:
        reject("invalid JSON, and reading YAML needs PyYAML", "pip install 'hpcompat[yaml]'")
    try:
        return _check_expansion(_construct(yaml, _pick_loader(yaml, text)(text)))
    except TranslationError:
        raise
    except (
        yaml.YAMLError,
        ValueError,
        ArithmeticError,
        RecursionError,
        TypeError,
        AttributeError,
        LookupError,
    ) as error:
        # PyYAML's own constructors raise whatever comes of "!!timestamp x", "!!bool x" or "!!int ''"
        reject(f"invalid YAML: {' '.join(str(error).split())[:200]}")


def reject_size() -> NoReturn:
    """Raise the error of a text that is too long to be a search space."""
    reject(f"it is longer than {MAX_BYTES // 2**20} MiB", "give the search space alone")


def reject_duplicate_keys(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return the dict of an object in JSON; Python itself would keep the last of two entries of one name."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        _raise_duplicate_key([name for name, _ in pairs])
    return entries


def _raise_duplicate_key(names: Sequence[str]) -> NoReturn:
    seen = set()
    name = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    reject(f"{short_repr(name)} is defined twice in one place", "define it once")


def _construct(yaml: ModuleType, loader: SafeLoader) -> object:
    """Return the data of the one document, in which no mapping has a key twice."""
    try:
        root = loader.get_single_node()
        seen, waiting, mappings = set(), [root], []
        while waiting:
            node = waiting.pop()
            if isinstance(node, yaml.ScalarNode):
                # an int of a hundred thousand digits, to the base of 60 above all, takes minutes to make
                if node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
                    reject(f"{short_repr(node.value)} has more than {MAX_DIGITS} digits", "give a smaller number")
            elif isinstance(node, yaml.CollectionNode) and id(node) not in seen:
                seen.add(id(node))  # an alias is the node that it stands for
                if isinstance(node, yaml.MappingNode):
                    # by tag too: 1 and "1" are two keys
                    keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                    if len(set(keys)) < len(keys):
                        _raise_duplicate_key([text for _, text in keys])
                    mappings.append(node)
                    waiting += [part for pair in node.value for part in pair]
                else:
                    waiting += node.value
        if _merged_size(yaml, mappings) > MAX_MERGED:
            reject(f"what it merges in comes to more than {MAX_MERGED} entries", "write out what is meant")
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MERGE = "tag:yaml.org,2002:merge"


def _merged_size(yaml: ModuleType, mappings: Iterable[MappingNode]) -> int:
    """Return the number of entries of all mappings together, once what they merge in is written out."""

    def bases(mapping: MappingNode) -> list[MappingNode]:
        values = [value for key, value in mapping.value if key.tag == _MERGE]
        nodes = [
            node for value in values for node in (value.value if isinstance(value, yaml.SequenceNode) else [value])
        ]
        return [node for node in nodes if isinstance(node, yaml.MappingNode)]

    sizes: dict[int, int] = {}
    waiting, begun = list(mappings), set[int]()
    while waiting:
        node = waiting[-1]
        if id(node) in sizes:
            waiting.pop()
            continue
        ahead = [] if id(node) in begun else [base for base in bases(node) if id(base) not in sizes]
        if ahead:
            begun.add(id(node))
            waiting += ahead
        else:
            sizes[id(node)] = len(node.value) + sum(sizes.get(id(base), 0) for base in bases(node))
            waiting.pop()
    return sum(sizes.values())


def _pick_loader(yaml: ModuleType, text: str | bytes) -> type[SafeLoader]:
    """Return the loader that is written in C, which is several times as fast, where PyYAML has it.

    Raises `TranslationError` for what nests deeper than its stack.
    """
    quick: type[SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, quick):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            reject(f"it is nested more than {MAX_DEPTH} levels deep", "flatten it")
    return quick


def _check_expansion(data: object) -> object:
    """Return the data. Raises `TranslationError` where its aliases expand to more than anyone writes."""
    count, waiting = 0, [data]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (dict, list)):
            count += len(node) + 1
            waiting.extend(node.values() if isinstance(node, dict) else node)
        if count > MAX_NODES:
            reject(f"its aliases unfold to more than {MAX_NODES} values", "write out what is meant")
    return data
