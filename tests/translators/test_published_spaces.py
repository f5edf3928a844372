"""Published search spaces are read, translated to every dialect, and read back."""

import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from ray import tune

import hpcompat as hp
from hpcompat.translators import translate
from tests.translators.equivalence import are_close, have_same_distributions

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
REJECTION_REASONS = {
    "scheduler: expected a parameter of a sweep, got None": "wrong indentation turned the sweep's keys into parameters",
    "it has no parameters": "a sweep without parameters",
    "has no 'type'": "an unknown key",
    "its choices are 3, not a list": "values: 3",
    "None cannot name a parameter": "a parameter without a name",
    "when names 'dart', which 'booster' never is": "a condition that never holds",
    "computed by a function (sample_from)": "a value computed from other values",
}


def build_ray_domains(row: Any) -> dict[str, Any]:
    """Make the Ray calls of a row; returns the domains."""
    space: dict[str, Any] = {}
    for entry in row["space"]:
        *path, name = entry["name"].split("/")
        parent = reduce(lambda group, part: group.setdefault(part, {}), path, space)
        if entry["call"] == "sample_from":
            parent[name] = tune.sample_from(lambda spec: 1)
        elif entry["call"] == "constant":
            parent[name] = entry["args"][0]
        else:
            parent[name] = getattr(tune, entry["call"])(*entry["args"], **entry["kwargs"])
    return space


def build_source(row: Any) -> Any:
    builders = {"ray": build_ray_domains, "optuna": lambda row: row["space"]}
    return builders.get(row["dialect"], lambda row: {key: row[key] for key in row if key != "dialect"})(row)


def get_reader(dialect: str) -> Any:
    return getattr(hp, f"from_{dialect}")


class TestPublishedSpaces:
    @pytest.mark.filterwarnings("ignore:The `base` argument is deprecated")
    @pytest.mark.parametrize("row", ROWS, ids=[f"{row['dialect']}-{number}" for number, row in enumerate(ROWS)])
    def test_published_space_translates_to_every_dialect(self, row: Any) -> None:
        source = build_source(row)
        try:
            space = get_reader(row["dialect"])(source)
        except hp.TranslationError as error:
            assert any(reason in str(error) for reason in REJECTION_REASONS), error
            return
        assert hp.as_space(source) == space
        for dialect, options in TARGETS:
            if all(leaf.parameter.size == 1 for leaf in space.leaves):
                continue  # some systems reject a space with a single configuration
            translation = translate(space, dialect, encode=True, **options)
            for seed in range(5):
                params = space.sample(seed)
                assert are_close(translation.decode(translation.encode(params)), params, space)
            read_back = get_reader(dialect)(
                translation.spec, **({"searcher": options["searcher"]} if "searcher" in options else {})
            )
            levels = {level.level for level in translation.levels}
            if levels <= {"native"}:
                assert read_back == space
            else:
                assert "encoded" in levels or have_same_distributions(read_back, space)

    def test_most_published_spaces_are_read(self) -> None:
        n_rejected = 0
        for row in ROWS:
            try:
                get_reader(row["dialect"])(build_source(row))
            except hp.TranslationError:
                n_rejected += 1
        assert 3 <= n_rejected <= 7 and len(ROWS) > 50
