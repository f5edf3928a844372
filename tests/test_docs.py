"""The examples of the documentation run without changes, and its lists of names and links are correct."""

import doctest
import inspect
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

import hpcompat

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
# blocks marked "py" are not run: they need a cluster, for example
FENCE = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def create_trainer_and_space(directory: Path) -> dict[str, Any]:
    """Return the names that the examples of a page expect: a Trainer, and a space for it."""
    from torch import nn, rand
    from transformers import Trainer, TrainingArguments

    class LinearModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(rand(1))

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            return {"loss": ((self.weight * x - labels) ** 2).mean(), "logits": self.weight * x}

    data = [{"x": x, "labels": 2 * x} for x in rand(32)]
    args = TrainingArguments(
        output_dir=str(directory / "runs"),
        num_train_epochs=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    space = hpcompat.SearchSpace({"learning_rate": hpcompat.Float(1e-3, 1.0, log=True)})
    trainer = Trainer(model_init=LinearModel, args=args, train_dataset=data, eval_dataset=data)
    return {"hp": hpcompat, "trainer": trainer, "space": space}


NAMES_BY_PAGE = dict.fromkeys(("README.md", "search.md", "resume.md", "several_processes.md"), create_trainer_and_space)


def find_examples(page: Path) -> list[tuple[str, str]]:
    """Return the language and the content of every Python block of the page, in order."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


class TestExamples:
    @pytest.mark.parametrize(
        "page", [page for page in PAGES if find_examples(page)], ids=lambda page: str(page.relative_to(ROOT))
    )
    def test_examples_of_a_page_run_in_order(self, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = NAMES_BY_PAGE[page.name](tmp_path) if page.name in NAMES_BY_PAGE else {}
        for number, (language, content) in enumerate(find_examples(page)):
            title = f"{page.name}, block {number}"
            if language == "python":
                exec(compile(content, title, "exec"), names)
            else:
                block = doctest.DocTestParser().get_doctest(content, names, title, str(page), 0)
                failures: list[str] = []
                runner = doctest.DocTestRunner(optionflags=FLAGS)
                runner.run(block, out=failures.append, clear_globs=False)
                assert not failures, "".join(failures)
                names = block.globs


class TestDocstrings:
    @pytest.mark.parametrize("name", hpcompat.__all__)
    def test_public_name_documents_its_arguments(self, name: str) -> None:
        value = getattr(hpcompat, name)
        if isinstance(value, type) and issubclass(value, Exception):
            return
        documented = re.findall(r"^ +[*]{0,2}(\w+): ", inspect.getdoc(value) or "", re.MULTILINE)
        parameters = set(inspect.signature(value).parameters)
        assert len(parameters) < 2 or parameters <= set(documented)


def table_rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading of CONTRIBUTING.md, without its first row."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


class TestContributing:
    @pytest.mark.parametrize("row", table_rows("Where is what"), ids=lambda row: row[0])
    def test_names_in_table_exist(self, row: list[str]) -> None:
        folder = ROOT / row[1].strip("`")
        source = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
        names = [part for name in re.findall(r"`([\w.]+)`", row[2]) for part in name.split(".")]
        definition = r"(?m)^ *(?:(?:def|class) {0}\b|{0}(?::|\s*=))"
        assert [name for name in names if not re.search(definition.format(name), source)] == []

    def test_listed_frames_are_those_of_a_search(self) -> None:
        def objective(trial: Any) -> float:
            for frame in traceback.extract_stack():
                module = Path(frame.filename)
                if module.is_relative_to(package):
                    frames.append((module.relative_to(package).parts[0], frame.name))
            return 0.0

        package, frames = Path(hpcompat.__file__).parent, list[tuple[str, str]]()
        hpcompat.search(objective, {"x": hpcompat.Float(0, 1)}, n_trials=1, progress=False)
        assert [(row[0].strip("`"), row[1].strip("`")) for row in table_rows("One call of `search`")] == frames


class TestReference:
    def test_reference_lists_exactly_the_public_names(self) -> None:
        listed = re.findall(r"^\.\. auto\w+:: (\w+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert sorted(listed) == sorted([*hpcompat.__all__, "Parameter"])

    def test_targets_of_links_between_pages_exist(self) -> None:
        missing = []
        for page in PAGES:
            for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
                if not (page.parent / target).exists():
                    missing.append((page.name, target))
        assert missing == []
