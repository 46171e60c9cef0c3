"""The tables of docs/migrating.md, made from the records that the scripts read command lines by.

python tests/migrating_page.py writes them into the page.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from jaxbert.cli.foreign_flags import SOURCES
from jaxbert.cli.migrating import Case, Foreign
from jaxbert.options import settings, task_settings

PAGE = Path(__file__).parent.parent / "docs" / "migrating.md"
BEGIN, END = "<!-- begin: tests/migrating_page.py -->\n", "<!-- end -->\n"

_SCRIPTS = {
    task_settings.QAOptions: "question answering",
    task_settings.TextOptions: "classification, regression",
    task_settings.ClassificationOptions: "classification",
    task_settings.RegressionOptions: "regression",
    task_settings.TaggingOptions: "tagging",
    task_settings.MLMOptions: "masked LM",
    settings.AssessmentOptions: "eval/",
    task_settings.ClassificationTrainOptions: "classification",
    task_settings.RegressionTrainOptions: "regression",
}


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _when(flag: Foreign, case: Case) -> str:
    parts = []
    if callable(case.values):
        about = inspect.getdoc(case.values)
        parts.append(about[0].lower() + about[1:].rstrip(".") if about else "another")
    elif case.values is not None:
        parts.append(", ".join(f"`{value}`" for value in sorted(case.values)))
    if case.beside is not None:
        name, values = case.beside
        parts.append(f"with `--{name}{' ' + ', '.join(sorted(values)) if values else ''}`")
    if case.of:
        parts.append(f"in {', '.join(dict.fromkeys(_SCRIPTS[kind] for kind in case.of))}")
    return "; ".join(parts)


def _default(value: Any) -> str:
    return "none" if value is None else str(getattr(value, "value", value))


def _same(field: dataclasses.Field[Any]) -> str:
    """The row of an option that is jaxbert's too."""
    ours = {f.name: f for f in dataclasses.fields(task_settings.QATrainOptions)}[field.name]
    theirs, mine = (_default(f.default or None) for f in (field, ours))
    text = "the same option" if theirs == mine else f"the same option; default {mine}, not {theirs}"
    return _row(f"`--{field.name}`", "", "taken", text)


def tables() -> str:
    """Markdown: a table for each source."""
    known = {field.name for field in dataclasses.fields(task_settings.QATrainOptions)}
    lines = []
    for source, flags in SOURCES.items():
        lines += ["", f"### {source}", "", _row("flag", "value", "answer", "what jaxbert does")]
        lines += [_row("---", "---", "---", "---")]
        rows = [
            (flag.name, _row(f"`--{flag.name}`", _when(flag, c), c.answer.kind, str(c.answer)))
            for flag in flags
            for c in flag.cases
        ]
        if source == "TrainingArguments":
            fields = [f for f in dataclasses.fields(TrainingArguments) if f.name in known]
            rows += [(field.name, _same(field)) for field in fields]
        lines += [row for _, row in sorted(rows, key=lambda row: row[0])]
    return "\n".join(lines).replace("<", "&lt;") + "\n\n"


def page() -> str:
    """The page with its tables as they should be."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return before + BEGIN + tables() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
