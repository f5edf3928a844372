"""For any input, a reader returns a space or raises an HpcompatError, without delay."""

import os
import random
import tracemalloc
from typing import Any

import pytest

import hpcompat as hp
from hpcompat.translators import translate
from tests.translators import hostile

EXAMPLES = int(os.environ.get("HPCOMPAT_HOSTILE", "5000"))
READERS: dict[str, Any] = {
    "optuna": hp.from_optuna,
    "ray": hp.from_ray,
    "sigopt": hp.from_sigopt,
    "wandb": hp.from_wandb,
    "any": hp.as_space,
    "json": hp.SearchSpace.from_dict,
}
SPACE = hp.SearchSpace(
    {
        "lr": hp.Float(1e-6, 1e-2, log=True),
        "momentum": hp.Float(0.5, 0.9, step=0.1, when={"optim": "sgd"}),
        "optim": hp.Categorical(["adamw", "sgd"]),
        "model": {"layers": hp.Int(1, 8), "width": hp.Int(16, 256, log=True), "heads": hp.Int(2, 8, step=2)},
        "batch": hp.Categorical([16, 32], weights=[1, 3]),
        "noise": hp.Normal(0, 1),
        "seed": hp.Constant(1),
    }
)
SPECS = {dialect: translate(SPACE, dialect, encode=True).spec for dialect in ("optuna", "ray", "sigopt", "wandb")}
SPECS |= {"any": SPECS["wandb"], "json": SPACE.to_dict()}


class TestCode:
    def test_code_in_input_is_never_evaluated(self, tmp_path: Any) -> None:
        created = tmp_path / "evaluated"
        code = f"open({str(created)!r}, 'w').close()"
        for source in (
            {"x": {"eval": code}},
            {"x": {"call": "choice", "args": [[{"eval": code}]]}},
            {"x": {"y": [{"eval": code}]}},
        ):
            try:
                space = hp.from_ray(source) | {"y": hp.Int(1, 2)}
            except hp.TranslationError:
                continue
            for dialect in ("optuna", "sigopt", "wandb", "ray"):
                translate(space, dialect, encode=True)
            hp.translators.ray.build_domains(translate(space, "ray", encode=True).spec)
        with pytest.raises(hp.TranslationError):
            hp.from_wandb(f"parameters: {{x: {{value: !!python/object/apply:builtins.exec [{code!r}]}}}}")
        assert not created.exists()

    def test_choice_that_ray_would_evaluate_is_written_as_label(self, tmp_path: Any) -> None:
        from ray.tune.search.variant_generator import generate_variants

        created = tmp_path / "evaluated"
        code = f"open({str(created)!r}, 'w').close()"
        space = hp.SearchSpace(
            {"x": hp.Categorical([{"eval": code}, {"grid_search": [1]}]), "y": hp.Constant({"eval": code})}
        )
        translation = translate(space, "ray", encode=True)
        [(_, config)] = list(generate_variants(hp.translators.ray.build_domains(translation.spec)))
        assert space.contains(translation.decode(config))
        assert not created.exists()


class TestReaders:
    @pytest.mark.parametrize("dialect", READERS)
    def test_hostile_input_raises_only_hpcompat_errors(self, dialect: str) -> None:
        rng = random.Random(f"hostile {dialect}")
        n_read = 0
        for number in range(EXAMPLES):
            make = (hostile.random_data, lambda rng: hostile.mutate(rng, SPECS[dialect]))[number % 2]
            data = make(rng)
            if dialect in ("wandb", "any") and number % 3 == 0:
                data = hostile.random_document(rng, data)
            try:
                space = READERS[dialect](data)
            except hp.HpcompatError as error:
                assert error.issues and all(issue.message for issue in error.issues), data
            else:
                n_read += 1
                assert space.contains(space.sample(0)), data
        assert n_read > EXAMPLES / 100  # otherwise the generator makes too few valid inputs

    def test_condition_without_name_or_values_raises(self) -> None:
        with pytest.raises(hp.SpaceError, match="write when="):
            hp.SearchSpace({"x": hp.Float(0, 1, when={"": []})})

    @pytest.mark.parametrize(
        ("read", "source"),
        [
            (hp.from_wandb, {"parameters": {"x": {"distribution": "q_uniform", "min": 0, "max": 1e12, "q": 1}}}),
            (
                hp.from_wandb,
                {"method": "grid", "parameters": {"x": {"distribution": "q_uniform", "max": 1e12, "min": 0}}},
            ),
            (hp.from_ray, {"x": {"call": "qrandint", "args": [0, 10**12, 2]}}),
            (hp.from_optuna, [{"name": "x", "call": "suggest_int", "args": [0, 10**12]}]),
            (hp.from_optuna, [{"name": "x", "call": "suggest_float", "args": [0, 1e12], "kwargs": {"step": 1e-3}}]),
            (hp.from_sigopt, [{"name": "x", "type": "int", "bounds": {"min": 0, "max": 10**12}}]),
        ],
    )  # fmt: skip
    def test_huge_grid_is_not_enumerated(self, read: Any, source: Any) -> None:
        tracemalloc.start()
        space = read(source)
        for dialect in ("optuna", "ray", "sigopt", "wandb"):
            translation = translate(space, dialect, encode=True)
            params = space.sample(0)
            assert translation.decode(translation.encode(params)) == params
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert space.size > 1e11 and peak < 10_000_000

    @pytest.mark.parametrize("levels", [100, 100_000])
    def test_deep_nesting_is_rejected(self, levels: int) -> None:
        wandb: Any = {"value": 1}
        ray: Any = 1
        for _ in range(levels):
            wandb, ray = {"parameters": {"x": wandb}}, {"x": ray}
        for read, source in (
            (hp.from_wandb, wandb),
            (hp.from_ray, ray),
            (hp.as_space, wandb),
            (hp.as_space, ray),
        ):
            if levels > 100:
                with pytest.raises(hp.HpcompatError):
                    read(source)
            elif read is not hp.as_space or source is wandb:
                assert read(source).size == 1
        with pytest.raises(hp.HpcompatError):
            hp.from_wandb('{"parameters":' * levels)


ONES = ":".join(["1"] * 30_000)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))


class TestDocuments:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (MERGES + "parameters: {x: {value: 1}}", "what it merges in"),
            (f"parameters: {{x: {{value: {ONES}}}}}", "more than 400 digits"),
            (f"parameters: {{x: {{value: {ONES}.5}}}}", "more than 400 digits"),
            (f"parameters: {{? {ONES} : {{value: 1}}}}", "more than 400 digits"),
            (f"parameters: {{x: {{value: !!int '{ONES}'}}}}", "more than 400 digits"),
            (f"parameters: {{x: {{value: 0x{'f' * 60_000}}}}}", "more than 400 digits"),
            (f'{{"parameters": {{"x": {{"value": {"9" * 60_000}}}}}}}', "more than 400 digits"),
            (f"parameters: {{x: {{value: {':'.join(['1'] * 190)}.5}}}}", "YAML"),
            ("parameters: {x: {value: !!timestamp soon}}", "YAML"),
            ("parameters: {x: {value: !!bool soon}}", "YAML"),
            ("parameters: {x: {value: !!int ''}}", "YAML"),
            ("parameters: {x: {value: !!float ''}}", "YAML"),
            ("parameters: " + "{x: " * 20_000, "levels deep"),
            ("x: " + "1" * 2**24, "longer than 16 MiB"),
            ("&a {<<: *a, b: &b {<<: [*a, *b]}}", "."),
            ("{" + ", ".join(f"k{n}: 1" for n in range(50_000)) + ", k49999: 2}", "defined twice"),
        ],
    )  # fmt: skip
    def test_expanding_text_is_rejected_before_expansion(self, text: str, reason: str) -> None:
        for read in (hp.as_space, hp.from_wandb):
            with pytest.raises(hp.TranslationError, match=reason):
                read(text)

    def test_typical_merges_are_read(self) -> None:
        chain = "a0: &a0 {min: 0, max: 1}\n" + "".join(
            f"a{n}: &a{n} {{<<: *a{n - 1}, max: {n + 1}}}\n" for n in range(1, 100)
        )
        assert hp.from_wandb(chain + "parameters: {x: *a99}") == hp.SearchSpace({"x": hp.Int(0, 100)})
