"""The documentation's examples run as they stand, and its reference leaves no public name out."""

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

import hpcompat

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
# a block of "py" is shown and not run: it needs what a test has not, a cluster say
FENCE = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def reader(directory: Path) -> dict[str, Any]:
    """What the reader of a page brings along: a Trainer, and a space for it."""
    from torch import nn, rand
    from transformers import Trainer, TrainingArguments

    class Line(nn.Module):
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
    trainer = Trainer(model_init=Line, args=args, train_dataset=data, eval_dataset=data)
    return {"hp": hpcompat, "trainer": trainer, "space": space}


GIVEN = {"README.md": reader, "search.md": reader}


def examples(page: Path) -> list[tuple[str, str]]:
    """The kind and the text of every block of Python on the page, in order."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if examples(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_examples_of_a_page_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = GIVEN[page.name](tmp_path) if page.name in GIVEN else {}
    for number, (kind, text) in enumerate(examples(page)):
        if kind == "python":
            exec(compile(text, f"{page}, block {number}", "exec"), names)
        else:
            block = doctest.DocTestParser().get_doctest(text, names, f"{page.name}, block {number}", str(page), 0)
            seen: list[str] = []
            runner = doctest.DocTestRunner(optionflags=FLAGS)
            runner.run(block, out=seen.append, clear_globs=False)
            assert not seen, "".join(seen)
            names = block.globs


def test_reference_lists_exactly_the_public_names() -> None:
    listed = re.findall(r"^\.\. auto\w+:: (\w+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted([*hpcompat.__all__, "Parameter"])
