"""The directive `flags`: a table of settings, made of the records that the command line is made of.

    ```{flags} jaxbert.options.task_settings.QAOptions
    ```

lists the fields of the class, and with `:group: training` those of one group of --help.
"""

from __future__ import annotations

import importlib
from inspect import get_annotations as annotations

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from jaxbert.options.fields import AUTO, Setting, Settings, Value, settings_of


def _values(setting: Setting) -> str:
    """What it takes, in a word or two."""
    if setting.choices:
        return ", ".join(setting.choices)
    if setting.kind is bool:
        return "True, False"
    words = {str: "text", int: "a whole number", float: "a number"}[setting.kind]
    if setting.facts.path:
        words = "a path or address" if setting.facts.address else "a path"
    if setting.facts.range is not None:
        least, most = setting.facts.range
        words += f" from {least:g} to {most:g}" if most < 1e6 else f" from {least:g} on"
    if setting.facts.auto:
        words += ", or auto"
    return f"{words}, one or several" if setting.several else words


def _default(value: Value) -> str:
    if value is None:
        return ""
    return "auto" if value == AUTO and not isinstance(value, bool) else str(value)


def rows(cls: type[Settings], group: str | None) -> list[tuple[str, str, str, str]]:
    """Flag, default, what it takes, what it does."""
    return [
        (f"--{s.name}", _default(s.default), _values(s), s.facts.help)
        for s in settings_of(cls)
        if group in (None, _group(cls, s.name))
    ]


def _group(cls: type[Settings], name: str) -> str | None:
    """That of the class which declares the field first, as --help sorts it."""
    of: dict[str, str] = {}
    for base in cls.__mro__:  # the last one is the first to declare it
        if hasattr(base, "GROUP"):
            of |= dict.fromkeys(annotations(base), base.GROUP)
    return of.get(name)


class Flags(SphinxDirective):
    """The table as nodes."""

    required_arguments = 1
    option_spec = {"group": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        lines = ["| flag | default | takes | what |", "|---|---|---|---|"]
        for flag, default, values, text in rows(cls, self.options.get("group")):
            cells = [f"`{flag}`", f"`{default}`" if default else "", values, text]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        if len(lines) == 2:
            raise self.error(f"no flag of {self.arguments[0]} is in this group")
        return self.parse_text_to_nodes("\n".join(lines).replace("<", "&lt;"))
