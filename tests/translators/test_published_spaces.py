"""Search spaces that people published: read, written to every dialect, and read back."""

import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from ray import tune

import hpcompat as hp
from hpcompat.translators import translate
from tests.translators.equivalence import close, same_distribution

PUBLISHED = Path(__file__).parent / "published.jsonl"
ROWS = [json.loads(line) for line in PUBLISHED.read_text().splitlines()]
TARGETS: list[tuple[str, dict[str, Any]]] = [
    ("optuna", {}),
    ("ray", {}),
    ("ray", {"searcher": "optuna"}),
    ("ray", {"searcher": True}),
    ("sigopt", {}),
    ("wandb", {}),
    ("wandb", {"method": "bayes", "metric": "loss"}),
]
REFUSED = {
    "scheduler: expected a parameter of a sweep, got None": "a lost indentation made the sweep's keys parameters",
    "it has no parameters": "a sweep without parameters",
    "has no 'type'": "a key that W&B does not know",
    "its choices are 3, not a list": "values: 3",
    "None cannot name a parameter": "a parameter without a name",
    "when names 'dart', which 'booster' never is": "a condition that never holds",
    "computed by a function (sample_from)": "a value computed from others",
}


def domains(row: Any) -> dict[str, Any]:
    """A row of Ray calls as the domains that they make."""
    space: dict[str, Any] = {}
    for entry in row["space"]:
        *path, name = entry["name"].split("/")
        place = reduce(lambda group, part: group.setdefault(part, {}), path, space)
        if entry["call"] == "sample_from":
            place[name] = tune.sample_from(lambda spec: 1)
        elif entry["call"] == "constant":
            place[name] = entry["args"][0]
        else:
            place[name] = getattr(tune, entry["call"])(*entry["args"], **entry["kwargs"])
    return space


def thing(row: Any) -> Any:
    given = {"ray": domains, "optuna": lambda row: row["space"]}
    return given.get(row["dialect"], lambda row: {key: row[key] for key in row if key != "dialect"})(row)


def reader(dialect: str) -> Any:
    return getattr(hp, f"from_{dialect}")


class TestPublishedSpaces:
    @pytest.mark.filterwarnings("ignore:The `base` argument is deprecated")
    @pytest.mark.parametrize("row", ROWS, ids=[f"{row['dialect']}-{number}" for number, row in enumerate(ROWS)])
    def test_published_space_translates_to_every_dialect(self, row: Any) -> None:
        given = thing(row)
        try:
            space = reader(row["dialect"])(given)
        except hp.TranslationError as error:
            assert any(reason in str(error) for reason in REFUSED), error
            return
        assert hp.as_space(given) == space
        for dialect, options in TARGETS:
            if all(leaf.parameter.size == 1 for leaf in space.leaves):
                continue  # nothing to search: some systems refuse that
            translation = translate(space, dialect, encode=True, **options)
            for seed in range(5):
                params = space.sample(seed)
                assert close(translation.decode(translation.encode(params)), params, space)
            back = reader(dialect)(
                translation.spec, **({"searcher": options["searcher"]} if "searcher" in options else {})
            )
            levels = {level.level for level in translation.levels}
            assert back == space if levels <= {"native"} else "encoded" in levels or same_distribution(back, space)

    def test_most_published_spaces_are_read(self) -> None:
        refused = 0
        for row in ROWS:
            try:
                reader(row["dialect"])(thing(row))
            except hp.TranslationError:
                refused += 1
        assert 3 <= refused <= 7 and len(ROWS) > 50
