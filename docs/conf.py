"""Sphinx, MyST and furo; nothing is fetched while building."""

from typing import Any

from sphinx.application import Sphinx

import hpcompat

project = "hpcompat"
author = "the hpcompat authors"
copyright = author
version = release = hpcompat.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist"]
default_role = "code"  # in docstrings `name` is code, as everywhere else
autodoc_member_order = "bysource"
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"hpcompat {release}"
html_copy_source = False


def markdown_tables(_app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings have their tables in Markdown, and autodoc reads reStructuredText."""
    for rule in reversed([index for index, line in enumerate(lines) if line.startswith("|---")]):
        end = next((i for i in range(rule, len(lines)) if not lines[i].startswith("|")), len(lines))
        rows = [line.strip("|").split("|") for line in (lines[rule - 1], *lines[rule + 1 : end])]
        cells = [f"   {'  - ' if column else '* - '}{cell.strip()}" for row in rows for column, cell in enumerate(row)]
        lines[rule - 1 : end] = [".. list-table::", "   :header-rows: 1", "", *cells]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", markdown_tables)
