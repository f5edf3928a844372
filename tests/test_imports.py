"""Importing hpcompat and translating spaces neither imports nor needs a backend."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

import hpcompat

ROOT = Path(hpcompat.__file__).parent.parent
OPTIONAL_PACKAGES = [
    "torch",
    "transformers",
    "optuna",
    "ray",
    "sigopt",
    "sigoptlite",
    "wandb",
    "sweeps",
    "numpy",
    "yaml",
    "tqdm",
    "pandas",
    "scipy",
    "hypothesis",
]

TRANSLATE = """
import hpcompat as hp
space = hp.SearchSpace({
    "lr": hp.Float(1e-6, 1e-4, log=True),
    "batch": hp.Categorical([16, 32, 64, 128]),
    "optim": hp.Categorical(["adamw", "sgd"]),
    "momentum": hp.Float(0.5, 0.9, step=0.1, when={"optim": "sgd"}),
    "model": {"layers": hp.Int(1, 8), "width": hp.Normal(64.0, 16.0, low=1.0)},
})
for dialect in ("optuna", "ray", "sigopt", "wandb"):
    translation = hp.translate(space, dialect, encode=True)
    params = space.sample(1)
    assert translation.decode(translation.encode(params)).keys() == params.keys()
    getattr(hp, f"from_{dialect}")(translation.spec)
class Trial:
    def suggest_float(self, name, low, high, **scale): return low
    def suggest_categorical(self, name, choices): return choices[0]
    def suggest_int(self, name, low, high, **scale): return low
assert space.contains(hp.to_optuna(space, encode=True)(Trial()))
assert hp.as_space({"parameters": {"lr": {"min": 0.1, "max": 1.0}}})["lr"] == hp.Float(0.1, 1.0)
assert hp.SearchSpace.from_dict(space.to_dict()) == space
assert hp.from_optuna(lambda trial: {"x": trial.suggest_float("x", 0, 1)})["x"] == hp.Float(0, 1)
"""
ASSERT_NOT_IMPORTED = (
    f"import sys; loaded = sorted(set({OPTIONAL_PACKAGES!r}) & sys.modules.keys()); assert not loaded, loaded"
)


def run(*command: str) -> None:
    process = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert process.returncode == 0, process.stderr


class TestImports:
    @pytest.mark.parametrize("code", ["import hpcompat", TRANSLATE], ids=["import", "translate"])
    def test_import_and_translation_load_no_optional_package(self, code: str) -> None:
        run(sys.executable, "-c", f"{code}\n{ASSERT_NOT_IMPORTED}")

    def test_translating_needs_no_backend(self, tmp_path: Path) -> None:
        venv.create(tmp_path / "bare", with_pip=False)
        python = str(tmp_path / "bare" / "bin" / "python")
        assert_not_installed = (
            "import importlib.util as u\n"
            f"installed = [name for name in {OPTIONAL_PACKAGES!r} if u.find_spec(name)]\n"
            "assert not installed, installed"
        )
        run(python, "-c", f"{assert_not_installed}\n{TRANSLATE}")


class TestPublicNames:
    def test_public_names_are_documented(self) -> None:
        assert sorted(hpcompat.__all__) == sorted(
            [
                "SearchSpace",
                "Float",
                "Int",
                "Categorical",
                "Constant",
                "Normal",
                "translate",
                "Translation",
                "as_space",
                "to_optuna",
                "from_optuna",
                "to_ray",
                "from_ray",
                "to_sigopt",
                "from_sigopt",
                "to_wandb",
                "from_wandb",
                "search",
                "hyperparameter_search",
                "with_params",
                "SearchResult",
                "Trial",
                "HpcompatError",
                "SpaceError",
                "ParamsError",
                "TranslationError",
                "BackendError",
                "MissingBackendError",
                "SearchError",
                "TrialPruned",
            ]
        )
        for name in hpcompat.__all__:
            assert getattr(hpcompat, name).__doc__
        with pytest.raises(AttributeError):
            hpcompat.nothing  # type: ignore[attr-defined]  # noqa: B018
