"""A dialect of another package, registered by an entry point, works like the built-in ones."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import hpcompat as hp
from hpcompat.errors import TranslationError
from hpcompat.translators.capabilities import native
from hpcompat.translators.dialect import DIALECTS, Variant, get_variants
from tests.translators.conformance import DialectConformance

SPACE = hp.SearchSpace({"lr": hp.Float(0.0, 1.0), "n": hp.Int(1, 9), "optim": hp.Categorical(["adamw", "sgd"])})
EXPERIMENT = [
    {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": 0.0, "max": 1.0}},
    {"name": "n", "parameterType": "int", "feasibleSpace": {"min": 1, "max": 9}},
    {"name": "optim", "parameterType": "categorical", "feasibleSpace": {"list": ["adamw", "sgd"]}},
]


@pytest.fixture(scope="module")
def site_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a directory with the installed package."""
    root: Path = tmp_path_factory.mktemp("site")
    source = Path(__file__).with_name("katib_dialect.py").read_text()
    (root / "hpcompat_katib.py").write_text(source)
    info = root / "hpcompat_katib-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hpcompat-katib\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hpcompat.dialects]\nkatib = hpcompat_katib:KATIB\n")
    return root


@pytest.fixture(autouse=True, scope="module")
def site_dir_on_path(site_dir: Path) -> Iterator[None]:
    sys.path.insert(0, str(site_dir))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(site_dir))
    sys.modules.pop("hpcompat_katib", None)


class TestKatib(DialectConformance):
    name = "katib"


class TestDialectOfAnotherPackage:
    def test_registered_dialect_follows_built_in_ones(self) -> None:
        assert list(DIALECTS) == ["optuna", "ray", "sigopt", "wandb", "katib"]
        assert list(get_variants())[-1] == "katib"

    def test_translate_writes_registered_dialect(self) -> None:
        translation = hp.translate(SPACE, "katib")
        assert translation.spec == EXPERIMENT
        assert {level.level for level in translation.levels} == {"native"}

    def test_inexpressible_parameter_is_rejected_with_reason(self) -> None:
        with pytest.raises(TranslationError, match=r"cannot be represented exactly in Katib\n  x: it has uniform"):
            hp.translate({"x": hp.Normal(0.0, 1.0)}, "katib")

    def test_as_space_reads_registered_dialect(self) -> None:
        assert hp.as_space(EXPERIMENT) == SPACE

    def test_search_accepts_space_of_registered_dialect(self) -> None:
        result = hp.search(lambda trial: trial["lr"], EXPERIMENT, n_trials=2, seed=0, progress=False)
        assert result.space == SPACE

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["show", "experiment.json"], "katib"),
            (["show", "experiment.json", "--to", "katib"], "native"),
            (["convert", "experiment.json", "--to", "katib"], "parameterType"),
        ],
    )
    def test_command_line_accepts_registered_dialect(
        self, site_dir: Path, tmp_path: Path, arguments: list[str], expected: str
    ) -> None:
        (tmp_path / "experiment.json").write_text(json.dumps(EXPERIMENT))
        code = f"import sys; sys.path.insert(0, {str(site_dir)!r}); from hpcompat.cli import main; sys.exit(main())"
        process = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        assert expected in process.stdout


def install(root: Path, package: str, entry_points: str, module: str = "") -> None:
    info = root / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hpcompat.dialects]\n{entry_points}\n")
    (root / f"{package}_module.py").write_text(module)


WRONG_NAME = (
    "from hpcompat_katib import KatibDialect\nclass Other(KatibDialect):\n    name = 'other'\nOTHER = Other()\n"
)


class TestBrokenDialect:
    @pytest.mark.parametrize(
        ("entry_point", "module", "cause"),
        [
            ("bad = bad_module:BAD", "raise RuntimeError('boom')", "cannot be loaded: RuntimeError: boom"),
            ("bad = nowhere:BAD", "", "cannot be loaded: ModuleNotFoundError"),
            ("bad = json:dumps", "", "must be an instance of Dialect, got function"),
            ("bad = bad_module:OTHER", WRONG_NAME, "must have that name, and is called 'other'"),
        ],
    )
    def test_broken_dialect_warns_and_raises_when_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry_point: str, module: str, cause: str
    ) -> None:
        install(tmp_path, "bad", entry_point, module)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "bad_module", raising=False)
        with pytest.warns(UserWarning, match="the dialect 'bad', which bad registers, ") as warned:
            assert "bad" not in list(DIALECTS)
        assert cause in str(warned[0].message)
        with pytest.raises(TranslationError, match="the dialect 'bad', which bad registers, "):
            hp.translate(SPACE, "bad")
        result = hp.search(lambda trial: trial["lr"], {"lr": hp.Float(0.0, 1.0)}, n_trials=1, progress=False)
        assert len(result.trials) == 1  # the search does not use it

    def test_name_registered_by_two_packages_raises(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for package in ("one", "two"):
            install(tmp_path, package, "twice = hpcompat_katib:KATIB")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(TranslationError, match="'twice', which one and two registers, is there twice"):
            hp.translate(SPACE, "twice")

    @pytest.mark.parametrize("name", ["wandb", "json"])
    def test_reserved_name_warns_and_is_ignored(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        install(tmp_path, "bad", f"{name} = hpcompat_katib:KATIB")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.warns(UserWarning, match=f"bad registers a dialect '{name}', which is reserved"):
            assert "katib" in list(DIALECTS)
        assert DIALECTS["wandb"].title == "W&B"

    def test_table_without_shape_raises_in_class_definition(self) -> None:
        with pytest.raises(TypeError, match="own: the capability table lacks 'float', "):

            class Incomplete(type(DIALECTS["katib"])):  # type: ignore[misc]
                variants: ClassVar[Any] = {"own": Variant("own", "Own", {})}

    def test_conditional_last_rule_raises_in_class_definition(self) -> None:
        table = {**DIALECTS["katib"].variants["katib"].capabilities, "int": (native("int", lambda p: False),)}
        with pytest.raises(TypeError, match=r"own: the last rule has to apply to all parameters, .* for 'int'"):

            class ConditionalLastRule(type(DIALECTS["katib"])):  # type: ignore[misc]
                variants: ClassVar[Any] = {"own": Variant("own", "Own", table)}
