"""Ask a fine-tuned folder; without a question or text it opens a prompt.

jaxbert ask --model_name_or_path runs/squad --question "Who?" --context "It was Ada."
jaxbert ask --model_name_or_path runs/sst2 --text "I laughed all evening."
jaxbert ask --model_name_or_path runs/ner --text "Anna lives in New York."
jaxbert ask --model_name_or_path runs/mlm --text "It is [MASK]."
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from jaxbert.cli import command_line
from jaxbert.cli.askers import ASKERS, Asker
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.model.folders import folder_of
from jaxbert.options.fields import Settings, option
from jaxbert.runs.record import RunRecord, check_single
from jaxbert.tasks.qa import QA
from jaxbert.tasks.registry import TASKS


@dataclasses.dataclass(frozen=True)
class AskOptions(Settings):
    """Flags of the command."""

    model_name_or_path: str | None = option(
        None, "The folder of a run, or a Hub name.", address=True
    )
    question: str | None = option(None, "The question; without it a prompt opens.")
    context: str | None = option(None, "The text that holds the answer.")
    context_file: str | None = option(None, "The same as a UTF-8 file.", path=True)
    text: str | None = option(
        None, "For other tasks than qa the text; for mlm with [MASK]. Without it a prompt opens."
    )
    text_pair: str | None = option(None, "For pairs of texts the second one.")
    top_k: int | None = option(
        None, "How many answers to print, best first; by default 1, or 5 classes or tokens."
    )
    json: bool = option(False, "Print JSON.")
    debug: bool = option(False, "Show the traceback of an error.")


def _record_of(model: str) -> RunRecord | None:
    try:
        folder = folder_of(model)
        return RunRecord.read(folder) if folder.is_dir() else None
    except (OSError, RuntimeError):  # what is wrong, opening the model tells
        return None


def _asker_of(model: str, given: Collection[str]) -> type[Asker]:
    """The asker for the task that the model's folder was trained for; without a record, for qa.

    Args:
        given: the flags of texts and answers that are given.

    Raises:
        InputError: the task has no predictor, or it does not take one of the flags.
    """
    record = _record_of(model)
    check_single(model, record)
    task = QA.name if record is None else record.task
    if task not in ASKERS:
        instead = "ask it with the program that trained it"
        if task in TASKS:
            instead = (
                f"jaxbert eval {task} --model_name_or_path {shown(model)} --validation_file FILE "
                "--output_dir DIR answers the rows of a file"
            )
        raise InputError(
            f"{shown(model)} was trained for {shown(task)}, which has no prompt; {instead}"
        )
    wrong = [f"--{flag}" for flag in given if flag not in ASKERS[task].flags]
    if wrong:
        why = f"was trained for {task}"
        if record is None:
            why = f"has no options.json, so it is asked as a model for {task}"
        right = ", ".join(f"--{flag}" for flag in ASKERS[task].flags)
        raise InputError(f"{', '.join(wrong)}: {shown(model)} {why}; give {right}")
    return ASKERS[task]


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--context_file {path}: {error}") from None


def run(words: Sequence[str]) -> None:
    """Print the answers."""
    options = command_line.parse(AskOptions, words, prog="jaxbert ask", description=__doc__)
    if options.model_name_or_path is None:
        raise InputError("give --model_name_or_path, the folder of a fine-tuned model")
    texts_and_answers = {flag for kind in ASKERS.values() for flag in kind.flags}
    given = [n for n, x in vars(options).items() if n in texts_and_answers and x is not None]
    kind = _asker_of(options.model_name_or_path, given)
    asked = options.text if options.question is None else options.question
    beside = options.context if options.text_pair is None else options.text_pair
    if options.context_file is not None:
        beside = _text_of(options.context_file)
    if asked is not None and beside is None and kind.needs_beside:
        raise InputError("give --context or --context_file, the text that holds the answer")
    asker = kind(options.model_name_or_path, options.top_k)
    if asked is not None:
        _answer(asker, asked, beside, as_json=options.json)
        return
    try:
        _prompt(asker, beside, as_json=options.json)
    except EOFError:
        print()


def _answer(asker: Asker, text: str, beside: str | None, *, as_json: bool) -> None:
    rows = asker.ask(text, beside)
    if as_json:
        print(json.dumps(asker.to_json(rows), ensure_ascii=False))
    else:
        print(*asker.lines(rows), sep="\n")


def _prompt(asker: Asker, beside: str | None, *, as_json: bool) -> None:
    """Ask until an empty line. A text that all others need is asked for once, else each time.

    Raises:
        EOFError: the input ends.
        InputError: a text cannot be used, and no terminal is there to give another one.
    """
    while asker.needs_beside and (beside is None or not beside.strip()):
        beside = input(f"{asker.beside}> ")
    each_time = bool(asker.beside) and beside is None
    while text := input(f"{asker.flags[0]}> ").strip():
        if each_time:
            beside = input(f"{asker.beside} (or nothing)> ").strip() or None
        try:
            _answer(asker, text, beside, as_json=as_json)
        except InputError as error:
            if not sys.stdin.isatty():
                raise
            print(f"error: {error}", file=sys.stderr)
