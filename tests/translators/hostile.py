"""Random data that is invalid or almost valid as a search space of some dialect."""

import json
import math
import random
from collections.abc import Iterator
from typing import Any

KEYWORDS = [
    "name",
    "type",
    "bounds",
    "min",
    "max",
    "grid",
    "transformation",
    "log",
    "categorical_values",
    "prior",
    "normal",
    "mean",
    "scale",
    "conditions",
    "parameters",
    "conditionals",
    "distribution",
    "value",
    "values",
    "probabilities",
    "q",
    "mu",
    "sigma",
    "a",
    "b",
    "uniform",
    "log_uniform_values",
    "q_log_uniform_values",
    "q_uniform",
    "int_uniform",
    "categorical",
    "constant",
    "beta",
    "method",
    "metric",
    "call",
    "args",
    "kwargs",
    "when",
    "suggest_float",
    "suggest_int",
    "suggest_categorical",
    "low",
    "high",
    "step",
    "choices",
    "loguniform",
    "quniform",
    "randint",
    "qrandint",
    "lograndint",
    "choice",
    "randn",
    "grid_search",
    "eval",
    "sample_from",
    "hpcompat",
    "space",
    "kind",
    "float",
    "int",
    "lr",
    "double",
]
ODD_VALUES = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**53,
    10**30,
    1e308,
    -1e308,
    5e-324,
    math.inf,
    -math.inf,
    math.nan,
    1e12,
    1e-12,
]


def random_data(rng: random.Random, depth: int = 0) -> Any:
    """Return random nested data that contains the keywords of the dialects."""
    roll = rng.random()
    if depth > 4 or roll < 0.3:
        return rng.choice(
            [*ODD_VALUES, rng.randint(-9, 99), rng.uniform(-9, 9), rng.choice(KEYWORDS), "1e-5", "", "é\n", "0x10"]
        )
    if roll < 0.7:
        return {random_key(rng): random_data(rng, depth + 1) for _ in range(rng.randint(0, 4))}
    return [random_data(rng, depth + 1) for _ in range(rng.randint(0, 4))]


def random_key(rng: random.Random) -> Any:
    return rng.choice(KEYWORDS) if rng.random() < 0.95 else rng.choice([None, 1, 1.5, True, (1, 2), "", "\x00"])


def mutate(rng: random.Random, spec: Any) -> Any:
    """Return the spec of a valid space with one entry changed, removed or duplicated."""
    spec = json.loads(json.dumps(spec))
    entries = list(_iter_entries(spec))
    parent, index = rng.choice(entries)
    roll = rng.random()
    if roll < 0.6:
        parent[index] = random_data(rng, 3)
    elif roll < 0.8:
        del parent[index]
    elif isinstance(parent, dict):
        parent[random_key(rng)] = parent.pop(index)
    else:
        parent.append(parent[index])
    return spec


def _iter_entries(node: Any) -> Iterator[tuple[Any, Any]]:
    for index in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, index
        yield from _iter_entries(node[index])


def random_document(rng: random.Random, data: Any) -> str:
    """Return a JSON text of the data with random cuts and inserted YAML syntax."""
    text = json.dumps(data, skipkeys=True)
    for _ in range(rng.randint(0, 3)):
        position = rng.randrange(len(text) + 1)
        noise = rng.choice(
            [
                "{",
                "[",
                "}",
                ": ",
                "- ",
                "&a ",
                "*a",
                "!!python/object/apply:os.system ",
                "\t",
                '"',
                "\x00",
                "1e400",
            ]
        )
        text = text[:position] + noise + text[position + rng.randint(0, 3) :]
    return text
