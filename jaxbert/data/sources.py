"""Files and Hub names -> examples, small dataclasses. The one place that knows file formats.

Every fault of a row is either an InputError (the file is not what it should be) or a Problem: the
row is repaired or left out, and the report names it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError

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


@dataclasses.dataclass(frozen=True)
class Problem:
    """What was found in one row: where it is, what is wrong, and what was done about it."""

    where: str
    what: str


@dataclasses.dataclass(frozen=True)
class QAData:
    """Examples in the order of the files, and what was repaired or left out."""

    examples: tuple[QAExample, ...]
    problems: tuple[Problem, ...]


# --- rows of files and of data sets -----------------------------------------------------------


def _read_json(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte {error.start}); convert it, for instance with "
            "iconv -f UTF-16 -t UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    before = 0  # lines of a JSONL file before the one that is parsed
    try:
        if path.suffix != ".jsonl":
            return json.loads(text)
        rows = []
        # Not splitlines(): it would also split at U+2028 and others that JSON strings may hold.
        for line in text.split("\n"):
            if line.strip():
                rows.append(json.loads(line))
            before += 1
        return rows
    except json.JSONDecodeError as error:
        hint = "is the file whole?"
        if error.msg == "Extra data":
            hint = "if it is JSON Lines, name it .jsonl"
        raise InputError(
            f"{path}: not JSON at line {before + error.lineno}, column {error.colno} "
            f"({error.msg if text.strip() else 'it is empty'}); {hint}"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{path}: not a data set ({error})") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be a data set") from None


def _read_table(load: Callable[[], Any], origin: str) -> list[dict[str, Any]]:
    """Rows of a data set that the library `datasets` reads."""
    try:
        table = load()
        rows = list(table)
    except Exception as error:  # datasets raises errors of many libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{origin}: the library datasets cannot read it ({reason})") from None
    if isinstance(table, dict):
        raise InputError(
            f"{origin}: a folder of the splits {', '.join(table)}; give it as --dataset_name"
        )
    return rows


def load_rows(path: str) -> Any:
    """The content of a file or local data-set folder: parsed JSON, or a list of rows.

    JSON and JSONL are parsed as they are; Parquet and folders of datasets' `save_to_disk` are read
    through the library `datasets`.
    """
    file = Path(path)
    if file.is_dir() or file.suffix == ".parquet":
        import datasets  # slow to import, and most runs do not need it

        datasets.disable_progress_bars()
        if file.is_dir():
            return _read_table(lambda: datasets.load_from_disk(path), path)
        return _read_table(lambda: datasets.Dataset.from_parquet(path, keep_in_memory=True), path)
    return _read_json(file)


def load_hub_rows(name: str, config: str | None, split: str) -> list[dict[str, Any]]:
    """The rows of one split of a data set: a Hub name, or a local folder that datasets can load."""
    import datasets

    datasets.disable_progress_bars()
    origin = f"--dataset_name {name}, split {split}"
    if Path(name).is_dir() and (Path(name) / "dataset_dict.json").is_file():
        return _read_table(lambda: datasets.load_from_disk(name)[split], origin)
    return _read_table(lambda: datasets.load_dataset(name, config, split=split), origin)


# --- question answering -----------------------------------------------------------------------


def read_qa(paths: Sequence[str], *, strict: bool = False) -> QAData:
    """Questions from files: SQuAD v1.1 and v2.0, CMRC2018 in both layouts, and flat rows.

    A file is nested JSON as published (data -> paragraphs -> qas), CMRC2018's own list
    (context_text, qas with query_text), or flat rows {id, question, context, answers: {text,
    answer_start}} as a list, under "data", as JSONL, as Parquet, or as a folder of datasets.

    Args:
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: a file is missing, damaged, of another form, or has no question.
    """
    rows = (row for path in paths for row in _qa_rows(load_rows(path), path))
    return _qa_data(rows, ", ".join(paths), strict)


def read_qa_dataset(name: str, config: str | None, split: str, *, strict: bool = False) -> QAData:
    """Questions from one split of a data set in the flat form; see load_hub_rows and read_qa."""
    origin = f"{name}[{split}]"
    return _qa_data(_qa_rows(load_hub_rows(name, config, split), origin), origin, strict)


@dataclasses.dataclass
class _Row:
    """A question as found, its answers not yet held against the paragraph."""

    where: str
    id: Any
    question: Any
    context: Any
    answers: list[tuple[Any, Any]]  # text, offset or None


def _field(mapping: Any, name: str, kind: Any, where: str) -> Any:
    """mapping[name], which must be there and of that type."""
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: expected an object, found {type(mapping).__name__}")
    if name not in mapping:
        raise InputError(f'{where}: no field "{name}"; it has {_names(mapping) or "none"}')
    if not isinstance(mapping[name], kind):
        wanted = kind.__name__ if isinstance(kind, type) else "str or int"
        raise InputError(
            f'{where}: field "{name}" is {type(mapping[name]).__name__}, expected {wanted}'
        )
    return mapping[name]


def _names(fields: Iterable[Any]) -> str:
    """The first few names of an object's fields, in one line."""
    names = [" ".join(str(name).split()) for name in fields]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _qa_rows(content: Any, origin: str) -> Iterator[_Row]:
    """The questions of a file, whichever of the known forms it has."""
    entries = content
    if isinstance(content, dict):
        entries = _field(content, "data", list, origin)
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
                f"(CMRC2018) or context and question (flat), and has {_names(entry) or 'none'}"
            )


def _squad_article(article: dict[str, Any], where: str) -> Iterator[_Row]:
    for p, paragraph in enumerate(_field(article, "paragraphs", list, where)):
        place = f"{where}, paragraph {p}"
        context = _field(paragraph, "context", str, place)
        for q, qa in enumerate(_field(paragraph, "qas", list, place)):
            spot = f"{place}, question {q}"
            if isinstance(qa, dict) and qa.get("is_impossible") is not None:
                _field(qa, "is_impossible", bool, spot)
            answers = [] if qa_is_impossible(qa) else _field(qa, "answers", list, spot)
            pairs = [(_field(a, "text", str, spot), a.get("answer_start")) for a in answers]
            yield _Row(
                spot,
                _field(qa, "id", (str, int), spot),
                _field(qa, "question", str, spot),
                context,
                pairs,
            )


def qa_is_impossible(qa: Any) -> bool:
    """SQuAD v2.0's mark; its unanswerable questions may also lack the field answers."""
    return isinstance(qa, dict) and (
        bool(qa.get("is_impossible", False)) or ("answers" not in qa and "question" in qa)
    )


def _cmrc_paragraph(paragraph: dict[str, Any], where: str) -> Iterator[_Row]:
    context = _field(paragraph, "context_text", str, where)
    for q, qa in enumerate(_field(paragraph, "qas", list, where)):
        spot = f"{where}, question {q}"
        unanswered = isinstance(qa, dict) and "answers" not in qa
        answers = [] if unanswered else _field(qa, "answers", list, spot)
        pairs = [(text, None) for text in answers]
        yield _Row(
            spot,
            _field(qa, "query_id", (str, int), spot),
            _field(qa, "query_text", str, spot),
            context,
            pairs,
        )


def _flat_row(row: dict[str, Any], where: str) -> _Row:
    answers = row.get("answers")
    if answers is None or answers == []:
        answers = {"text": []}
    texts = _field(answers, "text", list, where)
    starts: list[Any] = [None] * len(texts)
    if answers.get("answer_start") is not None:
        starts = _field(answers, "answer_start", list, where)
    if len(starts) != len(texts):
        raise InputError(f"{where}: {len(texts)} answer texts and {len(starts)} offsets")
    return _Row(
        where,
        _field(row, "id", (str, int), where),
        _field(row, "question", str, where),
        _field(row, "context", str, where),
        list(zip(texts, starts, strict=True)),
    )


def _qa_data(rows: Iterable[_Row], origin: str, strict: bool) -> QAData:
    examples: dict[str, QAExample] = {}
    problems: list[Problem] = []

    def report(where: str, what: str) -> None:
        if strict:
            raise InputError(f"{where}: {what} (--strict)")
        problems.append(Problem(where, what))

    for row in rows:
        name = whole_text(str(row.id))
        where = f"{row.where} (id {' '.join(name.split())})"
        if name in examples:
            report(where, "the id occurs before; this row is left out")
            continue
        question, context = whole_text(row.question), whole_text(row.context)
        if question != row.question or context != row.context:
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
                fault = f"not near {start} but in several places" if text in context else "not"
                report(where, f"the answer {text[:40]!r} is {fault} in the paragraph; scoring only")
            elif found != start and start is not None:
                report(where, f"the answer {text[:40]!r} is at {found}, not {start}; repaired")
            answers.append(Answer(text, found))
        examples[name] = QAExample(name, question, context, tuple(answers))
    if not examples:
        raise InputError(f"{origin}: no question in it")
    return QAData(tuple(examples.values()), tuple(problems))


def whole_text(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced one for one."""
    return (
        text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if any("\ud800" <= c <= "\udfff" for c in text)
        else text
    )


def _locate(context: str, text: str, start: int | None) -> int | None:
    """Where the answer is: at `start`, else nearby, else where the paragraph has it just once."""
    if start is None or start < 0:
        place = context.find(text)
        return place if place >= 0 else None
    if context.startswith(text, start):
        return start
    places = []
    place = context.find(text)
    while place >= 0:
        places.append(place)
        place = context.find(text, place + 1)
    near = [p for p in places if abs(p - start) <= _NEARBY]
    if near:
        return min(near, key=lambda p: (abs(p - start), p))
    return places[0] if len(places) == 1 else None
