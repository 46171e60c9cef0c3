"""Rows -> questions about paragraphs: SQuAD v1.1 and v2.0, CMRC2018 and flat rows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from jaxbert.data.rows import Data, Report, field, names_of, whole_text
from jaxbert.data.sources import load_rows
from jaxbert.errors import DataError, InputError
from jaxbert.untrusted import shown

# An answer that is not at its offset is looked for this many characters around it; farther away it
# is taken only where the paragraph has it once.
_NEARBY = 64


@dataclasses.dataclass(frozen=True)
class Answer:
    """A reference answer: text == context[start : start + len(text)], in Unicode code points.

    start is None where the text is not in the context: such an answer serves scoring only.
    """

    text: str
    start: int | None


@dataclasses.dataclass(frozen=True)
class QAExample:
    """A question about a paragraph; without answers it is unanswerable, or they are not known."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()


def read_qa(paths: Sequence[str], *, strict: bool = False) -> Data[QAExample]:
    """Questions from files: SQuAD v1.1 and v2.0, CMRC2018 in both layouts, and flat rows.

    A file is nested JSON as published (data -> paragraphs -> qas), CMRC2018's own list
    (context_text, qas with query_text), or flat rows {id, question, context, answers: {text,
    answer_start}} as a list, under "data", as JSONL, as Parquet, or as a folder of datasets.

    Args:
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: a file is missing, damaged, of another form, or has no question.
    """
    return read_questions(((path, load_rows(path)) for path in paths), strict=strict)


def read_questions(tables: Iterable[tuple[str, Any]], *, strict: bool = False) -> Data[QAExample]:
    """The same from contents that have been loaded: pairs of an origin, for messages, and rows."""
    origins = []

    report = Report(strict)

    def rows() -> Iterator[_Row]:
        for origin, content in tables:
            origins.append(origin)
            for found in report.each(_entries(content, origin), partial(_rows_of, report=report)):
                yield from found

    seen: set[str] = set()
    examples = tuple(report.each(rows(), partial(_example_of, seen=seen, report=report)))
    if not examples:
        raise report.nothing(f"{', '.join(origins)}: no question in it")
    return Data(examples, tuple(report.problems))


@dataclasses.dataclass
class _Row:
    """A question as found, its answers not yet held against the paragraph."""

    where: str
    id: Any
    question: Any
    context: Any
    answers: list[tuple[Any, Any]]  # text, offset or None


_Placed = tuple[str, Any]  # what a message calls it, and what it is


def _entries(content: Any, origin: str) -> list[_Placed]:
    """The articles or rows of a file."""
    entries = field(content, "data", list, origin) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputError(f"{origin}: expected SQuAD's JSON, found {type(content).__name__}")
    squad = [isinstance(entry, dict) and "paragraphs" in entry for entry in entries]
    return [
        (f"{origin}: {'article' if s else 'row'} {n}", entry)
        for n, (entry, s) in enumerate(zip(entries, squad, strict=True))
    ]


def _rows_of(placed: _Placed, report: Report) -> Iterable[_Row]:
    """The questions of an article or row, whichever of the known forms it has."""
    where, entry = placed
    if not isinstance(entry, dict):
        raise DataError(where, f"expected an object, found {type(entry).__name__}")
    if "paragraphs" in entry:
        paragraphs = _numbered(entry, "paragraphs", where, "paragraph")
        found = report.each(paragraphs, partial(_squad_paragraph, report=report))
        return itertools.chain.from_iterable(found)
    if "context_text" in entry:
        context = field(entry, "context_text", str, where)
        questions = _numbered(entry, "qas", where, "question")
        return report.each(questions, partial(_cmrc_row, context=context))
    if "context" in entry and "question" in entry:
        return [_flat_row(entry, where)]
    raise DataError(
        where,
        f"not a form that is known; it needs paragraphs (SQuAD), context_text "
        f"(CMRC2018) or context and question (flat), and has {names_of(entry) or 'none'}",
    )


def _numbered(mapping: Any, name: str, where: str, what: str) -> list[_Placed]:
    """The items of a field that is a list, each with its place."""
    items = field(mapping, name, list, where)
    return [(f"{where}, {what} {number}", item) for number, item in enumerate(items)]


def _squad_paragraph(placed: _Placed, report: Report) -> Iterable[_Row]:
    where, paragraph = placed
    context = field(paragraph, "context", str, where)
    questions = _numbered(paragraph, "qas", where, "question")
    return report.each(questions, partial(_squad_row, context=context))


def _squad_row(placed: _Placed, context: str) -> _Row:
    where, qa = placed
    if isinstance(qa, dict) and qa.get("is_impossible") is not None:
        field(qa, "is_impossible", bool, where)
    answers = [] if qa_is_impossible(qa) else field(qa, "answers", list, where)
    pairs = [(field(a, "text", str, where), a.get("answer_start")) for a in answers]
    name = field(qa, "id", (str, int), where)
    return _Row(where, name, field(qa, "question", str, where), context, pairs)


def qa_is_impossible(qa: Any) -> bool:
    """SQuAD v2.0's mark; its unanswerable questions may also lack the field answers."""
    return isinstance(qa, dict) and (
        bool(qa.get("is_impossible", False)) or ("answers" not in qa and "question" in qa)
    )


def _cmrc_row(placed: _Placed, context: str) -> _Row:
    where, qa = placed
    unanswered = isinstance(qa, dict) and "answers" not in qa
    answers = [] if unanswered else field(qa, "answers", list, where)
    name = field(qa, "query_id", (str, int), where)
    question = field(qa, "query_text", str, where)
    return _Row(where, name, question, context, [(text, None) for text in answers])


def _flat_row(row: dict[str, Any], where: str) -> _Row:
    answers = row.get("answers")
    if answers is None or answers == []:
        answers = {"text": []}
    texts = field(answers, "text", list, where)
    starts: list[Any] = [None] * len(texts)
    if answers.get("answer_start") is not None:
        starts = field(answers, "answer_start", list, where)
    if len(starts) != len(texts):
        raise DataError(where, f"{len(texts)} answer texts and {len(starts)} offsets")
    return _Row(
        where,
        field(row, "id", (str, int), where),
        field(row, "question", str, where),
        field(row, "context", str, where),
        list(zip(texts, starts, strict=True)),
    )


def _example_of(row: _Row, seen: set[str], report: Report) -> QAExample | None:
    """The question with its answers held against the paragraph; None if its id is in `seen`."""
    name = whole_text(str(row.id))
    where = f"{row.where} (id {shown(' '.join(name.split()))})"
    if name in seen:
        report(where, "the id occurs before; this row is left out")
        return None
    question, context = whole_text(row.question), whole_text(row.context)
    if (name, question, context) != (str(row.id), row.question, row.context):
        report(where, "lone surrogates in the text; replaced by U+FFFD")
    if not context.strip():
        report(where, "the paragraph is empty; the answer can only be empty")
    if not question.strip():
        report(where, "the question is empty")
    found = [_answer_of(text, start, context, where, report) for text, start in row.answers]
    seen.add(name)
    return QAExample(name, question, context, tuple(answer for answer in found if answer))


def _answer_of(text: Any, start: Any, context: str, where: str, report: Report) -> Answer | None:
    if not isinstance(text, str):
        raise DataError(
            where, f'an answer of field "answers" is {type(text).__name__}, expected str'
        )
    if start is not None and (isinstance(start, bool) or not isinstance(start, int)):
        raise DataError(where, f'field "answer_start" is {type(start).__name__}, expected int')
    if not text.strip():
        report(where, "an answer is empty; it is left out")
        return None
    text = whole_text(text)
    found = _locate(context, text, start)
    if found is None:
        fault = f"not near {shown(start)} but in several places" if text in context else "not"
        report(where, f"the answer {text[:40]!r} is {fault} in the paragraph; scoring only")
    elif found != start and start is not None:
        report(where, f"the answer {text[:40]!r} is at {found}, not {shown(start)}; repaired")
    return Answer(text, found)


def _locate(context: str, text: str, start: int | None) -> int | None:
    """Where the answer is: at `start`, else nearby, else where the paragraph has it just once."""
    if start is None or start < 0:
        place = context.find(text)
        return place if place >= 0 else None
    if context.startswith(text, start):
        return start
    # Not every place in the paragraph: of a long run of one character they are too many.
    around = range(max(0, start - _NEARBY), start + _NEARBY + 1)
    near = [p for p in around if context.startswith(text, p)]
    if near:
        return min(near, key=lambda p: (abs(p - start), p))
    place = context.find(text)
    return place if place >= 0 and context.find(text, place + 1) < 0 else None
