"""Rows -> questions about paragraphs: SQuAD v1.1 and v2.0, CMRC2018 and flat rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jaxbert.data.rows import Data, Problem, field, names_of, reporter, whole_text
from jaxbert.data.sources import load_rows
from jaxbert.errors import InputError
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

    def rows() -> Iterator[_Row]:
        for origin, content in tables:
            origins.append(origin)
            yield from _qa_rows(content, origin)

    return _qa_data(rows(), origins, strict)


@dataclasses.dataclass
class _Row:
    """A question as found, its answers not yet held against the paragraph."""

    where: str
    id: Any
    question: Any
    context: Any
    answers: list[tuple[Any, Any]]  # text, offset or None


def _qa_rows(content: Any, origin: str) -> Iterator[_Row]:
    """The questions of a file, whichever of the known forms it has."""
    entries = content
    if isinstance(content, dict):
        entries = field(content, "data", list, origin)
    if not isinstance(entries, list):
        raise InputError(f"{origin}: expected SQuAD's JSON, found {type(content).__name__}")
    for number, entry in enumerate(entries):
        where = f"{origin}: row {number}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object, found {type(entry).__name__}")
        if "paragraphs" in entry:
            yield from _squad_article(entry, f"{origin}: article {number}")
        elif "context_text" in entry:
            yield from _cmrc_paragraph(entry, where)
        elif "context" in entry and "question" in entry:
            yield _flat_row(entry, where)
        else:
            raise InputError(
                f"{where}: not a form that is known; it needs paragraphs (SQuAD), context_text "
                f"(CMRC2018) or context and question (flat), and has {names_of(entry) or 'none'}"
            )


def _squad_article(article: dict[str, Any], where: str) -> Iterator[_Row]:
    for p, paragraph in enumerate(field(article, "paragraphs", list, where)):
        place = f"{where}, paragraph {p}"
        context = field(paragraph, "context", str, place)
        for q, qa in enumerate(field(paragraph, "qas", list, place)):
            spot = f"{place}, question {q}"
            if isinstance(qa, dict) and qa.get("is_impossible") is not None:
                field(qa, "is_impossible", bool, spot)
            answers = [] if qa_is_impossible(qa) else field(qa, "answers", list, spot)
            pairs = [(field(a, "text", str, spot), a.get("answer_start")) for a in answers]
            yield _Row(
                spot,
                field(qa, "id", (str, int), spot),
                field(qa, "question", str, spot),
                context,
                pairs,
            )


def qa_is_impossible(qa: Any) -> bool:
    """SQuAD v2.0's mark; its unanswerable questions may also lack the field answers."""
    return isinstance(qa, dict) and (
        bool(qa.get("is_impossible", False)) or ("answers" not in qa and "question" in qa)
    )


def _cmrc_paragraph(paragraph: dict[str, Any], where: str) -> Iterator[_Row]:
    context = field(paragraph, "context_text", str, where)
    for q, qa in enumerate(field(paragraph, "qas", list, where)):
        spot = f"{where}, question {q}"
        unanswered = isinstance(qa, dict) and "answers" not in qa
        answers = [] if unanswered else field(qa, "answers", list, spot)
        pairs = [(text, None) for text in answers]
        yield _Row(
            spot,
            field(qa, "query_id", (str, int), spot),
            field(qa, "query_text", str, spot),
            context,
            pairs,
        )


def _flat_row(row: dict[str, Any], where: str) -> _Row:
    answers = row.get("answers")
    if answers is None or answers == []:
        answers = {"text": []}
    texts = field(answers, "text", list, where)
    starts: list[Any] = [None] * len(texts)
    if answers.get("answer_start") is not None:
        starts = field(answers, "answer_start", list, where)
    if len(starts) != len(texts):
        raise InputError(f"{where}: {len(texts)} answer texts and {len(starts)} offsets")
    return _Row(
        where,
        field(row, "id", (str, int), where),
        field(row, "question", str, where),
        field(row, "context", str, where),
        list(zip(texts, starts, strict=True)),
    )


def _qa_data(rows: Iterable[_Row], origins: list[str], strict: bool) -> Data[QAExample]:
    examples: dict[str, QAExample] = {}
    problems: list[Problem] = []
    report = reporter(problems, strict)
    for row in rows:
        name = whole_text(str(row.id))
        where = f"{row.where} (id {shown(' '.join(name.split()))})"
        if name in examples:
            report(where, "the id occurs before; this row is left out")
            continue
        question, context = whole_text(row.question), whole_text(row.context)
        if (name, question, context) != (str(row.id), row.question, row.context):
            report(where, "lone surrogates in the text; replaced by U+FFFD")
        if not context.strip():
            report(where, "the paragraph is empty; the answer can only be empty")
        if not question.strip():
            report(where, "the question is empty")
        answers = []
        for text, start in row.answers:
            if not isinstance(text, str):
                raise InputError(
                    f'{where}: an answer of field "answers" is {type(text).__name__}, expected str'
                )
            if start is not None and (isinstance(start, bool) or not isinstance(start, int)):
                raise InputError(
                    f'{where}: field "answer_start" is {type(start).__name__}, expected int'
                )
            if not text.strip():
                report(where, "an answer is empty; it is left out")
                continue
            text = whole_text(text)
            found = _locate(context, text, start)
            if found is None:
                fault = (
                    f"not near {shown(start)} but in several places" if text in context else "not"
                )
                report(where, f"the answer {text[:40]!r} is {fault} in the paragraph; scoring only")
            elif found != start and start is not None:
                report(
                    where, f"the answer {text[:40]!r} is at {found}, not {shown(start)}; repaired"
                )
            answers.append(Answer(text, found))
        examples[name] = QAExample(name, question, context, tuple(answers))
    if not examples:
        raise InputError(f"{', '.join(origins)}: no question in it")
    return Data(tuple(examples.values()), tuple(problems))


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
