"""The documentation site: `sphinx-build -W docs build/site`, then open build/site/index.html.

Sphinx with MyST and furo: of the two ways that are common for Python, this one is still developed.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from site_flags import Flags

project = "jaxbert"
author = "the jaxbert authors"
project_copyright = author
release = version = importlib.metadata.version("jaxbert")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
# Names of axes in shapes ("*B k") and forward references are no documents.
nitpicky = False

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
nb_execution_mode = "off"  # tests/test_notebooks.py runs them; what they printed is kept in them
# A shell command is no program: `...` and `\` at the end of a line are not to be parsed.
highlight_language = "none"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

autodoc_typehints = "none"  # the docstrings say what arguments are; shapes stand in the signature
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "jaxbert"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e4f", "color-brand-content": "#0b6e4f"},
    "dark_css_variables": {"color-brand-primary": "#5fd3a5", "color-brand-content": "#5fd3a5"},
}

# Files beside docs/ that are pages of the site too: a link that is right on a disk is right here.
_PAGES = {"BENCHMARKS": "benchmarks", "CHANGELOG": "changelog", "CONTRIBUTING": "contributing"}


def _links_to_pages(app: Sphinx, docname: str, content: list[str]) -> None:
    """A source as Sphinx is to read it."""
    up = "../" * (docname.count("/") + 1)
    here = up.removesuffix("../")
    for file, page in _PAGES.items():
        content[0] = content[0].replace(f"]({up}{file}.md", f"]({here}{page}.md")


def _only_pages_that_are_there(app: Sphinx, docname: str, content: list[str]) -> None:
    """`page?` in a list of pages is left out of a checkout that does not have it."""
    for page in re.findall(r"^(\w+)\?$", content[0], re.MULTILINE) if docname == "index" else ():
        there = page if Path(app.srcdir, f"{page}.md").exists() else ""
        content[0] = content[0].replace(f"\n{page}?\n", f"\n{there}\n")


def _plain_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Docstrings are plain text with `code` and >>>: nothing else in them is markup."""
    for number, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = re.split(r"(`[^`]+`)", line)
        parts[::2] = [re.sub(r"([*|\\])", r"\\\1", part) for part in parts[::2]]
        parts[1::2] = [f"`{part}`" for part in parts[1::2]]
        lines[number] = "".join(parts)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("flags", Flags)
    app.connect("source-read", _links_to_pages)
    app.connect("source-read", _only_pages_that_are_there)
    app.connect("autodoc-process-docstring", _plain_docstring, priority=400)  # before napoleon
