"""Ask a fine-tuned folder; without a question it opens a prompt.

jaxbert ask --model_name_or_path runs/squad --question "Who?" --context "It was Ada."
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options.fields import Settings, option
from jaxbert.predictors.question_answerer import QuestionAnswerer


@dataclasses.dataclass(frozen=True)
class AskOptions(Settings):
    """Flags of the command."""

    model_name_or_path: str | None = option(None, "The folder of a run, or a Hub name.", path=True)
    question: str | None = option(None, "The question; without it a prompt opens.")
    context: str | None = option(None, "The text that holds the answer.")
    context_file: str | None = option(None, "The same as a UTF-8 file.", path=True)
    top_k: int = option(1, "So many answers, best first.")
    json: bool = option(False, "Print JSON.")
    debug: bool = option(False, "Show the traceback of an error.")


def _read_context(options: AskOptions) -> str | None:
    if options.context_file is None:
        return options.context
    try:
        return Path(options.context_file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--context_file {options.context_file}: {error}") from None


def _show(answers: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answers[0] if len(answers) == 1 else answers, ensure_ascii=False))
        return
    for found in answers:
        place = f"characters {found['start']} to {found['end']}" if found["answer"] else "no answer"
        print(f"{found['score']:6.1%}  {found['answer']}   ({place})")


def run(words: Sequence[str]) -> None:
    """Print the answers."""
    options = command_line.parse(AskOptions, words, prog="jaxbert ask", description=__doc__)
    if options.model_name_or_path is None:
        raise InputError("give --model_name_or_path, the folder of a fine-tuned model")
    context = _read_context(options)
    if options.question is not None and context is None:
        raise InputError("give --context or --context_file, the text that holds the answer")
    answerer = QuestionAnswerer.from_pretrained(options.model_name_or_path)

    def ask(question: str, text: str) -> None:
        found = answerer(question=question, context=text, top_k=options.top_k)
        _show([found] if isinstance(found, dict) else found, options.json)

    if options.question is not None and context is not None:
        ask(options.question, context)
        return
    try:
        while context is None or not context.strip():
            context = input("context> ")
        while question := input("question> ").strip():
            ask(question, context)
    except EOFError:
        print()
