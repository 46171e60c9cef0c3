"""Reads questions about paragraphs: SQuAD v1.1 and v2.0, CMRC2018 and flat rows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from jaxbert.data.json_entries import Entries
from jaxbert.data.locating import Located, locate
from jaxbert.data.rows import (
    Cell,
    Content,
    Data,
    Fields,
    Problem,
    Report,
    field,
    names_of,
    replace_surrogates,
    where_of,
)
from jaxbert.data.sources import load_entries
from jaxbert.errors import DataError, InputError
from jaxbert.io.untrusted import shown

# The expected form, for messages.
EXPECTED_ANSWERS = '[{"text": ..., "answer_start": ...}]'


@dataclasses.dataclass(frozen=True, slots=True)  # there may be a million
class Answer:
    """A reference answer: its text as given, and where it is in the context, in code points.

    context[start:end] is the text, or differs from it only in white space. Both are None if the
    text is not in the context; such an answer is used only for scoring. By default the end is the
    start plus the length of the text.
    """

    text: str
    start: int | None
    # Not in the repr: run records hold a digest of it, and earlier versions had no end.
    end: int | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.start is not None and self.end is None:
            object.__setattr__(self, "end", self.start + len(self.text))


@dataclasses.dataclass(frozen=True, slots=True)
class QAExample:
    """A question about a paragraph; without answers it is unanswerable, or they are unknown.

    Attributes:
        labelled: whether the data give an answer or say that there is none.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()
    labelled: bool = dataclasses.field(default=True, repr=False)  # see Answer.end


@dataclasses.dataclass(frozen=True)
class Reference:
    """A question as in the file, for the official scores: nothing is repaired."""

    id: str
    answers: tuple[str, ...]


def read_qa(paths: Sequence[str], *, strict: bool = False) -> Data[QAExample]:
    """Read questions from files: SQuAD v1.1 and v2.0, CMRC2018 in both layouts, and flat rows.

    A file is nested JSON as published (data -> paragraphs -> qas), CMRC2018's own list
    (context_text, qas with query_text), or flat rows {id, question, context, answers} as a list,
    under "data", as JSONL, as Parquet, or as a folder of datasets. The answers of a flat row are
    {text: [...], answer_start: [...]} or, as in nested JSON, [{text, answer_start}, ...].

    Whether a question has an answer is decided by its answers, as the official scripts and Hugging
    Face's loader do; SQuAD v2.0's is_impossible counts only where there is no field `answers`. A
    contradiction between the two is a problem.

    Args:
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: a file is missing, damaged, of another form, or has no question.
    """
    return read_questions(((path, load_entries(path)) for path in paths), strict=strict)


def read_questions(
    tables: Iterable[tuple[str, Content]], *, strict: bool = False
) -> Data[QAExample]:
    """As read_qa, but from loaded contents: pairs of an origin, for messages, and rows."""
    report = Report(strict)
    questions = _Questions(tables, report)
    seen: set[str] = set()
    examples: list[QAExample] = []
    unlabelled: list[Problem] = []
    for example, problem in report.each(questions, partial(_example_of, seen=seen, report=report)):
        examples.append(example)
        unlabelled += [problem] if problem is not None else []
    if not examples:
        raise questions.nothing()
    if any(example.labelled for example in examples):
        for problem in unlabelled:
            report(problem.where, problem.what)
    return Data(tuple(examples), tuple(report.problems), columns=questions.columns)


def question_rows(origin: str, content: Content) -> Iterator[tuple[str, str, Fields]]:
    """Of each question of a content its id, its name in messages, and its own fields."""
    for row in _Questions([(origin, content)], Report(strict=False)):
        yield replace_surrogates(str(row.id)), row.label, row.fields


def read_references(path: str, *, strict: bool = False) -> Data[Reference]:
    """Read all questions of a file with unchanged answers, for the official scores.

    Duplicates and empty answers are kept, no text is changed, and offsets do not matter. Anything
    odd is still reported as a problem.

    Args:
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: the file is missing, damaged, of another form, or has no question.
    """
    report = Report(strict)
    questions = _Questions([(path, load_entries(path))], report)
    seen: set[str] = set()
    references = tuple(report.each(questions, partial(_reference_of, seen=seen, report=report)))
    if not references:
        raise questions.nothing()
    return Data(references, tuple(report.problems), columns=questions.columns)


@dataclasses.dataclass
class _Row:
    """A question as read, before its answers are located in the paragraph."""

    where: str
    fields: Fields
    id: str | int
    question: str
    context: str
    answers: list[_RawAnswer] | None  # None if none are given
    impossible: bool | None = None

    @property
    def label(self) -> str:
        """The question's name in messages."""
        return f"{self.where} (id {shown(' '.join(replace_surrogates(str(self.id)).split()))})"


_Located = tuple[str, Cell]  # its name in messages, and its content
_RawAnswer = tuple[Cell, Cell]  # an answer's text and its offset or None, as in the file


class _Questions:
    """The questions of all tables, in any known form, and their fields once read."""

    def __init__(self, tables: Iterable[tuple[str, Content]], report: Report) -> None:
        self._tables, self._report = tables, report
        self._origins: list[str] = []
        self._fields: dict[str, None] = {}

    def __iter__(self) -> Iterator[_Row]:
        report = self._report
        for origin, content in self._tables:
            self._origins.append(origin)
            for rows in report.each(_entries(content, origin), partial(_rows_of, report=report)):
                for row in rows:
                    self._fields.update(dict.fromkeys(row.fields))
                    yield row

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._fields)

    def nothing(self) -> InputError:
        return self._report.nothing(f"{', '.join(self._origins)}: no question in it")


def _entries(content: Content, origin: str) -> Iterator[_Located]:
    """The articles or rows of a file."""
    entries = field(content, "data", list, origin) if isinstance(content, dict) else content
    if not isinstance(entries, list | Entries):
        raise InputError(f"{origin}: expected SQuAD's JSON, found {type(content).__name__}")
    for n, entry in enumerate(entries):
        is_article = isinstance(entry, dict) and "paragraphs" in entry
        yield f"{origin}: article {n}" if is_article else where_of(origin, n, entry), entry


def _rows_of(located: _Located, report: Report) -> Iterable[_Row]:
    """The questions of an article or row in any known form."""
    where, entry = located
    if not isinstance(entry, dict):
        raise DataError(where, f"expected an object, found {type(entry).__name__}")
    if "paragraphs" in entry:
        paragraphs = _named_items(entry, "paragraphs", where, "paragraph")
        rows = report.each(paragraphs, partial(_squad_paragraph, report=report))
        return itertools.chain.from_iterable(rows)
    if "context_text" in entry:
        context = field(entry, "context_text", str, where)
        questions = _named_items(entry, "qas", where, "question")
        return report.each(questions, partial(_cmrc_row, context=context))
    if "context" in entry and "question" in entry:
        return [_flat_row(entry, where)]
    raise DataError(
        where,
        f"unknown form; it needs paragraphs (SQuAD), context_text "
        f"(CMRC2018) or context and question (flat), and has {names_of(entry) or 'none'}",
    )


def _named_items(mapping: Cell, name: str, where: str, what: str) -> list[_Located]:
    """The items of a list field, each with its name in messages."""
    items = field(mapping, name, list, where)
    return [(f"{where}, {what} {index}", item) for index, item in enumerate(items)]


def _squad_paragraph(located: _Located, report: Report) -> Iterable[_Row]:
    where, paragraph = located
    context = field(paragraph, "context", str, where)
    questions = _named_items(paragraph, "qas", where, "question")
    return report.each(questions, partial(_squad_row, context=context))


def _squad_row(located: _Located, context: str) -> _Row:
    where, qa = located
    impossible = _impossible(qa, where)
    answers = None
    if isinstance(qa, dict) and "question" in qa and qa.get("answers") is None and impossible:
        answers = []
    elif not isinstance(qa, dict) or "answers" in qa or "question" not in qa:
        answers = _pairs(field(qa, "answers", list, where), where)
    name = field(qa, "id", (str, int), where)
    fields: Fields = qa if isinstance(qa, dict) else {}
    question = field(qa, "question", str, where)
    return _Row(where, fields, name, question, context, answers, impossible)


def _impossible(qa: Cell, where: str) -> bool | None:
    """SQuAD v2.0's is_impossible; None if it is missing."""
    if not isinstance(qa, dict) or qa.get("is_impossible") is None:
        return None
    return field(qa, "is_impossible", bool, where)


def _pairs(answers: Iterable[Cell], where: str) -> list[_RawAnswer]:
    """Texts and offsets of [{text, answer_start}, ...]."""
    pairs: list[_RawAnswer] = []
    for answer in answers:
        if not isinstance(answer, dict):
            what = f'an answer of field "answers" is {type(answer).__name__}, expected '
            raise DataError(where, what + EXPECTED_ANSWERS[1:-1])
        pairs.append((field(answer, "text", str, where), answer.get("answer_start")))
    return pairs


def _cmrc_row(located: _Located, context: str) -> _Row:
    where, qa = located
    answers: list[_RawAnswer] | None = None
    if not isinstance(qa, dict) or "answers" in qa:
        answers = [(text, None) for text in field(qa, "answers", list, where)]
    name = field(qa, "query_id", (str, int), where)
    fields: Fields = qa if isinstance(qa, dict) else {}
    return _Row(where, fields, name, field(qa, "query_text", str, where), context, answers)


def _flat_row(row: Fields, where: str) -> _Row:
    impossible = _impossible(row, where)
    answers = _flat_answers(row.get("answers"), where)
    return _Row(
        where,
        row,
        field(row, "id", (str, int), where),
        field(row, "question", str, where),
        field(row, "context", str, where),
        [] if answers is None and impossible else answers,
        impossible,
    )


def _flat_answers(answers: Cell, where: str) -> list[_RawAnswer] | None:
    """Texts and offsets in either form; None if none are given."""
    if answers is None:
        return None
    if isinstance(answers, list):
        return _pairs(answers, where)
    if not isinstance(answers, dict):
        raise DataError(
            where,
            f'field "answers" is {type(answers).__name__}, expected {EXPECTED_ANSWERS} or '
            '{"text": [...], "answer_start": [...]}',
        )
    texts = field(answers, "text", list, where)
    starts: list[Cell] = [None] * len(texts)
    if answers.get("answer_start") is not None:
        starts = field(answers, "answer_start", list, where)
    if len(starts) != len(texts):
        raise DataError(where, f"{len(texts)} answer texts and {len(starts)} offsets")
    return list(zip(texts, starts, strict=True))


def _example_of(
    row: _Row, seen: set[str], report: Report
) -> tuple[QAExample, Problem | None] | None:
    """The question with its answers located in the paragraph; None if its id is in `seen`.

    With it comes a problem to report if other questions are labelled.
    """
    name, where = replace_surrogates(str(row.id)), row.label
    if name in seen:
        report(where, "duplicate id; this row is left out")
        return None
    question, context = replace_surrogates(row.question), replace_surrogates(row.context)
    located = [_locate(answer, context, where) for answer in row.answers or ()]
    cleaned = [name, question, context, *(answer.text for answer in located)]
    raw = [str(row.id), row.question, row.context, *(str(text) for text, _ in row.answers or ())]
    if cleaned != raw:
        report(where, "lone surrogates in the text; replaced by U+FFFD")
    for lack in _empty(row):
        report(where, lack)
    consequence = "scoring only"
    if not any(answer.span for answer in located):
        consequence = "the question is left out of training and kept for scoring"
    for answer in located:
        if fault := answer.fault(context):
            report(where, f"{fault}; {'repaired' if answer.span else consequence}")
    if row.impossible and located:
        report(where, "is_impossible is true, but it has answers; the answers count")
    contradictory = row.impossible is False and row.answers == []
    if contradictory:
        what = "is_impossible is false, but it has no answer"
        report(where, f"{what}; left out of training, scored as unanswerable")
    seen.add(name)
    unlabelled = None
    if row.answers is None:
        has = names_of(row.fields)
        what = f"no answers are given, unlike for other questions; its fields are {has}"
        unlabelled = Problem(where, f"{what}; left out of training, scored as unanswerable")
    answers = tuple(Answer(answer.text, *(answer.span or (None, None))) for answer in located)
    labelled = unlabelled is None and not contradictory
    return QAExample(name, question, context, answers, labelled), unlabelled


def _reference_of(row: _Row, seen: set[str], report: Report) -> Reference:
    """The question as in the file; anything odd is reported."""
    name, where = str(row.id), row.label
    if row.answers is None:  # the official scripts fail here
        has = names_of(row.fields)
        raise DataError(
            where,
            f"no answers are given; its fields are {has}; expected answers: {EXPECTED_ANSWERS}",
        )
    texts = [row.question, row.context, name]
    context = replace_surrogates(row.context)
    located = [_locate(answer, context, where) for answer in row.answers]
    answers = tuple(str(text) for text, _ in row.answers)  # _locate has accepted only str
    texts += answers
    faults = ["duplicate id"] * (name in seen)
    faults += ["the id is a number; read as text"] * (not isinstance(row.id, str))
    faults += ["lone surrogates in the text"] * any(
        text != replace_surrogates(text) for text in texts
    )
    faults += [*_empty(row), *(f for answer in located if (f := answer.fault(context)))]
    if row.impossible is not None and row.impossible == bool(row.answers):
        has = "it has answers" if row.answers else "it has no answer"
        faults.append(f"is_impossible is {str(row.impossible).lower()}, but {has}")
    for fault in faults:
        report(where, fault)
    seen.add(name)
    return Reference(name, answers)


def _empty(row: _Row) -> list[str]:
    """What the question lacks, as faults."""
    faults = []
    if not row.context.strip():
        faults.append("the paragraph is empty; the answer can only be empty")
    if not row.question.strip():
        faults.append("the question is empty")
    return faults


def _locate(answer: _RawAnswer, context: str, where: str) -> Located:
    text, start = answer
    if not isinstance(text, str):
        raise DataError(
            where, f'an answer of field "answers" is {type(text).__name__}, expected str'
        )
    if start is not None and (isinstance(start, bool) or not isinstance(start, int)):
        raise DataError(where, f'field "answer_start" is {type(start).__name__}, expected int')
    return locate(context, replace_surrogates(text), start)
