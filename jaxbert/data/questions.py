"""Rows -> questions about paragraphs: SQuAD v1.1 and v2.0, CMRC2018 and flat rows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

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
    where_of,
    whole_text,
)
from jaxbert.data.sources import load_rows
from jaxbert.errors import DataError, InputError
from jaxbert.io.untrusted import shown

# What a message asks for.
EXPECTED_ANSWERS = '[{"text": ..., "answer_start": ...}]'


@dataclasses.dataclass(frozen=True)
class Answer:
    """A reference answer: its text as given, and where it is in the context, in code points.

    context[start:end] is the text, or differs from it in white space alone. Both are None where the
    text is not in the context: such an answer serves scoring only. By default the end is as far
    from the start as the text is long.
    """

    text: str
    start: int | None
    # Not shown: a run's record has a digest of the repr, and those of earlier versions had no end.
    end: int | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.start is not None and self.end is None:
            object.__setattr__(self, "end", self.start + len(self.text))


@dataclasses.dataclass(frozen=True)
class QAExample:
    """A question about a paragraph; without answers it is unanswerable, or they are not known.

    Attributes:
        labelled: whether the data say what the answer is, or that there is none.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()
    labelled: bool = dataclasses.field(default=True, repr=False)  # as Answer's end


@dataclasses.dataclass(frozen=True)
class Reference:
    """A question as the official scripts see it, as it stands in the file: nothing is repaired."""

    id: str
    answers: tuple[str, ...]


def read_qa(paths: Sequence[str], *, strict: bool = False) -> Data[QAExample]:
    """Questions from files: SQuAD v1.1 and v2.0, CMRC2018 in both layouts, and flat rows.

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
    return read_questions(((path, load_rows(path)) for path in paths), strict=strict)


def read_questions(
    tables: Iterable[tuple[str, Content]], *, strict: bool = False
) -> Data[QAExample]:
    """The same from contents that have been loaded: pairs of an origin, for messages, and rows."""
    report = Report(strict)
    table = _Questions(tables, report)
    seen: set[str] = set()
    found = list(report.each(table, partial(_example_of, seen=seen, report=report)))
    examples = tuple(example for example, _ in found)
    if not examples:
        raise table.nothing()
    if any(example.labelled for example in examples):
        for _, unknown in found:
            if unknown is not None:
                report(unknown.where, unknown.what)
    return Data(examples, tuple(report.problems), columns=table.columns)


def read_references(path: str, *, strict: bool = False) -> Data[Reference]:
    """All questions of a file with their answers as they stand there, for the official scores.

    Duplicates and empty answers are kept, no text is changed, and offsets do not matter. What is
    odd is a problem all the same.

    Args:
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: the file is missing, damaged, of another form, or has no question.
    """
    report = Report(strict)
    table = _Questions([(path, load_rows(path))], report)
    seen: set[str] = set()
    references = tuple(report.each(table, partial(_reference_of, seen=seen, report=report)))
    if not references:
        raise table.nothing()
    return Data(references, tuple(report.problems), columns=table.columns)


@dataclasses.dataclass
class _Row:
    """A question as found, its answers not yet held against the paragraph."""

    where: str
    fields: Iterable[str]
    id: str | int
    question: str
    context: str
    answers: list[_Given] | None  # None where none are given
    impossible: bool | None = None

    @property
    def place(self) -> str:
        """What a message calls the question."""
        return f"{self.where} (id {shown(' '.join(whole_text(str(self.id)).split()))})"


_Placed = tuple[str, Cell]  # what a message calls it, and what it is
_Given = tuple[Cell, Cell]  # an answer's text and offset, or None, as the file has them


class _Questions:
    """The questions of all tables, in whichever of the known forms; their fields, once read."""

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


def _entries(content: Content, origin: str) -> list[_Placed]:
    """The articles or rows of a file."""
    entries = field(content, "data", list, origin) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputError(f"{origin}: expected SQuAD's JSON, found {type(content).__name__}")
    squad = [isinstance(entry, dict) and "paragraphs" in entry for entry in entries]
    return [
        (f"{origin}: article {n}" if s else where_of(origin, n, entry), entry)
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


def _numbered(mapping: Cell, name: str, where: str, what: str) -> list[_Placed]:
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
    impossible = _impossible(qa, where)
    answers = None
    if isinstance(qa, dict) and "question" in qa and qa.get("answers") is None and impossible:
        answers = []
    elif not isinstance(qa, dict) or "answers" in qa or "question" not in qa:
        answers = _pairs(field(qa, "answers", list, where), where)
    name = field(qa, "id", (str, int), where)
    fields = qa if isinstance(qa, dict) else {}
    question = field(qa, "question", str, where)
    return _Row(where, fields, name, question, context, answers, impossible)


def _impossible(qa: Cell, where: str) -> bool | None:
    """SQuAD v2.0's mark of a question without an answer; None where there is no mark."""
    if not isinstance(qa, dict) or qa.get("is_impossible") is None:
        return None
    return field(qa, "is_impossible", bool, where)


def _pairs(answers: Iterable[Cell], where: str) -> list[_Given]:
    """Texts and offsets of [{text, answer_start}, ...]."""
    found: list[_Given] = []
    for answer in answers:
        if not isinstance(answer, dict):
            what = f'an answer of field "answers" is {type(answer).__name__}, expected '
            raise DataError(where, what + EXPECTED_ANSWERS[1:-1])
        found.append((field(answer, "text", str, where), answer.get("answer_start")))
    return found


def _cmrc_row(placed: _Placed, context: str) -> _Row:
    where, qa = placed
    answers: list[_Given] | None = None
    if not isinstance(qa, dict) or "answers" in qa:
        answers = [(text, None) for text in field(qa, "answers", list, where)]
    name = field(qa, "query_id", (str, int), where)
    fields = qa if isinstance(qa, dict) else {}
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


def _flat_answers(answers: Cell, where: str) -> list[_Given] | None:
    """Texts and offsets in either form; None where none are given."""
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
    """The question, its answers held against the paragraph; None if its id is in `seen`. And what
    is to be reported where other questions are labelled."""
    name, where = whole_text(str(row.id)), row.place
    if name in seen:
        report(where, "the id occurs before; this row is left out")
        return None
    question, context = whole_text(row.question), whole_text(row.context)
    found = [_located(answer, context, where) for answer in row.answers or ()]
    whole = [name, question, context, *(answer.text for answer in found)]
    given = [str(row.id), row.question, row.context, *(str(text) for text, _ in row.answers or ())]
    if whole != given:
        report(where, "lone surrogates in the text; replaced by U+FFFD")
    for lack in _empty(row):
        report(where, lack)
    only = "scoring only"
    if not any(answer.span for answer in found):
        only = "the question is left out of training and kept for scoring"
    for answer in found:
        if fault := answer.fault(context):
            report(where, f"{fault}; {'repaired' if answer.span else only}")
    if row.impossible and found:
        report(where, "is_impossible is true, and it has answers; the answers count")
    contradicted = row.impossible is False and row.answers == []
    if contradicted:
        what = "is_impossible is false, and it has no answer"
        report(where, f"{what}; left out of training, scored as one without an answer")
    seen.add(name)
    unknown = None
    if row.answers is None:
        has = names_of(row.fields)
        what = f"no answers are given, as other questions have them; its fields are {has}"
        unknown = Problem(where, f"{what}; left out of training, scored as one without an answer")
    answers = tuple(Answer(answer.text, *(answer.span or (None, None))) for answer in found)
    labelled = unknown is None and not contradicted
    return QAExample(name, question, context, answers, labelled), unknown


def _reference_of(row: _Row, seen: set[str], report: Report) -> Reference:
    """The question as it stands in the file; what is odd about it is reported."""
    name, where = str(row.id), row.place
    if row.answers is None:  # the official scripts end here
        has = names_of(row.fields)
        raise DataError(
            where,
            f"no answers are given; its fields are {has}; expected answers: {EXPECTED_ANSWERS}",
        )
    texts = [row.question, row.context, name]
    context = whole_text(row.context)
    found = [_located(answer, context, where) for answer in row.answers]
    answers = tuple(str(text) for text, _ in row.answers)  # _located has refused what is no str
    texts += answers
    faults = ["the id occurs before"] * (name in seen)
    faults += ["the id is a number; read as text"] * (not isinstance(row.id, str))
    faults += ["lone surrogates in the text"] * any(text != whole_text(text) for text in texts)
    faults += [*_empty(row), *(f for answer in found if (f := answer.fault(context)))]
    if row.impossible is not None and row.impossible == bool(row.answers):
        has = "it has answers" if row.answers else "it has no answer"
        faults.append(f"is_impossible is {str(row.impossible).lower()}, and {has}")
    for fault in faults:
        report(where, fault)
    seen.add(name)
    return Reference(name, answers)


def _empty(row: _Row) -> list[str]:
    """What a question lacks."""
    faults = []
    if not row.context.strip():
        faults.append("the paragraph is empty; the answer can only be empty")
    if not row.question.strip():
        faults.append("the question is empty")
    return faults


def _located(given: _Given, context: str, where: str) -> Located:
    text, start = given
    if not isinstance(text, str):
        raise DataError(
            where, f'an answer of field "answers" is {type(text).__name__}, expected str'
        )
    if start is not None and (isinstance(start, bool) or not isinstance(start, int)):
        raise DataError(where, f'field "answer_start" is {type(start).__name__}, expected int')
    return locate(context, whole_text(text), start)
