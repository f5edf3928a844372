"""A seeded source of things that are nearly, or not at all, a search space of some dialect."""

import json
import math
import random
from collections.abc import Iterator
from typing import Any

WORDS = [
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
ODD = [
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


def thing(rng: random.Random, depth: int = 0) -> Any:
    """Arbitrary data, of the words that spaces are made of."""
    roll = rng.random()
    if depth > 4 or roll < 0.3:
        return rng.choice([*ODD, rng.randint(-9, 99), rng.uniform(-9, 9), rng.choice(WORDS), "1e-5", "", "é\n", "0x10"])
    if roll < 0.7:
        return {key(rng): thing(rng, depth + 1) for _ in range(rng.randint(0, 4))}
    return [thing(rng, depth + 1) for _ in range(rng.randint(0, 4))]


def key(rng: random.Random) -> Any:
    return rng.choice(WORDS) if rng.random() < 0.95 else rng.choice([None, 1, 1.5, True, (1, 2), "", "\x00"])


def spoiled(rng: random.Random, form: Any) -> Any:
    """A form of a real space with one place in it changed, dropped or doubled."""
    form = json.loads(json.dumps(form))
    places = list(_places(form))
    place, index = rng.choice(places)
    roll = rng.random()
    if roll < 0.6:
        place[index] = thing(rng, 3)
    elif roll < 0.8:
        del place[index]
    elif isinstance(place, dict):
        place[key(rng)] = place.pop(index)
    else:
        place.append(place[index])
    return form


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for index in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, index
        yield from _places(node[index])


def document(rng: random.Random, form: Any) -> str:
    """YAML or JSON text, cut, doubled, or with odd characters in it."""
    text = json.dumps(form, skipkeys=True)
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(text) + 1)
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
        text = text[:place] + noise + text[place + rng.randint(0, 3) :]
    return text
